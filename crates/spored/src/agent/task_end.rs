//! How a task ends: its last output kept, its outcome judged, its traces removed.

use std::io;
use std::time::Duration;

use spawn_core::observed::Usage;
use spawn_core::outcome::{Cause, Report, StopCause};
use spawn_local::sandbox::limits::Group;
use spawn_local::sandbox::processes::Process;
use spawn_local::sandbox::{FromInit, LeaderEnd, Sandbox};
use spawn_local::shortage::is_shortage_errno;
use spawn_local::wall_clock;
use spawn_local::wire::agent::{FromAgent, LeftProcess};
use spawn_local::wire::frames;

use super::event_loop::Agent;
use super::task_start::launch_failed;

impl Agent {
    pub(super) fn hear_init(&mut self) -> io::Result<()> {
        let Some(sandbox) = &self.sandbox else {
            return Ok(());
        };
        let heard = sandbox.hear()?;
        if let (FromInit::Lingering(end), Some(current)) = (heard, &mut self.current) {
            let stopping = current.supervisor.stopping();
            current.leader_end = Some((end, stopping));
            current.supervisor.lingers(self.origin.elapsed());
            return Ok(());
        }
        if self.current.is_none() {
            // An idle init that died: the next task opens another sandbox.
            let left = match self.sandbox.take() {
                Some(sandbox) => sandbox.kill()?,
                None => Vec::new(),
            };
            return self.leave_behind(None, left).map(drop);
        }
        self.attempt_ended(heard, Vec::new())
    }

    /// The kernel does not let go of what was killed: the attempt ends all the same, and this worker
    /// with it.
    pub(super) fn give_attempt_up(&mut self) -> io::Result<()> {
        let left = self.sandbox.take().map_or_else(Vec::new, Sandbox::abandon);
        self.attempt_ended(FromInit::Gone, left)
    }

    /// The attempt is over, leaving these processes behind.
    fn attempt_ended(&mut self, heard: FromInit, mut left: Vec<Process>) -> io::Result<()> {
        let Some(current) = self.current.take() else {
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
        self.proved |= matches!(heard, FromInit::Ended(_));
        let mut usable = true;
        let mut usage = None;
        let mut report = match heard {
            FromInit::Ended(end) | FromInit::Lingering(end) => {
                usage = Some(usage_of(end));
                let stopping = current
                    .leader_end
                    .map_or(current.supervisor.stopping(), |(_, stopping)| stopping);
                current.judge(end.status, stopping, &self.world, out_of_memory)
            }
            FromInit::NotStarted { errno } | FromInit::Broken { errno, .. }
                if is_shortage_errno(errno) =>
            {
                let why = io::Error::from_raw_os_error(errno);
                self.queue.push_front((current.token, current.task));
                self.leave_for_now(format!("cannot start a task: {why}"))?;
                return self.tidy(false).map(drop);
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
                let stopping = current.supervisor.stopping();
                match (current.leader_end, stopping) {
                    // Only what the script left behind had to be ended by force.
                    (Some((end, stopping)), _) => {
                        usage = Some(usage_of(end));
                        current.judge(end.status, stopping, &self.world, out_of_memory)
                    }
                    // As if it had done what it was told to.
                    (None, Some(_)) => {
                        current.judge(libc::SIGKILL, stopping, &self.world, out_of_memory)
                    }
                    (None, None) if out_of_memory => Report::of(Cause::OutOfMemory),
                    (None, None) => Report::of(Cause::WorkerLost),
                }
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
        if !usable && let Some(sandbox) = self.sandbox.take() {
            left.extend(sandbox.kill()?);
        }
        let named = self.leave_behind(Some(current.task.position), left)?;
        if let Some(named) = named {
            report.ending.message.get_or_insert(format!(
                "killed, and not gone: the kernel holds {named}; the worker was given up"
            ));
        }
        self.commits
            .push(current.commit(report, usage, ended_at, self.output.offset()));
        let left = self.tidy(usable)?;
        self.leave_behind(None, left).map(drop)
    }

    /// Processes that do not go keep what this worker is made of: it leaves, and says why. Their names,
    /// if there are any.
    pub(super) fn leave_behind(
        &mut self,
        position: Option<u64>,
        left: Vec<Process>,
    ) -> io::Result<Option<String>> {
        if left.is_empty() {
            return Ok(None);
        }
        self.leaving = true;
        let processes: Vec<LeftProcess> = left.into_iter().map(LeftProcess::from).collect();
        let named: Vec<String> = processes
            .iter()
            .take(3)
            .map(|p| format!("process {} (`{}`)", p.pid, p.name))
            .collect();
        self.say(&FromAgent::Stuck {
            position,
            processes,
        })?;
        Ok(Some(named.join(", ")))
    }

    /// Makes room for the next task. What has ended is reported first if that takes a while, and
    /// before the agent leaves because it cannot.
    fn tidy(&mut self, usable: bool) -> io::Result<Vec<Process>> {
        let keep = usable && !self.job.fresh;
        let mut left = Vec::new();
        if keep && self.world.is_clean(false) {
            return Ok(left);
        }
        if !keep && let Some(sandbox) = self.sandbox.take() {
            match usable {
                true => self.departing.add(sandbox)?,
                false => left = sandbox.kill()?,
            }
        }
        // Whoever leaves empties nothing: its directories go with it.
        if self.leaving || !left.is_empty() || self.world.is_clean(true) {
            return Ok(left);
        }
        self.turn(0, false)?;
        // Much may lie there; the lease must not end over it.
        let Agent {
            world,
            host,
            said,
            origin,
            job,
            ..
        } = self;
        let every = Duration::from_millis(job.heartbeat_ms);
        let mut beat = || {
            let now = origin.elapsed();
            if now >= *said + every {
                *said = now;
                // That the host is gone is seen by reading.
                let _ = frames::send(&FromAgent::Heartbeat, host);
            }
        };
        let tidied = match keep {
            true => world.tidy_task(&mut beat),
            false => world.tidy_sandbox(&mut beat),
        };
        tidied.map(|()| left).map_err(|e| {
            // The host hears of it from our end; what was claimed ahead goes back unharmed.
            let handed_back = self.release_queue();
            let why = format!("cannot empty the worker's directories: {e}");
            handed_back.err().unwrap_or_else(|| io::Error::other(why))
        })
    }
}

fn usage_of(end: LeaderEnd) -> Usage {
    Usage {
        peak_memory_bytes: end.peak_rss_bytes,
        cpu_micros: end.cpu_micros,
    }
}
