//! The agent's loop: turns with the host, tasks in the sandbox, output into the log.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Report, StopCause};
use spawn_core::pace::{HAND_BACK_AFTER, Pace};
use spawn_core::supervise::{Action, Supervisor};
use spawn_core::task::Token;
use spawn_local::sandbox::limits::Group;
use spawn_local::sandbox::{Departing, FromInit, Program, Sandbox, ToInit, World};
use spawn_local::task_log::TaskLog;
use spawn_local::wire::agent::{FromAgent, Isolation, Job, ToAgent};
use spawn_local::wire::frames::{self, Inbox};
use spawn_ports::ledger::{ClaimedTask, Commit};

use super::attempt::{self, Attempt};
use super::environment;
use super::output::Output;

/// Outcomes wait at most this long for a turn while a task runs.
const COMMIT_WITHIN: Duration = Duration::from_millis(20);
/// A task that has run this long is announced, so that people can watch it.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(30);
/// An agent with nothing to say says so this often, so that it is not taken for lost.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What a script may use to clean up when its time runs out.
const LONGEST_NOTICE: Duration = Duration::from_secs(30);

/// An agent at work.
pub struct Agent {
    host: UnixStream,
    inbox: Inbox,
    job: Job,
    world: World,
    program: Result<Program, String>,
    output: Output,
    origin: Instant,
    sandbox: Option<Sandbox>,
    departing: Departing,
    queue: VecDeque<(Token, ClaimedTask)>,
    current: Option<Attempt>,
    commits: Vec<Commit>,
    pace: Pace,
    /// A turn waits for its answer.
    asked: bool,
    /// Few tasks are left, and this agent gets another only when it has nothing to do.
    ahead_refused: bool,
    /// A task has run: sandboxes can be had.
    proved: bool,
    /// Nothing more is started.
    leaving: bool,
    /// Processes of this worker that the kernel has killed for want of memory.
    out_of_memory_kills: u64,
    /// When the host last heard of us.
    said: Duration,
}

impl Agent {
    /// An agent whose world is built.
    pub fn new(
        host: UnixStream,
        inbox: Inbox,
        job: Job,
        world: World,
        log: TaskLog,
    ) -> io::Result<Agent> {
        let output = Output::new(log)?;
        let (stdout, stderr) = output.writers();
        let program = environment::program(&job, &world, stdout, stderr);
        Ok(Agent {
            host,
            inbox,
            program,
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
                    sandbox.close()?;
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
                let want = self.pace.want();
                self.turn(want, ahead)?;
            }
        }
        self.supervise(now)?;
        if now >= self.said + HEARTBEAT {
            self.say(&FromAgent::Heartbeat)?;
        }
        Ok(false)
    }

    /// Whether more may be claimed while a task runs: not if it would be handed back at once.
    fn may_ask_ahead(&self, now: Duration) -> bool {
        let fresh = |c: &Attempt| now.saturating_sub(c.began) < HAND_BACK_AFTER;
        !self.ahead_refused && self.pace.asks_ahead() && self.current.as_ref().is_some_and(fresh)
    }

    fn supervise(&mut self, now: Duration) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        while let Some(action) = current.supervisor.tick(now) {
            apply(action, self.sandbox.as_ref())?;
        }
        let ran = now.saturating_sub(current.began);
        if ran >= ANNOUNCE_AFTER && !current.announced {
            current.announced = true;
            let running = FromAgent::Running {
                position: current.task.position,
                attempt: current.task.attempt,
                log_offset: current.log_offset,
            };
            self.say(&running)?;
        }
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
        let heartbeat = self.said + HEARTBEAT;
        let Some(current) = &self.current else {
            return heartbeat;
        };
        let due = |wanted: bool, after: Duration| wanted.then(|| current.began + after);
        [
            current.supervisor.next_tick(),
            due(!current.announced, ANNOUNCE_AFTER),
            due(!self.commits.is_empty(), COMMIT_WITHIN),
            due(!self.queue.is_empty(), HAND_BACK_AFTER),
        ]
        .into_iter()
        .flatten()
        .fold(heartbeat, Duration::min)
    }

    fn say(&mut self, what: &FromAgent) -> io::Result<()> {
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

    fn start(&mut self, token: Token, task: ClaimedTask, now: Duration) -> io::Result<()> {
        let mut attempt = Attempt {
            token,
            task,
            started_at: wall_clock(),
            began: now,
            supervisor: self.limits(now),
            log_offset: self.output.offset(),
            announced: false,
        };
        match self.launch(&task) {
            Ok(()) => {}
            Err(LaunchError::Sandbox(why)) if self.may_be_too_isolated() => {
                self.queue.push_front((token, task));
                return self.give_up(why);
            }
            Err(LaunchError::Sandbox(why) | LaunchError::Task(why)) => {
                let commit = attempt.commit(launch_failed(why), wall_clock(), self.output.offset());
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
    fn may_be_too_isolated(&self) -> bool {
        !self.proved && self.world.isolation > Isolation::Shared
    }

    /// Hands everything back and leaves; the host tries again with less isolation.
    fn give_up(&mut self, why: String) -> io::Result<()> {
        self.release_queue()?;
        self.leaving = true;
        self.say(&FromAgent::Broken { why })
    }

    fn launch(&mut self, task: &ClaimedTask) -> Result<(), LaunchError> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let index = self
            .job
            .indices
            .get(task.position)
            .ok_or_else(|| "the array has no such task".to_owned())?;
        let worker = environment::worker_name(&self.job, index);
        attempt::forget_completion().map_err(|e| e.to_string())?;
        attempt::lay_out(&self.job.shipped, &self.world)
            .map_err(|e| format!("cannot lay out the shipped files: {e}"))?;
        let vars = environment::task_vars(index, task.attempt, &worker);
        if let Some(sandbox) = &self.sandbox {
            let told = sandbox.tell(&ToInit::Run(&vars));
            return told.map_err(|e| LaunchError::Task(format!("cannot reach the sandbox: {e}")));
        }
        let open = |only| {
            let opened = Sandbox::open(self.world.isolation, &worker, program, only);
            opened.map_err(|e| LaunchError::Sandbox(format!("cannot open a sandbox: {e}")))
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

    fn limits(&self, now: Duration) -> Supervisor {
        let notice = |whole: Duration| {
            (whole / 4)
                .min(LONGEST_NOTICE)
                .max(Duration::from_secs(1).min(whole / 2))
        };
        let mut supervisor = Supervisor::new();
        if let Some(ms) = self.job.timeout_ms {
            // The script has all its time, and then a while to clean up.
            let whole = Duration::from_millis(ms);
            let notice = notice(whole).max(Duration::from_secs(1));
            supervisor.limit(StopCause::Timeout, now + whole + notice, notice);
        }
        // By the end of the TTL everything is over.
        let ttl = Duration::from_millis(self.job.ttl_ms);
        supervisor.limit(StopCause::Ttl, ttl, notice(ttl));
        supervisor
    }

    fn hear_init(&mut self) -> io::Result<()> {
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
        let ended_at = wall_clock();
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
        let mut report = match heard {
            FromInit::Ended { status, .. } => current.judge(status, &self.world, out_of_memory),
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
        if current.supervisor.stopping() == Some(StopCause::Ttl) {
            self.leaving = true;
        }
        self.pace
            .finished(self.origin.elapsed().saturating_sub(current.began));
        self.commits
            .push(current.commit(report, ended_at, self.output.offset()));
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
            && let Some(action) = current.supervisor.stop(cause, notice, now)
        {
            apply(action, self.sandbox.as_ref())?;
        }
        Ok(())
    }

    fn turn(&mut self, want: u32, ahead: bool) -> io::Result<()> {
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

    fn release_queue(&mut self) -> io::Result<()> {
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

/// Why a task did not start.
enum LaunchError {
    /// Something about the task or its array.
    Task(String),
    /// There is no sandbox to run it in.
    Sandbox(String),
}

impl From<String> for LaunchError {
    fn from(why: String) -> LaunchError {
        LaunchError::Task(why)
    }
}

fn launch_failed(why: String) -> Report {
    let mut report = Report::of(Cause::LaunchFailed);
    report.ending.message = Some(why);
    report
}

fn apply(action: Action, sandbox: Option<&Sandbox>) -> io::Result<()> {
    let Some(sandbox) = sandbox else {
        return Ok(());
    };
    let told = sandbox.tell(&match action {
        Action::TermLeader => ToInit::TermLeader,
        Action::TermDescendants => ToInit::TermDescendants,
        Action::KillAll => ToInit::KillAll,
    });
    match told {
        // The init is gone already; its end is heard next.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn wall_clock() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
