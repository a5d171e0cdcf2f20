//! A writer that is killed at any moment has lost nothing that it said was kept.
//!
//! The test runs itself again as the writer: a child that commits tasks and prints each
//! position once its commit was acknowledged, until it is killed.

mod ledger_scene;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ledger_scene::{array_id, enroll, outcome, submit};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_ports::ledger::Ledger;

/// Set for the child: the ledger it writes to.
const LEDGER: &str = "LEDGER_OF_THE_WRITER";
const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

#[test]
fn a_killed_writer_has_lost_nothing_it_acknowledged() {
    if let Some(path) = std::env::var_os(LEDGER) {
        write_for_ever(&PathBuf::from(path));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut ledger = SqliteLedger::open(&path, Durability::ProcessCrash).unwrap();
    submit(&mut ledger, 0, 10_000_000);
    drop(ledger);
    let mut acknowledged = Vec::new();
    for round in 0..12 {
        acknowledged.extend(kill_a_writer_after(&path, 1 + round * 37));
        let mut ledger = SqliteLedger::open(&path, Durability::ProcessCrash).unwrap();
        for position in &acknowledged {
            let task = ledger.task(&array_id(0), *position).unwrap().unwrap();
            assert_eq!(task.state, TaskState::Succeeded, "task {position}");
        }
        let record = ledger.array(&array_id(0)).unwrap().unwrap();
        assert_eq!(record.counts.total(), 10_000_000);
        // What it had claimed and not committed can be given to others.
        for agent in ledger.live_agents().unwrap() {
            ledger.end_agent(agent.id, NOW).unwrap();
        }
        let counts = ledger.array(&array_id(0)).unwrap().unwrap().counts;
        assert_eq!(counts.running, 0);
        assert!(counts.succeeded >= acknowledged.len() as u64);
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

/// Lets a child write until it has said `after` positions, kills it, and gives all it said.
fn kill_a_writer_after(path: &Path, after: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_killed_writer_has_lost_nothing_it_acknowledged")
        .env(LEDGER, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines {
        let line = line.unwrap();
        // A kill may cut the last line; only whole ones count.
        let position = line.strip_prefix("kept ").and_then(|l| l.strip_suffix('.'));
        said.extend(position.map(|p| p.parse::<u64>().unwrap()));
        if said.len() == after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said.len() >= after);
    said
}

fn write_for_ever(path: &Path) {
    let mut ledger = SqliteLedger::open(path, Durability::ProcessCrash).unwrap();
    let agent = enroll(&mut ledger, 0);
    let mut out = std::io::stdout();
    println!();
    // One group claims ahead, another commits: a kill finds leases held.
    loop {
        let claim = ledger.group(|ledger| ledger.claim(agent, 5, NOW)).unwrap();
        for task in &claim.tasks {
            let commit = outcome(task.position, claim.token, Cause::Succeeded);
            let answers = ledger.commit(agent, &[commit], NOW).unwrap();
            assert_eq!(answers, [Ok(())]);
            writeln!(out, "kept {}.", task.position).unwrap();
        }
    }
}
