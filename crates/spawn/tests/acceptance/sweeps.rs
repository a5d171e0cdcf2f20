//! Parameter files: every value reaches its task as the file has it, and rows get the workers they
//! ask for.

use crate::support::World;

/// Prints the values of `v` of all tasks as hexadecimal, so that nothing is lost on the way.
const DUMP: &str = "printf '%s' \"$V\" | od -An -v -tx1 | tr -d ' \\n'\n";

/// What the task with this index printed, from hexadecimal.
fn value(world: &World, id: &str, index: usize) -> Vec<u8> {
    let text = world.ok(["logs", id, "--task", &index.to_string()]);
    let digits = text.trim().as_bytes();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

const AWKWARD: [&str; 8] = [
    "$(rm -rf ~); \"'",
    "two\nlines\n",
    "tab\there, and \\ backslash",
    "żółć \u{1f980} \u{202e}rtl",
    "  blanks around  ",
    "",
    "`id` && $HOME %s %n !! #x",
    "=equals=and\r\ncarriage",
];

#[test]
fn values_reach_tasks_byte_for_byte_from_json_and_csv() {
    let world = World::new();
    world.write("dump.sh", DUMP);
    let rows: Vec<_> = AWKWARD
        .iter()
        .map(|v| serde_json::json!({"v": v}))
        .collect();
    let json = serde_json::json!({"params": rows}).to_string();
    world.write("sweep.json", json);
    let quoted = |v: &&str| format!("\"{}\"", v.replace('"', "\"\""));
    let lines: Vec<String> = AWKWARD.iter().map(quoted).collect();
    world.write("sweep.csv", format!("v\n{}\n", lines.join("\n")));
    for file in ["sweep.json", "sweep.csv"] {
        let id = world.launch(["--param-file", file, "--user-data", "@dump.sh"]);
        world.wait(&id).expect_code(0);
        for (index, expected) in AWKWARD.iter().enumerate() {
            let got = value(&world, &id, index);
            assert_eq!(got, expected.as_bytes(), "{file}, row {index}");
        }
    }
}

#[test]
fn yaml_scalars_keep_their_spelling_and_a_grid_is_every_combination() {
    let world = World::new();
    world.write(
        "grid.yaml",
        "defaults:\n  user_data: echo \"$LEARNING_RATE/$MODEL/$TASK_ARRAY_INDEX of $TASK_ARRAY_SIZE/$PARAM_learning_rate\"\n\
         grid:\n  learning-rate: [0.10, 1e-3]\n  model: [a, \"007\", true]\n",
    );
    let id = world.launch(["--param-file", "grid.yaml"]);
    world.wait(&id).expect_code(0);
    let mut seen = Vec::new();
    for index in 0..6 {
        let line = world.ok(["logs", &id, "--task", &index.to_string()]);
        seen.push(line.trim().to_owned());
    }
    assert_eq!(
        seen,
        [
            "0.10/a/0 of 6/0.10",
            "0.10/007/1 of 6/0.10",
            "0.10/true/2 of 6/0.10",
            "1e-3/a/3 of 6/1e-3",
            "1e-3/007/4 of 6/1e-3",
            "1e-3/true/5 of 6/1e-3",
        ]
    );
}

#[test]
fn rows_of_different_shapes_get_workers_of_their_own_and_their_own_limits() {
    let world = World::new();
    world.write(
        "mixed.yaml",
        "defaults:\n  instance_type: t3.medium\n  workers: 2\n  user_data: |\n    [ -z \"$SLOW\" ] || sleep 86441.25\n    echo \"$NAME\"\n\
         params:\n\
         - {name: small-1}\n\
         - {name: large-1, instance_type: m7i.2xlarge}\n\
         - {name: small-2}\n\
         - {name: late-1, slow: y, timeout: 300ms}\n\
         - {name: large-2, instance_type: m7i.2xlarge}\n",
    );
    let id = world.launch(["--param-file", "mixed.yaml"]);
    world.wait(&id).expect_code(1);
    let tasks = world.json(["tasks", &id]);
    let tasks = tasks.as_array().unwrap();
    let word = |task: &serde_json::Value, key: &str| task[key].as_str().unwrap().to_owned();
    let names: Vec<String> = tasks.iter().map(|t| word(t, "name")).collect();
    assert_eq!(
        names,
        ["small-1", "large-1", "small-2", "late-1", "large-2"]
    );
    let indices: Vec<u64> = tasks.iter().map(|t| t["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    // No worker served both kinds; one whose kind had nothing left may have given up its place.
    let of_kind = |kind: &'static str| {
        let of_kind = move |t: &&serde_json::Value| word(t, "name").starts_with(kind);
        tasks.iter().filter(of_kind)
    };
    let shared = |a: &serde_json::Value| of_kind("large").any(|b| a["worker"] == b["worker"]);
    let last = of_kind("large").map(|t| word(t, "ended_at")).max();
    for small in of_kind("small").filter(|small| shared(small)) {
        assert!(Some(word(small, "started_at")) >= last, "{tasks:?}");
    }
    assert_eq!(word(&tasks[3], "cause"), "timeout");
    assert_eq!(world.ok(["logs", &id, "--task", "4"]), "large-2\n");
    let story = world.ok(["explain", &id, "--task", "1"]);
    assert!(story.contains("`large-1`"), "{story}");
    // From an index on, and not more than asked for, though positions are in another order.
    let page = world.json(["tasks", &id, "--from", "2", "--limit", "2"]);
    assert_eq!(
        (&page[0]["index"], &page[1]["index"]),
        (&2.into(), &3.into())
    );
    // By index, whatever the order of the workers.
    assert_eq!(world.json(["retry", &id, "--tasks", "1,3"])["tasks"], 2);
    world.wait(&id).expect_code(1);
    let attempts = |i: usize| world.json(["tasks", &id])[i]["attempt"].clone();
    assert_eq!(
        (attempts(1), attempts(2), attempts(3)),
        (2.into(), 1.into(), 2.into())
    );
}

#[test]
fn what_is_to_run_comes_from_the_nearest_word_and_without_any_all_places_are_named() {
    let world = World::new();
    world.write("rows.csv", "who\nworld\n");
    let none = world
        .run(["launch", "--param-file", "rows.csv"])
        .expect_code(2);
    for place in ["--user-data", "rows.csv", "spawn.toml"] {
        assert!(none.err().contains(place), "no `{place}` in {none}");
    }
    assert!(!world.home.exists(), "nothing was started");

    world.write(
        "spawn.toml",
        "[launch]\nuser_data = \"@greet.sh\"\nname = \"greeting\"\n",
    );
    world.write("greet.sh", "echo \"hello $WHO\"\n");
    let id = world.launch(["--param-file", "rows.csv"]);
    world.wait(&id).expect_code(0);
    assert_eq!(world.ok(["logs", &id]), "hello world\n");
    assert_eq!(world.json(["status", &id])["name"], "greeting");
    let shown = world.json(["config", "show"]);
    let settings = shown["settings"].as_array().unwrap();
    let name = settings.iter().find(|s| s["key"] == "name").unwrap();
    assert_eq!(
        (&name["value"], &name["origin"]),
        (&"greeting".into(), &"spawn.toml:3".into())
    );

    let id = world.launch(["--param-file", "rows.csv", "--user-data", "echo bye $WHO"]);
    world.wait(&id).expect_code(0);
    assert_eq!(world.ok(["logs", &id]), "bye world\n");
}

#[test]
fn a_row_of_hundreds_of_kilobytes_reaches_its_task_whatever_its_worker() {
    let world = World::new();
    let row = serde_json::json!({"a": "x".repeat(99_000), "b": "y".repeat(90_000)});
    world.write(
        "big.json",
        serde_json::json!({"params": [row, row]}).to_string(),
    );
    for kind in [&["--max-concurrent", "1"][..], &["--workers", "1"]] {
        let launch = [
            "--param-file",
            "big.json",
            "--user-data",
            "echo ${#A} ${#B}",
        ];
        let id = world.launch(launch.iter().chain(kind));
        world.wait(&id).expect_code(0);
        assert_eq!(world.ok(["logs", &id, "--task", "1"]), "99000 90000\n");
    }
}
