//! What a launch may ask of EC2, from flags: what is taken, what is refused, what goes together.

use place::Place;
use spawn_spec::{Ec2Choices, Provider};

mod place;

/// A launch on EC2 with these flags.
fn ec2(place: &Place, flags: &str) -> Result<spawn_spec::Resolved, spawn_spec::SpecError> {
    place.launch(&format!("--provider ec2 {flags} -- ls"))
}

#[test]
fn nothing_asked_is_what_the_account_has() {
    let found = ec2(&Place::with(&[]), "").unwrap();
    assert_eq!(found.provider, Provider::Ec2);
    assert_eq!(found.spec.ec2, Ec2Choices::default());
    assert_eq!(found.spec.region, None);
    assert_eq!(found.unused, Vec::<&str>::new());
}

#[test]
fn every_choice_is_recorded() {
    let one = |change: fn(&mut Ec2Choices)| {
        let mut choices = Ec2Choices::default();
        change(&mut choices);
        choices
    };
    let place = Place::with(&[]);
    for (flags, choices) in [
        ("--spot --on-demand-base 2", one(|c| c.on_demand_base = 2)),
        ("--spot --on-demand-base 0", one(|_| {})),
        (
            "--spot --spot-fallback 15m",
            one(|c| c.spot_fallback_ms = Some(900_000)),
        ),
        (
            "--spot --ttl 1h --spot-fallback 3599s",
            one(|c| c.spot_fallback_ms = Some(3_599_000)),
        ),
        (
            "--vpc vpc-0a1b2c3d",
            one(|c| c.vpc = Some("vpc-0a1b2c3d".into())),
        ),
        (
            "--subnet subnet-0a1b2c3d --subnet subnet-0b1b2c3d,subnet-0a1b2c3d",
            one(|c| c.subnets = vec!["subnet-0a1b2c3d".into(), "subnet-0b1b2c3d".into()]),
        ),
        (
            "--security-groups sg-0a1b2c3d4e5f67890,sg-0b1b2c3d",
            one(|c| {
                c.security_groups = vec!["sg-0a1b2c3d4e5f67890".into(), "sg-0b1b2c3d".into()];
            }),
        ),
        (
            "--az eu-west-1b,eu-west-1a --region eu-west-1",
            one(|c| c.zones = vec!["eu-west-1b".into(), "eu-west-1a".into()]),
        ),
        (
            "--az us-west-2-lax-1a,us-west-2b",
            one(|c| c.zones = vec!["us-west-2-lax-1a".into(), "us-west-2b".into()]),
        ),
        (
            "--ami ami-0a1b2c3d",
            one(|c| c.ami = Some("ami-0a1b2c3d".into())),
        ),
        ("--volume-size 16384", one(|c| c.volume_gib = Some(16_384))),
        ("--volume-size 100GiB", one(|c| c.volume_gib = Some(100))),
        (
            "--volume-type standard",
            one(|c| c.volume_type = Some("standard".into())),
        ),
        (
            "--volume-iops 16000 --volume-throughput 1000",
            one(|c| (c.volume_iops, c.volume_throughput) = (Some(16_000), Some(1000))),
        ),
        (
            "--volume-throughput 750",
            one(|c| c.volume_throughput = Some(750)),
        ),
        (
            "--volume-type io1 --volume-iops 64000",
            one(|c| (c.volume_type, c.volume_iops) = (Some("io1".into()), Some(64_000))),
        ),
        (
            "--volume-type io2 --volume-iops 100",
            one(|c| (c.volume_type, c.volume_iops) = (Some("io2".into()), Some(100))),
        ),
        (
            "--iam-managed-policies AmazonS3ReadOnlyAccess,arn:aws:iam::123456789012:policy/x",
            one(|c| {
                c.managed_policies = vec![
                    "AmazonS3ReadOnlyAccess".into(),
                    "arn:aws:iam::123456789012:policy/x".into(),
                ];
            }),
        ),
        (
            "--iam-role arn:aws:iam::123456789012:role/team/worker",
            one(|c| c.role = Some("worker".into())),
        ),
    ] {
        let found = ec2(&place, flags).map(|found| (found.spec.ec2, found.unused));
        assert_eq!(found, Ok((choices, vec![])), "{flags}");
    }
}

#[test]
fn several_types_are_in_order_of_preference() {
    let place = Place::with(&[]);
    for (flags, first, others) in [
        ("--instance-type c7i.large", "c7i.large", &[][..]),
        (
            "--instance-type c7i.large,m7i.large,c6i.large",
            "c7i.large",
            &["m7i.large", "c6i.large"],
        ),
        (
            "--instance-type m7i.large,c7i.large --instance-type m7i.large,c6i.large",
            "m7i.large",
            &["c7i.large", "c6i.large"],
        ),
        ("--instance-type c7i.large,c7i.large", "c7i.large", &[]),
    ] {
        for provider in ["ec2", "local"] {
            let line = format!("--provider {provider} {flags} -- ls");
            let found = place.launch(&line).unwrap();
            let lane = &found.spec.all_lanes()[0];
            assert_eq!(lane.instance_type, found.spec.instance_type);
            assert_eq!(lane.other_types, found.spec.other_types);
            assert_eq!(lane.instance_type.as_ref().unwrap().as_str(), first);
            let found_others: Vec<&str> = lane.other_types.iter().map(|t| t.as_str()).collect();
            assert_eq!(found_others, others, "{flags}");
            let note = "on this machine, the first type of `--instance-type` counts".to_owned();
            let is_noted = provider == "local" && !others.is_empty();
            assert_eq!(found.notes.contains(&note), is_noted, "{flags}");
            assert_eq!(found.unused, Vec::<&str>::new(), "{flags}");
        }
    }
    // This machine bounds workers by the first type only, and does not know that one.
    let found = place
        .launch("--instance-type u-6tb1.metal,c7i.large -- ls")
        .unwrap();
    assert_eq!(found.unused, ["--instance-type"]);
    assert!(!found.bounds_workers());
}

#[test]
fn each_refusal_is_one_line() {
    let place = Place::with(&[("policy.json", POLICY)]);
    for (flags, message, hint) in [
        (
            "--instance-type c7i.large,",
            "`--instance-type`: `` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`",
            "",
        ),
        (
            "--instance-type c7i.large,c6ilarge",
            "`--instance-type`: `c6ilarge` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`",
            "did you mean `c6i.large`?",
        ),
        (
            "--on-demand-base 2",
            "`--on-demand-base` is only used with `--spot`",
            "add `--spot`, or leave out `--on-demand-base`",
        ),
        (
            "--no-spot --on-demand-base 2",
            "`--on-demand-base` is only used with `--spot`",
            "add `--spot`, or leave out `--on-demand-base`",
        ),
        (
            "--spot-fallback 15m",
            "`--spot-fallback` is only used with `--spot`",
            "add `--spot`, or leave out `--spot-fallback`",
        ),
        (
            "--spot --spot-fallback 15",
            "`--spot-fallback`: `15` has no unit; did you mean `15s` or `15m`?",
            "",
        ),
        (
            "--spot --ttl 4h --spot-fallback 4h",
            "`--spot-fallback 4h` does not go with `--ttl 4h`; expected a time that is shorter",
            "",
        ),
        (
            "--spot --spot-fallback 2d",
            "`--spot-fallback 2d` does not go with the default TTL of 1d; expected a time that is shorter",
            "",
        ),
        (
            "--vpc default",
            "`--vpc`: found `default`; expected an id such as `vpc-0a1b2c3d4e5f67890`",
            "",
        ),
        (
            "--vpc subnet-0a1b2c3d",
            "`--vpc`: found `subnet-0a1b2c3d`; expected an id such as `vpc-0a1b2c3d4e5f67890`",
            "",
        ),
        (
            "--subnet subnet-0a1b2c3d,vpc-0a1b2c3d",
            "`--subnet`: found `vpc-0a1b2c3d`; expected ids such as `subnet-0a1b2c3d4e5f67890`",
            "",
        ),
        (
            "--security-groups default",
            "`--security-groups`: found `default`; expected ids such as `sg-0a1b2c3d4e5f67890`",
            "",
        ),
        (
            "--ami al2023",
            "`--ami`: found `al2023`; expected an id such as `ami-0a1b2c3d4e5f67890`",
            "",
        ),
        (
            "--az eu-west-1",
            "`--az`: `eu-west-1` is not a zone; expected names such as `eu-west-1a`",
            "that is a region; its zones are such as `eu-west-1a`",
        ),
        (
            "--az euw1-az1",
            "`--az`: `euw1-az1` is not a zone; expected names such as `eu-west-1a`",
            "",
        ),
        (
            "--region us-east-1 --az us-east-1a,eu-west-1a",
            "`--az eu-west-1a` does not go with `--region us-east-1`; expected zones of that region",
            "",
        ),
        (
            "--az us-east-1a,eu-west-1a",
            "`--az eu-west-1a` does not go with `us-east-1a`; expected zones of one region",
            "",
        ),
        (
            "--volume-size 0",
            "`--volume-size`: found `0`; expected a size from 1 to 16384, in GiB",
            "",
        ),
        (
            "--volume-size 1T",
            "`--volume-size`: found `1T`; expected a size from 1 to 16384, in GiB",
            "",
        ),
        (
            "--volume-type ssd",
            "`--volume-type`: found `ssd`; expected `gp3`, `gp2`, `io1`, `io2` or `standard`",
            "",
        ),
        (
            "--volume-type st1",
            "`--volume-type`: no machine boots from `st1`; expected `gp3`, `gp2`, `io1`, `io2` or `standard`",
            "",
        ),
        (
            "--volume-iops 0",
            "`--volume-iops`: found `0`; expected 100 to 64000 operations per second",
            "",
        ),
        (
            "--volume-iops 2999",
            "`--volume-iops 2999` does not go with the default type `gp3`; expected 3000 to 16000",
            "",
        ),
        (
            "--volume-type gp3 --volume-iops 16001",
            "`--volume-iops 16001` does not go with `--volume-type gp3`; expected 3000 to 16000",
            "",
        ),
        (
            "--volume-type gp2 --volume-iops 3000",
            "`--volume-iops 3000` does not go with `--volume-type gp2`; expected the type `gp3`, `io1` or `io2`",
            "",
        ),
        (
            "--volume-type standard --volume-iops 3000",
            "`--volume-iops 3000` does not go with `--volume-type standard`; expected the type `gp3`, `io1` or `io2`",
            "",
        ),
        (
            "--volume-type io2",
            "`--volume-type io2` needs `--volume-iops`; expected 100 to 64000",
            "",
        ),
        (
            "--volume-throughput 124",
            "`--volume-throughput`: found `124`; expected 125 to 1000, in MiB per second",
            "",
        ),
        (
            "--volume-throughput 751",
            "`--volume-throughput 751` does not go with the default of 3000 operations per second; expected at most 750, or `--volume-iops` of 3004 or more",
            "",
        ),
        (
            "--volume-iops 3999 --volume-throughput 1000",
            "`--volume-throughput 1000` does not go with `--volume-iops 3999`; expected at most 999, or `--volume-iops` of 4000 or more",
            "",
        ),
        (
            "--volume-type io1 --volume-iops 500 --volume-throughput 200",
            "`--volume-throughput 200` does not go with `--volume-type io1`; expected the type `gp3`",
            "",
        ),
        (
            "--iam-managed-policies s3:FullAccess",
            "`--iam-managed-policies`: found `s3:FullAccess`; expected ARNs of policies, or names of AWS's own such as `AmazonS3ReadOnlyAccess`",
            "",
        ),
        (
            "--iam-managed-policies a,b,c,d,e,f,g,h,i,j,k",
            "`--iam-managed-policies`: 11 policies; a role takes at most 10",
            "",
        ),
        (
            "--iam-role team/worker",
            "`--iam-role`: `team/worker` is not a role; expected its name, or an ARN with `:role/` in it",
            "",
        ),
        (
            "--iam-role worker --iam-policy s3:ReadOnly",
            "`--iam-role` and `--iam-policy` each say what the tasks may do; expected one of them",
            "a role has its own grants; give them to it, or leave out `--iam-role`",
        ),
        (
            "--iam-role worker --iam-policy-file policy.json",
            "`--iam-role` and `--iam-policy-file` each say what the tasks may do; expected one of them",
            "a role has its own grants; give them to it, or leave out `--iam-role`",
        ),
        (
            "--iam-role worker --iam-managed-policies AmazonS3ReadOnlyAccess",
            "`--iam-role` and `--iam-managed-policies` each say what the tasks may do; expected one of them",
            "a role has its own grants; give them to it, or leave out `--iam-role`",
        ),
    ] {
        // What is wrong is wrong on every provider.
        for provider in ["ec2", "local"] {
            let found = place.launch(&format!("--provider {provider} {flags} -- ls"));
            let error = found.map(|found| found.spec).expect_err(flags);
            assert_eq!(error.to_string(), message, "{flags}");
            assert_eq!(error.hint.as_deref().unwrap_or_default(), hint, "{flags}");
        }
    }
}

const POLICY: &str =
    r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;

#[test]
fn what_is_about_this_machine_is_refused_on_ec2() {
    let place = Place::with(&[]);
    for (flag, reason) in [
        (
            "--allow-shared-tmp",
            "each worker on EC2 is a machine with a /tmp of its own",
        ),
        (
            "--durable",
            "on EC2 results are in DynamoDB and S3, which outlive any machine",
        ),
    ] {
        let error = ec2(&place, flag).unwrap_err();
        let message = format!("`{flag}` is for the local provider only: {reason}");
        assert_eq!(error.to_string(), message);
        let hint = format!("leave out `{flag}`, or add `--provider local`");
        assert_eq!(error.hint, Some(hint));
        assert!(place.launch(&format!("{flag} -- ls")).is_ok());
    }
    let mut place = place;
    place.env.insert("SPAWN_PROVIDER".into(), "ec2".into());
    assert!(place.refusal("--durable -- ls").starts_with("`--durable`"));
}

#[test]
fn what_only_the_image_has_is_warned_about() {
    let place = Place::with(&[
        ("env.sh", "#!/usr/bin/env no-such-program\n"),
        ("path.sh", "#!/opt/julia/bin/julia\n"),
        ("here.sh", "#!/bin/bash\necho\n"),
    ]);
    for (what, warning) in [
        (
            "--user-data @env.sh",
            "`env.sh` needs the interpreter `no-such-program`, which is not on this machine; see that the workers' image has it",
        ),
        (
            "--user-data @path.sh",
            "`path.sh` needs the interpreter `/opt/julia/bin/julia`, which is not on this machine; see that the workers' image has it",
        ),
        (
            "-- no-such-program --fast",
            "there is no program `no-such-program` on this machine; see that the workers' image has it",
        ),
        (
            "-- /opt/julia/bin/julia",
            "there is no program `/opt/julia/bin/julia` on this machine; see that the workers' image has it",
        ),
    ] {
        let there = place.launch(&format!("--provider ec2 {what}")).unwrap();
        assert_eq!(there.warnings, [warning]);
        assert!(place.launch(what).is_err(), "{what}");
    }
    let is_here = place.launch("--provider ec2 --user-data @here.sh").unwrap();
    assert_eq!(is_here.warnings, Vec::<String>::new());
    // What no machine can run.
    for words in [
        &["--", "./no-such-program"][..],
        &["--", "./here.sh"],
        &["--", "echo hi"],
        &["--", ""],
        &["--user-data", "#!\n"],
    ] {
        let words = [&["--provider", "ec2"], words].concat();
        assert!(place.launch_words(&words).is_err(), "{words:?}");
    }
}

#[test]
fn what_this_machine_only_records_is_listed() {
    let place = Place::with(&[("policy.json", POLICY)]);
    let flags = "--spot --on-demand-base 1 --spot-fallback 15m --vpc vpc-0a1b2c3d \
        --subnet subnet-0a1b2c3d --security-groups sg-0a1b2c3d --az eu-west-1a --ami ami-0a1b2c3d \
        --volume-size 100 --volume-type gp3 --volume-iops 4000 --volume-throughput 1000 \
        --iam-policy-file policy.json --iam-managed-policies AmazonS3ReadOnlyAccess";
    let found = place.launch(&format!("{flags} -- ls")).unwrap();
    let given: Vec<&str> = flags
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .collect();
    assert_eq!(found.unused, given);
    let role = place.launch("--iam-role worker -- ls").unwrap();
    assert_eq!(role.unused, ["--iam-role"]);
    // On EC2 they all do something; and what is recorded is the same.
    let there = ec2(&place, flags).unwrap();
    assert_eq!(there.unused, Vec::<&str>::new());
    assert_eq!(there.spec, found.spec);
}
