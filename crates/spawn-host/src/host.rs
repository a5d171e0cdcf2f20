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
use nix::sys::wait::WaitPidFlag;
use spawn_core::outcome::StopCause;
use spawn_core::sharing::Sharing;
use spawn_core::task::Intent;
use spawn_endpoint::{Credentials, EndpointHandle};
use spawn_local::home::Home;
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_local::shortage::is_ledger_shortage;
use spawn_local::wall_clock;
use spawn_local::wire::agent::Isolation;
use spawn_ports::ledger::{Ledger, LedgerError};

use crate::arrays::LiveArray;
use crate::clock::ClockWatch;
use crate::desk::Desk;
use crate::doomed::Doom;
use crate::failed_calls::FailedCalls;
use crate::home_watch::HomeWatch;
use crate::isolation;
use crate::peers::{PeerId, Peers, Round};
use crate::startup::{HostLock, StartError};

/// An idle host ends after this long, unless `SPAWN_IDLE_SECONDS` says otherwise.
const IDLE: Duration = Duration::from_secs(900);
/// Time enough for whoever started it to be heard.
const SHORTEST_IDLE: Duration = Duration::from_secs(2);
/// An agent that is silent this long is given up, unless `SPAWN_LEASE_SECONDS` says otherwise.
const LEASE: Duration = Duration::from_secs(45);
/// Agents speak at least every half of this.
const SHORTEST_LEASE: Duration = Duration::from_secs(4);

/// How the rounds of a host come to an end.
enum End {
    /// It was asked to end, or was idle for long.
    InOrder,
    /// Its home is not there any more.
    HomeGone,
}

/// The host: the ledger, and the desk where everything else happens.
pub struct Host {
    ledger: SqliteLedger,
    desk: Desk,
    durability: Durability,
    signals: SignalFd,
    idle_limit: Duration,
    busy_at: Instant,
    /// When the host last took in what was said. Silence is judged by it.
    round_began: Instant,
    clock: ClockWatch,
    home_watch: HomeWatch,
    _lock: HostLock,
}

impl Host {
    /// A host over an open ledger; it takes up every unfinished array.
    #[expect(
        clippy::too_many_arguments,
        reason = "start-up hands over what it made"
    )]
    pub fn new(
        home: Home,
        open_files: u64,
        mut ledger: SqliteLedger,
        socket: UnixListener,
        agent_program: PathBuf,
        endpoint: EndpointHandle,
        endpoint_port: u16,
        credentials: Credentials,
        failed_calls: FailedCalls,
        lock: HostLock,
        warnings: Vec<String>,
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
        let home_watch = HomeWatch::new(home.lock(), &lock).map_err(io)?;
        let mut live = BTreeMap::new();
        for record in ledger.unfinished()? {
            match LiveArray::new(&record) {
                Ok(array) => {
                    live.insert(array.id.clone(), array);
                }
                Err(e) => note!(
                    "{}: cannot read its spec: {e}",
                    record.submitted.id.as_str()
                ),
            }
        }
        let wanted = wanted_isolation()?;
        let reached = isolation::find(wanted, &agent_program, &home);
        let desk = Desk {
            peers: Peers::new(socket, signals.as_fd()).map_err(io)?,
            home,
            open_files,
            arrays: live,
            agents: HashMap::new(),
            spare: None,
            ending: HashMap::new(),
            removals: Vec::new(),
            agent_program,
            endpoint,
            endpoint_port,
            credentials,
            failed_calls,
            lease: seconds("SPAWN_LEASE_SECONDS", LEASE, SHORTEST_LEASE)?,
            wanted_isolation: wanted,
            isolation: reached.isolation,
            isolation_known: reached.is_known,
            lessened: reached.lessened,
            doom: Doom::default(),
            limits: OnceCell::new(),
            groups: HashMap::new(),
            started_at: wall_clock::now(),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            sharing: Sharing::new(),
            origin: Instant::now(),
            draining_until: None,
            closing: false,
            looked_at: wall_clock::now(),
            boot: spawn_local::sandbox::processes::boot_id(),
            shortage: None,
            refused_for_room: None,
            warnings,
        };
        Ok(Host {
            ledger,
            desk,
            durability: Durability::ProcessCrash,
            signals,
            idle_limit: seconds("SPAWN_IDLE_SECONDS", IDLE, SHORTEST_IDLE)?,
            busy_at: Instant::now(),
            round_began: Instant::now(),
            clock: ClockWatch::new(wall_clock::now(), wall_clock::since_boot()),
            home_watch,
            _lock: lock,
        })
    }

    /// Serves until asked to end or idle for long.
    pub fn serve(mut self) -> Result<(), LedgerError> {
        match self.rounds() {
            Ok(End::InOrder) => self.close_down(),
            Ok(End::HomeGone) => {
                self.desk.abandon();
                Ok(())
            }
            Err(e) => {
                self.desk.say_why_it_ends(&e);
                Err(e)
            }
        }
    }

    fn rounds(&mut self) -> Result<End, LedgerError> {
        let storage = |source: io::Error| LedgerError::Storage {
            what: "the host's loop failed".to_owned(),
            source: Some(source.into()),
        };
        let scheduled = self.desk.schedule(&mut self.ledger);
        self.or_run_short(scheduled)?;
        while !self.desk.closing {
            let set = self.keep_as_durably_as_asked();
            self.or_run_short(set)?;
            self.desk.peers.flush();
            let look = self.home_watch.next_look().as_millis() as u64 + 1;
            let wake = self.desk.next_wake(self.idle_limit).min(look);
            let round = self.desk.peers.wait(wake).map_err(storage)?;
            let now = Instant::now();
            // Since the round before, so that it does not matter where the host was stopped.
            let away = now.duration_since(std::mem::replace(&mut self.round_began, now));
            if away > Duration::from_millis(wake) + self.desk.lease / 4 {
                // It was the host that was away, not its agents.
                self.desk.trust_all_agents();
            }
            if self.home_watch.is_home_gone(!round.arrived.is_empty()) {
                return Ok(End::HomeGone);
            }
            if let Some(step) = self.clock.step(wall_clock::now(), wall_clock::since_boot()) {
                let moved = self.desk.clock_was_set(&mut self.ledger, step);
                self.or_run_short(moved)?;
            }
            if round.child_ended {
                self.hear_signals().map_err(storage)?;
            }
            let kept = self.handle(&round);
            self.or_run_short(kept)?;
            let looked = self.desk.look_for_room(&mut self.ledger);
            self.or_run_short(looked)?;
            let scheduled = self.desk.schedule(&mut self.ledger);
            self.or_run_short(scheduled)?;
            self.desk.tell_waiters(&mut self.ledger);
            self.desk.look_at_doomed();
            self.desk.close_when_drained();
            self.rest();
        }
        Ok(End::InOrder)
    }

    /// A full disk does not end the host; anything else that keeps the ledger from being written does.
    fn or_run_short(&mut self, done: Result<(), LedgerError>) -> Result<(), LedgerError> {
        let Err(error) = done else {
            self.desk.peers.settle();
            self.desk.refused_for_room = None;
            return Ok(());
        };
        // The group's own error may only say that one of its calls failed.
        let first = self.desk.refused_for_room.take();
        let error = first
            .filter(|_| !is_ledger_shortage(&error))
            .unwrap_or(error);
        match is_ledger_shortage(&error) {
            true => self.desk.run_short(&mut self.ledger, &error),
            false => Err(error),
        }
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
        let now = wall_clock::now();
        let judged_at = self.round_began;
        let desk = &mut self.desk;
        desk.looked_at = now;
        let due = desk.arrays_past_deadline(now);
        let late = desk.agents_to_end(judged_at);
        let quiet =
            round.spoke.is_empty() && round.left.is_empty() && due.is_empty() && late.is_empty();
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
            for &peer in &round.left {
                desk.part(ledger, peer, now)?;
            }
            // Those that spoke in this round are not late any more.
            for peer in desk.agents_to_end(judged_at) {
                desk.end_by_force(peer);
                desk.part(ledger, peer, now)?;
            }
            desk.settle(ledger, now)
        })
    }

    /// Takes in signals: ended children are reaped and their directories removed.
    fn hear_signals(&mut self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo == Signal::SIGTERM as u32 {
                self.desk.drain();
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
        let now = wall_clock::now();
        let spare = self.desk.spare.map(|s| s.peer);
        let peers: Vec<PeerId> = self.desk.agents.keys().copied().chain(spare).collect();
        let desk = &mut self.desk;
        let ended = self.ledger.group(|ledger| {
            for peer in peers {
                if desk.isolation < Isolation::Full {
                    desk.end_by_force(peer);
                }
                desk.part(ledger, peer, now)?;
            }
            Ok(())
        });
        self.desk.await_ends();
        ended
    }
}

/// The most isolation to try for: everything, unless `SPAWN_SANDBOX` says less.
fn wanted_isolation() -> Result<Isolation, StartError> {
    match std::env::var("SPAWN_SANDBOX").as_deref() {
        Ok("none") => Ok(Isolation::Shared),
        Ok("mounts") => Ok(Isolation::Mounts),
        Ok("full" | "") | Err(_) => Ok(Isolation::Full),
        Ok(other) => Err(StartError::Setting {
            name: "SPAWN_SANDBOX",
            value: other.to_owned(),
            expected: "`full`, `mounts` or `none`",
        }),
    }
}

/// A length of time that a variable may set; never less than `least`.
fn seconds(name: &'static str, usual: Duration, least: Duration) -> Result<Duration, StartError> {
    match std::env::var(name) {
        Err(_) => Ok(usual),
        Ok(text) => match text.parse::<u64>() {
            Ok(seconds) => Ok(Duration::from_secs(seconds).max(least)),
            Err(_) => Err(StartError::Setting {
                name,
                value: text,
                expected: "a number of seconds",
            }),
        },
    }
}
