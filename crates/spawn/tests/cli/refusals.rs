//! A command line that is wrong starts nothing and makes nothing.

use std::process::Stdio;

use crate::support::{Output, World};

/// Nothing runs, nothing was made, nothing was printed as a result.
#[track_caller]
fn expect_refused(world: &World, output: Output, says: &str) {
    let output = output.expect_code(2).expect_err(says);
    assert!(output.stdout.is_empty(), "{output}");
    assert!(output.err().starts_with("error: "), "{output}");
    assert!(!world.home.exists(), "a home was made:\n{output}");
}

#[test]
fn wrong_launches_are_refused_by_name() {
    let world = World::new();
    world.write("s.sh", "echo hi\n");
    world.write("empty.sh", "");
    world.write("crlf.sh", "#!/bin/bash\r\necho hi\r\n");
    world.write("cloud.yaml", "#cloud-config\npackages: [jq]\n");
    world.write("nobody.sh", "#!/no/such/interpreter\necho\n");
    world.write("bare.sh", "#!\necho\n");
    std::fs::create_dir(world.work.join("dir")).unwrap();
    let table: &[(&[&str], &str)] = &[
        (&[], "nothing to run"),
        (&["--user-data", "@s.sh", "--arrray", "3"], "--arrray"),
        (&["--user-data", "@s.sh", "stray"], "stray"),
        (
            &["--user-data", "@s.sh", "--instance-type", "c7i"],
            "--instance-type",
        ),
        (
            &["--user-data", "@s.sh", "--instance-type", "big.huge.one"],
            "--instance-type",
        ),
        (&["--user-data", "@s.sh", "--array", "0"], "--array 0"),
        (
            &["--user-data", "@s.sh", "--array", "5-1"],
            "did you mean `1-5`",
        ),
        (
            &["--user-data", "@s.sh", "--array", "0-5,3-9"],
            "index 3 is named twice",
        ),
        (
            &["--user-data", "@s.sh", "--array", "0-99999999999"],
            "--array",
        ),
        (
            &["--user-data", "@s.sh", "--array", "99999999999999999999999"],
            "--array",
        ),
        (&["--user-data", "@s.sh", "--array", "-1"], "--array"),
        (&["--user-data", "@s.sh", "--array", "1,,2"], "--array"),
        (&["--user-data", "@s.sh", "--array", "ten"], "--array"),
        (&["--user-data", "@s.sh", "--array", "3%0"], "%0"),
        (&["--user-data", "@s.sh", "--workers", "0"], "--workers"),
        (&["--user-data", "@s.sh", "--workers", "many"], "--workers"),
        (&["--user-data", "@s.sh", "--ttl", "0"], "--ttl"),
        (
            &["--user-data", "@s.sh", "--ttl", "90"],
            "did you mean `90s`",
        ),
        (&["--user-data", "@s.sh", "--timeout", "soon"], "--timeout"),
        (&["--user-data", "@s.sh", "--provider", "ec2"], "no region"),
        (
            &["--user-data", "@s.sh", "--provider", "ec2", "--durable"],
            "`--durable` is for the local provider only",
        ),
        (
            &["--user-data", "@s.sh", "--on-demand-base", "2"],
            "`--on-demand-base` is only used with `--spot`",
        ),
        (
            &["--user-data", "@s.sh", "--on-demand-base", "two"],
            "--on-demand-base",
        ),
        (&["--user-data", "@s.sh", "--subnet", "default"], "--subnet"),
        (
            &["--user-data", "@s.sh", "--volume-type", "st1"],
            "no machine boots from `st1`",
        ),
        (
            &["--user-data", "@s.sh", "--iam-policy-file", "crlf.sh"],
            "crlf.sh:1:1: not JSON",
        ),
        (
            &[
                "--user-data",
                "@s.sh",
                "--iam-role",
                "worker",
                "--iam-policy",
                "s3:ReadOnly",
            ],
            "`--iam-role` and `--iam-policy`",
        ),
        (&["--user-data", "@s.sh", "--provider", "gcp"], "--provider"),
        (&["--user-data", "@s.sh", "--wait-timeout", "1s"], "--wait"),
        (
            &["--user-data", "@s.sh", "--iam-policy", "s3:Full"],
            "--iam-policy",
        ),
        (&["--user-data", "@s.sh", "--tags", "novalue"], "--tags"),
        (&["--user-data", "@s.sh", "--name", "a b"], "--name"),
        (
            &["--user-data", "@s.sh", "--env", "TASK_ARRAY_INDEX=1"],
            "--env",
        ),
        (&["--user-data", "@s.sh", "--include", "../x"], "--include"),
        (
            &["--user-data", "@s.sh", "--output-id", "no/such/dir/id"],
            "--output-id",
        ),
        (&["--user-data", "@missing.sh"], "missing.sh"),
        (&["--user-data", "@empty.sh"], "empty.sh"),
        (&["--user-data", "@dir"], "is a directory"),
        (&["--user-data", "@crlf.sh"], "CRLF"),
        (&["--user-data", "@cloud.yaml"], "cloud-init"),
        (&["--user-data", "@nobody.sh"], "/no/such/interpreter"),
        (&["--user-data", "@bare.sh"], "names no interpreter"),
        (&["--user-data", "s.sh"], "@s.sh"),
        (
            &["--user-data", "@s.sh", "--", "echo"],
            "each say what to run",
        ),
        (&["--", "no-such-program-anywhere"], "no such program"),
    ];
    for (args, says) in table {
        let output = world.run(["launch"].iter().chain(*args));
        expect_refused(&world, output, says);
    }
    assert_eq!(world.host(), None);
}

#[test]
fn an_empty_standard_input_is_no_script() {
    let world = World::new();
    let mut launch = world.spawn(["launch", "--user-data", "@-"]);
    expect_refused(&world, Output::of(launch.stdin(Stdio::null())), "empty");
}

#[test]
fn wrong_commands_are_refused_by_name() {
    let world = World::new();
    let table: &[(&[&str], &str)] = &[
        (&["lunch"], "lunch"),
        (&["status"], "<ID>"),
        (&["status", "last", "--wait-timeout", "1s"], "--wait"),
        (
            &["status", "last", "--wait", "--wait-timeout", "x"],
            "--wait-timeout",
        ),
        (&["status", "last", "-o", "yaml"], "--output"),
        (&["tasks", "last", "--state", "lost"], "--state"),
        (&["logs", "last", "--attempt", "1", "--failed"], "--failed"),
        (&["interrupt", "last", "--task", "x"], "--task"),
        (&["interrupt", "last", "--notice", "soon"], "--notice"),
        (&["extend", "last"], "<DURATION>"),
        (&["extend", "last", "2"], "DURATION"),
        (&["retry", "last", "--failed", "--tasks", "1"], "--tasks"),
        (&["retry", "last", "--ttl", "0h"], "--ttl"),
        (&["terminate"], "<ID>"),
        (&["explain", "last", "--task", "-1"], "'-1'"),
        (&["config", "hide"], "hide"),
        (&["cancel", "last", "--notice", "0"], "--notice"),
        (&["completion", "tcsh"], "tcsh"),
        (&["local", "restart"], "restart"),
    ];
    for (args, says) in table {
        expect_refused(&world, world.run(*args), says);
    }
}

#[test]
fn a_home_that_is_not_absolute_is_refused() {
    let world = World::new();
    let mut status = world.spawn(["status", "last"]);
    let output = Output::of(status.env("SPAWN_HOME", "here"));
    expect_refused(&world, output, "SPAWN_HOME");
}

#[test]
fn a_home_that_cannot_be_made_is_a_matter_of_permission() {
    let world = World::new();
    let file = world.write("file", "");
    let mut launch = world.spawn(["launch", "--user-data", "true"]);
    let output = Output::of(launch.env("SPAWN_HOME", file.join("home")));
    output.expect_code(4).expect_err("SPAWN_HOME");
}

#[test]
fn an_array_that_is_not_there_is_not_found_and_starts_no_host() {
    let world = World::new();
    let commands: &[&[&str]] = &[
        &["status", "x"],
        &["status", "last", "--wait"],
        &["tasks", "x"],
        &["logs", "x"],
        &["cancel", "x"],
        &["terminate", "x"],
        &["explain", "x"],
        &["retry", "x"],
        &["extend", "x", "1h"],
        &["interrupt", "x", "--task", "1"],
    ];
    for args in commands {
        let output = world.run(*args).expect_code(3);
        assert!(output.err().contains("spawn list"), "{output}");
    }
    assert_eq!(world.ok(["-o", "json", "list"]).trim(), "[]");
    assert!(!world.home.exists());
}

#[test]
fn what_an_array_does_not_have_is_named() {
    let world = World::new();
    let id = world.launch(["--array", "2", "--wait", "--user-data", "true"]);
    let table: &[(&[&str], i32, &str)] = &[
        (&["logs", "last", "--attempt", "1"], 2, "add `--task INDEX`"),
        (&["explain", "last"], 2, "--task INDEX"),
        (&["explain", "last", "--task", "9"], 3, "no task 9"),
        (&["interrupt", "last", "--task", "9"], 3, "no task 9"),
        (
            &["interrupt", "last", "--task", "1"],
            1,
            "not running (succeeded)",
        ),
        (&["interrupt", "last"], 2, "--task INDEX"),
        (
            &["interrupt", "no-such-worker"],
            3,
            "no worker `no-such-worker`",
        ),
        (&["extend", "last", "1h"], 1, "spawn retry"),
        (
            &["retry", "last", "--tasks", "5"],
            2,
            "error: `--tasks 5`: the array has no index 5; its indices are 0-1",
        ),
        (
            &["retry", "last", "--tasks", "x"],
            2,
            "hint: the array has the indices 0-1",
        ),
    ];
    for (args, code, says) in table {
        world.run(*args).expect_code(*code).expect_err(says);
    }
    assert_eq!(world.json(["status", &id])["state"], "succeeded");
}
