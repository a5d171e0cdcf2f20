//! No flag is taken and then ignored: each changes the launch, or is said to be without effect, or
//! is refused, whichever the provider.

use std::collections::BTreeSet;

use clap::{Args, Command};
use place::Place;
use spawn_spec::LaunchArgs;

mod place;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    /// It changes what is launched.
    Acts,
    /// It is recorded, and the launch says that it has no effect.
    Recorded,
    Refused,
}
use Does::{Acts, Recorded, Refused};

/// A flag, its value, what it needs beside it; what it does on this machine and on EC2.
type Row = (&'static str, &'static str, &'static str, Does, Does);

const FLAGS: &[Row] = &[
    ("--user-data", "@x.sh", "", Acts, Acts),
    ("--user-data-file", "x.sh", "", Acts, Acts),
    ("--include", "a.txt", "-- ls", Acts, Acts),
    ("--no-auto-include", "", "--user-data @x.sh", Acts, Acts),
    ("--env", "A=1", "-- ls", Acts, Acts),
    ("--iam-policy", "s3:ReadOnly", "-- ls", Recorded, Acts),
    ("--iam-policy-file", "policy.json", "-- ls", Recorded, Acts),
    ("--iam-managed-policies", "A,B", "-- ls", Recorded, Acts),
    ("--iam-role", "worker", "-- ls", Recorded, Acts),
    ("--name", "other", "-- ls", Acts, Acts),
    ("--param-file", "p.yaml", "-- ls", Acts, Acts),
    ("--array", "3", "-- ls", Acts, Acts),
    ("--workers", "1", "-- ls", Acts, Acts),
    ("--max-concurrent", "1", "-- ls", Acts, Acts),
    ("--instance-type", "c7i.large", "-- ls", Acts, Acts),
    ("--region", "eu-west-1", "-- ls", Recorded, Acts),
    ("--spot", "", "-- ls", Recorded, Acts),
    ("--no-spot", "", "--param-file spot.yaml -- ls", Acts, Acts),
    ("--spot-max-price", "0.1", "--spot -- ls", Recorded, Acts),
    ("--on-demand-base", "2", "--spot -- ls", Recorded, Acts),
    ("--spot-fallback", "5m", "--spot -- ls", Recorded, Acts),
    ("--vpc", "vpc-0a1b2c3d", "-- ls", Recorded, Acts),
    ("--subnet", "subnet-0a1b2c3d", "-- ls", Recorded, Acts),
    ("--security-groups", "sg-0a1b2c3d", "-- ls", Recorded, Acts),
    ("--az", "eu-west-1a", "-- ls", Recorded, Acts),
    ("--ami", "ami-0a1b2c3d", "-- ls", Recorded, Acts),
    ("--volume-size", "100", "-- ls", Recorded, Acts),
    ("--volume-type", "gp2", "-- ls", Recorded, Acts),
    ("--volume-iops", "4000", "-- ls", Recorded, Acts),
    ("--volume-throughput", "500", "-- ls", Recorded, Acts),
    ("--tags", "a=b", "-- ls", Recorded, Acts),
    ("--on-complete", "stop", "-- ls", Recorded, Acts),
    ("--ttl", "1h", "-- ls", Acts, Acts),
    ("--timeout", "1m", "-- ls", Acts, Acts),
    ("--retries", "3", "-- ls", Acts, Acts),
    ("--backoff", "3s", "--retries 1 -- ls", Acts, Acts),
    ("--backoff-max", "9s", "--retries 1 -- ls", Acts, Acts),
    ("--retry-on", "75", "--retries 1 -- ls", Acts, Acts),
    ("--no-retry-on", "75", "--retries 1 -- ls", Acts, Acts),
    ("--max-interruptions", "3", "-- ls", Acts, Acts),
    ("--max-failures", "3", "-- ls", Acts, Acts),
    ("--allow-shared-tmp", "", "-- ls", Acts, Refused),
    ("--durable", "", "-- ls", Acts, Refused),
    ("--wait-timeout", "5m", "--wait -- ls", Acts, Acts),
];

/// What the command does itself, after the launch or instead of it. The provider is what is
/// varied, and a command stands in nearly every line.
const ELSEWHERE: [&str; 6] = [
    "command",
    "dry_run",
    "output_id",
    "provider",
    "quiet",
    "wait",
];

#[test]
fn every_flag_has_a_row() {
    let flags = LaunchArgs::augment_args(Command::new("launch"));
    let of_command: BTreeSet<String> = flags
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let of_table = FLAGS.iter().map(|row| row.0[2..].replace('-', "_"));
    let of_table: BTreeSet<String> = of_table.chain(ELSEWHERE.map(str::to_owned)).collect();
    assert_eq!(of_command, of_table);
}

#[test]
fn no_flag_is_taken_and_then_ignored() {
    let policy = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
    let place = Place::with(&[
        ("x.sh", "#!/bin/bash\ncat a.txt\n"),
        ("a.txt", "a"),
        ("p.yaml", "params: [{a: 1}, {a: 2}]\n"),
        ("spot.yaml", "defaults: {spot: true}\nparams: [{a: 1}]\n"),
        ("policy.json", policy),
    ]);
    for (flag, value, beside, on_local, on_ec2) in FLAGS {
        for (provider, does) in [("local", on_local), ("ec2", on_ec2)] {
            let with = format!("--provider {provider} {flag} {value} {beside}");
            let without = format!("--provider {provider} {beside}");
            let found = place.launch(&with);
            let before = place.launch(&without);
            if *does == Refused {
                let error = found.map(|found| found.spec).expect_err(&with);
                assert!(error.to_string().contains(flag), "{with}: {error}");
                continue;
            }
            let found = found.unwrap_or_else(|error| panic!("{with}: {error}"));
            assert_ne!(Ok(&found), before.as_ref(), "{with}");
            let is_listed = found.unused.contains(flag);
            assert_eq!(is_listed, *does == Recorded, "{with}: {:?}", found.unused);
            // What has an effect is in the record, or is what the command waits for.
            let acts = before.as_ref().map(|before| {
                before.spec != found.spec || before.wait_timeout != found.wait_timeout
            });
            assert_ne!(acts, Ok(false), "{with}");
        }
    }
}
