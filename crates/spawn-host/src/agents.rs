//! What agents say, and how they end.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::pace::fair_share;
use spawn_core::task::Token;
use spawn_local::ledger::SqliteLedger;
use spawn_local::wire::agent::{FromAgent, Isolation, ToAgent};
use spawn_local::wire::client::RunningTask;
use spawn_ports::ledger::{AgentId, Claim, Commit, Ledger, LedgerError};

use crate::arrays::MOST_FAILED_STARTS;
use crate::desk::Desk;
use crate::peers::PeerId;

/// A task in backoff that comes due this soon is waited for; agents leave for longer ones.
const WORTH_WAITING_MICROS: u64 = 2_000_000;

/// An agent of this host.
#[derive(Debug)]
pub struct Agent {
    /// The array it serves.
    pub array: ArrayId,
    /// Its slot there.
    pub slot: u32,
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
            FromAgent::Built { isolation } => {
                self.isolation = self.isolation.min(isolation);
                agent.built = true;
            }
            FromAgent::Turn {
                commits,
                want,
                ahead,
            } => {
                self.take_commits(ledger, peer, id, &commits, now)?;
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
            } => {
                agent.running = Some(RunningTask {
                    position,
                    attempt,
                    log_offset,
                    since: now.0,
                });
            }
            FromAgent::Heartbeat => {}
            FromAgent::Broken { why } => self.lower_isolation(peer, &why),
        }
        Ok(())
    }

    fn take_commits(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        id: AgentId,
        commits: &[Commit],
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        if commits.is_empty() {
            return Ok(());
        }
        // Only a task that ran proves that sandboxes can be had.
        self.isolation_known |= commits
            .iter()
            .any(|c| c.report.ending.cause != Cause::LaunchFailed);
        for (commit, verdict) in commits.iter().zip(ledger.commit(id, commits, now)?) {
            if let Err(illegal) = verdict {
                eprintln!(
                    "agent {}: task {} was not committed: {illegal}",
                    id.0, commit.position
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
        }
        self.wake(peer);
        Ok(())
    }

    /// A task of this agent's array may be claimable again.
    fn wake(&mut self, peer: PeerId) {
        if let Some(agent) = self.agents.get(&peer)
            && let Some(array) = self.arrays.get_mut(&agent.array)
        {
            array.asleep_until = None;
        }
    }

    /// Whether the last few tasks are kept for agents that have nothing to do; the agent is told.
    fn keep_back(&mut self, ledger: &mut SqliteLedger, peer: PeerId) -> Result<bool, LedgerError> {
        let array = &self.agents[&peer].array;
        let agents = self.arrays.get(array).map_or(0, |a| a.slots.len() as u64);
        let pending = ledger.array(array)?.map_or(0, |r| r.counts.pending);
        let keep = pending < agents;
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

    /// Answers a wish for tasks: with a claim, with a wait, or with the end.
    fn give_claim(
        &mut self,
        ledger: &mut SqliteLedger,
        peer: PeerId,
        id: AgentId,
        want: u32,
        now: UnixMicros,
    ) -> Result<(), LedgerError> {
        let array_id = self.agents[&peer].array.clone();
        let Some(record) = ledger.array(&array_id)? else {
            return Ok(());
        };
        let Some(array) = self.arrays.get_mut(&array_id) else {
            return Ok(());
        };
        let agents = u32::try_from(array.slots.len()).unwrap_or(u32::MAX);
        let share = fair_share(want, record.counts.pending, agents);
        let claim = match share {
            0 => None,
            _ if array.is_running_out(now) => None,
            share => Some(ledger.claim(id, share, now)?),
        };
        match claim {
            Some(claim) if !claim.tasks.is_empty() => {
                self.peers.send(peer, &ToAgent::Claimed(claim));
            }
            Some(claim) => {
                let due = claim.next_due;
                array.asleep_until = due;
                if due.is_some_and(|t| t.micros_since(now) <= WORTH_WAITING_MICROS) {
                    array.parked.push((peer, want));
                } else {
                    self.retire(peer);
                }
            }
            None => self.retire(peer),
        }
        Ok(())
    }

    fn retire(&mut self, peer: PeerId) {
        if let Some(agent) = self.agents.get_mut(&peer) {
            agent.retired = true;
            if let Some(array) = self.arrays.get_mut(&agent.array) {
                array.slots.remove(&agent.slot);
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
        if array.parked.is_empty() || array.asleep_until.is_some_and(|t| t > now) {
            return Ok(());
        }
        for (peer, want) in std::mem::take(&mut array.parked) {
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
        if let Some(array) = self.arrays.get_mut(&agent.array) {
            if !agent.retired {
                array.slots.remove(&agent.slot);
            }
            array.parked.retain(|(p, _)| *p != peer);
            array.asleep_until = None;
            if !agent.built && !agent.broken {
                let log = self.home.host_log();
                array.start_failed(|| {
                    format!(
                        "{MOST_FAILED_STARTS} agents in a row ended before they were ready; see {}",
                        log.display()
                    )
                });
            }
        }
        ledger.end_agent(agent.id, now)?;
        Ok(())
    }

    /// An agent found that the isolation it was to give cannot be had here.
    fn lower_isolation(&mut self, peer: PeerId, why: &str) {
        let Some(agent) = self.agents.get_mut(&peer) else {
            return;
        };
        eprintln!("isolation {:?} cannot be had: {why}", agent.tried);
        agent.broken = true;
        if agent.tried > self.isolation {
            // Agents that started together all find the same: one step down for all of them.
            return;
        }
        let lower = match agent.tried {
            Isolation::Full => Some(Isolation::Mounts),
            Isolation::Mounts => Some(Isolation::Shared),
            Isolation::Shared => None,
        };
        match lower {
            Some(lower) if !self.isolation_known => self.isolation = lower,
            _ => {
                if let Some(array) = self.arrays.get_mut(&agent.array) {
                    array.start_failed(|| format!("no sandbox can be built: {why}"));
                }
            }
        }
    }
}
