//! Damaged ledgers say so, with a way on that works; torn logs lose only what they tore.

mod ledger_scene;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ledger_scene::{array_id, enroll, outcome, submit};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_ports::ledger::{Ledger, LedgerError, TaskQuery};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, Durability::ProcessCrash).expect("opens")
}

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("ledger.db");
    (dir, path)
}

/// Runs the `mv` that an error advises, and starts a new ledger where the old one was.
fn follow_the_advice(path: &Path, error: &str) {
    let command = error.split('`').find(|part| part.starts_with("mv "));
    let command = command.unwrap_or_else(|| panic!("no advice: {error}"));
    let moved = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(moved.success() && !path.exists(), "{command}");
    let mut ledger = open(path);
    submit(&mut ledger, 0, 3);
    let agent = enroll(&mut ledger, 0);
    let token = ledger.claim(agent, 9, NOW).unwrap().token;
    let commit = outcome(2, token, Cause::Succeeded);
    assert_eq!(ledger.commit(agent, &[commit], NOW).unwrap(), [Ok(())]);
    drop(ledger);
    fs::remove_file(path).unwrap();
}

/// All that can be read of array 0, or the first error.
fn read_all(ledger: &mut SqliteLedger) -> Result<(), LedgerError> {
    ledger.arrays(9)?;
    ledger.unfinished()?;
    ledger.live_agents()?;
    let query = TaskQuery {
        from: 0,
        limit: 2_000,
        state: None,
    };
    ledger.tasks(&array_id(0), query)?;
    ledger.attempts(&array_id(0), 500)?;
    ledger.recent_failures(&array_id(0), 9)?;
    Ok(())
}

#[test]
fn a_torn_file_is_refused_with_a_way_on() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 1_000);
    let agent = enroll(&mut ledger, 0);
    ledger.claim(agent, 1_000, NOW).unwrap();
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    for keep in [50, 100, 4_095, 4_096, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..keep]).unwrap();
        let opened = SqliteLedger::open(&path, Durability::ProcessCrash);
        let error = opened.map(|_| ()).map_err(|error| error.to_string());
        let error = error.expect_err(&format!("{keep} of {} bytes", whole.len()));
        assert!(error.contains("ledger.db.damaged"), "{keep}: {error}");
        follow_the_advice(&path, &error);
    }
    // Damage further in is found when it is read, and says the same.
    let mut rotten = whole;
    rotten[4_096..].fill(0xa5);
    fs::write(&path, &rotten).unwrap();
    let error = match SqliteLedger::open(&path, Durability::ProcessCrash) {
        Err(error) => error,
        Ok(mut ledger) => ledger.array(&array_id(0)).unwrap_err(),
    };
    assert!(error.to_string().contains("ledger.db.damaged"), "{error}");
}

/// Every cut opens at what was committed before it.
#[test]
fn a_torn_write_ahead_log_loses_only_what_it_tore() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 100);
    let agent = enroll(&mut ledger, 0);
    for _ in 0..10 {
        ledger.claim(agent, 1, NOW).unwrap();
    }
    // As a crash leaves them: the file and its log, the log cut short.
    let copy = path.with_extension("copy");
    let log = |of: &Path| PathBuf::from(format!("{}-wal", of.display()));
    fs::copy(&path, &copy).unwrap();
    let file = fs::read(&path).unwrap();
    let whole = fs::read(log(&path)).unwrap();
    let mut latest = 0;
    // In the log's header, in the headers of pages and within them, all along.
    let cuts = (0..whole.len())
        .step_by(1_031)
        .chain([1, 31, 32, 33, whole.len() - 1]);
    let mut cuts: Vec<usize> = cuts.chain([whole.len()]).collect();
    cuts.sort_unstable();
    for cut in cuts {
        fs::write(&copy, &file).unwrap();
        fs::write(log(&copy), &whole[..cut]).unwrap();
        let mut torn = open(&copy);
        let claimed = match torn.array(&array_id(0)).unwrap() {
            // Not even the array had been submitted, or not yet its agent.
            None => 0,
            Some(_) if torn.agent(agent).unwrap().is_none() => 0,
            Some(record) => {
                assert_eq!(record.counts.total(), 100);
                let claimed = record.counts.running;
                let query = TaskQuery {
                    from: 0,
                    limit: 100,
                    state: Some(TaskState::Running),
                };
                assert_eq!(
                    torn.tasks(&array_id(0), query).unwrap().len() as u64,
                    claimed
                );
                let next = torn.claim(agent, 1, NOW).unwrap();
                assert_eq!(
                    (next.tasks[0].position, next.token.0),
                    (claimed, claimed + 1)
                );
                claimed
            }
        };
        assert!(
            claimed >= latest,
            "{cut}: a longer log has what a shorter one has"
        );
        latest = claimed;
        drop(torn);
        let _ = fs::remove_file(log(&copy));
    }
    assert_eq!(latest, 10);
}

/// A page of zeros, wherever it is, is an error or is not needed; it never is a panic, and what
/// the error advises works.
#[test]
fn a_page_of_zeros_is_told_and_never_a_panic() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 1_000);
    let agent = enroll(&mut ledger, 0);
    ledger.claim(agent, 1_000, NOW).unwrap();
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    let mut told = 0;
    for page in 0..whole.len() / 4_096 {
        let mut holed = whole.clone();
        holed[page * 4_096..(page + 1) * 4_096].fill(0);
        fs::write(&path, &holed).unwrap();
        let opened = SqliteLedger::open(&path, Durability::ProcessCrash);
        if let Err(error) = opened.and_then(|mut ledger| read_all(&mut ledger)) {
            let error = error.to_string();
            assert!(error.contains("ledger.db"), "page {page}: {error}");
            follow_the_advice(&path, &error);
            told += 1;
        }
        for left in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{left}", path.display()));
        }
    }
    assert!(told > 5, "{told} pages were missed");
}
