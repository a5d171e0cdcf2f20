//! Ledgers that older versions wrote open, read back whole, and go on.
//!
//! The files in `tests/ancestors` are never written anew: a new version of the stored format gets
//! files of its own.

mod ledger_scene;

use std::fs;
use std::path::Path;

use ledger_scene::{array_id, enroll, new_array, outcome, submit};
use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_ports::ledger::{LaneCounts, Ledger, Reopen, TaskQuery, TaskRow};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);
const DEADLINE: UnixMicros = UnixMicros(1_770_000_000_000_000);

/// A copy of an old ledger, opened by the code of today.
fn ancestor(name: &str) -> (tempfile::TempDir, SqliteLedger) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("ledger.db");
    fs::copy(Path::new("tests/ancestors").join(name), &path).expect("is checked in");
    let ledger = SqliteLedger::open(&path, Durability::ProcessCrash).expect("opens");
    (dir, ledger)
}

fn rows(ledger: &mut SqliteLedger, n: u8, limit: u32) -> Vec<TaskRow> {
    let query = TaskQuery {
        from: 0,
        limit,
        state: None,
    };
    ledger.tasks(&array_id(n), query).expect("reads")
}

fn states(ledger: &mut SqliteLedger, n: u8) -> Vec<TaskState> {
    rows(ledger, n, 20).iter().map(|row| row.state).collect()
}

#[test]
fn the_first_ledger_still_opens() {
    let (_dir, mut ledger) = ancestor("ledger-v1-first.db");
    let record = ledger.array(&array_id(1)).unwrap().unwrap();
    assert_eq!(record.submitted, new_array(1, 1_000));
    let expected = Counts {
        pending: 995,
        running: 2,
        succeeded: 1,
        failed: 1,
        skipped: 1,
        cancelled: 0,
    };
    assert_eq!(record.counts, expected);
    assert_eq!((record.interrupted, record.workers_lost), (1, 1));
    let attempts = ledger.attempts(&array_id(1), 3).unwrap();
    let causes: Vec<_> = attempts.iter().filter_map(|a| a.ending.as_ref()).collect();
    assert_eq!(causes[0].cause, Cause::Interrupted);
    assert_eq!((causes.len(), attempts.len()), (1, 2));
    let failed = ledger.recent_failures(&array_id(1), 5).unwrap();
    assert_eq!(failed[0].ending.as_ref().unwrap().exit_code, Some(3));
    let cancelled = ledger.array(&array_id(2)).unwrap().unwrap();
    assert_eq!(
        (cancelled.intent, cancelled.counts.cancelled),
        (Intent::Cancel, 7)
    );
    // And goes on.
    let agent = enroll(&mut ledger, 1);
    let claim = ledger.claim(agent, 2, NOW.plus_millis(1)).unwrap();
    assert_eq!(claim.tasks[0].position, 4);
    assert_eq!(claim.tasks[1].position, 6);
    assert_eq!(claim.unfinished, 997);
}

/// `ledger-v1.db` has six arrays: 1 succeeded, 2 failed, 3 partly run with a lease held, 4
/// untouched, 5 cancelled with a lease held, 6 expired.
#[test]
fn every_array_of_version_1_reads_back_whole() {
    use TaskState::{Cancelled, Failed, Pending, Running, Skipped, Succeeded};
    let (_dir, mut ledger) = ancestor("ledger-v1.db");
    assert_eq!(ledger.arrays(9).unwrap().len(), 6);
    assert_eq!(states(&mut ledger, 1), [Succeeded; 4]);
    assert_eq!(states(&mut ledger, 2), [Succeeded, Failed, Skipped]);
    let partly = [
        Succeeded, Failed, Running, Pending, Running, Pending, Pending,
    ];
    assert_eq!(states(&mut ledger, 3)[..7], partly);
    assert_eq!(states(&mut ledger, 4), [Pending; 20]);
    let mut cancelled = [Cancelled; 9];
    cancelled[0] = Succeeded;
    (cancelled[2], cancelled[3]) = (Failed, Running);
    assert_eq!(states(&mut ledger, 5), cancelled);
    let mut expired = [Failed; 9];
    expired[0] = Succeeded;
    assert_eq!(states(&mut ledger, 6), expired);
    for record in ledger.arrays(9).unwrap() {
        let lane = LaneCounts {
            pending: record.counts.pending,
            running: record.counts.running,
        };
        assert_eq!(record.lanes, [lane]);
        assert_eq!(record.counts.total(), record.submitted.total);
        assert!(record.submitted.lanes.is_empty());
    }
    let failed = ledger.recent_failures(&array_id(2), 9).unwrap();
    let attempts = ledger.attempts(&array_id(2), 1).unwrap();
    assert_eq!((failed.len(), attempts.len()), (1, 2));
    for attempt in attempts {
        let ending = attempt.ending.unwrap();
        assert_eq!((ending.exit_code, ending.last_stderr), (Some(3), None));
        assert_eq!(ending.message.as_deref(), Some("task 1"));
        assert_eq!((attempt.usage, attempt.failed_calls.len()), (None, 0));
    }
    assert!(
        ledger
            .doubtful_successes(&array_id(1), 9)
            .unwrap()
            .is_empty()
    );
    assert_eq!(ledger.live_agents().unwrap().len(), 5);
    assert!(
        ledger
            .live_agents()
            .unwrap()
            .iter()
            .all(|a| a.enrolled.lane == 0)
    );
}

#[test]
fn a_ledger_of_version_1_goes_on() {
    let (_dir, mut ledger) = ancestor("ledger-v1.db");
    // Whoever held the leases is gone.
    for agent in ledger.live_agents().unwrap() {
        ledger.end_agent(agent.id, NOW).unwrap();
    }
    assert_eq!(
        ledger
            .reopen(&array_id(2), &Reopen::Failed, DEADLINE, NOW)
            .unwrap(),
        1
    );
    assert_eq!(
        ledger
            .reopen(&array_id(6), &Reopen::Failed, DEADLINE, NOW)
            .unwrap(),
        8
    );
    assert_eq!(
        ledger
            .reopen(&array_id(5), &Reopen::Failed, DEADLINE, NOW)
            .unwrap(),
        1
    );
    submit(&mut ledger, 7, 5);
    for (n, left) in [(2, 1), (3, 998), (5, 1), (6, 8), (7, 5)] {
        let agent = enroll(&mut ledger, n);
        let now = NOW.plus_millis(400_000);
        let claim = ledger.claim(agent, 2_000, now).unwrap();
        assert_eq!(claim.tasks.len(), left, "array {n}");
        let done = |position| outcome(position, claim.token, Cause::Succeeded);
        let commits: Vec<_> = claim.tasks.iter().map(|t| done(t.position)).collect();
        let answers = ledger.commit(agent, &commits, now).unwrap();
        assert!(answers.iter().all(Result::is_ok));
        let record = ledger.array(&array_id(n)).unwrap().unwrap();
        assert!(record.counts.all_ended() && record.ended_at.is_some());
    }
    let cancelled = ledger.array(&array_id(5)).unwrap().unwrap().counts;
    assert_eq!((cancelled.succeeded, cancelled.cancelled), (2, 7));
}
