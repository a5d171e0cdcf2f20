//! `spawn tasks`: every task, page by page.

use std::io::{self, Write};

use spawn_core::array_id::ArrayId;
use spawn_core::task::TaskState;
use spawn_local::wire::client::TaskLine;
use spawn_ports::ledger::TaskQuery;

use super::Exit;
use crate::error::CliError;
use crate::read_model::{Indices, TaskView, one_line};
use crate::render::{Output, human_seconds};
use crate::session::Session;

/// Tasks in one question to the host: few enough to hold, many enough to be quick.
const PAGE: u32 = 2_000;
/// The most of a row's name that a line shows, in characters; `-o json` has all of it.
const LONGEST_NAME: usize = 24;

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
#[derive(clap::Args, Clone, Debug)]
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
    let indices = Indices::with_rows(&record, session.home());
    let total = record.submitted.total;
    let mut lines = Lines::new(output, &indices, total);
    if indices.are_in_order() {
        let from = args
            .from
            .map_or(0, |index| indices.first_from(index, total));
        in_pages(&mut session, &id, args, from, |rows| {
            let tasks = rows.iter().map(|row| TaskView::new(row, &indices));
            lines.write_all(tasks)
        })?;
    } else {
        // Positions go through the kinds of worker one after another; people read by index.
        let everything = Args {
            limit: None,
            ..args.clone()
        };
        let mut tasks = Vec::new();
        in_pages(&mut session, &id, &everything, 0, |rows| {
            tasks.extend(rows.iter().map(|row| TaskView::new(row, &indices)));
            Ok(())
        })?;
        tasks.sort_by_key(|task| task.index);
        let wanted = tasks
            .into_iter()
            .filter(|task| args.from.is_none_or(|from| task.index >= from))
            .take(args.limit.map_or(usize::MAX, |n| n as usize));
        lines.write_all(wanted)?;
    }
    output.write(|out| lines.end(out))?;
    Ok(Exit::Ok)
}

/// Asks for the tasks from a position on, page by page.
fn in_pages(
    session: &mut Session,
    id: &ArrayId,
    args: &Args,
    mut from: u64,
    mut take: impl FnMut(Vec<TaskLine>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let limit = u32::try_from(left.min(PAGE.into())).unwrap_or(PAGE);
        let query = TaskQuery {
            from,
            limit,
            state: args.state,
        };
        let rows = session.tasks(id, query)?;
        let last = rows.last().map(|line| line.row.position);
        let is_last = rows.len() < limit as usize;
        left -= rows.len() as u64;
        take(rows)?;
        match last {
            Some(position) if !is_last => from = position + 1,
            _ => break,
        }
    }
    Ok(())
}

/// Tasks as lines: widths are fixed before the first, since the last is not known yet.
struct Lines<'a> {
    output: &'a Output,
    index_width: usize,
    /// Width of the names that a parameter file gives, if it does.
    name_width: usize,
    written: u64,
}

impl<'a> Lines<'a> {
    fn new(output: &'a Output, indices: &Indices, total: u64) -> Lines<'a> {
        let last = indices.highest(total).to_string();
        Lines {
            output,
            index_width: last.len().max("index".len()),
            name_width: indices
                .row(0)
                .and_then(|row| row.name)
                .map_or(0, |name| name.len().clamp(4, LONGEST_NAME)),
            written: 0,
        }
    }

    fn write_all(&mut self, tasks: impl IntoIterator<Item = TaskView>) -> Result<(), CliError> {
        let output = self.output;
        output.write(|out| {
            tasks
                .into_iter()
                .try_for_each(|task| self.write(out, &task))
        })
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
                "{:>width$}  {}{:<9}  {:>7}  {:>8}  {:>6}  ending",
                "index",
                self.named("name"),
                "state",
                "attempt",
                "time",
                "worker"
            );
            writeln!(out, "{}", style.faint(&names))?;
        }
        let dash = || "-".to_owned();
        let state = format!("{:<9}", task.state.word());
        let ending = [task.ending(), task.shown_message()];
        let line = format!(
            "{:>width$}  {}{}  {:>7}  {:>8}  {:>6}  {}",
            task.index,
            self.named(&one_line(task.name.as_deref().unwrap_or_default())),
            style.task(task.state, &state),
            task.attempt,
            task.seconds.map_or_else(dash, human_seconds),
            task.worker.clone().unwrap_or_else(dash),
            ending.into_iter().flatten().collect::<Vec<_>>().join(": "),
        );
        writeln!(out, "{}", line.trim_end())
    }

    /// A name in its column; nothing where there are no names.
    fn named(&self, name: &str) -> String {
        match self.name_width {
            0 => String::new(),
            width => format!(
                "{:<width$}  ",
                name.chars().take(LONGEST_NAME).collect::<String>()
            ),
        }
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
