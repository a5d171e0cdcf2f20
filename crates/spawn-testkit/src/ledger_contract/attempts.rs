//! How attempts end, and what is remembered of them.

use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{Illegal, TaskState, Token};
use spawn_ports::ledger::{AttemptRow, LogSpan};

use super::Fresh;
use super::scene::{NONE, Scene, new_array, outcome};

/// The second outcome of a task is refused and changes nothing.
pub fn a_task_commits_once(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 2);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Skipped).unwrap();
    let row = scene.task(0);
    assert_eq!(row.state, TaskState::Skipped);
    let again = scene.commit(agent, 0, token, Cause::Succeeded);
    assert_eq!(again, Err(Illegal::Terminal(TaskState::Skipped)));
    let now = scene.tick();
    let twice = [
        outcome(0, token, Cause::Exit, now),
        outcome(0, token, Cause::Exit, now),
    ];
    let answers = scene.ledger.commit(agent, &twice, now).unwrap();
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(scene.task(0), row);
    assert_eq!(scene.ledger.agent(agent).unwrap().unwrap().tasks_done, 1);
}

/// A worker that lost its lease and woke up cannot commit; the new holder can.
pub fn a_stale_token_cannot_commit(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let (stalled, heir) = (scene.agent(), scene.agent());
    let old = scene.claim(stalled, 1).token;
    assert_eq!(scene.end_agent(stalled), [0]);
    let woken = scene.commit(stalled, 0, old, Cause::Succeeded);
    assert_eq!(woken, Err(Illegal::NotRunning(TaskState::Pending)));
    let new = scene.claim(heir, 1).token;
    let stale = Err(Illegal::StaleToken {
        given: old.0,
        held: new.0,
    });
    assert_eq!(scene.commit(stalled, 0, old, Cause::Succeeded), stale);
    assert_eq!(scene.release(stalled, old, &[0]), [stale]);
    scene.commit(heir, 0, new, Cause::Succeeded).unwrap();
    assert_eq!(scene.commit(stalled, 0, old, Cause::Succeeded), stale);
    assert_eq!(scene.record().counts.succeeded, 1);
}

/// Tokens from nowhere, untouched tasks and positions outside the array are refused.
pub fn a_token_never_given_out_cannot_commit(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 3);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    let stale = |given: Token, held: Token| {
        Err(Illegal::StaleToken {
            given: given.0,
            held: held.0,
        })
    };
    let future = Token(token.0 + 1);
    let commit =
        |scene: &mut Scene, position, token| scene.commit(agent, position, token, Cause::Succeeded);
    assert_eq!(commit(&mut scene, 0, future), stale(future, token));
    assert_eq!(commit(&mut scene, 1, token), stale(token, Token(0)));
    assert_eq!(commit(&mut scene, 3, token), stale(token, Token(0)));
    assert_eq!(commit(&mut scene, u64::MAX, token), stale(token, Token(0)));
    let not_running = Err(Illegal::NotRunning(TaskState::Pending));
    assert_eq!(commit(&mut scene, 1, Token(0)), not_running);
    assert_eq!(commit(&mut scene, 3, Token(0)), not_running);
    let counts = scene.record().counts;
    assert_eq!((counts.pending, counts.running), (2, 1));
}

/// Answers come in order, and each commit stands for itself.
pub fn a_refused_commit_does_not_hold_up_the_others(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 4);
    let agent = scene.agent();
    let token = scene.claim(agent, 3).token;
    let now = scene.tick();
    let commits = [
        outcome(2, token, Cause::Succeeded, now),
        outcome(3, token, Cause::Succeeded, now),
        outcome(0, token, Cause::Succeeded, now),
        outcome(0, token, Cause::Exit, now),
    ];
    let answers = scene.ledger.commit(agent, &commits, now).unwrap();
    let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, true, false]);
    assert_eq!(scene.record().counts.succeeded, 2);
    assert_eq!(scene.ledger.agent(agent).unwrap().unwrap().tasks_done, 2);
}

/// A bad exit is retried as often as allowed, not more; others' budgets are not touched.
pub fn a_bad_exit_spends_its_budget_and_then_fails(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let agent = scene.agent();
    for (cause, state) in [
        (Cause::Interrupted, TaskState::Pending),
        (Cause::Exit, TaskState::Pending),
        (Cause::Interrupted, TaskState::Pending),
        (Cause::Exit, TaskState::Failed),
    ] {
        let token = scene.claim(agent, 1).token;
        scene.commit(agent, 0, token, cause).unwrap();
        assert_eq!(scene.task(0).state, state);
    }
    let row = scene.task(0);
    assert_eq!(
        (row.spent.exit, row.spent.interrupted, row.attempt),
        (1, 2, 4)
    );
    assert_eq!(row.ending, Some(Ending::of(Cause::Exit)));
    assert_eq!(scene.record().counts.failed, 1);
}

/// A task handed back unstarted counts no attempt and has no history.
pub fn a_released_task_was_never_executed(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 2);
    let agent = scene.agent();
    let token = scene.claim(agent, 2).token;
    assert_eq!(scene.release(agent, token, &[1, 0]), [Ok(()), Ok(())]);
    let row = scene.task(0);
    assert_eq!((row.state, row.attempt), (TaskState::Pending, 0));
    assert_eq!((row.agent, row.started_at, row.token), (None, None, token));
    assert!(scene.ledger.attempts(&scene.id, 0).unwrap().is_empty());
    let again = scene.release(agent, token, &[1]);
    assert_eq!(again, [Err(Illegal::NotRunning(TaskState::Pending))]);
    let claim = scene.claim(agent, 1);
    assert_eq!((claim.tasks[0].position, claim.tasks[0].attempt), (0, 1));
    assert!(claim.token > token);
}

/// After a release the attempt before it is the newest again.
pub fn a_release_brings_the_earlier_attempt_back(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let (first, second) = (scene.agent(), scene.agent());
    let token = scene.claim(first, 1).token;
    scene.commit(first, 0, token, Cause::Interrupted).unwrap();
    let before = scene.task(0);
    let history = scene.ledger.attempts(&scene.id, 0).unwrap();
    let token = scene.claim(second, 1).token;
    assert_eq!(scene.task(0).agent, Some(second));
    assert_eq!(scene.task(0).ending, None);
    scene.release(second, token, &[0])[0].unwrap();
    let after = scene.task(0);
    assert_eq!((after.agent, after.attempt), (Some(first), 1));
    assert_eq!((after.ending, after.log), (before.ending, before.log));
    assert_eq!(scene.ledger.attempts(&scene.id, 0).unwrap(), history);
    assert_eq!(scene.claim(second, 1).tasks[0].attempt, 2);
    assert_eq!(scene.ledger.attempts(&scene.id, 0).unwrap()[0], history[0]);
}

/// Whatever an ended agent held goes back; what it had committed stays; twice does nothing.
pub fn the_end_of_an_agent_voids_its_leases(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 6);
    let (gone, other) = (scene.agent(), scene.agent());
    let token = scene.claim(gone, 3).token;
    scene.claim(other, 1);
    scene.claim(gone, 1);
    scene.commit(gone, 1, token, Cause::Succeeded).unwrap();
    assert_eq!(scene.end_agent(gone), [0, 2, 4]);
    let lost_at = UnixMicros(scene.now);
    assert_eq!(scene.end_agent(gone), NONE);
    let counts = scene.record().counts;
    assert_eq!(
        (counts.pending, counts.running, counts.succeeded),
        (4, 1, 1)
    );
    let row = scene.task(2);
    assert_eq!((row.state, row.spent.worker_lost), (TaskState::Pending, 1));
    let expected = AttemptRow {
        attempt: 1,
        agent: gone,
        started_at: row.started_at.unwrap(),
        ended_at: Some(lost_at),
        ending: Some(Ending::of(Cause::WorkerLost)),
        log: None,
        usage: None,
        failed_calls: Vec::new(),
    };
    assert_eq!(scene.ledger.attempts(&scene.id, 2).unwrap(), [expected]);
    assert_eq!(scene.positions(other, 9), [0, 2, 4, 5]);
}

/// A task that takes its workers with it ends at last.
pub fn a_worker_lost_once_too_often_fails_the_task(fresh: Fresh<'_>) {
    let mut array = new_array(0, 1);
    array.budgets.worker_lost = 1;
    let mut scene = Scene::with(fresh, array);
    for state in [TaskState::Pending, TaskState::Failed] {
        let agent = scene.agent();
        scene.claim(agent, 1);
        scene.end_agent(agent);
        assert_eq!(scene.task(0).state, state);
    }
    let record = scene.record();
    assert_eq!((record.workers_lost, record.ended_at.is_some()), (2, true));
    let failures = scene.ledger.recent_failures(&scene.id, 9).unwrap();
    assert_eq!(failures, [scene.task(0)]);
}

/// Every execution is remembered in order, the running one included.
pub fn attempts_are_kept_as_history(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Interrupted).unwrap();
    let first = AttemptRow {
        attempt: 1,
        agent,
        started_at: UnixMicros(scene.now - 2),
        ended_at: Some(UnixMicros(scene.now - 1)),
        ending: Some(Ending::of(Cause::Interrupted)),
        log: Some(LogSpan {
            offset: 0,
            len: 100,
        }),
        usage: None,
        failed_calls: Vec::new(),
    };
    scene.claim(agent, 1);
    let second = AttemptRow {
        attempt: 2,
        agent,
        started_at: UnixMicros(scene.now),
        ended_at: None,
        ending: None,
        log: None,
        usage: None,
        failed_calls: Vec::new(),
    };
    let history = scene.ledger.attempts(&scene.id, 0).unwrap();
    assert_eq!(history, [first.clone(), second]);
    let heir = scene.agent();
    scene.end_agent(agent);
    let token = scene.claim(heir, 1).token;
    scene.commit(heir, 0, token, Cause::Succeeded).unwrap();
    let history = scene.ledger.attempts(&scene.id, 0).unwrap();
    let causes = |a: &AttemptRow| a.ending.as_ref().map(|e| e.cause);
    assert_eq!(
        history.iter().filter_map(causes).collect::<Vec<_>>(),
        [Cause::Interrupted, Cause::WorkerLost, Cause::Succeeded]
    );
    assert_eq!(history[0], first);
    assert_eq!((history[1].log, history[2].agent), (None, heir));
}

/// The array says how many attempts it lost to the machines.
pub fn interruptions_and_lost_workers_are_counted(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 4);
    let agent = scene.agent();
    let token = scene.claim(agent, 4).token;
    scene.commit(agent, 0, token, Cause::Interrupted).unwrap();
    scene
        .commit(agent, 0, token, Cause::Interrupted)
        .unwrap_err();
    scene.commit(agent, 1, token, Cause::Exit).unwrap();
    let again = scene.claim(agent, 1).token;
    scene.commit(agent, 0, again, Cause::Interrupted).unwrap();
    scene.end_agent(agent);
    let record = scene.record();
    assert_eq!((record.interrupted, record.workers_lost), (2, 2));
}
