//! A missing or broken piece of one array is that array's fault: its tasks fail and say what is gone,
//! and no other array notices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::shared;
use crate::support::{Gate, Output, World};

/// Another array, launched after the fault: it is as isolated as ever.
fn assert_others_are_isolated(world: &World) {
    let width = "4";
    let other = world.launch([
        "--array",
        width,
        "--workers",
        width,
        "--",
        "bash",
        "-c",
        "ls -A /tmp | wc -l; touch /tmp/mine; hostname; echo $$ > /tmp/pid",
    ]);
    let ended = world.wait(&other).expect_code(0).json();
    assert_eq!(ended["lessened"], Value::Null, "{ended}");
    let isolation = world.json(["local", "status"])["isolation"].clone();
    if isolation == "shared" {
        eprintln!("SKIPPED: no namespaces can be had here");
        return;
    }
    for task in 0..4 {
        let out = world.ok(["logs", &other, "--task", &task.to_string()]);
        let lines: Vec<&str> = out.lines().collect();
        assert!(
            lines[0] == "0" || lines[0] == "2",
            "a /tmp of its own: {out}"
        );
        assert!(lines[1].contains("-w"), "a host name of its own: {out}");
    }
}

/// Every task of the array failed to start, and says that `piece` is gone.
fn assert_failed_for(world: &World, id: &str, total: u64, piece: &Path) {
    let ended = world.wait(id).json();
    assert_eq!(ended["counts"]["failed"], total, "{ended}");
    let group = &ended["failure_groups"][0];
    assert_eq!(group["cause"], "launch_failed", "{ended}");
    let story = world.ok(["explain", id, "--task", "0"]);
    let said = format!("{} is gone", piece.display());
    assert!(story.contains(&said), "no `{said}` in {story}");
    let text = world.ok(["status", id]);
    assert!(
        text.contains("could not be started") || text.contains("is gone"),
        "{text}"
    );
}

/// Launches an array of three that has all kinds of pieces, and stops the host while it runs.
fn a_stopped_array(world: &World) -> (String, PathBuf) {
    let mut gate = Gate::new();
    world.write("data.txt", "x");
    world.write("job.sh", format!("cat data.txt; {}\n", gate.script()));
    world.write(
        "sweep.yaml",
        "params:\n  - {lr: 1}\n  - {lr: 2}\n  - {lr: 3}\n",
    );
    let id = world.launch([
        "--param-file",
        "sweep.yaml",
        "--include",
        "data.txt",
        "--user-data",
        "@job.sh",
    ]);
    gate.await_task();
    world.ok(["local", "stop", "--yes"]);
    let job = world.home.join("arrays").join(&id).join("job");
    (id, job)
}

#[test]
fn with_its_job_directory_gone() {
    let world = World::new();
    let (id, job) = a_stopped_array(&world);
    fs::remove_dir_all(&job).unwrap();
    assert_failed_for(&world, &id, 3, &job);
    assert_others_are_isolated(&world);
    let retry = world.run(["retry", &id]).expect_code(1);
    assert!(retry.err().contains("its files are gone"), "{retry}");
}

#[test]
fn with_its_script_gone() {
    let world = World::new();
    let (id, job) = a_stopped_array(&world);
    let script = job.join("script/job.sh");
    fs::remove_file(&script).unwrap();
    assert_failed_for(&world, &id, 3, &script);
    assert_others_are_isolated(&world);
}

#[test]
fn with_a_shipped_file_gone() {
    let world = World::new();
    let (id, job) = a_stopped_array(&world);
    let shipped = job.join("files/data.txt");
    fs::remove_file(&shipped).unwrap();
    assert_failed_for(&world, &id, 3, &shipped);
    assert_others_are_isolated(&world);
}

#[test]
fn with_its_rows_gone() {
    let world = World::new();
    let (id, job) = a_stopped_array(&world);
    let rows = fs::read_dir(&job)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_file())
        .expect("the rows lie in a file of the job");
    fs::remove_file(&rows).unwrap();
    assert_failed_for(&world, &id, 3, &rows);
    assert_others_are_isolated(&world);
}

#[test]
fn with_its_script_gone_while_it_runs() {
    let world = World::new();
    let mut gate = Gate::new();
    world.write("job.sh", format!("{}\n", gate.script()));
    let id = world.launch(["--array", "3", "--workers", "1", "--user-data", "@job.sh"]);
    gate.await_task();
    let job = world.home.join("arrays").join(&id).join("job");
    fs::remove_dir_all(&job).unwrap();
    gate.open();
    let ended = world.wait(&id).json();
    // The one that ran had been started before.
    assert_eq!(ended["counts"]["succeeded"], 1, "{ended}");
    assert_eq!(
        ended["failure_groups"][0]["cause"], "launch_failed",
        "{ended}"
    );
    assert!(world.ok(["status", &id]).contains("is gone"));
    assert_others_are_isolated(&world);
}

#[test]
fn without_the_directory_of_its_logs_it_runs_all_the_same() {
    let world = World::new();
    let (id, job) = a_stopped_array(&world);
    let logs = job.with_file_name("logs");
    fs::remove_dir_all(&logs).unwrap();
    world.ok(["cancel", &id, "--yes"]);
    let again = world.launch(["--array", "2", "--", "echo", "hello"]);
    world.wait(&again).expect_code(0);
    assert_eq!(world.ok(["logs", &again]).matches("hello").count(), 2);
}

#[test]
fn programs_of_the_home_that_went_are_put_back() {
    let world = World::new();
    let first = world.launch(["--", "spored", "version"]);
    world.wait(&first).expect_code(0);
    fs::remove_dir_all(world.home.join("bin")).unwrap();
    let second = world.launch(["--array", "4", "--", "spored", "version"]);
    world.wait(&second).expect_code(0);
    assert_others_are_isolated(&world);
}

/// Notes each path that is brought to the disk.
const NOTES_SYNCS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int fsync(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    FILE *to = fopen(getenv("NOTE_SYNCS_IN"), "a");
    if (n > 0 && to) { path[n] = 0; fprintf(to, "%s\n", path); fclose(to); }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"#;

#[test]
fn a_durable_launch_is_acknowledged_once_its_files_are_on_the_disk() {
    let place = shared::directory();
    let source = place.path().join("notes.c");
    let library = place.path().join("notes.so");
    fs::write(&source, NOTES_SYNCS).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl");
    Output::of(&mut cc).expect_code(0);
    let world = World::new();
    world.write("data/deep.txt", "x");
    world.write("job.sh", "cat data/deep.txt\n");
    let synced = |durable: bool| {
        let notes = place.path().join(format!("syncs-{durable}"));
        let mut launch = world.spawn([
            "launch",
            "--quiet",
            "--user-data",
            "@job.sh",
            "--include",
            "data",
        ]);
        launch.args(durable.then_some("--durable"));
        launch
            .env("LD_PRELOAD", &library)
            .env("NOTE_SYNCS_IN", &notes);
        let id = Output::of(&mut launch)
            .expect_code(0)
            .out()
            .trim()
            .to_owned();
        world.wait(&id).expect_code(0);
        (id, fs::read_to_string(&notes).unwrap_or_default())
    };
    let (_, usual) = synced(false);
    assert_eq!(usual, "");
    let (id, notes) = synced(true);
    let array = world.home.join("arrays").join(&id);
    let all = [
        array.join("job/script/job.sh"),
        array.join("job/script"),
        array.join("job/files/data/deep.txt"),
        array.join("job/files/data"),
        array.join("job/files"),
        array.join("job"),
        array.clone(),
        world.home.join("arrays"),
    ];
    for path in all {
        let line = path.to_str().unwrap();
        assert!(notes.lines().any(|l| l == line), "no {line} in {notes}");
    }
}
