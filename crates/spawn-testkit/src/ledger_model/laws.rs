//! What holds in every history, told apart from how any ledger does it.
//!
//! An *opening* of a task begins when its array is submitted, and whenever the ended task is
//! reopened.
//!
//! - A task ends once in an opening, and its outcome stays as it is until it is reopened.
//! - A cause has at most one attempt more than its budget in an opening.
//! - An agent whose lease was taken from it commits nothing.
//! - A token is given out once, and later ones are greater.
//! - An agent is given tasks of its lane only.
//! - Counts are those of the tasks, in the array and in each lane.

use std::collections::BTreeMap;

use spawn_core::budgets::Budgets;
use spawn_core::outcome::Cause;
use spawn_core::task::{TaskState, Token};
use spawn_ports::ledger::{
    AgentRecord, ArrayRecord, AttemptRow, Claim, Commit, NewArray, Reopen, TaskRow,
};

/// What the laws remember of a history.
#[derive(Debug, Default)]
pub(super) struct Laws {
    tasks: BTreeMap<(usize, u64), Opening>,
    newest_token: BTreeMap<usize, Token>,
}

/// The newest opening of a task.
#[derive(Debug, Default)]
struct Opening {
    /// Attempts before it.
    earlier: usize,
    /// The lease that was last committed in it.
    committed: Option<Token>,
    outcome: Option<TaskRow>,
}

impl Laws {
    pub fn claimed(&mut self, at: usize, array: &NewArray, agent: &AgentRecord, claim: &Claim) {
        let lanes = array.lane_ranges().expect("was accepted");
        let lane = &lanes[agent.enrolled.lane as usize];
        for task in &claim.tasks {
            assert!(lane.contains(&task.position), "of another lane: {task:?}");
        }
        let newest = self.newest_token.entry(at).or_default();
        if !claim.tasks.is_empty() {
            assert!(claim.token > *newest, "tokens only grow");
            *newest = claim.token;
        }
    }

    /// A commit of this agent's lease was accepted.
    pub fn committed(&mut self, at: usize, commit: &Commit, agent: &AgentRecord) {
        let ended = agent.ended_at;
        assert_eq!(ended, None, "the agent had lost its lease: {commit:?}");
        let opening = self.tasks.entry((at, commit.position)).or_default();
        let earlier = opening.committed.replace(commit.token);
        assert_ne!(earlier, Some(commit.token), "a lease is committed once");
        assert_eq!(opening.outcome, None, "a task ends once in an opening");
    }

    /// Notes which tasks changed when ended ones were reopened, and gives how many.
    pub fn reopened(
        &mut self,
        at: usize,
        which: &Reopen,
        before: &[TaskRow],
        after: &[TaskRow],
    ) -> u64 {
        let mut count = 0;
        for (before, after) in before.iter().zip(after) {
            let asked = match which {
                Reopen::Failed => before.state == TaskState::Failed,
                Reopen::Positions(set) => {
                    before.state.is_terminal() && set.contains(before.position)
                }
            };
            if !asked {
                assert_eq!(before, after, "who was not asked for stays as it was");
                continue;
            }
            assert_eq!(after.state, TaskState::Pending);
            assert_eq!(after.spent, Default::default(), "budgets are whole again");
            let kept = |row: &TaskRow| (row.attempt, row.token, row.agent, row.log);
            assert_eq!(kept(before), kept(after));
            let opening = Opening {
                earlier: before.attempt as usize,
                ..Opening::default()
            };
            self.tasks.insert((at, before.position), opening);
            count += 1;
        }
        count
    }

    /// A task and its attempts were read.
    pub fn seen(&mut self, at: usize, row: &TaskRow, attempts: &[AttemptRow], array: &ArrayRecord) {
        let opening = self.tasks.entry((at, row.position)).or_default();
        assert_eq!(attempts.len(), row.attempt as usize);
        for cause in Cause::ALL {
            let ended = attempts[opening.earlier..].iter();
            let so = ended.filter(|a| a.ending.as_ref().is_some_and(|e| e.cause == cause));
            let most = budget(&array.submitted.budgets, cause) + 1;
            assert!(
                so.count() <= most as usize,
                "{cause:?} beyond its budget: {row:?}"
            );
        }
        match (&opening.outcome, row.state.is_terminal()) {
            (None, true) => opening.outcome = Some(row.clone()),
            (Some(outcome), _) => assert_eq!(outcome, row, "an outcome never changes"),
            (None, false) => {}
        }
    }
}

fn budget(budgets: &Budgets, cause: Cause) -> u32 {
    match cause {
        Cause::Exit => budgets.exit,
        Cause::Timeout => budgets.timeout,
        Cause::OutOfMemory => budgets.out_of_memory,
        Cause::Interrupted => budgets.interrupted,
        Cause::WorkerLost => budgets.worker_lost,
        Cause::LaunchFailed => budgets.launch_failed,
        Cause::Succeeded | Cause::Skipped | Cause::Ttl | Cause::Cancelled | Cause::Halted => 0,
    }
}

/// # Panics
/// If an array's counts, or those of a lane, are not what its tasks say.
pub(super) fn counts_are_those_of_the_tasks(array: &ArrayRecord, tasks: &[TaskRow]) {
    let total = array.submitted.total;
    assert_eq!((array.counts.total(), tasks.len() as u64), (total, total));
    let count = |tasks: &[TaskRow], state| tasks.iter().filter(|t| t.state == state).count() as u64;
    for state in TaskState::ALL {
        assert_eq!(array.counts.of(state), count(tasks, state), "{state:?}");
    }
    let lanes = array.submitted.lane_ranges().expect("was accepted");
    assert_eq!(lanes.len(), array.lanes.len());
    for (range, lane) in lanes.into_iter().zip(&array.lanes) {
        let tasks = &tasks[range.start as usize..range.end as usize];
        let found = (
            count(tasks, TaskState::Pending),
            count(tasks, TaskState::Running),
        );
        assert_eq!((lane.pending, lane.running), found, "of a lane");
    }
    assert_eq!(array.ended_at.is_some(), array.counts.all_ended());
}
