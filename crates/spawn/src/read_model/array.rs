//! An array: its tasks by state, its workers, its failures.

use serde::{Deserialize, Serialize, Serializer};
use spawn_core::array_id::ArrayId;
use spawn_core::counts::{ArrayState, Counts, eta_seconds};
use spawn_core::failure_groups::{CallGroup, FailureGroup};
use spawn_core::max_failures::MaxFailures;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::Progress;
use spawn_core::outcome::StopCause;
use spawn_core::task::Intent;
use spawn_local::wire::client::{ArrayStatus, Lessened, Queued, WorkerStatus};
use spawn_ports::ledger::ArrayRecord;

use super::{Indices, Stamp, TaskView};

/// Tasks by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountsView(pub Counts);

impl Serialize for CountsView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            total: u64,
            #[serde(flatten)]
            by_state: Counts,
        }
        Shown {
            total: self.0.total(),
            by_state: self.0,
        }
        .serialize(serializer)
    }
}

/// An array in a list.
#[derive(Clone, Debug, Serialize)]
pub struct ArrayLine {
    /// Its id.
    pub array_id: ArrayId,
    /// Its name.
    pub name: String,
    /// Where its workers come from: `local` or `ec2`.
    pub provider: &'static str,
    /// The AWS region it runs in, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its state, as one word.
    pub state: ArrayState,
    /// Its tasks by state.
    pub counts: CountsView,
    /// Attempts that ended interrupted, so far.
    pub interrupted: u64,
    /// Attempts whose worker was lost, so far.
    pub workers_lost: u64,
    /// When it was launched.
    pub created_at: Stamp,
    /// When its first task was claimed.
    pub started_at: Option<Stamp>,
    /// When its last task ended.
    pub ended_at: Option<Stamp>,
    /// When it ends whatever happens.
    pub deadline: Stamp,
}

impl ArrayLine {
    /// A record of the ledger, read.
    pub fn new(record: &ArrayRecord) -> ArrayLine {
        let region = region(record);
        ArrayLine {
            array_id: record.submitted.id.clone(),
            name: record.submitted.name.clone(),
            provider: if region.is_some() { "ec2" } else { "local" },
            region,
            state: ArrayState::of(&record.counts, record.intent),
            counts: CountsView(record.counts),
            interrupted: record.interrupted,
            workers_lost: record.workers_lost,
            created_at: Stamp(record.created_at),
            started_at: record.started_at.map(Stamp),
            ended_at: record.ended_at.map(Stamp),
            deadline: Stamp(record.submitted.deadline),
        }
    }

    /// Seconds from the first claim to the end, or to `now`.
    pub fn seconds(&self, now: Stamp) -> Option<f64> {
        let started = self.started_at?;
        Some(self.ended_at.unwrap_or(now).seconds_since(started))
    }
}

/// The region in which an array's machines were made, if they are not this one.
fn region(record: &ArrayRecord) -> Option<String> {
    #[derive(Deserialize)]
    struct Placed {
        machines: Option<Machines>,
    }
    #[derive(Deserialize)]
    struct Machines {
        region: String,
    }
    let placed: Placed = serde_json::from_str(&record.submitted.spec).ok()?;
    placed.machines.map(|machines| machines.region)
}

/// One array as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct ArrayView {
    /// What a list shows of it.
    #[serde(flatten)]
    pub line: ArrayLine,
    /// Seconds until it ends, at the pace so far.
    pub eta_seconds: Option<u64>,
    /// Why nothing is being started, if so.
    pub held_up: Option<String>,
    /// For whom it waits, if it could run tasks and has no core.
    pub queued: Option<Queued>,
    /// Processes of its tasks that were killed and have not gone.
    pub stuck: Vec<StuckView>,
    /// Set where its tasks are kept apart less than was asked for.
    pub lessened: Option<Lessened>,
    /// Who works for it now.
    pub workers: Vec<WorkerView>,
    /// The newest failures.
    pub failures: Vec<TaskView>,
    /// Failures by what they have in common, the largest group first; examples are indices.
    pub failure_groups: Vec<FailureGroup>,
    /// How many of the newest failures were looked at for that.
    pub failures_grouped: u64,
    /// AWS calls that failed in tasks which succeeded; examples are indices.
    pub failed_calls: Vec<CallGroup>,
    /// What is wanted of the array.
    pub intent: Intent,
    /// The most tasks that may fail before nothing more is started.
    pub max_failures: Option<MaxFailures>,
    /// The host's clock.
    #[serde(skip)]
    pub now: Stamp,
}

impl ArrayView {
    /// The host's answer, read.
    pub fn new(status: &ArrayStatus) -> ArrayView {
        let line = ArrayLine::new(&status.record);
        let indices = Indices::of(&status.record);
        let now = UnixMicros(status.now);
        let counts = &status.record.counts;
        let eta = match (status.record.started_at, status.record.intent) {
            (Some(start), Intent::Run) if !counts.all_ended() => {
                eta_seconds(counts, now.micros_since(start))
            }
            // Of tasks that were cancelled nothing follows for the rest.
            _ => None,
        };
        let is_on_ec2 = line.region.is_some();
        ArrayView {
            line,
            eta_seconds: eta,
            held_up: status.held_up.clone(),
            queued: status.queued.clone(),
            stuck: status
                .stuck
                .iter()
                .map(|process| StuckView {
                    pid: process.pid,
                    name: process.name.clone(),
                    task: process.position.map(|position| indices.at(position)),
                })
                .collect(),
            lessened: status.lessened.clone(),
            workers: status
                .workers
                .iter()
                .map(|worker| WorkerView::new(worker, &indices, is_on_ec2))
                .collect(),
            failures: status
                .failures
                .iter()
                .map(|row| TaskView::new(row, &indices))
                .collect(),
            failure_groups: status
                .failure_groups
                .iter()
                .map(|group| FailureGroup {
                    examples: indices.all_at(&group.examples),
                    ..group.clone()
                })
                .collect(),
            failures_grouped: status.failures_grouped,
            failed_calls: status
                .call_groups
                .iter()
                .map(|group| CallGroup {
                    examples: indices.all_at(&group.examples),
                    ..group.clone()
                })
                .collect(),
            intent: status.record.intent,
            max_failures: indices.max_failures(),
            now: Stamp(now),
        }
    }

    /// Whether nothing will change any more.
    pub fn has_ended(&self) -> bool {
        self.line.counts.0.all_ended()
    }

    /// Whether it ended with every task succeeded or skipped.
    pub fn is_well(&self) -> bool {
        self.line.counts.0.all_well()
    }
}

/// A process that was killed and has not gone.
#[derive(Clone, Debug, Serialize)]
pub struct StuckView {
    /// Its process id on this machine.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
    /// The index of the task that it was part of, if that is known.
    pub task: Option<u64>,
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// Its slot.
    pub worker: u32,
    /// The EC2 machine that it is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The host name its task sees; none for a worker between two sandboxes.
    pub hostname: Option<String>,
    /// The index of the task it has been running for a while, if any.
    pub task: Option<u64>,
    /// Which execution of that task it is.
    pub attempt: Option<u32>,
    /// When that task started.
    pub task_started_at: Option<Stamp>,
    /// Tasks it has finished.
    pub tasks_done: u64,
    /// When it started.
    pub started_at: Stamp,
    /// When it was last heard.
    pub last_update: Stamp,
    /// How far its task says it has come.
    pub progress: Option<Progress>,
    /// Memory of its task's processes, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processors at work for its task.
    pub cpus: Option<f64>,
    /// Why its script is being stopped, if it is.
    pub stopping: Option<StopCause>,
    /// When everything of its task is killed, if it is being stopped.
    pub kill_at: Option<Stamp>,
}

impl WorkerView {
    fn new(status: &WorkerStatus, indices: &Indices, is_on_ec2: bool) -> WorkerView {
        let running = status.running;
        let slot = status.agent.enrolled.slot;
        WorkerView {
            worker: slot,
            machine: is_on_ec2.then(|| status.agent.enrolled.hostname.clone()),
            hostname: running
                .map(|task| indices.worker(task.position, slot))
                .or_else(|| indices.kept_worker(slot)),
            task: running.map(|task| indices.at(task.position)),
            attempt: running.map(|task| task.attempt),
            task_started_at: running.map(|task| Stamp(UnixMicros(task.since))),
            tasks_done: status.agent.tasks_done,
            started_at: Stamp(status.agent.started_at),
            last_update: Stamp(status.agent.last_update),
            progress: running.and_then(|task| task.progress),
            memory_bytes: running.and_then(|task| Some(task.load?.memory_bytes)),
            stopping: running.and_then(|task| Some(task.stopping?.cause)),
            kill_at: running
                .and_then(|task| Some(Stamp(UnixMicros(task.stopping?.kill_at_ms * 1000)))),
            cpus: running.and_then(|task| Some(task.load?.milli_cpus as f64 / 1000.0)),
        }
    }
}
