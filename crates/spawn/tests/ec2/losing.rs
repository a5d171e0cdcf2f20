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
    assert_eq!(story["attempts"][0]["cause"], "worker-lost", "{story:#}");
    assert_eq!(world.machines().len(), 4);
    world.all_gone();
}

#[test]
fn the_ttl_ends_machines_whose_agents_are_all_dead() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    let flags = "--array 3 --ttl 1h --user-data @wait.sh --instance-type";
    let id =
        world.launch(
            flags
                .split(' ')
                .chain([instance_type(), "--iam-policy", AT_GATE_POLICIES]),
        );
    world.await_at_gate(3);
    // From now on no machine gets anything done, and nobody starts another one.
    for machine in world.machines_in("running") {
        let role = world.bed.get(&format!("machines/{machine}"))["profile"].clone();
        let role = role
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        world.bed.post(
            "faults",
            &json!({ "kind": "error-before", "times": 0, "who": format!("role/{role}/{machine}") }),
        );
        world.happens(&machine, "metadata", json!({ "down": true }));
    }
    assert_eq!(world.machines_in("running").len(), 3);
    world.advance(3600 + 60);
    // The group's own action takes them all away, and none comes instead.
    world.all_machines_gone();
    assert_eq!(world.machines().len(), 3);
    let group = &world.groups()[0];
    assert_eq!((&group["max"], &group["desired"]), (&json!(0), &json!(0)));
    assert_eq!(group["members"], json!([]));
    let _ = id;
}
