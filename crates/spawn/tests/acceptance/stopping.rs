//! Timeouts, TTL and cancelling: the script is asked first, its trap is spared, then all is killed.

use crate::shared;
use crate::support::World;

#[test]
fn a_trap_finishes_its_own_work_before_everything_is_killed() {
    let world = World::new();
    // Bash runs the trap only after its foreground child ends: that child is asked to end too,
    // while the trap's own child is spared.
    world.write(
        "job.sh",
        "trap 'echo trapped; sleep 0.3; echo finished; exit 0' TERM\necho started\nsleep 86421.25\necho unreachable\n",
    );
    let id = world.launch(["--timeout", "1s", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    assert_eq!(
        world.ok(["logs", &id, "--task", "0"]),
        "started\ntrapped\nfinished\n"
    );
    let task = &world.json(["tasks", &id])[0];
    assert_eq!(
        (task["state"].as_str(), task["cause"].as_str()),
        (Some("failed"), Some("timeout"))
    );
}

#[test]
fn a_script_that_ignores_term_is_killed_with_all_it_started() {
    let world = World::new();
    world.write(
        "job.sh",
        "trap '' TERM\n(setsid sleep 86422.25 &)\nsleep 86422.25; sleep 86422.25\n",
    );
    let id = world.launch(["--timeout", "1s", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    assert_eq!(world.json(["tasks", &id])[0]["cause"], "timeout");
    let left = std::process::Command::new("pgrep")
        .args(["-f", "sleep 86422.25"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty());
}

#[test]
fn past_the_ttl_everything_unfinished_has_failed() {
    let world = World::new();
    let id = world.launch(["--ttl", "2s", "--array", "1000", "--", "sleep", "86423.25"]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 1000);
    assert_eq!(status["state"], "failed");
    let tasks = world.json(["tasks", &id, "--state", "failed"]);
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len(), 1000);
    assert!(tasks.iter().all(|t| t["cause"] == "ttl"));
}

#[test]
fn no_task_is_started_once_the_notice_of_the_ttl_has_begun() {
    let world = World::new();
    world.write(
        "job.sh",
        "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n",
    );
    let id = world.launch(["--ttl", "4s", "--array", "40%1", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(1);
    let tasks = world.json(["tasks", &id]);
    let started = |t: &&serde_json::Value| t["attempt"].as_u64() > Some(0);
    assert_eq!(tasks.as_array().unwrap().iter().filter(started).count(), 1);
}

#[test]
fn cancelling_closes_pending_tasks_at_once_and_stops_running_ones() {
    let world = World::new();
    world.write(
        "job.sh",
        "trap 'echo bye; exit 0' TERM\ntouch $READY\nwhile :; do sleep 0.05; done\n",
    );
    let shared = shared::directory();
    let ready = shared.path().join("ready");
    let env = format!("READY={}", ready.display());
    let id = world.launch([
        "--array",
        "1000000",
        "--max-concurrent",
        "1",
        "--env",
        &env,
        "--user-data",
        "@job.sh",
    ]);
    while !ready.exists() {
        std::thread::yield_now();
    }
    world.run(["cancel", &id]).expect_code(2);
    let told = world.json(["cancel", &id, "--yes"]);
    assert!(told["eta_seconds"].is_null(), "{told}");
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["cancelled"], 1_000_000);
    assert_eq!(status["state"], "cancelled");
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "bye\n");
    let last = world.json(["tasks", &id, "--from", "999999"]);
    assert_eq!(last[0]["state"], "cancelled");
}

#[test]
fn what_the_script_said_before_it_was_stopped_stands() {
    let world = World::new();
    world.write(
        "job.sh",
        "spored complete --status success\nsleep 86424.25\n",
    );
    let id = world.launch(["--timeout", "1s", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(0);
    assert_eq!(world.json(["tasks", &id])[0]["state"], "succeeded");
}
