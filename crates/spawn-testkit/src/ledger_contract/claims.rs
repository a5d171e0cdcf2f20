//! Who gets which task, and when.

use spawn_core::budgets::Budgets;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{TaskState, Token};
use spawn_ports::ledger::{ClaimedTask, LedgerError};

use super::Fresh;
use super::scene::{NONE, Scene, new_agent, new_array};

/// Untouched tasks go out by position, each once, and the claim says how many are unfinished.
pub fn fresh_tasks_are_claimed_in_order(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 5);
    let agent = scene.agent();
    let claim = scene.claim(agent, 3);
    let first = |position| ClaimedTask {
        position,
        attempt: 1,
    };
    assert_eq!(claim.tasks, [first(0), first(1), first(2)]);
    assert_eq!((claim.unfinished, claim.next_due), (5, None));
    let row = scene.task(1);
    assert_eq!(row.state, TaskState::Running);
    assert_eq!((row.attempt, row.token), (1, claim.token));
    assert_eq!(row.started_at, Some(UnixMicros(scene.now)));
    assert_eq!((row.agent, row.ended_at), (Some(agent), None));
    assert_eq!(scene.positions(agent, 3), [3, 4]);
    scene
        .commit(agent, 0, claim.token, Cause::Succeeded)
        .unwrap();
    let nothing = scene.claim(agent, 3);
    assert_eq!((nothing.tasks.len(), nothing.unfinished), (0, 4));
    assert_eq!(nothing.next_due, None);
}

/// A later claim has a greater token; all tasks of one claim share theirs.
pub fn tokens_grow_with_every_claim(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 20);
    let agents = [scene.agent(), scene.agent()];
    let mut last = Token(0);
    for round in 0..6 {
        let agent = agents[round % 2];
        let claim = scene.claim(agent, 3);
        assert!(claim.token > last);
        last = claim.token;
        for task in &claim.tasks {
            assert_eq!(scene.task(task.position).token, claim.token);
        }
        let position = claim.tasks[0].position;
        scene
            .commit(agent, position, last, Cause::Interrupted)
            .unwrap();
        assert_eq!(scene.task(position).token, last, "kept after the lease");
    }
}

/// A claim that gets nothing has token 0 and leaves the next one as it would have been.
pub fn an_empty_claim_gives_no_token(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 2);
    let agent = scene.agent();
    let none = scene.claim(agent, 0);
    assert_eq!(
        (none.token, none.tasks.len(), none.unfinished),
        (Token(0), 0, 2)
    );
    assert_eq!(scene.record().started_at, None);
    let token = scene.claim(agent, 9).token;
    assert!(token > Token(0));
    assert_eq!(scene.claim(agent, 9).token, Token(0));
}

/// Two agents never hold the same task, nor do two arrays mix.
pub fn agents_share_an_array_without_overlap(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 4);
    let now = scene.tick();
    let other = new_array(1, 4);
    scene.ledger.submit(&other, now).unwrap();
    let (a, b) = (scene.agent(), scene.agent());
    let stranger = new_agent(other.id.clone(), 0);
    let stranger = scene.ledger.enroll(&stranger, now).unwrap();
    assert_eq!(scene.positions(a, 1), [0]);
    assert_eq!(scene.positions(stranger, 2), [0, 1]);
    assert_eq!(scene.positions(b, 2), [1, 2]);
    assert_eq!(scene.positions(a, 2), [3]);
    assert_eq!(scene.positions(stranger, 9), [2, 3]);
    assert_eq!(scene.end_agent(b), [1, 2]);
    assert_eq!(
        scene
            .ledger
            .array(&other.id)
            .unwrap()
            .unwrap()
            .counts
            .running,
        4
    );
}

/// Tasks that came back go out first, by when they became due, then by position.
pub fn handed_back_tasks_come_before_fresh_ones(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 8);
    let agent = scene.agent();
    let token = scene.claim(agent, 5).token;
    scene.commit(agent, 3, token, Cause::Interrupted).unwrap();
    scene.commit(agent, 1, token, Cause::Interrupted).unwrap();
    scene.release(agent, token, &[4, 2]);
    // Neither waits: all are due since ever, whatever the clock does meanwhile.
    assert_eq!(scene.positions(agent, 3), [1, 2, 3]);
    assert_eq!(scene.positions(agent, 3), [4, 5, 6]);
    assert_eq!(scene.task(3).attempt, 2);
    assert_eq!(scene.task(2).attempt, 1);
}

/// A task waits out its backoff, others go on, and an empty claim says when it is due.
pub fn a_task_in_backoff_is_not_claimed_and_says_when(fresh: Fresh<'_>) {
    let mut array = new_array(0, 2);
    array.budgets = Budgets {
        exit: 50,
        backoff_millis: 60_000,
        ..Budgets::default()
    };
    let mut scene = Scene::with(fresh, array);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    scene.commit(agent, 0, token, Cause::Exit).unwrap();
    let due = scene.task(0).not_before;
    assert!(due.0 > scene.now && due <= UnixMicros(scene.now).plus_millis(60_000));
    assert_eq!(scene.positions(agent, 2), [1]);
    let empty = scene.claim(agent, 2);
    assert_eq!((empty.next_due, empty.unfinished), (Some(due), 2));
    scene.now = due.0 - 2;
    assert_eq!(scene.positions(agent, 2), NONE);
    scene.now = due.0 - 1;
    assert_eq!(scene.positions(agent, 2), [0]);
}

/// An agent that has ended is no agent any more.
pub fn an_ended_agent_claims_nothing(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 2);
    let agent = scene.agent();
    scene.end_agent(agent);
    let now = scene.tick();
    let refused = scene.ledger.claim(agent, 1, now);
    assert!(matches!(refused, Err(LedgerError::UnknownAgent(id)) if id == agent));
    assert_eq!(scene.record().counts.pending, 2);
}
