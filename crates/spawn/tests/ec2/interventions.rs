//! What people do to an array that runs: look, follow, give more time, cancel.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::account::{AT_GATE_POLICIES, instance_type};
use crate::world::World;

fn launch_waiting(world: &World, tasks: &str) -> String {
    let script = format!("{}\necho through $TASK_ARRAY_INDEX\n", world.gate());
    world.write("wait.sh", script);
    let flags = "--ttl 1h --user-data @wait.sh --name looked-at --iam-policy";
    let flags = flags.split(' ').chain([AT_GATE_POLICIES, "--array", tasks]);
    world.launch(flags.chain(["--instance-type", instance_type()]))
}

#[test]
fn an_array_is_looked_at_followed_and_given_time() {
    let Some(world) = World::with_machines() else {
        return;
    };
    let id = launch_waiting(&world, "2");
    world.await_at_gate(2);
    // Each worker says which machine it is; `connect` finds the same.
    let status = world.json(["status", "looked-at"]);
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{status:#}");
    for worker in workers {
        let machine = worker["machine"].as_str().unwrap();
        assert_eq!(
            machine,
            world.machine_of(&id, worker["task"].as_u64().unwrap())
        );
        assert!(world.ok(["status", &id]).contains(machine));
    }
    // More time, in the ledger and for the machines.
    let ends = || {
        let ends = world.shell(
            "aws autoscaling describe-scheduled-actions \
             --query 'ScheduledUpdateGroupActions[].StartTime' --output text",
        );
        ends.trim().to_owned()
    };
    let before = ends();
    world.ok(["extend", "last", "2h"]);
    assert!(ends() > before, "{before} {}", ends());

    let mut follower = world
        .spawn(["logs", &id, "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    world.open_gate();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut lines: Vec<String> = lines.map(Result::unwrap).collect();
    lines.sort();
    assert_eq!(lines, ["[0] through 0", "[1] through 1"]);
    assert!(follower.wait().unwrap().success());
    world.wait(&id).expect_code(0);
    world.all_gone();
}

#[test]
fn a_cancelled_array_gives_its_scripts_time_and_leaves_nothing() {
    let Some(world) = World::with_machines() else {
        return;
    };
    let id = launch_waiting(&world, "2");
    world.await_at_gate(2);
    world
        .run(["cancel", &id, "--yes", "--notice", "5m"])
        .expect_code(2)
        .expect_err("cannot be had on EC2");
    world
        .run(["interrupt", &id, "--task", "0"])
        .expect_err("EC2");
    assert_eq!(world.json(["status", &id])["counts"]["running"], 2);
    world.ok(["cancel", &id, "--yes"]);
    world.wait(&id).expect_code(1);
    let cancelled = (0..2).map(|index| (index, "cancelled".to_owned(), 1));
    assert_eq!(world.tasks(&id), cancelled.collect::<Vec<_>>());
    world.all_gone();
}
