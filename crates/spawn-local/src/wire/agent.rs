//! Between an agent and the host.
//!
//! An agent waits for its [`ToAgent::Job`], builds its sandbox ([`FromAgent::Built`]), and from
//! then on takes turns: each turn carries the outcomes it has and asks for more tasks. The host answers
//! each turn once, when there is something to claim or nothing more to wait for.

use serde::{Deserialize, Serialize};
use spawn_core::array_id::ArrayId;
use spawn_core::index_set::IndexSet;
use spawn_core::observed::Progress;
use spawn_core::outcome::StopCause;
use spawn_core::task::Token;
use spawn_ports::ledger::{AgentId, Claim, Commit};

use crate::sandbox::limits::Group;

/// How far a worker's tasks are kept apart from the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing private; stray processes are hunted by parentage.
    Shared,
    /// Private `/tmp`, own mounts and host name; stray processes are hunted by parentage.
    Mounts,
    /// Private `/tmp`, own mounts, host name and process ids.
    Full,
}

/// What `spored probe` prints, as JSON: whether tasks can be kept apart this far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    /// They can.
    Yes,
    /// They cannot.
    No {
        /// Why.
        why: String,
    },
    /// The machine is out of something: it cannot be told now.
    Short {
        /// Of what, and for what.
        why: String,
    },
}

/// From an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromAgent {
    /// Its sandbox is built; sent once, before the first turn.
    Built {
        /// How far it could isolate its tasks.
        isolation: Isolation,
    },
    /// Outcomes, and a wish for more.
    Turn {
        /// What ended since the last turn.
        commits: Vec<Commit>,
        /// How many tasks to claim. 0: only commit.
        want: u32,
        /// Whether a task runs, so that these would wait for it.
        ahead: bool,
    },
    /// Claimed tasks that were not started and will not be soon.
    Release {
        /// Their token.
        token: Token,
        /// Which tasks.
        positions: Vec<u64>,
    },
    /// A task that has run for a while, so that people can watch it; again whenever there is
    /// news of it.
    Running {
        /// Which task.
        position: u64,
        /// Which execution of it.
        attempt: u32,
        /// Where its output begins in the agent's log.
        log_offset: u64,
        /// What it said with `spored progress`.
        progress: Option<Progress>,
        /// What it uses at this moment, once that was looked at.
        load: Option<Load>,
        /// Its stop, if it is being stopped.
        stopping: Option<Stopping>,
        /// How long until its own time limit has ended it at the latest, in milliseconds, if it has one.
        timeout_in_ms: Option<u64>,
    },
    /// Nothing new; it is still there.
    Heartbeat,
    /// A piece of the array's files is missing: none of its tasks can run.
    Missing {
        /// Which.
        why: String,
    },
    /// Processes were killed and have not gone: the kernel holds them. The agent leaves.
    Stuck {
        /// The task they belong to.
        position: Option<u64>,
        /// They.
        processes: Vec<LeftProcess>,
    },
    /// The agent cannot go on.
    Broken {
        /// Why.
        why: String,
    },
    /// The machine is out of something that the agent needs; another may have more luck later.
    Short {
        /// Of what, and for what.
        why: String,
    },
}

/// A process that was killed and has not gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftProcess {
    /// Its process id on this machine.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// What the kernel calls it.
    pub name: String,
}

/// A stop that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Why.
    pub cause: StopCause,
    /// When everything is killed: milliseconds since 1970.
    pub kill_at_ms: i64,
}

/// What a task's processes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Resident memory of all of them, in bytes.
    pub memory_bytes: u64,
    /// Processors at work for them since the last look, in thousandths of one.
    pub milli_cpus: u64,
}

/// To an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAgent {
    /// What it is to do.
    Job(Box<Job>),
    /// The answer to a turn with `want` > 0. Empty only if it asked ahead and few tasks are left:
    /// it asks again when it has nothing to do.
    Claimed(Claim),
    /// The answer to a turn when nothing is left for this agent: it leaves.
    Retire,
    /// Stop what runs.
    Stop {
        /// Why.
        cause: StopCause,
        /// Milliseconds until everything is killed.
        notice_ms: u64,
        /// Only if this task runs; otherwise whatever runs, and nothing is started any more.
        position: Option<u64>,
    },
    /// The worker may live longer.
    Extend {
        /// How much, in milliseconds.
        by_ms: u64,
    },
}

/// Everything an agent has to know to serve an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The array.
    pub array: ArrayId,
    /// Its name.
    pub name: String,
    /// The tasks of this agent's lane, in order of their positions.
    pub indices: IndexSet,
    /// The position of the first of them.
    pub first_position: u64,
    /// How many tasks the array has.
    pub total: u64,
    /// The file with the rows of the array's tasks, if they have any.
    pub rows: Option<String>,
    /// This agent's enrolment.
    pub agent: AgentId,
    /// Its slot in the array.
    pub slot: u32,
    /// Whether each task gets a fresh sandbox, or the sandbox serves one task after another.
    pub fresh: bool,
    /// The program and its first arguments. A first word without `/` is looked up on the task's PATH.
    pub argv: Vec<String>,
    /// The script's file name, run as the last word of `argv`; `None` for a command.
    pub script: Option<String>,
    /// Shipped files, relative to the job's `files` directory.
    pub shipped: Vec<String>,
    /// Variables every task gets: the launching shell's few, the endpoint's, and `--env`.
    pub env: Vec<(String, String)>,
    /// The launching shell's PATH.
    pub path: String,
    /// The longest one attempt runs, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How long the array may live from now, in milliseconds.
    pub ttl_ms: u64,
    /// How long the worker may live, if that may be less, in milliseconds: a fresh sandbox from the
    /// start of its task, one that is kept from now.
    pub worker_ttl_ms: Option<u64>,
    /// How long before that scripts are told, in milliseconds.
    pub ttl_notice_ms: u64,
    /// An agent with nothing to say says so this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// The launching shell's file creation mask.
    pub umask: u32,
    /// How many files a task may have open, as the user's shell has it.
    pub open_files: u64,
    /// Whether each outcome is to be known before another task is claimed.
    pub one_by_one: bool,
    /// Whether output and outcomes survive a loss of power.
    pub durable: bool,
    /// The control group to live in, if the worker has limits.
    pub group: Option<Group>,
    /// The array's files.
    pub job_dir: String,
    /// This worker's directories.
    pub worker_dir: String,
    /// Programs for scripts.
    pub bin_dir: String,
    /// This agent's log.
    pub log: String,
    /// The most isolation to try for.
    pub isolation: Isolation,
    /// What is missing of the array's files, if something is: its tasks fail for that reason.
    pub missing: Option<String>,
}
