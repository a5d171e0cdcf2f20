//! What changes in an array with every claim and commit: its head, and its agents' items.
//!
//! They are one partition, so one query reads all that counts need. Tasks that wait are not
//! counted anywhere: they are what remains of the total.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState, Token, closing};
use spawn_ports::ledger::{AgentId, ArrayRecord, LaneCounts, NewArray};

use super::items::{Edit, Item, Read, from_json};
use super::rows::{StoredTask, intent_from};
use super::{Fail, keys};

/// How many claims the head remembers.
pub(super) const RING: u64 = 16;

/// What never changes of an array. The deadline in it is the first one.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub number: u64,
    pub submitted: NewArray,
    pub created_at: UnixMicros,
    pub lanes: Vec<Range<u64>>,
}

impl Frame {
    /// The lane of a position inside the array.
    pub fn lane_of(&self, position: u64) -> usize {
        let lane = self.lanes.partition_point(|lane| lane.end <= position);
        lane.min(self.lanes.len() - 1)
    }

    pub fn contains(&self, position: u64) -> bool {
        position < self.submitted.total
    }
}

/// Tasks by how they ended, as attributes of agents and heads; those of a head also go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ended {
    pub succeeded: i64,
    pub failed: i64,
    pub skipped: i64,
    pub cancelled: i64,
}

impl Ended {
    fn from_item(item: &Item) -> Result<Ended, Fail> {
        Ok(Ended {
            succeeded: item.count("cs")?,
            failed: item.count("cf")?,
            skipped: item.count("ck")?,
            cancelled: item.count("cc")?,
        })
    }

    /// Counts `n` more tasks in `state`, if it is an end.
    pub fn count(&mut self, state: TaskState, n: i64) {
        match state {
            TaskState::Pending | TaskState::Running => {}
            TaskState::Succeeded => self.succeeded += n,
            TaskState::Failed => self.failed += n,
            TaskState::Skipped => self.skipped += n,
            TaskState::Cancelled => self.cancelled += n,
        }
    }

    pub fn all(&self) -> i64 {
        self.succeeded + self.failed + self.skipped + self.cancelled
    }

    pub fn add_to(&self, edit: Edit) -> Edit {
        edit.add("cs", self.succeeded)
            .add("cf", self.failed)
            .add("ck", self.skipped)
            .add("cc", self.cancelled)
    }
}

/// Positions that an earlier closing ended, save those that have items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rest {
    pub first: u64,
    pub end: u64,
    pub intent: Intent,
}

/// One of the last claims of fresh tasks: whose it was and what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub agent: AgentId,
    pub token: Token,
    pub first: u64,
    pub count: u64,
}

impl Slot {
    /// The positions it was given, in a lane.
    pub fn positions(&self, lane: &Range<u64>) -> Range<u64> {
        let end = self.first.saturating_add(self.count).min(lane.end);
        self.first.min(end)..end
    }
}

/// The head of an array.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub intent: Intent,
    /// How often it was closed and opened.
    pub epoch: u64,
    pub deadline: UnixMicros,
    /// The first position of each lane that was never given out; may be past the lane's end.
    pub fresh: Vec<u64>,
    pub started_at: Option<UnixMicros>,
    pub ended_at: Option<UnixMicros>,
    closed_at: Option<UnixMicros>,
    /// Ends that are no agent's, and that were taken back.
    ended: Ended,
    ended_in: Vec<i64>,
    pub rest: Vec<Rest>,
    pub slots: Vec<Slot>,
}

/// The attribute with a lane's first fresh position.
pub(super) fn fresh_name(lane: usize) -> String {
    format!("f{lane}")
}

/// The attribute with the ends of a lane that are no agent's.
pub(super) fn ended_in_name(lane: usize) -> String {
    format!("e{lane}")
}

impl Head {
    pub fn from_item(item: &Item, frame: &Frame) -> Result<Head, Fail> {
        let lanes = 0..frame.lanes.len();
        let mut slots = Vec::new();
        for n in 0..RING {
            slots.extend(slot_from(item, n)?.map(|(_, slot)| slot));
        }
        Ok(Head {
            intent: intent_from(item.need("it")?)?,
            epoch: item.need("ep")?,
            deadline: UnixMicros(item.need("dl")?),
            fresh: lanes
                .clone()
                .map(|lane| item.need(&fresh_name(lane)))
                .collect::<Result<_, _>>()?,
            started_at: item.maybe("sa")?.map(UnixMicros),
            ended_at: item.maybe("ea")?.map(UnixMicros),
            closed_at: item.maybe("ca")?.map(UnixMicros),
            ended: Ended::from_item(item)?,
            ended_in: lanes
                .map(|lane| item.count(&ended_in_name(lane)))
                .collect::<Result<_, _>>()?,
            rest: match item.string("rs") {
                Some(json) => from_json(json)?,
                None => Vec::new(),
            },
            slots,
        })
    }

    /// Positions of a lane that were never given out.
    pub fn untouched(&self, frame: &Frame, lane: usize) -> Range<u64> {
        let end = frame.lanes[lane].end;
        self.fresh[lane].min(end)..end
    }

    /// The task at a position without an item.
    pub fn without_item(&self, position: u64) -> StoredTask {
        let mut task = StoredTask::untouched(position);
        let rest = self.rest.iter();
        let mut rest = rest.filter(|rest| (rest.first..rest.end).contains(&position));
        if let Some(rest) = rest.next() {
            task.close(rest.intent);
        }
        task
    }
}

/// The nonce and the claim in place `n` of a head's memory.
pub(super) fn slot_from(item: &Item, n: u64) -> Result<Option<(u64, Slot)>, Fail> {
    let Some(nonce) = item.maybe(&format!("rn{n}"))? else {
        return Ok(None);
    };
    let slot = Slot {
        agent: AgentId(item.need(&format!("ra{n}"))?),
        token: Token(item.need(&format!("rt{n}"))?),
        first: item.need(&format!("rf{n}"))?,
        count: item.need(&format!("rc{n}"))?,
    };
    Ok(Some((nonce, slot)))
}

/// What an agent's claims and commits change.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub id: AgentId,
    pub lane: usize,
    pub last_update: UnixMicros,
    pub ended_at: Option<UnixMicros>,
    pub tasks_done: u64,
    /// Positions it has claimed and not committed.
    pub leases: BTreeSet<u64>,
    /// The token of its last claim.
    pub claimed: Token,
    ended: Ended,
    interrupted: u64,
    workers_lost: u64,
    /// When the last of its tasks ended.
    last_end: Option<UnixMicros>,
}

impl Live {
    pub fn from_item(item: &Item) -> Result<Live, Fail> {
        let id = keys::number_from(item.need_str("sk")?);
        Ok(Live {
            id: AgentId(id.ok_or_else(|| Fail::Broken("an agent has no number".to_owned()))?),
            lane: item.need("ln")?,
            last_update: UnixMicros(item.need("lu")?),
            ended_at: item.maybe("ea")?.map(UnixMicros),
            tasks_done: item.count("td")?,
            leases: item.numbers("ls")?,
            claimed: Token(item.count("lt")?),
            ended: Ended::from_item(item)?,
            interrupted: item.count("ni")?,
            workers_lost: item.count("nl")?,
            last_end: item.maybe("le")?.map(UnixMicros),
        })
    }
}

/// What a call changes in one agent's item.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    /// When it was heard, and how many attempts it committed.
    pub heard: Option<(UnixMicros, i64)>,
    /// Leases that end.
    pub over: BTreeSet<u64>,
    pub ended: Ended,
    pub last_end: Option<UnixMicros>,
    interrupted: i64,
    workers_lost: i64,
}

impl Change {
    /// An attempt ended so.
    pub fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Interrupted => self.interrupted += 1,
            Cause::WorkerLost => self.workers_lost += 1,
            _ => {}
        }
    }

    pub fn edit(self) -> Edit {
        let mut edit = Edit::new();
        if let Some((now, done)) = self.heard {
            edit = edit.set("lu", super::items::number(now.0)).add("td", done);
        }
        if let Some(at) = self.last_end {
            edit = edit.set("le", super::items::number(at.0));
        }
        let edit = edit
            .exclude("ls", self.over)
            .add("ni", self.interrupted)
            .add("nl", self.workers_lost);
        self.ended.add_to(edit)
    }
}

/// An array at one moment, near enough: items are read one after the other.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    pub head: Head,
    pub agents: Vec<Live>,
}

impl Hot {
    pub fn agent(&self, id: AgentId) -> Option<&Live> {
        self.agents.iter().find(|agent| agent.id == id)
    }

    /// Whether a task was counted twice: it moved from one agent to another between two reads.
    pub fn is_torn(&self, frame: &Frame) -> bool {
        let ended: i64 = self.ended().all();
        let running: usize = self.agents.iter().map(|agent| agent.leases.len()).sum();
        let (Ok(ended), Ok(running)) = (u64::try_from(ended), u64::try_from(running)) else {
            return true;
        };
        ended.saturating_add(running) > frame.submitted.total
    }

    fn ended(&self) -> Ended {
        let mut all = self.head.ended;
        for agent in &self.agents {
            all.succeeded += agent.ended.succeeded;
            all.failed += agent.ended.failed;
            all.skipped += agent.ended.skipped;
            all.cancelled += agent.ended.cancelled;
        }
        all
    }

    /// Tasks of the array by state; the pending ones of a closed array are counted as closed.
    pub fn counts(&self, frame: &Frame) -> Counts {
        let ended = self.ended();
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let running = self.agents.iter().map(|agent| agent.leases.len() as u64);
        let mut counts = Counts {
            pending: 0,
            running: running.sum(),
            succeeded: count(ended.succeeded),
            failed: count(ended.failed),
            skipped: count(ended.skipped),
            cancelled: count(ended.cancelled),
        };
        counts.pending = frame.submitted.total.saturating_sub(counts.total());
        if self.head.intent != Intent::Run {
            let (state, _) = closing(self.head.intent);
            counts.shift(TaskState::Pending, state, counts.pending);
        }
        counts
    }

    /// What is to be done in each lane.
    pub fn lanes(&self, frame: &Frame) -> Vec<LaneCounts> {
        let lanes = frame.lanes.iter().enumerate();
        let count = |(lane, range): (usize, &Range<u64>)| {
            let agents = self.agents.iter().filter(|agent| agent.lane == lane);
            let mut ended = self.head.ended_in[lane];
            let mut running = 0;
            for agent in agents {
                ended += agent.ended.all();
                running += agent.leases.len() as u64;
            }
            let over = u64::try_from(ended).unwrap_or(0) + running;
            LaneCounts {
                pending: match self.head.intent {
                    Intent::Run => (range.end - range.start).saturating_sub(over),
                    _ => 0,
                },
                running,
            }
        };
        lanes.map(count).collect()
    }

    /// When the array ended. Whoever ended it may not have come to write it down.
    pub fn ended_at(&self, counts: &Counts) -> Option<UnixMicros> {
        if !counts.all_ended() {
            return None;
        }
        let ends = self.agents.iter().filter_map(|agent| agent.last_end);
        let seen = || ends.chain(self.head.closed_at).max();
        self.head.ended_at.or_else(seen)
    }

    pub fn record(&self, frame: &Frame) -> ArrayRecord {
        let counts = self.counts(frame);
        let mut submitted = frame.submitted.clone();
        submitted.deadline = self.head.deadline;
        ArrayRecord {
            submitted,
            created_at: frame.created_at,
            started_at: self.head.started_at,
            ended_at: self.ended_at(&counts),
            intent: self.head.intent,
            counts,
            interrupted: self.agents.iter().map(|agent| agent.interrupted).sum(),
            workers_lost: self.agents.iter().map(|agent| agent.workers_lost).sum(),
            lanes: self.lanes(frame),
        }
    }
}
