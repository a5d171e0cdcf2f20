//! `spored status`: what a task may want to know of itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use spawn_core::completion;
use spawn_core::observed::Progress;
use spawn_core::outcome::{Status, StopCause};
use spawn_local::sandbox::processes;
use spawn_local::wall_clock;
use spawn_local::wire::agent::Stopping;

use crate::progress;
use crate::task_files::{EXTENDED, SAID, STOPPING, TIMEOUT, TTL_END};

/// A task, as its own script may see it. Times are seconds.
#[derive(Debug, Serialize)]
pub struct TaskStatus {
    array_id: String,
    name: String,
    index: u64,
    size: u64,
    attempt: u32,
    worker: String,
    /// How long the script has been running.
    running_seconds: Option<u64>,
    progress: Option<Progress>,
    /// What it said with `spored complete`.
    completed: Option<&'static str>,
    /// How long one attempt may run.
    timeout_seconds: Option<f64>,
    /// How long until the TTL ends the worker.
    ttl_left_seconds: Option<f64>,
    /// Why it is being stopped, if it is.
    stopping: Option<StopCause>,
    /// How long until everything is killed, if it is being stopped.
    killed_in_seconds: Option<f64>,
}

impl TaskStatus {
    /// The task that this process belongs to. `None` if its variables do not say which.
    pub fn read(control: &Path, var: impl Fn(&str) -> Option<String>) -> Option<TaskStatus> {
        let now_ms = wall_clock::now().0 / 1000;
        let left = |at_ms: i64| (at_ms - now_ms).max(0) as f64 / 1000.0;
        let said = fs::read(control.join(SAID)).ok();
        let stopping: Option<Stopping> = fs::read(control.join(STOPPING))
            .ok()
            .and_then(|content| serde_json::from_slice(&content).ok());
        let ttl_end = fs::read_to_string(control.join(EXTENDED))
            .ok()
            .or_else(|| var(TTL_END))
            .and_then(|text| text.trim().parse::<i64>().ok());
        let number = |name: &str| var(name)?.parse::<u64>().ok();
        Some(TaskStatus {
            array_id: var("TASK_ARRAY_ID")?,
            name: var("TASK_ARRAY_NAME")?,
            index: number("TASK_ARRAY_INDEX")?,
            size: number("TASK_ARRAY_SIZE")?,
            attempt: u32::try_from(number("TASK_ATTEMPT")?).ok()?,
            worker: var("TASK_WORKER")?,
            running_seconds: running_for().map(|time| time.as_secs()),
            progress: progress::read(control),
            completed: said
                .and_then(|said| completion::parse(&said).ok())
                .map(|said| Status::word(said.status)),
            timeout_seconds: number(TIMEOUT).map(|ms| ms as f64 / 1000.0),
            ttl_left_seconds: ttl_end.map(left),
            stopping: stopping.map(|stop| stop.cause),
            killed_in_seconds: stopping.map(|stop| left(stop.kill_at_ms)),
        })
    }

    /// The lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("array     {} ({})", self.array_id, self.name),
            format!(
                "task      index {} of {}, attempt {}",
                self.index, self.size, self.attempt
            ),
            format!("worker    {}", self.worker),
        ];
        if let Some(seconds) = self.running_seconds {
            lines.push(format!("running   for {seconds}s"));
        }
        if let Some(seconds) = self.timeout_seconds {
            lines.push(format!("timeout   {seconds:.0}s for each attempt"));
        }
        if let Some(progress) = &self.progress {
            lines.push(format!("progress  {progress}"));
        }
        if let Some(status) = self.completed {
            lines.push(format!("said      {status}"));
        }
        if let Some(seconds) = self.ttl_left_seconds {
            lines.push(format!("ttl       ends in {seconds:.0}s"));
        }
        if let (Some(cause), Some(seconds)) = (self.stopping, self.killed_in_seconds) {
            let why = match cause {
                StopCause::Interrupted => "interrupted",
                StopCause::Timeout => "it ran past --timeout",
                StopCause::Ttl => "it ran past --ttl",
                StopCause::Cancelled => "cancelled",
            };
            lines.push(format!("stopping  {why}; killed in {seconds:.0}s"));
        }
        lines
    }
}

/// How long the script has been running: it is the leader of this process's session.
fn running_for() -> Option<Duration> {
    let leader = nix::unistd::getsid(None).ok()?;
    processes::age(leader.as_raw())
}
