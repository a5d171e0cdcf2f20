//! What a launch can ask of its machines: images, on-demand machines in the stead of spot ones, and
//! machines that stay.

use serde_json::{Value, json};

use crate::account::{AT_GATE_POLICIES, instance_type};
use crate::world::World;

/// The newest Ubuntu of this machine's processor.
fn ubuntu(world: &World) -> String {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let name = format!(
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/{architecture}/hvm/ebs-gp3/ami-id"
    );
    let ask = "aws ssm get-parameters --query 'Parameters[0].Value' --output text --names";
    world.shell(&format!("{ask} {name}")).trim().to_owned()
}

#[test]
fn an_image_of_ones_own_is_booted_and_given_what_the_script_names() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.shell("aws s3 mb s3://results");
    world.write(
        "say.sh",
        "date -u | aws s3 cp - s3://results/said && echo '[1]' | jq -c 'map(. + 1)'\n",
    );
    let image = ubuntu(&world);
    let flags = "--ttl 1h --user-data @say.sh --iam-policy s3:FullAccess --volume-size 30";
    let id = world.launch(flags.split(' ').chain([
        "--az",
        "us-east-1b",
        "--ami",
        &image,
        "--instance-type",
        instance_type(),
    ]));
    world.wait(&id).expect_code(0);
    assert_eq!(world.ok(["logs", &id, "--task", "0"]), "[2]\n");
    let machines = world.shell(
        "aws ec2 describe-instances --query \
         'Reservations[].Instances[].[ImageId,Placement.AvailabilityZone]' --output text",
    );
    assert_eq!(machines.trim(), format!("{image}\tus-east-1b"));
    world.all_gone();
}

#[test]
fn on_demand_machines_stand_in_for_spot_ones_that_do_not_come() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    let pool = json!({ "type": instance_type(), "market": "spot", "capacity": 1 });
    world.bed.post("capacity", &pool);
    let flags = "--array 3 --ttl 1h --spot --spot-fallback 10m --user-data @wait.sh";
    let id = world.launch(flags.split(' ').chain([
        "--iam-policy",
        AT_GATE_POLICIES,
        "--instance-type",
        instance_type(),
    ]));
    world.await_at_gate(1);
    let market = |machine: &Value| machine["market"].as_str().expect("a market").to_owned();
    let markets = || -> Vec<String> { world.machines().iter().map(market).collect() };
    assert_eq!(markets(), ["spot"]);
    world.advance(601);
    world.await_at_gate(3);
    // One for whom nothing is left goes by itself.
    world.until("as many machines as tasks", || {
        (world.machines_in("running").len() == 3).then_some(())
    });
    assert!(
        markets()
            .iter()
            .filter(|market| *market == "on-demand")
            .count()
            >= 2
    );
    world.open_gate();
    world.wait(&id).expect_code(0);
    let once = (0..3).map(|index| (index, "succeeded".to_owned(), 1));
    assert_eq!(world.tasks(&id), once.collect::<Vec<_>>());
    world.all_gone();
}

#[test]
fn nobody_stands_in_where_all_spot_machines_came() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("wait.sh", world.gate());
    let flags = "--array 2 --ttl 1h --spot --spot-fallback 10m --user-data @wait.sh";
    let id = world.launch(flags.split(' ').chain([
        "--iam-policy",
        AT_GATE_POLICIES,
        "--instance-type",
        instance_type(),
    ]));
    world.await_at_gate(2);
    world.until("the raise is cancelled", || {
        let actions = world.shell(
            "aws autoscaling describe-scheduled-actions \
             --query 'ScheduledUpdateGroupActions[].[ScheduledActionName]' --output text",
        );
        (!actions.contains("-raise")).then_some(())
    });
    world.advance(601);
    world.open_gate();
    world.wait(&id).expect_code(0);
    assert_eq!(world.machines().len(), 2);
    world.all_gone();
}

/// States of all machines, sorted.
fn states(world: &World) -> Vec<String> {
    let machines = world.machines();
    let state = |machine: &Value| machine["state"].as_str().expect("a state").to_owned();
    let mut states: Vec<String> = machines.iter().map(state).collect();
    states.sort();
    states
}

#[test]
fn machines_that_stay_do_as_they_were_told_and_end_at_the_ttl() {
    for (action, then, at_ttl) in [
        ("stop", "stopped", "stopped"),
        ("none", "running", "terminated"),
    ] {
        let Some(world) = World::with_machines() else {
            return;
        };
        let flags = ["--array", "2", "--ttl", "1h", "--on-complete", action];
        let kind = [
            "--instance-type",
            instance_type(),
            "--user-data",
            "echo done",
        ];
        let id = world.launch(flags.into_iter().chain(kind));
        world.wait(&id).expect_code(0);
        world.until("they do as they were told", || {
            (states(&world) == [then, then]).then_some(())
        });
        assert!(world.groups().is_empty());
        world.advance(3_700);
        world.until("their time is over", || {
            (states(&world) == [at_ttl, at_ttl]).then_some(())
        });
        // What is left is found, and goes when asked to.
        let shown = world.ok(["cleanup", &id]);
        assert!(shown.contains("launch template"), "{shown}");
        world.ok(["cleanup", &id, "--yes"]);
        world.until("all are gone", || {
            (states(&world) == ["terminated", "terminated"]).then_some(())
        });
        assert_eq!(world.templates(), Vec::<String>::new());
        assert!(world.ok(["cleanup", &id]).contains("nothing to remove"));
    }
}
