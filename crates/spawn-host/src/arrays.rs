//! The arrays that live: how many agents each may have, and who waits for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::supervise::notice_of;
use spawn_core::task::Intent;
use spawn_local::submission::Submission;
use spawn_ports::ledger::ArrayRecord;
use spawn_spec::Lane;

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
    /// When it was launched.
    pub launched_at: UnixMicros,
    /// Launch plus TTL.
    pub deadline: UnixMicros,
    /// Whether it is still wanted.
    pub intent: Intent,
    /// Tasks without an outcome.
    pub unfinished: u64,
    /// The kinds of worker it needs.
    pub lanes: Vec<LiveLane>,
    /// Slots that have an agent.
    pub slots: BTreeSet<u32>,
    /// Agents that hold a slot and leave it to another array after their task.
    pub leaving: u32,
    /// Commands that wait for it, and whether each has seen the newest state.
    pub waiters: Vec<Waiter>,
    /// Agents in a row that ended before they were ready.
    pub failed_starts: u32,
    /// Failed tasks that do not count against `--max-failures`: they failed before somebody had the
    /// array go on.
    pub failures_before: u64,
    /// What is missing of its files, if something is: its tasks fail for that reason.
    pub missing: Option<String>,
    /// Why nothing is started, if so.
    pub held_up: Option<String>,
    /// When to try again all the same; `None` if that would be of no use.
    pub retry_start_at: Option<UnixMicros>,
    /// Whether agents are numbered after the logs that this array has.
    pub has_looked_at_logs: bool,
}

/// A kind of worker of a live array.
#[derive(Debug)]
pub struct LiveLane {
    /// What its workers are, and which tasks they run.
    pub spec: Lane,
    /// The position of its first task.
    pub first_position: u64,
    /// Tasks waiting to be claimed.
    pub pending: u64,
    /// Tasks that are claimed.
    pub running: u64,
    /// Agents that hold a slot.
    pub agents: u32,
    /// Nothing is claimable before (backoff).
    pub asleep_until: Option<UnixMicros>,
    /// Agents that wait for a claim, and what they asked for.
    pub parked: Vec<(PeerId, u32)>,
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

impl LiveLane {
    /// How many more agents would find something to do.
    fn wants(&self, now: UnixMicros) -> u64 {
        if self.asleep_until.is_some_and(|t| t > now) {
            return 0;
        }
        let unclaimed = self.pending.saturating_sub(self.parked.len() as u64);
        let unserved = (self.pending + self.running).saturating_sub(u64::from(self.agents));
        unclaimed.min(unserved)
    }
}

impl LiveArray {
    /// An array as the ledger has it.
    pub fn new(record: &ArrayRecord) -> Result<LiveArray, serde_json::Error> {
        let submission: Submission = serde_json::from_str(&record.submitted.spec)?;
        let mut first_position = 0;
        let lanes = submission.launch.all_lanes().into_iter().map(|spec| {
            let lane = LiveLane {
                first_position,
                pending: 0,
                running: 0,
                agents: 0,
                asleep_until: None,
                parked: Vec::new(),
                spec,
            };
            first_position += lane.spec.indices.len();
            lane
        });
        let mut array = LiveArray {
            id: record.submitted.id.clone(),
            launched_at: record.created_at,
            deadline: record.submitted.deadline,
            intent: record.intent,
            unfinished: 0,
            lanes: lanes.collect(),
            submission,
            slots: BTreeSet::new(),
            leaving: 0,
            waiters: Vec::new(),
            failed_starts: 0,
            failures_before: 0,
            missing: None,
            held_up: None,
            retry_start_at: None,
            has_looked_at_logs: false,
        };
        array.refresh(record);
        let most = array.submission.launch.max_failures;
        let (failed, total) = (record.counts.failed, record.counts.total());
        if record.intent == Intent::Run && most.is_some_and(|most| most.exceeded_by(failed, total))
        {
            // It would have been halted, had it not been opened again since.
            array.failures_before = failed;
        }
        Ok(array)
    }

    /// Takes over what the ledger says now.
    pub fn refresh(&mut self, record: &ArrayRecord) {
        self.intent = record.intent;
        self.deadline = record.submitted.deadline;
        self.unfinished = record.counts.pending + record.counts.running;
        for (lane, counts) in self.lanes.iter_mut().zip(&record.lanes) {
            lane.pending = counts.pending;
            lane.running = counts.running;
        }
        self.news();
    }

    /// Starts over with what the ledger says now, and with no agent.
    pub fn restart(&mut self, record: &ArrayRecord) {
        self.slots.clear();
        self.leaving = 0;
        for lane in &mut self.lanes {
            lane.agents = 0;
            lane.asleep_until = None;
            lane.parked.clear();
        }
        self.refresh(record);
    }

    /// Whether the ledger says something else than is known here.
    pub fn differs_from(&self, record: &ArrayRecord) -> bool {
        let lanes = self.lanes.iter().map(|l| (l.pending, l.running));
        self.intent != record.intent
            || self.unfinished != record.counts.pending + record.counts.running
            || lanes.ne(record.lanes.iter().map(|l| (l.pending, l.running)))
    }

    /// Commands that wait have not seen everything any more.
    pub fn news(&mut self) {
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
        self.news();
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

    /// Takes the lowest free slot for an agent of this lane.
    pub fn take_slot(&mut self, lane: u32) -> u32 {
        let slot = (0..).find(|s| !self.slots.contains(s)).unwrap_or(u32::MAX);
        self.slots.insert(slot);
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.agents += 1;
        }
        slot
    }

    /// An agent leaves its slot.
    pub fn free_slot(&mut self, slot: u32, lane: u32) {
        if self.slots.remove(&slot)
            && let Some(lane) = self.lanes.get_mut(lane as usize)
        {
            lane.agents -= 1;
        }
    }

    /// How long before the end of a worker that lives for `ttl_ms`, or of the array if that comes
    /// first, scripts are told to stop; all in milliseconds.
    pub fn ttl_notice_millis(&self, ttl_ms: u64) -> u64 {
        let ttl = Duration::from_millis(ttl_ms.min(self.submission.launch.ttl_ms));
        u64::try_from(notice_of(ttl).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a task that started now would be told to stop at once.
    pub fn is_running_out(&self, now: UnixMicros) -> bool {
        now.plus_millis(self.ttl_notice_millis(u64::MAX)) >= self.deadline
    }

    /// The first of the times that something waits for, of those that had not come when the host last
    /// looked, which may be in the past by now: what came due in between is still to be served.
    pub fn next_nap_end(&self, looked_at: UnixMicros) -> Option<UnixMicros> {
        let naps = self.lanes.iter().map(|lane| lane.asleep_until);
        let naps = naps.chain([self.retry_start_at]).flatten();
        naps.filter(|at| *at > looked_at).min()
    }

    /// Whether agents may be started for it at all now.
    fn may_start(&self, now: UnixMicros) -> bool {
        self.intent == Intent::Run
            && (self.held_up.is_none() || self.retry_start_at.is_some_and(|t| t <= now))
            && !self.is_running_out(now)
    }

    /// The lane that wants another agent most, if any would find something to do.
    pub fn neediest_lane(&self, now: UnixMicros) -> Option<u32> {
        if !self.may_start(now) {
            return None;
        }
        let wanting = self.lanes.iter().zip(0u32..);
        wanting
            .filter(|(lane, _)| lane.wants(now) > 0)
            .min_by_key(|(lane, _)| lane.agents)
            .map(|(_, nth)| nth)
    }

    /// How many more agents it could use now, within the width that was asked for.
    pub fn wants(&self, now: UnixMicros) -> u32 {
        if !self.may_start(now) {
            return 0;
        }
        let wanted: u64 = self.lanes.iter().map(|lane| lane.wants(now)).sum();
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let width = self.asked_width().unwrap_or(u32::MAX);
        wanted.min(width.saturating_sub(self.slots.len() as u32))
    }

    /// Its place among the arrays that share the machine: the order of their launch.
    pub fn turn(&self) -> Turn {
        (self.launched_at, self.id.clone())
    }
}

/// Which array was launched before which.
pub type Turn = (UnixMicros, ArrayId);

#[cfg(test)]
mod tests {
    use spawn_core::counts::Counts;
    use spawn_core::index_set::IndexSet;
    use spawn_ports::ledger::{LaneCounts, NewArray};
    use spawn_spec::{LaunchSpec, Program};

    use super::*;

    fn array(counts: Counts, max_failures: Option<&str>) -> LiveArray {
        let launch: LaunchSpec = serde_json::from_value(serde_json::json!({
            "name": "job",
            "indices": IndexSet::first(10).unwrap(),
            "program": Program::Command { argv: vec!["true".into()] },
            "ttl_ms": 3_600_000,
            "max_failures": max_failures,
        }))
        .unwrap();
        let submission = serde_json::json!({"launch": launch, "shell_env": [], "path": ""});
        let record = ArrayRecord {
            submitted: NewArray {
                id: "array-20260127-abc123".parse().unwrap(),
                name: "job".into(),
                spec: submission.to_string(),
                total: 10,
                budgets: Default::default(),
                deadline: UnixMicros(i64::MAX),
                lanes: Vec::new(),
            },
            created_at: UnixMicros(0),
            started_at: None,
            ended_at: None,
            intent: Intent::Run,
            lanes: vec![LaneCounts {
                pending: counts.pending,
                running: counts.running,
            }],
            counts,
            interrupted: 0,
            workers_lost: 0,
        };
        LiveArray::new(&record).unwrap()
    }

    #[test]
    fn what_came_due_since_the_host_looked_is_not_slept_over() {
        let mut array = array(Counts::untouched(10), None);
        assert_eq!(array.next_nap_end(UnixMicros(0)), None);
        array.lanes[0].asleep_until = Some(UnixMicros(500));
        array.retry_start_at = Some(UnixMicros(900));
        // The host looked at 400, and it may be any time after that.
        assert_eq!(array.next_nap_end(UnixMicros(400)), Some(UnixMicros(500)));
        assert_eq!(array.next_nap_end(UnixMicros(500)), Some(UnixMicros(900)));
        assert_eq!(array.next_nap_end(UnixMicros(900)), None);
    }

    #[test]
    fn failures_of_before_a_retry_do_not_halt_an_array_that_a_new_host_takes_up() {
        let mut counts = Counts::untouched(10);
        counts.pending = 5;
        counts.failed = 5;
        assert_eq!(array(counts, Some("2")).failures_before, 5);
        assert_eq!(array(counts, Some("5")).failures_before, 0);
        assert_eq!(array(counts, None).failures_before, 0);
    }
}
