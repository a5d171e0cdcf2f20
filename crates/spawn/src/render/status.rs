//! `spawn status` as text.

use std::io::{self, Write};

use spawn_core::task::TaskState;

use super::{Align, Style, Table, counted, human_seconds, human_since};
use crate::read_model::{ArrayView, CountsView, TaskView};

/// Workers and failures shown before the rest is only counted.
const SHOWN: usize = 8;

/// Writes an array as it stands.
pub fn write_status(out: &mut impl Write, view: &ArrayView, style: Style) -> io::Result<()> {
    let line = &view.line;
    let id = line.array_id.as_str();
    writeln!(
        out,
        "{}  {}  {}",
        style.strong(id),
        line.name,
        style.array(line.state, line.state.word())
    )?;
    writeln!(out, "  tasks    {}", counts(&line.counts, style))?;
    write!(
        out,
        "  time     launched {}",
        human_since(line.created_at, view.now)
    )?;
    if let Some(seconds) = line.seconds(view.now) {
        let verb = if view.has_ended() {
            "took"
        } else {
            "running for"
        };
        write!(out, ", {verb} {}", human_seconds(seconds))?;
    }
    if let Some(eta) = view.eta_seconds {
        write!(out, ", about {} to go", human_seconds(eta as f64))?;
    }
    writeln!(out)?;
    let lost = [
        (line.interrupted, "interrupted"),
        (line.workers_lost, "lost with their worker"),
    ];
    let lost: Vec<String> = lost
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, how)| format!("{} {how}", counted(*n, "attempt")))
        .collect();
    if !lost.is_empty() {
        writeln!(out, "  besides  {}", lost.join(", "))?;
    }
    if let Some(why) = &view.held_up {
        writeln!(out, "  {}  {why}", style.warn("held up"))?;
    }
    if !view.workers.is_empty() && !view.has_ended() {
        writeln!(out)?;
        write_workers(out, view, style)?;
    }
    if !view.failures.is_empty() {
        writeln!(out)?;
        write_failures(out, view, style)?;
    }
    Ok(())
}

/// `100 in all: 40 succeeded, 2 failed, 8 running, 50 pending`.
pub fn counts(counts: &CountsView, style: Style) -> String {
    let order = [
        TaskState::Succeeded,
        TaskState::Skipped,
        TaskState::Failed,
        TaskState::Cancelled,
        TaskState::Running,
        TaskState::Pending,
    ];
    let total = counts.0.total();
    let parts: Vec<String> = order
        .into_iter()
        .filter(|state| counts.0.of(*state) > 0)
        .map(|state| style.task(state, &format!("{} {}", counts.0.of(state), state.word())))
        .collect();
    format!("{total} in all: {}", parts.join(", "))
}

fn write_workers(out: &mut impl Write, view: &ArrayView, style: Style) -> io::Result<()> {
    let columns = [
        ("worker", Align::Right),
        ("host", Align::Left),
        ("task", Align::Right),
        ("for", Align::Right),
        ("done", Align::Right),
    ];
    let mut table = Table::new(&columns, |name| style.faint(name));
    for worker in view.workers.iter().take(SHOWN) {
        let since = worker.task_started_at;
        table.row([
            worker.worker.to_string(),
            worker.hostname.clone().unwrap_or_else(|| "-".to_owned()),
            worker
                .task
                .map_or_else(|| "-".to_owned(), |t| t.to_string()),
            since.map_or_else(
                || "-".to_owned(),
                |s| human_seconds(view.now.seconds_since(s)),
            ),
            worker.tasks_done.to_string(),
        ]);
    }
    table.write(out, "  ")?;
    if view.workers.len() > SHOWN {
        writeln!(
            out,
            "  and {} more; `-o json` shows all",
            view.workers.len() - SHOWN
        )?;
    }
    Ok(())
}

fn write_failures(out: &mut impl Write, view: &ArrayView, style: Style) -> io::Result<()> {
    let failed = view.line.counts.0.failed;
    let shown = view.failures.len().min(SHOWN);
    let title = match failed > shown as u64 {
        true => format!("  newest {shown} of {}", counted(failed, "failure")),
        false => format!("  {}", counted(failed, "failure")),
    };
    writeln!(out, "{}", style.bad(&title))?;
    for failure in view.failures.iter().take(SHOWN) {
        writeln!(out, "    {}", failure_line(failure))?;
    }
    let id = view.line.array_id.as_str();
    if let Some(first) = view.failures.first() {
        writeln!(out, "\n  spawn logs {id} --task {}", first.index)?;
    }
    if failed > shown as u64 {
        writeln!(out, "  spawn tasks {id} --state failed")?;
    }
    Ok(())
}

/// `task 7: exit code 3, attempt 2: disk full`.
pub fn failure_line(failure: &TaskView) -> String {
    let ending = failure.ending().unwrap_or_else(|| "failed".to_owned());
    let mut line = format!("task {}: {ending}", failure.index);
    if failure.attempt > 1 {
        line.push_str(&format!(", attempt {}", failure.attempt));
    }
    if let Some(message) = failure.shown_message() {
        line.push_str(&format!(": {}", message));
    }
    line
}
