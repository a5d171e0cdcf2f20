//! The floors and the bench run, and count right. Nothing here looks at speed.

use std::process::Command;

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");
const BARE: &str = env!("CARGO_BIN_EXE_floor-bare");
const SANDBOX: &str = env!("CARGO_BIN_EXE_floor-sandbox");
const STAMP: &str = env!("CARGO_BIN_EXE_stamp");

/// Runs a program: its exit code, output and complaints.
fn run(program: &str, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_bare_floor_runs_every_task_once() {
    let args = ["-j", "3", "-n", "20", "/bin/sh", "-c", "echo task"];
    let (code, out, _) = run(BARE, &args);
    assert_eq!(code, 0);
    assert_eq!(out.matches("task\n").count(), 20);
    assert!(out.ends_with("ended 20 failed 0\n"), "{out}");
    let (code, out, _) = run(BARE, &["-n", "5", "--", "/bin/sh", "-c", "exit 3"]);
    assert_eq!((code, out.as_str()), (1, "ended 5 failed 5\n"));
    assert_eq!(run(BARE, &["-n", "0", "/bin/true"]).1, "ended 0 failed 0\n");
    assert_eq!(run(BARE, &["-n", "5"]).0, 2);
}

#[test]
fn the_sandboxed_floor_isolates_every_task() {
    let script = "echo $(hostname) $$ $(ls /tmp | wc -l); test -d /proc/$$ && ! test -d /proc/99";
    let (code, out, err) = run(SANDBOX, &["-n", "20", "/bin/sh", "-c", script]);
    if code == 3 {
        eprintln!("this machine does not let this user make namespaces: {err}");
        return;
    }
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.matches("floor 2 0\n").count(), 20, "{out}");
    assert!(out.ends_with("ended 20 failed 0\n"), "{out}");
}

#[test]
fn a_stamp_is_the_time_in_nanoseconds() {
    let (code, out, _) = run(STAMP, &[]);
    assert_eq!((code, out.trim_end().len()), (0, 19));
}

#[test]
fn the_bench_reports_the_floors() {
    let args = [
        "dispatch", "--tasks", "20", "--rounds", "2", "--only", "floors", "-o", "json",
    ];
    let (code, out, err) = run(BENCH, &args);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let bare: Vec<&Value> = rows
        .iter()
        .filter(|row| row["what"].as_str().unwrap().contains("floor-bare"))
        .collect();
    // Wall and CPU time of both tasks.
    assert_eq!(bare.len(), 4, "{out}");
    for row in rows {
        let figure = |name: &str| row["measured"][name].as_f64().unwrap();
        assert!(figure("min") <= figure("median") && figure("median") <= figure("max"));
    }
    let (code, out, _) = run(BENCH, &["dispatch", "--tasks", "20", "--only", "floors"]);
    assert_eq!(code, 0);
    assert!(out.contains("true, floor-bare, wall"), "{out}");
}

#[test]
fn the_bench_refuses_what_it_does_not_know() {
    let (code, _, err) = run(BENCH, &["dispatch", "--only", "nothing"]);
    assert_eq!(code, 2);
    assert!(err.contains("hint"), "{err}");
}
