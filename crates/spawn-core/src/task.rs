//! The task table: one transition function for every state a task can be in.
//!
//! ```text
//! pending -> running -> succeeded | failed | skipped | cancelled
//! running -> pending    retry (after backoff), interrupted, worker lost, released unstarted
//! succeeded | failed | skipped | cancelled -> pending    only when somebody asks: `spawn retry`
//! ```
//!
//! Whoever holds the lease proves it with a [`Token`]. A commit under an older token is
//! [`Illegal::StaleToken`]: a worker that stalled, lost its lease and woke up cannot commit.

use serde::{Deserialize, Serialize};

use crate::budgets::{Budgets, Spent};
use crate::moment::UnixMicros;
use crate::outcome::{Cause, Ending, Report};

/// A fencing token. Tokens of one array only grow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Token(pub u64);

/// The state of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Not yet claimed, or handed back.
    Pending,
    /// Claimed by a worker under a lease.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly and not to be run again by itself.
    Failed,
    /// Ended because there was nothing to do.
    Skipped,
    /// Ended because somebody asked.
    Cancelled,
}

impl TaskState {
    /// Every state, in the order people read them.
    pub const ALL: [TaskState; 6] = [
        TaskState::Pending,
        TaskState::Running,
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::Skipped,
        TaskState::Cancelled,
    ];

    /// Whether no event leads out of this state.
    pub fn is_terminal(self) -> bool {
        !matches!(self, TaskState::Pending | TaskState::Running)
    }

    /// The word for this state, as printed and stored.
    pub fn word(self) -> &'static str {
        match self {
            TaskState::Pending => "pending",
            TaskState::Running => "running",
            TaskState::Succeeded => "succeeded",
            TaskState::Failed => "failed",
            TaskState::Skipped => "skipped",
            TaskState::Cancelled => "cancelled",
        }
    }

    /// The state that `word` names.
    pub fn from_word(word: &str) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|s| s.word() == word)
    }
}

/// What is wanted of an array as a whole; it bends what the end of an attempt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// Run every task.
    #[default]
    Run,
    /// Somebody cancelled the array: nothing is run again.
    Cancel,
    /// The array's deadline has passed: nothing is run again.
    Expired,
    /// Too many tasks failed: nothing further is started.
    Halted,
}

impl Intent {
    /// Every intent.
    pub const ALL: [Intent; 4] = [Intent::Run, Intent::Cancel, Intent::Expired, Intent::Halted];
}

/// One task as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where it stands.
    pub state: TaskState,
    /// Executions so far, the present one included. 0: never run.
    pub attempt: u32,
    /// The token of the newest lease. Kept when the lease ends, so that tokens only grow.
    pub token: Token,
    /// Not claimable before this time (backoff), see [`is_due`].
    pub not_before: UnixMicros,
    /// What has been spent of each retry budget.
    pub spent: Spent,
    /// How the newest attempt ended; `None` before the first end.
    pub ending: Option<Ending>,
}

impl Task {
    /// A task nobody has touched.
    pub fn untouched() -> Task {
        Task {
            state: TaskState::Pending,
            attempt: 0,
            token: Token(0),
            not_before: UnixMicros(0),
            spent: Spent::default(),
            ending: None,
        }
    }
}

/// What can happen to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker takes the task under a new token.
    Claim {
        /// The token of the new lease; must be greater than the task's.
        token: Token,
    },
    /// The lease holder says how the attempt ended.
    Commit {
        /// The token it holds.
        token: Token,
        /// What it saw.
        report: Report,
    },
    /// The lease holder hands the task back without having started it.
    Release {
        /// The token it holds.
        token: Token,
    },
    /// The observer found the lease holder gone.
    WorkerLost {
        /// The token of the lease that is void now.
        token: Token,
    },
    /// The array was cancelled; only tasks that do not run follow at once.
    Cancel,
    /// The array's deadline passed; only tasks that do not run follow at once.
    Expire,
    /// Too many tasks failed; only tasks that do not run follow at once.
    Halt,
    /// Somebody wants an ended task to run again, with its budgets whole.
    Reopen,
}

/// An event that the task table does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The task already has its one committed outcome.
    #[error("the task is {} already; a task commits once", .0.word())]
    Terminal(TaskState),
    /// The event needs a running task.
    #[error("the task is {}, not running", .0.word())]
    NotRunning(TaskState),
    /// The event needs a pending task.
    #[error("the task is {}, not pending", .0.word())]
    NotPending(TaskState),
    /// The event needs an ended task.
    #[error("the task is {}, it has not ended", .0.word())]
    NotEnded(TaskState),
    /// The lease was taken over, or the token was never given out.
    #[error("token {given} is not the lease's token {held}")]
    StaleToken {
        /// The token of the event.
        given: u64,
        /// The token the task holds.
        held: u64,
    },
    /// The task waits for its backoff to pass.
    #[error("the task is not claimable yet")]
    TooEarly,
    /// The array takes no more claims.
    #[error("the array takes no more claims")]
    Closed,
}

/// Everything besides the task itself that a transition depends on.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What is wanted of the array.
    pub intent: Intent,
    /// The array's retry budgets.
    pub budgets: &'a Budgets,
    /// The time of the event.
    pub now: UnixMicros,
    /// A random number that spreads backoffs.
    pub dice: u64,
}

/// The task after `event`, or why the event is illegal. The one transition table.
pub fn step(task: &Task, event: &Event, around: Circumstances<'_>) -> Result<Task, Illegal> {
    let mut next = task.clone();
    match event {
        Event::Claim { token } => {
            need_pending(task)?;
            if around.intent != Intent::Run {
                return Err(Illegal::Closed);
            }
            if !is_due(task.not_before, around.now, around.budgets) {
                return Err(Illegal::TooEarly);
            }
            if *token <= task.token {
                return Err(stale(*token, task));
            }
            next.state = TaskState::Running;
            next.token = *token;
            next.attempt += 1;
        }
        Event::Commit { token, report } => {
            need_lease(task, *token)?;
            settle(&mut next, report.clone(), around);
        }
        Event::Release { token } => {
            need_lease(task, *token)?;
            next.attempt -= 1;
            back_to_pending(&mut next, UnixMicros(0), around.intent);
        }
        Event::WorkerLost { token } => {
            need_lease(task, *token)?;
            settle(&mut next, Report::of(Cause::WorkerLost), around);
        }
        Event::Cancel => {
            need_pending(task)?;
            closed_by(&mut next, Intent::Cancel);
        }
        Event::Expire => {
            need_pending(task)?;
            closed_by(&mut next, Intent::Expired);
        }
        Event::Halt => {
            need_pending(task)?;
            closed_by(&mut next, Intent::Halted);
        }
        Event::Reopen => {
            if !task.state.is_terminal() {
                return Err(Illegal::NotEnded(task.state));
            }
            if around.intent != Intent::Run {
                return Err(Illegal::Closed);
            }
            next.state = TaskState::Pending;
            next.not_before = UnixMicros(0);
            next.spent = Spent::default();
        }
    }
    Ok(next)
}

/// Whether a task that waits until `not_before` may be claimed at `now`.
///
/// No wait is longer than the longest backoff. One that seems to be tells that the clock was set
/// back after it began, by more than was left of it; such a task does not wait for the clock to
/// come round again. So a clock that steps, either way and however far, holds a task up by
/// [`Budgets::backoff_max_millis`] at most.
pub fn is_due(not_before: UnixMicros, now: UnixMicros, budgets: &Budgets) -> bool {
    not_before <= now || not_before > latest_wait(now, budgets)
}

/// The end of the longest wait that can begin at `now`.
pub fn latest_wait(now: UnixMicros, budgets: &Budgets) -> UnixMicros {
    now.plus_millis(budgets.backoff_max_millis)
}

fn need_pending(task: &Task) -> Result<(), Illegal> {
    match task.state {
        TaskState::Pending => Ok(()),
        s if s.is_terminal() => Err(Illegal::Terminal(s)),
        s => Err(Illegal::NotPending(s)),
    }
}

fn need_lease(task: &Task, token: Token) -> Result<(), Illegal> {
    if task.token != token {
        return Err(stale(token, task));
    }
    match task.state {
        TaskState::Running => Ok(()),
        s if s.is_terminal() => Err(Illegal::Terminal(s)),
        s => Err(Illegal::NotRunning(s)),
    }
}

fn stale(given: Token, task: &Task) -> Illegal {
    Illegal::StaleToken {
        given: given.0,
        held: task.token.0,
    }
}

fn settle(task: &mut Task, report: Report, around: Circumstances<'_>) {
    let cause = report.ending.cause;
    let ending = report.ending.clone();
    task.ending = Some(report.ending);
    let final_state = match cause {
        Cause::Succeeded => Some(TaskState::Succeeded),
        Cause::Skipped => Some(TaskState::Skipped),
        Cause::Cancelled | Cause::Halted => Some(TaskState::Cancelled),
        Cause::Ttl => Some(TaskState::Failed),
        Cause::Exit
        | Cause::Timeout
        | Cause::OutOfMemory
        | Cause::Interrupted
        | Cause::WorkerLost
        | Cause::LaunchFailed => None,
    };
    if let Some(state) = final_state {
        task.state = state;
        return;
    }
    if around.intent == Intent::Run && task.spent.charge(&ending, around.budgets) {
        let wait = around
            .budgets
            .backoff_millis(cause, &task.spent, around.dice);
        // Without a wait, at once: also if the clock is set back.
        let not_before = match wait {
            0 => UnixMicros(0),
            wait => around.now.plus_millis(wait),
        };
        back_to_pending(task, not_before, around.intent);
        return;
    }
    // An attempt cut off by no fault of the script follows the array's wish.
    let cut_off = matches!(cause, Cause::Interrupted | Cause::WorkerLost);
    match around.intent {
        Intent::Cancel | Intent::Expired | Intent::Halted if cut_off => {
            closed_by(task, around.intent);
        }
        _ => task.state = TaskState::Failed,
    }
}

fn back_to_pending(task: &mut Task, not_before: UnixMicros, intent: Intent) {
    match intent {
        Intent::Run => {
            task.state = TaskState::Pending;
            task.not_before = not_before;
        }
        closed => closed_by(task, closed),
    }
}

fn closed_by(task: &mut Task, intent: Intent) {
    let (state, cause) = closing(intent);
    task.state = state;
    task.ending = Some(Ending::of(cause));
}

/// The state and cause of a task that the end of its array finds pending.
///
/// Readers derive them, so that cancelling a million pending tasks writes one row.
/// For [`Intent::Run`] this is `(Pending, Cancelled)`; callers ask only of closed arrays.
pub fn closing(intent: Intent) -> (TaskState, Cause) {
    match intent {
        Intent::Run => (TaskState::Pending, Cause::Cancelled),
        Intent::Cancel => (TaskState::Cancelled, Cause::Cancelled),
        Intent::Expired => (TaskState::Failed, Cause::Ttl),
        Intent::Halted => (TaskState::Cancelled, Cause::Halted),
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
