//! How leases end: commits and releases, and what the end of an agent shares with them.
//!
//! One read of everything that is asked about, then one transaction over the tasks' items and the
//! items of the agents that held them. If an item changed in between, the transaction is
//! cancelled as a whole and everything is read and asked anew.

use std::collections::BTreeMap;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{Circumstances, Event, Illegal, Intent, Task, TaskState, Token, step};
use spawn_ports::ledger::{AgentId, AttemptRow, Commit, dice};

use super::hot::{Change, Frame, Head, Live};
use super::items::{Edit, Item, Read, from_json, number};
use super::rows::{CALL_BYTES, CALLS, LINE_BYTES, MESSAGE_BYTES, StoredTask, bound};
use super::wire::Write;
use super::{DynamoLedger, Fail, ROUNDS, keys};
use crate::DynamoApi;

/// The most leases that one transaction ends. Each takes two of the hundred items that a
/// transaction can have, if each was another agent's.
pub(super) const MOST: usize = 48;
/// The most bytes of texts that one transaction carries; escaped they must fit into 4 MB.
const BYTES: usize = 600 << 10;
/// The most bytes of items as they are stored that one transaction writes, of the 4 MB it takes.
pub(super) const ITEM_BYTES: usize = 3 << 20;
/// How many commits are remembered whose answers were lost.
const UNSURE: usize = 10_000;

/// What is asked of one task.
#[derive(Debug, Clone)]
pub(super) enum Ask<'a> {
    Commit(&'a Commit),
    Release(u64, Token),
    Lost(u64, Token),
}

impl Ask<'_> {
    fn position(&self) -> u64 {
        match self {
            Ask::Commit(commit) => commit.position,
            Ask::Release(position, _) | Ask::Lost(position, _) => *position,
        }
    }

    fn event(&self) -> Event {
        match self {
            Ask::Commit(commit) => Event::Commit {
                token: commit.token,
                report: commit.report.clone(),
            },
            Ask::Release(_, token) => Event::Release { token: *token },
            Ask::Lost(_, token) => Event::WorkerLost { token: *token },
        }
    }

    fn bytes(&self) -> usize {
        let Ask::Commit(commit) = self else {
            return 0;
        };
        let ending = &commit.report.ending;
        let texts = [&ending.message, &ending.last_stderr];
        let texts: usize = texts
            .iter()
            .filter_map(|t| t.as_ref().map(String::len))
            .sum();
        let calls = commit.failed_calls.iter().take(CALLS);
        let calls: usize = calls
            .flat_map(|call| {
                let resource = call.resource.as_ref().map_or(0, String::len);
                [
                    call.service.len(),
                    call.operation.len(),
                    call.code.len(),
                    resource,
                ]
            })
            .map(|bytes| bytes.min(CALL_BYTES))
            .sum();
        texts.min(MESSAGE_BYTES + LINE_BYTES) + calls
    }
}

/// All that a round of asking knows.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub frame: &'a Frame,
    pub head: Head,
    pub tasks: BTreeMap<u64, StoredTask>,
    /// Attempts before the newest, of the tasks that are released.
    earlier: BTreeMap<u64, AttemptRow>,
    /// The tasks that change, as they were.
    before: BTreeMap<u64, StoredTask>,
    changes: BTreeMap<AgentId, Change>,
    now: UnixMicros,
}

/// What the transition table says. Changes nothing.
pub(super) fn ask(
    frame: &Frame,
    intent: Intent,
    stored: &StoredTask,
    event: &Event,
    now: UnixMicros,
) -> Result<Task, Illegal> {
    let around = Circumstances {
        intent,
        budgets: &frame.submitted.budgets,
        now,
        dice: dice(stored.token, stored.position, stored.attempt),
    };
    step(&stored.task(intent), event, around)
}

impl<'a> Table<'a> {
    pub fn new(
        frame: &'a Frame,
        head: Head,
        tasks: BTreeMap<u64, StoredTask>,
        now: UnixMicros,
    ) -> Table<'a> {
        Table {
            frame,
            head,
            tasks,
            earlier: BTreeMap::new(),
            before: BTreeMap::new(),
            changes: BTreeMap::new(),
            now,
        }
    }

    pub fn task(&self, position: u64) -> StoredTask {
        match self.tasks.get(&position) {
            Some(task) => task.clone(),
            None if self.frame.contains(position) => self.head.without_item(position),
            None => StoredTask::untouched(position),
        }
    }

    pub fn change(&mut self, agent: AgentId) -> &mut Change {
        self.changes.entry(agent).or_default()
    }

    /// Asks, and notes what follows.
    pub fn ask(&mut self, what: &Ask<'_>) -> Result<(), Illegal> {
        let mut stored = self.task(what.position());
        let was = stored.clone();
        let intent = self.head.intent;
        let next = ask(self.frame, intent, &stored, &what.event(), self.now)?;
        // A lease is of a task that has an item, and its newest attempt says whose it is.
        let Some(mut newest) = stored.newest.take() else {
            return Err(Illegal::NotRunning(stored.state));
        };
        let holder = newest.agent;
        let mut closed_by = Intent::Run;
        if let Ask::Release(..) = what {
            if next.state.is_terminal() {
                closed_by = intent;
            }
            stored.newest = self.earlier.remove(&stored.position);
        } else {
            let cause = end(&mut newest, what, self.now);
            self.change(holder).count(cause);
            // What the attempt came to is not what the task did: the closing had the last word.
            if next.state.is_terminal() && next.ending != newest.ending {
                closed_by = intent;
            }
            bound(&mut newest);
            stored.newest = Some(newest);
        }
        stored.become_task(&next, closed_by);
        let now = self.now;
        let change = self.change(holder);
        change.over.insert(stored.position);
        change.ended.count(next.state, 1);
        if next.state.is_terminal() {
            change.last_end = Some(now);
        }
        self.before.entry(stored.position).or_insert(was);
        self.tasks.insert(stored.position, stored);
        Ok(())
    }

    /// A task that was given to an agent and has no item, since its claim broke off: claimed, and
    /// lost with the agent.
    pub fn lose_unwritten(&mut self, position: u64, token: Token, agent: AgentId) -> bool {
        let mut stored = self.task(position);
        let was = stored.clone();
        let intent = self.head.intent;
        let claimed = ask(
            self.frame,
            intent,
            &stored,
            &Event::Claim { token },
            self.now,
        );
        let Ok(claimed) = claimed else {
            return false;
        };
        stored.become_task(&claimed, Intent::Run);
        let lost = ask(
            self.frame,
            intent,
            &stored,
            &Event::WorkerLost { token },
            self.now,
        );
        let Ok(lost) = lost else {
            return false;
        };
        stored.become_task(&lost, Intent::Run);
        stored.newest = Some(AttemptRow {
            ended_at: Some(self.now),
            ending: Some(Ending::of(Cause::WorkerLost)),
            ..begun(stored.attempt, agent, self.now)
        });
        let now = self.now;
        let change = self.change(agent);
        change.count(Cause::WorkerLost);
        change.ended.count(lost.state, 1);
        if lost.state.is_terminal() {
            change.last_end = Some(now);
        }
        self.before.insert(position, was);
        self.tasks.insert(position, stored);
        true
    }

    /// Whether a task ended.
    fn ended_any(&self) -> bool {
        self.changes
            .values()
            .any(|change| change.last_end.is_some())
    }

    /// The writes of all that follows. `edit` says what else holds for an agent's item.
    pub fn writes(self, edit: impl Fn(AgentId, Edit) -> Edit) -> Result<Vec<Write>, Fail> {
        let id = &self.frame.submitted.id;
        let mut writes = Vec::with_capacity(self.before.len() + self.changes.len());
        for (position, was) in &self.before {
            let item = self.tasks[position].to_item(id, self.frame.lane_of(*position))?;
            writes.push(match was.token {
                Token(0) => Write::new(item),
                token => Write::Put(item, unchanged(token, was)),
            });
        }
        for (agent, change) in self.changes {
            let edit = edit(agent, change.edit().if_present("pk"));
            writes.push(Write::Update(keys::live(id, agent), edit));
        }
        Ok(writes)
    }
}

/// Holds while the task is as it was read: nobody claimed it, and nothing ended its attempt.
pub(super) fn unchanged(token: Token, was: &StoredTask) -> Edit {
    Edit::new()
        .if_equal("tk", number(token.0))
        .if_equal("st", number(was.state_code()))
}

/// An attempt that begins.
pub(super) fn begun(attempt: u32, agent: AgentId, now: UnixMicros) -> AttemptRow {
    AttemptRow {
        attempt,
        agent,
        started_at: now,
        ended_at: None,
        ending: None,
        log: None,
        usage: None,
        failed_calls: Vec::new(),
    }
}

/// Ends an attempt and gives the cause.
fn end(attempt: &mut AttemptRow, what: &Ask<'_>, now: UnixMicros) -> Cause {
    if let Ask::Commit(commit) = what {
        attempt.started_at = commit.started_at;
        attempt.ended_at = Some(commit.ended_at);
        attempt.ending = Some(commit.report.ending.clone());
        attempt.log = Some(commit.log);
        attempt.usage = commit.usage;
        attempt.failed_calls = commit.failed_calls.clone();
        return commit.report.ending.cause;
    }
    attempt.ended_at = Some(now);
    attempt.ending = Some(Ending::of(Cause::WorkerLost));
    Cause::WorkerLost
}

impl<A: DynamoApi> DynamoLedger<A> {
    /// Asks for commits or releases, said by `speaker`. One answer for each, in order.
    pub(super) fn settle(
        &mut self,
        speaker: AgentId,
        asks: &[Ask<'_>],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, Fail> {
        let array = self.enrolment(speaker)?.said.array;
        let frame = self.frame(&array)?;
        let mut answers = Vec::with_capacity(asks.len());
        let mut most = MOST;
        while answers.len() < asks.len() {
            let left = &asks[answers.len()..];
            let mut bytes = 0;
            let fits = left.iter().take(most).take_while(|ask| {
                bytes += ask.bytes();
                bytes <= BYTES
            });
            let chunk = &left[..fits.count().max(1)];
            match self.settle_chunk(&frame, speaker, chunk, now)? {
                Some(some) => answers.extend(some),
                // What releases bring back is not known before it is read.
                None => most = (chunk.len() / 2).max(1),
            }
        }
        if asks.is_empty() {
            self.heard(&array, speaker, now)?;
        }
        Ok(answers)
    }

    fn settle_chunk(
        &mut self,
        frame: &Frame,
        speaker: AgentId,
        asks: &[Ask<'_>],
        now: UnixMicros,
    ) -> Result<Option<Vec<Result<(), Illegal>>>, Fail> {
        let array = &frame.submitted.id;
        for round in 1..=ROUNDS {
            let positions = asks.iter().map(Ask::position);
            let (mut table, live) = self.look_up(frame, speaker, positions, now)?;
            let recalled = self.recall(&mut table, asks)?;
            if recalled > ITEM_BYTES && asks.len() > 1 {
                return Ok(None);
            }
            let mut answers = Vec::with_capacity(asks.len());
            let mut done = 0;
            for what in asks {
                let mut answer = table.ask(what);
                done += i64::from(answer.is_ok() && matches!(what, Ask::Commit(_)));
                if let (Err(_), Ask::Commit(commit)) = (&answer, what)
                    && self.was_done(array, commit, &table)
                {
                    answer = Ok(());
                }
                answers.push(answer);
            }
            if table.before.is_empty() {
                if live.ended_at.is_none() {
                    self.heard(array, speaker, now)?;
                }
                return Ok(Some(answers));
            }
            if live.ended_at.is_none() {
                table.change(speaker).heard = Some((now, done));
            }
            let over = table.changes.get(&speaker).map(|change| &change.over);
            let mut left = live.leases.iter();
            let more_to_come = left.any(|at| over.is_none_or(|over| !over.contains(at)));
            let may_end = table.ended_any() && !more_to_come && is_given_out(frame, &table.head);
            let is_live = live.ended_at.is_none();
            let writes = table.writes(|agent, edit| match agent == speaker && is_live {
                true => edit.if_absent("ea"),
                false => edit,
            })?;
            match self.wire.transact(writes) {
                Ok(()) => {
                    self.unsure.retain(|(of, unsure)| {
                        let mut commits = asks.iter();
                        of != array
                            || !commits.any(|ask| matches!(ask, Ask::Commit(c) if *c == unsure))
                    });
                    if may_end {
                        // Who reads the array sees that it ended; see `Hot::ended_at`.
                        let _ = self.finish(frame, now);
                    }
                    return Ok(Some(answers));
                }
                Err(error) if error.is_condition() => self.wire.retries.pause(round),
                Err(error) => {
                    let commits = asks.iter().filter_map(|ask| match ask {
                        Ask::Commit(commit) => Some((array.clone(), (*commit).clone())),
                        _ => None,
                    });
                    self.unsure.extend(commits);
                    let too_many = self.unsure.len().saturating_sub(UNSURE);
                    self.unsure.drain(..too_many);
                    return Err(error.into());
                }
            }
        }
        Err(Fail::Broken(format!(
            "tasks of array `{array}` changed with every attempt to commit them"
        )))
    }

    /// The head, an agent, and the tasks at some positions, by one call.
    pub(super) fn look_up<'a>(
        &mut self,
        frame: &'a Frame,
        agent: AgentId,
        positions: impl Iterator<Item = u64>,
        now: UnixMicros,
    ) -> Result<(Table<'a>, Live), Fail> {
        let id = &frame.submitted.id;
        let positions: std::collections::BTreeSet<u64> =
            positions.filter(|at| frame.contains(*at)).collect();
        let mut keys = vec![keys::head(id), keys::live(id, agent)];
        keys.extend(positions.iter().map(|at| keys::task(id, *at)));
        let mut head = None;
        let mut live = None;
        let mut tasks = BTreeMap::new();
        for item in self.wire.get_all(&keys)? {
            if item.need_str("pk")? != id.as_str() {
                let task = StoredTask::from_item(&item)?;
                tasks.insert(task.position, task);
            } else if item.need_str("sk")? == keys::HEAD {
                head = Some(Head::from_item(&item, frame)?);
            } else {
                live = Some(Live::from_item(&item)?);
            }
        }
        let head = head.ok_or_else(|| Fail::Broken(format!("array `{id}` has no head")))?;
        let live =
            live.ok_or_else(|| Fail::Broken(format!("agent {} of `{id}` has no item", agent.0)))?;
        Ok((Table::new(frame, head, tasks, now), live))
    }

    /// Reads the attempts that releases bring back, and gives how many bytes they are.
    fn recall(&mut self, table: &mut Table<'_>, asks: &[Ask<'_>]) -> Result<usize, Fail> {
        let id = &table.frame.submitted.id;
        let mut keys: Vec<Item> = Vec::new();
        for what in asks {
            if let Ask::Release(position, token) = what
                && let Some(task) = table.tasks.get(position)
                && (task.token, task.state) == (*token, TaskState::Running)
                && task.attempt > 1
            {
                keys.push(keys::attempt(id, *position, task.attempt - 1));
            }
        }
        // The same position may be named twice.
        keys.sort_by_key(|key| key.string("sk").map(str::to_owned));
        keys.dedup();
        let mut bytes = 0;
        for item in self.wire.get_all(&keys)? {
            let at = item.need_str("sk")?.split('/').next().unwrap_or_default();
            let position = keys::number_from(at);
            let position =
                position.ok_or_else(|| Fail::Broken("an attempt has no position".to_owned()))?;
            let json = item.need_str("x")?;
            bytes += json.len();
            table.earlier.insert(position, from_json(json)?);
        }
        Ok(bytes)
    }

    /// Whether this very commit was made by a call whose answer was lost.
    fn was_done(&self, array: &ArrayId, commit: &Commit, table: &Table<'_>) -> bool {
        let mut unsure = self.unsure.iter();
        let asked = unsure.any(|(of, unsure)| of == array && unsure == commit);
        let task = asked.then(|| table.tasks.get(&commit.position)).flatten();
        task.is_some_and(|task| {
            let newest = task.newest.as_ref();
            let ended = newest.map(|newest| (newest.started_at, newest.ended_at, newest.log));
            let said = (commit.started_at, Some(commit.ended_at), Some(commit.log));
            task.token == commit.token && ended == Some(said)
        })
    }

    /// Notes that an agent spoke. An ended one stays as it ended.
    pub(super) fn heard(
        &mut self,
        array: &ArrayId,
        agent: AgentId,
        now: UnixMicros,
    ) -> Result<(), Fail> {
        let edit = Edit::new()
            .set("lu", number(now.0))
            .if_present("pk")
            .if_absent("ea");
        match self.wire.update(keys::live(array, agent), edit) {
            Err(error) if error.is_condition() => Ok(()),
            written => Ok(written.map(|_| ())?),
        }
    }
}

/// Whether no task can wait without having been touched: only then can an array come to its end.
pub(super) fn is_given_out(frame: &Frame, head: &Head) -> bool {
    let mut lanes = 0..frame.lanes.len();
    head.intent != Intent::Run || lanes.all(|lane| head.untouched(frame, lane).is_empty())
}
