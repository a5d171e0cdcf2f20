//! How a task starts: files laid out, a sandbox opened, limits set; or why it does not.

use std::io;
use std::time::Duration;

use spawn_core::outcome::{Cause, Report, StopCause};
use spawn_core::supervise::{Supervisor, notice_of};
use spawn_core::task::Token;
use spawn_local::caller::Caller;
use spawn_local::rows::Row;
use spawn_local::sandbox::{Sandbox, ToInit};
use spawn_local::shortage::is_shortage;
use spawn_local::wall_clock;
use spawn_local::wire::agent::{FromAgent, Isolation};
use spawn_ports::ledger::ClaimedTask;

use super::attempt::{self, Attempt};
use super::environment;
use super::event_loop::{Agent, apply};
use super::pieces;
use super::watch::Watch;

/// Why a task did not start.
enum LaunchError {
    /// Something about the task or its array.
    Task(String),
    /// There is no sandbox to run it in.
    Sandbox(String),
    /// The machine is out of something; the task is as good as it was.
    Shortage(String),
}

impl LaunchError {
    /// What failed for this reason, unless the reason is a shortage.
    fn of(error: &io::Error, otherwise: fn(String) -> LaunchError, what: &str) -> LaunchError {
        let why = format!("{what}: {error}");
        match is_shortage(error) {
            true => LaunchError::Shortage(why),
            false => otherwise(why),
        }
    }
}

impl From<String> for LaunchError {
    fn from(why: String) -> LaunchError {
        LaunchError::Task(why)
    }
}

impl Agent {
    pub(super) fn start(
        &mut self,
        token: Token,
        task: ClaimedTask,
        now: Duration,
    ) -> io::Result<()> {
        let row = self.row_of(&task);
        let timeout_ms = row.as_ref().ok().and_then(|row| row.timeout_ms);
        let mut attempt = Attempt {
            token,
            task,
            started_at: wall_clock::now(),
            began: now,
            supervisor: self.limits(now, timeout_ms),
            timeout_at: self
                .timeout_of(timeout_ms)
                .map(|(whole, notice)| now + whole + notice),
            log_offset: self.output.offset(),
            announced: false,
            watch: Watch::new(now),
            leader_end: None,
        };
        self.output.begin();
        match self.launch(token, &task, row, now) {
            Ok(()) => {}
            Err(LaunchError::Shortage(why)) => {
                self.queue.push_front((token, task));
                return self.leave_for_now(why);
            }
            Err(LaunchError::Sandbox(why)) if self.may_be_too_isolated() => {
                self.queue.push_front((token, task));
                return self.give_up(why);
            }
            Err(LaunchError::Sandbox(why) | LaunchError::Task(why)) => {
                let commit = attempt.commit(
                    launch_failed(why),
                    None,
                    wall_clock::now(),
                    self.output.offset(),
                );
                self.commits.push(commit);
                return Ok(());
            }
        }
        // A stop that came due while the sandbox was made.
        while let Some(action) = attempt.supervisor.tick(self.origin.elapsed()) {
            apply(action, self.sandbox.as_ref())?;
        }
        self.current = Some(attempt);
        Ok(())
    }

    /// Whether a sandbox that cannot be opened may mean that none of this isolation ever can.
    pub(super) fn may_be_too_isolated(&self) -> bool {
        !self.proved && self.world.isolation > Isolation::Shared
    }

    /// Hands everything back and leaves; the host tries again with less isolation.
    pub(super) fn give_up(&mut self, why: String) -> io::Result<()> {
        self.release_queue()?;
        self.leaving = true;
        self.say(&FromAgent::Broken { why })
    }

    /// Hands everything back and leaves; the host holds the array up for a while.
    pub(super) fn leave_for_now(&mut self, why: String) -> io::Result<()> {
        self.release_queue()?;
        self.leaving = true;
        self.say(&FromAgent::Short { why })
    }

    /// The index of a task of this lane.
    fn index_of(&self, task: &ClaimedTask) -> Result<u64, String> {
        task.position
            .checked_sub(self.job.first_position)
            .and_then(|nth| self.job.indices.get(nth))
            .ok_or_else(|| "the array has no such task".to_owned())
    }

    /// What the parameter file has for a task; nothing without such a file.
    fn row_of(&self, task: &ClaimedTask) -> Result<Row, String> {
        let row = match &self.rows {
            None => return Ok(Row::default()),
            Some(rows) => rows.get(self.index_of(task)?),
        };
        row.map_err(|e| format!("cannot read the task's parameters: {e}"))
    }

    fn launch(
        &mut self,
        token: Token,
        task: &ClaimedTask,
        row: Result<Row, String>,
        began: Duration,
    ) -> Result<(), LaunchError> {
        if let Some(why) = &self.job.missing {
            return Err(LaunchError::Task(why.clone()));
        }
        let row = row?;
        if let Some(name) = &self.job.script {
            // The program that runs it would only say that it failed.
            let script = self.world.job.join("script").join(name);
            if !script.exists() {
                return Err(LaunchError::Task(pieces::gone(&script)));
            }
        }
        let index = self.index_of(task)?;
        let worker = environment::worker_name(&self.job, index);
        attempt::forget_completion().map_err(|e| e.to_string())?;
        attempt::lay_out(&self.job.shipped, &self.world).map_err(|e| {
            LaunchError::of(&e, LaunchError::Task, "cannot lay out the shipped files")
        })?;
        let caller = Caller {
            agent: self.job.agent,
            position: task.position,
            token,
        };
        let vars = environment::task_vars(
            index,
            task.attempt,
            &worker,
            &caller.to_string(),
            self.clock_millis(self.end_of_life(began)),
            row.timeout_ms.or(self.job.timeout_ms),
            &row,
        );
        if let Some(sandbox) = self.sandbox.take() {
            if sandbox.tell(&ToInit::Run(&vars)).is_ok() {
                self.sandbox = Some(sandbox);
                return Ok(());
            }
            // Its init is gone or does not listen; the task gets another.
            let left = sandbox.kill().map_err(|e| e.to_string())?;
            self.leave_behind(None, left).map_err(|e| e.to_string())?;
        }
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let open = |only| {
            let opened = Sandbox::open(self.world.isolation, &worker, program, only);
            opened.map_err(|e| LaunchError::of(&e, LaunchError::Sandbox, "cannot open a sandbox"))
        };
        self.sandbox = Some(match self.job.fresh {
            true => open(Some(&vars))?,
            false => {
                let sandbox = open(None)?;
                let told = sandbox.tell(&ToInit::Run(&vars));
                told.map_err(|e| format!("cannot reach the sandbox: {e}"))?;
                sandbox
            }
        });
        Ok(())
    }

    fn limits(&self, now: Duration, own_timeout_ms: Option<u64>) -> Supervisor {
        let mut supervisor = Supervisor::new();
        if let Some((whole, notice)) = self.timeout_of(own_timeout_ms) {
            supervisor.limit(StopCause::Timeout, now + whole + notice, notice);
        }
        // By the end of the TTL everything is over.
        let end = self.end_of_life(now);
        let notice = Duration::from_millis(self.job.ttl_notice_ms);
        supervisor.limit(StopCause::Ttl, end, notice);
        supervisor
    }

    /// How long a script may run, and how long it then has to clean up.
    fn timeout_of(&self, own_timeout_ms: Option<u64>) -> Option<(Duration, Duration)> {
        let whole = Duration::from_millis(own_timeout_ms.or(self.job.timeout_ms)?);
        Some((whole, notice_of(whole).max(Duration::from_secs(1))))
    }

    /// When the TTL ends what started at `began`: the worker's own, or the array's.
    pub(super) fn end_of_life(&self, began: Duration) -> Duration {
        let array = Duration::from_millis(self.job.ttl_ms);
        let Some(ms) = self.job.worker_ttl_ms else {
            return array;
        };
        let born = if self.job.fresh {
            began
        } else {
            Duration::ZERO
        };
        array.min(born + Duration::from_millis(ms))
    }

    /// What the wall clock will show at this time since the origin: milliseconds since 1970.
    pub(super) fn clock_millis(&self, at: Duration) -> i64 {
        let left = at.saturating_sub(self.origin.elapsed());
        wall_clock::now().plus_millis(left.as_millis() as u64).0 / 1000
    }
}

/// A report of a task that did not start.
pub(super) fn launch_failed(why: String) -> Report {
    let mut report = Report::of(Cause::LaunchFailed);
    report.ending.message = Some(why);
    report
}
