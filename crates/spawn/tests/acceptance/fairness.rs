//! Arrays that set no width of their own share the machine: each gets its turn, no running script is
//! stopped for that, and who waits is told for whom.

use serde_json::Value;

use crate::support::{Gate, World};

/// As many tasks as run at once here.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn micros(at: &Value) -> jiff::Timestamp {
    let text = at.as_str().unwrap_or_else(|| panic!("no time: {at}"));
    text.parse().expect("a time")
}

/// Every task ran once, to its end.
fn assert_undisturbed(ended: &Value) {
    assert_eq!(ended["interrupted"], 0, "{ended}");
    assert_eq!(ended["workers_lost"], 0, "{ended}");
    assert_eq!(
        ended["counts"]["succeeded"], ended["counts"]["total"],
        "{ended}"
    );
}

fn two_tasks_do_not_wait_for_thousands(world: &World) {
    let big = world.launch(["--name", "big", "--array", "5000", "--", "sleep", "0.05"]);
    // Its claims have grown and its agents ask ahead.
    world.run(["status", &big, "--wait", "--wait-timeout", "1s"]);
    let tiny = world.launch(["--name", "tiny", "--array", "2", "--", "true"]);
    let ended = world.wait(&tiny).expect_code(0).json();
    assert_undisturbed(&ended);
    let big = world.json(["status", &big]);
    assert_eq!(big["state"], "running");
    assert_eq!(
        (big["interrupted"].as_u64(), big["workers_lost"].as_u64()),
        (Some(0), Some(0))
    );
    world.ok(["cancel", big["array_id"].as_str().unwrap(), "--yes"]);
}

#[test]
fn a_small_array_does_not_wait_for_a_large_one() {
    two_tasks_do_not_wait_for_thousands(&World::new());
}

#[test]
fn where_tasks_run_one_at_a_time_arrays_take_turns() {
    let world = World::new().with("SPAWN_SANDBOX", "none");
    two_tasks_do_not_wait_for_thousands(&world);
}

#[test]
fn a_hundred_arrays_have_all_begun_before_the_first_has_ended() {
    let world = World::new();
    // Until all are launched, nothing but this one has a core.
    let mut gate = Gate::new();
    let width = cores().to_string();
    let wait = gate.script();
    let first = world.launch([
        "--name",
        "first",
        "--allow-shared-tmp",
        "--array",
        &width,
        "--",
        "bash",
        "-c",
        &wait,
    ]);
    for _ in 0..cores() {
        gate.await_task();
    }
    let mut ids = Vec::new();
    for nth in 0..100 {
        let name = format!("array-{nth}");
        let mut args = vec!["--name", &name, "--allow-shared-tmp", "--array", "15"];
        // One in ten bounds itself.
        if nth % 10 == 9 {
            args.extend(["--max-concurrent", "1"]);
        }
        args.extend(["--", "sleep", "0.02"]);
        // These have a width of their own and do not wait.
        let id = world.launch(args);
        if nth % 10 != 9 {
            ids.push(id);
        }
    }
    let waiting = world.json(["status", ids.last().unwrap()]);
    assert_eq!(waiting["queued"]["also_waiting"], 89, "{waiting}");
    gate.open();
    world.wait(&first).expect_code(0);
    let ended: Vec<Value> = ids
        .iter()
        .map(|id| world.wait(id).expect_code(0).json())
        .collect();
    ended.iter().for_each(assert_undisturbed);
    let last_begun = ended.iter().map(|a| micros(&a["started_at"])).max();
    let first_ended = ended.iter().map(|a| micros(&a["ended_at"])).min();
    assert!(last_begun < first_ended, "{last_begun:?} {first_ended:?}");
    // Of those that were otherwise equal the earlier launch began first.
    let begun: Vec<jiff::Timestamp> = ended.iter().map(|a| micros(&a["started_at"])).collect();
    let in_order = begun.windows(2).filter(|pair| pair[0] <= pair[1]).count();
    assert!(in_order * 10 >= begun.len() * 9, "{begun:?}");
}

#[test]
fn no_running_script_is_stopped_for_another_array_and_widths_hold() {
    let world = World::new();
    let mut gate = Gate::new();
    let width = cores().to_string();
    let script = format!("trap 'echo told to stop' TERM; {}", gate.script());
    let long = world.launch([
        "--name",
        "long",
        "--allow-shared-tmp",
        "--array",
        &width,
        "--",
        "bash",
        "-c",
        &script,
    ]);
    for _ in 0..cores() {
        gate.await_task();
    }
    // A second task of it at the same time would find the directory made.
    let place = super::shared::directory();
    let busy = place.path().join("busy");
    let alone = format!("mkdir {0} && sleep 0.02 && rmdir {0}", busy.display());
    let bounded = world.launch([
        "--name",
        "bounded",
        "--array",
        "20",
        "--max-concurrent",
        "1",
        "--",
        "bash",
        "-c",
        &alone,
    ]);
    assert_undisturbed(&world.wait(&bounded).expect_code(0).json());

    let queued = world.launch([
        "--name",
        "queued",
        "--allow-shared-tmp",
        "--array",
        "3",
        "--ttl",
        "1h",
        "--",
        "true",
    ]);
    let status = world.json(["status", &queued]);
    assert_eq!(
        status["queued"]["holders"][0]["array"],
        long.as_str(),
        "{status}"
    );
    assert_eq!(status["queued"]["holders"][0]["slots"], cores(), "{status}");
    let text = world.ok(["status", &queued]);
    assert!(
        text.contains("queued   for a core:") && text.contains(&long),
        "{text}"
    );
    assert!(text.contains("its TTL counts from the launch"), "{text}");
    let story = world.ok(["explain", &queued, "--task", "1"]);
    assert!(
        story.contains("waits for a core:") && story.contains(&long),
        "{story}"
    );

    gate.open();
    assert_undisturbed(&world.wait(&long).expect_code(0).json());
    assert_undisturbed(&world.wait(&queued).expect_code(0).json());
    let logs = world.ok(["logs", &long]);
    assert!(!logs.contains("told to stop"), "{logs}");
}
