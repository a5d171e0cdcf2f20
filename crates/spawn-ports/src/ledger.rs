//! The ledger: the durable record of arrays, tasks, attempts, leases and agents.
//!
//! Every adapter passes the one contract suite of `spawn-testkit`. What a transition does to a
//! task is decided by [`spawn_core::task::step`] alone; an adapter reads, asks it, and writes.
//!
//! Laws every adapter keeps:
//! - A claim, a commit and the counts that follow from it move in one transaction.
//! - Tokens of one array only grow; each claim gives out one new token for all its tasks.
//! - [`ArrayRecord::counts`] always add up to the array's total.
//! - Untouched tasks cost nothing: submitting and closing an array take the same time for ten
//!   tasks and for a million.
//! - A *position* (0-based, dense) addresses a task; the index the user sees belongs to the spec.
//! - An array has one or more *lanes*: ranges of positions whose tasks need workers of one shape.
//!   An agent serves one lane and is given that lane's tasks only.
//! - A token is the whole proof of a lease; a commit is not asked which agent brings it.
//! - Reading or closing an array that is not there is [`LedgerError::UnknownArray`], save for
//!   [`Ledger::array`], which gives `None`.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::{Budgets, Spent};
use spawn_core::counts::Counts;
use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::{FailedCall, Usage};
use spawn_core::outcome::{Ending, Report};
use spawn_core::task::{Illegal, Intent, TaskState, Token};

/// One agent's enrolment with one array; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(pub u64);

/// An array to be submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewArray {
    /// Its id; must be new.
    pub id: ArrayId,
    /// Its name; need not be unique.
    pub name: String,
    /// The launch specification as JSON; the ledger keeps it and does not look inside.
    pub spec: String,
    /// How many tasks it has; at least 1.
    pub total: u64,
    /// What may be retried.
    pub budgets: Budgets,
    /// Launch time plus TTL; [`Ledger::extend`] and [`Ledger::reopen`] move it.
    pub deadline: UnixMicros,
    /// How many tasks each lane has: the first positions are the first lane's, and so on. They add
    /// up to `total`, each at least 1. Empty: one lane of all tasks.
    #[serde(default)]
    pub lanes: Vec<u64>,
}

impl NewArray {
    /// The positions of each lane, in order.
    ///
    /// # Errors
    /// [`LedgerError::Storage`] if the array has no tasks, more than the 2^63 - 1 that a ledger
    /// can count, or lanes that do not make it up.
    pub fn lane_ranges(&self) -> Result<Vec<Range<u64>>, LedgerError> {
        if self.total == 0 || i64::try_from(self.total).is_err() {
            return Err(LedgerError::Storage {
                what: format!("an array cannot have {} tasks", self.total),
                source: None,
            });
        }
        if self.lanes.is_empty() {
            return Ok(std::iter::once(0..self.total).collect());
        }
        let mut ranges = Vec::with_capacity(self.lanes.len());
        let mut first: u64 = 0;
        for tasks in &self.lanes {
            let end = first.checked_add(*tasks).filter(|end| *end > first);
            let end = end.filter(|end| *end <= self.total);
            let end = end.ok_or_else(|| self.lanes_do_not_fit())?;
            ranges.push(first..end);
            first = end;
        }
        if first != self.total {
            return Err(self.lanes_do_not_fit());
        }
        Ok(ranges)
    }

    fn lanes_do_not_fit(&self) -> LedgerError {
        let NewArray { lanes, total, .. } = self;
        LedgerError::Storage {
            what: format!("lanes of {lanes:?} tasks are not an array of {total}"),
            source: None,
        }
    }
}

/// An array as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayRecord {
    /// What was submitted.
    #[serde(flatten)]
    pub submitted: NewArray,
    /// When it was submitted.
    pub created_at: UnixMicros,
    /// When the first task was claimed.
    pub started_at: Option<UnixMicros>,
    /// When the last task got its outcome.
    pub ended_at: Option<UnixMicros>,
    /// Whether it is still wanted.
    pub intent: Intent,
    /// Its tasks by state. For a closed array the pending ones are counted as closed already.
    pub counts: Counts,
    /// Attempts that ended interrupted, so far.
    pub interrupted: u64,
    /// Attempts whose worker was lost, so far.
    pub workers_lost: u64,
    /// The lanes, in order; at least one. Named apart, since what was submitted stands beside it.
    #[serde(default, rename = "lane_counts")]
    pub lanes: Vec<LaneCounts>,
}

/// What is to be done in one lane. In a closed array nothing is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneCounts {
    /// Tasks that wait to be claimed, those in backoff included.
    pub pending: u64,
    /// Tasks that are claimed.
    pub running: u64,
}

/// An agent that starts to serve an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAgent {
    /// The array it serves.
    pub array: ArrayId,
    /// Which of the array's slots it fills, 0-based.
    pub slot: u32,
    /// Which of the array's lanes it serves, 0-based.
    #[serde(default)]
    pub lane: u32,
    /// Its process id on the worker.
    pub pid: u32,
    /// When that process started, in clock ticks since boot (`/proc/PID/stat` field 22): tells it
    /// from a later process with the same id.
    pub pid_started: u64,
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// The host name its worker shows.
    pub hostname: String,
}

/// An agent as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its enrolment.
    pub id: AgentId,
    /// What it said when it enrolled.
    #[serde(flatten)]
    pub enrolled: NewAgent,
    /// When it enrolled.
    pub started_at: UnixMicros,
    /// When it last claimed, committed or was otherwise heard.
    pub last_update: UnixMicros,
    /// When it left or was found gone; `None` while it serves.
    pub ended_at: Option<UnixMicros>,
    /// Attempts it committed.
    pub tasks_done: u64,
}

/// A task in a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedTask {
    /// Which task.
    pub position: u64,
    /// Which execution of it this is, 1-based.
    pub attempt: u32,
}

/// What a claim gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The token that all these leases carry. An empty claim gives out none: `Token(0)`.
    pub token: Token,
    /// The claimed tasks; empty if nothing is claimable now.
    pub tasks: Vec<ClaimedTask>,
    /// When the next task of the agent's lane comes out of its backoff, if `tasks` is empty and
    /// one waits.
    pub next_due: Option<UnixMicros>,
    /// Tasks of the array without an outcome, those claimed here included.
    pub unfinished: u64,
}

/// Where the output of an attempt is: a region of its agent's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogSpan {
    /// First byte of the region in the agent's log.
    pub offset: u64,
    /// Bytes in the region, record headers included.
    pub len: u64,
}

/// One outcome to commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Which task.
    pub position: u64,
    /// The token of the lease.
    pub token: Token,
    /// How the attempt ended.
    pub report: Report,
    /// When its script started.
    pub started_at: UnixMicros,
    /// When its script ended.
    pub ended_at: UnixMicros,
    /// Its output.
    pub log: LogSpan,
    /// What its script used, if it was started.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// AWS calls that failed while it ran, each kind once.
    #[serde(default)]
    pub failed_calls: Vec<FailedCall>,
}

/// One task as readers see it; untouched tasks look like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Which task.
    pub position: u64,
    /// Where it stands. Pending tasks of a closed array are shown closed.
    pub state: TaskState,
    /// Executions so far. 0: never run.
    pub attempt: u32,
    /// The newest lease's token.
    pub token: Token,
    /// The agent of the newest attempt.
    pub agent: Option<AgentId>,
    /// When the newest attempt was claimed or, once committed, when its script started.
    pub started_at: Option<UnixMicros>,
    /// When the newest attempt ended.
    pub ended_at: Option<UnixMicros>,
    /// Not claimable before, see [`spawn_core::task::is_due`].
    pub not_before: UnixMicros,
    /// What has been spent of the retry budgets.
    pub spent: Spent,
    /// How the newest attempt ended, `None` while it runs; for a task that its array's closing
    /// ended, what the closing says.
    pub ending: Option<Ending>,
    /// The newest attempt's output, once committed.
    pub log: Option<LogSpan>,
    /// What the newest attempt used, once committed.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// AWS calls that failed during the newest attempt, once committed.
    #[serde(default)]
    pub failed_calls: Vec<FailedCall>,
}

/// One execution of a task, as history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Which execution, 1-based.
    pub attempt: u32,
    /// Its agent.
    pub agent: AgentId,
    /// When it was claimed or started.
    pub started_at: UnixMicros,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<UnixMicros>,
    /// How it ended; `None` while it runs.
    pub ending: Option<Ending>,
    /// Its output; `None` if its agent could not say.
    pub log: Option<LogSpan>,
    /// What its script used; `None` if its agent could not say.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// AWS calls that failed while it ran.
    #[serde(default)]
    pub failed_calls: Vec<FailedCall>,
}

/// Which tasks run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reopen {
    /// Every failed one, those too that the array's deadline ended.
    Failed,
    /// Those at these positions, however they ended. Tasks that have not ended, and positions
    /// outside the array, are passed over.
    Positions(IndexSet),
}

/// Which tasks to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuery {
    /// First position to consider.
    pub from: u64,
    /// At most this many rows, in order of position.
    pub limit: u32,
    /// Only tasks in this state.
    pub state: Option<TaskState>,
}

/// What can go wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The id is taken.
    #[error("array `{0}` exists already")]
    Duplicate(ArrayId),
    /// No such array.
    #[error("no array `{0}`")]
    UnknownArray(ArrayId),
    /// The array is there, the lane is not.
    #[error("array `{array}` has no lane {lane}")]
    UnknownLane {
        /// The array.
        array: ArrayId,
        /// What was asked for, 0-based.
        lane: u32,
    },
    /// No such agent, or it has ended.
    #[error("agent {} is not enrolled", .0.0)]
    UnknownAgent(AgentId),
    /// The record cannot be read or written now; the same call may succeed later.
    #[error("{what}")]
    Unavailable {
        /// What was attempted and what the storage said.
        what: String,
        /// The storage's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The record cannot be read or written.
    #[error("{what}")]
    Storage {
        /// What was attempted and what the storage said.
        what: String,
        /// The storage's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// The random number that spreads the backoff of one attempt, the same in every adapter.
///
/// One step of SplitMix64 over token, position and attempt: no source of randomness is needed,
/// and no two tasks of one claim get the same number.
pub fn dice(token: Token, position: u64, attempt: u32) -> u64 {
    let mut z = token
        .0
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(position.wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(u64::from(attempt) << 32);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The durable record. Calls are short and may be grouped by the adapter; times are handed in.
pub trait Ledger {
    /// Records a new array with all its tasks pending. An array without tasks is refused.
    fn submit(&mut self, array: &NewArray, now: UnixMicros) -> Result<(), LedgerError>;

    /// One array.
    fn array(&mut self, id: &ArrayId) -> Result<Option<ArrayRecord>, LedgerError>;

    /// The newest arrays first, at most `limit`.
    fn arrays(&mut self, limit: u32) -> Result<Vec<ArrayRecord>, LedgerError>;

    /// Every array that has a pending or running task, oldest first.
    fn unfinished(&mut self) -> Result<Vec<ArrayRecord>, LedgerError>;

    /// Enrols an agent. A lane that the array has not is [`LedgerError::UnknownLane`].
    fn enroll(&mut self, agent: &NewAgent, now: UnixMicros) -> Result<AgentId, LedgerError>;

    /// Every agent an array ever had, newest first, at most `limit`.
    fn agents(&mut self, array: &ArrayId, limit: u32) -> Result<Vec<AgentRecord>, LedgerError>;

    /// One agent; `None` if it never enrolled.
    fn agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>, LedgerError>;

    /// Every agent that has not ended, of all arrays, oldest first.
    fn live_agents(&mut self) -> Result<Vec<AgentRecord>, LedgerError>;

    /// Leases up to `want` tasks of its lane to `agent`: those handed back and due first
    /// ([`spawn_core::task::is_due`]), then those never claimed in order of position. Those handed
    /// back come by [`TaskRow::not_before`], then by position. A closed array gives an empty claim.
    fn claim(&mut self, agent: AgentId, want: u32, now: UnixMicros) -> Result<Claim, LedgerError>;

    /// Commits outcomes. One answer for each, in order; a refused one changes nothing and does
    /// not hold up the others. An ended agent is refused by token, not with an error; its record
    /// stays as it ended. A position outside the array is refused as an untouched task is.
    fn commit(
        &mut self,
        agent: AgentId,
        commits: &[Commit],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError>;

    /// Hands back tasks that were claimed and not started. Answers as [`Ledger::commit`] does.
    fn release(
        &mut self,
        agent: AgentId,
        token: Token,
        positions: &[u64],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError>;

    /// Ends an agent that is gone or leaves. Every lease it still holds is void: those tasks end
    /// their attempt with cause *worker lost*. Gives their positions, in order. Idempotent: a
    /// second call gives none.
    fn end_agent(&mut self, agent: AgentId, now: UnixMicros) -> Result<Vec<u64>, LedgerError>;

    /// Closes an array, for any intent but [`Intent::Run`]. Pending tasks are closed at
    /// once, running ones keep their leases. The first closing stands; closing an array that has
    /// ended changes nothing.
    fn close(
        &mut self,
        id: &ArrayId,
        intent: Intent,
        now: UnixMicros,
    ) -> Result<ArrayRecord, LedgerError>;

    /// Moves the deadline of an array, and gives the array. Of one that has ended or is closed
    /// nothing changes.
    fn extend(&mut self, id: &ArrayId, deadline: UnixMicros) -> Result<ArrayRecord, LedgerError>;

    /// Has ended tasks run again ([`spawn_core::task::Event::Reopen`]) and gives how many. The
    /// array is open again ([`Intent::Run`], no end) with this deadline, and tasks that its closing
    /// ended and that are not reopened keep the state and cause that it gave them. If no task is to
    /// be reopened, nothing changes at all. A reopened task is handed back and due; one that was
    /// never claimed is as one never touched.
    fn reopen(
        &mut self,
        id: &ArrayId,
        which: &Reopen,
        deadline: UnixMicros,
        now: UnixMicros,
    ) -> Result<u64, LedgerError>;

    /// One task; `None` if the position is not in the array.
    fn task(&mut self, id: &ArrayId, position: u64) -> Result<Option<TaskRow>, LedgerError>;

    /// Tasks in order of position, as if every task had a row.
    fn tasks(&mut self, id: &ArrayId, query: TaskQuery) -> Result<Vec<TaskRow>, LedgerError>;

    /// Every attempt of a task, oldest first.
    fn attempts(&mut self, id: &ArrayId, position: u64) -> Result<Vec<AttemptRow>, LedgerError>;

    /// Tasks that failed most recently, newest first (by end, then position). Tasks that their
    /// array's closing ended are not among them. Must not walk the tasks that did not fail.
    fn recent_failures(&mut self, id: &ArrayId, limit: u32) -> Result<Vec<TaskRow>, LedgerError>;

    /// Succeeded tasks whose newest attempt had [`TaskRow::failed_calls`], in order of position.
    /// Must not walk the others.
    fn doubtful_successes(&mut self, id: &ArrayId, limit: u32)
    -> Result<Vec<TaskRow>, LedgerError>;
}
