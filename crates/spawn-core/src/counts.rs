//! How many tasks of an array stand where, and what state that makes the array.

use serde::{Deserialize, Serialize};

use crate::task::{Intent, TaskState};

/// Tasks by state. The sum never changes while an array lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Waiting to be claimed.
    pub pending: u64,
    /// Claimed.
    pub running: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended badly.
    pub failed: u64,
    /// Ended with nothing to do.
    pub skipped: u64,
    /// Ended by request.
    pub cancelled: u64,
}

impl Counts {
    /// `total` untouched tasks.
    pub fn untouched(total: u64) -> Counts {
        Counts {
            pending: total,
            ..Counts::default()
        }
    }

    /// All tasks.
    pub fn total(&self) -> u64 {
        TaskState::ALL.iter().map(|s| self.of(*s)).sum()
    }

    /// Tasks in `state`.
    pub fn of(&self, state: TaskState) -> u64 {
        match state {
            TaskState::Pending => self.pending,
            TaskState::Running => self.running,
            TaskState::Succeeded => self.succeeded,
            TaskState::Failed => self.failed,
            TaskState::Skipped => self.skipped,
            TaskState::Cancelled => self.cancelled,
        }
    }

    fn slot(&mut self, state: TaskState) -> &mut u64 {
        match state {
            TaskState::Pending => &mut self.pending,
            TaskState::Running => &mut self.running,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed => &mut self.failed,
            TaskState::Skipped => &mut self.skipped,
            TaskState::Cancelled => &mut self.cancelled,
        }
    }

    /// Moves `n` tasks from one state to another.
    ///
    /// # Panics
    /// If fewer than `n` tasks stand in `from`: a ledger that moves a task it does not have is broken.
    pub fn shift(&mut self, from: TaskState, to: TaskState, n: u64) {
        let source = self.slot(from);
        *source = source
            .checked_sub(n)
            .expect("no more tasks leave a state than stand in it");
        *self.slot(to) += n;
    }

    /// Tasks that will not run any more.
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.skipped + self.cancelled
    }

    /// Whether every task has its outcome.
    pub fn all_ended(&self) -> bool {
        self.pending == 0 && self.running == 0
    }

    /// Whether every task ended well: what exit code 0 of `--wait` means.
    pub fn all_well(&self) -> bool {
        self.all_ended() && self.failed == 0 && self.cancelled == 0
    }
}

/// The state of an array, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayState {
    /// No task has been claimed yet.
    Pending,
    /// Some task is unfinished.
    Running,
    /// Cancelled, with scripts still being stopped.
    Cancelling,
    /// Every task succeeded or was skipped.
    Succeeded,
    /// Every task ended, at least one badly.
    Failed,
    /// Every task ended, none badly, some by request.
    Cancelled,
}

impl ArrayState {
    /// The state that counts and intent make.
    pub fn of(counts: &Counts, intent: Intent) -> ArrayState {
        if !counts.all_ended() {
            return match intent {
                Intent::Cancel => ArrayState::Cancelling,
                _ if counts.running == 0 && counts.ended() == 0 => ArrayState::Pending,
                _ => ArrayState::Running,
            };
        }
        if counts.failed > 0 {
            ArrayState::Failed
        } else if counts.cancelled > 0 {
            ArrayState::Cancelled
        } else {
            ArrayState::Succeeded
        }
    }

    /// The word for this state.
    pub fn word(self) -> &'static str {
        match self {
            ArrayState::Pending => "pending",
            ArrayState::Running => "running",
            ArrayState::Cancelling => "cancelling",
            ArrayState::Succeeded => "succeeded",
            ArrayState::Failed => "failed",
            ArrayState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will change any more.
    pub fn is_ended(self) -> bool {
        matches!(
            self,
            ArrayState::Succeeded | ArrayState::Failed | ArrayState::Cancelled
        )
    }
}

/// Seconds until an array ends at the pace so far; `None` while nothing has ended.
///
/// `running_for` is in microseconds. Tasks in progress count as half done.
pub fn eta_seconds(counts: &Counts, running_for_micros: u64) -> Option<u64> {
    if counts.all_ended() {
        return Some(0);
    }
    if counts.ended() == 0 {
        return None;
    }
    let done = counts.ended() as f64 + counts.running as f64 / 2.0;
    let left = counts.pending as f64 + counts.running as f64 / 2.0;
    let seconds = running_for_micros as f64 / 1e6 * left / done;
    Some(seconds.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_their_sum_and_name_the_state() {
        let mut c = Counts::untouched(3);
        assert_eq!(ArrayState::of(&c, Intent::Run), ArrayState::Pending);
        c.shift(TaskState::Pending, TaskState::Running, 2);
        assert_eq!(ArrayState::of(&c, Intent::Run), ArrayState::Running);
        assert_eq!(ArrayState::of(&c, Intent::Cancel), ArrayState::Cancelling);
        c.shift(TaskState::Running, TaskState::Succeeded, 2);
        c.shift(TaskState::Pending, TaskState::Skipped, 1);
        assert_eq!(c.total(), 3);
        assert!(c.all_well());
        assert_eq!(ArrayState::of(&c, Intent::Run), ArrayState::Succeeded);
        c.shift(TaskState::Skipped, TaskState::Cancelled, 1);
        assert!(!c.all_well());
        assert_eq!(ArrayState::of(&c, Intent::Cancel), ArrayState::Cancelled);
        c.shift(TaskState::Succeeded, TaskState::Failed, 1);
        assert_eq!(ArrayState::of(&c, Intent::Cancel), ArrayState::Failed);
    }

    #[test]
    fn eta_follows_the_pace() {
        let mut c = Counts::untouched(10);
        assert_eq!(eta_seconds(&c, 1_000_000), None);
        c.shift(TaskState::Pending, TaskState::Succeeded, 5);
        assert_eq!(eta_seconds(&c, 10_000_000), Some(10));
        c.shift(TaskState::Pending, TaskState::Succeeded, 5);
        assert_eq!(eta_seconds(&c, 10_000_000), Some(0));
    }
}
