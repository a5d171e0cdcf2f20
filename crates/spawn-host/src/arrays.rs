//! The arrays that live: how many agents each may have, and who waits for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::supervise::notice_of;
use spawn_core::task::Intent;
use spawn_local::submission::Submission;
use spawn_ports::ledger::ArrayRecord;

use crate::peers::PeerId;

/// After this many agents in a row that did not get ready, an array is held up.
pub const MOST_FAILED_STARTS: u32 = 3;

/// An array with unfinished tasks, or one that somebody still waits for.
#[derive(Debug)]
pub struct LiveArray {
    /// Its id.
    pub id: ArrayId,
    /// What was submitted.
    pub submission: Submission,
    /// Launch plus TTL.
    pub deadline: UnixMicros,
    /// Whether it is still wanted.
    pub intent: Intent,
    /// Tasks waiting to be claimed.
    pub pending: u64,
    /// Tasks without an outcome.
    pub unfinished: u64,
    /// Slots that have an agent.
    pub slots: BTreeSet<u32>,
    /// Nothing is claimable before (backoff).
    pub asleep_until: Option<UnixMicros>,
    /// Agents that wait for a claim, and what they asked for.
    pub parked: Vec<(PeerId, u32)>,
    /// Commands that wait for it, and whether each has seen the newest state.
    pub waiters: Vec<Waiter>,
    /// Agents in a row that ended before they were ready.
    pub failed_starts: u32,
    /// Why nothing is started, if so.
    pub held_up: Option<String>,
    /// When to try again all the same; `None` if that would be of no use.
    pub retry_start_at: Option<UnixMicros>,
}

/// A command that waits for an array.
#[derive(Debug)]
pub struct Waiter {
    /// Its connection.
    pub peer: PeerId,
    /// Something changed since it was last told.
    pub stale: bool,
    /// When it was last told.
    pub told: Instant,
}

impl LiveArray {
    /// An array as the ledger has it.
    pub fn new(record: &ArrayRecord) -> Result<LiveArray, serde_json::Error> {
        let submission = serde_json::from_str(&record.submitted.spec)?;
        let mut array = LiveArray {
            id: record.submitted.id.clone(),
            submission,
            deadline: record.submitted.deadline,
            intent: record.intent,
            pending: 0,
            unfinished: 0,
            slots: BTreeSet::new(),
            asleep_until: None,
            parked: Vec::new(),
            waiters: Vec::new(),
            failed_starts: 0,
            held_up: None,
            retry_start_at: None,
        };
        array.refresh(record);
        Ok(array)
    }

    /// Takes over what the ledger says now.
    pub fn refresh(&mut self, record: &ArrayRecord) {
        self.intent = record.intent;
        self.pending = record.counts.pending;
        self.unfinished = record.counts.pending + record.counts.running;
        for waiter in &mut self.waiters {
            waiter.stale = true;
        }
    }

    /// Whether each task gets a sandbox of its own.
    pub fn fresh(&self) -> bool {
        self.submission.launch.workers.is_none()
    }

    /// Starts no more agents, and lets whoever waits know why.
    pub fn hold_up(&mut self, why: String) {
        self.held_up = Some(why);
        for waiter in &mut self.waiters {
            waiter.stale = true;
        }
    }

    /// One more agent in a row did not get to run a task; after some of them the array is held up.
    pub fn start_failed(&mut self, why: impl FnOnce() -> String) {
        self.failed_starts += 1;
        if self.failed_starts >= MOST_FAILED_STARTS {
            self.hold_up(why());
        }
    }

    /// How many agents the user asked for; `None` leaves it to the machine.
    pub fn asked_width(&self) -> Option<u32> {
        let launch = &self.submission.launch;
        match (launch.workers, launch.max_concurrent) {
            (Some(w), Some(m)) => Some(w.min(m)),
            (w, m) => w.or(m),
        }
    }

    /// The lowest slot without an agent.
    pub fn free_slot(&self) -> u32 {
        (0..).find(|s| !self.slots.contains(s)).unwrap_or(u32::MAX)
    }

    /// How long before the deadline scripts are told to stop, in milliseconds.
    pub fn ttl_notice_millis(&self) -> u64 {
        let ttl = Duration::from_millis(self.submission.launch.ttl_ms);
        u64::try_from(notice_of(ttl).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a task that started now would be told to stop at once.
    pub fn is_running_out(&self, now: UnixMicros) -> bool {
        now.plus_millis(self.ttl_notice_millis()) >= self.deadline
    }

    /// Whether another agent would find something to do.
    pub fn wants_agent(&self, now: UnixMicros) -> bool {
        let idle = self.parked.len() as u64;
        self.intent == Intent::Run
            && (self.held_up.is_none() || self.retry_start_at.is_some_and(|t| t <= now))
            && self.pending > idle
            && self.asleep_until.is_none_or(|t| t <= now)
            && (self.slots.len() as u64) < self.unfinished
            && !self.is_running_out(now)
    }
}

/// Which array gets the next agent, if any: those with a width of their own first, then the one
/// with the fewest agents of those that share the machine's cores.
pub fn next_to_serve<'a>(
    arrays: impl Iterator<Item = &'a LiveArray>,
    cores: u32,
    now: UnixMicros,
) -> Option<&'a ArrayId> {
    let mut sharing = 0u32;
    let mut neediest: Option<&LiveArray> = None;
    for array in arrays {
        let agents = u32::try_from(array.slots.len()).unwrap_or(u32::MAX);
        match array.asked_width() {
            Some(width) => {
                if agents < width && array.wants_agent(now) {
                    return Some(&array.id);
                }
            }
            None => {
                sharing += agents;
                if array.wants_agent(now)
                    && neediest.is_none_or(|n| array.slots.len() < n.slots.len())
                {
                    neediest = Some(array);
                }
            }
        }
    }
    neediest.filter(|_| sharing < cores).map(|a| &a.id)
}
