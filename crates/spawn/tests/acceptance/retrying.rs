//! Retries by cause, each with its own budget; and when an array gives up.

use serde_json::Value;

use crate::support::{Gate, World};

/// The causes of all attempts of a task, in order.
fn causes(world: &World, id: &str, index: &str) -> Vec<String> {
    let story = world.json(["explain", id, "--task", index]);
    let attempts = story["attempts"].as_array().unwrap();
    let word = |attempt: &Value| attempt["cause"].as_str().unwrap_or("none").to_owned();
    attempts.iter().map(word).collect()
}

#[test]
fn a_bad_exit_is_retried_as_often_as_asked_and_no_more() {
    let world = World::new();
    // The first fails twice and then succeeds, the second always fails.
    let script = "[ $TASK_ARRAY_INDEX = 0 ] && [ $TASK_ATTEMPT -gt 2 ] || exit 3";
    let id = world.launch([
        "--array",
        "2",
        "--retries",
        "2",
        "--backoff",
        "0s",
        "--user-data",
        script,
    ]);
    world.wait(&id).expect_code(1);
    assert_eq!(causes(&world, &id, "0"), ["exit", "exit", "succeeded"]);
    assert_eq!(causes(&world, &id, "1"), ["exit", "exit", "exit"]);
    let story = world.ok(["explain", &id, "--task", "1"]);
    assert!(story.contains("exit 2 of 2"), "{story}");
}

#[test]
fn exit_codes_choose_what_is_retried() {
    let world = World::new();
    let script =
        "case $TASK_ARRAY_INDEX in 0) exit 75;; 1) exit 2;; 2) exit 100;; 3) kill -9 $$;; esac";
    let launch = |flags: &[&str]| {
        let common = ["--array", "4", "--retries", "1", "--backoff", "0s"];
        let id = world.launch(common.iter().chain(flags).chain(&["--user-data", script]));
        world.wait(&id).expect_code(1);
        let tasks = world.json(["tasks", &id]);
        let attempts = tasks.as_array().unwrap().iter();
        attempts
            .map(|t| t["attempt"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(launch(&["--retry-on", "75,137"]), [2, 1, 1, 2]);
    assert_eq!(launch(&["--no-retry-on", "1-99"]), [1, 1, 2, 2]);
}

#[test]
fn timeouts_have_a_budget_of_their_own() {
    let world = World::new();
    // One of each: neither spends the other's retry.
    let script = "case $TASK_ATTEMPT in 1) exit 1;; 2) sleep 86431.25;; *) exit 0;; esac";
    let id = world.launch([
        "--retries",
        "1",
        "--backoff",
        "0s",
        "--timeout",
        "500ms",
        "--user-data",
        script,
    ]);
    world.wait(&id).expect_code(0);
    assert_eq!(causes(&world, &id, "0"), ["exit", "timeout", "succeeded"]);
}

#[test]
fn an_interruption_spends_no_retry_and_too_many_of_them_end_the_task() {
    let world = World::new();
    let mut gate = Gate::new();
    let script = gate.script();
    let id = world.launch(["--max-interruptions", "1", "--user-data", &script]);
    for _ in 0..2 {
        gate.await_task();
        world.ok(["interrupt", &id, "--task", "0", "--notice", "1s"]);
    }
    world.wait(&id).expect_code(1);
    assert_eq!(causes(&world, &id, "0"), ["interrupted", "interrupted"]);
    let task = &world.json(["tasks", &id])[0];
    assert_eq!(task["state"], "failed");
    assert_eq!(world.json(["status", &id])["interrupted"], 2);
}

#[test]
fn a_task_in_backoff_says_when_it_is_due() {
    let world = World::new();
    let id = world.launch([
        "--retries",
        "1",
        "--backoff",
        "1h",
        "--backoff-max",
        "1h",
        "--user-data",
        "exit 1",
    ]);
    // It waits without a worker.
    let story = loop {
        let story = world.json(["explain", &id]);
        if story["waiting"]["backoff"].is_object() && story["attempt"] == 1 {
            break story;
        }
    };
    assert_eq!(story["state"], "pending");
    assert_eq!(story["cause"], "exit");
    let text = world.ok(["explain", &id]);
    assert!(text.contains("waits for its next attempt"), "{text}");
    world.ok(["cancel", &id, "--yes"]);
    world.wait(&id).expect_code(1);
}

#[test]
fn after_too_many_failures_nothing_more_is_started_and_status_says_so() {
    let world = World::new();
    let id = world.launch([
        "--array",
        "1000",
        "--max-concurrent",
        "1",
        "--max-failures",
        "2",
        "--user-data",
        "echo no >&2; exit 9",
    ]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 3);
    assert_eq!(status["counts"]["cancelled"], 997);
    assert_eq!(status["state"], "failed");
    let text = world.run(["status", &id]).expect_code(0).out();
    assert!(
        text.contains("more tasks failed than --max-failures 2"),
        "{text}"
    );
    assert!(
        text.contains("3 x exit code 9: no (tasks 2, 1, 0)"),
        "{text}"
    );
    let last = &world.json(["tasks", &id, "--from", "999"])[0];
    assert_eq!(last["cause"], "halted");
    let story = world.ok(["explain", &id, "--task", "999"]);
    assert!(
        story.contains("too many tasks of the array failed"),
        "{story}"
    );
}

#[test]
fn a_share_of_failures_counts_against_all_tasks() {
    let world = World::new();
    // Ten of a hundred may fail; these are ten.
    let id = world.launch([
        "--array",
        "100",
        "--max-failures",
        "10%",
        "--user-data",
        "[ $((TASK_ARRAY_INDEX % 10)) != 0 ]",
    ]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["succeeded"], 90);
    assert_eq!(status["counts"]["cancelled"], 0);
}

#[test]
fn retry_runs_what_failed_in_the_same_array_and_keeps_the_history() {
    let world = World::new();
    let script = "[ $TASK_ATTEMPT -gt 1 ] || [ $TASK_ARRAY_INDEX -gt 1 ]";
    let id = world.launch(["--array", "5", "--user-data", script]);
    world.wait(&id).expect_code(1);
    assert_eq!(world.json(["retry", &id])["tasks"], 2);
    world.wait(&id).expect_code(0);
    assert_eq!(causes(&world, &id, "1"), ["exit", "succeeded"]);
    assert_eq!(causes(&world, &id, "4"), ["succeeded"]);
    // There is nothing more to retry, and the array stays as it ended.
    assert_eq!(world.json(["retry", &id, "--failed"])["tasks"], 0);
    assert_eq!(world.json(["status", &id])["state"], "succeeded");
    // What is named runs again however it ended.
    assert_eq!(world.json(["retry", &id, "--tasks", "3-4,0"])["tasks"], 3);
    world.wait(&id).expect_code(0);
    assert_eq!(causes(&world, &id, "4"), ["succeeded", "succeeded"]);
    assert_eq!(causes(&world, &id, "0").len(), 3);
    let out = world.run(["retry", &id, "--tasks", "7"]).expect_code(2);
    assert!(out.err().contains("--tasks"), "{out}");
}

#[test]
fn retry_takes_an_array_up_again_that_its_ttl_or_its_failures_ended() {
    let world = World::new();
    let script = "[ $TASK_ATTEMPT -gt 1 ] || sleep 86432.25";
    let late = world.launch([
        "--array",
        "50",
        "--max-concurrent",
        "2",
        "--ttl",
        "2s",
        "--user-data",
        script,
    ]);
    world.wait(&late).expect_code(1);
    // Two ran into the end; the rest never began and would sleep.
    let begun = ["--tasks", "0,1", "--ttl", "1h"];
    let retried = world.json(["retry", &late].iter().chain(&begun));
    assert_eq!(retried["tasks"], 2);
    let status = world.wait(&late).expect_code(1).json();
    assert_eq!(status["counts"]["succeeded"], 2);
    assert_eq!(status["counts"]["failed"], 48);
    let rest = &world.json(["tasks", &late, "--from", "49"])[0];
    assert_eq!(
        (&rest["state"], &rest["cause"]),
        (&"failed".into(), &"ttl".into())
    );
}
