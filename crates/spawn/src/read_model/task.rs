//! A task, by the index its user knows.

use serde::Serialize;
use spawn_core::index_set::IndexSet;
use spawn_core::max_failures::MaxFailures;
use spawn_core::observed::FailedCall;
use spawn_core::outcome::{Cause, StopCause};
use spawn_core::task::TaskState;
use spawn_local::home::Home;
use spawn_local::rows::{Row, Rows};
use spawn_local::submission::Submission;
use spawn_local::wire::client::TaskLine;
use spawn_local::worker_name;
use spawn_ports::ledger::ArrayRecord;
use spawn_spec::LaunchSpec;

use super::Stamp;

/// What an array calls its tasks and workers: the ledger counts positions and slots, its user
/// knows indices and names.
#[derive(Debug)]
pub struct Indices {
    launch: Option<LaunchSpec>,
    name: String,
    rows: Option<Rows>,
}

impl Indices {
    /// The indices of a recorded array. One whose spec cannot be read is counted by positions.
    pub fn of(record: &ArrayRecord) -> Indices {
        let submission: Option<Submission> = serde_json::from_str(&record.submitted.spec).ok();
        Indices {
            name: record.submitted.name.clone(),
            launch: submission.map(|s| s.launch),
            rows: None,
        }
    }

    /// As [`Indices::of`], and the names and parameters that a parameter file gave the tasks.
    pub fn with_rows(record: &ArrayRecord, home: &Home) -> Indices {
        let mut indices = Indices::of(record);
        if indices
            .launch
            .as_ref()
            .is_some_and(|launch| launch.has_rows)
        {
            indices.rows = Rows::open(&home.rows(&record.submitted.id)).ok();
        }
        indices
    }

    /// The row that a parameter file gave the task with an index.
    pub fn row(&self, index: u64) -> Option<Row> {
        self.rows.as_ref()?.get(index).ok()
    }

    /// The most tasks that may fail, if the launch said so.
    pub fn max_failures(&self) -> Option<MaxFailures> {
        self.launch.as_ref()?.max_failures
    }

    /// The name of the worker that runs the task at `position` in `slot`: what `TASK_WORKER` says.
    pub fn worker(&self, position: u64, slot: u32) -> String {
        self.kept_worker(slot)
            .unwrap_or_else(|| worker_name::of_task(&self.name, self.at(position)))
    }

    /// The name of the worker in `slot` if it has one whatever it runs.
    pub fn kept_worker(&self, slot: u32) -> Option<String> {
        let is_kept = self.launch.as_ref().is_some_and(|l| l.workers.is_some());
        is_kept.then(|| worker_name::of_slot(&self.name, slot))
    }

    /// The index at a position.
    pub fn at(&self, position: u64) -> u64 {
        let index = self.launch.as_ref().and_then(|l| l.index_at(position));
        index.unwrap_or(position)
    }

    /// The indices at some positions.
    pub fn all_at(&self, positions: &[u64]) -> Vec<u64> {
        positions
            .iter()
            .map(|position| self.at(*position))
            .collect()
    }

    /// Whether indices rise with positions: not where several kinds of worker share the array.
    pub fn are_in_order(&self) -> bool {
        self.launch.as_ref().is_none_or(|l| l.lanes.is_empty())
    }

    /// All indices.
    pub fn set(&self, total: u64) -> IndexSet {
        let known = self.launch.as_ref().map(|launch| launch.indices.clone());
        known
            .or_else(|| IndexSet::first(total))
            .unwrap_or_else(|| IndexSet::first(1).expect("1 is a count"))
    }

    /// All indices, as `--array` takes them, shortened.
    pub fn shown(&self) -> String {
        let text = self.set(1).to_string();
        match text.char_indices().nth(60) {
            None => text,
            Some((end, _)) => format!("{}...", &text[..end]),
        }
    }

    /// The highest index.
    pub fn highest(&self, total: u64) -> u64 {
        let set = self.set(total);
        set.get(set.len() - 1).unwrap_or(0)
    }

    /// The positions of these indices, which are all of the array.
    pub fn positions(&self, picked: &IndexSet) -> IndexSet {
        let is_plain = self.launch.as_ref().is_none_or(|launch| {
            launch.lanes.is_empty()
                && IndexSet::first(launch.indices.len()) == Some(launch.indices.clone())
        });
        if is_plain {
            return picked.clone();
        }
        let mut positions: Vec<u64> = picked
            .iter()
            .filter_map(|index| self.launch.as_ref()?.position_of(index))
            .collect();
        positions.sort_unstable();
        IndexSet::from_indices(positions).unwrap_or_else(|| picked.clone())
    }

    /// The first position whose index is `index` or higher; `total` if there is none. Only where
    /// indices are in order.
    pub fn first_from(&self, index: u64, total: u64) -> u64 {
        match &self.launch {
            Some(launch) => launch.indices.position_of(index).unwrap_or_else(|| {
                let found = launch.indices.iter().position(|at| at >= index);
                found.map_or(total, |position| position as u64)
            }),
            None => index.min(total),
        }
    }

    /// The position of an index, if the array has it.
    pub fn position_of(&self, index: u64, total: u64) -> Option<u64> {
        match &self.launch {
            Some(launch) => launch.position_of(index),
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
    /// The name of its row in the parameter file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
    /// The last line of the script's standard error, if it ended badly.
    pub last_stderr: Option<String>,
    /// When the newest attempt started.
    pub started_at: Option<Stamp>,
    /// When it ended.
    pub ended_at: Option<Stamp>,
    /// How long the newest attempt took.
    pub seconds: Option<f64>,
    /// The worker of the newest attempt.
    pub worker: Option<String>,
    /// Largest memory of any process of the newest attempt, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Processor time of the newest attempt, in seconds.
    pub cpu_seconds: Option<f64>,
    /// AWS calls that failed during the newest attempt.
    pub failed_calls: Vec<FailedCall>,
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
            name: indices
                .row(indices.at(row.position))
                .and_then(|row| row.name),
            state: row.state,
            attempt: row.attempt,
            cause: ending.map(|e| e.cause),
            exit_code: ending.and_then(|e| e.exit_code),
            signal: ending.and_then(|e| e.signal),
            message: ending.and_then(|e| e.message.clone()),
            last_stderr: ending.and_then(|e| e.last_stderr.clone()),
            started_at,
            ended_at,
            seconds: started_at
                .zip(ended_at)
                .map(|(start, end)| end.seconds_since(start)),
            worker: line.slot.map(|slot| indices.worker(row.position, slot)),
            peak_memory_bytes: row.usage.map(|usage| usage.peak_memory_bytes),
            // Whole milliseconds, so that nobody reads noise.
            cpu_seconds: row
                .usage
                .map(|usage| (usage.cpu_micros / 1000) as f64 / 1000.0),
            failed_calls: row.failed_calls.clone(),
        }
    }

    /// What was said about its end, on one line: its message, else the last line it wrote to
    /// standard error.
    pub fn shown_message(&self) -> Option<String> {
        let said = self.message.as_ref().or(self.last_stderr.as_ref())?;
        Some(one_line(said))
    }

    /// How it ended, in a few words: `exit code 3`, `timeout`, `signal 9`.
    pub fn ending(&self) -> Option<String> {
        Some(ending(self.cause?, self.exit_code, self.signal))
    }
}

/// A text on one line, without what would move a terminal's cursor or change its colours, and not
/// too long.
pub fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.trim().chars().map(clean).collect();
    let cut: String = line.chars().take(LONGEST_SHOWN).collect();
    match cut.len() < line.len() {
        true => cut + "...",
        false => cut,
    }
}

/// How an attempt ended, in a few words.
pub fn ending(cause: Cause, exit_code: Option<i32>, signal: Option<i32>) -> String {
    match (cause, exit_code, signal) {
        (Cause::Exit, Some(0), _) => "said failed".to_owned(),
        (Cause::Exit, Some(code), _) => format!("exit code {code}"),
        (Cause::Exit, _, Some(signal)) => format!("signal {signal}"),
        (Cause::Timeout, ..) => "ran past --timeout".to_owned(),
        (Cause::OutOfMemory, ..) => "out of memory".to_owned(),
        (Cause::WorkerLost, ..) => "worker lost".to_owned(),
        (Cause::LaunchFailed, ..) => "could not be started".to_owned(),
        (Cause::Ttl, ..) => "ran past --ttl".to_owned(),
        (Cause::Halted, ..) => "not started, too many had failed".to_owned(),
        _ => cause.word().to_owned(),
    }
}

/// Why a script is being stopped, in a few words.
pub fn stop_reason(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Interrupted => "interrupted",
        StopCause::Timeout => "past --timeout",
        StopCause::Ttl => "past --ttl",
        StopCause::Cancelled => "cancelled",
    }
}
