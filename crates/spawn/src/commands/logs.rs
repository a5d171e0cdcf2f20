//! `spawn logs`: what tasks printed, read from the agents' logs.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spawn_core::array_id::ArrayId;
use spawn_core::task::TaskState;
use spawn_local::task_log::{Records, Stream};
use spawn_local::wire::client::ArrayStatus;
use spawn_ports::ledger::{AgentId, LogSpan, TaskQuery, TaskRow};

use super::Exit;
use crate::error::CliError;
use crate::read_model::Indices;
use crate::render::{Output, Shape, TaskOutput};
use crate::session::{Session, Waited};

/// Tasks in one question to the host.
const PAGE: u32 = 2_000;
/// New output is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Show what tasks printed
///
/// The newest attempt of each task. One task's output comes as it was written,
/// to standard output and standard error; that of several has the index before
/// each line. With `-o json`, one object a line.
///
/// Examples:
///
///   spawn logs last --task 7
///   spawn logs last --failed
///   spawn logs last --follow
///   spawn logs last --task 7 --attempt 1 --stderr
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// Only the task with this index
    #[arg(short, long, value_name = "INDEX")]
    task: Option<u64>,

    /// This attempt of the task, instead of the newest
    #[arg(long, value_name = "K", conflicts_with = "failed")]
    attempt: Option<u32>,

    /// Only tasks that failed
    #[arg(long, conflicts_with_all = ["task", "follow"])]
    failed: bool,

    /// Stay, and show what is printed until the end
    #[arg(short, long, conflicts_with = "attempt")]
    follow: bool,

    /// Only what went to standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,

    /// Only what went to standard error
    #[arg(long)]
    stderr: bool,
}

/// Where the output of one attempt is.
#[derive(Clone, Debug)]
struct Place {
    position: u64,
    attempt: u32,
    agent: AgentId,
    log: PathBuf,
    /// Where the next record begins.
    at: u64,
    /// Where the last one ends, once that is known.
    end: Option<u64>,
}

/// Runs `spawn logs`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    let status = session.status(&id)?;
    let indices = Indices::of(&status.record);
    let total = status.record.submitted.total;
    let position = match args.task {
        Some(index) => Some(session.position(&id, index)?),
        None if total == 1 && !args.failed => Some(0),
        None => None,
    };
    if args.attempt.is_some() && position.is_none() {
        return Err(CliError::Usage {
            message: format!("`--attempt` is of one task, and `{id}` has several"),
            hint: Some("add `--task INDEX`".to_owned()),
        });
    }
    let shape = match (output.json, position) {
        (true, _) => Shape::Json,
        (false, Some(_)) => Shape::Raw,
        (false, None) => Shape::Lines,
    };
    let only = match (args.stdout, args.stderr) {
        (true, _) => Some(Stream::Stdout),
        (_, true) => Some(Stream::Stderr),
        _ => None,
    };
    let mut out = TaskOutput::new(shape, only, indices, output.style);
    let mut logs = Logs {
        session,
        id,
        out: &mut out,
    };
    match (position, args.follow) {
        (Some(position), true) => logs.follow_task(position)?,
        (Some(position), false) => logs.task(position, args.attempt, &status)?,
        (None, true) => logs.follow_array()?,
        (None, false) => {
            let state = args.failed.then_some(TaskState::Failed);
            logs.array(state, &status)?;
        }
    }
    out.finish().map_err(CliError::Output)?;
    if !out.has_written() && !output.json {
        output.note("there is no output");
    }
    Ok(Exit::Ok)
}

struct Logs<'a> {
    session: Session,
    id: ArrayId,
    out: &'a mut TaskOutput,
}

impl Logs<'_> {
    fn array(&mut self, state: Option<TaskState>, status: &ArrayStatus) -> Result<(), CliError> {
        let mut from = 0;
        loop {
            let query = TaskQuery {
                from,
                limit: PAGE,
                state,
            };
            let rows = self.session.tasks(&self.id, query)?;
            for row in &rows {
                if let Some(mut place) = self.newest(&row.row, status) {
                    self.drain(&mut place)?;
                    self.out.end_lines().map_err(CliError::Output)?;
                }
            }
            match rows.last() {
                Some(row) if rows.len() == PAGE as usize => from = row.row.position + 1,
                _ => return Ok(()),
            }
        }
    }

    fn task(
        &mut self,
        position: u64,
        attempt: Option<u32>,
        status: &ArrayStatus,
    ) -> Result<(), CliError> {
        let place = match attempt {
            None => {
                let row = self.session.task(&self.id, position)?;
                row.and_then(|row| self.newest(&row, status))
            }
            Some(wanted) => {
                let attempts = self.session.attempts(&self.id, position)?;
                let found = attempts.iter().find(|row| row.attempt == wanted);
                let row = found.ok_or_else(|| CliError::NoTask {
                    array: self.id.clone(),
                    what: format!("attempt {wanted} of that task; it has {}", attempts.len()),
                })?;
                Some(self.place(position, wanted, row.agent, row.log, status))
            }
        };
        match place {
            Some(mut place) => self.drain(&mut place),
            None => Ok(()),
        }
    }

    fn follow_task(&mut self, position: u64) -> Result<(), CliError> {
        let mut watcher = self.session.another()?;
        let mut status = watcher.watch(&self.id)?;
        let mut current: Option<Place> = None;
        loop {
            let Some(row) = self.session.task(&self.id, position)? else {
                return Ok(());
            };
            if current
                .as_ref()
                .is_none_or(|place| place.attempt != row.attempt)
            {
                // An attempt that has ended wrote everything before.
                if let Some(before) = &mut current {
                    self.drain(before)?;
                }
                current = self.newest(&row, &status);
            }
            if let Some(place) = &mut current {
                place.end = row.log.map(|span| span.offset + span.len);
                self.drain(place)?;
                self.out.flush().map_err(CliError::Output)?;
            }
            if row.state.is_terminal() {
                return Ok(());
            }
            if let Waited::Status(newer) = watcher.next_change(&self.id, LOOK_EVERY)? {
                status = *newer;
            }
        }
    }

    /// Follows every agent's log from its beginning: no task need be asked for.
    fn follow_array(&mut self) -> Result<(), CliError> {
        let mut watcher = self.session.another()?;
        let mut status = watcher.watch(&self.id)?;
        let dir = self.log(AgentId(0));
        let dir = dir.parent().unwrap_or(Path::new("/")).to_owned();
        let mut read: BTreeMap<PathBuf, u64> = BTreeMap::new();
        let mut unfinished = HashSet::new();
        loop {
            // Asked before the logs are read, so that nothing is missed at the end.
            let has_ended = status.record.counts.all_ended();
            self.session.sync_logs(&self.id, has_ended)?;
            for log in logs_in(&dir).map_err(reading(&dir))? {
                let at = read.entry(log.clone()).or_insert(0);
                let len = fs::metadata(&log).map_or(0, |file| file.len());
                if len > *at {
                    for record in Records::from(&log, *at).map_err(reading(&log))? {
                        let record = record.map_err(reading(&log))?;
                        self.out.record(&record).map_err(CliError::Output)?;
                        *at = record.next;
                    }
                }
            }
            self.end_lines_of_the_ended(&mut unfinished)?;
            self.out.flush().map_err(CliError::Output)?;
            if has_ended {
                return Ok(());
            }
            if let Waited::Status(newer) = watcher.next_change(&self.id, LOOK_EVERY)? {
                status = *newer;
            }
        }
    }

    /// A task that ended without a line end is not held back until the array ends. `unfinished`
    /// are those of the last look: a task that has just begun may not be known as running yet.
    fn end_lines_of_the_ended(
        &mut self,
        unfinished: &mut HashSet<(u64, u32)>,
    ) -> Result<(), CliError> {
        let now = self.out.unfinished();
        let old: HashSet<(u64, u32)> = now.intersection(unfinished).copied().collect();
        *unfinished = now;
        if old.is_empty() {
            return Ok(());
        }
        let status = self.session.status(&self.id)?;
        let running: HashSet<(u64, u32)> = status
            .workers
            .iter()
            .filter_map(|worker| worker.running)
            .map(|task| (task.position, task.attempt))
            .collect();
        let is_over = |position, attempt| {
            old.contains(&(position, attempt)) && !running.contains(&(position, attempt))
        };
        self.out.end_lines_of(is_over).map_err(CliError::Output)
    }

    /// Where a task's newest attempt writes or wrote; `None` if it never ran.
    fn newest(&self, row: &TaskRow, status: &ArrayStatus) -> Option<Place> {
        let agent = row.agent.filter(|_| row.attempt > 0)?;
        Some(self.place(row.position, row.attempt, agent, row.log, status))
    }

    fn place(
        &self,
        position: u64,
        attempt: u32,
        agent: AgentId,
        span: Option<LogSpan>,
        status: &ArrayStatus,
    ) -> Place {
        let running = status.workers.iter().filter_map(|worker| worker.running);
        let begun = running
            .filter(|task| (task.position, task.attempt) == (position, attempt))
            .map(|task| task.log_offset)
            .next();
        Place {
            position,
            attempt,
            agent,
            log: self.log(agent),
            // An agent that was killed could not say where; then its log is searched.
            at: span.map(|span| span.offset).or(begun).unwrap_or(0),
            end: span.map(|span| span.offset + span.len),
        }
    }

    fn log(&self, agent: AgentId) -> PathBuf {
        self.session.home().log(&self.id, agent)
    }

    /// Writes what has come since.
    fn drain(&mut self, place: &mut Place) -> Result<(), CliError> {
        self.session.sync_log(&self.id, place.agent)?;
        let records = match place.end {
            Some(end) if end <= place.at => return Ok(()),
            Some(end) => {
                let offset = place.at;
                let len = end - offset;
                Records::of(&place.log, LogSpan { offset, len })
            }
            None => Records::from(&place.log, place.at),
        };
        let records = match records {
            // The agent has not written anything yet.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            records => records.map_err(reading(&place.log))?,
        };
        let mut is_within = false;
        for record in records {
            let record = record.map_err(reading(&place.log))?;
            if (record.position, record.attempt) == (place.position, place.attempt) {
                self.out.record(&record).map_err(CliError::Output)?;
                is_within = true;
            } else if is_within {
                // An attempt's records are one region: this is the agent's next task.
                place.end = Some(place.at);
                break;
            }
            place.at = record.next;
        }
        Ok(())
    }
}

fn logs_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("log")) {
            logs.push(path);
        }
    }
    Ok(logs)
}

fn reading(path: &Path) -> impl Fn(io::Error) -> CliError + '_ {
    move |source| CliError::File {
        verb: "read",
        path: path.to_owned(),
        source,
    }
}
