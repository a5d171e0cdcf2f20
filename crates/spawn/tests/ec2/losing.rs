//! Machines that are lost without a word, and agents that do nothing any more.

use serde_json::json;

use crate::account::{AT_GATE_POLICIES, instance_type};
use crate::world::World;

#[test]
fn the_index_of_a_crashed_machine_runs_again_on_another() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    let flags = "--array 3 --ttl 1h --retries 0 --user-data @wait.sh --instance-type";
    let id =
        world.launch(
            flags
                .split(' ')
                .chain([instance_type(), "--iam-policy", AT_GATE_POLICIES]),
        );
    world.await_at_gate(3);
    let machine = world.machine_of(&id, 1);
    world.happens(&machine, "crash", json!({}));

    // Others see that it is silent, give it up, and the group starts another.
    let there = world.await_at_gate(4);
    assert!(there.contains(&(1, 2)), "{there:?}");
    let replacement = world.machine_of(&id, 1);
    assert_ne!(machine, replacement);
    world.open_gate();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 3);
    assert_eq!(
        (&status["workers_lost"], &status["interrupted"]),
        (&json!(1), &json!(0))
    );
    let expected = [(0, 1), (1, 2), (2, 1)];
    let expected = expected.map(|(index, attempt)| (index, "succeeded".to_owned(), attempt));
    assert_eq!(world.tasks(&id), expected);
    let story = world.json(["explain", &id, "--task", "1"]);
    assert_eq!(story["attempts"][0]["cause"], "worker_lost", "{story:#}");
    assert_eq!(world.machines().len(), 4);
    world.all_gone();
}

/// From now on the machine gets nothing done: neither AWS nor its metadata answers it.
fn cut_off(world: &World, machine: &str) {
    let seen = world.bed.get(&format!("machines/{machine}"));
    let role = seen["profile"].as_str().expect("a profile");
    let role = role.rsplit('/').next().expect("a name");
    let who = format!("role/{role}/{machine}");
    let fault = json!({ "kind": "error-before", "times": 0, "who": who });
    world.bed.post("faults", &fault);
    world.happens(machine, "metadata", json!({ "down": true }));
}

#[test]
fn the_ttl_ends_machines_whose_agents_do_nothing_any_more() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    let flags = "--array 3 --ttl 70s --user-data @wait.sh --instance-type";
    let flags = flags.split(' ');
    let id = world.launch(flags.chain([instance_type(), "--iam-policy", AT_GATE_POLICIES]));
    world.await_at_gate(3);
    let machines = world.machines_in("running");
    assert_eq!(machines.len(), 3);
    for machine in &machines {
        cut_off(&world, machine);
    }

    // Nobody is left to write anything down: that it is over follows from the time.
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 3, "{status:#}");
    let tasks = world.json(["tasks", &id]);
    for task in tasks.as_array().unwrap() {
        assert_eq!(task["cause"], "ttl", "{task}");
    }
    // The group's own action takes the machines away, and none comes instead.
    world.all_machines_gone();
    assert_eq!(world.machines().len(), 3);
    for group in world.groups() {
        assert_eq!((&group["max"], &group["members"]), (&json!(0), &json!([])));
    }

    // What costs nothing and starts nothing goes with the rest.
    world.ok(["cleanup", &id, "--yes"]);
    world.all_gone();
}
