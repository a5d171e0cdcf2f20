//! What a launch may ask of EC2, from files: their spellings, rows with types of their own, and
//! which source decides.

use place::{Place, check_refusals};
use spawn_spec::Resolved;

mod place;

const POLICY: &str =
    r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;

fn with_config(launch: &str) -> Place {
    let config = format!("[launch]\n{launch}");
    Place::with(&[("spawn.toml", &config), ("policy.json", POLICY)])
}

fn with_defaults(defaults: &str) -> Place {
    let text = format!("defaults: {{{defaults}}}\nparams: [{{x: 1}}]\n");
    Place::with(&[("p.yaml", &text), ("policy.json", POLICY)])
}

fn no_names() -> Vec<&'static str> {
    Vec::new()
}

/// Each kind of file says what the flags say.
#[test]
fn files_say_what_flags_say() {
    for (toml, yaml, flags) in [
        (
            "instance-type = \"c7i.large, c6i.large\"",
            "instance_type: [c7i.large, c6i.large]",
            "--instance-type c7i.large,c6i.large",
        ),
        (
            "spot = true\non_demand_base = 2\nspot_fallback = \"15m\"",
            "spot: true, on-demand-base: 2, spot-fallback: 15m",
            "--spot --on-demand-base 2 --spot-fallback 15m",
        ),
        (
            "vpc = \"vpc-0a1b2c3d\"\nami = \"ami-0a1b2c3d\"",
            "vpc: vpc-0a1b2c3d, ami: ami-0a1b2c3d",
            "--vpc vpc-0a1b2c3d --ami ami-0a1b2c3d",
        ),
        (
            "subnet = [\"subnet-0a1b2c3d\", \"subnet-0b1b2c3d\"]",
            "subnet: \"subnet-0a1b2c3d,subnet-0b1b2c3d\"",
            "--subnet subnet-0a1b2c3d,subnet-0b1b2c3d",
        ),
        (
            "security_groups = \"sg-0a1b2c3d\"",
            "security-groups: [sg-0a1b2c3d]",
            "--security-groups sg-0a1b2c3d",
        ),
        (
            "region = \"eu-west-1\"\naz = [\"eu-west-1a\", \"eu-west-1b\"]",
            "region: eu-west-1, az: \"eu-west-1a, eu-west-1b\"",
            "--region eu-west-1 --az eu-west-1a,eu-west-1b",
        ),
        (
            "volume_size = 100\nvolume_type = \"io2\"\nvolume_iops = 500",
            "volume-size: 100GiB, volume-type: io2, volume-iops: 500",
            "--volume-size 100 --volume-type io2 --volume-iops 500",
        ),
        (
            "volume_throughput = 500",
            "volume_throughput: 500",
            "--volume-throughput 500",
        ),
        (
            "iam_policy_file = \"policy.json\"",
            "iam-policy-file: policy.json",
            "--iam-policy-file policy.json",
        ),
        (
            "iam_managed_policies = [\"A\", \"B\"]",
            "iam_managed_policies: \"A,B\"",
            "--iam-managed-policies A,B",
        ),
        (
            "iam_role = \"worker\"",
            "iam_role: arn:aws:iam::123456789012:role/worker",
            "--iam-role worker",
        ),
    ] {
        for provider in ["ec2", "local"] {
            let given = format!("--provider {provider}");
            let by_flags = with_config("")
                .launch(&format!("{given} {flags} -- ls"))
                .unwrap();
            let by_config = with_config(toml).launch(&format!("{given} -- ls")).unwrap();
            assert_eq!(by_config.spec, by_flags.spec, "{toml}");
            let by_file = with_defaults(yaml);
            let by_file = by_file.launch(&format!("{given} --param-file p.yaml -- ls"));
            let by_file = by_file.unwrap();
            assert_eq!(by_file.spec.ec2, by_flags.spec.ec2, "{yaml}");
            assert_eq!(by_file.spec.all_lanes(), by_flags.spec.all_lanes());
            let named = |found: &Resolved| -> Vec<String> {
                let names = found.unused.iter();
                names
                    .map(|name| name.trim_start_matches('-').replace('-', "_"))
                    .collect()
            };
            assert_eq!(named(&by_file), named(&by_flags), "{yaml}");
            assert_eq!(named(&by_config), named(&by_flags), "{toml}");
        }
    }
}

#[test]
fn paths_of_policies_start_from_their_file() {
    let below = Place::with(&[
        (
            "jobs/p.yaml",
            "defaults: {iam_policy_file: grants/p.json}\nparams: [{x: 1}]\n",
        ),
        ("jobs/grants/p.json", POLICY),
    ]);
    let found = below.launch("--param-file jobs/p.yaml -- ls").unwrap();
    let minified =
        r#"{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}"#.to_owned();
    assert_eq!(found.spec.ec2.policy_document, Some(minified.clone()));
    let mut above = Place::with(&[
        ("spawn.toml", "[launch]\niam_policy_file = \"p.json\"\n"),
        ("p.json", POLICY),
        ("deep/er/x", ""),
    ]);
    above.from = "deep/er";
    let found = above.launch("-- ls").unwrap();
    assert_eq!(found.spec.ec2.policy_document, Some(minified));
    assert_eq!(
        above.refusal("--iam-policy-file p.json -- ls"),
        "`p.json`: no such file"
    );
}

#[test]
fn rows_have_lists_of_types() {
    let yaml = "\
defaults:
  instance_type: [c7i.large, c6i.large]
params:
  - {x: 0}
  - {x: 1, instance_type: [m7i.large, m6i.large]}
  - {x: 2, instance_type: \"m7i.large, m6i.large\"}
  - {x: 3, instance_type: [m6i.large, m7i.large]}
  - {x: 4, instance_type: m7i.large}
  - {x: 5, instance_type: [c7i.large, c6i.large, c7i.large]}
  - {x: 6, instance_type: }
";
    let csv = "x,instance_type
0,\"c7i.large,c6i.large\"
1,\"m7i.large,m6i.large\"
2,\"m7i.large, m6i.large\"
3,\"m6i.large,m7i.large\"
4,m7i.large
5,\"c7i.large,c6i.large\"
6,\"c7i.large,c6i.large,c6i.large\"
";
    let place = Place::with(&[("p.yaml", yaml), ("p.csv", csv)]);
    for file in ["p.yaml", "p.csv"] {
        let found = place
            .launch(&format!("--provider ec2 --param-file {file} -- ls"))
            .unwrap();
        let lanes: Vec<String> = found
            .spec
            .lanes
            .iter()
            .map(|lane| {
                let types = lane.instance_type.iter().chain(&lane.other_types);
                let types: Vec<&str> = types.map(|t| t.as_str()).collect();
                format!("{}: {}", lane.indices, types.join(" "))
            })
            .collect();
        assert_eq!(
            lanes,
            [
                "0,5-6: c7i.large c6i.large",
                "1-2: m7i.large m6i.large",
                "3-3: m6i.large m7i.large",
                "4-4: m7i.large",
            ],
            "{file}"
        );
        // A flag is above the rows.
        let flag = place
            .launch(&format!(
                "--param-file {file} --instance-type t3.nano,t3.micro -- ls"
            ))
            .unwrap();
        assert!(flag.spec.lanes.is_empty());
        assert_eq!(flag.spec.other_types[0].as_str(), "t3.micro");
        let note = "on this machine, the first type of `--instance-type` counts".to_owned();
        assert!(flag.notes.contains(&note), "{:?}", flag.notes);
    }
    let here = place.launch("--param-file p.csv -- ls").unwrap();
    let note = "on this machine, the first type of `instance_type` counts".to_owned();
    assert!(here.notes.contains(&note), "{:?}", here.notes);
}

#[test]
fn a_grid_has_lists_of_types_too() {
    let text = "grid:\n  instance_type: [c7i.large, [m7i.large, m6i.large]]\n  x: [1, 2]\n";
    let place = Place::with(&[("p.yaml", text)]);
    let spec = place.launch("--param-file p.yaml -- ls").unwrap().spec;
    let lanes = spec.lanes.iter().map(|lane| lane.other_types.len());
    assert_eq!(lanes.collect::<Vec<_>>(), [0, 1]);
}

/// The network, image and disk are those of the array; their names are good names of parameters.
#[test]
fn rows_may_have_parameters_of_such_names() {
    let text = "\
defaults: {ami: ami-0a1b2c3d}
params:
  - {az: north, ami: none, subnet: 7, vpc: x, volume_size: 0.5, volume-type: cube, zone: a}
";
    let place = Place::with(&[("p.yaml", text)]);
    let found = place
        .launch("--provider ec2 --param-file p.yaml --az eu-west-1a -- ls")
        .unwrap();
    assert_eq!(found.spec.ec2.zones, ["eu-west-1a"]);
    assert_eq!(found.spec.ec2.ami.as_deref(), Some("ami-0a1b2c3d"));
    assert_eq!(found.spec.ec2.volume_gib, None);
    let params: Vec<&str> = found.rows[0].params.iter().map(|(k, _)| &**k).collect();
    assert_eq!(
        params,
        [
            "az",
            "ami",
            "subnet",
            "vpc",
            "volume_size",
            "volume-type",
            "zone"
        ]
    );
    assert!(found.rows[0].vars.contains(&("AZ".into(), "north".into())));
    let warnings: Vec<String> = [
        (6, "az", "az"),
        (17, "ami", "ami"),
        (28, "subnet", "subnet"),
        (39, "vpc", "vpc"),
        (47, "volume_size", "volume_size"),
        (65, "volume-type", "volume_type"),
    ]
    .map(|(column, key, name)| {
        format!(
            "p.yaml:3:{column}: `{key}` is a parameter in rows; the setting `{name}` is for all tasks"
        )
    })
    .into();
    assert_eq!(found.warnings, warnings);
    let grid = Place::with(&[("g.yaml", "grid: {az: [a, b]}\n")]);
    let found = grid.launch("--param-file g.yaml -- ls").unwrap();
    assert_eq!(found.rows[1].params, [("az".into(), "b".into())]);
    assert_eq!(found.warnings.len(), 1);
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_place() {
    check_refusals(&[
        (
            "p.yaml",
            "defaults: {instance_type: [c7i.large, {}]}\nparams: [{a: 1}]\n",
            "p.yaml:1:39: `instance_type` is a map; expected a name such as `c7i.large`, or a list of them",
            "",
        ),
        (
            "p.yaml",
            "defaults: {instance_type: []}\nparams: [{a: 1}]\n",
            "p.yaml:1:27: `instance_type` has no value; expected a name such as `c7i.large`, or a list of them",
            "",
        ),
        (
            "p.yaml",
            "params: [{a: 1, instance_type: [c7i.large, c6i]}]\n",
            "p.yaml:1:32: `instance_type`: `c6i` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {on_demand_base: -1, spot: true}\nparams: [{a: 1}]\n",
            "p.yaml:1:28: `on_demand_base`: found `-1`; expected a whole number",
            "",
        ),
        (
            "p.yaml",
            "defaults: {on_demand_base: 2}\nparams: [{a: 1}]\n",
            "p.yaml:1:28: `on_demand_base` is only used with `spot`",
            "add `spot`, or leave out `on_demand_base`",
        ),
        (
            "p.yaml",
            "defaults: {spot_fallback: 5m}\nparams: [{a: 1, spot: false}]\n",
            "p.yaml:1:27: `spot_fallback` is only used with `spot`",
            "add `spot`, or leave out `spot_fallback`",
        ),
        (
            "p.yaml",
            "defaults: {spot_fallback: 2h, ttl: 1h, spot: true}\nparams: [{a: 1}]\n",
            "p.yaml:1:27: `spot_fallback: 2h` does not go with p.yaml:1:36: `ttl: 1h`; expected a time that is shorter",
            "",
        ),
        (
            "p.yaml",
            "defaults: {spot_fallback: 2h}\nparams: [{a: 1, ttl: 1h, spot: true}, {a: 2}]\n",
            "p.yaml:1:27: `spot_fallback: 2h` does not go with the rows' longest TTL of 1h; expected a time that is shorter",
            "",
        ),
        (
            "p.yaml",
            "defaults: {az: 3}\nparams: [{a: 1}]\n",
            "p.yaml:1:16: `az`: `3` is not a zone; expected names such as `eu-west-1a`",
            "`az` of `defaults` is the setting; a parameter there needs another name",
        ),
        (
            "p.yaml",
            "defaults: {volume_size: 0.5}\nparams: [{a: 1}]\n",
            "p.yaml:1:25: `volume_size`: found `0.5`; expected a size from 1 to 16384, in GiB",
            "`volume_size` of `defaults` is the setting; a parameter there needs another name",
        ),
        (
            "p.yaml",
            "defaults: {region: us-east-1, az: eu-west-1a}\nparams: [{a: 1}]\n",
            "p.yaml:1:35: `az: eu-west-1a` does not go with p.yaml:1:20: `region: us-east-1`; expected zones of that region",
            "",
        ),
        (
            "p.yaml",
            "defaults: {volume_type: io1}\nparams: [{a: 1}]\n",
            "p.yaml:1:25: `volume_type: io1` needs `volume_iops`; expected 100 to 64000",
            "",
        ),
        (
            "p.yaml",
            "defaults: {volume_throughput: 1000}\nparams: [{a: 1}]\n",
            "p.yaml:1:31: `volume_throughput: 1000` does not go with the default of 3000 operations per second; expected at most 750, or `volume_iops` of 4000 or more",
            "",
        ),
        (
            "p.yaml",
            "defaults: {vpc: [vpc-0a1b2c3d]}\nparams: [{a: 1}]\n",
            "p.yaml:1:17: `vpc` is a list; expected an id such as `vpc-0a1b2c3d4e5f67890`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {subnet: }\nparams: [{a: 1}]\n",
            "p.yaml:1:18: `subnet` has no value; expected an id such as `subnet-0a1b2c3d4e5f67890`, or a list of them",
            "",
        ),
        (
            "p.yaml",
            "defaults: {iam_role: worker, iam_policy: s3:ReadOnly}\nparams: [{a: 1}]\n",
            "p.yaml:1:22: `iam_role` and p.yaml:1:42: `iam_policy` each say what the tasks may do; expected one of them",
            "a role has its own grants; give them to it, or leave out `iam_role`",
        ),
        (
            "p.yaml",
            "defaults: {iam_policy_file: none.json}\nparams: [{a: 1}]\n",
            "`none.json`: no such file",
            "a relative path is looked up from the current directory",
        ),
        (
            "p.yaml",
            "params: [{a: 1, iam_role: worker}]\n",
            "p.yaml:1:17: `iam_role` is a setting of the whole array, not of a row",
            "put it into `defaults`, or give `--iam-role`; a parameter needs another name",
        ),
        (
            "p.yaml",
            "params: [{a: 1, security_group: sg-0a1b2c3d}]\n",
            "p.yaml:1:17: `security_group` is not a setting, and too close to one to be a parameter",
            "did you mean `security_groups`? A parameter needs another name",
        ),
    ]);
}

#[test]
fn a_configuration_speaks_for_other_launches_too() {
    let place = with_config("spot_max_price = 0.1\non_demand_base = 2\nspot_fallback = \"15m\"\n");
    let found = place.launch("--provider ec2 -- ls").unwrap();
    assert_eq!(found.spec.ec2, spawn_spec::Ec2Choices::default());
    assert_eq!(
        found.unused,
        ["spot_max_price", "on_demand_base", "spot_fallback"]
    );
    let spot = place.launch("--provider ec2 --spot -- ls").unwrap();
    assert_eq!(spot.spec.ec2.on_demand_base, 2);
    assert_eq!(spot.spec.ec2.spot_fallback_ms, Some(900_000));
    assert_eq!(spot.unused, no_names());
    // A launch may be too short for it.
    let short = place
        .launch("--provider ec2 --spot --ttl 10m -- ls")
        .unwrap();
    assert_eq!(
        short.warnings,
        ["spawn.toml:4:17: `spot_fallback: 15m` never comes: `--ttl 10m` ends the workers before"]
    );
}

#[test]
fn no_spot_overrules_a_file() {
    let place = with_defaults("spot: true, on_demand_base: 2, spot_fallback: 5m");
    let found = place
        .launch("--provider ec2 --param-file p.yaml --no-spot -- ls")
        .unwrap();
    assert_eq!(found.spec.ec2, spawn_spec::Ec2Choices::default());
    assert_eq!(found.unused, ["on_demand_base", "spot_fallback"]);
    assert_eq!(
        place.refusal("--param-file p.yaml --no-spot --spot-fallback 5m -- ls"),
        "`--spot-fallback` is only used with `--spot`"
    );
}

#[test]
fn a_fallback_beyond_some_rows_is_warned_about() {
    let text = "defaults: {spot: true, spot_fallback: 2h}\nparams: [{x: 1, ttl: 1h}, {x: 2}]\n";
    let place = Place::with(&[("p.yaml", text)]);
    let found = place.launch("--param-file p.yaml -- ls").unwrap();
    assert_eq!(found.spec.ec2.spot_fallback_ms, Some(7_200_000));
    assert_eq!(
        found.warnings,
        ["p.yaml:1:39: `spot_fallback: 2h` never comes for some tasks: their TTL ends them before"]
    );
}

#[test]
fn a_type_of_volume_leaves_out_what_a_configuration_says_of_another() {
    let place = with_config("volume_iops = 4000\nvolume_throughput = 1000\n");
    let found = place
        .launch("--provider ec2 --volume-type gp2 -- ls")
        .unwrap();
    let ec2 = found.spec.ec2;
    assert_eq!((ec2.volume_iops, ec2.volume_throughput), (None, None));
    assert_eq!(found.unused, ["volume_iops", "volume_throughput"]);
    let found = place.launch("--provider ec2 --volume-type io2 -- ls");
    let found = found.unwrap();
    assert_eq!(found.spec.ec2.volume_iops, Some(4000));
    assert_eq!(found.unused, ["volume_throughput"]);
    let place = with_config("volume_type = \"gp2\"\n");
    assert_eq!(
        place.refusal("--volume-iops 4000 -- ls"),
        "`--volume-iops 4000` does not go with spawn.toml:2:15: `volume_type: gp2`; expected the type `gp3`, `io1` or `io2`"
    );
}

#[test]
fn the_stronger_source_has_a_role_or_grants() {
    let grants = "iam_policy = \"s3:ReadOnly\"\niam_policy_file = \"policy.json\"\niam_managed_policies = \"A\"\n";
    let found = with_config(grants).launch("--iam-role worker -- ls");
    let found = found.unwrap();
    assert_eq!(found.spec.ec2.role.as_deref(), Some("worker"));
    assert_eq!(found.spec.iam_policies, []);
    assert_eq!(found.spec.ec2.policy_document, None);
    assert_eq!(found.spec.ec2.managed_policies, no_names());
    assert_eq!(found.unused, ["--iam-role"]);
    for flags in [
        "--iam-policy s3:ReadOnly",
        "--iam-policy-file policy.json",
        "--iam-managed-policies A",
    ] {
        let place = with_config("iam_role = \"worker\"\n");
        let found = place.launch(&format!("{flags} -- ls")).unwrap();
        assert_eq!(found.spec.ec2.role, None, "{flags}");
        let given: Vec<&str> = flags.split(' ').take(1).collect();
        assert_eq!(found.unused, given);
    }
    // Grants of several sources add up.
    let place = with_config("iam_managed_policies = \"A\"\n");
    let both = place.launch("--iam-policy s3:ReadOnly -- ls").unwrap();
    assert_eq!(both.spec.iam_policies.len(), 1);
    assert_eq!(both.spec.ec2.managed_policies, ["A"]);
    assert_eq!(
        with_config("iam_role = \"a\"\niam_managed_policies = \"A\"\n").refusal("-- ls"),
        "spawn.toml:2:12: `iam_role` and spawn.toml:3:24: `iam_managed_policies` each say what the tasks may do; expected one of them"
    );
}

#[test]
fn what_is_asked_of_ec2_is_shown_with_its_origin() {
    let place =
        with_config("subnet = [\"subnet-0a1b2c3d\", \"subnet-0b1b2c3d\"]\nvolume_size = 50\n");
    let found = place
        .effective(&[
            "--instance-type",
            "c7i.large,c6i.large",
            "--iam-policy-file",
            "p.json",
        ])
        .unwrap();
    let lines: Vec<String> = found
        .settings
        .iter()
        .filter_map(|setting| {
            let value = setting.value.as_deref()?;
            let is_default = setting.origin == "default";
            (!is_default).then(|| format!("{} {value} ({})", setting.key, setting.origin))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "iam_policy_file p.json (--iam-policy-file)",
            "instance_type c7i.large,c6i.large (--instance-type)",
            "subnet subnet-0a1b2c3d,subnet-0b1b2c3d (spawn.toml:2)",
            "volume_size 50 (spawn.toml:3)",
        ]
    );
}
