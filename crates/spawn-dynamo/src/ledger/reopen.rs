//! What opens arrays again.
//!
//! While an array is closed, the tasks that its closing ended are stored as pending, or not at all.
//! Once it is open again that would mean that they wait. So first, in a closed array still, those
//! that have items and those that were given out are stored as what the closing made of them:
//! readers see no difference. Then one transaction opens the array, with the first of the tasks
//! that run again; those without items that stay ended become a range in the head. The other
//! tasks that run again follow, some dozens a transaction, each transaction with its counts: a
//! call that breaks off has reopened a part, and the next one reopens the rest.
//!
//! This is the one write that reads all touched tasks of an array: the index may lag, and somebody
//! who asks for what failed means all of it.

use std::collections::BTreeMap;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Event, Intent, TaskState, closing};
use spawn_ports::ledger::Reopen;

use super::hot::{Ended, Frame, Head, Rest, ended_in_name, fresh_name};
use super::items::{Edit, Item, number, text, to_json};
use super::rows::{StoredTask, intent_code};
use super::settle::{ask, unchanged};
use super::wire::{Search, Write};
use super::{DynamoLedger, Fail, ROUNDS, keys};
use crate::DynamoApi;

/// The most tasks of one transaction, and the most bytes of their items.
const MOST: usize = 90;
const BYTES: usize = 1 << 20;
/// How many items one page reads.
const PAGE: usize = 1_000;

/// What there is to reopen.
#[derive(Debug, Default)]
struct Found {
    /// Asked for and ended: as they are stored, or would be if they had items.
    again: Vec<StoredTask>,
    /// Ended by the closing and not stored so.
    unmarked: Vec<StoredTask>,
    /// Of each lane: asked-for positions that were never given out; all of them if `whole`.
    untouched: Vec<Untouched>,
}

#[derive(Debug, Default)]
struct Untouched {
    asked: Vec<u64>,
    whole: u64,
}

impl Found {
    fn count(&self) -> u64 {
        let untouched = self.untouched.iter();
        let untouched: u64 = untouched.map(|u| u.asked.len() as u64 + u.whole).sum();
        self.again.len() as u64 + untouched
    }
}

/// Counts of the head that change with the tasks.
#[derive(Debug, Default)]
struct Shift {
    ended: Ended,
    lanes: BTreeMap<usize, i64>,
}

impl Shift {
    fn count(&mut self, lane: usize, state: TaskState, n: i64) {
        self.ended.count(state, n);
        *self.lanes.entry(lane).or_default() += n;
    }

    fn add_to(&self, edit: Edit) -> Edit {
        let mut edit = self.ended.add_to(edit);
        for (lane, n) in &self.lanes {
            edit = edit.add(&ended_in_name(*lane), *n);
        }
        edit
    }
}

impl<A: DynamoApi> DynamoLedger<A> {
    pub(super) fn run_again(
        &mut self,
        id: &ArrayId,
        which: &Reopen,
        deadline: UnixMicros,
        now: UnixMicros,
    ) -> Result<u64, Fail> {
        let frame = self.frame(id)?;
        let mut count = 0;
        for round in 1..=ROUNDS {
            let head = self.head(&frame)?;
            let found = self.asked_for(&frame, &head, which)?;
            if found.count() == 0 {
                return Ok(count);
            }
            if !found.unmarked.is_empty() {
                self.mark(&frame, &head, &found.unmarked)?;
                continue;
            }
            let (some, whole) = self.open_again(&frame, &head, found, deadline, now)?;
            count += some;
            if whole {
                return Ok(count);
            }
            self.wire.retries.pause(round);
        }
        Err(Fail::Broken(format!(
            "array `{id}` changed at every attempt to reopen it"
        )))
    }

    /// Reads every touched task.
    fn asked_for(&mut self, frame: &Frame, head: &Head, which: &Reopen) -> Result<Found, Fail> {
        let id = &frame.submitted.id;
        let intent = head.intent;
        let asked = |task: &StoredTask| {
            let state = task.task(intent).state;
            match which {
                Reopen::Failed => state == TaskState::Failed,
                Reopen::Positions(set) => state.is_terminal() && set.contains(task.position),
            }
        };
        let mut found = Found::default();
        let without = |found: &mut Found, positions: std::ops::Range<u64>| {
            for position in positions {
                let lane = frame.lane_of(position);
                if head.untouched(frame, lane).contains(&position) {
                    continue;
                }
                let task = head.without_item(position);
                if asked(&task) {
                    found.again.push(task.clone());
                }
                if task.state == TaskState::Pending && intent != Intent::Run {
                    found.unmarked.push(task);
                }
            }
        };
        let last = frame.submitted.total - 1;
        let mut next = 0;
        while next <= last {
            let page = self.wire.query(&Search {
                of: keys::tasks_pk(id),
                between: Some((keys::ordered(next), keys::ordered(last))),
                limit: PAGE,
                ..Search::default()
            })?;
            for item in &page {
                let task = StoredTask::from_item(item)?;
                without(&mut found, next..task.position);
                next = task.position + 1;
                if asked(&task) {
                    found.again.push(task.clone());
                }
                if task.state == TaskState::Pending && intent != Intent::Run {
                    found.unmarked.push(task);
                }
            }
            if page.len() < PAGE {
                // What was never given out needs no look at every position.
                for lane in 0..frame.lanes.len() {
                    let range = &frame.lanes[lane];
                    let end = head.untouched(frame, lane).start;
                    without(&mut found, range.start.max(next)..end);
                }
                break;
            }
        }
        for lane in 0..frame.lanes.len() {
            found.untouched.push(untouched(frame, head, lane, which));
        }
        Ok(found)
    }

    /// Stores tasks that a closing ended as what it made of them. Readers see no difference.
    fn mark(&mut self, frame: &Frame, head: &Head, tasks: &[StoredTask]) -> Result<(), Fail> {
        let id = &frame.submitted.id;
        let mut left = tasks.iter().peekable();
        while left.peek().is_some() {
            let mut shift = Shift::default();
            let mut writes = Vec::new();
            let mut bytes = 0;
            while writes.len() < MOST && bytes < BYTES {
                let Some(was) = left.next() else {
                    break;
                };
                bytes += was.bytes();
                let lane = frame.lane_of(was.position);
                let mut task = was.clone();
                task.close(head.intent);
                shift.count(lane, task.state, 1);
                writes.push(write(task.to_item(id, lane)?, was));
            }
            let edit = shift.add_to(Edit::new().if_equal("ep", number(head.epoch)));
            writes.push(Write::Update(keys::head(id), edit));
            match self.wire.transact(writes) {
                // Read anew: a claim that was under way came first, or somebody marks them, too.
                Err(error) if error.is_condition() => return Ok(()),
                written => written?,
            }
        }
        Ok(())
    }

    /// Opens the array and has tasks run again. Gives how many, and whether it was all.
    fn open_again(
        &mut self,
        frame: &Frame,
        head: &Head,
        found: Found,
        deadline: UnixMicros,
        now: UnixMicros,
    ) -> Result<(u64, bool), Fail> {
        let id = &frame.submitted.id;
        let mut edit = Edit::new()
            .set("it", number(intent_code(Intent::Run)))
            .set("dl", number(deadline.0))
            .set("ip", text(keys::OPEN))
            .set("is", text(keys::ordered(frame.number)))
            .remove("ea")
            .remove("ca")
            .add("ep", 1)
            .if_equal("ep", number(head.epoch));
        let mut shift = Shift::default();
        let mut rest = head.rest.clone();
        let mut again = found.again;
        let mut count = 0;
        for (lane, these) in found.untouched.into_iter().enumerate() {
            count += these.whole;
            let range = head.untouched(frame, lane);
            if head.intent == Intent::Run || these.whole > 0 || range.is_empty() {
                continue;
            }
            shift.count(
                lane,
                closing(head.intent).0,
                (range.end - range.start) as i64,
            );
            edit = edit.set(&fresh_name(lane), number(range.end));
            rest.push(Rest {
                first: range.start,
                end: range.end,
                intent: head.intent,
            });
            for position in these.asked {
                let mut task = StoredTask::untouched(position);
                task.close(head.intent);
                again.push(task);
            }
        }
        if rest != head.rest {
            edit = edit.set("rs", text(to_json(&rest)?));
        }
        let mut opening = Some(edit);
        let mut left = again.into_iter();
        loop {
            let mut writes = Vec::new();
            let mut bytes = 0;
            while writes.len() < MOST && bytes < BYTES {
                let Some(mut task) = left.next() else {
                    break;
                };
                let was = task.clone();
                let lane = frame.lane_of(task.position);
                let next = ask(frame, Intent::Run, &task, &Event::Reopen, now).map_err(|why| {
                    Fail::Broken(format!(
                        "task {} cannot run again though it has ended: {why}",
                        was.position
                    ))
                })?;
                shift.count(lane, was.state, -1);
                task.become_task(&next, Intent::Run);
                let item = task.to_item(id, lane)?;
                let newest = item.get("x").and_then(|x| x["S"].as_str());
                bytes += newest.map_or(0, str::len);
                writes.push(write(item, &was));
            }
            let opens = opening.is_some();
            let tasks = writes.len() as u64;
            if tasks == 0 && !opens {
                return Ok((count, true));
            }
            let open = || Edit::new().if_equal("ep", number(head.epoch + 1));
            let edit = shift.add_to(opening.take().unwrap_or_else(open));
            shift = Shift::default();
            writes.push(Write::Update(keys::head(id), edit));
            match self.wire.transact(writes) {
                Ok(()) => count += tasks,
                Err(error) if error.is_condition() => {
                    let count = if opens { 0 } else { count };
                    return Ok((count, false));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Writes a task that was read as `was`, if nobody changed it since.
fn write(item: Item, was: &StoredTask) -> Write {
    // One that was never claimed may have no item.
    let same = Edit::new().if_absent_or_equal("st", number(was.state_code()));
    match was.token.0 {
        0 => Write::Put(item, same),
        _ => Write::Put(item, unchanged(was.token, was)),
    }
}

fn untouched(frame: &Frame, head: &Head, lane: usize, which: &Reopen) -> Untouched {
    let range = head.untouched(frame, lane);
    let all = range.end - range.start;
    let mut found = Untouched::default();
    match which {
        _ if head.intent == Intent::Run => {}
        Reopen::Failed => {
            if closing(head.intent).0 == TaskState::Failed {
                found.whole = all;
            }
        }
        Reopen::Positions(set) => {
            found.asked = set.iter().filter(|at| range.contains(at)).collect();
            found.asked.sort_unstable();
        }
    }
    if found.asked.len() as u64 == all {
        found.whole = found.whole.max(all);
        found.asked.clear();
    }
    found
}
