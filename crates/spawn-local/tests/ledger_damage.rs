//! Damaged ledgers say so, with a way on that works; torn logs lose only what they tore.

mod ledger_scene;

use std::fs;
use std::path::{Path, PathBuf};

use ledger_scene::{array_id, enroll, enroll_in, new_array, outcome, submit};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_local::ledger::salvage::{Salvaged, salvage};
use spawn_local::ledger::{Durability, SqliteLedger, wal};
use spawn_ports::ledger::{Ledger, LedgerError, TaskQuery};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);
/// When nobody waits any more.
const LATER: UnixMicros = UnixMicros(1_769_590_000_000_000);

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, Durability::ProcessCrash).expect("opens")
}

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("ledger.db");
    (dir, path)
}

/// What an error advises saves a ledger that opens, reads whole and goes on.
fn follow_the_advice(path: &Path, error: &str) -> Salvaged {
    assert!(error.contains("`spawn local check --salvage`"), "{error}");
    let new = path.with_file_name("salvaged.db");
    let saved = salvage(path, &new).unwrap_or_else(|e| panic!("{error}: {e}"));
    let mut ledger = open(&new);
    let faults = ledger.faults();
    assert!(faults.pages.is_empty(), "{faults:?}");
    // The specification of these tests is no whole one.
    let odd = |fault: &&String| !fault.contains("specification");
    assert_eq!(faults.rows.iter().find(odd), None);
    read_everything(&mut ledger);
    goes_on(&mut ledger);
    drop(ledger);
    fs::remove_file(new).unwrap();
    saved
}

/// Every array, task and attempt is read, as commands do.
fn read_everything(ledger: &mut SqliteLedger) {
    for record in ledger.arrays(100).unwrap() {
        let id = record.submitted.id;
        let query = TaskQuery {
            from: 0,
            limit: 10_000,
            state: None,
        };
        let rows = ledger.tasks(&id, query).unwrap();
        assert_eq!(rows.len() as u64, record.counts.total());
        for row in rows {
            ledger.attempts(&id, row.position).unwrap();
        }
        ledger.recent_failures(&id, 9).unwrap();
    }
}

/// What the next host does: it ends the agents of the last one, and all open tasks run.
fn goes_on(ledger: &mut SqliteLedger) {
    for agent in ledger.live_agents().unwrap() {
        ledger.end_agent(agent.id, NOW).unwrap();
    }
    for record in ledger.unfinished().unwrap() {
        let id = record.submitted.id;
        let lanes = record.lanes.len() as u32;
        for lane in 0..lanes {
            let agent = enroll_in(ledger, &id, lane);
            loop {
                let claim = ledger.claim(agent, 500, LATER).unwrap();
                if claim.tasks.is_empty() {
                    break;
                }
                let commits: Vec<_> = claim
                    .tasks
                    .iter()
                    .map(|task| outcome(task.position, claim.token, Cause::Succeeded))
                    .collect();
                let done = ledger.commit(agent, &commits, LATER).unwrap();
                assert!(done.iter().all(Result::is_ok), "{done:?}");
            }
        }
        let counts = ledger.array(&id).unwrap().unwrap().counts;
        assert!(counts.all_ended(), "{counts:?}");
    }
    submit(ledger, 200, 3);
    let agent = enroll(ledger, 200);
    assert_eq!(ledger.claim(agent, 9, NOW).unwrap().tasks.len(), 3);
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
        assert!(error.contains("spawn local check"), "{keep}: {error}");
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
    assert!(error.to_string().contains("spawn local check"), "{error}");
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

/// A ledger as a home has it after a while: arrays that ended, one that was cancelled, one of two
/// kinds of worker, one that runs, with attempts before the newest.
fn used_ledger(path: &Path) {
    let mut ledger = open(path);
    for n in 0..8 {
        submit(&mut ledger, n, 300);
    }
    let mut lanes = new_array(8, 400);
    lanes.lanes = vec![150, 250];
    lanes.spec = format!("{{\"command\":[\"{}\"]}}", "x".repeat(9_000));
    ledger.submit(&lanes, NOW).unwrap();
    for n in 0..9 {
        let lane = u32::from(n == 8);
        let agent = enroll_in(&mut ledger, &array_id(n), lane);
        for turn in 0..4 {
            let claim = ledger.claim(agent, 60, NOW).unwrap();
            let causes = [
                Cause::Succeeded,
                Cause::Exit,
                Cause::Skipped,
                Cause::Interrupted,
            ];
            let commits: Vec<_> = claim
                .tasks
                .iter()
                .map(|task| {
                    let cause = causes[(task.position as usize + turn) % 4];
                    outcome(task.position, claim.token, cause)
                })
                .collect();
            ledger.commit(agent, &commits, NOW).unwrap();
        }
        if n < 6 {
            ledger.end_agent(agent, NOW).unwrap();
            let agent = enroll(&mut ledger, n);
            loop {
                let claim = ledger.claim(agent, 60, LATER).unwrap();
                if claim.tasks.is_empty() {
                    break;
                }
                let done = |task: &spawn_ports::ledger::ClaimedTask| {
                    outcome(task.position, claim.token, Cause::Succeeded)
                };
                let commits: Vec<_> = claim.tasks.iter().map(done).collect();
                ledger.commit(agent, &commits, LATER).unwrap();
            }
        }
    }
    ledger
        .close(&array_id(6), spawn_core::task::Intent::Cancel, LATER)
        .unwrap();
}

/// What a ledger shows of every task.
fn shown(ledger: &mut SqliteLedger) -> Vec<(String, u64, TaskState, u32)> {
    let mut shown = Vec::new();
    for record in ledger.arrays(100).unwrap() {
        let id = record.submitted.id;
        let query = TaskQuery {
            from: 0,
            limit: 10_000,
            state: None,
        };
        for row in ledger.tasks(&id, query).unwrap() {
            shown.push((id.to_string(), row.position, row.state, row.attempt));
        }
    }
    shown
}

#[test]
fn a_whole_ledger_is_salvaged_whole() {
    let (_dir, path) = dir();
    used_ledger(&path);
    let mut whole = open(&path);
    let faults = whole.faults();
    assert_eq!(faults.pages, [""; 0]);
    let wanted = shown(&mut whole);
    let records = whole.arrays(100).unwrap();
    // With what is still in its log only, and without.
    let new = path.with_file_name("salvaged.db");
    for _ in 0..2 {
        let saved = salvage(&path, &new).unwrap();
        assert_eq!((saved.unreadable, saved.tasks_lost), (0, 0), "{saved:?}");
        assert_eq!(saved.arrays, 9);
        let mut ledger = open(&new);
        assert_eq!(shown(&mut ledger), wanted);
        assert_eq!(ledger.arrays(100).unwrap(), records);
        drop(ledger);
        fs::remove_file(&new).unwrap();
        whole.empty_log().unwrap();
    }
    let taken = salvage(&path, &path).unwrap_err().to_string();
    assert!(taken.contains("is there already"), "{taken}");
}

/// Every page in turn is overwritten with garbage, with several seeds: what is saved opens, agrees with
/// itself and goes on, and what lies on other pages is in it.
#[test]
fn a_page_of_garbage_costs_what_lay_on_it_and_no_more() {
    let (_dir, path) = dir();
    used_ledger(&path);
    let mut ledger = open(&path);
    let wanted = shown(&mut ledger);
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 4_096;
    assert!(pages > 40, "{pages}");
    let mut worst = 0;
    for seed in 1..=3_u64 {
        // The first hold the roots of all tables; of the others each seed takes some.
        let first = if seed == 1 { 0..24 } else { 0..1 };
        for page in first.chain((24 + seed as usize..pages).step_by(17)) {
            let mut dice = seed << 32 | page as u64 | 1;
            let mut rotten = whole.clone();
            for byte in &mut rotten[page * 4_096..(page + 1) * 4_096] {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (dice >> 56) as u8;
            }
            fs::write(&path, &rotten).unwrap();
            let new = path.with_file_name("salvaged.db");
            salvage(&path, &new).unwrap_or_else(|e| panic!("page {page}: {e}"));
            let mut ledger = open(&new);
            let saved = shown(&mut ledger);
            drop(ledger);
            fs::remove_file(&new).unwrap();
            let there: std::collections::HashSet<_> = saved.iter().collect();
            let lost = wanted.iter().filter(|task| !there.contains(task)).count();
            // A page of arrays holds some of them; one of tasks some hundred rows at most.
            let arrays_lost = 9 - saved
                .iter()
                .map(|(id, ..)| id)
                .collect::<std::collections::HashSet<_>>()
                .len();
            if arrays_lost == 0 {
                worst = worst.max(lost);
            }
            if seed == 1 {
                follow_the_advice(&path, "`spawn local check --salvage`");
            }
            assert_eq!(fs::read(&path).unwrap(), rotten, "the damaged file stays");
        }
    }
    assert!(
        worst > 0 && worst < 700,
        "{worst} of {} tasks",
        wanted.len()
    );
}

#[test]
fn a_ledger_of_an_older_version_is_salvaged_into_this_one() {
    for ancestor in ["ledger-v1.db", "ledger-v1-first.db"] {
        let (_dir, path) = dir();
        let from = Path::new("tests/ancestors").join(ancestor);
        fs::copy(&from, &path).unwrap();
        let new = path.with_file_name("salvaged.db");
        let saved = salvage(&path, &new).unwrap();
        assert_eq!(saved.unreadable, 0, "{ancestor}: {saved:?}");
        let mut wanted = open(&path);
        let mut got = open(&new);
        assert!(!shown(&mut got).is_empty());
        assert_eq!(shown(&mut got), shown(&mut wanted), "{ancestor}");
    }
}

#[test]
fn another_programs_database_is_not_salvaged() {
    let (_dir, path) = dir();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("PRAGMA application_id = 7; CREATE TABLE t (a); INSERT INTO t VALUES (1);")
        .unwrap();
    drop(other);
    let new = path.with_file_name("salvaged.db");
    let error = salvage(&path, &new).unwrap_err().to_string();
    assert!(error.contains("another program"), "{error}");
    assert!(!new.exists());
}

/// A byte that changed in the write-ahead log is told, and a crash is not taken for it.
#[test]
fn commits_behind_a_damaged_place_of_the_log_are_told() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 100);
    let agent = enroll(&mut ledger, 0);
    for _ in 0..10 {
        ledger.claim(agent, 1, NOW).unwrap();
    }
    let copy = path.with_extension("copy");
    let log = wal::log_of(&copy);
    let whole = fs::read(wal::log_of(&path)).unwrap();
    fs::copy(&path, &copy).unwrap();
    for cut in (0..=whole.len()).step_by(977).chain([whole.len()]) {
        fs::write(&log, &whole[..cut]).unwrap();
        assert_eq!(wal::damage(&copy).unwrap(), None, "cut at {cut}");
    }
    for at in (0..whole.len() - 5_000).step_by(2_003) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(&log, &flipped).unwrap();
        let damage = wal::damage(&copy).unwrap();
        let damage = damage.unwrap_or_else(|| panic!("byte {at}"));
        assert!(
            damage.commits >= 1 && damage.offset <= at as u64,
            "{damage:?}"
        );
    }
    // What SQLite makes of the first of them: it says nothing.
    let mut flipped = whole.clone();
    flipped[40] ^= 0x40;
    fs::write(&log, &flipped).unwrap();
    let mut torn = open(&copy);
    assert_eq!(torn.array(&array_id(0)).unwrap(), None);
}

/// Where nothing can be written beside it, a ledger is read all the same, and nothing is.
#[test]
fn a_frozen_ledger_is_read_with_its_log_and_without() {
    let (_dir, path) = dir();
    let path = path.with_file_name("odd name #1 ?%.db");
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 10);
    let agent = enroll(&mut ledger, 0);
    ledger.claim(agent, 4, NOW).unwrap();
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    // As a crash leaves it: most is in the log only.
    let frozen = path.with_file_name("frozen");
    fs::create_dir(&frozen).unwrap();
    let copy = frozen.join("odd name #1 ?%.db");
    fs::copy(&path, &copy).unwrap();
    fs::copy(wal::log_of(&path), wal::log_of(&copy)).unwrap();
    let before = names(&frozen);
    let mut with_log = SqliteLedger::open_frozen(&copy).unwrap();
    let counts = with_log.array(&array_id(0)).unwrap().unwrap().counts;
    assert_eq!(counts.running, 4);
    assert_eq!(names(&frozen), before);
    drop(ledger);
    fs::remove_file(wal::log_of(&copy)).unwrap();
    fs::copy(&path, &copy).unwrap();
    let mut without = SqliteLedger::open_frozen(&copy).unwrap();
    let counts = without.array(&array_id(0)).unwrap().unwrap().counts;
    assert_eq!(counts.running, 4);
    assert!(without.submit(&new_array(1, 1), NOW).is_err());
    assert_eq!(names(&frozen), ["odd name #1 ?%.db"]);
    // One of an older version, too.
    fs::copy("tests/ancestors/ledger-v1.db", &copy).unwrap();
    let mut older = SqliteLedger::open_frozen(&copy).unwrap();
    assert!(!older.arrays(9).unwrap().is_empty());
    assert_eq!(names(&frozen), ["odd name #1 ?%.db"]);
}

#[test]
fn agents_are_numbered_after_those_that_the_ledger_never_had() {
    let (_dir, path) = dir();
    let mut ledger = open(&path);
    submit(&mut ledger, 0, 10);
    assert_eq!(enroll(&mut ledger, 0).0, 1);
    ledger.number_agents_after(spawn_ports::ledger::AgentId(7));
    assert_eq!(enroll(&mut ledger, 0).0, 8);
    ledger.number_agents_after(spawn_ports::ledger::AgentId(3));
    assert_eq!(enroll(&mut ledger, 0).0, 9);
}
