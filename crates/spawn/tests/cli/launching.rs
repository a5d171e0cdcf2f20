//! `spawn launch`, from the plan to the tasks.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Output, World};

#[test]
fn a_launch_says_where_it_runs_and_what_to_do_next() {
    let world = World::new();
    world.write("s.sh", "echo \"$TASK_ARRAY_INDEX of $TASK_ARRAY_SIZE\"\n");
    let out = world.ok(["launch", "--array", "3", "--user-data", "@s.sh"]);
    let mut lines = out.lines();
    assert_eq!(
        lines.next(),
        Some("local: runs on this machine in sandboxes; costs nothing")
    );
    let id = lines.next().unwrap().split(' ').next().unwrap();
    for command in ["status", "logs", "cancel"] {
        assert!(out.contains(&format!("spawn {command} {id}")), "{out}");
    }
    let status = world.wait(id).expect_code(0).json();
    assert_eq!(status["name"], "s");
    assert_eq!(status["counts"]["succeeded"], 3);
    assert_eq!(
        world.ok(["logs", id]),
        "[0] 0 of 3\n[1] 1 of 3\n[2] 2 of 3\n"
    );
}

#[test]
fn json_is_one_object() {
    let world = World::new();
    let launched = world.json([
        "launch",
        "--array",
        "1-9:2",
        "--workers",
        "2",
        "--name",
        "odd",
        "--user-data",
        "true",
    ]);
    assert!(launched["array_id"].as_str().unwrap().starts_with("array-"));
    assert_eq!(launched["name"], "odd");
    assert_eq!(launched["tasks"], 5);
    assert_eq!(launched["workers"], 2);
    assert_eq!(launched["provider"], "local");
    assert_eq!(launched["indices"], "1-9:2");

    let waited = world.json(["launch", "--wait", "--user-data", "true"]);
    assert_eq!(waited["tasks"], 1);
    assert_eq!(waited["workers"], 1);
    assert_eq!(waited["status"]["state"], "succeeded");
}

#[test]
fn the_id_goes_to_a_file() {
    let world = World::new();
    let id = world.launch(["--user-data", "true", "--output-id", "id.txt"]);
    let path = world.work.join("id.txt");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{id}\n"));
    // A longer old content does not shine through.
    world.write("id.txt", "x".repeat(1000));
    let id = world.launch(["--user-data", "true", "--output-id", "id.txt"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{id}\n"));
    // A refused launch leaves no empty file behind, and the old one as it was.
    let refused = ["launch", "--user-data", "", "--output-id", "new.txt"];
    world.run(refused).expect_code(2);
    assert!(!world.work.join("new.txt").exists());
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{id}\n"));
}

#[test]
fn a_dry_run_tells_everything_and_starts_nothing() {
    let world = World::new();
    world.write("lookup.csv", "a,b\n");
    world.write("s.py", "#!/usr/bin/env python3\nopen('lookup.csv')\n");
    let args = [
        "launch",
        "--dry-run",
        "--array",
        "0-99:10",
        "--workers",
        "4",
        "--ttl",
        "2h",
        "--timeout",
        "5m",
        "--spot",
        "--user-data",
        "@s.py",
        "--output-id",
        "id",
    ];
    let output = world.run(args).expect_code(0).expect_err("`--spot`");
    for text in [
        "s.py",
        "0-90:10",
        "10, indices",
        "2h",
        "5m",
        "lookup.csv",
        "nothing was started",
    ] {
        assert!(output.out().contains(text), "no `{text}` in\n{output}");
    }
    let plan = world.json(args);
    assert_eq!(plan["tasks"], 10);
    assert_eq!(plan["workers"], 4);
    assert_eq!(plan["ttl_seconds"], 7200.0);
    assert_eq!(plan["files"][0]["name"], "lookup.csv");
    assert!(!world.home.exists() && !world.work.join("id").exists());
}

#[test]
fn a_dry_run_shows_all_types_of_machine() {
    let world = World::new();
    let types = "c7i.large,c6i.large,m7i.large";
    let one = [
        "launch",
        "--dry-run",
        "--spot",
        "--instance-type",
        types,
        "--",
        "ls",
    ];
    let text = world.run(one).expect_code(0);
    let shown = "on c7i.large, else c6i.large or m7i.large, spot\n";
    assert!(text.out().contains(shown), "no `{shown}` in\n{text}");
    let plan = world.json(one);
    assert_eq!(plan["instance_type"], "c7i.large");
    assert_eq!(plan["other_types"][1], "m7i.large");

    world.write(
        "rows.csv",
        format!("x,instance_type\n1,\"{types}\"\n2,t3.nano\n3,\"{types}\"\n"),
    );
    let rows = [
        "launch",
        "--dry-run",
        "--param-file",
        "rows.csv",
        "--",
        "ls",
    ];
    let text = world.run(rows).expect_code(0);
    for shown in [
        "2 tasks on c7i.large, else c6i.large or m7i.large, 1d at most\n",
        "1 task on t3.nano, 1d at most\n",
    ] {
        assert!(text.out().contains(shown), "no `{shown}` in\n{text}");
    }
    let plan = world.json(rows);
    assert_eq!(plan["kinds"][0]["other_types"][0], "c6i.large");
}

#[test]
fn scripts_and_files_are_shipped_as_they_are() {
    let world = World::new();
    world.write("data/in.txt", "payload\n");
    world.write_program("tool", "#!/bin/sh\necho \"tool $1\"\n");
    world.write("s.sh", "cat data/in.txt\n./tool works\n");
    let id = world.launch(["--user-data", "@s.sh"]);
    world.wait(&id).expect_code(0);
    assert_eq!(world.ok(["logs", &id]), "payload\ntool works\n");
}

#[test]
fn a_script_may_come_from_standard_input_or_be_large() {
    let world = World::new();
    let mut script = String::from("echo start\n");
    while script.len() < 1 << 20 {
        script.push_str("# padding that a shell reads past, line by line by line by line\n");
    }
    script.push_str("echo end\n");
    let mut launch = world.spawn(["launch", "--wait", "--quiet", "--user-data", "@-"]);
    launch.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut launch = launch.spawn().unwrap();
    let stdin = launch.stdin.take();
    stdin.unwrap().write_all(script.as_bytes()).unwrap();
    let output = launch.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(world.ok(["logs", "last"]), "start\nend\n");
}

#[test]
fn a_command_runs_without_a_shell() {
    let world = World::new();
    let output = world.run([
        "launch", "--wait", "--", "printf", "%s|", "a b", "$HOME", "*",
    ]);
    output.expect_code(0);
    assert_eq!(world.ok(["logs", "last"]), "a b|$HOME|*|");
}

#[test]
fn notes_and_warnings_go_to_standard_error() {
    let world = World::new();
    world.write(
        "s.sh",
        "aws s3 cp s3://my-bucket/x . || true\necho $TASK_ARRAY_INDX\n",
    );
    let mut launch = world.spawn([
        "launch",
        "--instance-type",
        "c7i.large,c6i.large",
        "--region",
        "eu-west-1",
        "--volume-size",
        "100",
        "--workers",
        "5",
        "--user-data",
        "@s.sh",
    ]);
    let no_aws = world.work.join("bin");
    fs::create_dir(&no_aws).unwrap();
    for tool in ["bash", "cat"] {
        std::os::unix::fs::symlink(format!("/bin/{tool}"), no_aws.join(tool)).unwrap();
    }
    let output = Output::of(launch.env("PATH", &no_aws)).expect_code(0);
    for text in [
        "note: 1 worker instead of 5",
        "note: on this machine, the first type of `--instance-type` counts",
        "note: recorded, without effect on this machine: `--region`, `--volume-size`",
        "warning: there is no bucket `my-bucket` yet",
        "aws s3 mb s3://my-bucket",
        "warning: the tasks run `aws`, which is not on PATH",
        "TASK_ARRAY_INDX",
    ] {
        assert!(output.err().contains(text), "no `{text}` in\n{output}");
    }
}

#[test]
fn variables_of_the_user_reach_the_tasks_and_others_do_not() {
    let world = World::new();
    let script = "echo \"$GIVEN|$TAKEN|${STRAY-unset}|$USER\"";
    let mut launch = world.spawn([
        "launch",
        "--wait",
        "--env",
        "GIVEN=a b",
        "--env",
        "TAKEN",
        "--user-data",
        script,
    ]);
    launch.env("TAKEN", "t'\"x").env("STRAY", "s");
    Output::of(&mut launch).expect_code(0);
    let said = world.ok(["logs", "last"]);
    assert_eq!(said, "a b|t'\"x|unset|tester\n");
}
