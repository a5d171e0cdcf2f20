//! The host's desk: who is connected, which arrays live, which agents work; everything but the
//! ledger, which each transaction lends to it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::sharing::Sharing;
use spawn_core::task::Intent;
use spawn_endpoint::{Credentials, EndpointHandle};
use spawn_local::home::Home;
use spawn_local::ledger::SqliteLedger;
use spawn_local::sandbox::limits::Group;
use spawn_local::wall_clock;
use spawn_local::wire::agent::{FromAgent, Isolation, ToAgent};
use spawn_local::wire::client::{Answer, Lessened, Refusal, Request};
use spawn_ports::ledger::{Ledger, LedgerError};

use crate::agents::Agent;
use crate::arrays::{LiveArray, Turn, Waiter};
use crate::clock;
use crate::doomed::Doom;
use crate::failed_calls::FailedCalls;
use crate::peers::{PeerId, Peers};
use crate::shortage::Shortage;
use crate::starting::{AgentStartError, Spare};

/// An agent's process that could not be started is tried again after this long.
const START_AGAIN_MILLIS: u64 = 1_000;
/// How long a host that is asked to end waits for its agents.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a host that ends waits for the ends of what it killed.
const LONGEST_ENDS: Duration = Duration::from_secs(5);
/// Commands that wait are told of changes at most this often.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// All of the host but its ledger, which transactions lend to it.
pub(crate) struct Desk {
    pub(crate) home: Home,
    /// How many files a task may have open.
    pub(crate) open_files: u64,
    pub(crate) peers: Peers,
    pub(crate) arrays: BTreeMap<ArrayId, LiveArray>,
    pub(crate) agents: HashMap<PeerId, Agent>,
    /// An agent process without a job, so that the next launch does not wait for one.
    pub(crate) spare: Option<Spare>,
    /// Directories of agents whose process has not ended yet.
    pub(crate) ending: HashMap<i32, PathBuf>,
    /// Threads that remove the directories of agents which are gone.
    pub(crate) removals: Vec<JoinHandle<()>>,
    pub(crate) agent_program: PathBuf,
    pub(crate) endpoint: EndpointHandle,
    pub(crate) endpoint_port: u16,
    pub(crate) credentials: Credentials,
    pub(crate) failed_calls: FailedCalls,
    /// How long an agent may be silent before it is given up: its lease is over.
    pub(crate) lease: Duration,
    /// What was asked for.
    pub(crate) wanted_isolation: Isolation,
    pub(crate) isolation: Isolation,
    pub(crate) isolation_known: bool,
    /// Set where tasks are kept apart less than was asked for.
    pub(crate) lessened: Option<Lessened>,
    /// Whether control groups can be made here, once that was asked.
    pub(crate) limits: OnceCell<bool>,
    /// What was killed and is not seen to be gone yet.
    pub(crate) doom: Doom,
    /// The control groups of agents, by process.
    pub(crate) groups: HashMap<i32, Group>,
    pub(crate) started_at: UnixMicros,
    pub(crate) cores: u32,
    /// Who has how many of the cores, and whose turn it is.
    pub(crate) sharing: Sharing<Turn>,
    /// What the times of `sharing` count from.
    pub(crate) origin: Instant,
    /// Set while agents are given time to stop their scripts before the host ends.
    pub(crate) draining_until: Option<Instant>,
    pub(crate) closing: bool,
    /// When the round's messages were taken in: what came due after that is not served yet.
    pub(crate) looked_at: UnixMicros,
    pub(crate) boot: String,
    /// Set while the ledger has no room to be written to.
    pub(crate) shortage: Option<Shortage>,
    /// Why a command of this round was refused, if that was for want of room.
    pub(crate) refused_for_room: Option<LedgerError>,
    /// What the first command is to show its user.
    pub(crate) warnings: Vec<String>,
}

impl Desk {
    pub(crate) fn arrays_past_deadline(&self, now: UnixMicros) -> Vec<ArrayId> {
        self.arrays
            .values()
            // Readers derive the end of such an array; it can be written when there is room.
            .filter(|_| self.shortage.is_none())
            .filter(|a| a.intent == Intent::Run && a.unfinished > 0 && a.deadline <= now)
            .map(|a| a.id.clone())
            .collect()
    }

    /// Somebody set the wall clock: every array keeps the time it had left.
    pub(crate) fn clock_was_set(
        &mut self,
        ledger: &mut SqliteLedger,
        step: i64,
    ) -> Result<(), LedgerError> {
        note!(
            "the clock was set by {} s; deadlines move with it",
            step / 1_000_000
        );
        let arrays = &mut self.arrays;
        ledger.group(|ledger| {
            for array in arrays.values_mut() {
                array.clock_was_set(step);
                if array.intent == Intent::Run && array.unfinished > 0 {
                    let record = ledger.extend(&array.id, clock::moved(array.deadline, step))?;
                    array.refresh(&record);
                }
            }
            Ok(())
        })
    }

    pub(crate) fn parked_are_due(&self, now: UnixMicros) -> bool {
        self.arrays
            .values()
            .flat_map(|a| &a.lanes)
            .any(|l| !l.parked.is_empty() && l.asleep_until.is_none_or(|t| t <= now))
    }

    pub(crate) fn hear(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        loop {
            let heard = if self.agents.contains_key(&peer) {
                match self.peers.next::<FromAgent>(peer) {
                    Ok(Some(message)) => self.hear_agent(ledger, peer, message, now).map(|()| true),
                    Ok(None) => Ok(false),
                    Err(e) => {
                        note!("an agent speaks nonsense: {e}");
                        self.part(ledger, peer, now).map(|()| false)
                    }
                }
            } else {
                match self.peers.next::<Request>(peer) {
                    Ok(Some(request)) => {
                        self.serve_request(ledger, peer, request, now);
                        Ok(true)
                    }
                    Ok(None) => Ok(false),
                    Err(e) => {
                        let message = format!("the host does not understand this command: {e}");
                        let kind = Refusal::Protocol;
                        self.peers.send(peer, &Answer::Refused { kind, message });
                        Ok(false)
                    }
                }
            }?;
            if !heard {
                return Ok(());
            }
        }
    }

    pub(crate) fn part(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        if self.agents.contains_key(&peer) {
            self.lose_agent(ledger, peer, now)?;
        }
        if self.spare.is_some_and(|s| s.peer == peer) {
            self.spare = None;
        }
        for array in self.arrays.values_mut() {
            array.waiters.retain(|w| w.peer != peer);
        }
        self.peers.remove(peer);
        Ok(())
    }

    /// After the round's changes: arrays learn their counts, parked agents get what came free.
    pub(crate) fn settle(
        &mut self,
        ledger: &mut SqliteLedger,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let ids: Vec<ArrayId> = self.arrays.keys().cloned().collect();
        for id in ids {
            if let Some(record) = ledger.array(&id)? {
                let array = self.arrays.get_mut(&id);
                if let Some(array) = array.filter(|a| a.differs_from(&record)) {
                    array.refresh(&record);
                }
            }
            self.serve_parked(ledger, &id, now)?;
        }
        Ok(())
    }

    /// Closes an array and tells its agents to stop.
    pub(crate) fn close_array(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        intent: Intent,
        stop: Option<(StopCause, u64)>,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let record = ledger.close(id, intent, now)?;
        if let Some(array) = self.arrays.get_mut(id) {
            array.refresh(&record);
            let parked = array
                .lanes
                .iter_mut()
                .map(|l| std::mem::take(&mut l.parked));
            for (peer, _) in parked.flatten() {
                self.peers.send(peer, &ToAgent::Retire);
            }
        }
        if let Some((cause, notice_ms)) = stop {
            let mut told: Vec<PeerId> = self.agents.keys().copied().collect();
            told.retain(|peer| self.agents[peer].array == *id);
            for peer in told {
                self.stop_agent(peer, cause, notice_ms);
            }
        }
        Ok(())
    }

    /// Tells an agent to stop what it runs and to leave, and sees to it that it does.
    pub(crate) fn stop_agent(&mut self, peer: PeerId, cause: StopCause, notice_ms: u64) {
        let position = None;
        let stop = ToAgent::Stop {
            cause,
            notice_ms,
            position,
        };
        self.peers.send(peer, &stop);
        self.expect_gone(peer, notice_ms);
    }

    /// Starts agents for as long as some array wants one.
    pub(crate) fn schedule(&mut self, ledger: &mut SqliteLedger) -> Result<(), LedgerError> {
        if self.draining_until.is_some() || self.shortage.is_some() {
            return Ok(());
        }
        let now = wall_clock::now();
        self.share_out(now);
        if self.next_to_serve(now).is_none() {
            return Ok(());
        }
        ledger.group(|ledger| {
            while let Some((id, lane)) = self.next_to_serve(now) {
                match self.start_agent(ledger, &id, lane, now) {
                    Ok(()) => {
                        if let Some(array) = self.arrays.get(&id) {
                            self.sharing.started(&array.turn(), self.origin.elapsed());
                        }
                    }
                    Err(AgentStartError::Ledger(e)) => return Err(e),
                    Err(e) => {
                        note!("{}: {e}", id.as_str());
                        if let Some(array) = self.arrays.get_mut(&id) {
                            array.hold_up(e.to_string());
                            array.retry_start_at = Some(now.plus_millis(START_AGAIN_MILLIS));
                        }
                        self.share_out(now);
                    }
                }
            }
            Ok(())
        })?;
        // First the jobs, then the spare: what was asked for goes before what may be.
        self.peers.flush();
        self.keep_a_spare();
        Ok(())
    }

    /// Tells commands that wait what they have not seen yet, not too often.
    pub(crate) fn tell_waiters(&mut self, ledger: &mut SqliteLedger) {
        let due: Vec<ArrayId> = self
            .arrays
            .values()
            .filter(|a| {
                a.waiters.iter().any(|w| {
                    let due = a.unfinished == 0 || w.told.elapsed() >= TELL_EVERY;
                    w.stale && due && !self.peers.is_backed_up(w.peer)
                })
            })
            .map(|a| a.id.clone())
            .collect();
        for id in due {
            let answer = self.status_answer(ledger, &id);
            let Some(array) = self.arrays.get_mut(&id) else {
                continue;
            };
            let ended = array.unfinished == 0;
            for waiter in array.waiters.iter_mut().filter(|w| w.stale) {
                // One who does not read is told when there is room again, and then the newest.
                if self.peers.is_backed_up(waiter.peer) {
                    continue;
                }
                self.peers.send(waiter.peer, &answer);
                waiter.stale = false;
                waiter.told = Instant::now();
            }
            if ended {
                array.waiters.retain(|w| w.stale);
            }
        }
        self.arrays
            .retain(|_, a| a.unfinished > 0 || !a.slots.is_empty() || !a.waiters.is_empty());
    }

    pub(crate) fn next_wake(&self, idle_limit: Duration) -> u64 {
        let now = wall_clock::now();
        let mut wake = Duration::from_secs(3600).min(idle_limit);
        let until = |at: UnixMicros| Duration::from_micros(at.micros_since(now));
        for array in self.arrays.values().filter(|_| self.shortage.is_none()) {
            if array.unfinished > 0 && array.intent == Intent::Run {
                wake = wake.min(until(array.deadline));
            }
            if let Some(at) = array.next_nap_end(self.looked_at) {
                wake = wake.min(until(at));
            }
            let reads = |w: &&Waiter| w.stale && !self.peers.is_backed_up(w.peer);
            for waiter in array.waiters.iter().filter(reads) {
                wake = wake.min(TELL_EVERY.saturating_sub(waiter.told.elapsed()));
            }
        }
        if !self.agents.is_empty() {
            wake = wake.min(self.lease / 4);
        }
        let gone_by = self
            .agents
            .values()
            .flat_map(|agent| [agent.gone_by, agent.task_gone_by])
            .flatten();
        for at in gone_by.chain(self.doom.next_look()) {
            wake = wake.min(at.saturating_duration_since(Instant::now()));
        }
        if let Some(shortage) = &self.shortage {
            let look = shortage.next_look();
            wake = wake.min(look.saturating_duration_since(Instant::now()));
        }
        if let Some(until) = self.draining_until {
            wake = wake.min(until.saturating_duration_since(Instant::now()));
        }
        u64::try_from(wake.as_millis()).unwrap_or(u64::MAX) + 1
    }

    /// Begins to end the host: scripts are stopped as for an interruption, so that they can save
    /// what they have, and their tasks go back to the ledger.
    pub(crate) fn drain(&mut self) {
        if self.draining_until.is_some() {
            return;
        }
        self.draining_until = Some(Instant::now() + DRAIN);
        self.dismiss_waiters(
            "the host was stopped; the next command starts it, and the tasks go on",
        );
        let stop = ToAgent::Stop {
            cause: StopCause::Interrupted,
            // What is left of the time is for the outcomes.
            notice_ms: (DRAIN / 2).as_millis() as u64,
            position: None,
        };
        for peer in self.agents.keys() {
            self.peers.send(*peer, &stop);
        }
    }

    /// Ends the host once it has drained.
    pub(crate) fn close_when_drained(&mut self) {
        if let Some(until) = self.draining_until
            && (self.agents.is_empty() || Instant::now() >= until)
        {
            self.closing = true;
        }
    }

    /// Starts every agent's lease anew.
    pub(crate) fn trust_all_agents(&mut self) {
        for agent in self.agents.values_mut() {
            agent.heard = Instant::now();
        }
    }

    /// Before the host ends: waits for what it has killed and for what is being removed, not for ever. What
    /// is left by then the kernel does not let go of.
    pub(crate) fn await_ends(&mut self) {
        let until = Instant::now() + LONGEST_ENDS;
        loop {
            self.reap(WaitPidFlag::WNOHANG);
            self.look_at_doomed();
            let is_done = self.ending.is_empty()
                && self.doom.next_look().is_none()
                && self.removals.iter().all(JoinHandle::is_finished);
            if is_done || Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn reap(&mut self, flags: WaitPidFlag) {
        while let Ok(status) = waitpid(None::<Pid>, Some(flags)) {
            let Some(pid) = status.pid().filter(|_| status != WaitStatus::StillAlive) else {
                return;
            };
            let group = self.groups.remove(&pid.as_raw());
            if let Some(dir) = self.ending.remove(&pid.as_raw()) {
                // Much may lie in it; the loop does not wait for that.
                let removal = move || {
                    if let Err(e) = spawn_local::sandbox::tidy::remove(&dir) {
                        note!("cannot remove {}: {e}", dir.display());
                    }
                    if let Some(group) = group {
                        group.remove_when_empty();
                    }
                };
                self.removals.retain(|removal| !removal.is_finished());
                // Without a thread it is left to the next host.
                self.removals
                    .extend(std::thread::Builder::new().spawn(removal));
            }
        }
    }
}
