//! The loop of a worker that is a whole machine.

mod leaving;
mod overdue;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use spawn_core::array_id::ArrayId;
use spawn_core::crew::is_fallback_needed;
use spawn_core::max_failures::MaxFailures;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::supervise::AGENT_ANSWER;
use spawn_core::task::{Intent, Token};
use spawn_local::wall_clock;
use spawn_local::wire::agent::{FromAgent, Job, ToAgent};
use spawn_local::wire::client::RunningTask;
use spawn_local::wire::frames::{self, Inbox};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, Commit, Ledger, LedgerError, NewAgent,
};
use spawn_ports::machine::{Leave, Machine, MachineError, Outlook};
use spawn_ports::objects::Objects;

use crate::observer::Observer;
use crate::output::{Carrier, CarryError};
use crate::patience::pause;

/// What a worker is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The array it serves.
    pub array: ArrayId,
    /// How it enrols.
    pub enrolment: NewAgent,
    /// How long a worker may be silent before others give it up.
    pub lease: Duration,
    /// How often the machine's future is looked at.
    pub look_every: Duration,
    /// How long an idle worker waits before it asks again, at most.
    pub ask_every: Duration,
    /// How long scripts get when the array is cancelled.
    pub cancel_notice: Duration,
    /// How many tasks may fail before nothing more is started.
    pub max_failures: Option<MaxFailures>,
    /// How many workers were asked for in its lane, if others stand in for those that do not come.
    pub wanted: Option<u32>,
    /// The agent's log.
    pub log: PathBuf,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing was left for it to do.
    Retired,
    /// Its machine is taken back; another takes its place.
    Yielded,
}

/// Why a worker cannot go on. Its machine should be replaced.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The machine or its group.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// What tasks printed.
    #[error(transparent)]
    Output(#[from] CarryError),
    /// The agent.
    #[error("the agent: {0}")]
    Agent(#[from] io::Error),
    /// The agent says that it cannot run tasks here.
    #[error("this machine cannot run tasks: {0}")]
    Broken(String),
    /// This machine lacks something that tasks need, which has nothing to do with isolation.
    #[error("this machine cannot run tasks: {0}")]
    Unready(String),
    /// There is no such array.
    #[error("the ledger knows no array `{0}`")]
    NoArray(ArrayId),
}

impl WorkerError {
    /// Whether the same may succeed later, with nothing changed by anybody.
    pub fn is_passing(&self) -> bool {
        match self {
            WorkerError::Ledger(error) => matches!(error, LedgerError::Unavailable { .. }),
            WorkerError::Output(CarryError::Objects(error)) => error.is_passing,
            _ => false,
        }
    }
}

/// A worker at work.
pub struct Worker<'a> {
    ledger: &'a mut dyn Ledger,
    objects: &'a mut dyn Objects,
    machine: &'a mut dyn Machine,
    now: &'a dyn Fn() -> UnixMicros,
    settings: Settings,
    agent: UnixStream,
    inbox: Inbox,
    origin: Instant,
    id: AgentId,
    carrier: Carrier,
    observer: Observer,
    /// What the agent asked for and has not been given yet.
    wanted: Option<u32>,
    ask_at: Duration,
    heartbeat_at: Duration,
    look_at: Duration,
    /// The array as it was last seen.
    intent: Intent,
    deadline: UnixMicros,
    /// Outcomes that the ledger has not taken yet, and tasks that it has not taken back.
    commits: Vec<Commit>,
    releases: Vec<(Token, Vec<u64>)>,
    settle_at: Duration,
    /// Failures in passing, in a row.
    failures: u32,
    /// The end of the array's time, since the origin; none once it is dealt with.
    expires_at: Option<Duration>,
    /// When outcomes that cannot be told are told no more, since the origin.
    hopeless_at: Duration,
    /// How long before the end of the array's time the agent stops what runs, and leaves.
    ttl_notice: Duration,
    /// It has taken itself out of the ledger.
    is_out: bool,
    running: Option<RunningTask>,
    /// What the object of running tasks says.
    shown: Option<RunningTask>,
    /// Nothing is claimed any more, for this reason.
    leaving: Option<Leave>,
    /// The agent was told that nothing is left.
    retired: bool,
    /// When the agent last said something, since the origin.
    heard: Duration,
    /// When the agent is ended by force, if it was told to stop and to leave.
    gone_by: Option<Duration>,
    /// The same for its task, if that has a time limit.
    task_gone_by: Option<Duration>,
    /// No others need stand in for workers of this lane any more, and that is arranged.
    is_complete: bool,
}

impl<'a> Worker<'a> {
    /// Enrols the worker and gives its agent the job that `job` makes of the enrolment.
    ///
    /// `agent` is the other end of the agent's standard input; `now` reads the wall clock.
    ///
    /// # Errors
    /// The array is not there, or the ledger or the agent cannot be reached.
    pub fn start(
        settings: Settings,
        ledger: &'a mut dyn Ledger,
        objects: &'a mut dyn Objects,
        machine: &'a mut dyn Machine,
        now: &'a dyn Fn() -> UnixMicros,
        mut agent: UnixStream,
        job: impl FnOnce(AgentId) -> Job,
    ) -> Result<Worker<'a>, WorkerError> {
        let record = ledger
            .array(&settings.array)?
            .ok_or_else(|| WorkerError::NoArray(settings.array.clone()))?;
        let id = ledger.enroll(&settings.enrolment, now())?;
        let left = Duration::from_micros(record.submitted.deadline.micros_since(now()));
        let job = job(id);
        let ttl_notice = Duration::from_millis(job.ttl_notice_ms);
        frames::send(&ToAgent::Job(Box::new(job)), &mut agent)?;
        Ok(Worker {
            carrier: Carrier::new(&settings.array, id, &settings.log),
            observer: Observer::new(settings.lease),
            ledger,
            objects,
            machine,
            now,
            agent,
            inbox: Inbox::new(),
            origin: Instant::now(),
            id,
            wanted: None,
            ask_at: Duration::ZERO,
            heartbeat_at: Duration::ZERO,
            look_at: Duration::ZERO,
            intent: record.intent,
            deadline: record.submitted.deadline,
            commits: Vec::new(),
            releases: Vec::new(),
            settle_at: Duration::ZERO,
            failures: 0,
            expires_at: Some(left),
            hopeless_at: left + settings.lease,
            ttl_notice,
            is_out: false,
            running: None,
            shown: None,
            leaving: None,
            retired: false,
            heard: Duration::ZERO,
            gone_by: None,
            task_gone_by: None,
            is_complete: false,
            settings,
        })
    }

    /// Serves until nothing is left, or the machine is taken back; then leaves the group.
    ///
    /// # Errors
    /// The worker cannot go on. What it holds goes to others when its lease is over.
    pub fn serve(mut self) -> Result<End, WorkerError> {
        loop {
            let now = self.origin.elapsed();
            if now >= self.look_at {
                self.look_at = now + self.settings.look_every;
                self.look_ahead()?;
            }
            if now >= self.heartbeat_at {
                self.heartbeat_at = now + self.settings.lease / 3;
                let done = self.beat(now);
                if let Some(again) = self.borne(done)? {
                    self.heartbeat_at = self.heartbeat_at.min(again);
                }
            }
            if self.expires_at.is_some_and(|at| now >= at) {
                let done = self.expire();
                if let Some(again) = self.borne(done)? {
                    self.expires_at = Some(again);
                }
            }
            self.advance()?;
            if self.is_agent_overdue()? {
                self.end_agent();
                return self.leave();
            }
            let wake = [self.look_at, self.heartbeat_at]
                .into_iter()
                .chain(self.is_unsettled().then_some(self.settle_at))
                .chain(
                    self.wanted
                        .filter(|_| !self.is_unsettled())
                        .map(|_| self.ask_at),
                )
                .chain(self.expires_at)
                .chain([self.agent_ends_at()])
                .min()
                .unwrap_or(self.look_at);
            if self.agent_spoke(wake.saturating_sub(self.origin.elapsed()))? && !self.hear()? {
                return self.leave();
            }
        }
    }

    /// Tells the ledger what there is to tell; and only then claims.
    fn advance(&mut self) -> Result<(), WorkerError> {
        if self.is_unsettled() && self.origin.elapsed() >= self.settle_at {
            let done = self.settle();
            if let Some(again) = self.borne(done)? {
                self.settle_at = again;
            }
        }
        if let Some(want) = self.wanted
            && !self.is_unsettled()
            && self.origin.elapsed() >= self.ask_at
        {
            let done = self.give(want);
            if let Some(again) = self.borne(done)? {
                self.ask_at = again;
            }
        }
        Ok(())
    }

    fn is_unsettled(&self) -> bool {
        !self.commits.is_empty() || !self.releases.is_empty()
    }

    /// An outage is no reason to stop: when to try again, if this was one.
    fn borne(&mut self, done: Result<(), WorkerError>) -> Result<Option<Duration>, WorkerError> {
        match done {
            Ok(()) => {
                self.failures = 0;
                Ok(None)
            }
            Err(e) if e.is_passing() => {
                self.failures = self.failures.saturating_add(1);
                eprintln!("spored-node: {e}; trying again");
                Ok(Some(self.origin.elapsed() + pause(self.failures)))
            }
            Err(e) => Err(e),
        }
    }

    fn agent_spoke(&self, wait: Duration) -> io::Result<bool> {
        let ms = i32::try_from(wait.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.agent.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(n) => Ok(n > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes in what the agent says. False once it is gone.
    fn hear(&mut self) -> Result<bool, WorkerError> {
        match self.inbox.fill(&mut self.agent) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(e) => return Err(e.into()),
        }
        self.heard = self.origin.elapsed();
        while let Some(message) = self.inbox.take::<FromAgent>()? {
            match message {
                FromAgent::Turn { commits, want, .. } => {
                    self.take(commits);
                    if want > 0 {
                        self.wanted = Some(want);
                        self.ask_at = Duration::ZERO;
                    }
                }
                FromAgent::Release { token, positions } => self.releases.push((token, positions)),
                FromAgent::Broken { why } => return Err(WorkerError::Broken(why)),
                FromAgent::Short { why } | FromAgent::Missing { why } => {
                    return Err(WorkerError::Unready(why));
                }
                FromAgent::Stuck { processes, .. } => {
                    for process in processes {
                        let (pid, name) = (process.pid, process.name);
                        eprintln!(
                            "spored-node: process {pid} (`{name}`) was killed and does not end"
                        );
                    }
                }
                FromAgent::Running {
                    position,
                    attempt,
                    log_offset,
                    progress,
                    load,
                    stopping,
                    timeout_in_ms,
                } => {
                    self.task_gone_by = timeout_in_ms
                        .map(|ms| self.origin.elapsed() + Duration::from_millis(ms) + AGENT_ANSWER);
                    let known = self.running.filter(|known| known.log_offset == log_offset);
                    self.running = Some(RunningTask {
                        position,
                        attempt,
                        log_offset,
                        since: known.map_or((self.now)().0, |known| known.since),
                        progress,
                        load,
                        stopping,
                    });
                }
                FromAgent::Built { .. } | FromAgent::Heartbeat => {}
            }
        }
        Ok(true)
    }

    /// Keeps outcomes until the ledger has them. The agent's clock is the machine's; the ledger has the
    /// time that everybody has.
    fn take(&mut self, commits: Vec<Commit>) {
        let ahead = (self.now)().0.saturating_sub(wall_clock::now().0);
        // Less is the time between two looks.
        let ahead = if ahead.abs() < 1_000_000 { 0 } else { ahead };
        let moved = |at: UnixMicros| UnixMicros(at.0.saturating_add(ahead));
        self.running = self.running.filter(|_| commits.is_empty());
        self.task_gone_by = self.task_gone_by.filter(|_| commits.is_empty());
        self.commits
            .extend(commits.into_iter().map(|commit| Commit {
                started_at: moved(commit.started_at),
                ended_at: moved(commit.ended_at),
                ..commit
            }));
    }

    /// Outcomes count once the output they point to is safe.
    fn settle(&mut self) -> Result<(), WorkerError> {
        if let Some(end) = self.commits.iter().map(|c| c.log.offset + c.log.len).max() {
            self.carrier.carry(self.objects, Some(end))?;
            // One that was taken over is refused, which is how it should be; and so is one that is
            // told again since the answer was lost.
            self.ledger.commit(self.id, &self.commits, (self.now)())?;
            self.commits.clear();
            self.halt_if_too_many_failed()?;
        }
        while let Some((token, positions)) = self.releases.last() {
            self.ledger
                .release(self.id, *token, positions, (self.now)())?;
            self.releases.pop();
        }
        Ok(())
    }

    /// Every worker looks for itself: the first that sees it closes the array.
    fn halt_if_too_many_failed(&mut self) -> Result<(), WorkerError> {
        let Some(most) = self.settings.max_failures else {
            return Ok(());
        };
        let Some(record) = self.record()? else {
            return Ok(());
        };
        let counts = &record.counts;
        if record.intent == Intent::Run && most.exceeded_by(counts.failed, counts.total()) {
            let now = (self.now)();
            self.ledger
                .close(&self.settings.array, Intent::Halted, now)?;
        }
        Ok(())
    }

    /// The array's time is over, unless somebody gave it more.
    fn expire(&mut self) -> Result<(), WorkerError> {
        let read = self.record().and_then(|record| match record {
            Some(record) => self.heed(&record),
            None => self.be_abandoned(),
        });
        if self.expires_at.is_some_and(|at| self.origin.elapsed() < at) {
            return read;
        }
        // Whether the ledger can be asked or not: nothing runs for longer.
        if self.leaving.is_none() {
            self.leave_because(Leave::Retire, Some((StopCause::Ttl, Duration::ZERO)))?;
        }
        read?;
        match self
            .ledger
            .close(&self.settings.array, Intent::Expired, (self.now)())
        {
            Ok(_) | Err(LedgerError::UnknownArray(_)) => {}
            Err(e) => return Err(e.into()),
        }
        self.expires_at = None;
        Ok(())
    }

    /// Gives the agent tasks, if there are any for it.
    fn give(&mut self, want: u32) -> Result<(), WorkerError> {
        if self.leaving.is_some() {
            return self.retire();
        }
        let now = (self.now)();
        if self.is_out {
            return self.stay_or_retire(None);
        }
        let claim = match self.ledger.claim(self.id, want, now) {
            Ok(claim) => claim,
            Err(LedgerError::UnknownAgent(_)) => return self.be_given_up(),
            Err(LedgerError::UnknownArray(_)) => return self.be_abandoned(),
            Err(e) => return Err(e.into()),
        };
        if !claim.tasks.is_empty() {
            self.wanted = None;
            frames::send(&ToAgent::Claimed(claim), &mut self.agent)?;
            return Ok(());
        }
        self.stay_or_retire(claim.next_due)
    }

    fn record(&mut self) -> Result<Option<ArrayRecord>, WorkerError> {
        Ok(self.ledger.array(&self.settings.array)?)
    }

    /// Asks what becomes of the machine.
    fn look_ahead(&mut self) -> Result<(), WorkerError> {
        // Whoever knows may be out for a while; that is no news of our end.
        let Ok(outlook) = self.machine.outlook() else {
            return Ok(());
        };
        match outlook {
            Outlook::Calm => {}
            Outlook::AtRisk => self.leave_because(Leave::Yield, None)?,
            Outlook::Ending { at } => {
                let notice = Duration::from_micros(at.micros_since((self.now)()));
                // What is left of the time is for the outcome and the output.
                let notice = notice.saturating_sub((notice / 4).min(Duration::from_secs(15)));
                self.leave_because(Leave::Yield, Some((StopCause::Interrupted, notice)))?;
            }
        }
        Ok(())
    }

    /// Says that it is there, sees what is wanted of the array, and gives up workers that are gone.
    fn beat(&mut self, now: Duration) -> Result<(), WorkerError> {
        if !self.is_out && (self.leaving.is_none() || !self.retired) {
            match self.ledger.claim(self.id, 0, (self.now)()) {
                Ok(_) => {}
                Err(LedgerError::UnknownAgent(_)) => return self.be_given_up(),
                Err(LedgerError::UnknownArray(_)) => return self.be_abandoned(),
                Err(e) => return Err(e.into()),
            }
        }
        let Some(record) = self.record()? else {
            return self.be_abandoned();
        };
        self.heed(&record)?;
        let agents = self.ledger.agents(&self.settings.array, u32::MAX)?;
        let serving: Vec<_> = agents
            .into_iter()
            .filter(|a| a.ended_at.is_none())
            .collect();
        for gone in self.observer.look(&serving, now) {
            if gone != self.id {
                self.ledger.end_agent(gone, (self.now)())?;
            }
        }
        self.see_to_fallback(&record, &serving);
        self.show();
        self.halt_if_too_many_failed()?;
        self.carrier.carry(self.objects, None)?;
        Ok(())
    }

    /// Once enough workers serve, or no task waits, none need stand in for those that did not come.
    fn see_to_fallback(&mut self, record: &ArrayRecord, serving: &[AgentRecord]) {
        let Some(wanted) = self.settings.wanted.filter(|_| !self.is_complete) else {
            return;
        };
        let lane = self.settings.enrolment.lane;
        let counts = record.lanes.get(lane as usize).copied().unwrap_or_default();
        let of_lane = serving.iter().filter(|agent| agent.enrolled.lane == lane);
        if !is_fallback_needed(counts.pending, of_lane.count() as u64, wanted.into()) {
            // If it cannot be arranged now, the next heartbeat tries again; others may, too.
            self.is_complete = self.machine.needs_no_fallback().is_ok();
        }
    }

    /// Lets people see what runs. That they cannot is no trouble of the task's.
    fn show(&mut self) {
        if self.shown == self.running {
            return;
        }
        let name = running_object(&self.settings.array, self.id);
        let done = match &self.running {
            Some(running) => {
                let content = serde_json::to_vec(running).unwrap_or_default();
                self.objects.put(&name, &content)
            }
            None => self.objects.delete(&name),
        };
        if done.is_ok() {
            self.shown = self.running;
        }
    }

    /// Follows what was decided about the array since it was last seen.
    fn heed(&mut self, record: &ArrayRecord) -> Result<(), WorkerError> {
        let longer = record.submitted.deadline.micros_since(self.deadline) / 1000;
        if longer > 0 {
            self.deadline = record.submitted.deadline;
            let left = Duration::from_micros(self.deadline.micros_since((self.now)()));
            let at = self.origin.elapsed() + left;
            self.expires_at = Some(at);
            self.hopeless_at = at + self.settings.lease;
            frames::send(&ToAgent::Extend { by_ms: longer }, &mut self.agent)?;
        }
        if record.intent == self.intent {
            return Ok(());
        }
        self.intent = record.intent;
        match record.intent {
            Intent::Cancel => {
                let stop = (StopCause::Cancelled, self.settings.cancel_notice);
                self.leave_because(Leave::Retire, Some(stop))
            }
            Intent::Expired => {
                let stop = (StopCause::Ttl, Duration::ZERO);
                self.leave_because(Leave::Retire, Some(stop))
            }
            // What runs ends as it does; nothing is claimable any more.
            Intent::Halted | Intent::Run => Ok(()),
        }
    }
}

/// The name of the object that says what an agent runs: a [`RunningTask`] as JSON.
pub fn running_object(array: &ArrayId, agent: AgentId) -> String {
    format!("arrays/{}/running/{}", array.as_str(), agent.0)
}
