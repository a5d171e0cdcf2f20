//! Launches from flags to specification, over a directory of real files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use spawn_spec::{
    Ec2Args, LaunchArgs, LaunchContext, LaunchSpec, OnComplete, Program, Provider, SpecError,
    resolve,
};

use place::Place;

mod place;

const WORKER: &str =
    "#!/bin/bash\naws s3 cp s3://my-bucket/a b\npython process.py $TASK_ARRAY_INDEX\n";

#[test]
fn a_documented_launch_becomes_a_spec() {
    let place = Place::with(&[("worker.sh", WORKER), ("process.py", "print(1)\n")]);
    let found = place
        .launch(
            "--instance-type c7i.large --array 50 --ttl 8h --iam-policy sqs:FullAccess,s3:FullAccess \
             --on-complete terminate --user-data @worker.sh",
        )
        .unwrap();
    assert_eq!(found.spec.name, "worker");
    assert_eq!(found.spec.indices.len(), 50);
    assert_eq!(found.spec.ttl_ms, 8 * 3_600_000);
    assert_eq!(found.spec.instance_type.unwrap().as_str(), "c7i.large");
    assert_eq!(
        found.spec.program,
        Program::Script {
            file_name: "worker.sh".into(),
            interpreter: vec!["/bin/bash".into()],
        }
    );
    assert_eq!(found.spec.shipped.len(), 1);
    assert_eq!(found.ship[0].1, "process.py");
    assert_eq!(found.script.as_deref(), Some(WORKER.as_bytes()));
    assert_eq!(found.notes, ["ships process.py (9 B)"]);
    assert_eq!(found.warnings, Vec::<String>::new());
    assert_eq!(found.unused, ["--iam-policy"]);
    assert_eq!(found.buckets, ["my-bucket"]);
    assert_eq!(found.tools, ["aws", "python"]);
}

#[test]
fn what_is_not_given_has_a_default() {
    let found = Place::with(&[("a b.sh", "echo\n")])
        .launch_words(&["--user-data-file", "a b.sh"])
        .unwrap();
    let spec = found.spec;
    assert_eq!(spec.name, "a-b");
    assert_eq!(spec.indices.to_string(), "0-0");
    assert_eq!(spec.ttl_ms, 86_400_000);
    assert_eq!(spec.on_complete, OnComplete::Terminate);
    assert_eq!(
        (spec.workers, spec.max_concurrent, spec.timeout_ms),
        (None, None, None)
    );
    assert_eq!(found.provider, Provider::Local);
    assert_eq!(found.unused, Vec::<&str>::new());
}

#[test]
fn each_refusal_of_flags_is_one_line() {
    let place = Place::with(&[("x.sh", "echo\n")]);
    for (line, message) in [
        (
            "",
            "nothing to run: expected `--user-data`, `--user-data-file` or `-- COMMAND`, or `user_data`, `user_data_file` or `command` in `spawn.toml`",
        ),
        (
            "--user-data @x.sh --user-data-file x.sh -- ls",
            "`--user-data`, `--user-data-file` and `-- COMMAND` each say what to run; expected one of them",
        ),
        (
            "--array 0 -- ls",
            "`--array 0` asks for no tasks; `--array N` runs N tasks with indices 0 to N-1",
        ),
        ("--workers 0 -- ls", "`--workers 0`: expected 1 or more"),
        (
            "--max-concurrent 0 -- ls",
            "`--max-concurrent 0`: expected 1 or more",
        ),
        (
            "--array 9%2 --max-concurrent 3 -- ls",
            "`--array` says `%2` and `--max-concurrent` says 3; expected one of them",
        ),
        (
            "--wait-timeout 5m -- ls",
            "`--wait-timeout` is only used with `--wait`",
        ),
        (
            "--spot-max-price 0.1 -- ls",
            "`--spot-max-price` is only used with `--spot`",
        ),
        (
            "--spot --spot-max-price=-1 -- ls",
            "`--spot-max-price`: `-1` is not a price; expected USD per hour, such as `0.05`",
        ),
        (
            "--spot --spot-max-price inf -- ls",
            "`--spot-max-price`: `inf` is not a price; expected USD per hour, such as `0.05`",
        ),
        (
            "--ttl 90 -- ls",
            "`--ttl`: `90` has no unit; did you mean `90s` or `90m`?",
        ),
        (
            "--timeout 0s -- ls",
            "`--timeout`: `0s` is no time at all; expected 1ms or more",
        ),
        (
            "--instance-type c7ilarge -- ls",
            "`--instance-type`: `c7ilarge` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`",
        ),
        (
            "--region us-east-1a -- ls",
            "`--region`: `us-east-1a` is not a region; expected a name such as `us-east-1`",
        ),
        (
            "--tags a=1 --tags a=2 -- ls",
            "`--tags`: the key `a` is given twice",
        ),
        (
            "--name a/b -- ls",
            "`--name`: `a/b` is not a name; expected 1 to 64 letters, digits, `.`, `_` or `-`",
        ),
        ("--user-data @no.sh", "`no.sh`: no such file"),
        ("--user-data @.", "`.`: is a directory; expected a script"),
        (
            "--user-data x.sh",
            "`--user-data x.sh` is the text of a script, and there is a file of that name",
        ),
        (
            "-- no-such-program",
            "`-- no-such-program`: no such program",
        ),
        ("-- ./x.sh", "`-- ./x.sh`: the file is not executable"),
        (
            "--include no -- ls",
            "`--include no`: no such file or directory",
        ),
    ] {
        assert_eq!(place.refusal(line), message, "{line}");
    }
    assert_eq!(SpecError::EXIT_CODE, 2);
}

#[test]
fn hints_say_what_to_do() {
    let place = Place::with(&[
        ("x.sh", "echo\n"),
        ("dos.sh", "#!/bin/sh\r\necho\r\n"),
        ("s.py", "#!/usr/bin/env no-such-python\n"),
    ]);
    for (line, hint) in [
        (
            "",
            "try `--user-data @script.sh`, or `-- python3 process.py`",
        ),
        (
            "--instance-type c7ilarge -- ls",
            "did you mean `c7i.large`?",
        ),
        (
            "--region us-east-1a -- ls",
            "that is an availability zone; did you mean `us-east-1`?",
        ),
        ("--name a/b -- ls", "did you mean `a-b`?"),
        (
            "--user-data x.sh",
            "to run the file, write `--user-data @x.sh`",
        ),
        (
            "--user-data @~/x.sh",
            "`~` is not expanded after `@`; write `@$HOME/...`",
        ),
        ("--user-data @dos.sh", "run `sed -i 's/\\r$//' dos.sh`"),
        (
            "--user-data @s.py",
            "install `no-such-python`, or correct line 1",
        ),
        (
            "--env NOPE -- ls",
            "set and export it, or write `--env NOPE=VALUE`",
        ),
        (
            "-- ./x.sh",
            "run `chmod +x ./x.sh`, or name its interpreter before it",
        ),
    ] {
        let error = place.launch(line).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some(hint), "{line}");
    }
    let error = place.launch_words(&["--", "echo hi"]).unwrap_err();
    assert_eq!(
        error.hint.as_deref(),
        Some("no shell reads a COMMAND; give its words apart, or `--user-data 'echo hi'`")
    );
}

#[test]
fn the_provider_comes_from_the_flag_then_the_environment() {
    let mut place = Place::with(&[]);
    for (variable, line, expected) in [
        ("local", "-- ls", Ok(Provider::Local)),
        ("", "-- ls", Ok(Provider::Local)),
        ("ec2", "--provider local -- ls", Ok(Provider::Local)),
        ("ec2", "-- ls", Ok(Provider::Ec2)),
        ("local", "--provider ec2 -- ls", Ok(Provider::Ec2)),
        (
            "gcp",
            "-- ls",
            Err("`SPAWN_PROVIDER` is `gcp`; expected `local` or `ec2`"),
        ),
    ] {
        place.env.insert("SPAWN_PROVIDER".into(), variable.into());
        let found = place.launch(line);
        let found = found
            .map(|found| found.provider)
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(String::from), "{variable} {line}");
    }
}

#[test]
fn workers_are_never_more_than_tasks() {
    let place = Place::with(&[]);
    let found = place.launch("--array 4 --workers 9 -- ls").unwrap();
    assert_eq!(found.spec.workers, Some(4));
    assert_eq!(
        found.notes,
        ["4 workers instead of 9: there are no more tasks"]
    );
    let found = place
        .launch("--array 10000%50 --workers 100 -- ls")
        .unwrap();
    assert_eq!(
        (found.spec.workers, found.spec.max_concurrent),
        (Some(100), Some(50))
    );
    let agreeing = place
        .launch("--array 9%2 --max-concurrent 2 -- ls")
        .unwrap();
    assert_eq!(agreeing.spec.max_concurrent, Some(2));
}

#[test]
fn a_timeout_beyond_the_ttl_is_warned_about() {
    let found = Place::with(&[])
        .launch("--ttl 1h --timeout 2h -- ls")
        .unwrap();
    assert_eq!(
        found.warnings,
        ["`--timeout 2h` never comes: `--ttl 1h` ends the workers before"]
    );
}

#[test]
fn scripts_also_come_from_text_and_standard_input() {
    let mut place = Place::with(&[]);
    let inline = place
        .launch_words(&["--user-data", "echo $TASK_ID"])
        .unwrap();
    assert_eq!(inline.spec.name, "script");
    assert_eq!(
        inline.warnings,
        [
            "the script in `--user-data` reads `TASK_ID`, which no task has; did you mean `TASK_ARRAY_ID`?"
        ]
    );
    place.stdin = b"#!/bin/sh\necho\n".to_vec();
    let piped = place.launch("--user-data @-").unwrap();
    assert_eq!(piped.script.as_deref(), Some(&b"#!/bin/sh\necho\n"[..]));
    place.stdin.clear();
    assert_eq!(
        place.refusal("--user-data @-"),
        "the script on standard input: is empty"
    );
}

#[test]
fn a_variable_that_env_sets_is_not_warned_about() {
    let place = Place::with(&[("x.sh", "echo $SGE_TASK_ID")]);
    assert_eq!(place.launch("--user-data @x.sh").unwrap().warnings.len(), 1);
    let set = place
        .launch("--user-data @x.sh --env SGE_TASK_ID=1")
        .unwrap();
    assert_eq!(set.warnings, Vec::<String>::new());
}

#[test]
fn a_failing_standard_input_is_a_refusal() {
    let args = LaunchArgs {
        user_data: Some("@-".into()),
        ..LaunchArgs::default()
    };
    let ctx = LaunchContext {
        launch_dir: "/".into(),
        env: BTreeMap::new(),
        stdin: Box::new(|| Err(io::ErrorKind::BrokenPipe.into())),
    };
    assert_eq!(
        resolve(&args, &ctx).unwrap_err().to_string(),
        "the script on standard input: cannot be read (broken pipe)"
    );
}

#[test]
fn an_elf_executable_runs_itself() {
    let place = Place::with(&[("prog", "\x7fELF\0\0")]);
    let found = place.launch("--user-data @prog").unwrap();
    let Program::Script { interpreter, .. } = found.spec.program else {
        panic!("not a script");
    };
    assert_eq!(interpreter, Vec::<String>::new());
}

#[test]
fn commands_ship_what_they_name() {
    let place = Place::with(&[("process.py", ""), ("run.sh", "#!/bin/sh\n")]);
    let run = place.dir.path().join("run.sh");
    fs::set_permissions(run, fs::Permissions::from_mode(0o755)).unwrap();
    let found = place.launch("-- sh -c process.py --in=run.sh").unwrap();
    assert_eq!(found.spec.shipped.len(), 2);
    assert_eq!(found.spec.name, "sh");
    for line in ["-- ./run.sh", "-- run.sh"] {
        assert_eq!(place.launch(line).unwrap().spec.name, "run", "{line}");
    }
    let off = place.launch("--no-auto-include -- sh process.py").unwrap();
    assert!(off.spec.shipped.is_empty());
    let both = place
        .launch("--no-auto-include --include run.sh -- run.sh")
        .unwrap();
    assert_eq!(both.spec.shipped.len(), 1);
}

#[test]
fn a_variable_in_a_command_is_not_expanded() {
    let place = Place::with(&[]);
    let found = place
        .launch_words(&["--", "ls", "x-$TASK_ARRAY_INDEX"])
        .unwrap();
    assert_eq!(
        found.warnings,
        [
            "`$TASK_ARRAY_INDEX` in a COMMAND is not expanded, since no shell reads it; try `-- bash -c '...'`"
        ]
    );
    let shell = place.launch_words(&["--", "sh", "-c", "echo $TASK_ARRAY_INDEX"]);
    assert_eq!(shell.unwrap().warnings, Vec::<String>::new());
}

#[test]
fn flags_that_local_only_records_are_listed() {
    let place = Place::with(&[]);
    let found = place
        .launch(
            "--instance-type u-6tb1.metal --spot --spot-max-price 0.05 --region eu-west-1 \
             --tags a=b --iam-policy s3:ReadOnly --on-complete stop -- ls",
        )
        .unwrap();
    assert_eq!(
        found.unused,
        [
            "--instance-type",
            "--spot",
            "--spot-max-price",
            "--region",
            "--tags",
            "--iam-policy",
            "--on-complete",
        ]
    );
    assert_eq!(found.spec.spot_max_price, Some(0.05));
}

/// What earlier versions stored must still open, and mean the same.
#[test]
fn stored_specs_open() {
    let place = Place::with(&[("process.py", "print(1)\n"), ("worker.sh", WORKER)]);
    let line = "--array 0-99:3%7 --workers 4 --name genome --ttl 4h --timeout 10m --on-complete stop \
        --instance-type c7i.large --iam-policy s3:FullAccess --spot --spot-max-price 0.05 \
        --region us-east-1 --tags project=genome --env MODEL=large --allow-shared-tmp --durable \
        --user-data @worker.sh";
    let spec: LaunchSpec = serde_json::from_str(include_str!("launch_spec_v1.json")).unwrap();
    assert_eq!(spec, place.launch(line).unwrap().spec);
    // The fields without which there is no launch.
    let least = r#"{"name":"n","indices":"0-0","ttl_ms":1,"program":{"command":{"argv":["ls"]}}}"#;
    let least: LaunchSpec = serde_json::from_str(least).unwrap();
    assert_eq!(least.on_complete, OnComplete::Terminate);
}

const ROWS: &str =
    "params: [{x: 1}, {x: 2, instance_type: m7i.large, spot: true, spot_max_price: 0.05}]\n";
const ROWS_LINE: &str = "--param-file rows.yaml --name genome --retries 3 --backoff 1s --backoff-max 1m \
    --retry-on 75,100-110 --no-retry-on 101 --max-interruptions 5 --max-failures 5%";

/// Before there was anything to ask of EC2.
#[test]
fn stored_specs_with_rows_open() {
    let place = Place::with(&[("rows.yaml", ROWS)]);
    let now = place.launch(&format!("{ROWS_LINE} -- ls")).unwrap().spec;
    let stored: LaunchSpec = serde_json::from_str(include_str!("launch_spec_v2.json")).unwrap();
    assert_eq!(stored, now);
}

#[test]
fn a_spec_is_stored_as_it_was() {
    let rows = ROWS.replace("m7i.large", "[m7i.large, m6i.large]");
    let policy = r#"{"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}"#;
    let place = Place::with(&[("rows.yaml", &rows), ("policy.json", policy)]);
    let ec2 = "--provider ec2 --on-demand-base 2 --spot-fallback 15m --vpc vpc-0a1b2c3d \
        --subnet subnet-0a1b2c3d,subnet-0b1b2c3d --security-groups sg-0a1b2c3d --az eu-west-1a \
        --ami ami-0a1b2c3d --volume-size 100 --volume-type io2 --volume-iops 500 \
        --iam-policy-file policy.json --iam-managed-policies AmazonS3ReadOnlyAccess";
    let now = place.launch(&format!("{ROWS_LINE} {ec2} -- ls")).unwrap();
    assert_eq!(now.unused, Vec::<&str>::new());
    let now = now.spec;
    let stored = include_str!("launch_spec_v3.json");
    let json = serde_json::to_string_pretty(&now).unwrap();
    assert_eq!(json.trim(), stored.trim());
    assert_eq!(serde_json::from_str::<LaunchSpec>(stored).unwrap(), now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_resolve_or_are_refused(bytes in any::<Vec<u8>>(), text in any::<String>()) {
        let mut place = Place::with(&[]);
        place.stdin = [b"#!/bin/sh\n", bytes.as_slice()].concat();
        let _ = place.launch("--user-data @-");
        place.stdin = bytes;
        let _ = place.launch("--user-data @-");
        let one = Some(text.clone());
        let many = vec![text.clone()];
        for args in [
            LaunchArgs { user_data: one.clone(), ..LaunchArgs::default() },
            LaunchArgs { user_data_file: Some(text.clone().into()), ..LaunchArgs::default() },
            LaunchArgs { command: many.clone(), ..LaunchArgs::default() },
        ] {
            let _ = place.resolve(&args);
        }
        let none = Ec2Args::default();
        let ls = LaunchArgs { command: vec!["ls".into(), text.clone()], ..LaunchArgs::default() };
        for args in [
            LaunchArgs { array: one.clone(), ..ls.clone() },
            LaunchArgs { ttl: one.clone(), ..ls.clone() },
            LaunchArgs { name: one.clone(), ..ls.clone() },
            LaunchArgs { region: one.clone(), ..ls.clone() },
            LaunchArgs { instance_type: many.clone(), ..ls.clone() },
            LaunchArgs { spot: true, spot_max_price: one.clone(), ..ls.clone() },
            LaunchArgs { iam_managed_policies: many.clone(), ..ls.clone() },
            LaunchArgs { iam_policy_file: Some(text.clone().into()), ..ls.clone() },
            LaunchArgs { iam_role: one.clone(), ..ls.clone() },
            LaunchArgs { ec2: Ec2Args { vpc: one.clone(), ..none.clone() }, ..ls.clone() },
            LaunchArgs { ec2: Ec2Args { subnet: many.clone(), ..none.clone() }, ..ls.clone() },
            LaunchArgs { ec2: Ec2Args { az: many.clone(), ..none.clone() }, ..ls.clone() },
            LaunchArgs { ec2: Ec2Args { volume_size: one.clone(), ..none.clone() }, ..ls.clone() },
            LaunchArgs { ec2: Ec2Args { volume_type: one.clone(), ..none }, ..ls.clone() },
            LaunchArgs { env: many.clone(), ..ls.clone() },
            LaunchArgs { tags: many.clone(), ..ls.clone() },
            LaunchArgs { iam_policy: many, ..ls.clone() },
            LaunchArgs { retries: Some(1), backoff: one.clone(), ..ls.clone() },
            LaunchArgs { retries: Some(1), retry_on: one.clone(), ..ls.clone() },
            LaunchArgs { retries: Some(1), no_retry_on: one.clone(), ..ls.clone() },
            LaunchArgs { max_failures: one, ..ls.clone() },
            LaunchArgs { param_file: Some(text.clone().into()), ..ls.clone() },
            LaunchArgs { include: vec![text.into()], ..ls.clone() },
            ls,
        ] {
            let _ = place.resolve(&args);
        }
    }
}
