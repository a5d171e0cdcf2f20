//! Arrays that are open again, and open for longer.

use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{Illegal, Intent, TaskState};
use spawn_ports::ledger::Reopen;

use super::Fresh;
use super::scene::{NONE, Scene, failed_calls, new_array, outcome};

const LATER: UnixMicros = UnixMicros(1_900_000_000_000_000);

fn reopen(scene: &mut Scene, which: &Reopen) -> u64 {
    let now = scene.tick();
    let count = scene.ledger.reopen(&scene.id, which, LATER, now).unwrap();
    // Reads and counts still agree.
    scene.check();
    count
}

fn positions(at: &[u64]) -> Reopen {
    Reopen::Positions(IndexSet::from_indices(at.iter().copied()).expect("some"))
}

fn close(scene: &mut Scene, intent: Intent) {
    let now = scene.tick();
    scene.ledger.close(&scene.id, intent, now).unwrap();
    scene.check();
}

/// The deadline of an open array moves, both ways; that of another stays.
pub fn a_deadline_moves_while_the_array_is_open(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    for deadline in [LATER, UnixMicros(5)] {
        let record = scene.ledger.extend(&scene.id, deadline).unwrap();
        assert_eq!(record.submitted.deadline, deadline);
        assert_eq!(scene.record(), record);
    }
    close(&mut scene, Intent::Cancel);
    let closed = scene.record();
    assert_eq!(scene.ledger.extend(&scene.id, LATER).unwrap(), closed);
    assert_eq!(scene.record(), closed);
    reopen(&mut scene, &positions(&[0]));
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    let ended = scene.record();
    assert_eq!(
        scene.ledger.extend(&scene.id, UnixMicros(5)).unwrap(),
        ended
    );
}

/// Failed tasks run again with whole budgets, and the attempts they had are kept.
pub fn failed_tasks_run_again_with_whole_budgets(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 3);
    let agent = scene.agent();
    let token = scene.claim(agent, 3).token;
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    scene.commit(agent, 1, token, Cause::Skipped).unwrap();
    scene.commit(agent, 2, token, Cause::Exit).unwrap();
    let token = scene.claim(agent, 3).token;
    scene.commit(agent, 2, token, Cause::Exit).unwrap();
    assert_eq!(scene.task(2).state, TaskState::Failed);
    assert_eq!(reopen(&mut scene, &Reopen::Failed), 1);
    let record = scene.record();
    assert_eq!((record.intent, record.ended_at), (Intent::Run, None));
    assert_eq!(record.submitted.deadline, LATER);
    let row = scene.task(2);
    assert_eq!(
        (row.state, row.attempt, row.spent.exit),
        (TaskState::Pending, 2, 0)
    );
    assert_eq!(row.ending, Some(Ending::of(Cause::Exit)));
    assert!(
        scene
            .ledger
            .recent_failures(&scene.id, 9)
            .unwrap()
            .is_empty()
    );
    for state in [TaskState::Pending, TaskState::Failed] {
        let claim = scene.claim(agent, 9);
        assert_eq!(claim.tasks.len(), 1);
        assert!(claim.token > token, "tokens go on growing");
        let late = scene.commit(agent, 2, token, Cause::Succeeded);
        assert!(matches!(late, Err(Illegal::StaleToken { .. })));
        scene.commit(agent, 2, claim.token, Cause::Exit).unwrap();
        assert_eq!(scene.task(2).state, state);
    }
    assert_eq!(scene.ledger.attempts(&scene.id, 2).unwrap().len(), 4);
    assert!(scene.record().ended_at.is_some());
}

/// Of an expired array everything that its deadline ended waits again, as if it never had.
pub fn an_expired_array_goes_on_where_it_stood(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 6);
    let agent = scene.agent();
    let token = scene.claim(agent, 3).token;
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    scene.commit(agent, 1, token, Cause::Interrupted).unwrap();
    close(&mut scene, Intent::Expired);
    assert_eq!(reopen(&mut scene, &Reopen::Failed), 4);
    let row = scene.task(5);
    assert_eq!((row.state, row.ending), (TaskState::Pending, None));
    assert_eq!(scene.task(1).ending, Some(Ending::of(Cause::Interrupted)));
    // The lease of the one that still ran holds.
    scene.commit(agent, 2, token, Cause::Succeeded).unwrap();
    assert_eq!(scene.positions(agent, 9), [1, 3, 4, 5]);
}

/// What a closing ended and nobody asked for stays as it ended, however often the array is
/// closed and opened.
pub fn what_is_not_reopened_stays_as_its_closing_left_it(fresh: Fresh<'_>) {
    for (intent, state, cause) in [
        (Intent::Cancel, TaskState::Cancelled, Cause::Cancelled),
        (Intent::Expired, TaskState::Failed, Cause::Ttl),
        (Intent::Halted, TaskState::Cancelled, Cause::Halted),
    ] {
        let mut scene = Scene::of(fresh, 6);
        let agent = scene.agent();
        let token = scene.claim(agent, 2).token;
        scene.commit(agent, 0, token, Cause::Interrupted).unwrap();
        scene.commit(agent, 1, token, Cause::Succeeded).unwrap();
        close(&mut scene, intent);
        let asked = positions(&[1, 3, 99]);
        assert_eq!(reopen(&mut scene, &asked), 2);
        for position in [0, 2, 4, 5] {
            let row = scene.task(position);
            assert_eq!((row.state, row.ending), (state, Some(Ending::of(cause))));
        }
        assert!(
            scene
                .ledger
                .recent_failures(&scene.id, 9)
                .unwrap()
                .is_empty()
        );
        assert_eq!(scene.positions(agent, 1), [1], "a claimed one comes first");
        close(&mut scene, Intent::Cancel);
        assert_eq!(scene.task(3).ending, Some(Ending::of(Cause::Cancelled)));
        assert_eq!(scene.task(4).ending, Some(Ending::of(cause)));
        assert_eq!(reopen(&mut scene, &positions(&[3, 5])), 2);
        assert_eq!(scene.positions(agent, 9), [3, 5]);
        assert_eq!(scene.task(4).ending, Some(Ending::of(cause)));
        let still_failed = u64::from(state == TaskState::Failed) * 3;
        assert_eq!(reopen(&mut scene, &Reopen::Failed), still_failed);
    }
}

/// With nothing to reopen the array stays as it is: closed, ended, with its deadline.
pub fn reopening_nothing_changes_nothing(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 3);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    let open = scene.record();
    assert_eq!(reopen(&mut scene, &positions(&[0, 1, 77])), 0);
    assert_eq!(scene.record(), open);
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    close(&mut scene, Intent::Halted);
    let closed = scene.record();
    assert_eq!(reopen(&mut scene, &Reopen::Failed), 0);
    assert_eq!(reopen(&mut scene, &positions(&[3])), 0);
    assert_eq!(scene.record(), closed);
    assert_eq!(scene.positions(agent, 9), NONE);
}

/// After too many failures what waits is cancelled, what runs ends as it does, nothing is retried.
pub fn a_halted_array_starts_nothing_further(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 4);
    let agent = scene.agent();
    let token = scene.claim(agent, 3).token;
    close(&mut scene, Intent::Halted);
    assert_eq!(scene.record().intent, Intent::Halted);
    let row = scene.task(3);
    assert_eq!(row.state, TaskState::Cancelled);
    assert_eq!(row.ending, Some(Ending::of(Cause::Halted)));
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    scene.commit(agent, 1, token, Cause::Exit).unwrap();
    scene.commit(agent, 2, token, Cause::Interrupted).unwrap();
    let states = [
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::Cancelled,
        TaskState::Cancelled,
    ];
    assert_eq!(scene.states(), states);
    assert_eq!(scene.positions(agent, 9), NONE);
    assert_eq!(scene.ledger.recent_failures(&scene.id, 9).unwrap().len(), 1);
}

/// What an attempt used and which calls failed stay with it through retry, release and reopening.
pub fn what_was_observed_stays_with_its_attempt(fresh: Fresh<'_>) {
    let mut scene = Scene::with(fresh, new_array(0, 2));
    let agent = scene.agent();
    let token = scene.claim(agent, 2).token;
    let now = scene.tick();
    let mut first = outcome(0, token, Cause::Interrupted, now);
    first.failed_calls = failed_calls(2);
    first.report.ending.last_stderr = Some("gone".to_owned());
    let mut other = outcome(1, token, Cause::Succeeded, now);
    other.failed_calls = failed_calls(1);
    scene
        .ledger
        .commit(agent, &[first.clone(), other], now)
        .unwrap();
    let doubtful = scene.ledger.doubtful_successes(&scene.id, 9).unwrap();
    assert_eq!(doubtful, [scene.task(1)]);
    assert!(
        scene
            .ledger
            .doubtful_successes(&scene.id, 0)
            .unwrap()
            .is_empty()
    );
    let token = scene.claim(agent, 1).token;
    assert!(scene.task(0).failed_calls.is_empty());
    scene.release(agent, token, &[0])[0].unwrap();
    assert_eq!(scene.task(0).failed_calls, first.failed_calls);
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    let attempts = scene.ledger.attempts(&scene.id, 0).unwrap();
    assert_eq!(attempts[0].failed_calls, first.failed_calls);
    assert_eq!(attempts[0].ending, Some(first.report.ending));
    let doubtful = scene.ledger.doubtful_successes(&scene.id, 9).unwrap();
    assert_eq!(doubtful.len(), 1, "what counts is the newest attempt");
    assert_eq!(reopen(&mut scene, &positions(&[1])), 1);
    assert!(
        scene
            .ledger
            .doubtful_successes(&scene.id, 9)
            .unwrap()
            .is_empty()
    );
    assert_eq!(scene.task(1).failed_calls, failed_calls(1));
}

/// A clock that is set back by hours holds up no retry, and nothing else minds.
pub fn a_clock_set_back_loses_no_task(fresh: Fresh<'_>) {
    const DAY: i64 = 86_400_000_000;
    let mut array = new_array(0, 3);
    array.budgets.backoff_millis = 60_000;
    array.budgets.backoff_max_millis = 120_000;
    let mut scene = Scene::with(fresh, array);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Exit).unwrap();
    let due = scene.task(0).not_before;
    scene.now -= DAY;
    assert_eq!(scene.claim(agent, 0).next_due, None, "it is due");
    assert_eq!(scene.positions(agent, 1), [0]);
    scene.end_agent(agent);
    let agent = scene.agent();
    assert_eq!(scene.positions(agent, 1), [0]);
    let token = scene.claim(agent, 9).token;
    scene.commit(agent, 1, token, Cause::Exit).unwrap();
    // Set back by less than a wait can take: the claim says until when, and it comes.
    scene.now -= 30_000_000;
    let due_now = scene.task(1).not_before;
    assert!(due_now < due);
    assert_eq!(scene.claim(agent, 9).next_due, Some(due_now));
    scene.now += 120_000_000;
    assert_eq!(scene.positions(agent, 9), [1]);
    // Forward and back again, with an array that ends before it began.
    scene.now += 300 * DAY;
    scene.commit(agent, 2, token, Cause::Succeeded).unwrap();
    scene.now -= 600 * DAY;
    close(&mut scene, Intent::Cancel);
    assert_eq!(scene.end_agent(agent), [0, 1]);
    let record = scene.record();
    assert!(record.counts.all_ended());
    assert!(record.ended_at < record.started_at);
}
