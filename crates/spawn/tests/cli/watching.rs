//! Finding arrays, waiting for them, ending them.

use std::process::Stdio;

use crate::support::{Gate, World};

#[test]
fn arrays_are_found_by_id_prefix_name_and_last() {
    let world = World::new();
    let first = world.launch(["--name", "alpha", "--user-data", "true"]);
    let second = world.launch(["--name", "beta", "--user-data", "true"]);
    let found = |typed: &str| world.json(["status", typed])["array_id"].clone();
    for (typed, id) in [
        (first.as_str(), &first),
        (&first[..first.len() - 1], &first),
        (&first["array-".len()..], &first),
        ("alpha", &first),
        ("beta", &second),
        ("last", &second),
    ] {
        assert_eq!(found(typed), **id, "{typed}");
    }
    let both = world.run(["status", "array-"]).expect_code(3);
    assert!(
        both.err().contains(&first) && both.err().contains(&second),
        "{both}"
    );
    world
        .run(["status", "gamma"])
        .expect_code(3)
        .expect_err("no array `gamma`");
    world.run(["status", ""]).expect_code(3);

    let list = world.json(["list"]);
    assert_eq!(list[0]["array_id"], *second);
    assert_eq!(list[1]["array_id"], *first);
    assert_eq!(
        world
            .json(["list", "--limit", "1"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(world.ok(["list", "--limit", "1"]).contains("--all"));
    assert!(world.ok(["list", "--all"]).contains("alpha"));
}

#[test]
fn waiting_ends_with_0_1_or_124() {
    let world = World::new();
    let well = world.launch(["--array", "4", "--user-data", "true"]);
    assert_eq!(
        world.wait(&well).expect_code(0).json()["state"],
        "succeeded"
    );

    let script = "[ $TASK_ARRAY_INDEX != 2 ] || { echo no >&2; exit 3; }";
    let badly = world.launch(["--array", "4", "--user-data", script]);
    let status = world.wait(&badly).expect_code(1).json();
    assert_eq!(status["state"], "failed");
    assert_eq!(status["counts"]["failed"], 1);
    assert_eq!(status["counts"]["total"], 4);
    let failure = &status["failures"][0];
    assert_eq!(failure["index"], 2);
    assert_eq!(failure["cause"], "exit");
    assert_eq!(failure["exit_code"], 3);
    assert!(status["ended_at"].as_str().unwrap().ends_with('Z'));
    let text = world.run(["status", &badly]).expect_code(0).out();
    assert!(text.contains("1 x exit code 3: no (task 2)"), "{text}");
    assert!(
        text.contains(&format!("spawn explain {badly} --task 2")),
        "{text}"
    );

    let gate = Gate::new();
    let long = world.launch(["--user-data", &gate.script()]);
    let late = world.run(["status", &long, "--wait", "--wait-timeout", "50ms"]);
    let late = late.expect_code(124);
    assert!(
        late.out().contains("running") || late.out().contains("pending"),
        "{late}"
    );
    gate.open();
    world.wait(&long).expect_code(0);

    let late = [
        "launch",
        "--wait",
        "--wait-timeout",
        "50ms",
        "--user-data",
        "sleep 100",
    ];
    world.run(late).expect_code(124);
}

#[test]
fn skipped_tasks_are_well() {
    let world = World::new();
    let script = "spored complete --status skipped --message 'nothing new'";
    let id = world.launch(["--array", "2", "--user-data", script]);
    assert_eq!(
        world.wait(&id).expect_code(0).json()["counts"]["skipped"],
        2
    );
}

#[test]
fn the_ttl_ends_the_wait() {
    let world = World::new();
    let id = world.launch(["--ttl", "1s", "--user-data", "sleep 100"]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 1);
    assert_eq!(world.json(["tasks", &id])[0]["cause"], "ttl");
}

#[test]
fn cancelling_needs_a_yes_and_ends_everything() {
    let world = World::new();
    let id = world.launch([
        "--array",
        "50",
        "--workers",
        "1",
        "--user-data",
        "sleep 100",
    ]);
    let asked = world.run(["cancel", &id]).expect_code(2);
    let asked = asked.expect_err(&format!("spawn cancel {id} --yes"));
    assert!(asked.stdout.is_empty());
    assert_eq!(world.json(["status", &id])["counts"]["cancelled"], 0);

    let out = world.ok(["cancel", &id, "--yes", "--notice", "1s"]);
    assert!(out.contains("cancel"), "{out}");
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["state"], "cancelled");
    assert_eq!(status["counts"]["cancelled"], 50);
    assert!(world.ok(["cancel", &id]).contains("already"));
    assert_eq!(world.json(["cancel", &id])["state"], "cancelled");
}

#[test]
fn a_wait_outlives_its_host() {
    let world = World::new();
    let mut gate = Gate::new();
    let id = world.launch(["--user-data", &gate.script()]);
    gate.await_task();
    let mut wait = world.spawn(["-o", "json", "status", &id, "--wait"]);
    let wait = wait.stdout(Stdio::piped()).spawn().unwrap();
    let host = world.host().unwrap();
    let killed = world
        .program("kill")
        .args(["-9", &host.to_string()])
        .status();
    assert!(killed.unwrap().success());
    gate.open();
    let output = wait.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["counts"]["succeeded"], 1);
    assert_ne!(world.host(), Some(host));
}

#[test]
fn stopping_the_host_needs_a_yes_and_loses_nothing() {
    let world = World::new();
    let gate = Gate::new();
    let id = world.launch(["--user-data", &gate.script()]);
    world
        .run(["local", "stop"])
        .expect_code(2)
        .expect_err("--yes");
    assert!(world.host().is_some());
    world.ok(["local", "stop", "--yes"]);
    assert_eq!(world.host(), None);
    assert!(world.ok(["local", "stop"]).contains("no host runs"));
    // Any command that asks revives it.
    gate.open();
    world.ok(["list"]);
    assert!(world.host().is_some());
    world.wait(&id).expect_code(0);
}

#[test]
fn watching_ends_with_the_array() {
    let world = World::new();
    let id = world.launch(["--user-data", "true"]);
    let out = world.ok(["status", &id, "--watch"]);
    assert!(out.contains("1 succeeded"), "{out}");
    assert!(!out.contains('\x1b'), "{out:?}");
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let world = World::new();
    let id = world.launch(["--user-data", "true"]);
    assert!(!world.ok(["status", &id]).contains('\x1b'));
    assert!(
        world
            .ok(["status", &id, "--color", "always"])
            .contains('\x1b')
    );
}
