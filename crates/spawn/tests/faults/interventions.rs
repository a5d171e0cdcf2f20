//! What people do to an array that runs: more time, an end, a rehearsal, another try.

use std::time::{Duration, Instant};

use crate::processes::{of_array, until};
use crate::shared;
use crate::support::{Gate, World};

#[test]
fn extending_moves_the_end_of_an_array_and_of_its_workers() {
    for kind in [["--workers", "1"], ["--max-concurrent", "1"]] {
        let world = World::new();
        let mut gate = Gate::new();
        world.write("job.sh", format!("{}\necho survived\n", gate.script()));
        let mut args = vec!["--ttl", "4s", "--array", "2", "--user-data", "@job.sh"];
        args.extend(kind);
        let launched = Instant::now();
        let id = world.launch(args);
        gate.await_task();
        world.ok(["extend", &id, "1h"]);
        until("its first end is past", || {
            launched.elapsed() > Duration::from_secs(5)
        });
        let status = world.json(["status", &id]);
        assert_eq!(status["counts"]["running"], 1, "{status}");
        gate.open();
        world.wait(&id).expect_code(0);
        for task in ["0", "1"] {
            assert_eq!(world.ok(["logs", &id, "--task", task]), "survived\n");
        }
        world
            .run(["extend", &id, "1h"])
            .expect_code(1)
            .expect_err("has ended");
    }
}

#[test]
fn an_extension_outlives_the_host() {
    let world = World::new();
    let mut gate = Gate::new();
    world.write("job.sh", format!("{}\n", gate.script()));
    let launched = Instant::now();
    let id = world.launch(["--ttl", "4s", "--user-data", "@job.sh"]);
    gate.await_task();
    world.ok(["extend", &id, "1h"]);
    crate::processes::signal("KILL", &crate::processes::hosts(&world));
    world.ok(["list"]);
    until("its first end is past", || {
        launched.elapsed() > Duration::from_secs(5)
    });
    gate.open();
    world.wait(&id).expect_code(0);
}

#[test]
fn terminating_gives_no_notice() {
    let world = World::new();
    let place = shared::directory();
    let script =
        "trap 'echo asked >> $HERE/asked' TERM\ntouch $HERE/ready\nwhile :; do sleep 0.05; done\n";
    world.write("job.sh", script);
    let here = format!("HERE={}", place.path().display());
    let id = world.launch(["--array", "100%1", "--env", &here, "--user-data", "@job.sh"]);
    until("the task runs", || place.path().join("ready").exists());
    world.run(["terminate", &id]).expect_code(2);
    world.ok(["terminate", &id, "--yes"]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["cancelled"], 100, "{status}");
    assert_eq!(of_array(&id), []);
    let asked = std::fs::read_to_string(place.path().join("asked")).unwrap_or_default();
    assert_eq!(asked, "", "it was killed, not asked");
}

#[test]
fn retrying_runs_only_what_was_chosen_and_keeps_the_history() {
    let world = World::new();
    let place = shared::directory();
    let script = "echo \"$TASK_ARRAY_INDEX $TASK_ATTEMPT\" >> $HERE/ran\n\
                  [ -e $HERE/mended ] || [ $((TASK_ARRAY_INDEX % 2)) = 0 ] || { echo 'broken: 7' >&2; exit 5; }\n";
    world.write("job.sh", script);
    let here = format!("HERE={}", place.path().display());
    let id = world.launch(["--array", "6", "--env", &here, "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    std::fs::write(place.path().join("mended"), "").unwrap();
    let ran = || {
        let mut lines: Vec<String> = std::fs::read_to_string(place.path().join("ran"))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let mut expected: Vec<String> = (0..6).map(|i| format!("{i} 1")).collect();
    assert_eq!(ran(), expected);

    world.ok(["retry", &id]);
    world.wait(&id).expect_code(0);
    expected.extend(["1 2", "3 2", "5 2"].map(str::to_owned));
    expected.sort();
    assert_eq!(ran(), expected);

    world.ok(["retry", &id, "--tasks", "0,3"]);
    world.wait(&id).expect_code(0);
    expected.extend(["0 2", "3 3"].map(str::to_owned));
    expected.sort();
    assert_eq!(ran(), expected);

    let story = world.json(["explain", &id, "--task", "3"]);
    let causes: Vec<&str> = story["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["cause"].as_str().unwrap())
        .collect();
    assert_eq!(causes, ["exit", "succeeded", "succeeded"], "{story}");
    assert_eq!(story["attempts"][0]["exit_code"], 5);
    assert_eq!(story["attempts"][0]["last_stderr"], "broken: 7");
    let text = world.ok(["explain", &id, "--task", "3"]);
    assert!(text.contains("broken: 7"), "{text}");
}

#[test]
fn what_was_cancelled_or_ran_out_of_time_can_be_tried_again() {
    let world = World::new();
    let place = shared::directory();
    let script = "[ -e $HERE/mended ] && exit 0\ntouch $HERE/ready\nsleep 86461.25\n";
    world.write("job.sh", script);
    let here = format!("HERE={}", place.path().display());
    let launch = |ttl| {
        let id = world.launch([
            "--array",
            "50%2",
            "--ttl",
            ttl,
            "--env",
            &here,
            "--user-data",
            "@job.sh",
        ]);
        until("a task runs", || place.path().join("ready").exists());
        id
    };
    let cancelled = launch("1h");
    world.ok(["cancel", &cancelled, "--yes", "--notice", "1s"]);
    world.wait(&cancelled).expect_code(1);
    let expired = launch("2s");
    let status = world.wait(&expired).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 50, "{status}");

    std::fs::write(place.path().join("mended"), "").unwrap();
    world.ok(["retry", &expired, "--ttl", "1h"]);
    world.wait(&expired).expect_code(0);
    world.ok(["retry", &cancelled, "--tasks", "0-49"]);
    let status = world.wait(&cancelled).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 50, "{status}");
    let story = world.json(["explain", &expired, "--task", "0"]);
    assert_eq!(story["attempts"][0]["cause"], "ttl", "{story}");
    let story = world.json(["explain", &cancelled, "--task", "0"]);
    assert_eq!(story["attempts"][0]["cause"], "cancelled", "{story}");
}

#[test]
fn a_worker_that_stays_is_interrupted_by_its_name() {
    let world = World::new();
    let mut gate = Gate::new();
    world.write(
        "job.sh",
        format!("trap 'echo saved; exit 0' TERM\n[ $TASK_ATTEMPT = 1 ] || exit 0\n{}\nwhile :; do sleep 0.05; done\n", gate.script()),
    );
    let id = world.launch([
        "--name",
        "train",
        "--array",
        "2",
        "--workers",
        "2",
        "--user-data",
        "@job.sh",
    ]);
    gate.await_task();
    gate.await_task();
    gate.open();
    until("both workers are seen", || {
        let status = world.json(["status", &id]);
        let workers = status["workers"].as_array().unwrap().clone();
        workers.iter().filter(|w| !w["task"].is_null()).count() == 2
    });
    world.ok(["interrupt", "train-w1"]);
    world
        .run(["interrupt", "train-w7"])
        .expect_code(3)
        .expect_err("train-w7");
    until("one task has run again", || {
        world.json(["status", &id])["counts"]["succeeded"] == 1
    });
    let status = world.json(["status", &id]);
    assert_eq!(status["counts"]["running"], 1, "{status}");
    assert_eq!(status["interrupted"], 1, "{status}");
    world.ok(["interrupt", "train-w0"]);
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["interrupted"], 2, "{status}");
    for task in ["0", "1"] {
        let first = world.ok(["logs", &id, "--task", task, "--attempt", "1"]);
        assert_eq!(first, "saved\n");
    }
}

/// A script that stays after TERM until everything is killed.
const STUBBORN: &str = "trap 'echo asked' TERM\nwhile :; do read -r _ < /dev/tcp/127.0.0.1/$PORT || read -t 0.05 -r _ <> <(:); done\n";

/// Launches the stubborn script as one task with these flags, and waits until it runs.
fn stubborn(world: &World, gate: &mut Gate, flags: &[&str]) -> String {
    let port = format!("PORT={}", gate.port());
    let common = ["--env", &port, "--user-data", STUBBORN];
    let id = world.launch(flags.iter().chain(&common));
    gate.await_task();
    id
}

#[test]
fn a_stop_under_way_is_shown_and_a_second_interruption_says_what_is_left() {
    let world = World::new();
    let mut gate = Gate::new();
    let id = stubborn(&world, &mut gate, &[]);
    let told = world.json(["interrupt", &id, "--task", "0", "--notice", "50s"]);
    assert_eq!(told["runs_again"], true);
    assert!(told["was_stopping"].is_null(), "{told}");
    let worker = || world.json(["status", &id])["workers"][0].clone();
    until("the stop is known", || !worker()["stopping"].is_null());
    assert_eq!(worker()["stopping"], "interrupted");
    let text = world.ok(["status", &id]);
    assert!(
        text.contains("is being stopped (interrupted), killed in"),
        "{text}"
    );
    let story = world.ok(["explain", &id]);
    assert!(story.contains("is being stopped (interrupted)"), "{story}");
    assert!(!story.contains("spawn interrupt"), "{story}");
    // Of two ends the earlier counts, and that is what is said.
    let again = world.json(["interrupt", &id, "--task", "0", "--notice", "10m"]);
    assert_eq!(again["was_stopping"], "interrupted");
    assert_eq!(again["kill_at"], worker()["kill_at"]);
    world.ok(["terminate", &id, "--yes"]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["cancelled"], 1);
}

#[test]
fn an_interruption_that_ends_a_task_for_good_says_so() {
    let world = World::new();
    let mut gate = Gate::new();
    let id = stubborn(&world, &mut gate, &["--max-interruptions", "0"]);
    let out = world.ok(["interrupt", &id, "--task", "0", "--notice", "1s"]);
    assert!(out.contains("is not given another attempt"), "{out}");
    world.wait(&id).expect_code(1);
}

#[test]
fn an_extension_that_comes_too_late_for_a_script_says_so() {
    let world = World::new();
    let mut gate = Gate::new();
    let id = stubborn(&world, &mut gate, &["--ttl", "8s"]);
    until("its time runs out", || {
        world.json(["status", &id])["workers"][0]["stopping"] == "ttl"
    });
    let late = world.run(["extend", &id, "1h"]).expect_code(0);
    assert!(late.err().contains("spawn retry"), "{late}");
    world.wait(&id).expect_code(1);
    assert_eq!(world.json(["tasks", &id])[0]["cause"], "ttl");
}
