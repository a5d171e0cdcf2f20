//! The loop of a worker that is a whole machine.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use spawn_core::array_id::ArrayId;
use spawn_core::crew::{Idle, when_idle};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::task::Intent;
use spawn_local::wire::agent::{FromAgent, Job, ToAgent};
use spawn_local::wire::frames::{self, Inbox};
use spawn_ports::ledger::{AgentId, ArrayRecord, Commit, Ledger, LedgerError, NewAgent};
use spawn_ports::machine::{Leave, Machine, MachineError, Outlook};
use spawn_ports::objects::Objects;

use crate::observer::Observer;
use crate::output::{Carrier, CarryError};

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
    /// There is no such array.
    #[error("the ledger knows no array `{0}`")]
    NoArray(ArrayId),
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
    /// Nothing is claimed any more, for this reason.
    leaving: Option<Leave>,
    /// The agent was told that nothing is left.
    retired: bool,
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
        frames::send(&ToAgent::Job(Box::new(job(id))), &mut agent)?;
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
            leaving: None,
            retired: false,
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
                self.beat(now)?;
            }
            if let Some(want) = self.wanted
                && now >= self.ask_at
            {
                self.give(want)?;
            }
            let wake = [self.look_at, self.heartbeat_at]
                .into_iter()
                .chain(self.wanted.map(|_| self.ask_at))
                .min()
                .unwrap_or(self.look_at);
            if self.agent_spoke(wake.saturating_sub(self.origin.elapsed()))? && !self.hear()? {
                return self.leave();
            }
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
        while let Some(message) = self.inbox.take::<FromAgent>()? {
            match message {
                FromAgent::Turn { commits, want, .. } => {
                    self.commit(&commits)?;
                    if want > 0 {
                        self.wanted = Some(want);
                        self.ask_at = Duration::ZERO;
                        self.give(want)?;
                    }
                }
                FromAgent::Release { token, positions } => {
                    self.ledger
                        .release(self.id, token, &positions, (self.now)())?;
                }
                FromAgent::Broken { why } | FromAgent::Short { why } => {
                    return Err(WorkerError::Broken(why));
                }
                FromAgent::Built { .. } | FromAgent::Running { .. } | FromAgent::Heartbeat => {}
            }
        }
        Ok(true)
    }

    /// Outcomes count once the output they point to is safe.
    fn commit(&mut self, commits: &[Commit]) -> Result<(), WorkerError> {
        if commits.is_empty() {
            return Ok(());
        }
        let end = commits.iter().map(|c| c.log.offset + c.log.len).max();
        self.carrier.carry(self.objects, end)?;
        // One that was taken over is refused, which is how it should be.
        self.ledger.commit(self.id, commits, (self.now)())?;
        Ok(())
    }

    /// Gives the agent tasks, if there are any for it.
    fn give(&mut self, want: u32) -> Result<(), WorkerError> {
        if self.leaving.is_some() {
            return self.retire();
        }
        let now = (self.now)();
        let claim = self.ledger.claim(self.id, want, now)?;
        if !claim.tasks.is_empty() {
            self.wanted = None;
            frames::send(&ToAgent::Claimed(claim), &mut self.agent)?;
            return Ok(());
        }
        if self.may_retire()? {
            self.leaving = Some(Leave::Retire);
            return self.retire();
        }
        let due = claim.next_due.map(|at| at.micros_since(now));
        let wait = due.map_or(self.settings.ask_every, Duration::from_micros);
        self.ask_at = self.origin.elapsed() + wait.min(self.settings.ask_every);
        Ok(())
    }

    /// Whether the workers that stay are enough for what may still have to run. Two that ask at once
    /// must not both go: each takes itself out of the ledger first and looks again.
    fn may_retire(&mut self) -> Result<bool, WorkerError> {
        let (unfinished, serving) = self.crew()?;
        if when_idle(unfinished, serving) == Idle::Stay {
            return Ok(false);
        }
        self.ledger.end_agent(self.id, (self.now)())?;
        let (unfinished, serving) = self.crew()?;
        if serving >= unfinished {
            return Ok(true);
        }
        // Others went at the same moment: somebody has to stay.
        self.id = self.ledger.enroll(&self.settings.enrolment, (self.now)())?;
        self.carrier = Carrier::new(&self.settings.array, self.id, &self.settings.log);
        Ok(false)
    }

    /// Unfinished tasks of this worker's lane, and workers that serve it: this one, if it is enrolled,
    /// and those that it has seen alive.
    fn crew(&mut self) -> Result<(u64, u64), WorkerError> {
        let record = self.record()?;
        let lane = self.settings.enrolment.lane;
        let counts = record.lanes.get(lane as usize).copied().unwrap_or_default();
        let agents = self.ledger.agents(&self.settings.array, u32::MAX)?;
        let serving = agents
            .iter()
            .filter(|a| a.ended_at.is_none() && a.enrolled.lane == lane)
            .filter(|a| a.id == self.id || self.observer.has_seen_alive(a.id));
        Ok((counts.pending + counts.running, serving.count() as u64))
    }

    fn record(&mut self) -> Result<ArrayRecord, WorkerError> {
        let record = self.ledger.array(&self.settings.array)?;
        record.ok_or_else(|| WorkerError::NoArray(self.settings.array.clone()))
    }

    fn retire(&mut self) -> Result<(), WorkerError> {
        self.wanted = None;
        if !std::mem::replace(&mut self.retired, true) {
            frames::send(&ToAgent::Retire, &mut self.agent)?;
        }
        Ok(())
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

    /// Claims nothing more; and stops what runs, if there is a cause.
    fn leave_because(
        &mut self,
        how: Leave,
        stop: Option<(StopCause, Duration)>,
    ) -> Result<(), WorkerError> {
        self.leaving.get_or_insert(how);
        if let Some((cause, notice)) = stop {
            let stop = ToAgent::Stop {
                cause,
                notice_ms: u64::try_from(notice.as_millis()).unwrap_or(u64::MAX),
                position: None,
            };
            frames::send(&stop, &mut self.agent)?;
        } else if self.wanted.is_some() {
            self.retire()?;
        }
        Ok(())
    }

    /// Says that it is there, sees what is wanted of the array, and gives up workers that are gone.
    fn beat(&mut self, now: Duration) -> Result<(), WorkerError> {
        if self.leaving.is_none() || !self.retired {
            match self.ledger.claim(self.id, 0, (self.now)()) {
                Ok(_) => {}
                // Others gave this worker up: whatever it runs has been given to another.
                Err(LedgerError::UnknownAgent(_)) => {
                    self.leave_because(
                        Leave::Yield,
                        Some((StopCause::Interrupted, Duration::ZERO)),
                    )?;
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.carrier.carry(self.objects, None)?;
        let record = self.record()?;
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
        Ok(())
    }

    /// Follows what was decided about the array since it was last seen.
    fn heed(&mut self, record: &ArrayRecord) -> Result<(), WorkerError> {
        let longer = record.submitted.deadline.micros_since(self.deadline) / 1000;
        if longer > 0 {
            self.deadline = record.submitted.deadline;
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

    /// The agent has ended: what it held goes back, what it printed is kept, and the machine goes.
    fn leave(mut self) -> Result<End, WorkerError> {
        self.carrier.carry(self.objects, None)?;
        self.ledger.end_agent(self.id, (self.now)())?;
        let record = self.record()?;
        if record.counts.all_ended() {
            self.machine.array_has_ended()?;
        }
        // An agent that ended by itself has not said why: another machine may do better.
        let how = self.leaving.unwrap_or(Leave::Yield);
        let how = match record.counts.all_ended() {
            true => Leave::Retire,
            false => how,
        };
        self.machine.leave(how)?;
        Ok(match how {
            Leave::Retire => End::Retired,
            Leave::Yield => End::Yielded,
        })
    }
}
