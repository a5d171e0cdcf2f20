//! How a task ends: its last output kept, its outcome judged, its traces removed.

use std::io;

use spawn_core::observed::Usage;
use spawn_core::outcome::{Cause, Report, StopCause};
use spawn_local::sandbox::FromInit;
use spawn_local::sandbox::limits::Group;
use spawn_local::shortage::is_shortage_errno;
use spawn_local::wall_clock;

use super::event_loop::Agent;
use super::task_start::launch_failed;

impl Agent {
    pub(super) fn hear_init(&mut self) -> io::Result<()> {
        let Some(sandbox) = &self.sandbox else {
            return Ok(());
        };
        let heard = sandbox.hear()?;
        let Some(current) = self.current.take() else {
            // An idle init that died: the next task opens another sandbox.
            if let Some(sandbox) = self.sandbox.take() {
                sandbox.kill()?;
            }
            return Ok(());
        };
        self.ahead_refused = false;
        let ended_at = wall_clock::now();
        let lost_output = self
            .output
            .drain(current.task.position, current.task.attempt)?;
        let kills = self
            .job
            .group
            .as_ref()
            .map_or(0, Group::out_of_memory_kills);
        let out_of_memory = kills > self.out_of_memory_kills;
        self.out_of_memory_kills = kills;
        self.proved |= matches!(heard, FromInit::Ended { .. });
        let mut usable = true;
        let mut usage = None;
        let mut report = match heard {
            FromInit::Ended {
                status,
                peak_rss_bytes,
                cpu_micros,
            } => {
                usage = Some(Usage {
                    peak_memory_bytes: peak_rss_bytes,
                    cpu_micros,
                });
                current.judge(status, &self.world, out_of_memory)
            }
            FromInit::NotStarted { errno } | FromInit::Broken { errno, .. }
                if is_shortage_errno(errno) =>
            {
                let why = io::Error::from_raw_os_error(errno);
                self.queue.push_front((current.token, current.task));
                self.leave_for_now(format!("cannot start a task: {why}"))?;
                return self.tidy(false);
            }
            FromInit::NotStarted { errno } => launch_failed(format!(
                "cannot start `{}`: {}",
                self.job
                    .argv
                    .first()
                    .or(self.job.script.as_ref())
                    .map_or("", String::as_str),
                io::Error::from_raw_os_error(errno)
            )),
            FromInit::Broken { errno, step } => {
                usable = false;
                let why = io::Error::from_raw_os_error(errno);
                let why = format!("cannot set up a sandbox ({step:?}): {why}");
                if self.may_be_too_isolated() {
                    self.queue.push_front((current.token, current.task));
                    return self.give_up(why);
                }
                launch_failed(why)
            }
            FromInit::Gone => {
                usable = false;
                Report::of(match out_of_memory {
                    true => Cause::OutOfMemory,
                    false => Cause::WorkerLost,
                })
            }
        };
        if let Some(e) = lost_output {
            report
                .ending
                .message
                .get_or_insert(format!("some output could not be kept: {e}"));
        }
        if !matches!(report.ending.cause, Cause::Succeeded | Cause::Skipped) {
            report.ending.last_stderr = self.output.last_stderr();
        }
        if current.supervisor.stopping() == Some(StopCause::Ttl) {
            self.leaving = true;
        }
        self.pace
            .finished(self.origin.elapsed().saturating_sub(current.began));
        self.commits
            .push(current.commit(report, usage, ended_at, self.output.offset()));
        self.tidy(usable)
    }

    /// Makes room for the next task. What has ended is reported first if that takes a while, and
    /// before the agent leaves because it cannot.
    fn tidy(&mut self, usable: bool) -> io::Result<()> {
        let keep = usable && !self.job.fresh;
        if keep && self.world.is_clean(false) {
            return Ok(());
        }
        if !keep && let Some(sandbox) = self.sandbox.take() {
            match usable {
                true => self.departing.add(sandbox)?,
                false => sandbox.kill()?,
            }
        }
        if self.world.is_clean(true) {
            return Ok(());
        }
        self.turn(0, false)?;
        let tidied = match keep {
            true => self.world.tidy_task(),
            false => self.world.tidy_sandbox(),
        };
        tidied.map_err(|e| {
            // The host hears of it from our end; what was claimed ahead goes back unharmed.
            let handed_back = self.release_queue();
            let why = format!("cannot empty the worker's directories: {e}");
            handed_back.err().unwrap_or_else(|| io::Error::other(why))
        })
    }
}
