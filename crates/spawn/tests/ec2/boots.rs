//! Machines that cannot get ready.

use serde_json::json;

use crate::account::instance_type;
use crate::world::World;

#[test]
fn boots_that_fail_are_bounded_and_explained() {
    let Some(world) = World::with_machines() else {
        return;
    };
    let world = world.with("SPAWN_BOOT_PATIENCE", "10s");
    // However much time passes, it stays known which machines there were.
    world.bed.post("delays", &json!({ "forget": 1_000_000 }));
    // Between the launch and the first boot somebody spoils what machines fetch.
    world.bed.post("capacity", &json!({ "capacity": 0 }));
    let flags = ["--array", "5", "--ttl", "1h", "--user-data", "true"];
    let id = world.launch(
        flags
            .into_iter()
            .chain(["--instance-type", instance_type()]),
    );
    let bucket = "spawn-123456789012-us-east-1";
    let programs = world.keys(bucket, "programs/");
    let node = programs.iter().find(|key| key.ends_with("/spored-node"));
    let node = node.unwrap_or_else(|| panic!("{programs:?}"));
    world.shell(&format!(
        "echo spoilt | aws s3 cp --quiet - s3://{bucket}/{node}"
    ));
    world.bed.post("capacity", &json!({ "capacity": null }));

    // Each leaves a note and goes; the fifth has its group start no more.
    world.until("the group starts no more", || {
        let suspended = world.groups()[0]["suspended"].clone();
        let suspended = suspended.as_array().unwrap().clone();
        suspended.contains(&json!("Launch")).then_some(())
    });
    world.until("all machines are gone", || {
        let machines = world.machines();
        let gone = |machine: &serde_json::Value| machine["state"] == "terminated";
        machines.iter().all(gone).then_some(())
    });
    let launched = world.machines().len();
    assert!((5..=10).contains(&launched), "{launched} machines");

    // Nothing is said to have run, and why nothing does is told.
    let status = world.json(["status", &id]);
    assert_eq!(status["counts"]["pending"], 5, "{status:#}");
    let held_up = status["held_up"]
        .as_str()
        .unwrap_or_else(|| panic!("{status:#}"));
    assert!(held_up.contains("could not get ready"), "{held_up}");
    assert!(held_up.contains("has not the SHA-256"), "{held_up}");
    assert!(held_up.contains("no more are launched"), "{held_up}");

    // At the TTL nothing is left to end, and nothing starts any more.
    world.advance(3600 + 60);
    world.until("the group has no room", || {
        (world.groups()[0]["max"] == 0).then_some(())
    });
    assert_eq!(world.machines().len(), launched);
    world.ok(["cleanup", &id, "--yes"]);
    world.all_gone();
}
