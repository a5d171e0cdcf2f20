//! The whole story of one task.

use serde::Serialize;
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::{Budgets, Spent};
use spawn_core::moment::UnixMicros;
use spawn_core::observed::{FailedCall, Progress};
use spawn_core::outcome::{Cause, StopCause};
use spawn_core::task::Intent;
use spawn_local::home::Home;
use spawn_local::wire::agent::Load;
use spawn_local::wire::client::{Story, Waiting};
use spawn_ports::ledger::AttemptRow;

use super::{Indices, Stamp, TaskView};

/// One task: what it was given, every attempt, what may still happen.
#[derive(Debug, Serialize)]
pub struct StoryView {
    /// Its array.
    pub array_id: ArrayId,
    /// The array's name.
    pub array_name: String,
    /// Where it stands now.
    #[serde(flatten)]
    pub task: TaskView,
    /// What its row of the parameter file gives it, as the file has it.
    pub parameters: Vec<(String, String)>,
    /// When the array was launched.
    pub launched_at: Stamp,
    /// When the array ends whatever happens.
    pub deadline: Stamp,
    /// What is wanted of the array.
    pub intent: Intent,
    /// All attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What has been spent of each retry budget, of those that allow or have seen something.
    pub retries: Vec<BudgetView>,
    /// How far it says it has come, if it runs.
    pub progress: Option<Progress>,
    /// What it uses, if it runs.
    pub load: Option<Load>,
    /// Why it is being stopped, if it is.
    pub stopping: Option<StopCause>,
    /// When everything of it is killed, if it is being stopped.
    pub kill_at: Option<Stamp>,
    /// Why it does not run, if it waits.
    pub waiting: Option<Waiting>,
    /// The host's clock.
    #[serde(skip)]
    pub now: Stamp,
}

/// One execution.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    /// Which, from 1.
    pub attempt: u32,
    /// Its worker.
    pub worker: Option<String>,
    /// When it was claimed or, once ended, when its script started.
    pub started_at: Stamp,
    /// When it ended.
    pub ended_at: Option<Stamp>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// The script's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the script, if one did.
    pub signal: Option<i32>,
    /// What the script or the agent said about it.
    pub message: Option<String>,
    /// The last line of its standard error, if it ended badly.
    pub last_stderr: Option<String>,
    /// Largest memory of any of its processes, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Processor time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// AWS calls that failed.
    pub failed_calls: Vec<FailedCall>,
    /// Bytes of output that are kept.
    pub output_bytes: Option<u64>,
}

/// One retry budget.
#[derive(Debug, Serialize)]
pub struct BudgetView {
    /// After which end of an attempt.
    pub cause: Cause,
    /// Further attempts it has been given.
    pub spent: u32,
    /// Further attempts it may be given in all.
    pub allowed: u32,
}

impl StoryView {
    /// The host's answer, read.
    pub fn new(story: Story, home: &Home) -> StoryView {
        let record = &story.record;
        let indices = Indices::with_rows(record, home);
        let position = story.task.row.position;
        let row = indices.row(indices.at(position));
        let stopping = story.running.and_then(|running| running.stopping);
        StoryView {
            array_id: record.submitted.id.clone(),
            array_name: record.submitted.name.clone(),
            parameters: row.map_or_else(Vec::new, |row| row.params),
            launched_at: Stamp(record.created_at),
            deadline: Stamp(record.submitted.deadline),
            intent: record.intent,
            retries: budgets(&story.task.row.spent, &record.submitted.budgets),
            attempts: story
                .attempts
                .into_iter()
                .map(|(attempt, slot)| {
                    let worker = slot.map(|slot| indices.worker(position, slot));
                    AttemptView::new(attempt, worker)
                })
                .collect(),
            progress: story.running.and_then(|running| running.progress),
            load: story.running.and_then(|running| running.load),
            stopping: stopping.map(|stop| stop.cause),
            kill_at: stopping.map(|stop| Stamp(UnixMicros(stop.kill_at_ms * 1000))),
            waiting: story.waiting,
            now: Stamp(UnixMicros(story.now)),
            task: TaskView::new(&story.task, &indices),
        }
    }
}

impl AttemptView {
    fn new(row: AttemptRow, worker: Option<String>) -> AttemptView {
        let (started_at, ended_at) = (Stamp(row.started_at), row.ended_at.map(Stamp));
        let ending = row.ending;
        let of_ending = ending.clone();
        AttemptView {
            attempt: row.attempt,
            worker,
            started_at,
            ended_at,
            seconds: ended_at.map(|end| end.seconds_since(started_at)),
            cause: ending.as_ref().map(|e| e.cause),
            exit_code: ending.as_ref().and_then(|e| e.exit_code),
            signal: ending.as_ref().and_then(|e| e.signal),
            message: ending.and_then(|e| e.message),
            last_stderr: of_ending.and_then(|e| e.last_stderr),
            peak_memory_bytes: row.usage.map(|usage| usage.peak_memory_bytes),
            cpu_seconds: row
                .usage
                .map(|usage| (usage.cpu_micros / 1000) as f64 / 1000.0),
            failed_calls: row.failed_calls,
            output_bytes: row.log.map(|log| log.len),
        }
    }
}

fn budgets(spent: &Spent, allowed: &Budgets) -> Vec<BudgetView> {
    [
        (Cause::Exit, spent.exit, allowed.exit),
        (Cause::Timeout, spent.timeout, allowed.timeout),
        (
            Cause::OutOfMemory,
            spent.out_of_memory,
            allowed.out_of_memory,
        ),
        (Cause::Interrupted, spent.interrupted, allowed.interrupted),
        (Cause::WorkerLost, spent.worker_lost, allowed.worker_lost),
        (
            Cause::LaunchFailed,
            spent.launch_failed,
            allowed.launch_failed,
        ),
    ]
    .into_iter()
    .map(|(cause, spent, allowed)| BudgetView {
        cause,
        spent,
        allowed,
    })
    .collect()
}
