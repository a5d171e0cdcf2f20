//! `spawn status` as text.

use std::io::{self, Write};

use spawn_core::failure_groups::{CallGroup, FailureGroup};
use spawn_core::task::{Intent, TaskState};

use super::{Align, Style, Table, counted, human_bytes, human_seconds, human_since, standing};
use crate::read_model::{ArrayView, CountsView, ending, one_line, stop_reason};

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
    write_standing(out, view, style)?;
    if let (Intent::Halted, Some(most)) = (view.intent, view.max_failures) {
        let label = style.warn("halted ");
        writeln!(
            out,
            "  {label}  more tasks failed than --max-failures {most} allows; nothing more was started"
        )?;
    }
    if !view.workers.is_empty() && !view.has_ended() {
        writeln!(out)?;
        write_workers(out, view, style)?;
    }
    if view.line.counts.0.failed > 0 {
        writeln!(out)?;
        write_failures(out, view, style)?;
    }
    if !view.failed_calls.is_empty() {
        writeln!(out)?;
        write_failed_calls(out, view, style)?;
    }
    write_next(out, view)
}

/// What stands in its way.
fn write_standing(out: &mut impl Write, view: &ArrayView, style: Style) -> io::Result<()> {
    let line = &view.line;
    if let Some(queued) = &view.queued {
        let queued = standing::queued(queued);
        writeln!(out, "  {}   for a core: {queued}", style.warn("queued"))?;
    }
    if view.queued.is_some() && line.started_at.is_none() {
        let left = human_seconds(line.deadline.seconds_since(view.now));
        writeln!(
            out,
            "           its TTL counts from the launch: {left} are left; `spawn extend {} 1h` gives it more",
            line.array_id
        )?;
    }
    for process in &view.stuck {
        let task = process
            .task
            .map_or_else(String::new, |task| format!(" of task {task}"));
        writeln!(
            out,
            "  {}    process {} (`{}`){task} was killed and does not end: the kernel holds it; its slot was given up",
            style.warn("stuck"),
            process.pid,
            one_line(&process.name),
        )?;
    }
    if let Some(less) = view.lessened.as_ref().filter(|_| !view.has_ended()) {
        let less = standing::lessened(less);
        writeln!(out, "  {}  {less}", style.warn("shared "))?;
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
    let has_machines = view.workers.iter().any(|worker| worker.machine.is_some());
    let mut columns = vec![
        ("worker", Align::Right),
        ("host", Align::Left),
        ("task", Align::Right),
        ("for", Align::Right),
        ("progress", Align::Right),
        ("memory", Align::Right),
        ("cpus", Align::Right),
        ("done", Align::Right),
        ("heard", Align::Left),
    ];
    if has_machines {
        columns.push(("machine", Align::Left));
    }
    let mut table = Table::new(&columns, |name| style.faint(name));
    let dash = || "-".to_owned();
    for worker in view.workers.iter().take(SHOWN) {
        let since = worker.task_started_at;
        let mut cells = vec![
            worker.worker.to_string(),
            worker.hostname.clone().unwrap_or_else(dash),
            worker.task.map_or_else(dash, |t| t.to_string()),
            since.map_or_else(dash, |s| human_seconds(view.now.seconds_since(s))),
            worker.progress.map_or_else(dash, |p| p.to_string()),
            worker.memory_bytes.map_or_else(dash, human_bytes),
            worker.cpus.map_or_else(dash, |cpus| format!("{cpus:.1}")),
            worker.tasks_done.to_string(),
            human_since(worker.last_update, view.now),
        ];
        if has_machines {
            cells.push(worker.machine.clone().unwrap_or_else(dash));
        }
        table.row(cells);
    }
    table.write(out, "  ")?;
    for worker in view.workers.iter().take(SHOWN) {
        if let (Some(cause), Some(kill_at)) = (worker.stopping, worker.kill_at) {
            let left = human_seconds(kill_at.seconds_since(view.now));
            let why = stop_reason(cause);
            let worker = worker.worker;
            writeln!(
                out,
                "  worker {worker} is being stopped ({why}), killed in {left}"
            )?;
        }
    }
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
    let title = match failed > view.failures_grouped && view.failures_grouped > 0 {
        true => format!(
            "{}, the newest {} of them:",
            counted(failed, "failure"),
            view.failures_grouped
        ),
        false => counted(failed, "failure"),
    };
    writeln!(out, "  {}", style.bad(&title))?;
    for group in view.failure_groups.iter().take(SHOWN) {
        writeln!(out, "    {}", failure_group(group))?;
    }
    let shown: u64 = view
        .failure_groups
        .iter()
        .take(SHOWN)
        .map(|g| g.count)
        .sum();
    let rest = failed.saturating_sub(shown);
    if rest > 0 {
        let why = match (view.intent, failed > view.failures_grouped) {
            (Intent::Expired, true) => "of the TTL's end, before they were done",
            (_, true) => "that failed before these",
            (_, false) => "of other kinds; `-o json` shows all",
        };
        writeln!(out, "    {rest} more {why}")?;
    }
    Ok(())
}

/// The next command to type, where something went wrong.
fn write_next(out: &mut impl Write, view: &ArrayView) -> io::Result<()> {
    let has_failed = view.line.counts.0.failed > 0;
    if !has_failed && view.failed_calls.is_empty() {
        return Ok(());
    }
    let id = view.line.array_id.as_str();
    writeln!(out)?;
    let failure = view.failure_groups.iter().flat_map(|g| &g.examples);
    let doubtful = view.failed_calls.iter().flat_map(|g| &g.examples);
    if let Some(first) = failure.chain(doubtful).next() {
        writeln!(out, "  spawn explain {id} --task {first}")?;
    }
    if has_failed {
        writeln!(out, "  spawn tasks {id} --state failed")?;
        if view.has_ended() {
            writeln!(out, "  spawn retry {id}")?;
        }
    }
    Ok(())
}

/// `9 x exit code 1: cannot open file-00017.csv (tasks 17, 18, 19, ...)`.
pub fn failure_group(group: &FailureGroup) -> String {
    let how = ending(group.cause, group.exit_code, group.signal);
    let line = group
        .line
        .as_ref()
        .map_or_else(String::new, |line| format!(": {}", one_line(line)));
    let tasks = examples(&group.examples, group.count);
    format!("{} x {how}{line} ({tasks})", group.count)
}

fn write_failed_calls(out: &mut impl Write, view: &ArrayView, style: Style) -> io::Result<()> {
    let title = style.warn("calls that failed in tasks which succeeded");
    writeln!(out, "  {title}")?;
    // A look for something that is not there may be just what the script wanted to know.
    let (looks, others): (Vec<_>, Vec<_>) = view.failed_calls.iter().partition(|c| is_look(c));
    for group in others.into_iter().chain(looks).take(SHOWN) {
        let CallGroup {
            service,
            operation,
            code,
            ..
        } = group;
        let of = group
            .resource
            .as_ref()
            .map_or_else(String::new, |resource| {
                format!(", such as {}", one_line(resource))
            });
        let what = match is_look(group) {
            true => "looked for and not there",
            false => code,
        };
        writeln!(
            out,
            "    {} x {service} {operation}: {what}{of} ({})",
            group.calls,
            examples(&group.examples, group.tasks)
        )?;
    }
    Ok(())
}

/// Whether a call only asked for an object that does not exist.
fn is_look(group: &CallGroup) -> bool {
    group.operation == "HeadObject" && matches!(group.code.as_str(), "404" | "NoSuchKey")
}

/// `task 3`, `tasks 3, 5`, `tasks 3, 5, 7, ...`.
fn examples(indices: &[u64], all: u64) -> String {
    let word = if all == 1 { "task" } else { "tasks" };
    let mut shown: Vec<String> = indices.iter().map(ToString::to_string).collect();
    if all > indices.len() as u64 {
        shown.push("...".to_owned());
    }
    format!("{word} {}", shown.join(", "))
}
