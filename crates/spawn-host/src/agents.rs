//! What agents say, and how they end.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::pace::fair_share;
use spawn_core::supervise::AGENT_ANSWER;
use spawn_core::task::{Intent, Token};
use spawn_local::caller::Caller;
use spawn_local::ledger::SqliteLedger;
use spawn_local::wire::agent::{FromAgent, Isolation, ToAgent};
use spawn_local::wire::client::RunningTask;
use spawn_ports::ledger::{AgentId, ArrayRecord, Claim, Commit, Ledger, LedgerError};

use crate::arrays::{LiveLane, MOST_FAILED_STARTS};
use crate::desk::Desk;
use crate::peers::PeerId;

/// A task in backoff that comes due this soon is waited for; agents leave for longer ones.
const WORTH_WAITING_MICROS: u64 = 2_000_000;

/// Where the machine is out of something, an array waits this long before it is tried again.
pub(crate) const SHORTAGE_PAUSE_MILLIS: u64 = 3_000;

/// An agent of this host.
#[derive(Debug)]
pub struct Agent {
    /// The array it serves.
    pub array: ArrayId,
    /// Its slot there.
    pub slot: u32,
    /// The lane it serves.
    pub lane: u32,
    /// Its process.
    pub pid: u32,
    /// Its enrolment.
    pub id: AgentId,
    /// Whether its sandbox is built.
    pub built: bool,
    /// Whether it said that no sandbox can be built.
    pub broken: bool,
    /// The isolation it was asked for.
    pub tried: Isolation,
    /// What it has been running for a while.
    pub running: Option<RunningTask>,
    /// When it last said something.
    pub heard: Instant,
    /// Whether it was told that nothing is left.
    pub retired: bool,
    /// When it is ended by force, if it was told to stop and to leave.
    pub gone_by: Option<Instant>,
    /// The same for its task, if that has a time limit.
    pub task_gone_by: Option<Instant>,
    /// Whether it leaves its slot to another array after the task that it runs.
    pub makes_way: bool,
}

impl Agent {
    /// Ends its process, and with it its sandbox.
    pub fn kill(&self) {
        let _ = kill(Pid::from_raw(self.pid as i32), Signal::SIGKILL);
    }
}

impl Desk {
    /// Takes in one message of an agent.
    pub(crate) fn hear_agent(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        message: FromAgent,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let Some(agent) = self.agents.get_mut(&peer) else {
            return Ok(());
        };
        agent.heard = Instant::now();
        let id = agent.id;
        match message {
            FromAgent::Built { .. } => agent.built = true,
            FromAgent::Turn {
                commits,
                want,
                ahead,
            } => {
                self.take_commits(ledger, peer, id, commits, now)?;
                if want > 0 && !(ahead && self.keep_back(ledger, peer)?) {
                    self.give_claim(ledger, peer, id, want, now)?;
                }
            }
            FromAgent::Release { token, positions } => {
                ledger.release(id, token, &positions, now)?;
                self.wake(peer);
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
                // An agent that has stopped no script when it should have is ended itself.
                agent.task_gone_by = timeout_in_ms.and_then(|ms| {
                    Instant::now().checked_add(Duration::from_millis(ms) + AGENT_ANSWER)
                });
                let known = agent
                    .running
                    .filter(|r| (r.position, r.attempt) == (position, attempt));
                agent.running = Some(RunningTask {
                    position,
                    attempt,
                    log_offset,
                    since: known.map_or(now.0, |known| known.since),
                    progress,
                    load,
                    stopping,
                });
                if let Some(array) = self.arrays.get_mut(&agent.array) {
                    array.failed_starts = 0;
                    if known.is_some() {
                        array.news();
                    }
                }
            }
            FromAgent::Heartbeat => {}
            FromAgent::Missing { why } => self.note_missing(peer, why),
            FromAgent::Stuck {
                position,
                processes,
            } => self.note_stuck(peer, position, processes),
            FromAgent::Broken { why } => self.cannot_isolate(peer, &why, now),
            FromAgent::Short { why } => self.hold_up_for_now(peer, why, now),
        }
        Ok(())
    }

    fn take_commits(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        id: AgentId,
        mut commits: Vec<Commit>,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        if commits.is_empty() {
            return Ok(());
        }
        for commit in &mut commits {
            commit.failed_calls = self.failed_calls.take(&Caller {
                agent: id,
                position: commit.position,
                token: commit.token,
            });
        }
        for (commit, verdict) in commits.iter().zip(ledger.commit(id, &commits, now)?) {
            if let Err(illegal) = verdict {
                note!(
                    "agent {}: task {} was not committed: {illegal}",
                    id.0,
                    commit.position
                );
            }
        }
        if let Some(agent) = self.agents.get(&peer)
            && let Some(array) = self.arrays.get_mut(&agent.array)
        {
            array.failed_starts = 0;
        }
        if let Some(agent) = self.agents.get_mut(&peer)
            && let Some(running) = agent.running
            && commits.iter().any(|c| c.position == running.position)
        {
            agent.running = None;
            agent.task_gone_by = None;
        }
        self.wake(peer);
        self.halt_if_too_many_failed(ledger, peer, now)
    }

    /// Before anything more is claimed: too many failures end the array.
    fn halt_if_too_many_failed(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let Some(agent) = self.agents.get(&peer) else {
            return Ok(());
        };
        let array = self.arrays.get(&agent.array);
        let Some((most, before)) = array
            .filter(|a| a.intent == Intent::Run)
            .and_then(|a| Some((a.submission.launch.max_failures?, a.failures_before)))
        else {
            return Ok(());
        };
        let id = agent.array.clone();
        let Some(record) = ledger.array(&id)? else {
            return Ok(());
        };
        let failed = record.counts.failed.saturating_sub(before);
        match most.exceeded_by(failed, record.counts.total()) {
            true => self.close_array(ledger, &id, Intent::Halted, None, now),
            false => Ok(()),
        }
    }

    /// A task of this agent's lane may be claimable again.
    fn wake(&mut self, peer: PeerId) {
        if let Some(lane) = self.lane_of(peer) {
            lane.asleep_until = None;
        }
    }

    fn lane_of(&mut self, peer: PeerId) -> Option<&mut LiveLane> {
        let agent = self.agents.get(&peer)?;
        let array = self.arrays.get_mut(&agent.array)?;
        array.lanes.get_mut(agent.lane as usize)
    }

    /// Whether the last few tasks are kept for agents that have nothing to do; the agent is told.
    fn keep_back(&mut self, ledger: &mut SqliteLedger, peer: PeerId) -> Result<bool, LedgerError> {
        let Some((record, nth)) = self.record_for(ledger, peer)? else {
            return Ok(false);
        };
        let pending = record.lanes.get(nth).map_or(0, |lane| lane.pending);
        let agents = self.lane_of(peer).map_or(0, |lane| lane.agents);
        let keep = pending < u64::from(agents);
        if keep {
            let nothing = Claim {
                token: Token(0),
                tasks: Vec::new(),
                next_due: None,
                unfinished: pending,
            };
            self.peers.send(peer, &ToAgent::Claimed(nothing));
        }
        Ok(keep)
    }

    /// The array that an agent serves, as the ledger has it, and the agent's lane.
    fn record_for(
        &self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
    ) -> Result<Option<(ArrayRecord, usize)>, LedgerError> {
        let Some(agent) = self.agents.get(&peer) else {
            return Ok(None);
        };
        let record = ledger.array(&agent.array)?;
        Ok(record.map(|record| (record, agent.lane as usize)))
    }

    /// Answers a wish for tasks: with a claim, with a wait, or with the end.
    fn give_claim(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        id: AgentId,
        want: u32,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let Some((record, nth)) = self.record_for(ledger, peer)? else {
            return Ok(());
        };
        let Some(array) = self.arrays.get(&record.submitted.id) else {
            return Ok(());
        };
        let is_running_out = array.is_running_out(now);
        let Some(lane) = array.lanes.get(nth) else {
            return Ok(());
        };
        let pending = record.lanes.get(nth).map_or(0, |lane| lane.pending);
        let share = match is_running_out {
            true => 0,
            false => fair_share(want, pending, lane.agents),
        };
        if share > 0 && self.makes_way(peer) {
            return Ok(());
        }
        let claim = match share {
            0 => None,
            share => Some(ledger.claim(id, share, now)?),
        };
        match claim {
            Some(claim) if !claim.tasks.is_empty() => {
                self.peers.send(peer, &ToAgent::Claimed(claim));
            }
            Some(claim) => {
                let due = claim.next_due;
                let is_soon = due.is_some_and(|t| t.micros_since(now) <= WORTH_WAITING_MICROS);
                if let Some(lane) = self.lane_of(peer) {
                    lane.asleep_until = due;
                    if is_soon {
                        lane.parked.push((peer, want));
                    }
                }
                if !is_soon {
                    self.retire(peer);
                }
            }
            None => self.retire(peer),
        }
        Ok(())
    }

    /// Tells an agent that nothing is left for it; its slot is free at once.
    pub(crate) fn retire(&mut self, peer: PeerId) {
        if let Some(agent) = self.agents.get_mut(&peer) {
            agent.retired = true;
            if let Some(array) = self.arrays.get_mut(&agent.array) {
                array.free_slot(agent.slot, agent.lane);
            }
        }
        self.peers.send(peer, &ToAgent::Retire);
    }

    /// Agents that wait are asked again once something came due.
    pub(crate) fn serve_parked(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let Some(array) = self.arrays.get_mut(id) else {
            return Ok(());
        };
        let mut waiting = Vec::new();
        for lane in &mut array.lanes {
            if lane.asleep_until.is_none_or(|t| t <= now) {
                waiting.append(&mut lane.parked);
            }
        }
        for (peer, want) in waiting {
            if let Some(agent) = self.agents.get(&peer).map(|a| a.id) {
                self.give_claim(ledger, peer, agent, want, now)?;
            }
        }
        Ok(())
    }

    /// An agent is gone, or as good as: what it held goes back.
    pub(crate) fn lose_agent(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let Some(agent) = self.agents.remove(&peer) else {
            return Ok(());
        };
        agent.kill();
        self.look_for_strays();
        if let Some(array) = self.arrays.get_mut(&agent.array) {
            if !agent.retired {
                array.free_slot(agent.slot, agent.lane);
            }
            if agent.makes_way {
                array.leaving = array.leaving.saturating_sub(1);
            }
            if let Some(lane) = array.lanes.get_mut(agent.lane as usize) {
                lane.parked.retain(|(p, _)| *p != peer);
            }
            if !agent.built && !agent.broken {
                let log = self.home.host_log();
                array.start_failed(|| {
                    format!(
                        "{MOST_FAILED_STARTS} agents in a row ended before they were ready; see {}",
                        log.display()
                    )
                });
                if array.held_up.is_some() {
                    // What ended them may have been somebody else, and be over.
                    array.retry_start_at = Some(now.plus_millis(SHORTAGE_PAUSE_MILLIS));
                }
            }
        }
        self.failed_calls.forget(agent.id);
        let handed_back = ledger.end_agent(agent.id, now)?;
        // One that left since nothing was due must not wake the next one to find the same.
        if (!agent.retired || !handed_back.is_empty())
            && let Some(array) = self.arrays.get_mut(&agent.array)
            && let Some(lane) = array.lanes.get_mut(agent.lane as usize)
        {
            lane.asleep_until = None;
        }
        Ok(())
    }

    /// The machine is out of something that an agent needs: its array waits for a while.
    fn hold_up_for_now(&mut self, peer: PeerId, why: String, now: UnixMicros) {
        let Some(agent) = self.agents.get_mut(&peer) else {
            return;
        };
        // That it did not get ready is no fault of its sandbox.
        agent.broken = true;
        note!("agent {}: {why}", agent.id.0);
        if let Some(array) = self.arrays.get_mut(&agent.array) {
            array.hold_up(why);
            array.retry_start_at = Some(now.plus_millis(SHORTAGE_PAUSE_MILLIS));
        }
    }

    /// Files of an array are gone: the next agents fail its tasks for that reason.
    fn note_missing(&mut self, peer: PeerId, why: String) {
        let Some(agent) = self.agents.get_mut(&peer) else {
            return;
        };
        note!("{}: {why}", agent.array.as_str());
        agent.broken = true;
        if let Some(array) = self.arrays.get_mut(&agent.array) {
            array.missing = Some(why);
            array.news();
        }
    }
}
