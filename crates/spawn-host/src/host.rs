//! The host's loop: wait, take in, do it in one transaction, answer, see who needs an agent.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_core::task::Intent;
use spawn_endpoint::{Credentials, EndpointHandle};
use spawn_local::home::Home;
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_local::sandbox::limits::Group;
use spawn_local::wire::agent::{FromAgent, Isolation, ToAgent};
use spawn_local::wire::client::{Answer, Refusal, Request};
use spawn_ports::ledger::{Ledger, LedgerError};

use crate::agents::Agent;
use crate::arrays::{self, LiveArray};
use crate::peers::{PeerId, Peers, Round};
use crate::starting::{AgentStartError, Spare};
use crate::startup::{HostLock, StartError, wall_clock};

/// An agent that is silent this long is given up: its lease is over.
pub const LEASE: Duration = Duration::from_secs(45);
/// Commands that wait are told of changes at most this often.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// An idle host ends after this long, unless `SPAWN_IDLE_SECONDS` says otherwise.
const IDLE: Duration = Duration::from_secs(900);

/// The host: the ledger, and the desk where everything else happens.
pub struct Host {
    ledger: SqliteLedger,
    desk: Desk,
    durability: Durability,
    signals: SignalFd,
    idle_limit: Duration,
    busy_at: Instant,
    _lock: HostLock,
}

/// All of the host but its ledger, which transactions lend to it.
pub(crate) struct Desk {
    pub(crate) home: Home,
    pub(crate) peers: Peers,
    pub(crate) arrays: BTreeMap<ArrayId, LiveArray>,
    pub(crate) agents: HashMap<PeerId, Agent>,
    /// An agent process without a job, so that the next launch does not wait for one.
    pub(crate) spare: Option<Spare>,
    /// Directories of agents whose process has not ended yet.
    pub(crate) ending: HashMap<i32, PathBuf>,
    pub(crate) agent_program: PathBuf,
    pub(crate) endpoint: EndpointHandle,
    pub(crate) endpoint_port: u16,
    pub(crate) credentials: Credentials,
    pub(crate) isolation: Isolation,
    pub(crate) isolation_known: bool,
    /// Whether control groups can be made here, once that was asked.
    pub(crate) limits: OnceCell<bool>,
    /// The control groups of agents, by process.
    pub(crate) groups: HashMap<i32, Group>,
    pub(crate) started_at: UnixMicros,
    pub(crate) cores: u32,
    pub(crate) closing: bool,
    pub(crate) boot: String,
}

impl Host {
    /// A host over an open ledger; it takes up every unfinished array.
    #[expect(
        clippy::too_many_arguments,
        reason = "start-up hands over what it made"
    )]
    pub fn new(
        home: Home,
        mut ledger: SqliteLedger,
        socket: UnixListener,
        agent_program: PathBuf,
        endpoint: EndpointHandle,
        endpoint_port: u16,
        credentials: Credentials,
        lock: HostLock,
    ) -> Result<Host, StartError> {
        let io = |source: io::Error| StartError::Io {
            what: "set up the host's loop".to_owned(),
            source,
        };
        let mut watched = SigSet::empty();
        watched.add(Signal::SIGCHLD);
        watched.add(Signal::SIGTERM);
        let signals =
            SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .map_err(|e| io(e.into()))?;
        let mut live = BTreeMap::new();
        for record in ledger.unfinished()? {
            match LiveArray::new(&record) {
                Ok(array) => {
                    live.insert(array.id.clone(), array);
                }
                Err(e) => eprintln!(
                    "{}: cannot read its spec: {e}",
                    record.submitted.id.as_str()
                ),
            }
        }
        let desk = Desk {
            peers: Peers::new(socket, signals.as_fd()).map_err(io)?,
            home,
            arrays: live,
            agents: HashMap::new(),
            spare: None,
            ending: HashMap::new(),
            agent_program,
            endpoint,
            endpoint_port,
            credentials,
            isolation: wanted_isolation(),
            isolation_known: false,
            limits: OnceCell::new(),
            groups: HashMap::new(),
            started_at: wall_clock(),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            closing: false,
            boot: spawn_local::sandbox::processes::boot_id(),
        };
        Ok(Host {
            ledger,
            desk,
            durability: Durability::ProcessCrash,
            signals,
            idle_limit: idle_limit(),
            busy_at: Instant::now(),
            _lock: lock,
        })
    }

    /// Serves until asked to end or idle for long.
    pub fn serve(mut self) -> Result<(), LedgerError> {
        let storage = |source: io::Error| LedgerError::Storage {
            what: "the host's loop failed".to_owned(),
            source: Some(source.into()),
        };
        self.desk.schedule(&mut self.ledger)?;
        while !self.desk.closing {
            self.keep_as_durably_as_asked()?;
            self.desk.peers.flush();
            let wake = self.desk.next_wake(self.idle_limit);
            let round = self.desk.peers.wait(wake).map_err(storage)?;
            if round.child_ended {
                self.hear_signals().map_err(storage)?;
            }
            self.handle(&round)?;
            self.desk.schedule(&mut self.ledger)?;
            self.desk.tell_waiters(&mut self.ledger);
            self.rest();
        }
        self.close_down()
    }

    /// While an array lives that was launched with `--durable`, every write survives a loss of
    /// power; also the one that recorded it, before its launch is answered.
    fn keep_as_durably_as_asked(&mut self) -> Result<(), LedgerError> {
        let asked = |a: &LiveArray| a.unfinished > 0 && a.submission.launch.durable;
        let wanted = match self.desk.arrays.values().any(asked) {
            true => Durability::PowerLoss,
            false => Durability::ProcessCrash,
        };
        if wanted != self.durability {
            self.ledger.set_durability(wanted)?;
            self.durability = wanted;
        }
        Ok(())
    }

    /// One round's messages, in one transaction. Nothing is answered before it is kept.
    fn handle(&mut self, round: &Round) -> Result<(), LedgerError> {
        let now = wall_clock();
        let desk = &mut self.desk;
        let due = desk.arrays_past_deadline(now);
        let lost = desk.silent_agents();
        let quiet =
            round.spoke.is_empty() && round.left.is_empty() && due.is_empty() && lost.is_empty();
        if quiet && !desk.parked_are_due(now) {
            return Ok(());
        }
        self.ledger.group(|ledger| {
            for id in due {
                desk.close_array(ledger, &id, Intent::Expired, Some((StopCause::Ttl, 0)), now)?;
            }
            for &peer in round.spoke.iter().chain(&round.left) {
                desk.hear(ledger, peer, now)?;
            }
            for &peer in round.left.iter().chain(&lost) {
                desk.part(ledger, peer, now)?;
            }
            desk.settle(ledger, now)
        })
    }

    /// Takes in signals: ended children are reaped and their directories removed.
    fn hear_signals(&mut self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo == Signal::SIGTERM as u32 {
                self.desk.closing = true;
            }
        }
        self.desk.reap(WaitPidFlag::WNOHANG);
        Ok(())
    }

    /// Ends an idle host.
    fn rest(&mut self) {
        let desk = &mut self.desk;
        let busy = !desk.arrays.is_empty()
            || !desk.agents.is_empty()
            || desk.peers.len() > usize::from(desk.spare.is_some())
            || desk.endpoint.in_flight() > 0;
        if busy {
            self.busy_at = Instant::now();
        }
        let idle_since = desk
            .endpoint
            .last_request()
            .map_or(self.busy_at, |t| t.max(self.busy_at));
        if idle_since.elapsed() >= self.idle_limit {
            desk.closing = true;
        }
    }

    /// Ends in order: no new commands, agents gone, their tasks back in the ledger.
    fn close_down(mut self) -> Result<(), LedgerError> {
        let _ = std::fs::remove_file(self.desk.home.socket());
        self.desk.peers.flush();
        let now = wall_clock();
        let spare = self.desk.spare.map(|s| s.peer);
        let peers: Vec<PeerId> = self.desk.agents.keys().copied().chain(spare).collect();
        let desk = &mut self.desk;
        let ended = self.ledger.group(|ledger| {
            for peer in peers {
                desk.part(ledger, peer, now)?;
            }
            Ok(())
        });
        self.desk.reap(WaitPidFlag::empty());
        ended
    }
}

impl Desk {
    fn arrays_past_deadline(&self, now: UnixMicros) -> Vec<ArrayId> {
        self.arrays
            .values()
            .filter(|a| a.intent != Intent::Expired && a.unfinished > 0 && a.deadline <= now)
            .map(|a| a.id.clone())
            .collect()
    }

    fn parked_are_due(&self, now: UnixMicros) -> bool {
        self.arrays
            .values()
            .any(|a| !a.parked.is_empty() && a.asleep_until.is_none_or(|t| t <= now))
    }

    fn hear(
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
                        eprintln!("an agent speaks nonsense: {e}");
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

    fn part(
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
    fn settle(&mut self, ledger: &mut SqliteLedger, now: UnixMicros) -> Result<(), LedgerError> {
        let ids: Vec<ArrayId> = self.arrays.keys().cloned().collect();
        for id in ids {
            if let Some(record) = ledger.array(&id)? {
                let array = self.arrays.get_mut(&id).filter(|a| {
                    (a.pending, a.unfinished, a.intent)
                        != (
                            record.counts.pending,
                            record.counts.pending + record.counts.running,
                            record.intent,
                        )
                });
                if let Some(array) = array {
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
            for (peer, _) in std::mem::take(&mut array.parked) {
                self.peers.send(peer, &ToAgent::Retire);
            }
        }
        if let Some((cause, notice_ms)) = stop {
            for (peer, agent) in &self.agents {
                if agent.array == *id {
                    let position = None;
                    self.peers.send(
                        *peer,
                        &ToAgent::Stop {
                            cause,
                            notice_ms,
                            position,
                        },
                    );
                }
            }
        }
        Ok(())
    }

    /// Starts agents for as long as some array wants one.
    fn schedule(&mut self, ledger: &mut SqliteLedger) -> Result<(), LedgerError> {
        let now = wall_clock();
        let next = |desk: &Desk| {
            let id = arrays::next_to_serve(desk.arrays.values(), desk.cores, now).cloned()?;
            (desk.isolation > Isolation::Shared || desk.may_share_tmp(&id)).then_some(id)
        };
        if next(self).is_none() {
            return Ok(());
        }
        ledger.group(|ledger| {
            while let Some(id) = next(self) {
                match self.start_agent(ledger, &id, now) {
                    Ok(()) => {}
                    Err(AgentStartError::Ledger(e)) => return Err(e),
                    Err(e) => {
                        eprintln!("{}: {e}", id.as_str());
                        if let Some(array) = self.arrays.get_mut(&id) {
                            array.hold_up(e.to_string());
                        }
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

    /// Tasks that share `/tmp` run one at a time, unless the user allowed otherwise.
    fn may_share_tmp(&self, id: &ArrayId) -> bool {
        let allowed = |a: &LiveArray| a.submission.launch.allow_shared_tmp;
        let all_allow = self
            .agents
            .values()
            .all(|agent| self.arrays.get(&agent.array).is_none_or(allowed));
        self.agents.is_empty() || (all_allow && self.arrays.get(id).is_some_and(allowed))
    }

    /// Tells commands that wait what they have not seen yet, not too often.
    fn tell_waiters(&mut self, ledger: &mut SqliteLedger) {
        let due: Vec<ArrayId> = self
            .arrays
            .values()
            .filter(|a| {
                a.waiters
                    .iter()
                    .any(|w| w.stale && (a.unfinished == 0 || w.told.elapsed() >= TELL_EVERY))
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
                self.peers.send(waiter.peer, &answer);
                waiter.stale = false;
                waiter.told = Instant::now();
            }
            if ended {
                array.waiters.clear();
            }
        }
        self.arrays
            .retain(|_, a| a.unfinished > 0 || !a.slots.is_empty() || !a.waiters.is_empty());
    }

    fn next_wake(&self, idle_limit: Duration) -> Option<u64> {
        let now = wall_clock();
        let mut wake = Duration::from_secs(3600).min(idle_limit);
        let until = |at: UnixMicros| Duration::from_micros(at.micros_since(now));
        for array in self.arrays.values() {
            if array.unfinished > 0 && array.intent != Intent::Expired {
                wake = wake.min(until(array.deadline));
            }
            if let Some(at) = array.asleep_until.filter(|_| array.pending > 0) {
                wake = wake.min(until(at));
            }
            for waiter in array.waiters.iter().filter(|w| w.stale) {
                wake = wake.min(TELL_EVERY.saturating_sub(waiter.told.elapsed()));
            }
        }
        if !self.agents.is_empty() {
            wake = wake.min(LEASE / 4);
        }
        Some(u64::try_from(wake.as_millis()).unwrap_or(u64::MAX) + 1)
    }

    fn silent_agents(&self) -> Vec<PeerId> {
        self.agents
            .iter()
            .filter(|(_, a)| a.heard.elapsed() > LEASE)
            .map(|(peer, _)| *peer)
            .collect()
    }

    pub(crate) fn reap(&mut self, flags: WaitPidFlag) {
        while let Ok(status) = waitpid(None::<Pid>, Some(flags)) {
            let Some(pid) = status.pid().filter(|_| status != WaitStatus::StillAlive) else {
                return;
            };
            if let Some(group) = self.groups.remove(&pid.as_raw()) {
                group.remove();
            }
            if let Some(dir) = self.ending.remove(&pid.as_raw()) {
                // Much may lie in it; the loop does not wait for that.
                std::thread::spawn(move || {
                    if let Err(e) = spawn_local::sandbox::tidy::remove(&dir) {
                        eprintln!("cannot remove {}: {e}", dir.display());
                    }
                });
            }
        }
    }
}

/// The most isolation to try for: everything, unless `SPAWN_SANDBOX` says less.
fn wanted_isolation() -> Isolation {
    match std::env::var("SPAWN_SANDBOX").as_deref() {
        Ok("none") => Isolation::Shared,
        Ok("mounts") => Isolation::Mounts,
        _ => Isolation::Full,
    }
}

fn idle_limit() -> Duration {
    std::env::var("SPAWN_IDLE_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .map_or(IDLE, Duration::from_secs)
}
