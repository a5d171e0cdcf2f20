//! A task, by the index its user knows.

use serde::Serialize;
use spawn_core::index_set::IndexSet;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_local::submission::Submission;
use spawn_local::wire::client::TaskLine;
use spawn_local::worker_name;
use spawn_ports::ledger::ArrayRecord;

use super::Stamp;

/// What an array calls its tasks and workers: the ledger counts positions and slots, its user
/// knows indices and names.
#[derive(Clone, Debug)]
pub struct Indices {
    set: Option<IndexSet>,
    name: String,
    fresh: bool,
}

impl Indices {
    /// The indices of a recorded array. One whose spec cannot be read is counted by positions.
    pub fn of(record: &ArrayRecord) -> Indices {
        let submission: Option<Submission> = serde_json::from_str(&record.submitted.spec).ok();
        let launch = submission.map(|s| s.launch);
        Indices {
            name: record.submitted.name.clone(),
            fresh: launch.as_ref().is_none_or(|l| l.workers.is_none()),
            set: launch.map(|l| l.indices),
        }
    }

    /// The name of the worker that runs the task at `position` in `slot`: what `TASK_WORKER` says.
    pub fn worker(&self, position: u64, slot: u32) -> String {
        match self.fresh {
            true => worker_name::of_task(&self.name, self.at(position)),
            false => worker_name::of_slot(&self.name, slot),
        }
    }

    /// The name of the worker in `slot` if it has one whatever it runs.
    pub fn kept_worker(&self, slot: u32) -> Option<String> {
        (!self.fresh).then(|| worker_name::of_slot(&self.name, slot))
    }

    /// The index at a position.
    pub fn at(&self, position: u64) -> u64 {
        let index = self.set.as_ref().and_then(|i| i.get(position));
        index.unwrap_or(position)
    }

    /// The first position whose index is `index` or higher; `total` if there is none.
    pub fn first_from(&self, index: u64, total: u64) -> u64 {
        match &self.set {
            Some(indices) => indices.position_of(index).unwrap_or_else(|| {
                let found = indices.iter().position(|at| at >= index);
                found.map_or(total, |position| position as u64)
            }),
            None => index.min(total),
        }
    }

    /// The position of an index, if the array has it.
    pub fn position_of(&self, index: u64, total: u64) -> Option<u64> {
        match &self.set {
            Some(indices) => indices.position_of(index),
            None => (index < total).then_some(index),
        }
    }
}

/// The most of a message that a line shows, in characters; `-o json` has all of it.
const LONGEST_SHOWN: usize = 200;

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskView {
    /// Its index.
    pub index: u64,
    /// Where it stands.
    pub state: TaskState,
    /// Executions so far.
    pub attempt: u32,
    /// Why the newest attempt ended.
    pub cause: Option<Cause>,
    /// The script's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the script, if one did.
    pub signal: Option<i32>,
    /// What the script or the agent said about it.
    pub message: Option<String>,
    /// When the newest attempt started.
    pub started_at: Option<Stamp>,
    /// When it ended.
    pub ended_at: Option<Stamp>,
    /// How long the newest attempt took.
    pub seconds: Option<f64>,
    /// The worker of the newest attempt.
    pub worker: Option<String>,
}

impl TaskView {
    /// A row of the ledger, read.
    pub fn new(line: &TaskLine, indices: &Indices) -> TaskView {
        let row = &line.row;
        let started_at = row.started_at.map(Stamp);
        let ended_at = row.ended_at.map(Stamp);
        let ending = row.ending.as_ref();
        TaskView {
            index: indices.at(row.position),
            state: row.state,
            attempt: row.attempt,
            cause: ending.map(|e| e.cause),
            exit_code: ending.and_then(|e| e.exit_code),
            signal: ending.and_then(|e| e.signal),
            message: ending.and_then(|e| e.message.clone()),
            started_at,
            ended_at,
            seconds: started_at
                .zip(ended_at)
                .map(|(start, end)| end.seconds_since(start)),
            worker: line.slot.map(|slot| indices.worker(row.position, slot)),
        }
    }

    /// The message on one line, without what would move a terminal's cursor or change its colours.
    pub fn shown_message(&self) -> Option<String> {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let line: String = self.message.as_ref()?.trim().chars().map(clean).collect();
        let cut: String = line.chars().take(LONGEST_SHOWN).collect();
        Some(if cut.len() < line.len() {
            cut + "..."
        } else {
            cut
        })
    }

    /// How it ended, in a few words: `exit code 3`, `timeout`, `signal 9`.
    pub fn ending(&self) -> Option<String> {
        let cause = self.cause?;
        Some(match (cause, self.exit_code, self.signal) {
            (Cause::Exit, Some(0), _) => "said failed".to_owned(),
            (Cause::Exit, Some(code), _) => format!("exit code {code}"),
            (Cause::Exit, _, Some(signal)) => format!("signal {signal}"),
            (Cause::Timeout, ..) => "ran past --timeout".to_owned(),
            (Cause::OutOfMemory, ..) => "out of memory".to_owned(),
            (Cause::WorkerLost, ..) => "worker lost".to_owned(),
            (Cause::LaunchFailed, ..) => "could not be started".to_owned(),
            (Cause::Ttl, ..) => "ran past --ttl".to_owned(),
            _ => cause.word().to_owned(),
        })
    }
}
