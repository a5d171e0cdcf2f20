//! What is read. One status takes a number of calls that depends on the workers and lanes of an
//! array, never on its tasks.

use std::collections::{BTreeMap, BTreeSet};

use spawn_aws::client::{AwsError, ErrorKind};
use spawn_aws::services::autoscaling::{self, Group};
use spawn_aws::services::s3;
use spawn_core::array_id::ArrayId;
use spawn_core::task::{Intent, TaskState};
use spawn_local::answers;
use spawn_local::wire::client::{
    Answer, ArrayStatus, RunningTask, TaskLine, Waiting, WorkerStatus,
};
use spawn_ports::ledger::{AgentId, AgentRecord, ArrayRecord, Ledger, TaskQuery, TaskRow};

use super::held_up::{GroupSeen, Seen, held_up};
use super::{Desk, DeskError, groups, launched};
use crate::names;

/// As many of an array's newest agents are looked at.
const AGENTS: u32 = 1000;
/// Of as many workers it is read what their tasks say of themselves.
const TOLD: usize = 50;
/// As many groups are asked what they did last.
const ASKED: usize = 10;
/// As many of their latest activities.
const ACTIVITIES: usize = 20;
/// As many notes of failed boots are read.
const NOTES: usize = 5;
/// As many ids are looked through for the start of one.
const IDS: u32 = 10_000;
/// With more unknown agents than this, all of an array are read at once.
const SINGLY: usize = 8;

impl Desk {
    pub(super) fn resolve(&mut self, typed: &str) -> Result<Vec<ArrayId>, DeskError> {
        if !self.has_table()? {
            return Ok(Vec::new());
        }
        if typed != "last" && typed.parse::<ArrayId>().is_err() {
            // Ids alone are one read for some thousands of arrays; a name needs the arrays.
            let ids = self.ledger.array_ids(IDS)?;
            let found = answers::matching(typed, &ids);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(answers::resolve(&mut self.ledger, typed)?)
    }

    pub(super) fn arrays(&mut self, limit: u32) -> Result<Vec<ArrayRecord>, DeskError> {
        if !self.has_table()? {
            return Ok(Vec::new());
        }
        let found = self.ledger.arrays(limit)?;
        found
            .into_iter()
            .map(|record| self.heed_time(record))
            .collect()
    }

    pub(super) fn tasks(
        &mut self,
        id: &ArrayId,
        query: TaskQuery,
    ) -> Result<Vec<TaskLine>, DeskError> {
        self.need_table(id)?;
        let rows = self.ledger.tasks(id, query)?;
        let agents: BTreeSet<AgentId> = rows.iter().filter_map(|row| row.agent).collect();
        let unknown = agents.iter().filter(|a| !self.slots.knows(**a)).count();
        if unknown > SINGLY {
            let all = self.ledger.agents(id, u32::MAX)?;
            self.learn(&all);
        }
        Ok(self.slots.lines(&mut self.ledger, rows)?)
    }

    fn learn(&mut self, agents: &[AgentRecord]) {
        for agent in agents {
            self.slots.learn(agent.id, agent.enrolled.slot);
        }
    }

    pub(super) fn status(&mut self, id: &ArrayId) -> Result<ArrayStatus, DeskError> {
        let record = self.record(id)?;
        let record = self.heed_time(record)?;
        let agents = self.serving(id)?;
        let workers = self.workers(id, &record, agents)?;
        let held_up = self.held_up(&record, workers.len())?;
        let now = self.now();
        let (ledger, slots) = (&mut self.ledger, &mut self.slots);
        Ok(answers::status(
            ledger, slots, record, workers, held_up, now,
        )?)
    }

    /// Agents that have not ended, by slot.
    fn serving(&mut self, id: &ArrayId) -> Result<Vec<AgentRecord>, DeskError> {
        let mut agents = self.ledger.agents(id, AGENTS)?;
        self.learn(&agents);
        agents.retain(|agent| agent.ended_at.is_none());
        agents.sort_by_key(|agent| (agent.enrolled.slot, agent.id));
        Ok(agents)
    }

    fn workers(
        &mut self,
        id: &ArrayId,
        record: &ArrayRecord,
        agents: Vec<AgentRecord>,
    ) -> Result<Vec<WorkerStatus>, DeskError> {
        let mut running = match record.counts.running {
            0 => BTreeMap::new(),
            _ => self.running(id, &agents)?,
        };
        let worker = |agent: AgentRecord| WorkerStatus {
            running: running.remove(&agent.id),
            agent,
        };
        Ok(agents.into_iter().map(worker).collect())
    }

    /// What each of these agents runs: what it told of it, else the first of what it has claimed,
    /// as agents run their tasks in order.
    fn running(
        &mut self,
        id: &ArrayId,
        agents: &[AgentRecord],
    ) -> Result<BTreeMap<AgentId, RunningTask>, DeskError> {
        let serving: BTreeSet<AgentId> = agents.iter().map(|agent| agent.id).collect();
        let mut leases: BTreeMap<AgentId, BTreeSet<u64>> =
            self.ledger.leases(id)?.into_iter().collect();
        leases.retain(|agent, _| serving.contains(agent));
        let mut running = self.told(id, &leases)?;
        let firsts = leases
            .iter()
            .filter(|(agent, _)| !running.contains_key(agent));
        let firsts: BTreeSet<u64> = firsts
            .filter_map(|(_, held)| held.first().copied())
            .collect();
        for row in self.ledger.tasks_at(id, &firsts)? {
            if let Some((agent, task)) = derived(&row) {
                running.entry(agent).or_insert(task);
            }
        }
        Ok(running)
    }

    /// What workers wrote down of the tasks they run; what they hold no more is old.
    fn told(
        &mut self,
        id: &ArrayId,
        leases: &BTreeMap<AgentId, BTreeSet<u64>>,
    ) -> Result<BTreeMap<AgentId, RunningTask>, DeskError> {
        let mut told = BTreeMap::new();
        if leases.is_empty() {
            return Ok(told);
        }
        let prefix = names::running_prefix(id);
        let listed = self.listed(&prefix)?;
        let agents = listed
            .iter()
            .filter_map(|key| key[prefix.len()..].parse().ok());
        let agents = agents
            .map(AgentId)
            .filter(|agent| leases.contains_key(agent));
        for agent in agents.take(TOLD) {
            if let Some(task) = self.told_by(id, agent)?
                && leases[&agent].contains(&task.position)
            {
                told.insert(agent, task);
            }
        }
        Ok(told)
    }

    fn told_by(&mut self, id: &ArrayId, agent: AgentId) -> Result<Option<RunningTask>, DeskError> {
        let text = self.object(&names::running_key(id, agent))?;
        // One that a newer version wrote is as good as none.
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// The keys below a prefix; none where there is no bucket.
    fn listed(&self, prefix: &str) -> Result<Vec<String>, AwsError> {
        match s3::list_objects(&self.client, &self.bucket, prefix, None, None) {
            Err(e) if e.kind == ErrorKind::NotFound => Ok(Vec::new()),
            listed => Ok(listed?.objects.into_iter().map(|o| o.key).collect()),
        }
    }

    pub(super) fn explain(&mut self, id: &ArrayId, position: u64) -> Result<Answer, DeskError> {
        self.need_table(id)?;
        let Some((record, row)) = answers::task_of(&mut self.ledger, id, position)? else {
            return Ok(answers::no_such_task());
        };
        let mut running = None;
        if let (TaskState::Running, Some(agent)) = (row.state, row.agent) {
            let is_this =
                |task: &RunningTask| (task.position, task.attempt) == (row.position, row.attempt);
            let told = self.told_by(id, agent)?.filter(is_this);
            running = told.or_else(|| derived(&row).map(|(_, task)| task));
        }
        let now = self.now();
        let mut waiting = Waiting::Workers {
            at_work: 0,
            queued: None,
        };
        if row.state == TaskState::Pending && row.not_before <= now {
            let agents = self.serving(id)?.len();
            waiting = match self.held_up(&record, agents)? {
                Some(why) => Waiting::HeldUp { why },
                None => Waiting::Workers {
                    at_work: u32::try_from(agents).unwrap_or(u32::MAX),
                    queued: None,
                },
            };
        }
        let (ledger, slots) = (&mut self.ledger, &mut self.slots);
        let story = answers::story(ledger, slots, (record, row), running, waiting, now)?;
        Ok(Answer::Story(Box::new(story)))
    }

    /// Why nothing is started for an array of which tasks wait.
    fn held_up(
        &mut self,
        record: &ArrayRecord,
        agents: usize,
    ) -> Result<Option<String>, DeskError> {
        let waits = record.lanes.iter().any(|lane| lane.pending > 0);
        if record.intent != Intent::Run || !waits {
            return Ok(None);
        }
        let id = &record.submitted.id;
        let prefix = names::boot_failures_prefix(id);
        let notes = self.listed(&prefix)?;
        let mut reasons = Vec::new();
        // The last of them: names of machines say nothing of when, and any of them will do.
        for key in notes.iter().rev().take(NOTES) {
            let text = self.object(key)?.unwrap_or_default();
            reasons.push(String::from_utf8_lossy(&text).into_owned());
        }
        let spec = launched(record);
        let lanes = spec.map(|spec| spec.all_lanes()).unwrap_or_default();
        let mut seen = Vec::new();
        let mut asked = 0;
        for group in groups::find(&self.client, id)? {
            if group.status.is_some() {
                continue;
            }
            let number = groups::lane_of(&group).and_then(|n| usize::try_from(n).ok());
            let lane = number.and_then(|n| lanes.get(n));
            let mut group = look_at(group);
            group.is_spot = lane.is_some_and(|lane| lane.spot) && !is_twin(&group.name);
            let kind = lane.and_then(|lane| lane.instance_type.as_ref());
            group.kind = kind.map(ToString::to_string);
            if group.machines < group.desired && asked < ASKED {
                asked += 1;
                let name = &group.name;
                group.activities =
                    match autoscaling::describe_activities(&self.client, name, ACTIVITIES) {
                        Err(e) if groups::is_gone(&e) => Vec::new(),
                        activities => activities?,
                    };
            }
            seen.push(group);
        }
        let plan = crate::furnish::plan_of(&record.submitted);
        let stands = plan.filter(|plan| plan.lanes.iter().all(|lane| lane.standing.is_some()));
        Ok(held_up(&Seen {
            groups: seen,
            standing: stands.map(|plan| u32::try_from(plan.machines()).unwrap_or(u32::MAX)),
            agents: u32::try_from(agents).unwrap_or(u32::MAX),
            failed_boots: u32::try_from(notes.len()).unwrap_or(u32::MAX),
            reasons,
            region: self.client.region().to_owned(),
        }))
    }
}

/// A group that starts on-demand machines where its lane's own finds no spot ones.
fn is_twin(name: &str) -> bool {
    name.ends_with("-od")
}

fn look_at(group: Group) -> GroupSeen {
    let stays = |state: &str| !state.starts_with("Terminat");
    let machines = group.instances.iter();
    let machines = machines.filter(|machine| stays(&machine.lifecycle_state));
    GroupSeen {
        machines: u32::try_from(machines.count()).unwrap_or(u32::MAX),
        desired: group.desired_capacity,
        is_suspended: groups::is_suspended(&group),
        name: group.auto_scaling_group_name,
        ..GroupSeen::default()
    }
}

/// What the ledger alone says of a running task. Where its output begins is not known: a log is
/// searched from its beginning.
fn derived(row: &TaskRow) -> Option<(AgentId, RunningTask)> {
    if row.state != TaskState::Running {
        return None;
    }
    let task = RunningTask {
        position: row.position,
        attempt: row.attempt,
        log_offset: 0,
        since: row.started_at?.0,
        progress: None,
        load: None,
        stopping: None,
    };
    Some((row.agent?, task))
}
