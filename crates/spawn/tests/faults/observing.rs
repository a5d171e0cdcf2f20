//! What is shown of tasks: how far they are, what they use, what their failures have in common.

use crate::processes::until;
use crate::support::{Gate, World};

#[test]
fn a_running_task_shows_how_far_it_is_and_what_it_uses() {
    let world = World::new();
    let mut gate = Gate::new();
    let script = format!(
        "spored progress 3/10; spored status; spored status --json > status.json; python3 -c 'import json; print(json.load(open(\"status.json\"))[\"progress\"])'\n\
         python3 -c '\nimport socket, time\nx = bytearray(80 << 20)\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n\
         s = socket.create_connection((\"127.0.0.1\", {}))\ns.recv(1)'\n\
         spored progress 10/10\n",
        gate.port()
    );
    world.write("job.sh", script);
    let id = world.launch([
        "--array",
        "7",
        "--workers",
        "1",
        "--name",
        "steps",
        "--user-data",
        "@job.sh",
    ]);
    gate.await_task();
    let mut worker = serde_json::Value::Null;
    until("its memory is seen", || {
        worker = world.json(["status", &id])["workers"][0].clone();
        worker["memory_bytes"].as_u64() > Some(80 << 20)
    });
    assert_eq!(worker["progress"]["done"], 3, "{worker}");
    assert_eq!(worker["progress"]["total"], 10, "{worker}");
    assert_eq!(worker["hostname"], "steps-w0", "{worker}");
    assert!(worker["cpus"].as_f64() >= Some(0.0), "{worker}");
    let heard = worker["last_update"].as_str();
    assert!(heard > worker["task_started_at"].as_str(), "{worker}");
    let text = world.ok(["status", &id]);
    assert!(text.contains("3/10"), "{text}");
    gate.open();
    world.wait(&id).expect_code(0);
    let logs = world.ok(["logs", &id, "--task", "0"]);
    assert!(
        logs.contains("index 0 of 7, attempt 1") && logs.contains("progress  3/10"),
        "{logs}"
    );
    assert!(
        logs.contains("'done': 3") && logs.contains("'total': 10"),
        "{logs}"
    );
    let story = world.json(["explain", &id, "--task", "0"]);
    let used = &story["attempts"][0];
    assert!(
        used["peak_memory_bytes"].as_u64() > Some(80 << 20),
        "{used}"
    );
    assert!(used["cpu_seconds"].as_f64() >= Some(0.5), "{used}");
}

#[test]
fn failures_are_shown_by_what_they_have_in_common() {
    let world = World::new();
    let script = "case $((TASK_ARRAY_INDEX % 4)) in\n\
        1) echo \"cannot open file-$TASK_ARRAY_INDEX.csv\" >&2; exit 1 ;;\n\
        2) spored complete --status failed --message 'no such customer' ;;\n\
        3) kill -SEGV $$ ;;\nesac\n";
    world.write("job.sh", script);
    let id = world.launch(["--array", "21", "--workers", "2", "--user-data", "@job.sh"]);
    let status = world.wait(&id).expect_code(1).json();
    assert_eq!(status["counts"]["failed"], 15, "{status}");
    let groups = status["failure_groups"].as_array().unwrap();
    assert_eq!(groups.len(), 3, "{status}");
    assert!(
        groups
            .iter()
            .all(|g| g["count"] == 5 && g["cause"] == "exit"),
        "{status}"
    );
    let with = |line: &str| {
        groups
            .iter()
            .find(|g| g["line"].as_str().is_some_and(|l| l.starts_with(line)))
            .unwrap_or_else(|| panic!("no group of `{line}` in {status}"))
    };
    assert_eq!(with("cannot open file-")["exit_code"], 1);
    assert_eq!(with("no such customer")["exit_code"], 0);
    assert!(groups.iter().any(|g| g["signal"] == 11), "{status}");
    let text = world.ok(["status", &id]);
    for part in [
        "5 x ",
        "cannot open file-",
        "no such customer",
        "spawn explain",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[test]
fn a_task_sees_its_own_limits_and_an_extension_that_came_before_it() {
    let world = World::new();
    world.write(
        "rows.yaml",
        "defaults: {timeout: 50m, ttl: 2h}\nparams: [{timeout: 20m}, {x: 1}]\n",
    );
    let rows = world.launch([
        "--param-file",
        "rows.yaml",
        "--user-data",
        "spored status --json",
    ]);
    world.wait(&rows).expect_code(0);
    let seen = |id: &str, task: &str| -> serde_json::Value {
        serde_json::from_str(&world.ok(["logs", id, "--task", task])).unwrap()
    };
    assert_eq!(seen(&rows, "0")["timeout_seconds"], 1200.0);
    assert_eq!(seen(&rows, "1")["timeout_seconds"], 3000.0);

    let mut gate = Gate::new();
    let script = format!(
        "[ $TASK_ARRAY_INDEX != 0 ] || {}\nspored status --json",
        gate.script()
    );
    world.write("job.sh", script);
    let id = world.launch([
        "--array",
        "2",
        "--workers",
        "1",
        "--ttl",
        "1h",
        "--user-data",
        "@job.sh",
    ]);
    gate.await_task();
    world.ok(["extend", &id, "1h"]);
    gate.open();
    world.wait(&id).expect_code(0);
    for task in ["0", "1"] {
        let left = seen(&id, task)["ttl_left_seconds"].as_f64();
        assert!(left > Some(3700.0), "task {task}: {left:?}");
    }
}
