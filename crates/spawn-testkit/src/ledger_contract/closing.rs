//! Arrays that are cancelled, that expire, and that end.

use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{Illegal, Intent, TaskState};
use spawn_ports::ledger::{ArrayRecord, TaskQuery};

use super::Fresh;
use super::scene::{NONE, Scene};

fn close(scene: &mut Scene, intent: Intent) -> ArrayRecord {
    let now = scene.tick();
    let record = scene.ledger.close(&scene.id, intent, now).unwrap();
    assert_eq!(scene.record(), record, "closing answers what it left");
    record
}

fn in_state(scene: &mut Scene, state: TaskState) -> Vec<u64> {
    let query = TaskQuery {
        from: 0,
        limit: 100,
        state: Some(state),
    };
    let rows = scene.ledger.tasks(&scene.id, query).unwrap();
    rows.iter().map(|row| row.position).collect()
}

/// Untouched and handed-back tasks are cancelled at once; a running one may still commit.
pub fn cancelling_ends_what_is_pending_and_spares_what_runs(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 5);
    let agent = scene.agent();
    let token = scene.claim(agent, 3).token;
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    scene.commit(agent, 1, token, Cause::Interrupted).unwrap();
    let record = close(&mut scene, Intent::Cancel);
    assert_eq!((record.intent, record.ended_at), (Intent::Cancel, None));
    assert_eq!((record.counts.cancelled, record.counts.running), (3, 1));
    assert_eq!(in_state(&mut scene, TaskState::Cancelled), [1, 3, 4]);
    assert_eq!(in_state(&mut scene, TaskState::Pending), NONE);
    for position in [1, 3] {
        let row = scene.task(position);
        assert_eq!(row.ending, Some(Ending::of(Cause::Cancelled)));
    }
    // What the attempt itself came to is not rewritten.
    let attempts = scene.ledger.attempts(&scene.id, 1).unwrap();
    assert_eq!(attempts[0].ending, Some(Ending::of(Cause::Interrupted)));
    let empty = scene.claim(agent, 9);
    assert_eq!((empty.tasks.len(), empty.unfinished), (0, 1));
    assert_eq!(empty.next_due, None);
    scene.commit(agent, 2, token, Cause::Succeeded).unwrap();
    let record = scene.record();
    assert_eq!(record.ended_at, Some(UnixMicros(scene.now)));
    assert_eq!(record.counts.succeeded, 2);
    let late = scene.commit(agent, 1, token, Cause::Succeeded);
    assert_eq!(late, Err(Illegal::Terminal(TaskState::Cancelled)));
}

/// Past the deadline pending tasks have failed by it; they are no failures of an attempt.
pub fn an_expired_array_fails_what_is_pending(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 4);
    let agent = scene.agent();
    let token = scene.claim(agent, 2).token;
    scene.commit(agent, 0, token, Cause::Ttl).unwrap();
    scene.commit(agent, 1, token, Cause::Interrupted).unwrap();
    let record = close(&mut scene, Intent::Expired);
    assert_eq!(record.counts.failed, 4);
    assert_eq!(record.ended_at, Some(UnixMicros(scene.now)));
    assert_eq!(in_state(&mut scene, TaskState::Failed), [0, 1, 2, 3]);
    let row = scene.task(3);
    assert_eq!((row.attempt, row.ended_at), (0, None));
    assert_eq!(row.ending, Some(Ending::of(Cause::Ttl)));
    let failures = scene.ledger.recent_failures(&scene.id, 9).unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].position, 0);
    assert!(scene.ledger.unfinished().unwrap().is_empty());
}

/// A closed array cannot be closed otherwise.
pub fn the_first_closing_stands(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 3);
    let agent = scene.agent();
    scene.claim(agent, 1);
    let first = close(&mut scene, Intent::Cancel);
    assert_eq!(close(&mut scene, Intent::Expired), first);
    assert_eq!(close(&mut scene, Intent::Run), first);
    assert_eq!(close(&mut scene, Intent::Cancel), first);
}

/// What has ended stays as it ended; and closing with the wish to run is no closing.
pub fn closing_an_ended_array_changes_nothing(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let open = scene.record();
    assert_eq!(close(&mut scene, Intent::Run), open);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Ttl).unwrap();
    let ended = scene.record();
    assert_eq!(close(&mut scene, Intent::Cancel), ended);
    assert_eq!(ended.intent, Intent::Run);
}

/// No budget helps in a closed array: what is cut off follows its wish, what fails has failed.
pub fn a_closed_array_runs_nothing_again(fresh: Fresh<'_>) {
    for (intent, cut_off) in [
        (Intent::Cancel, (TaskState::Cancelled, Cause::Cancelled)),
        (Intent::Expired, (TaskState::Failed, Cause::Ttl)),
    ] {
        let mut scene = Scene::of(fresh, 3);
        let agent = scene.agent();
        let token = scene.claim(agent, 3).token;
        close(&mut scene, intent);
        scene.commit(agent, 0, token, Cause::Interrupted).unwrap();
        scene.commit(agent, 1, token, Cause::Exit).unwrap();
        assert_eq!(scene.end_agent(agent), [2]);
        for (position, own) in [(0, Cause::Interrupted), (2, Cause::WorkerLost)] {
            let row = scene.task(position);
            assert_eq!(
                (row.state, row.ending),
                (cut_off.0, Some(Ending::of(cut_off.1)))
            );
            let attempts = scene.ledger.attempts(&scene.id, position).unwrap();
            assert_eq!(attempts[0].ending, Some(Ending::of(own)));
        }
        assert_eq!(scene.task(1).state, TaskState::Failed);
        let failures = scene.ledger.recent_failures(&scene.id, 9).unwrap();
        assert_eq!(failures, [scene.task(1)]);
        assert!(scene.record().counts.all_ended());
    }
}

/// A task handed back to a closed array ends there, and may be the array's last.
pub fn a_release_into_a_closed_array_ends_the_task(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    close(&mut scene, Intent::Cancel);
    assert_eq!(scene.release(agent, token, &[0]), [Ok(())]);
    let row = scene.task(0);
    assert_eq!((row.state, row.attempt), (TaskState::Cancelled, 0));
    assert_eq!(row.ending, Some(Ending::of(Cause::Cancelled)));
    assert_eq!(scene.record().ended_at, Some(UnixMicros(scene.now)));
    let again = scene.release(agent, token, &[0]);
    assert_eq!(again, [Err(Illegal::Terminal(TaskState::Cancelled))]);
}

/// Start and end of an array are those of its first claim and its last outcome.
pub fn an_array_ends_with_its_last_task(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 2);
    let agent = scene.agent();
    let first = scene.claim(agent, 1).token;
    let started_at = Some(UnixMicros(scene.now));
    let second = scene.claim(agent, 1).token;
    scene.commit(agent, 1, second, Cause::Succeeded).unwrap();
    let record = scene.record();
    assert_eq!((record.started_at, record.ended_at), (started_at, None));
    scene.commit(agent, 0, first, Cause::Skipped).unwrap();
    let record = scene.record();
    let ended_at = Some(UnixMicros(scene.now));
    assert_eq!((record.started_at, record.ended_at), (started_at, ended_at));
    assert!(record.counts.all_well());
    let nothing = scene.claim(agent, 1);
    assert_eq!((nothing.tasks.len(), nothing.unfinished), (0, 0));
    assert_eq!(scene.record(), record);
}
