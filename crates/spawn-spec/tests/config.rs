//! Configuration files: where they are found, what they say, what is wrong with them.

use std::fs;

use place::Place;
use spawn_spec::{ConfigState, Provider};

mod place;

/// A home with a project in it; launches start in `home/project/deep`.
fn project(files: &[(&str, &str)]) -> Place {
    let mut place = Place::with(files);
    let home = place.dir.path().join("home");
    fs::create_dir_all(home.join("project/deep")).unwrap();
    place
        .env
        .insert("HOME".into(), home.to_str().unwrap().into());
    place.from = "home/project/deep";
    place
}

const POLICY: &str =
    r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;

const USER: &str = "home/.config/spawn/config.toml";

#[test]
fn the_strongest_source_wins() {
    let mut place = project(&[
        (
            USER,
            "[launch]\nttl = \"1h\"\nregion = \"eu-west-1\"\nworkers = 3\n\
             env = { A = \"user\", B = \"user\" }\ntags = { x = \"user\", y = \"user\" }\n\
             iam_policy = [\"s3:FullAccess\"]\nprovider = \"ec2\"\n",
        ),
        (
            "home/project/spawn.toml",
            "[launch]\nttl = \"2h\"\nspot = true\nworkers = 2\niam_policy = [\"sqs:ReadOnly\"]\n\
             provider = \"local\"\n[launch.env]\nB = \"project\"\nC = \"project\"\n\
             [launch.tags]\ny = \"project\"\n",
        ),
        (
            "home/project/deep/p.yaml",
            "defaults: {ttl: 3h, env: {C: file}}\nparams: [{z: 1}, {z: 2}]\n",
        ),
    ]);
    let found = place.launch("-- ls").unwrap();
    assert_eq!(found.provider, Provider::Local);
    assert_eq!(found.spec.ttl_ms, 2 * 3_600_000);
    assert_eq!(found.spec.region.as_deref(), Some("eu-west-1"));
    assert!(found.spec.spot);
    assert_eq!(found.spec.tags.to_string(), "x=user,y=project");
    assert_eq!(found.spec.iam_policies.len(), 1);
    assert_eq!(found.spec.iam_policies[0].to_string(), "sqs:ReadOnly");
    let env = |found: &spawn_spec::Resolved| -> Vec<String> {
        let env = found.spec.env.iter();
        env.map(|(name, value)| format!("{name}={value}")).collect()
    };
    assert_eq!(env(&found), ["A=user", "B=project", "C=project"]);
    assert_eq!(
        found.notes,
        [
            "`env`, `iam_policy`, `provider`, `spot`, `tags`, `ttl`, `workers` from ../spawn.toml",
            "`env`, `region`, `tags` from ~/.config/spawn/config.toml",
            "1 worker instead of 2: there are no more tasks",
        ]
    );
    assert_eq!(found.unused, ["spot", "region", "tags", "iam_policy"]);

    let found = place
        .launch("--param-file p.yaml --env A=flag --no-spot -- ls")
        .unwrap();
    assert_eq!(found.spec.ttl_ms, 3 * 3_600_000);
    assert_eq!(env(&found), ["A=flag", "B=project", "C=file"]);
    assert!(!found.spec.spot);
    place.env.insert("SPAWN_PROVIDER".into(), "ec2".into());
    assert_eq!(place.launch("-- ls").unwrap().provider, Provider::Ec2);
}

#[test]
fn the_project_ends_at_its_repository_and_at_home() {
    let config = "[launch]\nname = \"outer\"\n";
    let name = |place: &Place| place.launch("-- ls").unwrap().spec.name;
    let place = project(&[
        ("home/project/spawn.toml", config),
        ("home/project/.git/HEAD", ""),
    ]);
    assert_eq!(name(&place), "outer");
    let place = project(&[("home/spawn.toml", config), ("home/project/.git/HEAD", "")]);
    assert_eq!(name(&place), "ls");
    let place = project(&[("home/spawn.toml", config)]);
    assert_eq!(name(&place), "outer");
    let place = project(&[("spawn.toml", config)]);
    assert_eq!(name(&place), "ls");
    // The nearest counts.
    let inner = "[launch]\nname = \"inner\"\n";
    let place = project(&[
        ("home/spawn.toml", config),
        ("home/project/deep/spawn.toml", inner),
    ]);
    assert_eq!(name(&place), "inner");
}

#[test]
fn the_users_file_is_where_the_variable_says() {
    let mut place = project(&[
        (USER, "[launch]\nname = \"home\"\n"),
        ("xdg/spawn/config.toml", "[launch]\nname = \"xdg\"\n"),
    ]);
    assert_eq!(place.launch("-- ls").unwrap().spec.name, "home");
    let xdg = place.dir.path().join("xdg");
    place
        .env
        .insert("XDG_CONFIG_HOME".into(), xdg.to_str().unwrap().into());
    assert_eq!(place.launch("-- ls").unwrap().spec.name, "xdg");
    // A relative one is to be ignored, says its standard.
    place.env.insert("XDG_CONFIG_HOME".into(), "xdg".into());
    assert_eq!(place.launch("-- ls").unwrap().spec.name, "home");
}

#[test]
fn scripts_of_a_configuration_are_beside_it() {
    let place = project(&[
        (
            "home/project/spawn.toml",
            "[launch]\nuser_data_file = \"run.sh\"\n",
        ),
        ("home/project/run.sh", "#!/bin/bash\necho run\n"),
    ]);
    let found = place.launch("--array 3").unwrap();
    assert_eq!(
        found.script.as_deref(),
        Some(&b"#!/bin/bash\necho run\n"[..])
    );
    let command = project(&[(
        "home/project/spawn.toml",
        "[launch]\ncommand = [\"ls\", \"-l\"]\n",
    )]);
    assert_eq!(command.launch("").unwrap().spec.name, "ls");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, message, hint) in [
        (
            "[launch]\nttl = 90\n",
            "../spawn.toml:2:7: `ttl`: `90` has no unit; did you mean `90s` or `90m`?",
            "",
        ),
        (
            "[launch]\ninstance-typ = \"c7i.large\"\n",
            "../spawn.toml:2:1: `instance-typ` is not known here; expected a setting of a launch",
            "did you mean `instance_type`?",
        ),
        (
            "[launch]\nlearning_rate = 3\n",
            "../spawn.toml:2:1: `learning_rate` is not known here; expected a setting of a launch",
            "",
        ),
        (
            "ttl = \"2h\"\n",
            "../spawn.toml:1:1: `ttl` is not known here; expected it below `[launch]`",
            "",
        ),
        (
            "[lunch]\nttl = \"2h\"\n",
            "../spawn.toml:1:2: `lunch` is not known here; expected the table `[launch]`",
            "did you mean `launch`?",
        ),
        (
            "launch = 3\n",
            "../spawn.toml:1:10: `launch` is a single value; expected a table of settings",
            "",
        ),
        (
            "[launch]\nspot = \"maybe\"\n",
            "../spawn.toml:2:8: `spot`: found `maybe`; expected `true` or `false`",
            "",
        ),
        (
            "[launch]\nttl = \"1h\"\nttl = \"2h\"\n",
            "../spawn.toml:3:1: not TOML: duplicate key",
            "",
        ),
        (
            "[launch]\nspot = yes\n",
            "../spawn.toml:2:8: not TOML: string values must be quoted, expected literal string",
            "",
        ),
        (
            "[launch]\ninstance_type = \"c7i.large\"\ninstance-type = \"c7i.large\"\n",
            "../spawn.toml:3:1: `instance-type` and `instance_type` are the same setting; expected one of them",
            "",
        ),
        (
            "[launch.env]\n\"A B\" = \"x\"\n",
            "../spawn.toml:2:1: `env`: `A B` cannot name a variable; expected `NAME=VALUE` or `NAME`",
            "",
        ),
        (
            "[launch]\nuser_data = \"ls\"\ncommand = [\"ls\"]\n",
            "../spawn.toml:2:13: `user_data` and ../spawn.toml:3:11: `command` each say what to run; expected one of them",
            "",
        ),
    ] {
        let place = project(&[("home/project/spawn.toml", text)]);
        let error = place
            .launch("-- ls")
            .map(|found| found.spec)
            .expect_err(text);
        assert_eq!(error.to_string(), message, "{text}");
        assert_eq!(error.hint.unwrap_or_default(), hint, "{text}");
    }
    let place = project(&[(USER, "[launch]\nregion = \"mars\"\n")]);
    assert_eq!(
        place.refusal("-- ls"),
        "~/.config/spawn/config.toml:2:10: `region`: `mars` is not a region; expected a name such as `us-east-1`"
    );
}

#[test]
fn every_setting_is_shown_with_its_origin() {
    let mut place = project(&[
        (
            USER,
            "[launch]\nregion = \"eu-west-1\"\n\n[launch.env]\nMODEL = \"large\"\n",
        ),
        (
            "home/project/spawn.toml",
            "[launch]\nttl = \"4h\"\nspot = true\ntags = { x = \"y\" }\n",
        ),
    ]);
    place.env.insert("SPAWN_PROVIDER".into(), "local".into());
    let found = place.effective(&["--retries", "2"]).unwrap();
    let lines: Vec<String> = found
        .settings
        .iter()
        .map(|setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{} {value} ({})", setting.key, setting.origin)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "name - (default)",
            "user_data - (default)",
            "user_data_file - (default)",
            "command - (default)",
            "include - (default)",
            "env.MODEL large (~/.config/spawn/config.toml:5)",
            "iam_policy - (default)",
            "iam_policy_file - (default)",
            "iam_managed_policies - (default)",
            "iam_role - (default)",
            "workers - (default)",
            "max_concurrent - (default)",
            "provider local (SPAWN_PROVIDER)",
            "instance_type - (default)",
            "region eu-west-1 (~/.config/spawn/config.toml:2)",
            "spot true (../spawn.toml:3)",
            "spot_max_price - (default)",
            "on_demand_base 0 (default)",
            "spot_fallback - (default)",
            "vpc - (default)",
            "subnet - (default)",
            "security_groups - (default)",
            "az - (default)",
            "ami - (default)",
            "volume_size - (default)",
            "volume_type gp3 (default)",
            "volume_iops - (default)",
            "volume_throughput - (default)",
            "tags.x y (../spawn.toml:4)",
            "on_complete terminate (default)",
            "ttl 4h (../spawn.toml:2)",
            "timeout - (default)",
            "retries 2 (--retries)",
            "backoff 2s (default)",
            "backoff_max 5m (default)",
            "retry_on - (default)",
            "no_retry_on - (default)",
            "max_interruptions 100, or 10 lost workers (default)",
            "max_failures - (default)",
        ]
    );
    let files: Vec<_> = found
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.state))
        .collect();
    assert_eq!(
        files,
        [
            ("../spawn.toml", ConfigState::Read),
            ("~/.config/spawn/config.toml", ConfigState::Read),
        ]
    );
    let none = project(&[]).effective(&[]).unwrap();
    let files: Vec<_> = none
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.state))
        .collect();
    assert_eq!(
        files,
        [
            ("spawn.toml", ConfigState::Missing),
            ("~/.config/spawn/config.toml", ConfigState::Missing),
        ]
    );
}

/// Whoever may write above the launch directory must not choose what runs.
#[test]
fn a_file_of_somebody_else_is_not_read() {
    let place = project(&[("home/project/spawn.toml", "[launch]\ncommand = \"id\"\n")]);
    let file = place.dir.path().join("home/project/spawn.toml");
    if std::os::unix::fs::chown(file, Some(12345), None).is_err() {
        // Only root can give files away.
        return;
    }
    let found = place.launch("-- ls").unwrap();
    assert_eq!(
        found.warnings,
        ["../spawn.toml is not read: it belongs to another user than the directory of the launch"]
    );
    let files = place.effective(&[]).unwrap().files;
    assert_eq!(files[0].state, ConfigState::NotTrusted);
    assert!(place.launch("").is_err());
}

/// Every setting is a flag too, and none is lost on the way.
#[test]
fn a_configuration_may_say_everything() {
    let text = r#"[launch]
name = "all"
command = ["ls"]
include = ["a.txt"]
iam_policy = "s3:ReadOnly"
iam_policy_file = "policy.json"
iam_managed_policies = ["AmazonS3ReadOnlyAccess"]
workers = 1
max_concurrent = 1
provider = "local"
instance_type = ["c7i.large", "c6i.large"]
region = "eu-west-1"
spot = true
spot_max_price = 0.05
on_demand_base = 2
spot_fallback = "15m"
vpc = "vpc-0a1b2c3d"
subnet = ["subnet-0a1b2c3d", "subnet-0b1b2c3d"]
security_groups = "sg-0a1b2c3d,sg-0b1b2c3d"
az = ["eu-west-1a"]
ami = "ami-0a1b2c3d"
volume_size = 100
volume_type = "gp3"
volume_iops = 4000
volume_throughput = 1000
on_complete = "stop"
ttl = "1h"
timeout = "1m"
retries = 1
backoff = "1s"
backoff_max = "2s"
retry_on = [75, "100-110"]
no_retry_on = 101
max_interruptions = 3
max_failures = "5%"
env = ["A=1", "HOME"]
tags = "x=1,y=2"
"#;
    let place = project(&[
        ("home/project/deep/spawn.toml", text),
        ("home/project/deep/a.txt", "a"),
        ("home/project/deep/policy.json", POLICY),
    ]);
    let found = place.launch("").unwrap();
    let mut keys: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    keys.sort_unstable();
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    assert_eq!(
        found.notes[0],
        format!("{} from spawn.toml", keys.join(", "))
    );
    assert_eq!(found.spec.env[1].0, "HOME");
    let flags = "--name all --include a.txt --iam-policy s3:ReadOnly --workers 1 --max-concurrent 1 \
        --provider local --instance-type c7i.large,c6i.large --region eu-west-1 --spot \
        --spot-max-price 0.05 --iam-policy-file policy.json --on-demand-base 2 --spot-fallback 15m \
        --iam-managed-policies AmazonS3ReadOnlyAccess --vpc vpc-0a1b2c3d --az eu-west-1a \
        --subnet subnet-0a1b2c3d,subnet-0b1b2c3d --security-groups sg-0a1b2c3d,sg-0b1b2c3d \
        --ami ami-0a1b2c3d --volume-size 100 --volume-type gp3 --volume-iops 4000 \
        --volume-throughput 1000 \
        --on-complete stop --ttl 1h --timeout 1m --retries 1 --backoff 1s --backoff-max 2s \
        --retry-on 75,100-110 --no-retry-on 101 --max-interruptions 3 --max-failures 5% --env A=1 \
        --env HOME --tags x=1,y=2 -- ls";
    assert_eq!(place.launch(flags).unwrap().spec, found.spec);
    let shown = place.effective(&[]).unwrap().settings;
    for setting in shown {
        let is_given = setting.origin.starts_with("spawn.toml:") && setting.value.is_some();
        assert!(
            is_given || setting.key.starts_with("user_data") || setting.key == "iam_role",
            "{setting:?}"
        );
    }
}
