//! Parameter files that are in order: rows, values, variables, settings, lanes.

use place::Place;
use spawn_core::max_failures::MaxFailures;
use spawn_spec::{Program, Resolved, Row};

mod place;

const SMALL: &str = "\
# small-tasks.yaml
defaults:
  instance_type: t3.medium
  ttl: 2h
  spot: true

params:
  - name: small-001
    task_type: small
  - name: small-002
    task_type: small
  # ... 100 small tasks
";

const LARGE: &str = "\
# large-tasks.yaml
defaults:
  instance_type: m7i.2xlarge
  ttl: 4h
  spot: true

params:
  - name: large-001
    task_type: large
  - name: large-002
    task_type: large
  # ... 20 large tasks
";

fn launch(name: &str, text: &str) -> Resolved {
    let place = Place::with(&[(name, text)]);
    let found = place.launch_words(&["--param-file", name, "--", "ls"]);
    found.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn vars(row: &Row) -> Vec<String> {
    let vars = row.vars.iter();
    vars.map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The values of `a` in every row.
fn values(name: &str, text: &str) -> Vec<String> {
    let rows = launch(name, text).rows.into_iter();
    rows.map(|row| row.params[0].1.clone()).collect()
}

#[test]
fn the_documented_files_work_as_written() {
    let place = Place::with(&[
        ("small-tasks.yaml", SMALL),
        ("large-tasks.yaml", LARGE),
        ("spawn.toml", "[launch]\nuser_data = \"@task.sh\"\n"),
        ("task.sh", "#!/bin/bash\necho \"$NAME $PARAM_task_type\"\n"),
    ]);
    for (file, name, instance_type, ttl, kind) in [
        ("small-tasks.yaml", "small", "t3.medium", 2, "small"),
        ("large-tasks.yaml", "large", "m7i.2xlarge", 4, "large"),
    ] {
        let found = place.launch_words(&["--param-file", file]).unwrap();
        assert_eq!(found.spec.name, "task");
        assert_eq!(found.spec.indices.to_string(), "0-1");
        assert_eq!(found.spec.ttl_ms, ttl * 3_600_000);
        assert_eq!(found.spec.instance_type.unwrap().as_str(), instance_type);
        assert!(found.spec.spot && found.spec.has_rows && found.spec.lanes.is_empty());
        assert_eq!(found.unused, ["spot"]);
        assert_eq!(found.rows[1].name.as_deref(), Some(&*format!("{name}-002")));
        assert_eq!(
            vars(&found.rows[0]),
            [
                format!("PARAM_name={name}-001"),
                format!("NAME={name}-001"),
                format!("PARAM_task_type={kind}"),
            ]
        );
        assert_eq!(
            found.warnings,
            [
                "tasks get `task_type` as `PARAM_task_type` only, since `TASK_TYPE` is not for parameters"
            ]
        );
        assert_eq!(found.notes, ["`user_data` from spawn.toml"]);
    }
}

#[test]
fn yaml_values_are_what_the_file_spells() {
    let text = r#"params:
  - a: 0.10
  - a: 1e-3
  - a: 007
  - a: true
  - a: No
  - a: 1_000
  - a: 0x1F
  - a: 2024-01-31
  - a: 1:30
  - a: .5
  - a: +1
  - a: '007'
  - a: "two\nlines\ttab"
  - a: 'it''s'
  - a: "$(rm -rf ~); \"' `id`"
  - a: $(rm -rf ~) `id` "x" \n
  - a: "  blanks  "
  - a: ünïcödé 日本 🎉
  - a: |
      #!/bin/sh
      echo $A
  - a: >-
      folded
      text
  - a: ~
  - a: null
  - a:
  - a: ""
  - a: "null"
  - a: !!str 12
  - a: [1, 0.10, x, "y z", true, null, {k: [007]}]
  - a: {b: 1, c: "2", d: No}
  - a: 12345678901234567890123
  - a: "\uD83D\uDE00"
"#;
    assert_eq!(
        values("p.yaml", text),
        [
            "0.10",
            "1e-3",
            "007",
            "true",
            "No",
            "1_000",
            "0x1F",
            "2024-01-31",
            "1:30",
            ".5",
            "+1",
            "007",
            "two\nlines\ttab",
            "it's",
            "$(rm -rf ~); \"' `id`",
            "$(rm -rf ~) `id` \"x\" \\n",
            "  blanks  ",
            "ünïcödé 日本 🎉",
            "#!/bin/sh\necho $A\n",
            "folded text",
            "",
            "",
            "",
            "",
            "null",
            "12",
            r#"[1,0.10,"x","y z",true,null,{"k":["007"]}]"#,
            r#"{"b":1,"c":"2","d":"No"}"#,
            "12345678901234567890123",
            "😀",
        ]
    );
}

#[test]
fn json_values_are_what_the_file_spells() {
    let text = r#"{
	"params": [
		{"a": 0.10}, {"a": 1e-3}, {"a": 1.0E+2}, {"a": true}, {"a": null}, {"a": "x\ny\/"},
		{"a": "\ud83d\ude00"}, {"a": [1, 0.10, "b c"]}, {"a": {"k": [ ]}}, {"a": -0},
		{"a": 123456789012345678901234567890}
	]
}"#;
    assert_eq!(
        values("p.json", text),
        [
            "0.10",
            "1e-3",
            "1.0E+2",
            "true",
            "",
            "x\ny/",
            "😀",
            r#"[1,0.10,"b c"]"#,
            r#"{"k":[]}"#,
            "-0",
            "123456789012345678901234567890",
        ]
    );
}

#[test]
fn csv_cells_are_what_the_file_spells() {
    let text =
        "\u{feff}a,name,b c\r\n0.10,r1, x \r\n\"two\nlines, \"\"q\"\"\",,\r\n\r\nnull,r3,$(id)";
    let found = launch("p.CSV", text);
    let rows: Vec<_> = found.rows.iter().map(|row| &row.params).collect();
    let row = |a: &str, b: &str| vec![("a".into(), a.into()), ("b c".into(), b.into())];
    assert_eq!(rows[0], &row("0.10", " x "));
    assert_eq!(rows[1], &row("two\nlines, \"q\"", ""));
    assert_eq!(rows[2], &row("null", "$(id)"));
    assert_eq!(found.rows[0].name.as_deref(), Some("r1"));
    assert_eq!(found.rows[1].name, None);
    assert_eq!(vars(&found.rows[2])[4..], ["PARAM_b_c=$(id)", "B_C=$(id)"]);
    assert_eq!(found.spec.name, "p");
}

#[test]
fn defaults_give_parameters_to_every_row() {
    let found = launch(
        "p.yaml",
        "defaults: {model: small, learning-rate: 0.1}\nparams: [{x: 1}, {model: large}, {}]\n",
    );
    assert_eq!(
        vars(&found.rows[1]),
        [
            "PARAM_model=large",
            "MODEL=large",
            "PARAM_learning_rate=0.1",
            "LEARNING_RATE=0.1"
        ]
    );
    let keys = |nth: usize| -> Vec<&str> {
        let params = found.rows[nth].params.iter();
        params.map(|(key, _)| key.as_str()).collect()
    };
    assert_eq!(keys(0), ["model", "learning-rate", "x"]);
    assert_eq!(keys(2), ["model", "learning-rate"]);
}

#[test]
fn a_grid_is_multiplied_out_with_the_first_key_slowest() {
    let shown = |text: &str| -> Vec<String> {
        let rows = launch("p.yaml", text).rows.into_iter();
        rows.map(|row| {
            let values = row.params.iter().map(|(_, value)| value.as_str());
            values.collect::<Vec<_>>().join(" ")
        })
        .collect()
    };
    assert_eq!(
        shown("grid:\n  lr: [0.1, 0.01]\n  m: [a, b, c]\n"),
        ["0.1 a", "0.1 b", "0.1 c", "0.01 a", "0.01 b", "0.01 c"]
    );
    assert_eq!(
        shown("params: [{x: 1}, {x: 2}]\ngrid: {y: [3, 4]}\n"),
        ["1 3", "1 4", "2 3", "2 4"]
    );
    assert_eq!(
        shown("defaults: {y: 0, z: 9}\ngrid: {y: [3, 4]}\n"),
        ["3 9", "4 9"]
    );
}

#[test]
fn names_that_are_not_for_parameters_are_withheld_with_a_warning() {
    let found = launch(
        "p.yaml",
        "params: [{path: /x, step: 1}, {path: /y, step: 2}]\n",
    );
    assert_eq!(
        vars(&found.rows[0]),
        ["PARAM_path=/x", "PARAM_step=1", "STEP=1"]
    );
    assert_eq!(
        found.warnings,
        ["tasks get `path` as `PARAM_path` only, since `PATH` is not for parameters"]
    );
    let found = launch("p.yaml", "params: [{Region: x}]\n");
    assert_eq!(
        found.warnings,
        ["p.yaml:1:11: `Region` is taken for a parameter; the setting is `region`"]
    );
    let found = launch("p.yaml", "defaults: {Region: x}\nparams: [{a: 1}]\n");
    assert_eq!(
        found.warnings,
        ["p.yaml:1:12: `Region` is taken for a parameter; the setting is `region`"]
    );
}

#[test]
fn a_variable_of_the_rows_is_not_warned_about() {
    let script = "#!/bin/bash\necho $PBS_ARRAYID $TASK_INDX\n";
    let place = Place::with(&[("x.sh", script), ("p.yaml", "params: [{pbs-arrayid: 1}]\n")]);
    let found = place
        .launch("--param-file p.yaml --user-data @x.sh")
        .unwrap();
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(found.warnings[0].contains("TASK_INDX"));
    let clash = place.refusal("--param-file p.yaml --env PBS_ARRAYID=3 --user-data @x.sh");
    assert_eq!(
        clash,
        "p.yaml:1:11: `pbs-arrayid` would be the variable `PBS_ARRAYID`, which `--env` sets"
    );
}

#[test]
fn settings_of_a_file_are_those_of_the_flags() {
    let text = r#"
name: sweep
command: [sh, -c, 'echo $LR']
defaults:
  ttl: 2h
  timeout: 10m
  tags: {owner: ana}
  iam_policy: [s3:ReadOnly, sqs:FullAccess]
  on_complete: stop
  workers: 2
  max-concurrent: 1
  retries: 3
  backoff: 0s
  backoff_max: 1m
  retry_on: [75, 100-110]
  no_retry_on: 101
  max_interruptions: 7
  max_failures: 5%
  env: {MODEL: 0.10}
  region: eu-west-1
  spot: true
  spot_max_price: 0.05
params: [{lr: 1}, {lr: 2}]
"#;
    let place = Place::with(&[("jobs/p.yaml", text)]);
    let spec = place.launch("--param-file jobs/p.yaml").unwrap().spec;
    let flags = place
        .launch_words(&[
            "--array",
            "2",
            "--name",
            "sweep",
            "--ttl",
            "2h",
            "--timeout",
            "10m",
            "--tags",
            "owner=ana",
            "--iam-policy",
            "sqs:FullAccess,s3:ReadOnly",
            "--on-complete",
            "stop",
            "--workers",
            "2",
            "--max-concurrent",
            "1",
            "--retries",
            "3",
            "--backoff",
            "0s",
            "--backoff-max",
            "1m",
            "--retry-on",
            "75,100-110",
            "--no-retry-on",
            "101",
            "--max-interruptions",
            "7",
            "--max-failures",
            "5%",
            "--env",
            "MODEL=0.10",
            "--region",
            "eu-west-1",
            "--spot",
            "--spot-max-price",
            "0.05",
            "--",
            "sh",
            "-c",
            "echo $LR",
        ])
        .unwrap()
        .spec;
    assert_eq!(spec.max_failures, Some(MaxFailures::Percent(5)));
    let has_rows = true;
    assert_eq!(spec, spawn_spec::LaunchSpec { has_rows, ..flags });
}

#[test]
fn the_command_line_overrules_the_file() {
    let text = "command: ls -l\ndefaults: {ttl: 2h, env: {A: 1, B: 1}, tags: {x: 1, y: 1}}\nparams: [{z: 1}]\n";
    let place = Place::with(&[("p.yaml", text)]);
    let found = place
        .launch("--param-file p.yaml --ttl 3h --env B=2 --tags y=2 -- id")
        .unwrap();
    assert_eq!(found.spec.ttl_ms, 3 * 3_600_000);
    let env: Vec<_> = found
        .spec
        .env
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(env, ["A=1", "B=2"]);
    assert_eq!(found.spec.tags.to_string(), "x=1,y=2");
    let argv = |program: &Program| match program {
        Program::Command { argv } => argv.clone(),
        Program::Script { .. } => panic!("a script"),
    };
    assert_eq!(argv(&found.spec.program), ["id"]);
    let found = place.launch("--param-file p.yaml").unwrap();
    assert_eq!(argv(&found.spec.program), ["bash", "-c", "ls -l"]);
    assert_eq!(found.spec.name, "p");
}

#[test]
fn paths_of_a_file_start_from_its_directory() {
    let place = Place::with(&[
        (
            "jobs/p.yaml",
            "user_data: \"@run.sh\"\ndefaults: {include: data}\nparams: [{x: 1}]\n",
        ),
        (
            "jobs/q.yaml",
            "user_data: |\n  echo $X $TASK_ID\nparams: [{x: 1}]\n",
        ),
        ("jobs/run.sh", "#!/bin/bash\necho $X\n"),
        ("jobs/data/a.txt", "a"),
    ]);
    let found = place.launch("--param-file jobs/p.yaml").unwrap();
    assert_eq!(
        found.script.as_deref(),
        Some(&b"#!/bin/bash\necho $X\n"[..])
    );
    assert_eq!(found.spec.shipped[0].name, "jobs/data/a.txt");
    assert_eq!(found.spec.name, "run");
    let found = place.launch("--param-file jobs/q.yaml").unwrap();
    assert_eq!(found.spec.name, "q");
    assert_eq!(
        found.warnings,
        [
            "the script in `jobs/q.yaml` reads `TASK_ID`, which no task has; did you mean `TASK_ARRAY_ID`?"
        ]
    );
}

#[test]
fn rows_with_equal_needs_share_a_lane() {
    let text = "\
defaults: {instance_type: c7i.large, ttl: 2h, timeout: 5m}
params:
  - {x: 0}
  - {x: 1, instance-type: m7i.large, spot: true, spot_max_price: 0.05}
  - {x: 2, ttl: 4h}
  - {x: 3, timeout: 10m, ttl: null}
  - {x: 4, spot: true, spot_max_price: 0.05, instance_type: m7i.large}
  - {x: 5, timeout: 5m}
";
    let found = launch("p.yaml", text);
    let lanes: Vec<_> = found
        .spec
        .lanes
        .iter()
        .map(|lane| {
            let instance_type = lane.instance_type.as_ref().unwrap().as_str();
            let hours = lane.ttl_ms / 3_600_000;
            let price = lane.spot_max_price;
            (
                lane.indices.to_string(),
                instance_type,
                lane.spot,
                price,
                hours,
            )
        })
        .collect();
    assert_eq!(
        lanes,
        [
            ("0,3,5".into(), "c7i.large", false, None, 2),
            ("1,4".into(), "m7i.large", true, Some(0.05), 2),
            ("2-2".into(), "c7i.large", false, None, 4),
        ]
    );
    assert_eq!(found.spec.ttl_ms, 4 * 3_600_000);
    let timeouts: Vec<_> = found.rows.iter().map(|row| row.timeout_ms).collect();
    assert_eq!(timeouts, [None, None, None, Some(600_000), None, None]);
    assert_eq!(found.unused, ["spot", "spot_max_price"]);

    // A flag is above the file, rows included.
    let place = Place::with(&[("p.yaml", text)]);
    let flags = place
        .launch("--param-file p.yaml --no-spot --instance-type t3.nano --ttl 1h --timeout 1m -- ls")
        .unwrap();
    assert!(flags.spec.lanes.is_empty() && !flags.spec.spot);
    assert_eq!(flags.spec.ttl_ms, 3_600_000);
    assert!(flags.rows.iter().all(|row| row.timeout_ms.is_none()));
    let flags = place
        .launch("--param-file p.yaml --spot --instance-type t3.nano --ttl 1h --timeout 1m -- ls")
        .unwrap();
    assert_eq!(flags.spec.lanes.len(), 2);
    assert!(flags.spec.lanes.iter().all(|lane| lane.ttl_ms == 3_600_000));
    assert_eq!(
        flags.notes,
        [
            "`--spot` overrules the `spot` of 2 rows",
            "`--instance-type` overrules the `instance_type` of 2 rows",
            "`--ttl` overrules the `ttl` of 1 row",
            "`--timeout` overrules the `timeout` of 2 rows",
        ]
    );
}

#[test]
fn one_lane_is_the_array_itself() {
    let found = launch(
        "p.csv",
        "x,instance_type,spot\n1,c7i.large,true\n2,c7i.large,true\n",
    );
    assert!(found.spec.lanes.is_empty() && found.spec.spot);
    assert_eq!(found.spec.instance_type.unwrap().as_str(), "c7i.large");
    assert_eq!(found.spec.ttl_ms, 86_400_000);
}

#[test]
fn many_rows_are_read_in_time() {
    let mut text = String::from("a,b,c,name\n");
    for n in 0..100_000 {
        text.push_str(&format!("{n},0.{n},x y,row-{n}\n"));
    }
    let found = launch("p.csv", &text);
    assert_eq!(found.spec.indices.to_string(), "0-99999");
    assert_eq!(found.rows[99_999].name.as_deref(), Some("row-99999"));
    assert_eq!(found.rows[99_999].params[1].1, "0.99999");
}

#[test]
fn a_mistyped_parameter_is_warned_about() {
    let script = "#!/bin/bash\necho $PARAM_learning_rat ${PARAM_other:-1} $PARAM_name $TASK_TYPE\n";
    let place = Place::with(&[
        ("x.sh", script),
        (
            "p.yaml",
            "params: [{name: a, learning_rate: 1, task_type: b}]\n",
        ),
    ]);
    let found = place
        .launch("--param-file p.yaml --user-data @x.sh")
        .unwrap();
    assert_eq!(
        found.warnings[1..],
        [
            "`x.sh` reads `PARAM_learning_rat`, which no task has; did you mean `PARAM_learning_rate`?",
            "`x.sh` reads `TASK_TYPE`, which no task has; did you mean `PARAM_task_type`?",
        ]
    );
    let without = place.launch("--user-data @x.sh").unwrap();
    assert_eq!(
        without.warnings[..2],
        [
            "`x.sh` reads `PARAM_learning_rat`, which no task has",
            "`x.sh` reads `PARAM_name`, which no task has",
        ]
    );
}

#[test]
fn a_flag_that_files_cannot_set_is_told_from_a_parameter() {
    let text = "defaults: {durable: true, wait_for: x}\nparams: [{array: 3}]\n";
    let found = launch("p.yaml", text);
    assert_eq!(
        found.warnings,
        ["p.yaml:1:12: `durable` is taken for a parameter; `--durable` is a flag only"]
    );
}
