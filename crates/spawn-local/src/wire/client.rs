//! Between a `spawn` command and the host.

use serde::{Deserialize, Serialize};
use spawn_core::array_id::ArrayId;
use spawn_core::failure_groups::{CallGroup, FailureGroup};
use spawn_core::observed::Progress;
use spawn_core::outcome::StopCause;
use spawn_core::task::Intent;
use spawn_ports::ledger::{
    AgentRecord, ArrayRecord, AttemptRow, NewArray, Reopen, TaskQuery, TaskRow,
};

use crate::wire::agent::{Isolation, Load, Stopping};

/// From a command. Each gets one [`Answer`], but for [`Request::Wait`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who is there?
    Hello {
        /// The protocol the command speaks.
        protocol: u32,
        /// The command's version.
        version: String,
    },
    /// Start an array whose files are in place.
    Submit {
        /// The array; its spec is a [`crate::submission::Submission`].
        array: Box<NewArray>,
    },
    /// Which array is meant by an id, the start of one, a name, or `last`?
    Resolve {
        /// What was typed.
        typed: String,
    },
    /// The newest arrays.
    Arrays {
        /// At most this many.
        limit: u32,
    },
    /// One array as it stands.
    Status {
        /// Which.
        id: ArrayId,
    },
    /// One array now and whenever it has changed; the last answer is the ended array.
    Wait {
        /// Which.
        id: ArrayId,
    },
    /// A page of tasks.
    Tasks {
        /// Of which array.
        id: ArrayId,
        /// Which.
        query: TaskQuery,
    },
    /// All attempts of a task.
    Attempts {
        /// Of which array.
        id: ArrayId,
        /// Which task.
        position: u64,
    },
    /// Everything about one task.
    Explain {
        /// Of which array.
        id: ArrayId,
        /// Which task.
        position: u64,
    },
    /// Play a spot interruption of the worker that runs a task.
    Interrupt {
        /// Of which array; any, if a worker is named.
        id: Option<ArrayId>,
        /// Which worker.
        which: Interrupted,
        /// Milliseconds that its script gets.
        notice_ms: u64,
    },
    /// Give an array more time.
    Extend {
        /// Which.
        id: ArrayId,
        /// How much, in milliseconds.
        by_ms: u64,
    },
    /// Run ended tasks again.
    Retry {
        /// Of which array.
        id: ArrayId,
        /// Which tasks.
        which: Reopen,
        /// How long the array may live from now if it is not open any more; as it was launched, if
        /// not given. Milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Cancel an array, or call it expired.
    Close {
        /// Which.
        id: ArrayId,
        /// What is wanted of it now.
        intent: Intent,
        /// Milliseconds that running scripts get.
        notice_ms: u64,
    },
    /// Which of these S3 buckets of the embedded endpoint do not exist?
    MissingBuckets {
        /// Bucket names.
        names: Vec<String>,
    },
    /// How the host is.
    Host,
    /// End the host. Running tasks go back to the ledger.
    Shutdown,
}

/// To a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Answers `Hello` and `Host`.
    Host(HostInfo),
    /// Done.
    Done,
    /// Answers `Resolve`: all arrays that match, newest first, ten at most.
    Matches(Vec<ArrayId>),
    /// Answers `Arrays`.
    Arrays(Vec<ArrayRecord>),
    /// Answers `Status` and `Wait`.
    Status(Box<ArrayStatus>),
    /// Answers `Tasks`.
    Tasks(Vec<TaskLine>),
    /// Answers `Attempts`.
    Attempts(Vec<AttemptRow>),
    /// Answers `Explain`.
    Story(Box<Story>),
    /// Answers `Interrupt`: the worker that was told.
    Told(ToldWorker),
    /// Answers `Extend`.
    Extended {
        /// The array with its new deadline.
        record: Box<ArrayRecord>,
        /// Scripts that had been told before that their time is over.
        too_late: u32,
    },
    /// Answers `Retry`: how many tasks run again.
    Reopened(u64),
    /// Answers `MissingBuckets`.
    Buckets(Vec<String>),
    /// It could not be done.
    Refused {
        /// What kind of refusal.
        kind: Refusal,
        /// What to tell the user.
        message: String,
    },
}

/// Kinds of refusal, each with an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such array or task.
    NotFound,
    /// The host failed.
    Failed,
    /// The home cannot be written to, and it would have to be.
    ReadOnly,
    /// The two do not speak the same protocol.
    Protocol,
}

/// The host, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// The protocol it speaks.
    pub protocol: u32,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started: microseconds since 1970.
    pub started_at: i64,
    /// The endpoint's port on 127.0.0.1.
    pub endpoint_port: u16,
    /// Agents at work.
    pub agents: u32,
    /// Arrays with unfinished tasks.
    pub unfinished: u32,
    /// Whether workers can be given the memory and processors of an instance type.
    pub limits: bool,
    /// How far tasks are kept apart, once that was tried.
    pub isolation: Option<Isolation>,
    /// What the user is to know of the home, said to the first command that greets a host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Set where that is less than was asked for.
    pub lessened: Option<Lessened>,
}

/// One array as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArrayStatus {
    /// The ledger's record.
    pub record: ArrayRecord,
    /// Agents at work for it.
    pub workers: Vec<WorkerStatus>,
    /// The newest failures.
    pub failures: Vec<TaskLine>,
    /// The failures of the last while by what they have in common, the largest group first.
    pub failure_groups: Vec<FailureGroup>,
    /// How many of the newest failures were looked at for that.
    pub failures_grouped: u64,
    /// AWS calls that failed in tasks which succeeded, by what they have in common.
    pub call_groups: Vec<CallGroup>,
    /// Why nothing is being started, if so.
    pub held_up: Option<String>,
    /// For whom it waits, if it could run tasks and has no core.
    pub queued: Option<Queued>,
    /// Processes of its tasks that were killed and have not gone.
    pub stuck: Vec<StuckProcess>,
    /// Set where its tasks are kept apart less than was asked for.
    pub lessened: Option<Lessened>,
    /// The host's clock: microseconds since 1970.
    pub now: i64,
}

/// For whom an array waits that shares the machine with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// How many tasks run at once.
    pub cores: u32,
    /// Whether that is because tasks cannot be kept apart here.
    pub one_at_a_time: bool,
    /// The arrays whose tasks run, those with most slots first; the first few.
    pub holders: Vec<Holder>,
    /// How many more there are.
    pub more_holders: u32,
    /// How many other arrays wait as well.
    pub also_waiting: u32,
}

/// A process that was killed and has not gone: the kernel does not let go of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckProcess {
    /// Its process id on this machine.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
    /// The task that it was part of, if that is known.
    pub position: Option<u64>,
}

/// Less isolation than was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lessened {
    /// What was asked for.
    pub wanted: Isolation,
    /// What can be had.
    pub reached: Isolation,
    /// Why not more.
    pub why: String,
}

/// An array whose tasks run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which.
    pub array: ArrayId,
    /// Its name.
    pub name: String,
    /// How many slots it has.
    pub slots: u32,
}

/// A task, and where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskLine {
    /// The ledger's row.
    #[serde(flatten)]
    pub row: TaskRow,
    /// The slot of the newest attempt's agent.
    pub slot: Option<u32>,
}

/// One agent at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The ledger's record.
    pub agent: AgentRecord,
    /// The task it has been running for a while, if any.
    pub running: Option<RunningTask>,
}

/// A task at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    /// Which task.
    pub position: u64,
    /// Which execution of it.
    pub attempt: u32,
    /// Where its output begins in the agent's log.
    pub log_offset: u64,
    /// When it started: microseconds since 1970.
    pub since: i64,
    /// What it said with `spored progress`.
    pub progress: Option<Progress>,
    /// What it used when that was last looked at.
    pub load: Option<Load>,
    /// Its stop, if it is being stopped.
    pub stopping: Option<Stopping>,
}

/// Which worker is interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interrupted {
    /// The one of this name.
    Worker(String),
    /// The one that runs the task at this position.
    Position(u64),
}

/// A worker that was told of its interruption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldWorker {
    /// The array it serves.
    pub array: ArrayId,
    /// Its slot.
    pub slot: u32,
    /// The task that it runs, if it is known.
    pub position: Option<u64>,
    /// When everything of it is killed at the latest: milliseconds since 1970.
    pub kill_at_ms: i64,
    /// Why it was being stopped already, if it was.
    pub already: Option<StopCause>,
    /// Whether its task is given another attempt.
    pub runs_again: bool,
}

/// Everything about one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Its array.
    pub record: ArrayRecord,
    /// The task.
    pub task: TaskLine,
    /// Its attempts, oldest first, each with the slot of its worker.
    pub attempts: Vec<(AttemptRow, Option<u32>)>,
    /// What its worker last said of it, if it runs.
    pub running: Option<RunningTask>,
    /// Why it is not running yet, if it waits.
    pub waiting: Option<Waiting>,
    /// The host's clock: microseconds since 1970.
    pub now: i64,
}

/// Why a pending task does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// It failed, and is tried again later.
    Backoff {
        /// When: microseconds since 1970.
        until: i64,
    },
    /// No worker is free.
    Workers {
        /// Workers at work for the array.
        at_work: u32,
        /// For whom the array waits, if it has no core.
        #[serde(skip_serializing_if = "Option::is_none")]
        queued: Option<Queued>,
    },
    /// Nothing is started now.
    HeldUp {
        /// Why.
        why: String,
    },
    /// So little is left of the TTL that nothing is started any more.
    RunningOut,
}
