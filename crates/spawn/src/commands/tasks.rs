//! `spawn tasks`: every task, page by page.

use std::io::{self, Write};

use spawn_core::task::TaskState;
use spawn_ports::ledger::TaskQuery;

use super::Exit;
use crate::error::CliError;
use crate::read_model::{Indices, TaskView};
use crate::render::{Output, human_seconds};
use crate::session::Session;

/// Tasks in one question to the host: few enough to hold, many enough to be quick.
const PAGE: u32 = 2_000;

/// List the tasks of an array
///
/// Each task with its state, its newest attempt and how that ended. With
/// `-o json` one array, one task a line.
///
/// Examples:
///
///   spawn tasks last
///   spawn tasks last --state failed
///   spawn tasks last --from 500 --limit 10 -o json | jq -r '.[].seconds'
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// Only tasks in this state: pending, running, succeeded, failed, skipped or cancelled
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<TaskState>,

    /// At most this many
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,

    /// Start at the first task with this index or a later one
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
}

fn parse_state(word: &str) -> Result<TaskState, String> {
    TaskState::from_word(word).ok_or_else(|| {
        let words = TaskState::ALL.map(TaskState::word).join(", ");
        format!("expected one of {words}")
    })
}

/// Runs `spawn tasks`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    let record = session.status(&id)?.record;
    let indices = Indices::of(&record);
    let total = record.submitted.total;
    let mut from = args
        .from
        .map_or(0, |index| indices.first_from(index, total));
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut lines = Lines::new(output, &indices, total);
    loop {
        let limit = u32::try_from(left.min(PAGE.into())).unwrap_or(PAGE);
        let query = TaskQuery {
            from,
            limit,
            state: args.state,
        };
        let rows = match limit {
            0 => Vec::new(),
            _ => session.tasks(&id, query)?,
        };
        let last = rows.last().map(|line| line.row.position);
        let is_last = rows.len() < limit as usize;
        let tasks = rows.iter().map(|row| TaskView::new(row, &indices));
        output.write(|out| {
            tasks
                .into_iter()
                .try_for_each(|task| lines.write(out, &task))
        })?;
        left -= rows.len() as u64;
        match last {
            Some(position) if !is_last && left > 0 => from = position + 1,
            _ => break,
        }
    }
    output.write(|out| lines.end(out))?;
    Ok(Exit::Ok)
}

/// Tasks as lines: widths are fixed before the first, since the last is not known yet.
struct Lines<'a> {
    output: &'a Output,
    index_width: usize,
    written: u64,
}

impl<'a> Lines<'a> {
    fn new(output: &'a Output, indices: &Indices, total: u64) -> Lines<'a> {
        let last = indices.at(total.saturating_sub(1)).to_string();
        Lines {
            output,
            index_width: last.len().max("index".len()),
            written: 0,
        }
    }

    fn write(&mut self, out: &mut impl Write, task: &TaskView) -> io::Result<()> {
        self.written += 1;
        if self.output.json {
            out.write_all(if self.written == 1 { b"[\n" } else { b",\n" })?;
            return Ok(serde_json::to_writer(out, task)?);
        }
        let style = self.output.style;
        let width = self.index_width;
        if self.written == 1 {
            let names = format!(
                "{:>width$}  {:<9}  {:>7}  {:>8}  {:>6}  ending",
                "index", "state", "attempt", "time", "worker"
            );
            writeln!(out, "{}", style.faint(&names))?;
        }
        let dash = || "-".to_owned();
        let state = format!("{:<9}", task.state.word());
        let ending = [task.ending(), task.shown_message()];
        let line = format!(
            "{:>width$}  {}  {:>7}  {:>8}  {:>6}  {}",
            task.index,
            style.task(task.state, &state),
            task.attempt,
            task.seconds.map_or_else(dash, human_seconds),
            task.worker.clone().unwrap_or_else(dash),
            ending.into_iter().flatten().collect::<Vec<_>>().join(": "),
        );
        writeln!(out, "{}", line.trim_end())
    }

    fn end(&self, out: &mut impl Write) -> io::Result<()> {
        match (self.output.json, self.written) {
            (true, 0) => writeln!(out, "[]"),
            (true, _) => writeln!(out, "\n]"),
            (false, 0) => writeln!(out, "no such tasks"),
            (false, _) => Ok(()),
        }
    }
}
