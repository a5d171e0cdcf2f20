//! `spawn explain` as text.

use std::io::{self, Write};

use spawn_core::observed::FailedCall;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_local::wire::client::Waiting;

use super::{Style, counted, human_bytes, human_seconds, standing};
use crate::read_model::{AttemptView, Stamp, StoryView, ending, one_line, stop_reason};

/// Writes everything that is known of a task.
pub fn write_story(out: &mut impl Write, story: &StoryView, style: Style) -> io::Result<()> {
    let task = &story.task;
    let state = style.task(task.state, task.state.word());
    let named = task
        .name
        .as_ref()
        .map(|name| format!(" `{}`", one_line(name)));
    writeln!(
        out,
        "{}  {}, task {}{}  {state}",
        style.strong(story.array_id.as_str()),
        story.array_name,
        task.index,
        named.unwrap_or_default(),
    )?;
    for (nth, (key, value)) in story.parameters.iter().enumerate() {
        let label = if nth == 0 { "given" } else { "" };
        writeln!(out, "  {label:<10} {key} = {}", one_line(value))?;
    }
    writeln!(out, "  {:<10} {}", "launched", story.launched_at)?;
    for attempt in &story.attempts {
        write_attempt(out, story, attempt)?;
    }
    for line in now(story) {
        writeln!(out, "  {:<10} {line}", "now")?;
    }
    let spent = spent(story);
    if !spent.is_empty() {
        writeln!(out, "  {:<10} {}", "retries", spent.join(", "))?;
    }
    writeln!(out)?;
    let id = &story.array_id;
    let index = task.index;
    if let Some(last) = story.attempts.last() {
        let which = match story.attempts.len() {
            1 => String::new(),
            _ => format!(" --attempt {}", last.attempt),
        };
        writeln!(out, "  spawn logs {id} --task {index}{which}")?;
    }
    if task.state == TaskState::Failed {
        writeln!(out, "  spawn retry {id} --tasks {index}")?;
    }
    if task.state == TaskState::Running && story.stopping.is_none() {
        writeln!(out, "  spawn interrupt {id} --task {index}")?;
    }
    Ok(())
}

fn write_attempt(out: &mut impl Write, story: &StoryView, attempt: &AttemptView) -> io::Result<()> {
    let label = format!("attempt {}", attempt.attempt);
    write!(out, "  {label:<10} {}", attempt.started_at)?;
    if let Some(worker) = &attempt.worker {
        write!(out, " on {worker}")?;
    }
    let is_newest = attempt.attempt == story.task.attempt;
    match (attempt.cause, attempt.seconds) {
        (Some(cause), seconds) => {
            let how = ending(cause, attempt.exit_code, attempt.signal);
            let after =
                seconds.map_or_else(String::new, |s| format!(" after {}", human_seconds(s)));
            writeln!(out, ": {how}{after}{}", exit_of(cause, attempt))?;
        }
        (None, _) if is_newest && story.task.state == TaskState::Running => {
            let so_far = story.now.seconds_since(attempt.started_at);
            writeln!(out, ": running for {}", human_seconds(so_far))?;
        }
        (None, _) => writeln!(out)?,
    }
    let mut detail = |text: String| writeln!(out, "  {:<10} {text}", "");
    if let Some(message) = &attempt.message {
        detail(format!("said: {}", one_line(message)))?;
    }
    if let Some(line) = &attempt.last_stderr {
        detail(format!("last line of stderr: {}", one_line(line)))?;
    }
    if let (Some(memory), Some(cpu)) = (attempt.peak_memory_bytes, attempt.cpu_seconds) {
        detail(format!(
            "used {} of memory at most, {} of processor time",
            human_bytes(memory),
            human_seconds(cpu)
        ))?;
    }
    for call in &attempt.failed_calls {
        detail(failed_call(call))?;
    }
    Ok(())
}

/// For an end that is not the exit code's: how the script ended all the same.
fn exit_of(cause: Cause, attempt: &AttemptView) -> String {
    match (cause, attempt.exit_code, attempt.signal) {
        (Cause::Exit | Cause::Succeeded | Cause::Skipped, ..) => String::new(),
        (_, Some(code), _) => format!(", exit code {code}"),
        (_, _, Some(signal)) => format!(", signal {signal}"),
        _ => String::new(),
    }
}

/// `failed call: s3 PutObject of b/k, NoSuchBucket, 3 times`.
fn failed_call(call: &FailedCall) -> String {
    let of = call.resource.as_ref().map_or_else(String::new, |resource| {
        format!(" of {}", one_line(resource))
    });
    let times = match call.count {
        1 => String::new(),
        n => format!(", {}", counted(n, "time")),
    };
    let FailedCall {
        service,
        operation,
        code,
        ..
    } = call;
    format!("failed call: {service} {operation}{of}, {code}{times}")
}

fn now(story: &StoryView) -> Vec<String> {
    let mut lines = Vec::new();
    match &story.waiting {
        Some(Waiting::Backoff { until }) => {
            let until = Stamp(spawn_core::moment::UnixMicros(*until));
            let left = human_seconds(until.seconds_since(story.now));
            lines.push(format!(
                "waits for its next attempt, which is due in {left}"
            ));
        }
        Some(Waiting::HeldUp { why }) => lines.push(format!("waits: {why}")),
        Some(Waiting::RunningOut) => {
            lines.push(format!(
                "too little is left of the TTL to start it; the array ends at {}",
                story.deadline
            ));
        }
        Some(Waiting::Workers {
            queued: Some(queued),
            ..
        }) => lines.push(format!("waits for a core: {}", standing::queued(queued))),
        Some(Waiting::Workers { at_work: 0, .. }) => lines.push("waits for a worker".to_owned()),
        Some(Waiting::Workers { at_work, .. }) => {
            lines.push(format!(
                "waits for one of {} to be free",
                counted((*at_work).into(), "worker")
            ));
        }
        None => {}
    }
    if let Some(progress) = &story.progress {
        lines.push(format!("says it has done {progress}"));
    }
    if let (Some(cause), Some(kill_at)) = (story.stopping, story.kill_at) {
        let left = human_seconds(kill_at.seconds_since(story.now));
        let why = stop_reason(cause);
        lines.push(format!("is being stopped ({why}), killed in {left}"));
    }
    if let Some(load) = &story.load {
        lines.push(format!(
            "uses {} of memory and {:.1} processors",
            human_bytes(load.memory_bytes),
            load.milli_cpus as f64 / 1000.0
        ));
    }
    if story.attempts.is_empty() && story.task.state.is_terminal() {
        let why = match story.intent {
            Intent::Cancel => "the array was cancelled before it was started",
            Intent::Expired => "the array's TTL ended before it was started",
            Intent::Halted => "too many tasks of the array failed before it was started",
            Intent::Run => "it was not started before the array ended",
        };
        lines.push(why.to_owned());
    }
    lines
}

/// `exit 1 of 3`, of the budgets that matter to this task.
fn spent(story: &StoryView) -> Vec<String> {
    let generous = [Cause::Interrupted, Cause::WorkerLost];
    story
        .retries
        .iter()
        .filter(|b| b.spent > 0 || (b.allowed > 0 && !generous.contains(&b.cause)))
        .map(|b| {
            let word = b.cause.word().replace('_', " ");
            format!("{word} {} of {}", b.spent, b.allowed)
        })
        .collect()
}
