//! `spored complete` and the completion file: twice, from the background, after the script.

use serde_json::Value;

use crate::support::{Output, World};

/// Runs a script as one task; the task as `spawn tasks` shows it, and its output.
fn outcome(world: &World, script: &str) -> (Value, String) {
    world.write("job.sh", script);
    let id = world.launch(["--user-data", "@job.sh"]);
    let waited = world.wait(&id);
    let task = world.json(["tasks", &id])[0].clone();
    let well = task["state"] == "succeeded" || task["state"] == "skipped";
    assert_eq!(waited.code, if well { 0 } else { 1 }, "{waited}");
    (task, world.ok(["logs", &id, "--task", "0", "--stdout"]))
}

#[test]
fn the_scripts_word_beats_its_exit_code() {
    let world = World::new();
    let (task, _) = outcome(
        &world,
        "spored complete --status failed --message 'bad row'\nexit 0\n",
    );
    assert_eq!(
        (task["state"].as_str(), task["message"].as_str()),
        (Some("failed"), Some("bad row"))
    );
    let (task, _) = outcome(&world, "spored complete --status success\nexit 3\n");
    assert_eq!(
        (task["state"].as_str(), task["exit_code"].as_i64()),
        (Some("succeeded"), Some(3))
    );
    let (task, _) = outcome(&world, "spored complete --status skipped; exit 0\n");
    assert_eq!(task["state"], "skipped");
    let (task, _) = outcome(&world, "exit 42\n");
    assert_eq!(
        (task["state"].as_str(), task["exit_code"].as_i64()),
        (Some("failed"), Some(42))
    );
}

#[test]
fn the_first_word_stands_and_the_script_goes_on() {
    let world = World::new();
    let (task, out) = outcome(
        &world,
        "spored complete --status success; echo $?\nspored complete --status success; echo $?\n\
         spored complete --status failed; echo $?\necho on\n",
    );
    assert_eq!(task["state"], "succeeded");
    assert_eq!(out, "0\n0\n1\non\n");
}

#[test]
fn a_background_child_may_say_it_while_the_script_runs() {
    let world = World::new();
    let (task, _) = outcome(
        &world,
        "spored complete --status failed --message child &\nwait\nexit 0\n",
    );
    assert_eq!(
        (task["state"].as_str(), task["message"].as_str()),
        (Some("failed"), Some("child"))
    );
    // One that comes too late is gone with the script.
    let (task, _) = outcome(
        &world,
        "(sleep 5; spored complete --status failed) &\nexit 0\n",
    );
    assert_eq!(task["state"], "succeeded");
}

#[test]
fn the_completion_file_says_it_too_plain_or_json() {
    let world = World::new();
    for (content, state, message) in [
        ("success", "succeeded", None),
        ("failed: no space", "failed", Some("no space")),
        (
            r#"{"status":"skipped","message":"empty input"}"#,
            "skipped",
            Some("empty input"),
        ),
    ] {
        let (task, _) = outcome(
            &world,
            &format!("echo '{content}' > /tmp/SPAWN_COMPLETE\nexit 1\n"),
        );
        assert_eq!(
            (task["state"].as_str(), task["message"].as_str()),
            (Some(state), message)
        );
    }
    let (task, _) = outcome(&world, "echo perhaps > /tmp/SPAWN_COMPLETE\n");
    assert_eq!(task["state"], "failed");
    assert!(
        task["message"].as_str().unwrap().contains("perhaps"),
        "{task}"
    );
    // The command's word beats the file's.
    let (task, _) = outcome(
        &world,
        "echo failed > /tmp/SPAWN_COMPLETE\nspored complete --status success\n",
    );
    assert_eq!(task["state"], "succeeded");
}

#[test]
fn a_long_message_is_kept_in_part_and_changes_nothing() {
    let world = World::new();
    let (task, _) = outcome(
        &world,
        "spored complete --status success --message \"$(head -c 70000 /dev/zero | tr '\\0' x)\"\n",
    );
    assert_eq!(task["state"], "succeeded");
    assert_eq!(task["message"].as_str().unwrap().len(), 4096);
}

#[test]
fn a_message_cannot_forge_lines_or_colours() {
    let world = World::new();
    let script = "spored complete --status failed --message \"$(printf 'x\\033[31m\\n  tasks 99 succeeded')\"\n";
    let (task, _) = outcome(&world, script);
    assert_eq!(task["message"], "x\u{1b}[31m\n  tasks 99 succeeded");
    for shown in [
        world.run(["status", "last"]).out(),
        world.ok(["tasks", "last"]),
    ] {
        assert!(shown.contains("x [31m   tasks 99 succeeded"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn what_is_no_file_is_no_completion_and_does_not_stay() {
    let world = World::new();
    world.write(
        "job.sh",
        "mkdir /tmp/SPAWN_COMPLETE || mkfifo /tmp/SPAWN_COMPLETE\nexit 0\n",
    );
    let id = world.launch(["--array", "3", "--workers", "1", "--user-data", "@job.sh"]);
    world.wait(&id).expect_code(0);
}

#[test]
fn one_tasks_word_is_not_the_nexts() {
    let world = World::new();
    world.write(
        "job.sh",
        "[ $TASK_ARRAY_INDEX = 0 ] && { spored complete --status skipped; echo skipped > /tmp/SPAWN_COMPLETE; }\nexit 0\n",
    );
    let id = world.launch(["--array", "3", "--workers", "1", "--user-data", "@job.sh"]);
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(
        (
            status["counts"]["skipped"].as_u64(),
            status["counts"]["succeeded"].as_u64()
        ),
        (Some(1), Some(2))
    );
}

#[test]
fn outside_a_task_there_is_nothing_to_complete() {
    let world = World::new();
    let spored = std::path::Path::new(env!("CARGO_BIN_EXE_spawn")).with_file_name("spored");
    let run = |args: &[&str]| Output::of(world.program(&spored).args(args));
    let out = run(&["complete", "--status", "success"]).expect_code(3);
    assert!(out.err().contains("not inside a task"), "{out}");
    run(&["complete", "--status", "maybe"]).expect_code(2);
    run(&["complete"]).expect_code(2);
    run(&["nonsense"]).expect_code(2);
    assert!(
        run(&["version"])
            .expect_code(0)
            .out()
            .starts_with("spored ")
    );
}
