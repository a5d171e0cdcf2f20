//! Fewer machines are to be had than were asked for.

use serde_json::json;

use crate::account::{AT_GATE_POLICIES, instance_type};
use crate::world::World;

#[test]
fn seven_machines_do_the_work_of_ten() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    world.bed.post(
        "capacity",
        &json!({ "type": instance_type(), "capacity": 7 }),
    );
    let flags = "--array 10 --ttl 1h --user-data @wait.sh --instance-type";
    let id =
        world.launch(
            flags
                .split(' ')
                .chain([instance_type(), "--iam-policy", AT_GATE_POLICIES]),
        );
    // Seven run; what holds the other three up is said.
    let first = world.await_at_gate(7);
    let status = world.json(["status", &id]);
    assert_eq!(
        (&status["counts"]["running"], &status["counts"]["pending"]),
        (&json!(7), &json!(3)),
        "{status:#}"
    );
    let held_up = status["held_up"]
        .as_str()
        .unwrap_or_else(|| panic!("{status:#}"));
    assert!(
        held_up.contains(instance_type()) && held_up.contains("InsufficientInstanceCapacity"),
        "{held_up}"
    );
    assert_eq!(world.machines().len(), 7);

    // They take the others when they are through with their own.
    world.open_gate();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 10);
    assert_eq!(first.len(), 7);
    let once = (0..10).map(|index| (index, "succeeded".to_owned(), 1));
    assert_eq!(world.tasks(&id), once.collect::<Vec<_>>());
    assert_eq!(world.machines().len(), 7);
    world.all_gone();
}
