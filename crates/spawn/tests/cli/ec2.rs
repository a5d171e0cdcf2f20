//! What EC2 commands say before they ask AWS anything.

use crate::support::{Output, World};

/// Nobody is signed in, and nothing is asked for credentials.
fn world() -> World {
    World::new()
        .with("AWS_EC2_METADATA_DISABLED", "true")
        .with("AWS_REGION", "eu-west-1")
}

#[track_caller]
fn expect(world: &World, output: Output, code: i32, says: &[&str]) {
    let output = output.expect_code(code).expect_err(says[0]);
    for says in says {
        assert!(output.err().contains(says), "{says}:\n{output}");
    }
    assert!(!world.home.exists(), "a home was made:\n{output}");
}

const LAUNCH: [&str; 4] = ["launch", "--provider", "ec2", "--array"];

#[test]
fn a_launch_without_credentials_says_how_to_sign_in() {
    let world = world();
    let args = LAUNCH.into_iter().chain(["2", "--", "true"]);
    let says = [
        "nothing was started",
        "nobody is signed in",
        "aws sso login",
    ];
    expect(&world, world.run(args), 4, &says);
    let dry = LAUNCH.into_iter().chain(["2", "--dry-run", "--", "true"]);
    expect(&world, world.run(dry), 4, &says);
}

#[test]
fn the_keys_of_the_embedded_endpoint_start_no_machines() {
    let world = world()
        .with("AWS_ACCESS_KEY_ID", "SPAWNLOCALABCDEFGHIJ")
        .with("AWS_SECRET_ACCESS_KEY", "secret")
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let says = ["embedded endpoint", "spawn env --off"];
    for args in [
        &["launch", "--provider", "ec2", "--", "true"][..],
        &["orphans"],
        &["cleanup"],
        &["list", "--region", "eu-west-1"],
    ] {
        expect(&world, world.run(args), 4, &says);
    }
}

#[test]
fn a_launch_without_a_region_says_so() {
    let world = World::new().with("AWS_EC2_METADATA_DISABLED", "true");
    let args = ["launch", "--provider", "ec2", "--", "true"];
    expect(
        &world,
        world.run(args),
        2,
        &["no region", "--region", "AWS_REGION"],
    );
}

#[test]
fn limits_of_ec2_are_named() {
    let world = world();
    let args = ["launch", "--provider", "ec2", "--ttl", "366d", "--", "true"];
    expect(&world, world.run(args), 2, &["--ttl", "365d"]);
    for (lease, says) in [("1s", "3s to 10m"), ("soon", "SPAWN_LEASE=soon")] {
        let world = super::ec2::world().with("SPAWN_LEASE", lease);
        let args = ["launch", "--provider", "ec2", "--", "true"];
        expect(&world, world.run(args), 2, &["SPAWN_LEASE", says]);
    }
}

#[test]
fn arrays_that_nobody_knows_are_not_found() {
    let world = world();
    for args in [
        &["launch", "--resume", "nope"][..],
        &["cleanup", "nope"],
        &["connect", "nope"],
        &["status", "array-20260127-abc123"],
    ] {
        expect(&world, world.run(args), 3, &["no array `"]);
    }
}

#[test]
fn arrays_of_this_machine_are_not_on_ec2() {
    let world = world();
    world.ok(["launch", "--wait", "--", "true"]);
    for args in [["cleanup", "last"], ["connect", "last"]] {
        let output = world.run(args).expect_code(2);
        output.expect_err("on this machine");
    }
    let list = world.ok(["list"]);
    assert!(!list.contains("where"), "{list}");
}

#[test]
fn the_policy_of_a_person_is_printed_whoever_asks() {
    let world = World::new();
    let printed = world.ok(["doctor", "--policy"]);
    let policy: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    let launch = policy["Statement"][0]["Action"].as_array().unwrap();
    assert!(launch.iter().any(|action| action == "iam:PassRole"));
}

#[test]
fn the_doctor_says_what_is_wrong() {
    let world = world();
    let output = world.run(["doctor"]).expect_code(1);
    assert!(
        output.out().starts_with("bad  nobody is signed in"),
        "{output}"
    );
}
