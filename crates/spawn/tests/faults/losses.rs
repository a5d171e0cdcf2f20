//! Ledgers that are older than the files beside them, or have lost some of their record.

use std::fs;
use std::path::PathBuf;

use crate::processes::{hosts, lives, signal, until};
use crate::support::{Gate, World};

fn ledger_files(world: &World) -> Vec<PathBuf> {
    ["ledger.db", "ledger.db-wal", "ledger.db-shm"]
        .iter()
        .map(|name| world.home.join(name))
        .collect()
}

/// Ends the host as a crash does: the newest of the ledger is in its log only.
fn kill_host(world: &World) {
    let host = hosts(world);
    signal("KILL", &host);
    until("the host has ended", || !host.iter().copied().any(lives));
}

/// Some arrays that have run, and a host that is gone.
fn world_after_a_crash(arrays: usize) -> (World, Vec<String>) {
    let world = World::new();
    let mut ids = Vec::new();
    for n in 0..arrays {
        let id = world.launch(["--array", "2", "--", "echo", &format!("output {n}")]);
        world.wait(&id).expect_code(0);
        ids.push(id);
    }
    kill_host(&world);
    (world, ids)
}

#[test]
fn a_ledger_older_than_its_logs_costs_no_worker_and_mixes_no_output() {
    let world = World::new();
    let mut gate = Gate::new();
    let script = format!(
        "echo \"task $TASK_ARRAY_INDEX attempt $TASK_ATTEMPT\"\n[ $TASK_ARRAY_INDEX = 0 ] || {}\n",
        gate.script()
    );
    world.write("job.sh", script);
    let id = world.launch(["--array", "2", "--workers", "1", "--user-data", "@job.sh"]);
    gate.await_task();
    world.ok(["local", "stop", "--yes"]);
    let kept = fs::read(world.home.join("ledger.db")).unwrap();
    // Two more workers leave logs that the kept ledger does not know.
    for _ in 0..2 {
        world.ok(["list"]);
        gate.await_task();
        world.ok(["local", "stop", "--yes"]);
    }
    let logs = world.home.join("arrays").join(&id).join("logs");
    let old = |n: u32| fs::read(logs.join(format!("{n}.log"))).unwrap();
    let before = [old(1), old(2), old(3)];
    for file in ledger_files(&world) {
        let _ = fs::remove_file(file);
    }
    fs::write(world.home.join("ledger.db"), kept).unwrap();

    let out = world.run(["status", &id]).expect_code(0);
    let out = out.expect_err("is older than the output");
    assert!(out.err().contains("2 workers"), "{out}");
    gate.await_task();
    gate.open();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 2, "{status}");
    assert_eq!(status["workers_lost"], 0, "{status}");
    let said = world.host_log();
    assert!(!said.contains("File exists"), "{said}");
    assert_eq!(
        before,
        [old(1), old(2), old(3)],
        "old logs stay as they are"
    );
    assert!(logs.join("4.log").exists());
    assert_eq!(
        world.ok(["logs", &id]),
        "[0] task 0 attempt 1\n[1] task 1 attempt 2\n"
    );
    assert_eq!(
        world.ok(["logs", &id, "--task", "1", "--attempt", "1"]),
        "task 1 attempt 1\n"
    );
}

#[test]
fn arrays_that_a_lost_log_took_with_it_are_told_once_and_can_be_put_aside() {
    let (world, ids) = world_after_a_crash(2);
    // What a launch leaves that is killed before it is recorded.
    let killed = world.home.join("arrays/array-20260127-abc123/job/files");
    fs::create_dir_all(killed).unwrap();
    for file in &ledger_files(&world)[1..] {
        fs::remove_file(file).unwrap();
    }
    let id = world
        .run(["launch", "--quiet", "--", "true"])
        .expect_code(0);
    for part in [
        "no record of 2 arrays",
        &ids[0],
        &ids[1],
        "spawn local check",
    ] {
        assert!(id.err().contains(part), "no `{part}` in {id}");
    }
    assert!(!id.err().contains("abc123"), "{id}");
    let id = id.out().trim().to_owned();
    world.wait(&id).expect_code(0);
    // Said once by each host.
    assert_eq!(world.run(["list"]).expect_code(0).err(), "");

    let check = world.run(["-o", "json", "local", "check"]).expect_code(1);
    let found = check.json();
    assert_eq!(found["sound"], false, "{found}");
    let of_kind = |kind: &str| {
        let findings = found["findings"].as_array().unwrap();
        findings.iter().find(|f| f["kind"] == kind).cloned()
    };
    let lost = of_kind("lost_arrays").unwrap();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(lost["arrays"], serde_json::json!(sorted), "{found}");
    let killed = of_kind("killed_launches").unwrap();
    assert_eq!(
        killed["arrays"],
        serde_json::json!(["array-20260127-abc123"])
    );

    let forgot = world.run(["local", "check", "--forget"]).expect_code(0);
    assert!(forgot.out().contains("the ledger is whole"), "{forgot}");
    let output = world.home.join("lost").join(&ids[0]).join("logs/1.log");
    assert!(fs::read_to_string(output).unwrap().contains("output 0"));
    world.ok(["local", "stop", "--yes"]);
    assert_eq!(world.run(["list"]).expect_code(0).err(), "");
    world.ok(["local", "check"]);
}

#[test]
fn a_ledger_that_is_gone_altogether_is_told_by_the_first_command_that_reads() {
    let (world, ids) = world_after_a_crash(1);
    for file in ledger_files(&world) {
        fs::remove_file(file).unwrap();
    }
    let list = world.run(["list"]).expect_code(0);
    list.expect_err("no record of 1 array").expect_err(&ids[0]);
}

#[test]
fn a_launch_that_was_killed_is_no_lost_array_and_is_cleared_away() {
    let world = World::new();
    world.write("data.txt", "x".repeat(1_000_000));
    world.write("job.sh", "cat data.txt > /dev/null\n");
    world.ok(["launch", "--quiet", "--wait", "--user-data", "@job.sh"]);
    let old = world.home.join("arrays/array-20260127-abc123");
    fs::create_dir_all(old.join("job/files")).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 3600);
    fs::File::open(&old)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    let new = world.home.join("arrays/array-20260128-abc123");
    fs::create_dir_all(new.join("job/files")).unwrap();
    world.ok(["local", "stop", "--yes"]);
    assert_eq!(world.run(["list"]).expect_code(0).err(), "");
    assert!(!old.exists(), "{}", world.host_log());
    assert!(new.exists(), "it may still be going on");
}

#[test]
fn bytes_that_changed_in_the_ledgers_log_are_told_and_the_log_is_kept() {
    let (world, ids) = world_after_a_crash(3);
    let log = world.home.join("ledger.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&log, &bytes).unwrap();
    let list = world.run(["list"]).expect_code(0);
    assert!(list.err().contains("is damaged from byte"), "{list}");
    assert!(list.err().contains("commit"), "{list}");
    let listed = list.out();
    for id in ids.iter().filter(|id| !listed.contains(*id)) {
        assert!(list.err().contains(id), "{list}");
    }
    let kept = fs::read(world.home.join("ledger.db-wal.damaged")).unwrap();
    assert_eq!(kept, bytes);
    kill_host(&world);
    let again = world.run(["list"]).expect_code(0);
    assert!(!again.err().contains("damaged"), "{again}");
}

/// A page within the ledger that is overwritten is found, and what lies on others is saved.
#[test]
fn a_damaged_page_is_found_and_the_rest_is_saved_in_place() {
    let world = World::new();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = world.launch(["--array", "400", "--workers", "2", "--", "echo", "x"]);
        world.wait(&id).expect_code(0);
        ids.push(id);
    }
    world.ok(["local", "stop", "--yes"]);
    world.ok(["local", "check"]);
    let ledger = world.home.join("ledger.db");
    let whole = fs::read(&ledger).unwrap();
    let mut told = 0;
    for page in (1..whole.len() / 4096).step_by(5) {
        let mut rotten = whole.clone();
        rotten[page * 4096..(page + 1) * 4096].fill(0xa5);
        fs::write(&ledger, &rotten).unwrap();
        let check = world.run(["local", "check"]);
        if check.code == 0 {
            // It is a page that is free.
            continue;
        }
        told += 1;
        assert!(
            check.out().contains("spawn local check --salvage"),
            "{check}"
        );
        let elsewhere = world.work.join(format!("saved-{page}.db"));
        let mut salvage = world.spawn(["local", "check", "--salvage"]);
        let salvage = crate::support::Output::of(salvage.arg(&elsewhere));
        assert!(elsewhere.exists(), "{salvage}");
        assert_eq!(fs::read(&ledger).unwrap(), rotten);
        let salvage = world.run(["-o", "json", "local", "check", "--salvage"]);
        let damaged = salvage.json()["salvaged"]["damaged"].clone();
        let damaged = damaged.as_str().unwrap().to_owned();
        assert_eq!(fs::read(&damaged).unwrap(), rotten);
        let again = world.json(["list", "--all"]);
        for array in again.as_array().unwrap() {
            let id = array["array_id"].as_str().unwrap();
            assert!(ids.iter().any(|known| known == id));
            assert_eq!(array["counts"]["total"], 400, "{array}");
            world.ok(["logs", id]);
        }
        world.ok(["local", "stop", "--yes"]);
    }
    assert!(told > 3, "{told}");
}

#[test]
fn a_host_that_meets_damage_says_what_to_do() {
    let world = World::new();
    let id = world.launch(["--array", "2000", "--workers", "2", "--", "true"]);
    world.wait(&id).expect_code(0);
    world.ok(["local", "stop", "--yes"]);
    let ledger = world.home.join("ledger.db");
    let whole = fs::read(&ledger).unwrap();
    // All leaves of tables and indexes but the first few: the schema, and what a start reads.
    let mut rotten = whole.clone();
    for page in 20..whole.len() / 4096 {
        rotten[page * 4096..(page + 1) * 4096].fill(0xa5);
    }
    fs::write(&ledger, &rotten).unwrap();
    let tasks = world.run(["tasks", &id]).expect_code(1);
    assert!(tasks.err().contains("`spawn local check`"), "{tasks}");
    let retried = world.run(["retry", &id, "--tasks", "1500"]).expect_code(1);
    assert!(retried.err().contains("`spawn local check`"), "{retried}");
    let refused = world.run(["local", "check", "--salvage"]);
    if !hosts(&world).is_empty() {
        let refused = refused.expect_code(1);
        assert!(refused.err().contains("spawn local stop"), "{refused}");
        world.ok(["local", "stop", "--yes"]);
        world.run(["local", "check", "--salvage"]);
    }
    world.ok(["tasks", &id]);
}
