//! What tasks do not notice: large scripts, missing programs, services that are out for a while.

use serde_json::json;

use crate::account::{AT_GATE_POLICIES, instance_type};
use crate::world::World;

#[test]
fn a_script_that_is_larger_than_user_data_runs_with_the_programs_it_names() {
    let Some(world) = World::with_machines() else {
        return;
    };
    // The image has no jq; EC2 takes 16,384 bytes of user data.
    let padding = "# thirty-two bytes of no meaning.\n".repeat(3000);
    let script = format!("{padding}echo '{{\"n\": 41}}' | jq '.n + 1'\necho end\n");
    assert!(script.len() > 100_000);
    world.write("large.sh", script);
    let flags = ["--ttl", "1h", "--user-data", "@large.sh", "--instance-type"];
    let id = world.launch(flags.into_iter().chain([instance_type()]));
    world.wait(&id).expect_code(0);
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "42\nend\n");
    world.all_gone();
}

#[test]
fn work_goes_on_without_the_metadata_service_and_through_failing_calls() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    let flags = "--array 2 --ttl 1h --retries 0 --user-data @wait.sh --instance-type";
    let flags = flags.split(' ');
    let id = world.launch(flags.chain([instance_type(), "--iam-policy", AT_GATE_POLICIES]));
    world.await_at_gate(2);
    let machines = world.machines_in("running");
    for machine in &machines {
        world.happens(machine, "metadata", json!({ "down": true }));
    }
    // Of the ledger's calls that follow many fail, in every way.
    for (at, kind) in [
        (1, "error-before"),
        (4, "lost-after"),
        (9, "throttle"),
        (14, "lost-before"),
    ] {
        let fault = json!({ "operation": "dynamodb:*", "kind": kind, "at": at, "times": 3 });
        world.bed.post("faults", &fault);
    }
    world.until("all faults were met", || {
        let faults = world.bed.get("faults");
        let mut faults = faults.as_object().unwrap().values();
        faults.all(|fault| fault["hits"] == 3).then_some(())
    });
    // Scripts ask that service for their credentials themselves.
    for machine in &machines {
        world.happens(machine, "metadata", json!({ "down": false }));
    }
    world.open_gate();
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["workers_lost"], 0, "{status:#}");
    let once = (0..2).map(|index| (index, "succeeded".to_owned(), 1));
    assert_eq!(world.tasks(&id), once.collect::<Vec<_>>());
    assert_eq!(world.machines().len(), 2);
    world.all_gone();
}
