//! What has been killed and may not go: agents that do not keep their word, and what they leave.
//!
//! A stop that nobody carries out must end all the same. An agent that is still there some seconds after the
//! deadline of its stop is ended by force, with all that descends from it; its tasks are closed with what
//! the ledger knows, and its slot is free. A process that the kernel does not let go of (a system
//! call that never returns, a frozen control group) is named in the status of its array for as long as it lives.
//!
//! The host is the subreaper of what it starts: whatever loses its parent becomes its child and is ended.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spawn_core::array_id::ArrayId;
use spawn_core::supervise::{AGENT_ANSWER, LONGEST_ANSWER};
use spawn_local::sandbox::force::end_tree;
use spawn_local::sandbox::processes::{self, Process};
use spawn_local::wire::agent::{Isolation, LeftProcess};
use spawn_local::wire::client::StuckProcess;

use crate::desk::Desk;
use crate::peers::PeerId;

/// How often it is looked after what was killed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long after an agent's end what it left without a parent may turn up.
const STRAYS_FOR: Duration = Duration::from_secs(5);

/// A process that was killed.
#[derive(Debug)]
pub(crate) struct Doomed {
    process: LeftProcess,
    array: Option<ArrayId>,
    position: Option<u64>,
    since: Instant,
}

/// What was killed and is not seen to be gone yet.
#[derive(Debug, Default)]
pub(crate) struct Doom {
    processes: Vec<Doomed>,
    strays_until: Option<Instant>,
    next_look: Option<Instant>,
}

impl Doom {
    /// When to look next, if there is something to look for.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let is_waiting = !self.processes.is_empty() || self.strays_until.is_some();
        self.next_look.filter(|_| is_waiting)
    }

    fn add(
        &mut self,
        process: LeftProcess,
        array: Option<ArrayId>,
        position: Option<u64>,
        since: Instant,
    ) {
        let is_known =
            |d: &Doomed| (d.process.pid, d.process.started) == (process.pid, process.started);
        if !self.processes.iter().any(is_known) {
            self.processes.push(Doomed {
                process,
                array,
                position,
                since,
            });
        }
        self.next_look.get_or_insert(Instant::now() + LOOK_EVERY);
    }

    /// Processes without a parent may turn up: an agent has ended that others were bound to.
    fn expect_strays(&mut self) {
        let now = Instant::now();
        self.strays_until = Some(now + STRAYS_FOR);
        self.next_look.get_or_insert(now + LOOK_EVERY);
    }

    /// The processes of an array that do not go.
    pub(crate) fn stuck(&self, array: &ArrayId) -> Vec<StuckProcess> {
        self.processes
            .iter()
            .filter(|d| d.array.as_ref() == Some(array) && d.since.elapsed() >= LONGEST_ANSWER)
            .filter(|d| processes::is_alive(d.process.pid, d.process.started))
            .map(|d| StuckProcess {
                pid: d.process.pid,
                name: d.process.name.clone(),
                position: d.position,
            })
            .collect()
    }
}

impl Desk {
    /// Notes that an agent was told to have stopped everything, and to have left, in `notice_ms`.
    pub(crate) fn expect_gone(&mut self, peer: PeerId, notice_ms: u64) {
        let after = Duration::from_millis(notice_ms) + AGENT_ANSWER;
        if let (Some(agent), Some(by)) = (
            self.agents.get_mut(&peer),
            Instant::now().checked_add(after),
        ) {
            agent.gone_by = Some(agent.gone_by.map_or(by, |other| other.min(by)));
        }
    }

    /// Agents that had said nothing for a lease period at `at`, or should have been gone by then.
    pub(crate) fn agents_to_end(&self, at: Instant) -> Vec<PeerId> {
        self.agents
            .iter()
            .filter(|(_, agent)| {
                let mut by = [agent.gone_by, agent.task_gone_by].into_iter().flatten();
                at.saturating_duration_since(agent.heard) > self.lease || by.any(|by| by <= at)
            })
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// Kills an agent and all that descends from it.
    pub(crate) fn end_by_force(&mut self, peer: PeerId) {
        let Some(agent) = self.agents.get(&peer) else {
            return;
        };
        note!(
            "agent {} (process {}) does not answer; it is ended",
            agent.id.0,
            agent.pid
        );
        let (array, position) = (agent.array.clone(), agent.running.map(|r| r.position));
        for process in end_tree(agent.pid as i32) {
            self.doom
                .add(process, Some(array.clone()), position, Instant::now());
        }
        self.doom.expect_strays();
    }

    /// An agent says that processes of its task do not go.
    pub(crate) fn note_stuck(
        &mut self,
        peer: PeerId,
        position: Option<u64>,
        left: Vec<LeftProcess>,
    ) {
        let Some(agent) = self.agents.get(&peer) else {
            return;
        };
        let (array, waited) = (
            agent.array.clone(),
            Instant::now().checked_sub(LONGEST_ANSWER),
        );
        for process in left {
            note!(
                "process {} (`{}`) was killed and does not end",
                process.pid,
                process.name
            );
            let since = waited.unwrap_or_else(Instant::now);
            self.doom.add(process, Some(array.clone()), position, since);
        }
        if let Some(array) = self.arrays.get_mut(&array) {
            array.news();
        }
    }

    /// After an agent's end: where process ids are shared, what its init did not end becomes the host's.
    pub(crate) fn look_for_strays(&mut self) {
        if self.isolation < Isolation::Full {
            self.doom.expect_strays();
        }
    }

    /// Looks after what was killed, if it is time to: kills again what is still there.
    pub(crate) fn look_at_doomed(&mut self) {
        let now = Instant::now();
        if self.doom.next_look().is_none_or(|at| now < at) {
            return;
        }
        self.doom.next_look = Some(now + LOOK_EVERY);
        if let Some(until) = self.doom.strays_until {
            for process in self.strays() {
                self.doom.add(process.into(), None, None, now);
            }
            self.doom.strays_until = Some(until).filter(|until| now < *until);
        }
        self.doom
            .processes
            .retain(|d| processes::is_alive(d.process.pid, d.process.started));
        for doomed in &self.doom.processes {
            let _ = kill(Pid::from_raw(doomed.process.pid), Signal::SIGKILL);
        }
    }

    /// Children of the host that it did not start, and what descends from them.
    fn strays(&self) -> Vec<Process> {
        let me = std::process::id() as i32;
        let is_ours = |pid: i32| {
            self.ending.contains_key(&pid) || self.spare.is_some_and(|s| s.pid as i32 == pid)
        };
        let all = processes::all();
        let orphans = all.iter().filter(|p| p.parent == me && !is_ours(p.pid));
        let mut found: Vec<Process> = orphans.copied().collect();
        let mut seen = 0;
        while let Some(parent) = found.get(seen).map(|p| p.pid) {
            found.extend(all.iter().filter(|p| p.parent == parent));
            seen += 1;
        }
        found
    }
}
