use proptest::prelude::*;

use super::*;

fn around<'a>(intent: Intent, budgets: &'a Budgets, now: i64) -> Circumstances<'a> {
    Circumstances {
        intent,
        budgets,
        now: UnixMicros(now),
        dice: 7,
    }
}

fn claimed(token: u64) -> Task {
    step(
        &Task::untouched(),
        &Event::Claim {
            token: Token(token),
        },
        around(Intent::Run, &Budgets::default(), 0),
    )
    .unwrap()
}

fn commit(token: u64, cause: Cause) -> Event {
    Event::Commit {
        token: Token(token),
        report: Report::of(cause),
    }
}

#[test]
fn a_task_runs_once_and_commits_once() {
    let b = Budgets::default();
    let t = claimed(1);
    assert_eq!((t.state, t.attempt), (TaskState::Running, 1));
    let done = step(&t, &commit(1, Cause::Succeeded), around(Intent::Run, &b, 1)).unwrap();
    assert_eq!(done.state, TaskState::Succeeded);
    assert_eq!(
        step(
            &done,
            &commit(1, Cause::Succeeded),
            around(Intent::Run, &b, 2)
        ),
        Err(Illegal::Terminal(TaskState::Succeeded))
    );
}

#[test]
fn a_woken_worker_whose_lease_was_taken_over_is_refused() {
    let b = Budgets::default();
    let lost = step(
        &claimed(1),
        &Event::WorkerLost { token: Token(1) },
        around(Intent::Run, &b, 1),
    )
    .unwrap();
    assert_eq!(lost.state, TaskState::Pending);
    assert_eq!(
        step(
            &lost,
            &commit(1, Cause::Succeeded),
            around(Intent::Run, &b, 2)
        ),
        Err(Illegal::NotRunning(TaskState::Pending))
    );
    let again = step(
        &lost,
        &Event::Claim { token: Token(2) },
        around(Intent::Run, &b, 2),
    )
    .unwrap();
    assert_eq!(again.attempt, 2);
    assert_eq!(
        step(
            &again,
            &commit(1, Cause::Succeeded),
            around(Intent::Run, &b, 3)
        ),
        Err(Illegal::StaleToken { given: 1, held: 2 })
    );
}

#[test]
fn a_retry_waits_for_its_backoff() {
    let b = Budgets {
        exit: 1,
        ..Budgets::default()
    };
    let again = step(
        &claimed(1),
        &commit(1, Cause::Exit),
        around(Intent::Run, &b, 100),
    )
    .unwrap();
    assert_eq!(again.state, TaskState::Pending);
    assert_eq!(again.not_before, UnixMicros(7_100));
    let claim = Event::Claim { token: Token(2) };
    assert_eq!(
        step(&again, &claim, around(Intent::Run, &b, 7_099)),
        Err(Illegal::TooEarly)
    );
    let second = step(&again, &claim, around(Intent::Run, &b, 7_100)).unwrap();
    let end = step(
        &second,
        &commit(2, Cause::Exit),
        around(Intent::Run, &b, 9_000),
    )
    .unwrap();
    assert_eq!(end.state, TaskState::Failed);
}

#[test]
fn a_clock_set_back_does_not_hold_up_a_retry() {
    const HOUR: i64 = 3_600_000_000;
    let b = Budgets {
        exit: 1,
        ..Budgets::default()
    };
    let then = around(Intent::Run, &b, 24 * HOUR);
    let again = step(&claimed(1), &commit(1, Cause::Exit), then).unwrap();
    let claim = Event::Claim { token: Token(2) };
    for hours_back in [1, 24, 30 * 24] {
        let now = (24 - hours_back) * HOUR;
        assert!(step(&again, &claim, around(Intent::Run, &b, now)).is_ok());
    }
    // Set back by less than a backoff can take: it waits as long as one can take.
    let a_little = 24 * HOUR - 60_000_000;
    let early = step(&again, &claim, around(Intent::Run, &b, a_little));
    assert_eq!(early, Err(Illegal::TooEarly));
    let in_the_end = around(Intent::Run, &b, a_little + 300_000_000);
    assert!(step(&again, &claim, in_the_end).is_ok());
}

#[test]
fn an_attempt_ended_by_ttl_is_failed_and_never_rerun() {
    let b = Budgets {
        exit: 9,
        ..Budgets::default()
    };
    let end = step(
        &claimed(1),
        &commit(1, Cause::Ttl),
        around(Intent::Run, &b, 1),
    )
    .unwrap();
    assert_eq!(end.state, TaskState::Failed);
    assert_eq!(end.ending.unwrap().cause, Cause::Ttl);
}

#[test]
fn a_release_is_no_attempt() {
    let b = Budgets::default();
    let back = step(
        &claimed(5),
        &Event::Release { token: Token(5) },
        around(Intent::Run, &b, 1),
    )
    .unwrap();
    assert_eq!(
        (back.state, back.attempt, back.token),
        (TaskState::Pending, 0, Token(5))
    );
}

#[test]
fn a_cancelled_array_reruns_nothing() {
    let b = Budgets {
        exit: 9,
        ..Budgets::default()
    };
    let cut = step(
        &claimed(1),
        &Event::WorkerLost { token: Token(1) },
        around(Intent::Cancel, &b, 1),
    )
    .unwrap();
    assert_eq!(cut.state, TaskState::Cancelled);
    let late = step(
        &claimed(1),
        &commit(1, Cause::Interrupted),
        around(Intent::Expired, &b, 1),
    )
    .unwrap();
    assert_eq!(
        (late.state, late.ending.unwrap().cause),
        (TaskState::Failed, Cause::Ttl)
    );
    let bad = step(
        &claimed(1),
        &commit(1, Cause::Exit),
        around(Intent::Cancel, &b, 1),
    )
    .unwrap();
    assert_eq!(bad.state, TaskState::Failed);
    assert_eq!(
        step(
            &Task::untouched(),
            &Event::Claim { token: Token(1) },
            around(Intent::Cancel, &b, 1)
        ),
        Err(Illegal::Closed)
    );
}

#[test]
fn a_task_that_ended_runs_again_when_somebody_asks_with_whole_budgets() {
    let b = Budgets {
        exit: 1,
        backoff_millis: 0,
        ..Budgets::default()
    };
    let run = around(Intent::Run, &b, 1);
    let again = step(&claimed(1), &commit(1, Cause::Exit), run).unwrap();
    assert_eq!(
        step(&again, &Event::Reopen, run),
        Err(Illegal::NotEnded(TaskState::Pending))
    );
    let second = step(&again, &Event::Claim { token: Token(2) }, run).unwrap();
    let failed = step(&second, &commit(2, Cause::Exit), run).unwrap();
    assert_eq!(failed.state, TaskState::Failed);
    assert_eq!(
        step(&failed, &Event::Reopen, around(Intent::Cancel, &b, 1)),
        Err(Illegal::Closed)
    );
    let reopened = step(&failed, &Event::Reopen, run).unwrap();
    assert_eq!((reopened.state, reopened.attempt), (TaskState::Pending, 2));
    assert_eq!(reopened.spent, Spent::default());
    assert_eq!(reopened.token, Token(2), "tokens go on growing");
}

#[test]
fn after_too_many_failures_pending_tasks_are_cancelled_and_running_ones_end_as_they_do() {
    let b = Budgets {
        exit: 5,
        ..Budgets::default()
    };
    let halted = around(Intent::Halted, &b, 1);
    let pending = step(&Task::untouched(), &Event::Halt, halted).unwrap();
    assert_eq!(pending.state, TaskState::Cancelled);
    assert_eq!(pending.ending, Some(Ending::of(Cause::Halted)));
    let end = |cause| step(&claimed(1), &commit(1, cause), halted).unwrap().state;
    assert_eq!(end(Cause::Succeeded), TaskState::Succeeded);
    assert_eq!(end(Cause::Exit), TaskState::Failed, "no retry any more");
    assert_eq!(end(Cause::Interrupted), TaskState::Cancelled);
}

fn any_event() -> impl Strategy<Value = Event> {
    let token = (0u64..6).prop_map(Token);
    let cause = (0..Cause::ALL.len()).prop_map(|i| Cause::ALL[i]);
    prop_oneof![
        token.clone().prop_map(|token| Event::Claim { token }),
        (token.clone(), cause).prop_map(|(token, cause)| Event::Commit {
            token,
            report: Report::of(cause)
        }),
        token.clone().prop_map(|token| Event::Release { token }),
        token.prop_map(|token| Event::WorkerLost { token }),
        Just(Event::Cancel),
        Just(Event::Expire),
        Just(Event::Halt),
        Just(Event::Reopen),
    ]
}

proptest! {
    /// However the clock is set, a task is due within one longest backoff from then.
    #[test]
    fn no_task_waits_longer_than_the_longest_backoff(
        not_before: i64,
        now: i64,
        max in 0u64..1_000_000_000,
    ) {
        let budgets = Budgets { backoff_max_millis: max, ..Budgets::default() };
        let (not_before, now) = (UnixMicros(not_before), UnixMicros(now));
        let later = latest_wait(now, &budgets);
        prop_assert!(is_due(not_before, now, &budgets) || is_due(not_before, later, &budgets));
        prop_assert!(not_before > now || is_due(not_before, now, &budgets));
    }

    /// Under any history: tokens only grow, a terminal state is left only because somebody asked, a
    /// commit needs the newest token, and no cause is retried past its budget.
    #[test]
    fn laws_of_the_task_table(
        events in proptest::collection::vec((any_event(), 0usize..4), 0..60),
        exit in 0u32..3,
        interrupted in 0u32..3,
    ) {
        let budgets = Budgets { exit, interrupted, worker_lost: 1, backoff_millis: 0, ..Budgets::default() };
        let mut task = Task::untouched();
        let mut commits = 0;
        for (now, (event, intent)) in events.into_iter().enumerate() {
            let intent = Intent::ALL[intent];
            let before = task.clone();
            match step(&task, &event, around(intent, &budgets, now as i64 * 1_000_000)) {
                Err(_) => continue,
                Ok(next) => task = next,
            }
            if event == Event::Reopen {
                prop_assert!(before.state.is_terminal());
                prop_assert_eq!(task.state, TaskState::Pending);
                prop_assert_eq!(task.attempt, before.attempt);
                commits = 0;
            } else {
                prop_assert!(!before.state.is_terminal());
            }
            prop_assert!(task.token >= before.token);
            if let Event::Commit { token, .. } = &event {
                prop_assert_eq!(before.token, *token);
                prop_assert_eq!(before.state, TaskState::Running);
            }
            if task.state.is_terminal() { commits += 1; }
            prop_assert!(commits <= 1);
            prop_assert!(task.spent.exit <= exit);
            prop_assert!(task.spent.interrupted <= interrupted);
            prop_assert!(task.spent.worker_lost <= 1);
        }
    }
}
