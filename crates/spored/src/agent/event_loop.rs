//! The agent's loop: turns with the host, tasks in the sandbox, output into the log.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use spawn_core::outcome::StopCause;
use spawn_core::pace::{HAND_BACK_AFTER, Pace};
use spawn_core::supervise::Action;
use spawn_core::task::Token;
use spawn_local::rows::Rows;
use spawn_local::sandbox::{Departing, Program, Sandbox, ToInit, World};
use spawn_local::task_log::TaskLog;
use spawn_local::wall_clock;
use spawn_local::wire::agent::{FromAgent, Job, Stopping, ToAgent};
use spawn_local::wire::frames::{self, Inbox};
use spawn_ports::ledger::{ClaimedTask, Commit};

use super::attempt::Attempt;
use super::environment;
use super::output::Output;
use crate::task_files::{EXTENDED, STOPPING, replace};

/// Outcomes wait at most this long for a turn while a task runs.
const COMMIT_WITHIN: Duration = Duration::from_millis(20);
/// A task that has run this long is announced, so that people can watch it.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(30);

/// An agent at work.
pub struct Agent {
    pub(super) host: UnixStream,
    pub(super) inbox: Inbox,
    pub(super) job: Job,
    pub(super) world: World,
    pub(super) program: Result<Program, String>,
    pub(super) rows: Option<Rows>,
    pub(super) output: Output,
    pub(super) origin: Instant,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) departing: Departing,
    pub(super) queue: VecDeque<(Token, ClaimedTask)>,
    pub(super) current: Option<Attempt>,
    pub(super) commits: Vec<Commit>,
    pub(super) pace: Pace,
    /// A turn waits for its answer.
    pub(super) asked: bool,
    /// Few tasks are left, and this agent gets another only when it has nothing to do.
    pub(super) ahead_refused: bool,
    /// A task has run: sandboxes can be had.
    pub(super) proved: bool,
    /// Nothing more is started.
    pub(super) leaving: bool,
    /// Processes of this worker that the kernel has killed for want of memory.
    pub(super) out_of_memory_kills: u64,
    /// When the host last heard of us.
    pub(super) said: Duration,
}

impl Agent {
    /// An agent whose world is built.
    pub fn new(
        host: UnixStream,
        inbox: Inbox,
        job: Job,
        world: World,
        log: TaskLog,
        rows: Option<Rows>,
    ) -> io::Result<Agent> {
        let output = Output::new(log)?;
        let (stdout, stderr) = output.writers();
        let program = environment::program(&job, &world, stdout, stderr);
        Ok(Agent {
            host,
            inbox,
            program,
            rows,
            world,
            output,
            origin: Instant::now(),
            sandbox: None,
            departing: Departing::default(),
            queue: VecDeque::new(),
            current: None,
            commits: Vec::new(),
            pace: Pace::new(),
            asked: false,
            ahead_refused: false,
            proved: false,
            leaving: false,
            out_of_memory_kills: 0,
            said: Duration::ZERO,
            job,
        })
    }

    /// Serves until the host says that nothing is left.
    pub fn serve(mut self) -> io::Result<()> {
        loop {
            let now = self.origin.elapsed();
            if self.act(now)? {
                if let Some(sandbox) = self.sandbox.take() {
                    let left = sandbox.close()?;
                    self.leave_behind(None, left)?;
                }
                return Ok(());
            }
            let [host, init, out, err] =
                self.wait(self.next_wake().saturating_sub(self.origin.elapsed()))?;
            if out || err {
                let task = self
                    .current
                    .as_ref()
                    .map_or((0, 0), |c| (c.task.position, c.task.attempt));
                self.output.read_some(task.0, task.1)?;
            }
            if init {
                self.hear_init()?;
            }
            if host && !self.hear_host()? {
                // Without a host there is nobody to report to: the tasks will be run again.
                if let Some(sandbox) = self.sandbox.take() {
                    sandbox.kill()?;
                }
                return Ok(());
            }
        }
    }

    /// Does what can be done without waiting. Whether the agent is through.
    fn act(&mut self, now: Duration) -> io::Result<bool> {
        self.leaving |= self.is_running_out(now);
        if self.leaving && !self.queue.is_empty() {
            self.release_queue()?;
        }
        while self.current.is_none() {
            let Some((token, task)) = self.queue.pop_front() else {
                break;
            };
            self.start(token, task, now)?;
        }
        if self.current.is_none() && self.leaving {
            self.turn(0, false)?;
            return Ok(true);
        }
        if !self.asked && !self.leaving && self.queue.is_empty() {
            let ahead = self.current.is_some();
            if !ahead || self.may_ask_ahead(now) {
                let want = match self.job.one_by_one {
                    true => 1,
                    false => self.pace.want(),
                };
                self.turn(want, ahead)?;
            }
        }
        self.supervise(now)?;
        if now >= self.next_heartbeat() {
            self.say(&FromAgent::Heartbeat)?;
        }
        Ok(false)
    }

    /// Whether this worker lives so little longer that a task which started now would be told to
    /// stop at once. A fresh sandbox lives as long as its task may.
    fn is_running_out(&self, now: Duration) -> bool {
        let notice = Duration::from_millis(self.job.ttl_notice_ms);
        !self.job.fresh
            && self
                .job
                .worker_ttl_ms
                .is_some_and(|ttl| now + notice >= Duration::from_millis(ttl))
    }

    /// Whether more may be claimed while a task runs: not if it would be handed back at once.
    fn may_ask_ahead(&self, now: Duration) -> bool {
        let fresh = |c: &Attempt| now.saturating_sub(c.began) < HAND_BACK_AFTER;
        !self.ahead_refused
            && !self.job.one_by_one
            && self.pace.asks_ahead()
            && self.current.as_ref().is_some_and(fresh)
    }

    fn supervise(&mut self, now: Duration) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let mut has_stopped = false;
        let mut is_given_up = false;
        while let Some(action) = current.supervisor.tick(now) {
            apply(action, self.sandbox.as_ref())?;
            has_stopped |= action == Action::TermLeader;
            is_given_up |= action == Action::GiveUp;
        }
        if is_given_up {
            return self.give_attempt_up();
        }
        if has_stopped {
            return self.note_stop(now);
        }
        let ran = now.saturating_sub(current.began);
        if ran >= ANNOUNCE_AFTER && !current.announced {
            self.announce()?;
        }
        self.look(now)?;
        if ran >= COMMIT_WITHIN && !self.commits.is_empty() {
            self.turn(0, false)?;
        }
        if ran >= HAND_BACK_AFTER && !self.queue.is_empty() {
            self.release_queue()?;
        }
        Ok(())
    }

    /// When something comes due if nothing happens before; since the origin.
    fn next_wake(&self) -> Duration {
        let heartbeat = self.next_heartbeat();
        let Some(current) = &self.current else {
            return heartbeat;
        };
        let due = |wanted: bool, after: Duration| wanted.then(|| current.began + after);
        [
            current.supervisor.next_tick(),
            Some(current.watch.next_look()),
            due(!current.announced, ANNOUNCE_AFTER),
            due(!self.commits.is_empty(), COMMIT_WITHIN),
            due(!self.queue.is_empty(), HAND_BACK_AFTER),
        ]
        .into_iter()
        .flatten()
        .fold(heartbeat, Duration::min)
    }

    /// When to say that it is still there, so that it is not taken for lost.
    fn next_heartbeat(&self) -> Duration {
        self.said + Duration::from_millis(self.job.heartbeat_ms)
    }

    pub(super) fn say(&mut self, what: &FromAgent) -> io::Result<()> {
        self.said = self.origin.elapsed();
        frames::send(what, &mut self.host)
    }

    fn wait(&self, timeout: Duration) -> io::Result<[bool; 4]> {
        // Rounded up, so that what is waited for is due on waking.
        let ms = timeout.as_millis().saturating_add(1).min(60_000) as i32;
        let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::ZERO);
        let [out, err] = self.output.readers();
        let mut fds = vec![
            PollFd::new(self.host.as_fd(), PollFlags::POLLIN),
            PollFd::new(out, PollFlags::POLLIN),
            PollFd::new(err, PollFlags::POLLIN),
        ];
        if let Some(sandbox) = &self.sandbox {
            fds.push(PollFd::new(sandbox.link(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok([false; 4]),
            Err(e) => return Err(e.into()),
        }
        let ready = |i: usize| fds.get(i).is_some_and(|f| f.any().unwrap_or(true));
        Ok([ready(0), ready(3), ready(1), ready(2)])
    }

    /// Takes in what the host says. False if it is gone.
    fn hear_host(&mut self) -> io::Result<bool> {
        match self.inbox.fill(&mut self.host) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(e) => return Err(e),
        }
        while let Some(message) = self.inbox.take()? {
            match message {
                ToAgent::Claimed(claim) => {
                    self.asked = false;
                    self.ahead_refused = claim.tasks.is_empty();
                    self.queue
                        .extend(claim.tasks.into_iter().map(|t| (claim.token, t)));
                }
                ToAgent::Retire => {
                    self.asked = false;
                    self.leaving = true;
                }
                ToAgent::Stop {
                    cause,
                    notice_ms,
                    position,
                } => {
                    self.stop(cause, Duration::from_millis(notice_ms), position)?;
                }
                ToAgent::Extend { by_ms } => self.extend(by_ms),
                ToAgent::Job(_) => {}
            }
        }
        Ok(true)
    }

    fn stop(
        &mut self,
        cause: StopCause,
        notice: Duration,
        position: Option<u64>,
    ) -> io::Result<()> {
        let now = self.origin.elapsed();
        self.leaving |= position.is_none();
        if let Some(current) = &mut self.current
            && position.is_none_or(|p| p == current.task.position)
        {
            if let Some(action) = current.supervisor.stop(cause, notice, now) {
                apply(action, self.sandbox.as_ref())?;
            }
            return self.note_stop(now);
        }
        Ok(())
    }

    /// Tells the task, by `spored status`, and the host of the stop that is under way.
    fn note_stop(&mut self, now: Duration) -> io::Result<()> {
        let under_way = self
            .current
            .as_ref()
            .and_then(|c| c.supervisor.stop_under_way());
        let Some((cause, kill_at)) = under_way else {
            return Ok(());
        };
        if let Some(current) = &mut self.current
            && current.watch.noted.replace((cause, kill_at)) == Some((cause, kill_at))
        {
            return Ok(());
        }
        let left = kill_at.saturating_sub(now).as_millis() as u64;
        let stopping = Stopping {
            cause,
            kill_at_ms: wall_clock::now().plus_millis(left).0 / 1000,
        };
        let content = serde_json::to_vec(&stopping).unwrap_or_default();
        // Without the file `spored status` shows no stop, and that is all.
        let _ = replace(&self.world.control.join(STOPPING), &content);
        if let Some(current) = &mut self.current {
            current.watch.stopping = Some(stopping);
        }
        self.announce()
    }

    /// The array, and with it this worker, may live longer. A stop that has begun goes on.
    fn extend(&mut self, by_ms: u64) {
        self.job.ttl_ms = self.job.ttl_ms.saturating_add(by_ms);
        if let Some(ttl) = &mut self.job.worker_ttl_ms {
            *ttl = ttl.saturating_add(by_ms);
        }
        let Some(began) = self.current.as_ref().map(|current| current.began) else {
            return;
        };
        let end = self.end_of_life(began);
        let end_ms = self.clock_millis(end);
        if let Some(current) = &mut self.current
            && current.supervisor.move_limit(StopCause::Ttl, end)
        {
            // For `spored status` only: without the file it shows the old time.
            let _ = replace(
                &self.world.control.join(EXTENDED),
                end_ms.to_string().as_bytes(),
            );
        }
    }

    pub(super) fn turn(&mut self, want: u32, ahead: bool) -> io::Result<()> {
        if want == 0 && self.commits.is_empty() {
            return Ok(());
        }
        if self.job.durable && !self.commits.is_empty() {
            self.output.sync()?;
        }
        let commits = std::mem::take(&mut self.commits);
        self.asked |= want > 0;
        self.say(&FromAgent::Turn {
            commits,
            want,
            ahead,
        })
    }

    pub(super) fn release_queue(&mut self) -> io::Result<()> {
        let queue = std::mem::take(&mut self.queue);
        let mut rest = queue.into_iter().peekable();
        while let Some((token, first)) = rest.next() {
            let mut positions = vec![first.position];
            while let Some((_, task)) = rest.next_if(|(t, _)| *t == token) {
                positions.push(task.position);
            }
            self.say(&FromAgent::Release { token, positions })?;
        }
        Ok(())
    }
}

pub(super) fn apply(action: Action, sandbox: Option<&Sandbox>) -> io::Result<()> {
    let Some(sandbox) = sandbox else {
        return Ok(());
    };
    let told = sandbox.tell(&match action {
        Action::TermLeader => ToInit::TermLeader,
        Action::TermDescendants => ToInit::TermDescendants,
        Action::KillAll => ToInit::KillAll,
        Action::EndSandbox => {
            sandbox.force();
            return Ok(());
        }
        Action::GiveUp => return Ok(()),
    });
    match told {
        // The init is gone already, and its end is heard next; or it does not listen, for which there
        // are further steps.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::WouldBlock
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
