//! The same launches on this machine and on EC2 come to the same: states, attempts, causes, codes.

use serde_json::{Value, json};

use crate::account::instance_type;
use crate::support::{self, Output};
use crate::world::World;

/// Launches and what is told of each of their tasks; all are of one worker, so that little depends
/// on which machine is ready first.
const LAUNCHES: [(&str, &[&str]); 5] = [
    (
        "success",
        &[
            "--array",
            "2",
            "--user-data",
            "echo \"$TASK_ARRAY_INDEX of $TASK_ARRAY_SIZE\"",
        ],
    ),
    (
        "retries of a bad exit",
        &[
            "--array",
            "2",
            "--retries",
            "2",
            "--backoff",
            "0s",
            "--user-data",
            "echo $TASK_ATTEMPT; [ $TASK_ARRAY_INDEX = 0 ] && [ $TASK_ATTEMPT -gt 2 ] || exit 3",
        ],
    ),
    (
        "skipped, failed by word, killed",
        &[
            "--array",
            "1,5,7",
            "--user-data",
            "case $TASK_ARRAY_INDEX in 1) spored complete --status skipped; exit 0;; \
             5) spored complete --status failed --message 'no such row'; exit 0;; 7) kill -9 $$;; esac",
        ],
    ),
    (
        "timeout",
        &[
            "--timeout",
            "1s",
            "--user-data",
            "echo begun; sleep 86431.5",
        ],
    ),
    (
        "sweep",
        &[
            "--param-file",
            "rows.csv",
            "--user-data",
            "echo \"$NAME $PARAM_x $X\"; exit $X",
        ],
    ),
];

const ROWS: &str = "name,x\nfirst,0\nsecond,4\n";

/// What does not depend on where and when it ran.
fn told(tasks: &Value) -> Value {
    let of = |task: &Value| {
        let fields = [
            "index",
            "name",
            "state",
            "attempt",
            "cause",
            "exit_code",
            "signal",
            "message",
        ];
        let fields = fields.map(|field| (field.to_owned(), task[field].clone()));
        Value::Object(fields.into_iter().collect())
    };
    tasks.as_array().expect("a list").iter().map(of).collect()
}

/// What `status` says in the end: by state, and how the wait ended.
fn ended(status: &Output) -> Value {
    let view = status.json();
    json!([status.code, view["state"], view["counts"]])
}

/// Lines of all logs, in an order of their own.
fn lines(logs: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = logs.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_launch_comes_to_the_same_on_ec2_as_here() {
    let Some(world) = World::with_machines() else {
        return;
    };
    let here = support::World::new();
    here.write("rows.csv", ROWS);
    world.write("rows.csv", ROWS);
    let placed = ["--ttl", "1h", "--instance-type", instance_type()];
    let ids: Vec<String> = LAUNCHES
        .iter()
        .map(|(_, flags)| world.launch(placed.iter().chain(*flags)))
        .collect();
    for ((what, flags), there_id) in LAUNCHES.iter().zip(ids) {
        let here_id = here.launch(*flags);
        let (status, there_status) = (here.wait(&here_id), world.wait(&there_id));
        assert_eq!(ended(&there_status), ended(&status), "{what}");
        let tasks = |tasks: Value| told(&tasks);
        assert_eq!(
            tasks(world.json(["tasks", &there_id])),
            tasks(here.json(["tasks", &here_id])),
            "{what}"
        );
        let (logs, there_logs) = (here.ok(["logs", &here_id]), world.ok(["logs", &there_id]));
        assert_eq!(lines(&there_logs), lines(&logs), "{what}");
    }
    world.all_gone();
}
