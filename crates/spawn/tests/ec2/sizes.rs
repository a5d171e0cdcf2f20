//! A launch costs the same few calls, however large it is.

use serde_json::json;

use crate::account::instance_type;
use crate::world::World;

/// Bundle, number and record in the ledger, template, group, the action that ends it, no
/// rebalancing, and room for machines.
const CHANGES: u64 = 8;

/// Calls of these kinds change nothing.
fn is_look(call: &str) -> bool {
    let (_, operation) = call.split_once(':').unwrap();
    let looks = [
        "Get", "List", "Head", "Describe", "Simulate", "Query", "BatchGet",
    ];
    looks.iter().any(|look| operation.starts_with(look))
}

#[test]
fn a_thousand_machines_are_as_many_calls_as_one() {
    let world = World::without_machines(&["--throttle"]);
    world
        .bed
        .post("quotas", &json!({ "on-demand": 4000, "spot": 4000 }));
    // No machine is needed to see what is asked for.
    world.bed.post("capacity", &json!({ "capacity": 0 }));
    let launch = |array: &str| {
        world.bed.delete("counts");
        let flags = [
            "--array",
            array,
            "--ttl",
            "1h",
            "--instance-type",
            instance_type(),
        ];
        let id = world.launch(flags.into_iter().chain(["--user-data", "true"]));
        (id, world.counts())
    };
    // The first one sets the account up.
    let (_, first) = launch("1");
    let (id, small) = launch("1");
    let (large_id, large) = launch("1000");

    let changes = |counts: &std::collections::BTreeMap<String, u64>| {
        let changing = counts.iter().filter(|(call, _)| !is_look(call));
        changing.map(|(_, n)| n).sum::<u64>()
    };
    assert!(changes(&first) > CHANGES, "{first:#?}");
    assert_eq!(changes(&small), CHANGES, "{small:#?}");
    // The very same calls, one by one: reads, too.
    assert_eq!(small, large);
    let reads = large.values().sum::<u64>() - CHANGES;
    assert!(reads <= 25, "{reads} reads: {large:#?}");

    let groups = world.groups();
    let wanted = |id: &str| {
        let name = format!("spawn-{id}-0");
        let group = groups.iter().find(|group| group["name"] == name.as_str());
        group.unwrap_or_else(|| panic!("no {name}"))["desired"].clone()
    };
    assert_eq!((wanted(&id), wanted(&large_id)), (json!(1), json!(1000)));
    assert_eq!(groups.len(), 3);
}
