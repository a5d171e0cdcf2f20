//! `spored-node` processes serve arrays to their end, over HTTP to stand-ins of AWS.

mod world;

use std::time::{Duration, Instant};

use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_ports::ledger::Ledger;
use world::REGION;
use world::launched::Launched;

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn three_machines_serve_an_array_to_its_end_and_take_down_what_was_made_for_it() {
    let script = "echo \"task $TASK_ARRAY_INDEX of $TASK_ARRAY_SIZE by $USER in $AWS_REGION\"\n\
        cat shipped.txt\nsleep 0.3\n[ -z \"${AWS_ENDPOINT_URL:-}${AWS_ACCESS_KEY_ID:-}\" ]";
    let launched = Launched::new(9, script);
    let mut nodes = ["i-1", "i-2", "i-3"].map(|id| launched.machine(id));
    for node in &mut nodes {
        node.wait();
    }
    assert_eq!(launched.record().counts.succeeded, 9);
    for position in 0..9 {
        let row = launched.row(position);
        assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 1));
        let printed = launched.printed(position);
        let line = format!("task {position} of 9 by root in {REGION}\n");
        assert!(
            printed.contains(&line) && printed.contains("was shipped"),
            "{printed:?}"
        );
    }
    // All went, none is replaced, and what was made for the array is gone: the group last.
    assert!(
        launched
            .terminations()
            .iter()
            .all(|(_, decrement)| *decrement)
    );
    let actions = launched.world.scaling.actions("ForceDelete");
    let at = |name: &str| actions.iter().position(|(action, _)| action == name);
    let order = [
        "SuspendProcesses",
        "DeleteLaunchTemplate",
        "DeleteAutoScalingGroup",
    ]
    .map(at);
    assert!(order.is_sorted() && order[0].is_some(), "{actions:?}");
    let forced = |(_, force): &&(_, Option<String>)| force.as_deref() == Some("true");
    assert!(actions.iter().any(|action| forced(&action)));
}

#[test]
fn a_spot_notice_hands_the_task_to_another_machine_which_goes_on_from_the_checkpoint() {
    let script = r#"
        s3() { curl -fsS --aws-sigv4 "aws:amz:$AWS_REGION:s3" -u "$KEYS" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"; }
        at=$(s3 "$S3/checkpoint" 2> /dev/null || echo 0)
        save() { echo "$at" > at; s3 -X PUT -T at "$S3/checkpoint"; exit 0; }
        trap save TERM
        echo "attempt $TASK_ATTEMPT begins at $at"
        [ "$at" = 0 ] || exit 0
        at=41
        echo began > at; s3 -X PUT -T at "$S3/began"
        while :; do sleep 0.05; done"#;
    let launched = Launched::new(1, script);
    let mut first = launched.machine("i-first");
    until("the task has begun", || launched.object("began").is_some());
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let notice = format!(r#"{{"action": "terminate", "time": "{at:.0}"}}"#);
    first.metadata.set("spot/instance-action", &notice);
    first.wait();
    assert_eq!(launched.terminations(), [("i-first".to_owned(), false)]);
    let row = launched.row(0);
    assert_eq!(row.state, TaskState::Pending);
    assert_eq!(row.ending.unwrap().cause, Cause::Interrupted);
    assert_eq!(launched.object("checkpoint").as_deref(), Some("41\n"));
    assert!(launched.printed(0).contains("attempt 1 begins at 0"));

    let mut second = launched.machine("i-second");
    second.wait();
    let row = launched.row(0);
    assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 2));
    assert!(launched.printed(0).contains("attempt 2 begins at 41"));
    assert_eq!(
        launched
            .ledger()
            .attempts(&launched.array, 0)
            .unwrap()
            .len(),
        2
    );

    // A machine that comes too late finds nothing to do, and goes.
    launched.machine("i-late").wait();
    assert_eq!(launched.record().counts.succeeded, 1);
}

#[test]
fn a_service_that_is_ended_tells_its_script_and_wants_a_replacement() {
    let script = "trap 'echo saved; exit 0' TERM; echo began; while :; do sleep 0.05; done";
    let launched = Launched::new(1, script);
    let mut node = launched.machine("i-first");
    until("the task runs", || {
        launched.row(0).state == TaskState::Running
    });
    std::thread::sleep(Duration::from_millis(500));
    let pid = nix::unistd::Pid::from_raw(node.child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    node.wait();
    let row = launched.row(0);
    assert_eq!(row.ending.unwrap().cause, Cause::Interrupted);
    assert!(launched.printed(0).contains("saved"));
    assert_eq!(launched.terminations(), [("i-first".to_owned(), false)]);
}

#[test]
fn a_machine_whose_array_is_not_there_removes_what_was_made_and_goes() {
    let mut launched = Launched::new(1, "exit 0");
    launched.array = "array-20260127-fff999".parse().unwrap();
    launched.machine("i-late").wait();
    let actions = launched.world.scaling.actions("ForceDelete");
    let deleted = |(action, _): &(String, Option<String>)| action == "DeleteAutoScalingGroup";
    assert!(actions.iter().any(deleted), "{actions:?}");
}
