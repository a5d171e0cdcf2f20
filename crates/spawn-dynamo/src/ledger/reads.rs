//! What reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::closing;
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, LedgerError, NewAgent, TaskQuery, TaskRow,
};

use super::hot::{Frame, Head, Hot, Live};
use super::items::{Item, Read, from_json};
use super::rows::{StoredTask, state_codes};
use super::wire::Search;
use super::{DynamoLedger, Fail, glance, keys};
use crate::DynamoApi;

/// How often counts are read again that contradict each other.
const TORN: u32 = 20;

/// What an agent said when it enrolled. It never changes.
#[derive(Debug, Clone)]
pub(super) struct Enrolment {
    pub said: NewAgent,
    pub started_at: UnixMicros,
}

impl Enrolment {
    fn from_item(item: &Item) -> Result<Enrolment, Fail> {
        Ok(Enrolment {
            said: from_json(item.need_str("x")?)?,
            started_at: UnixMicros(item.need("sa")?),
        })
    }

    fn record(&self, live: &Live) -> AgentRecord {
        AgentRecord {
            id: live.id,
            enrolled: self.said.clone(),
            started_at: self.started_at,
            last_update: live.last_update,
            ended_at: live.ended_at,
            tasks_done: live.tasks_done,
        }
    }
}

impl<A: DynamoApi> DynamoLedger<A> {
    /// What never changes of an array; read once.
    pub(super) fn frame(&mut self, id: &ArrayId) -> Result<Arc<Frame>, Fail> {
        let found = self.frame_if(id)?;
        Ok(found.ok_or_else(|| LedgerError::UnknownArray(id.clone()))?)
    }

    pub(super) fn frame_if(&mut self, id: &ArrayId) -> Result<Option<Arc<Frame>>, Fail> {
        if let Some(frame) = self.frames.get(id) {
            return Ok(Some(Arc::clone(frame)));
        }
        let parts = self.wire.query(&Search {
            of: keys::spec_pk(id),
            ..Search::default()
        })?;
        let Some(first) = parts.first() else {
            return Ok(None);
        };
        let mut submitted: spawn_ports::ledger::NewArray = from_json(first.need_str("x")?)?;
        for part in &parts {
            submitted.spec.push_str(part.need_str("spec")?);
        }
        if parts.len() != first.need::<usize>("parts")? {
            return Err(Fail::Broken(format!("parts of array `{id}` are missing")));
        }
        let frame = Arc::new(Frame {
            number: first.need("number")?,
            created_at: UnixMicros(first.need("created_at")?),
            lanes: submitted.lane_ranges()?,
            submitted,
        });
        self.frames.insert(id.clone(), Arc::clone(&frame));
        Ok(Some(frame))
    }

    pub(super) fn head(&mut self, frame: &Frame) -> Result<Head, Fail> {
        let id = &frame.submitted.id;
        let item = self.wire.get(keys::head(id))?;
        let item = item.ok_or_else(|| Fail::Broken(format!("array `{id}` has no head")))?;
        Head::from_item(&item, frame)
    }

    /// The head and all agents.
    pub(super) fn hot(&mut self, frame: &Frame) -> Result<Hot, Fail> {
        let id = &frame.submitted.id;
        let search = Search {
            of: id.as_str().to_owned(),
            ..Search::default()
        };
        let mut round = 1;
        loop {
            let mut items = self.wire.query(&search)?;
            let head = items
                .pop()
                .filter(|item| item.string("sk") == Some(keys::HEAD));
            let head = head.ok_or_else(|| Fail::Broken(format!("array `{id}` has no head")))?;
            let hot = Hot {
                head: Head::from_item(&head, frame)?,
                agents: items
                    .iter()
                    .map(Live::from_item)
                    .collect::<Result<_, _>>()?,
            };
            if !hot.is_torn(frame) {
                return Ok(hot);
            }
            if round == TORN {
                return Err(Fail::Broken(format!(
                    "counts of array `{id}` do not add up"
                )));
            }
            self.wire.retries.pause(round);
            round += 1;
        }
    }

    pub(super) fn read_array(&mut self, id: &ArrayId) -> Result<Option<ArrayRecord>, Fail> {
        match self.frame_if(id)? {
            None => Ok(None),
            Some(frame) => Ok(Some(self.hot(&frame)?.record(&frame))),
        }
    }

    /// Arrays as the index lists them.
    pub(super) fn listed(&mut self, search: &Search) -> Result<Vec<ArrayRecord>, Fail> {
        let mut records = Vec::new();
        for found in self.wire.find(search)? {
            let id = glance::id_of(found.need_str("pk")?)?;
            records.extend(self.read_array(&id)?);
        }
        Ok(records)
    }

    /// The enrolments of these agents; those that are not there are left out.
    fn enrolments(&mut self, ids: &[AgentId]) -> Result<(), Fail> {
        let unknown = ids.iter().filter(|id| !self.enrolments.contains_key(id));
        let unknown: Vec<Item> = unknown.map(|id| keys::enrolment(*id)).collect();
        for item in self.wire.get_all(&unknown)? {
            let id = item.need_str("pk")?.rsplit('/').next();
            let id = id.and_then(|digits| digits.parse().ok()).map(AgentId);
            let id = id.ok_or_else(|| Fail::Broken("an agent has no number".to_owned()))?;
            self.enrolments.insert(id, Enrolment::from_item(&item)?);
        }
        Ok(())
    }

    /// What an agent said when it enrolled; read once.
    pub(super) fn enrolment(&mut self, id: AgentId) -> Result<Enrolment, Fail> {
        self.enrolments(&[id])?;
        let found = self.enrolments.get(&id);
        Ok(found.cloned().ok_or(LedgerError::UnknownAgent(id))?)
    }

    fn records(&mut self, live: &[Live]) -> Result<Vec<AgentRecord>, Fail> {
        let ids: Vec<AgentId> = live.iter().map(|live| live.id).collect();
        self.enrolments(&ids)?;
        let known = live.iter().filter_map(|live| {
            let enrolment = self.enrolments.get(&live.id)?;
            Some(enrolment.record(live))
        });
        Ok(known.collect())
    }

    pub(super) fn read_agents(
        &mut self,
        id: &ArrayId,
        limit: u32,
    ) -> Result<Vec<AgentRecord>, Fail> {
        self.frame(id)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let found = self.wire.query(&Search {
            of: id.as_str().to_owned(),
            between: Some((keys::live_sk(AgentId(0)), keys::live_sk(AgentId(u64::MAX)))),
            limit: limit as usize,
            backwards: true,
            ..Search::default()
        })?;
        let live: Vec<Live> = found
            .iter()
            .map(Live::from_item)
            .collect::<Result<_, _>>()?;
        self.records(&live)
    }

    pub(super) fn read_agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>, Fail> {
        let enrolment = match self.enrolment(id) {
            Err(Fail::Refused(_)) => return Ok(None),
            enrolment => enrolment?,
        };
        let item = self.wire.get(keys::live(&enrolment.said.array, id))?;
        let live = item.as_ref().map(Live::from_item).transpose()?;
        Ok(live.map(|live| enrolment.record(&live)))
    }

    pub(super) fn read_live_agents(&mut self) -> Result<Vec<AgentRecord>, Fail> {
        let found = self.wire.find(&Search {
            of: keys::LIVE.to_owned(),
            ..Search::default()
        })?;
        let mut live = Vec::with_capacity(found.len());
        for item in self.wire.get_all(&primary_keys(&found)?)? {
            live.push(Live::from_item(&item)?);
        }
        live.retain(|live| live.ended_at.is_none());
        live.sort_by_key(|live| live.id);
        self.records(&live)
    }

    /// The items of the tasks at these positions, those of them that have one.
    pub(super) fn stored(
        &mut self,
        id: &ArrayId,
        positions: impl IntoIterator<Item = u64>,
    ) -> Result<BTreeMap<u64, StoredTask>, Fail> {
        let keys: Vec<Item> = positions.into_iter().map(|at| keys::task(id, at)).collect();
        let mut found = BTreeMap::new();
        for item in self.wire.get_all(&keys)? {
            let task = StoredTask::from_item(&item)?;
            found.insert(task.position, task);
        }
        Ok(found)
    }

    /// The tasks that the index lists, in its order, as the last writes left them.
    pub(super) fn found(&mut self, search: &Search) -> Result<Vec<StoredTask>, Fail> {
        let listed = primary_keys(&self.wire.find(search)?)?;
        let mut found = BTreeMap::new();
        for item in self.wire.get_all(&listed)? {
            let task = StoredTask::from_item(&item)?;
            found.insert(keys::ordered(task.position), task);
        }
        let mut tasks = Vec::with_capacity(listed.len());
        for key in &listed {
            tasks.extend(found.remove(key.need_str("sk")?));
        }
        Ok(tasks)
    }

    pub(super) fn read_task(
        &mut self,
        id: &ArrayId,
        position: u64,
    ) -> Result<Option<TaskRow>, Fail> {
        let frame = self.frame(id)?;
        if !frame.contains(position) {
            return Ok(None);
        }
        let head = self.head(&frame)?;
        let stored = self.stored(id, [position])?.remove(&position);
        let task = stored.unwrap_or_else(|| head.without_item(position));
        Ok(Some(task.into_seen(head.intent)))
    }

    pub(super) fn read_tasks(&mut self, id: &ArrayId, q: TaskQuery) -> Result<Vec<TaskRow>, Fail> {
        let frame = self.frame(id)?;
        if q.limit == 0 || !frame.contains(q.from) {
            return Ok(Vec::new());
        }
        let head = self.head(&frame)?;
        let limit = q.limit as usize;
        let (untouched, _) = closing(head.intent);
        // Where tasks without items may be among the answers, all items are needed to know them.
        let gaps = q.state.is_none_or(|state| {
            let mut rest = head.rest.iter();
            state == untouched || rest.any(|rest| closing(rest.intent).0 == state)
        });
        let states = match q.state {
            Some(state) if !gaps => state_codes(state, head.intent),
            _ => Vec::new(),
        };
        let last = frame.submitted.total - 1;
        let mut rows = Vec::new();
        let mut from = q.from;
        while from <= last && rows.len() < limit {
            let page = limit.clamp(1, 2_000);
            let found = self.wire.query(&Search {
                of: keys::tasks_pk(id),
                between: Some((keys::ordered(from), keys::ordered(last))),
                limit: page,
                states: states.clone(),
                ..Search::default()
            })?;
            let ended = found.len() < page;
            let mut next = from;
            for item in &found {
                let task = StoredTask::from_item(item)?;
                if gaps {
                    self.fill(&head, next..task.position, q, &mut rows);
                }
                next = task.position + 1;
                push(task.into_seen(head.intent), q, &mut rows);
            }
            if ended {
                if gaps {
                    self.fill(&head, next..last + 1, q, &mut rows);
                }
                break;
            }
            from = next;
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// Adds the tasks at positions that have no items.
    fn fill(
        &self,
        head: &Head,
        positions: std::ops::Range<u64>,
        q: TaskQuery,
        rows: &mut Vec<TaskRow>,
    ) {
        for position in positions {
            if rows.len() >= q.limit as usize {
                return;
            }
            push(head.without_item(position).into_seen(head.intent), q, rows);
        }
    }

    pub(super) fn read_attempts(
        &mut self,
        id: &ArrayId,
        position: u64,
    ) -> Result<Vec<AttemptRow>, Fail> {
        let frame = self.frame(id)?;
        if !frame.contains(position) {
            return Ok(Vec::new());
        }
        let Some(task) = self.stored(id, [position])?.remove(&position) else {
            return Ok(Vec::new());
        };
        let mut attempts = Vec::new();
        if task.attempt > 1 {
            let at = keys::ordered(position);
            let earlier = self.wire.query(&Search {
                of: keys::attempts_pk(id),
                between: Some((format!("{at}/"), format!("{at}/:"))),
                ..Search::default()
            })?;
            for item in earlier {
                attempts.push(from_json::<AttemptRow>(item.need_str("x")?)?);
            }
            // One that came back to the task when a later one was released is there still.
            attempts.retain(|attempt| attempt.attempt < task.attempt);
        }
        attempts.extend(task.newest);
        Ok(attempts)
    }

    /// Tasks of one list of the index, kept only if they still belong there.
    pub(super) fn read_listed(
        &mut self,
        id: &ArrayId,
        search: Search,
        belongs: impl Fn(&StoredTask) -> bool,
    ) -> Result<Vec<TaskRow>, Fail> {
        let frame = self.frame(id)?;
        if search.limit == 0 {
            return Ok(Vec::new());
        }
        let intent = self.head(&frame)?.intent;
        let mut tasks = self.found(&search)?;
        tasks.retain(|task| belongs(task));
        Ok(tasks
            .into_iter()
            .map(|task| task.into_seen(intent))
            .collect())
    }
}

fn push(row: TaskRow, q: TaskQuery, rows: &mut Vec<TaskRow>) {
    if q.state.is_none_or(|state| row.state == state) {
        rows.push(row);
    }
}

/// The keys in the table of what the index lists.
fn primary_keys(found: &[Item]) -> Result<Vec<Item>, Fail> {
    let mut both = Vec::with_capacity(found.len());
    let mut seen = std::collections::BTreeSet::new();
    for item in found {
        let (pk, sk) = (item.need_str("pk")?, item.need_str("sk")?);
        // One that moves between two pages is listed twice.
        if seen.insert((pk, sk)) {
            both.push(super::items::key(pk, sk));
        }
    }
    Ok(both)
}
