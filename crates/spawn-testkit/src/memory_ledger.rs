//! The ledger as plain maps: every task has its entry, every query walks all of them.

use std::collections::BTreeMap;
use std::ops::Range;

use spawn_core::array_id::ArrayId;
use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{
    Circumstances, Event, Illegal, Intent, Task, TaskState, Token, is_due, step,
};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, Claim, ClaimedTask, Commit, LaneCounts, Ledger,
    LedgerError, NewAgent, NewArray, Reopen, TaskQuery, TaskRow, dice,
};

/// A ledger that keeps everything in memory. Slow for large arrays, and obviously right.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    arrays: Vec<Array>,
    agents: BTreeMap<AgentId, AgentRecord>,
}

#[derive(Debug)]
struct Array {
    record: ArrayRecord,
    lanes: Vec<Range<u64>>,
    last_token: u64,
    tasks: Vec<Entry>,
}

/// A task and all its attempts, the newest last.
#[derive(Debug, Clone)]
struct Entry {
    position: u64,
    task: Task,
    attempts: Vec<AttemptRow>,
    /// Its array's closing gave it its state, not an attempt of its own.
    closed: bool,
}

impl Entry {
    fn untouched(position: u64) -> Entry {
        Entry {
            position,
            task: Task::untouched(),
            attempts: Vec::new(),
            closed: false,
        }
    }

    fn seen(&self) -> TaskRow {
        let newest = self.attempts.last();
        TaskRow {
            position: self.position,
            state: self.task.state,
            attempt: self.task.attempt,
            token: self.task.token,
            agent: newest.map(|a| a.agent),
            started_at: newest.map(|a| a.started_at),
            ended_at: newest.and_then(|a| a.ended_at),
            not_before: self.task.not_before,
            spent: self.task.spent,
            ending: match self.closed {
                true => self.task.ending.clone(),
                false => newest.and_then(|a| a.ending.clone()),
            },
            log: newest.and_then(|a| a.log),
            usage: newest.and_then(|a| a.usage),
            failed_calls: newest.map_or_else(Vec::new, |a| a.failed_calls.clone()),
        }
    }

    /// Failed by an attempt of its own, not by the closing of its array.
    fn failed_itself(&self) -> bool {
        self.task.state == TaskState::Failed && !self.closed
    }
}

impl Array {
    fn step(&self, entry: &Entry, event: &Event, now: UnixMicros) -> Result<Task, Illegal> {
        let around = Circumstances {
            intent: self.record.intent,
            budgets: &self.record.submitted.budgets,
            now,
            dice: dice(entry.task.token, entry.position, entry.task.attempt),
        };
        step(&entry.task, event, around)
    }

    /// The entry at `position`; beyond the array, one that nobody has touched.
    fn entry(&self, position: u64) -> Entry {
        let entry = usize::try_from(position)
            .ok()
            .and_then(|at| self.tasks.get(at));
        entry
            .cloned()
            .unwrap_or_else(|| self.closed(Entry::untouched(position)))
    }

    /// The entry as the array's closing leaves it.
    fn closed(&self, mut entry: Entry) -> Entry {
        let event = match self.record.intent {
            Intent::Run => return entry,
            Intent::Cancel => Event::Cancel,
            Intent::Expired => Event::Expire,
            Intent::Halted => Event::Halt,
        };
        if let Ok(task) = self.step(&entry, &event, UnixMicros(0)) {
            entry.task = task;
            entry.closed = true;
        }
        entry
    }

    fn put(&mut self, entry: Entry) {
        let at = entry.position as usize;
        self.tasks[at] = entry;
    }

    /// Ends the newest attempt as `ending`, if the transition table allows `event`.
    fn end_attempt(
        &mut self,
        position: u64,
        event: &Event,
        now: UnixMicros,
        end: impl FnOnce(&mut AttemptRow),
    ) -> Result<(), Illegal> {
        let mut entry = self.entry(position);
        entry.task = self.step(&entry, event, now)?;
        let attempt = entry.attempts.last_mut().expect("a running task has one");
        end(attempt);
        // A retry's end is its own, and so is that of a task which nothing cut off.
        entry.closed = entry.task.state.is_terminal() && entry.task.ending != attempt.ending;
        match attempt.ending.as_ref().map(|e| e.cause) {
            Some(Cause::Interrupted) => self.record.interrupted += 1,
            Some(Cause::WorkerLost) => self.record.workers_lost += 1,
            _ => {}
        }
        self.put(entry);
        Ok(())
    }

    /// Counts anew and notes the end of the array.
    fn recount(&mut self, now: UnixMicros) {
        let mut counts = Counts::default();
        for entry in &self.tasks {
            match entry.task.state {
                TaskState::Pending => counts.pending += 1,
                TaskState::Running => counts.running += 1,
                TaskState::Succeeded => counts.succeeded += 1,
                TaskState::Failed => counts.failed += 1,
                TaskState::Skipped => counts.skipped += 1,
                TaskState::Cancelled => counts.cancelled += 1,
            }
        }
        self.record.counts = counts;
        for (lane, range) in self.record.lanes.iter_mut().zip(&self.lanes) {
            let tasks = &self.tasks[range.start as usize..range.end as usize];
            let count = |state| tasks.iter().filter(|e| e.task.state == state).count() as u64;
            *lane = LaneCounts {
                pending: count(TaskState::Pending),
                running: count(TaskState::Running),
            };
        }
        if counts.all_ended() && self.record.ended_at.is_none() {
            self.record.ended_at = Some(now);
        }
    }

    /// Pending tasks of a lane, none in a closed array.
    fn pending(&self, lane: u32) -> impl Iterator<Item = &Entry> {
        let range = self.lanes[lane as usize].clone();
        let pending = |e: &&Entry| e.task.state == TaskState::Pending;
        self.tasks
            .iter()
            .filter(pending)
            .filter(move |e| range.contains(&e.position))
    }

    fn is_due(&self, entry: &Entry, now: UnixMicros) -> bool {
        let budgets = &self.record.submitted.budgets;
        is_due(entry.task.not_before, now, budgets)
    }

    fn claimable(&self, lane: u32, want: u32, now: UnixMicros) -> Vec<u64> {
        let touched = |e: &&Entry| e.task.token != Token(0);
        let back = self.pending(lane).filter(touched);
        let mut due: Vec<&Entry> = back.filter(|e| self.is_due(e, now)).collect();
        due.sort_by_key(|e| (e.task.not_before, e.position));
        let never = self.pending(lane).filter(|e| !touched(e));
        let both = due.into_iter().chain(never).map(|e| e.position);
        both.take(want as usize).collect()
    }
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> MemoryLedger {
        MemoryLedger::default()
    }

    fn find(&mut self, id: &ArrayId) -> Result<&mut Array, LedgerError> {
        let mut all = self.arrays.iter_mut();
        all.find(|a| a.record.submitted.id == *id)
            .ok_or_else(|| LedgerError::UnknownArray(id.clone()))
    }

    /// The array that an agent serves or served.
    fn served_by(&mut self, agent: AgentId) -> Result<&mut Array, LedgerError> {
        let record = self.agents.get(&agent);
        let id = record.map(|a| a.enrolled.array.clone());
        self.find(&id.ok_or(LedgerError::UnknownAgent(agent))?)
    }

    fn heard(&mut self, agent: AgentId, now: UnixMicros, done: u64) {
        if let Some(record) = self.agents.get_mut(&agent)
            && record.ended_at.is_none()
        {
            record.last_update = now;
            record.tasks_done += done;
        }
    }

    fn is_ended(&self, agent: AgentId) -> bool {
        let record = self.agents.get(&agent);
        record.is_some_and(|a| a.ended_at.is_some())
    }
}

impl Ledger for MemoryLedger {
    fn submit(&mut self, array: &NewArray, now: UnixMicros) -> Result<(), LedgerError> {
        let lanes = array.lane_ranges()?;
        if self.find(&array.id).is_ok() {
            return Err(LedgerError::Duplicate(array.id.clone()));
        }
        let mut array = Array {
            record: ArrayRecord {
                submitted: array.clone(),
                created_at: now,
                started_at: None,
                ended_at: None,
                intent: Intent::Run,
                counts: Counts::default(),
                interrupted: 0,
                workers_lost: 0,
                lanes: vec![LaneCounts::default(); lanes.len()],
            },
            lanes,
            last_token: 0,
            tasks: (0..array.total).map(Entry::untouched).collect(),
        };
        array.recount(now);
        self.arrays.push(array);
        Ok(())
    }

    fn array(&mut self, id: &ArrayId) -> Result<Option<ArrayRecord>, LedgerError> {
        Ok(self.find(id).ok().map(|a| a.record.clone()))
    }

    fn arrays(&mut self, limit: u32) -> Result<Vec<ArrayRecord>, LedgerError> {
        let newest = self.arrays.iter().rev().take(limit as usize);
        Ok(newest.map(|a| a.record.clone()).collect())
    }

    fn unfinished(&mut self) -> Result<Vec<ArrayRecord>, LedgerError> {
        let all = self.arrays.iter().map(|a| a.record.clone());
        Ok(all.filter(|a| !a.counts.all_ended()).collect())
    }

    fn enroll(&mut self, agent: &NewAgent, now: UnixMicros) -> Result<AgentId, LedgerError> {
        let lanes = self.find(&agent.array)?.lanes.len();
        if agent.lane as usize >= lanes {
            return Err(LedgerError::UnknownLane {
                array: agent.array.clone(),
                lane: agent.lane,
            });
        }
        let id = AgentId(self.agents.len() as u64 + 1);
        let record = AgentRecord {
            id,
            enrolled: agent.clone(),
            started_at: now,
            last_update: now,
            ended_at: None,
            tasks_done: 0,
        };
        self.agents.insert(id, record);
        Ok(id)
    }

    fn agents(&mut self, array: &ArrayId, limit: u32) -> Result<Vec<AgentRecord>, LedgerError> {
        self.find(array)?;
        let newest = self.agents.values().rev();
        let theirs = newest.filter(|a| a.enrolled.array == *array);
        Ok(theirs.take(limit as usize).cloned().collect())
    }

    fn agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>, LedgerError> {
        Ok(self.agents.get(&id).cloned())
    }

    fn live_agents(&mut self) -> Result<Vec<AgentRecord>, LedgerError> {
        let live = self.agents.values().filter(|a| a.ended_at.is_none());
        Ok(live.cloned().collect())
    }

    fn claim(&mut self, agent: AgentId, want: u32, now: UnixMicros) -> Result<Claim, LedgerError> {
        if self.is_ended(agent) {
            return Err(LedgerError::UnknownAgent(agent));
        }
        let lane = self.agents.get(&agent).map_or(0, |a| a.enrolled.lane);
        let array = self.served_by(agent)?;
        let positions = array.claimable(lane, want, now);
        let mut token = Token(0);
        if !positions.is_empty() {
            array.last_token += 1;
            token = Token(array.last_token);
            array.record.started_at.get_or_insert(now);
        }
        let mut tasks = Vec::new();
        for position in positions {
            let mut entry = array.entry(position);
            entry.task = array
                .step(&entry, &Event::Claim { token }, now)
                .expect("a claimable task can be claimed");
            entry.attempts.push(AttemptRow {
                attempt: entry.task.attempt,
                agent,
                started_at: now,
                ended_at: None,
                ending: None,
                log: None,
                usage: None,
                failed_calls: Vec::new(),
            });
            tasks.push(ClaimedTask {
                position,
                attempt: entry.task.attempt,
            });
            array.put(entry);
        }
        array.recount(now);
        let waits = |e: &&Entry| tasks.is_empty() && !array.is_due(e, now);
        let waiting = array.pending(lane).filter(waits);
        let claim = Claim {
            token,
            next_due: waiting.map(|e| e.task.not_before).min(),
            unfinished: array.record.counts.pending + array.record.counts.running,
            tasks,
        };
        self.heard(agent, now, 0);
        Ok(claim)
    }

    fn commit(
        &mut self,
        agent: AgentId,
        commits: &[Commit],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError> {
        let array = self.served_by(agent)?;
        let mut answers = Vec::new();
        for commit in commits {
            let event = Event::Commit {
                token: commit.token,
                report: commit.report.clone(),
            };
            answers.push(array.end_attempt(commit.position, &event, now, |attempt| {
                attempt.started_at = commit.started_at;
                attempt.ended_at = Some(commit.ended_at);
                attempt.ending = Some(commit.report.ending.clone());
                attempt.log = Some(commit.log);
                attempt.usage = commit.usage;
                attempt.failed_calls = commit.failed_calls.clone();
            }));
        }
        array.recount(now);
        let done = answers.iter().filter(|a| a.is_ok()).count();
        self.heard(agent, now, done as u64);
        Ok(answers)
    }

    fn release(
        &mut self,
        agent: AgentId,
        token: Token,
        positions: &[u64],
        now: UnixMicros,
    ) -> Result<Vec<Result<(), Illegal>>, LedgerError> {
        let array = self.served_by(agent)?;
        let mut answers = Vec::new();
        for position in positions {
            let mut entry = array.entry(*position);
            let answer = array.step(&entry, &Event::Release { token }, now);
            answers.push(answer.map(|next| {
                entry.closed = next.state.is_terminal();
                entry.task = next;
                entry.attempts.pop();
                array.put(entry);
            }));
        }
        array.recount(now);
        self.heard(agent, now, 0);
        Ok(answers)
    }

    fn end_agent(&mut self, agent: AgentId, now: UnixMicros) -> Result<Vec<u64>, LedgerError> {
        let already = self.is_ended(agent);
        let array = self.served_by(agent)?;
        if already {
            return Ok(Vec::new());
        }
        let holds = |e: &&Entry| {
            e.task.state == TaskState::Running && e.attempts.last().map(|a| a.agent) == Some(agent)
        };
        let held: Vec<Entry> = array.tasks.iter().filter(holds).cloned().collect();
        for entry in &held {
            let token = entry.task.token;
            let ended = array.end_attempt(
                entry.position,
                &Event::WorkerLost { token },
                now,
                |attempt| {
                    attempt.ended_at = Some(now);
                    attempt.ending = Some(Ending::of(Cause::WorkerLost));
                },
            );
            ended.expect("a running task can lose its worker");
        }
        array.recount(now);
        if let Some(record) = self.agents.get_mut(&agent) {
            record.ended_at = Some(now);
        }
        Ok(held.iter().map(|e| e.position).collect())
    }

    fn close(
        &mut self,
        id: &ArrayId,
        intent: Intent,
        now: UnixMicros,
    ) -> Result<ArrayRecord, LedgerError> {
        let array = self.find(id)?;
        let open = array.record.intent == Intent::Run && array.record.ended_at.is_none();
        if open && intent != Intent::Run {
            array.record.intent = intent;
            for at in 0..array.tasks.len() {
                let entry = array.tasks[at].clone();
                array.tasks[at] = array.closed(entry);
            }
            array.recount(now);
        }
        Ok(array.record.clone())
    }

    fn extend(&mut self, id: &ArrayId, deadline: UnixMicros) -> Result<ArrayRecord, LedgerError> {
        let record = &mut self.find(id)?.record;
        if record.intent == Intent::Run && record.ended_at.is_none() {
            record.submitted.deadline = deadline;
        }
        Ok(record.clone())
    }

    fn reopen(
        &mut self,
        id: &ArrayId,
        which: &Reopen,
        deadline: UnixMicros,
        now: UnixMicros,
    ) -> Result<u64, LedgerError> {
        let array = self.find(id)?;
        let asked = |e: &&Entry| match which {
            Reopen::Failed => e.task.state == TaskState::Failed,
            Reopen::Positions(set) => e.task.state.is_terminal() && set.contains(e.position),
        };
        let asked: Vec<Entry> = array.tasks.iter().filter(asked).cloned().collect();
        if asked.is_empty() {
            return Ok(0);
        }
        array.record.intent = Intent::Run;
        array.record.ended_at = None;
        array.record.submitted.deadline = deadline;
        for mut entry in asked.iter().cloned() {
            entry.task = array
                .step(&entry, &Event::Reopen, now)
                .expect("an ended task of an open array can be reopened");
            entry.closed = false;
            array.put(entry);
        }
        array.recount(now);
        Ok(asked.len() as u64)
    }

    fn task(&mut self, id: &ArrayId, position: u64) -> Result<Option<TaskRow>, LedgerError> {
        let array = self.find(id)?;
        let found = array.tasks.iter().find(|e| e.position == position);
        Ok(found.map(Entry::seen))
    }

    fn tasks(&mut self, id: &ArrayId, query: TaskQuery) -> Result<Vec<TaskRow>, LedgerError> {
        let rows = self.find(id)?.tasks.iter().map(Entry::seen);
        let wanted = rows
            .filter(|row| row.position >= query.from)
            .filter(|row| query.state.is_none_or(|state| row.state == state));
        Ok(wanted.take(query.limit as usize).collect())
    }

    fn attempts(&mut self, id: &ArrayId, position: u64) -> Result<Vec<AttemptRow>, LedgerError> {
        Ok(self.find(id)?.entry(position).attempts)
    }

    fn recent_failures(&mut self, id: &ArrayId, limit: u32) -> Result<Vec<TaskRow>, LedgerError> {
        let failed = self.find(id)?.tasks.iter().filter(|e| e.failed_itself());
        let mut rows: Vec<TaskRow> = failed.map(Entry::seen).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.ended_at, row.position)));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    fn doubtful_successes(
        &mut self,
        id: &ArrayId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, LedgerError> {
        let rows = self.find(id)?.tasks.iter().map(Entry::seen);
        let doubtful =
            rows.filter(|row| row.state == TaskState::Succeeded && !row.failed_calls.is_empty());
        Ok(doubtful.take(limit as usize).collect())
    }
}
