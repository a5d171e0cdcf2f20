//! Tasks and what they printed.

use std::io::Read;
use std::process::Stdio;

use crate::support::{Gate, World};

#[test]
fn one_tasks_bytes_come_as_they_were_written() {
    let world = World::new();
    let script = r"printf '\xff\x00\xfe no end'; printf 'err\xff' >&2";
    let id = world.launch(["--user-data", script]);
    world.wait(&id).expect_code(0);
    let output = world.run(["logs", &id]).expect_code(0);
    assert_eq!(output.stdout, b"\xff\x00\xfe no end");
    assert_eq!(output.stderr, b"err\xff");
    let output = world.run(["logs", &id, "--stdout"]).expect_code(0);
    assert_eq!((output.stdout.len(), output.stderr.len()), (10, 0));
    let output = world.run(["logs", &id, "--stderr"]).expect_code(0);
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 4));
}

#[test]
fn lines_of_several_tasks_say_whose_they_are() {
    let world = World::new();
    let script = r"echo one; printf 'two\xff'; echo bad >&2; exit $((TASK_ARRAY_INDEX == 20))";
    let id = world.launch(["--array", "10-30:10", "--user-data", script]);
    world.wait(&id).expect_code(1);
    let output = world.run(["logs", &id]).expect_code(0);
    assert_eq!(
        output.stdout,
        b"[10] one\n[10] two\xff\n[20] one\n[20] two\xff\n[30] one\n[30] two\xff\n"
    );
    assert_eq!(output.err(), "[10] bad\n[20] bad\n[30] bad\n");
    let failed = world
        .run(["logs", &id, "--failed", "--stdout"])
        .expect_code(0);
    assert_eq!(failed.stdout, b"[20] one\n[20] two\xff\n");
    let one = world.run(["logs", &id, "--task", "30"]).expect_code(0);
    assert_eq!(one.stdout, b"one\ntwo\xff");
    world
        .run(["logs", &id, "--task", "15"])
        .expect_code(3)
        .expect_err("no task 15");
    world
        .run(["logs", &id, "--task", "10", "--attempt", "2"])
        .expect_code(3);
    world
        .run(["logs", &id, "--task", "10", "--attempt", "1"])
        .expect_code(0);

    let lines = world
        .run(["-o", "json", "logs", &id, "--task", "20"])
        .expect_code(0)
        .out();
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["index"], 20);
    assert_eq!(first["stream"], "stdout");
    assert_eq!(first["line"], "one");
}

#[test]
fn following_shows_output_while_it_is_written_and_ends_with_the_task() {
    for args in [&["--follow"][..], &["--follow", "--task", "0"]] {
        let world = World::new();
        let gate = Gate::new();
        let script = format!("echo first; {}; echo last", gate.script());
        let id = world.launch(["--array", "2", "--user-data", &script]);
        let mut follow = world.spawn(["logs", &id]);
        let mut follow = follow.args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = follow.stdout.take().unwrap();
        let mut seen = vec![0; b"first".len()];
        stdout.read_exact(&mut seen).unwrap();
        gate.open();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert!(follow.wait().unwrap().success());
        assert!(rest.contains("last"), "{rest}");
        world.wait(&id).expect_code(0);
    }
}

#[test]
fn following_shows_the_last_line_of_a_task_when_it_ends() {
    let world = World::new();
    let gate = Gate::new();
    let script = format!(
        "printf 'result of %s' $TASK_ARRAY_INDEX; [ $TASK_ARRAY_INDEX = 0 ] || {}",
        gate.script()
    );
    let id = world.launch(["--array", "2%1", "--user-data", &script]);
    let mut follow = world.spawn(["logs", &id, "--follow"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = follow.stdout.take().unwrap();
    // It comes while the other task waits at the gate.
    let mut seen = vec![0; b"[0] result of 0\n".len()];
    stdout.read_exact(&mut seen).unwrap();
    assert_eq!(seen, b"[0] result of 0\n");
    gate.open();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(follow.wait().unwrap().success());
    assert_eq!(rest, "[1] result of 1\n");
    world.wait(&id).expect_code(0);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let world = World::new();
    let id = world.launch(["--array", "3", "--user-data", "seq 100000"]);
    world.wait(&id).expect_code(0);
    let pipeline = format!(
        "set -o pipefail; {} logs {id} | head -1",
        env!("CARGO_BIN_EXE_spawn")
    );
    let output = world
        .program("bash")
        .args(["-c", &pipeline])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"[0] 1\n");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn tasks_are_listed_by_index_state_and_number() {
    let world = World::new();
    let script = "exit $((TASK_ARRAY_INDEX % 2))";
    let id = world.launch(["--array", "100-109", "--user-data", script]);
    world.wait(&id).expect_code(1);
    let indices = |args: &[&str]| -> Vec<u64> {
        let tasks = world.json(["tasks", &id].iter().chain(args));
        let tasks = tasks.as_array().unwrap().iter();
        tasks.map(|task| task["index"].as_u64().unwrap()).collect()
    };
    assert_eq!(indices(&[]), (100..110).collect::<Vec<_>>());
    assert_eq!(indices(&["--state", "failed"]), [101, 103, 105, 107, 109]);
    assert_eq!(indices(&["--from", "107"]), [107, 108, 109]);
    assert_eq!(indices(&["--from", "0", "--limit", "2"]), [100, 101]);
    assert_eq!(indices(&["--state", "failed", "--limit", "1"]), [101]);
    assert!(indices(&["--state", "skipped"]).is_empty());
    assert!(indices(&["--from", "110"]).is_empty());
    let text = world.ok(["tasks", &id, "--limit", "2"]);
    assert!(text.contains("exit code 1"), "{text}");
}

#[test]
fn many_tasks_come_page_by_page() {
    let world = World::new();
    let id = world.launch([
        "--array",
        "10000",
        "--workers",
        "1",
        "--user-data",
        "sleep 100",
    ]);
    let tasks = world.json(["tasks", &id]);
    assert_eq!(tasks.as_array().unwrap().len(), 10_000);
    assert_eq!(tasks[9_999]["index"], 9_999);
    world.ok(["cancel", &id, "--yes", "--notice", "1ms"]);
}
