//! `worker-tracked.sh` and `monitor-progress.sh`: a progress table of the user's own.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use super::{page, patched, shell, shell_command};
use crate::support::{Gate, World};

#[test]
fn the_monitor_follows_the_workers_to_their_end() {
    let world = World::new();
    let mut gate = Gate::new();
    world.write("worker-tracked.sh", patched("worker-tracked.sh"));
    world.write("monitor-progress.sh", patched("monitor-progress.sh"));
    // Ten tasks for each worker, a gate, and as many more as its index says.
    let gate_script = gate.script();
    world.write(
        "process-task.sh",
        format!("[ $1 != 10 ] || {gate_script}\n[ $1 -lt $((10 + TASK_ARRAY_INDEX)) ]\n"),
    );
    shell(
        &world,
        page::block_after("### Solution: DynamoDB Progress Table"),
    );
    let id = world.launch([
        "--array",
        "3",
        "--max-concurrent",
        "3",
        "--ttl",
        "1h",
        "--user-data",
        "@worker-tracked.sh",
    ]);
    for _ in 0..3 {
        gate.await_task();
    }

    // Half way all three run, and have told of ten tasks each.
    let mut monitor = shell_command(&world, "bash monitor-progress.sh");
    let mut monitor = monitor.stdout(Stdio::piped()).spawn().unwrap();
    let mut screen = BufReader::new(monitor.stdout.take().unwrap());
    let mut first = String::new();
    while !first.contains("Total tasks processed: ") {
        assert_ne!(screen.read_line(&mut first).unwrap(), 0, "{first}");
    }
    assert!(
        first.contains("Array Progress: array-20260127-abc123\n"),
        "{first}"
    );
    assert!(first.contains("Running workers: 3\n"), "{first}");
    assert!(first.contains("Completed workers: 0\n"), "{first}");
    assert!(first.contains("Total tasks processed: 30\n"), "{first}");

    gate.open();
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert!(monitor.wait().unwrap().success());
    let (_, last) = rest.rsplit_once("Running workers: ").unwrap();
    let expected = "0\nCompleted workers: 3\nTotal tasks processed: 33\n\nRecent updates:\n\
                    0\tcompleted\t10\n1\tcompleted\t11\n2\tcompleted\t12\n";
    assert_eq!(last, expected);
    let status = world.wait(&id).expect_code(0).json();
    assert_eq!(status["counts"]["succeeded"], 3);

    // Every worker is a machine of its own name.
    let names = shell(
        &world,
        "aws dynamodb scan --table-name spawn-progress --query 'Items[*].[hostname.S]' --output text",
    );
    let names: BTreeSet<&str> = names.lines().collect();
    let expected = [0, 1, 2].map(|i| format!("worker-tracked-{i}"));
    assert_eq!(names, expected.iter().map(String::as_str).collect());
}
