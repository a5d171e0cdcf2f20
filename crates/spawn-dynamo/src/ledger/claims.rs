//! Claims: which tasks an agent is given.
//!
//! 1. One query reads the head and all agents: what waits, and what is unfinished.
//! 2. If tasks wait that were handed back, the index says which are due.
//! 3. One update of the head gives out the token and the next fresh positions, and remembers for
//!    whom, so that a lost answer can be read again.
//! 4. One transaction writes the tasks' items and the leases. Each item's condition is that nobody
//!    was faster.
//!
//! Between 3 and 4 the positions given out have no items and count as waiting. If the agent dies
//! there they are handed back with its end, as long as the head remembers them; else whoever
//! finds nothing else to claim takes them when they have been so for a lease period.

use spawn_core::moment::UnixMicros;
use spawn_core::task::{Event, Intent, TaskState, Token};
use spawn_ports::ledger::{AgentId, Claim, ClaimedTask, LedgerError};

use super::hot::{Frame, Hot, Live, RING, fresh_name, slot_from};
use super::items::{Edit, Read, number};
use super::reads::Enrolment;
use super::rows::{StoredTask, attempt_item, intent_code};
use super::settle::{Ask, ITEM_BYTES, ask, begun, unchanged};
use super::wire::{Transaction, Write, chance};
use super::{DynamoLedger, Fail, ROUNDS, keys};
use crate::{DynamoApi, DynamoError};

/// The most tasks of one claim: a handed-back one takes two of the hundred items that a
/// transaction can have.
pub(crate) const MOST: u32 = 48;

/// A claim under way.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Tells this claim from all others.
    nonce: u64,
    /// How many fresh positions to ask for.
    room: u64,
    /// Once the head gave it.
    token: Option<Token>,
    back: Vec<StoredTask>,
    fresh: Vec<u64>,
    /// Once it was made: it may have been done.
    sent: Option<(Transaction, Vec<ClaimedTask>)>,
}

/// What there is for an agent.
enum Found {
    Tasks(Plan),
    Nothing(Option<UnixMicros>),
}

impl<A: DynamoApi> DynamoLedger<A> {
    pub(super) fn claim_for(
        &mut self,
        id: AgentId,
        want: u32,
        now: UnixMicros,
    ) -> Result<Claim, Fail> {
        let Enrolment { said, .. } = self.enrolment(id)?;
        let frame = self.frame(&said.array)?;
        let lane = said.lane as usize;
        let mut claim = Claim {
            token: Token(0),
            tasks: Vec::new(),
            next_due: None,
            unfinished: 0,
        };
        for round in 0..ROUNDS {
            let hot = self.hot(&frame)?;
            let live = hot.agent(id).filter(|live| live.ended_at.is_none());
            if live.is_none() {
                self.plans.remove(&id);
                return Err(LedgerError::UnknownAgent(id).into());
            }
            let counts = hot.counts(&frame);
            claim.unfinished = counts.pending + counts.running;
            let mut begun = self.plans.remove(&id);
            if hot.head.intent != Intent::Run
                && let Some(mut plan) = begun.take()
                && let Some(token) = plan.token
                && let Some(tasks) = self.was_claimed(&frame, id, &mut plan, token)?
            {
                // Done before the array was closed. What was not done is not done any more.
                claim.token = token;
                claim.tasks = tasks;
                self.hand_back_surplus(id, &mut claim, want, now)?;
                return Ok(claim);
            }
            let found = match begun {
                Some(plan) => Found::Tasks(plan),
                None => self.plan(&frame, &hot, lane, want, round, now)?,
            };
            match found {
                Found::Nothing(next_due) => {
                    if let Some(at) = hot.ended_at(&counts)
                        && hot.head.ended_at.is_none()
                    {
                        self.write_end(&frame, &hot, at)?;
                    }
                    claim.next_due = next_due;
                    break;
                }
                Found::Tasks(plan) => {
                    let again = plan.clone();
                    if let Some((token, tasks)) = self.carry_out(&frame, id, lane, plan, now)? {
                        claim.token = token;
                        claim.tasks = tasks;
                        let handed_back = self.hand_back_surplus(id, &mut claim, want, now);
                        if handed_back.is_err() {
                            self.plans.insert(id, again);
                        }
                        handed_back?;
                        return Ok(claim);
                    }
                    self.wire.retries.pause(round.min(3) + 1);
                }
            }
        }
        self.heard(&said.array, id, now)?;
        Ok(claim)
    }

    /// Looks whether a claim that broke off was done. If that cannot be known now, the next claim
    /// looks.
    fn was_claimed(
        &mut self,
        frame: &Frame,
        id: AgentId,
        plan: &mut Plan,
        token: Token,
    ) -> Result<Option<Vec<ClaimedTask>>, Fail> {
        let looked = self.look_again(frame, id, plan, token);
        if let Err(Fail::Dynamo(_)) = &looked {
            self.plans.insert(id, plan.clone());
        }
        looked
    }

    /// An earlier claim that is gone on with may have wanted more.
    fn hand_back_surplus(
        &mut self,
        id: AgentId,
        claim: &mut Claim,
        want: u32,
        now: UnixMicros,
    ) -> Result<(), Fail> {
        if claim.tasks.len() > want as usize {
            let surplus = claim.tasks.split_off(want as usize);
            let token = claim.token;
            let asks = surplus
                .iter()
                .map(|task| Ask::Release(task.position, token));
            self.settle(id, &asks.collect::<Vec<_>>(), now)?;
            if claim.tasks.is_empty() {
                claim.token = Token(0);
            }
        }
        Ok(())
    }

    fn plan(
        &mut self,
        frame: &Frame,
        hot: &Hot,
        lane: usize,
        want: u32,
        round: u32,
        now: UnixMicros,
    ) -> Result<Found, Fail> {
        if hot.head.intent != Intent::Run {
            return Ok(Found::Nothing(None));
        }
        let want = u64::from(want.min(MOST));
        let untouched = hot.head.untouched(frame, lane);
        let untouched = untouched.end - untouched.start;
        let waiting = hot.lanes(frame)[lane].pending.saturating_sub(untouched);
        let mut plan = Plan {
            nonce: chance() >> 16,
            room: 0,
            token: None,
            back: Vec::new(),
            fresh: Vec::new(),
            sent: None,
        };
        if waiting > 0 && want > 0 {
            plan.back = self.due(frame, lane, want, waiting, round, now)?;
        }
        let mut bytes = 0;
        let fit = plan.back.iter().take_while(|task| {
            bytes += task.bytes();
            bytes <= ITEM_BYTES
        });
        let fit = fit.count();
        if fit < plan.back.len() {
            // Fresh ones only after all of these.
            plan.back.truncate(fit.max(1));
        } else {
            plan.room = untouched.min(want - plan.back.len() as u64);
        }
        if plan.room > 0 || !plan.back.is_empty() {
            return Ok(Found::Tasks(plan));
        }
        if waiting == 0 {
            return Ok(Found::Nothing(None));
        }
        let next_due = self.next_due(frame, lane, now)?;
        if next_due.is_some() || want == 0 {
            return Ok(Found::Nothing(next_due));
        }
        self.gaps(frame, hot, lane, plan, want, now)
    }

    /// Tasks wait, and the index lists none: it may lag, or they were given out and have no items.
    fn gaps(
        &mut self,
        frame: &Frame,
        hot: &Hot,
        lane: usize,
        mut plan: Plan,
        want: u64,
        now: UnixMicros,
    ) -> Result<Found, Fail> {
        let id = &frame.submitted.id;
        let since = *self.gaps.entry((id.clone(), lane)).or_insert(now);
        if now < since {
            self.gaps.insert((id.clone(), lane), now);
        }
        let due = since.plus_millis(self.lease_millis);
        if now < due {
            return Ok(Found::Nothing(Some(due)));
        }
        self.gaps.remove(&(id.clone(), lane));
        let first = frame.lanes[lane].start;
        let end = hot.head.untouched(frame, lane).start;
        let written = self.written(id, first, end)?;
        let without = (first..end).filter(|at| !written.contains(at));
        let pending = |at: &u64| hot.head.without_item(*at).state == TaskState::Pending;
        plan.fresh = without.filter(pending).take(want as usize).collect();
        match plan.fresh.is_empty() {
            true => Ok(Found::Nothing(None)),
            false => Ok(Found::Tasks(plan)),
        }
    }

    /// Gives what was given, or nothing if others took it all. A failure leaves the plan to be
    /// gone on with by the agent's next claim.
    fn carry_out(
        &mut self,
        frame: &Frame,
        id: AgentId,
        lane: usize,
        mut plan: Plan,
        now: UnixMicros,
    ) -> Result<Option<(Token, Vec<ClaimedTask>)>, Fail> {
        let done = self.attempt(frame, id, lane, &mut plan, now);
        if let Err(Fail::Dynamo(_)) = &done {
            self.plans.insert(id, plan);
        }
        done
    }

    fn attempt(
        &mut self,
        frame: &Frame,
        id: AgentId,
        lane: usize,
        plan: &mut Plan,
        now: UnixMicros,
    ) -> Result<Option<(Token, Vec<ClaimedTask>)>, Fail> {
        let token = match plan.token {
            Some(token) => token,
            None => match self.draw(frame, id, lane, plan, now)? {
                Some(token) => token,
                None => return Ok(None),
            },
        };
        plan.token = Some(token);
        for round in 1..=ROUNDS {
            if plan.sent.is_none() {
                let (writes, tasks) = writes(frame, id, lane, plan, token, now)?;
                if tasks.is_empty() {
                    return Ok(None);
                }
                plan.sent = Some((self.wire.transaction(writes), tasks));
            }
            let Some((transaction, tasks)) = &plan.sent else {
                return Ok(None);
            };
            match self.wire.send(transaction) {
                Ok(()) => return Ok(Some((token, tasks.clone()))),
                Err(error) if error.is_condition() => {}
                Err(error) => return Err(error.into()),
            }
            // Somebody was faster with one of them, or the agent has ended; or all was done long
            // ago, by a call whose answer was lost.
            if let Some(tasks) = self.look_again(frame, id, plan, token)? {
                return Ok(Some((token, tasks)));
            }
            plan.sent = None;
            self.wire.retries.pause(round.min(3));
        }
        Ok(None)
    }

    /// Takes a token and fresh positions from the head; nothing if the array is closed.
    fn draw(
        &mut self,
        frame: &Frame,
        id: AgentId,
        lane: usize,
        plan: &mut Plan,
        now: UnixMicros,
    ) -> Result<Option<Token>, Fail> {
        let mut edit = Edit::new()
            .set_from("tk", "tk", 1)
            .set_once("sa", number(now.0))
            .if_equal("it", number(intent_code(Intent::Run)));
        let place = plan.nonce % RING;
        let fresh = fresh_name(lane);
        if plan.room > 0 {
            edit = edit
                .set_from(&fresh, &fresh, plan.room)
                .set(&format!("rn{place}"), number(plan.nonce))
                .set(&format!("ra{place}"), number(id.0))
                .set(&format!("rc{place}"), number(plan.room))
                .set_from(&format!("rt{place}"), "tk", 1)
                .set_from(&format!("rf{place}"), &fresh, 0)
                // Sent again after its answer was lost, it does nothing.
                .unless_equal(&format!("rn{place}"), number(plan.nonce));
        }
        let given = match self.wire.update(keys::head(&frame.submitted.id), edit) {
            Err(DynamoError::ConditionalCheckFailed { item: Some(item) }) => {
                let item = super::items::item(&item).cloned().unwrap_or_default();
                let slot = slot_from(&item, place)?;
                let Some((_, slot)) = slot.filter(|(nonce, _)| *nonce == plan.nonce) else {
                    return Ok(None);
                };
                plan.fresh.extend(slot.positions(&frame.lanes[lane]));
                return Ok(Some(slot.token));
            }
            Err(error) if error.is_condition() => return Ok(None),
            given => given?,
        };
        if plan.room > 0 {
            let end: u64 = given.need(&fresh)?;
            let last = frame.lanes[lane].end;
            plan.fresh
                .extend((end - plan.room).min(last)..end.min(last));
        }
        Ok(Some(Token(given.need("tk")?)))
    }

    /// Looks at what a claim could not have: drops what others have. Gives the tasks if they are
    /// this very claim's already.
    fn look_again(
        &mut self,
        frame: &Frame,
        id: AgentId,
        plan: &mut Plan,
        token: Token,
    ) -> Result<Option<Vec<ClaimedTask>>, Fail> {
        let array = &frame.submitted.id;
        let back = plan.back.iter().map(|task| task.position);
        let all: Vec<u64> = back.chain(plan.fresh.iter().copied()).collect();
        let stored = self.stored(array, all.iter().copied())?;
        let ours = |at: &u64| {
            let task = stored.get(at)?;
            let held = (task.token, task.state, task.holder());
            (held == (token, TaskState::Running, Some(id))).then_some(ClaimedTask {
                position: task.position,
                attempt: task.attempt,
            })
        };
        let ours: Vec<ClaimedTask> = all.iter().filter_map(ours).collect();
        if !ours.is_empty() {
            return Ok(Some(ours));
        }
        plan.fresh.retain(|at| !stored.contains_key(at));
        plan.back
            .retain(|task| stored.get(&task.position) == Some(task));
        let live = self.wire.get(keys::live(array, id))?;
        let live = live.as_ref().map(Live::from_item).transpose()?;
        if live.is_none_or(|live| live.ended_at.is_some()) {
            self.give_back(frame, &plan.fresh)?;
            return Err(LedgerError::UnknownAgent(id).into());
        }
        Ok(None)
    }

    /// Hands back positions that were given out, as tasks that were never claimed.
    fn give_back(&mut self, frame: &Frame, positions: &[u64]) -> Result<(), Fail> {
        for position in positions {
            let task = StoredTask::untouched(*position);
            let item = task.to_item(&frame.submitted.id, frame.lane_of(*position))?;
            match self.wire.put(item, Edit::new().if_absent("pk")) {
                Err(error) if error.is_condition() => {}
                written => written?,
            }
        }
        Ok(())
    }
}

/// The writes of a claim, and what it gives.
fn writes(
    frame: &Frame,
    agent: AgentId,
    lane: usize,
    plan: &Plan,
    token: Token,
    now: UnixMicros,
) -> Result<(Vec<Write>, Vec<ClaimedTask>), Fail> {
    let id = &frame.submitted.id;
    let fresh = plan.fresh.iter().map(|at| StoredTask::untouched(*at));
    let mut writes = Vec::new();
    let mut tasks = Vec::new();
    for mut stored in plan.back.iter().cloned().chain(fresh) {
        let was = stored.clone();
        let claimed = ask(frame, Intent::Run, &stored, &Event::Claim { token }, now);
        // One whose time has not come again, the clock having been set back since.
        let Ok(next) = claimed else {
            continue;
        };
        stored.become_task(&next, Intent::Run);
        if let Some(earlier) = &was.newest {
            writes.push(Write::put(attempt_item(id, was.position, earlier)?));
        }
        stored.newest = Some(begun(stored.attempt, agent, now));
        let item = stored.to_item(id, lane)?;
        writes.push(match plan.fresh.contains(&was.position) {
            true => Write::new(item),
            false => Write::Put(item, unchanged(was.token, &was)),
        });
        tasks.push(ClaimedTask {
            position: stored.position,
            attempt: stored.attempt,
        });
    }
    if !tasks.is_empty() {
        let edit = Edit::new()
            .include("ls", tasks.iter().map(|task| task.position))
            .set("lt", number(token.0))
            .set("lu", number(now.0))
            .if_present("pk")
            .if_absent("ea");
        writes.push(Write::Update(keys::live(id, agent), edit));
    }
    Ok((writes, tasks))
}
