//! Launches that break off or lose answers, at every single call in turn.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::account::instance_type;
use crate::support::Output;
use crate::world::World;

/// Machines that each launch wants.
const WANTED: u64 = 3;

/// An account that is set up, in which no machine is to be had, and how many calls a launch makes.
fn account() -> (World, u64) {
    let world = World::without_machines(&[]);
    world.bed.post("capacity", &json!({ "capacity": 0 }));
    attempt(&world);
    world.bed.delete("counts");
    let (code, id) = attempt(&world);
    assert_eq!((code, id.is_some()), (0, true));
    let calls = world.counts().values().sum();
    assert!(calls > 10, "{calls}");
    (world, calls)
}

fn command(world: &World) -> std::process::Command {
    let _ = fs::remove_file(world.work.join("id"));
    let wanted = WANTED.to_string();
    let flags = ["--array", &wanted, "--ttl", "1h", "--output-id", "id"];
    let mut command = world.launch_command(flags);
    command.args(["--instance-type", instance_type(), "--user-data", "true"]);
    command
}

/// One launch: its exit code, and its id if it got that far.
fn attempt(world: &World) -> (i32, Option<String>) {
    let output = Output::of(&mut command(world));
    (output.code, begun(world))
}

fn begun(world: &World) -> Option<String> {
    let id = fs::read_to_string(world.work.join("id")).unwrap_or_default();
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Goes on with what was begun, as a user would, and asserts that it is there once. Whether there
/// was anything to go on with.
fn resume(world: &World, groups_before: usize, what: &str) -> bool {
    let arrays = || world.json(["list", "--region", "us-east-1"]);
    let begun = begun(world);
    let is_begun = begun.is_some();
    match begun {
        Some(id) => {
            world.run(["launch", "--resume", &id]).expect_code(0);
            let groups = world.groups();
            let name = format!("spawn-{id}-0");
            let mut own = groups.iter().filter(|group| group["name"] == name.as_str());
            let group = own.next().unwrap_or_else(|| panic!("{what}: no {name}"));
            assert_eq!(own.count(), 0, "{what}");
            assert_eq!(
                (&group["desired"], &group["max"]),
                (&json!(WANTED), &json!(WANTED)),
                "{what}"
            );
            assert_eq!(group["scheduled"].as_array().unwrap().len(), 1, "{what}");
            assert_eq!(groups.len(), groups_before + 1, "{what}");
            let listed = arrays();
            let listed = listed.as_array().unwrap().iter();
            let listed = listed.filter(|array| array["array_id"] == id.as_str());
            assert_eq!(listed.count(), 1, "{what}");
            world.run(["cleanup", &id, "--yes"]).expect_code(0);
            world.until("the group is gone", || {
                (world.groups().len() == groups_before).then_some(())
            });
        }
        // It never began: nothing was made.
        None => assert_eq!(world.groups().len(), groups_before, "{what}"),
    }
    is_begun
}

/// Kills a launch while the call that a delay meets is on its way; it is carried out afterwards.
fn kill_at(world: &World, delay: &Value, what: &str) {
    world.bed.delete("faults");
    world.bed.post("faults", delay);
    let mut launch = command(world);
    let launch = launch.stdout(Stdio::null()).stderr(Stdio::null());
    let mut launch = launch.spawn().expect("a launch can be started");
    world.until(what, || {
        let faults = world.bed.get("faults");
        let mut faults = faults.as_object().expect("faults by number").values();
        let is_met = faults.any(|fault| fault["hits"] == 1);
        let has_ended = launch.try_wait().expect("it can be asked after").is_some();
        assert!(is_met || !has_ended, "{what}: it is not called");
        is_met.then_some(())
    });
    let carried_out = world.counts().values().sum::<u64>();
    launch.kill().expect("it can be killed");
    launch.wait().expect("it ends");
    world.until("the call was carried out", || {
        (world.counts().values().sum::<u64>() > carried_out).then_some(())
    });
    world.bed.delete("faults");
}

fn at_every_call(kinds: &[Value]) {
    let (world, calls) = account();
    let groups = world.groups().len();
    for call in 1..=calls {
        for kind in kinds {
            let mut fault = kind.clone();
            fault["at"] = json!(call);
            world.bed.post("faults", &fault);
            attempt(&world);
            world.bed.delete("faults");
            resume(&world, groups, &fault.to_string());
        }
    }
}

#[test]
fn a_lost_answer_at_any_call_doubles_nothing() {
    at_every_call(&[json!({ "kind": "lost-after" })]);
}

#[test]
fn an_error_or_a_throttle_at_any_call_doubles_nothing() {
    at_every_call(&[
        json!({ "kind": "error-after" }),
        json!({ "kind": "throttle" }),
    ]);
}

#[test]
fn a_launch_killed_at_any_call_is_gone_on_with() {
    let (world, calls) = account();
    let groups = world.groups().len();
    let (mut begun, mut not_begun) = (0, 0);
    for call in 1..=calls {
        let what = format!("killed at call {call}");
        kill_at(
            &world,
            &json!({ "kind": "delay", "seconds": 0.6, "at": call }),
            &what,
        );
        match resume(&world, groups, &what) {
            true => begun += 1,
            false => not_begun += 1,
        }
    }
    // It breaks off before anything is made, and in the midst of it.
    assert!(begun >= 8 && not_begun >= 10, "{begun} {not_begun}");
}

/// What a first launch makes for the whole account, in its order.
const SET_UP: [&str; 14] = [
    "s3:CreateBucket",
    "s3:PutPublicAccessBlock",
    "s3:PutBucketEncryption",
    "s3:PutBucketLifecycleConfiguration",
    "s3:PutBucketTagging",
    "dynamodb:CreateTable",
    "ec2:CreateSecurityGroup",
    "s3:PutObject",
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "iam:CreateInstanceProfile",
    "iam:AddRoleToInstanceProfile",
    "ec2:CreateLaunchTemplate",
    "autoscaling:CreateAutoScalingGroup",
];

#[test]
fn first_launches_that_are_killed_leave_an_account_that_the_next_one_sets_up_whole() {
    let world = World::without_machines(&[]);
    world.bed.post("capacity", &json!({ "capacity": 0 }));
    let mut begun_ids = Vec::new();
    for operation in SET_UP {
        let fault = json!({ "operation": operation, "kind": "delay", "seconds": 0.6 });
        kill_at(&world, &fault, operation);
        begun_ids.extend(begun(&world));
    }
    let (code, id) = attempt(&world);
    assert_eq!((code, id.is_some()), (0, true));
    // The bucket is as closed and as tidy as if nothing had happened.
    let bucket = "spawn-123456789012-us-east-1";
    let of = |what: &str| {
        let command = format!("aws s3api {what} --bucket {bucket}");
        serde_json::from_str::<Value>(&world.shell(&command)).unwrap()
    };
    let block = &of("get-public-access-block")["PublicAccessBlockConfiguration"];
    assert!(
        block
            .as_object()
            .unwrap()
            .values()
            .all(|is_blocked| *is_blocked == true),
        "{block}"
    );
    assert!(of("get-bucket-encryption")["ServerSideEncryptionConfiguration"].is_object());
    let rules = &of("get-bucket-lifecycle-configuration")["Rules"];
    assert_eq!(rules.as_array().unwrap().len(), 2, "{rules}");
    assert_eq!(of("get-bucket-tagging")["TagSet"][0]["Key"], "spawn:tool");
    // Whatever had begun goes when it is told to.
    assert!(begun_ids.len() >= 2, "{begun_ids:?}");
    for id in &begun_ids {
        world.ok(["cleanup", id, "--yes"]);
    }
    world.until("one group is left", || {
        (world.groups().len() == 1).then_some(())
    });
    assert_eq!(world.templates(), [format!("spawn-{}-0", id.unwrap())]);
}

#[test]
fn a_launch_killed_at_any_call_leaves_nothing_after_its_cleanup() {
    let (world, calls) = account();
    let groups = world.groups().len();
    let templates = world.templates();
    let mut cleaned = 0;
    for call in 1..=calls {
        let what = format!("killed at call {call}");
        kill_at(
            &world,
            &json!({ "kind": "delay", "seconds": 0.6, "at": call }),
            &what,
        );
        if let Some(id) = begun(&world) {
            world.ok(["cleanup", &id, "--yes"]);
            cleaned += 1;
        }
        world.until(&what, || (world.groups().len() == groups).then_some(()));
    }
    // Its bundle is kept as its logs are, until the rules of the bucket remove both.
    assert_eq!(world.templates(), templates);
    assert!(cleaned >= 8, "{cleaned}");
}
