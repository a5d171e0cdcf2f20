//! The ledger as a file: kept, shared, newer, large.

mod ledger_scene;

use std::fs;
use std::path::{Path, PathBuf};

use ledger_scene::{array_id, enroll, new_array, outcome, submit};
use proptest::prelude::*;
use rusqlite::Connection;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_ports::ledger::{AgentId, Ledger, LedgerError, Reopen, TaskQuery};
use spawn_testkit::ledger_model::{Step, Twin, histories};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, Durability::ProcessCrash).expect("opens")
}

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("ledger.db");
    (dir, path)
}

/// What another program would find in the file.
fn number(path: &Path, sql: &str) -> i64 {
    let conn = Connection::open(path).expect("opens");
    conn.query_row(sql, [], |row| row.get(0)).expect("counts")
}

fn said(opened: Result<SqliteLedger, LedgerError>) -> String {
    opened.map(|_| ()).expect_err("is refused").to_string()
}

#[test]
fn a_reopened_ledger_has_everything() {
    let (_dir, path) = dir();
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        let n = durability as u8;
        let mut ledger = SqliteLedger::open(&path, durability).unwrap();
        submit(&mut ledger, n, 4);
        let agent = enroll(&mut ledger, n);
        let claim = ledger.claim(agent, 3, NOW).unwrap();
        let commit = outcome(1, claim.token, Cause::Ttl);
        ledger.commit(agent, &[commit], NOW).unwrap();
        let (array, live) = (ledger.array(&array_id(n)).unwrap(), ledger.live_agents());
        drop(ledger);
        let mut ledger = SqliteLedger::open(&path, durability).unwrap();
        assert_eq!(ledger.array(&array_id(n)).unwrap(), array);
        assert_eq!(ledger.live_agents().unwrap(), live.unwrap());
        let next = ledger.claim(agent, 3, NOW).unwrap();
        assert!(next.token > claim.token);
        assert_eq!(next.tasks[0].position, 3);
    }
}

#[test]
fn a_reader_sees_what_the_writer_committed_and_cannot_write() {
    let (_dir, path) = dir();
    let missing = said(SqliteLedger::open_read_only(&path));
    assert!(missing.contains(path.to_str().unwrap()), "{missing}");
    assert!(!path.exists());
    let mut writer = open(&path);
    submit(&mut writer, 0, 4);
    let agent = enroll(&mut writer, 0);
    let mut reader = SqliteLedger::open_read_only(&path).unwrap();
    let seen = writer.group(|writer| {
        writer.claim(agent, 2, NOW)?;
        assert_eq!(writer.array(&array_id(0))?.unwrap().counts.running, 2);
        reader.array(&array_id(0))
    });
    assert_eq!(seen.unwrap().unwrap().counts.running, 0);
    let counts = reader.array(&array_id(0)).unwrap().unwrap().counts;
    assert_eq!(counts.running, 2);
    let refused = reader.submit(&new_array(1, 1), NOW).unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
    assert_eq!(reader.arrays(9).unwrap().len(), 1);
}

#[test]
fn a_failed_group_leaves_nothing_in_file_or_memory() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 10);
    let agent = enroll(&mut ledger, 0);
    let kept = ledger.claim(agent, 2, NOW).unwrap();
    let before = ledger.array(&array_id(0)).unwrap();
    let failed: Result<(), LedgerError> = ledger.group(|ledger| {
        let claim = ledger.claim(agent, 3, NOW)?;
        ledger.commit(agent, &[outcome(2, claim.token, Cause::Exit)], NOW)?;
        ledger.commit(agent, &[outcome(0, kept.token, Cause::Exit)], NOW)?;
        ledger.submit(&new_array(1, 1), NOW)?;
        ledger.end_agent(agent, NOW)?;
        Err(LedgerError::UnknownAgent(AgentId(99)))
    });
    assert!(matches!(
        failed,
        Err(LedgerError::UnknownAgent(AgentId(99)))
    ));
    assert_eq!(ledger.array(&array_id(0)).unwrap(), before);
    assert_eq!(ledger.array(&array_id(1)).unwrap(), None);
    assert_eq!(number(&path, "SELECT count(*) FROM tasks"), 2);
    let again = ledger.claim(agent, 3, NOW).unwrap();
    assert_eq!(again.token.0, kept.token.0 + 1);
    assert_eq!(again.tasks[0].position, 2);
    drop(ledger);
    let counts = open(&path).array(&array_id(0)).unwrap().unwrap().counts;
    assert_eq!((counts.running, counts.pending), (5, 5));
}

#[test]
fn a_refused_call_leaves_its_group_whole() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 10);
    let agent = enroll(&mut ledger, 0);
    ledger
        .group(|ledger| {
            ledger.claim(agent, 3, NOW)?;
            ledger.claim(AgentId(99), 3, NOW).unwrap_err();
            ledger.submit(&new_array(0, 1), NOW).unwrap_err();
            Ok(())
        })
        .unwrap();
    assert_eq!(number(&path, "SELECT running FROM progress"), 3);
}

#[test]
fn a_panic_in_a_group_rolls_it_back() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 10);
    let agent = enroll(&mut ledger, 0);
    let work = std::panic::AssertUnwindSafe(|| {
        let _ = ledger.group(|ledger| -> Result<(), LedgerError> {
            ledger.claim(agent, 3, NOW)?;
            panic!("on purpose");
        });
    });
    std::panic::catch_unwind(work).unwrap_err();
    let claim = ledger.claim(agent, 1, NOW).unwrap();
    assert_eq!((claim.tasks[0].position, claim.token.0), (0, 1));
}

#[test]
fn a_storage_failure_in_a_group_keeps_nothing_of_it() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 10);
    let agent = enroll(&mut ledger, 0);
    // Let every second row of a claim fail, as a full disk would.
    let other = Connection::open(&path).unwrap();
    let trap = "CREATE TRIGGER trap BEFORE INSERT ON tasks WHEN NEW.position = 1
                BEGIN SELECT RAISE(ABORT, 'no room'); END";
    other.execute_batch(trap).unwrap();
    let answer = ledger.group(|ledger| {
        ledger.claim(agent, 1, NOW)?;
        // The caller looks away.
        let _ = ledger.claim(agent, 3, NOW);
        Ok(())
    });
    assert!(matches!(answer, Err(LedgerError::Storage { .. })));
    let alone = ledger.claim(agent, 3, NOW).unwrap_err().to_string();
    assert!(
        alone.contains("no room") && alone.contains("ledger.db"),
        "{alone}"
    );
    assert_eq!(number(&path, "SELECT count(*) FROM tasks"), 0);
    other.execute_batch("DROP TRIGGER trap").unwrap();
    let claim = ledger.claim(agent, 3, NOW).unwrap();
    assert_eq!((claim.tasks.len(), claim.token.0), (3, 1));
}

#[test]
fn another_writer_is_noticed() {
    let (_dir, path) = dir();
    let (mut a, mut b) = (open(&path), open(&path));
    submit(&mut a, 0, 10);
    let (first, second) = (enroll(&mut a, 0), enroll(&mut b, 0));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(a.claim(first, 1, NOW).unwrap().tasks);
        seen.extend(b.claim(second, 1, NOW).unwrap().tasks);
    }
    let positions: Vec<u64> = seen.iter().map(|t| t.position).collect();
    assert_eq!(positions, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_file_that_is_no_ledger_is_refused_with_a_way_on() {
    let (_dir, path) = dir();
    fs::write(
        &path,
        "this was never a database, though long enough for one\n".repeat(99),
    )
    .unwrap();
    for opened in [
        SqliteLedger::open(&path, Durability::ProcessCrash),
        SqliteLedger::open_read_only(&path),
    ] {
        let error = said(opened);
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.contains("`spawn local check --salvage`"), "{error}");
    }
    let foreign = path.with_extension("other");
    let conn = Connection::open(&foreign).unwrap();
    conn.execute_batch("CREATE TABLE recipes (soup TEXT)")
        .unwrap();
    drop(conn);
    let error = said(SqliteLedger::open(&foreign, Durability::ProcessCrash));
    assert!(error.contains("another program"), "{error}");
    let conn = Connection::open(&foreign).unwrap();
    let mode: String = conn
        .query_row("PRAGMA journal_mode", [], |r| r.get(0))
        .unwrap();
    assert_eq!(mode, "delete", "another program's file is left alone");
}

#[test]
fn a_newer_ledger_is_refused_with_both_versions() {
    let (_dir, path) = dir();
    drop(open(&path));
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA user_version = 77").unwrap();
    drop(conn);
    for opened in [
        SqliteLedger::open(&path, Durability::ProcessCrash),
        SqliteLedger::open_read_only(&path),
    ] {
        let error = said(opened);
        assert!(
            error.contains("77") && error.contains("up to version 2"),
            "{error}"
        );
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(number(&path, "PRAGMA user_version"), 77);
}

#[test]
fn a_million_tasks_are_submitted_and_closed_without_writing_one() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 1_000_000);
    let agent = enroll(&mut ledger, 0);
    let token = ledger.claim(agent, 3, NOW).unwrap().token;
    ledger
        .commit(agent, &[outcome(0, token, Cause::Interrupted)], NOW)
        .unwrap();
    let size = fs::metadata(&path).unwrap().len();
    let record = ledger.close(&array_id(0), Intent::Expired, NOW).unwrap();
    assert_eq!(record.counts.failed, 999_998);
    assert_eq!(number(&path, "SELECT count(*) FROM tasks"), 3);
    assert_eq!(
        number(&path, "SELECT count(*) FROM tasks WHERE state = 0"),
        1
    );
    assert!(fs::metadata(&path).unwrap().len() <= size + 4_096);
    let query = TaskQuery {
        from: 999_998,
        limit: 10,
        state: Some(TaskState::Failed),
    };
    assert_eq!(ledger.tasks(&array_id(0), query).unwrap().len(), 2);
    let task = ledger.task(&array_id(0), 999_999).unwrap().unwrap();
    assert_eq!(task.state, TaskState::Failed);
}

/// Untouched tasks get rows only where a part of them stays ended.
#[test]
fn reopening_an_expired_array_writes_none_of_its_untouched_tasks() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 1_000_000);
    let agent = enroll(&mut ledger, 0);
    ledger.claim(agent, 3, NOW).unwrap();
    ledger.close(&array_id(0), Intent::Expired, NOW).unwrap();
    let count = ledger
        .reopen(&array_id(0), &Reopen::Failed, NOW, NOW)
        .unwrap();
    assert_eq!(count, 999_997);
    assert_eq!(number(&path, "SELECT count(*) FROM tasks"), 3);
    assert_eq!(ledger.claim(agent, 1, NOW).unwrap().tasks[0].position, 3);
    submit(&mut ledger, 1, 1_000);
    ledger.close(&array_id(1), Intent::Cancel, NOW).unwrap();
    let some = Reopen::Positions("10-19".parse().unwrap());
    assert_eq!(ledger.reopen(&array_id(1), &some, NOW, NOW).unwrap(), 10);
    assert_eq!(
        number(&path, "SELECT count(*) FROM tasks WHERE array = 2"),
        1_000
    );
    assert_eq!(
        number(&path, "SELECT count(*) FROM lanes"),
        0,
        "one lane needs no row"
    );
}

#[test]
fn the_write_ahead_log_does_not_grow_without_bound() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 100_000);
    let agent = enroll(&mut ledger, 0);
    let mut largest = 0;
    let log = PathBuf::from(format!("{}-wal", path.display()));
    for round in 0..3_000 {
        ledger
            .group(|ledger| {
                let claim = ledger.claim(agent, 8, NOW)?;
                let commits: Vec<_> = claim
                    .tasks
                    .iter()
                    .map(|task| outcome(task.position, claim.token, Cause::Succeeded))
                    .collect();
                ledger.commit(agent, &commits, NOW)
            })
            .unwrap();
        if round % 50 == 0 {
            largest = largest.max(fs::metadata(&log).unwrap().len());
        }
    }
    // Several times as much has gone through it.
    assert!((1..10_000_000).contains(&largest), "{largest} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Steps in groups of any size, with the ledger reopened between, are the same steps.
    #[test]
    fn histories_in_groups_and_over_restarts_agree(
        history in histories(50),
        size in 1_usize..9,
        reopen in 1_usize..5,
    ) {
        let (_dir, path) = dir();
        let mut ledger = open(&path);
        let mut twin = Twin::new();
        for (n, steps) in history.chunks(size).enumerate() {
            if n % reopen == 0 {
                drop(ledger);
                ledger = open(&path);
            }
            in_one_group(&mut ledger, &mut twin, steps);
        }
        twin.finish(&mut ledger);
    }
}

fn in_one_group(ledger: &mut SqliteLedger, twin: &mut Twin, steps: &[Step]) {
    let kept = ledger.group(|ledger| {
        steps.iter().for_each(|step| twin.step(ledger, step));
        Ok(())
    });
    kept.expect("the group is kept");
}
