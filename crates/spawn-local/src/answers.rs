//! Answers to commands that come from a ledger alone, whichever it is: the host's is on this
//! machine, that of arrays on EC2 is a table.

use std::collections::HashMap;

use spawn_core::array_id::ArrayId;
use spawn_core::failure_groups::{CallGroup, FailureGroup, group_calls, group_failures};
use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::TaskState;
use spawn_ports::ledger::{AgentId, ArrayRecord, Ledger, LedgerError, Reopen, TaskQuery, TaskRow};

use crate::wire::client::{
    Answer, ArrayStatus, Refusal, RunningTask, Story, TaskLine, Waiting, WorkerStatus,
};

/// Failures shown with a status.
const FAILURES: usize = 10;
/// As many tasks are looked at for what they have in common.
const GROUPED: u32 = 500;
/// How many tasks are read at a time.
const PAGE: u32 = 10_000;
/// As many arrays are looked at for a name or the start of an id.
const LOOKED_THROUGH: u32 = 10_000;
/// As many arrays are named to somebody who has to choose.
const CANDIDATES: usize = 10;

/// The slots of agents, which never change; each agent is looked up once.
#[derive(Debug, Default)]
pub struct Slots(HashMap<AgentId, Option<u32>>);

impl Slots {
    /// Takes in what is known already.
    pub fn learn(&mut self, agent: AgentId, slot: u32) {
        self.0.insert(agent, Some(slot));
    }

    /// Whether nothing need be asked for this agent.
    pub fn knows(&self, agent: AgentId) -> bool {
        self.0.contains_key(&agent)
    }

    /// The slot of an agent; nothing if it never enrolled.
    ///
    /// # Errors
    /// The ledger's.
    pub fn of(
        &mut self,
        ledger: &mut impl Ledger,
        agent: AgentId,
    ) -> Result<Option<u32>, LedgerError> {
        if let Some(known) = self.0.get(&agent) {
            return Ok(*known);
        }
        let slot = ledger.agent(agent)?.map(|a| a.enrolled.slot);
        self.0.insert(agent, slot);
        Ok(slot)
    }

    /// Rows with the slots of their agents.
    ///
    /// # Errors
    /// The ledger's.
    pub fn lines(
        &mut self,
        ledger: &mut impl Ledger,
        rows: Vec<TaskRow>,
    ) -> Result<Vec<TaskLine>, LedgerError> {
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let slot = match row.agent {
                None => None,
                Some(agent) => self.of(ledger, agent)?,
            };
            lines.push(TaskLine { row, slot });
        }
        Ok(lines)
    }
}

/// An array that has to be there.
///
/// # Errors
/// [`LedgerError::UnknownArray`], or the ledger's own.
pub fn record_of(ledger: &mut impl Ledger, id: &ArrayId) -> Result<ArrayRecord, LedgerError> {
    let found = ledger.array(id)?;
    found.ok_or_else(|| LedgerError::UnknownArray(id.clone()))
}

/// The arrays that may be meant by an id, the start of one, a name (the newest array of that
/// name), or `last`; newest first, ten at most.
///
/// # Errors
/// The ledger's.
pub fn resolve(ledger: &mut impl Ledger, typed: &str) -> Result<Vec<ArrayId>, LedgerError> {
    if let Ok(id) = typed.parse::<ArrayId>()
        && ledger.array(&id)?.is_some()
    {
        return Ok(vec![id]);
    }
    if typed == "last" {
        let newest = ledger.arrays(1)?;
        return Ok(newest.into_iter().map(|a| a.submitted.id).collect());
    }
    let arrays = ledger.arrays(LOOKED_THROUGH)?;
    let by_id = matching(typed, arrays.iter().map(|a| &a.submitted.id));
    if !by_id.is_empty() {
        return Ok(by_id);
    }
    Ok(arrays
        .into_iter()
        .filter(|a| a.submitted.name == typed)
        .map(|a| a.submitted.id)
        .take(1)
        .collect())
}

/// Those ids that begin with what was typed, ten at most.
pub fn matching<'a>(typed: &str, ids: impl IntoIterator<Item = &'a ArrayId>) -> Vec<ArrayId> {
    ids.into_iter()
        .filter(|id| id.matches(typed))
        .take(CANDIDATES)
        .cloned()
        .collect()
}

/// An array as it stands, once its record is read. `held_up`: why nothing is started, if so.
///
/// # Errors
/// The ledger's.
pub fn status(
    ledger: &mut impl Ledger,
    slots: &mut Slots,
    record: ArrayRecord,
    workers: Vec<WorkerStatus>,
    held_up: Option<String>,
    now: UnixMicros,
) -> Result<ArrayStatus, LedgerError> {
    let id = record.submitted.id.clone();
    let mut failures = match record.counts.failed {
        0 => Vec::new(),
        _ => ledger.recent_failures(&id, GROUPED)?,
    };
    let failure_groups = failures_in_groups(&failures);
    let failures_grouped = failures.len() as u64;
    failures.truncate(FAILURES);
    Ok(ArrayStatus {
        failures: slots.lines(ledger, failures)?,
        failure_groups,
        failures_grouped,
        call_groups: calls_in_groups(ledger, &id)?,
        workers,
        held_up,
        queued: None,
        stuck: Vec::new(),
        lessened: None,
        now: now.0,
        record,
    })
}

/// The newest failures by what they have in common.
fn failures_in_groups(failures: &[TaskRow]) -> Vec<FailureGroup> {
    let endings = failures
        .iter()
        .filter_map(|row| Some((row.position, row.ending.as_ref()?)));
    group_failures(endings)
}

/// AWS calls that failed in tasks which succeeded.
fn calls_in_groups(ledger: &mut impl Ledger, id: &ArrayId) -> Result<Vec<CallGroup>, LedgerError> {
    let rows = ledger.doubtful_successes(id, GROUPED)?;
    let calls = rows
        .iter()
        .map(|row| (row.position, row.failed_calls.as_slice()));
    Ok(group_calls(calls))
}

/// A task and its array; nothing if the array has no such task.
///
/// # Errors
/// [`LedgerError::UnknownArray`], or the ledger's own.
pub fn task_of(
    ledger: &mut impl Ledger,
    id: &ArrayId,
    position: u64,
) -> Result<Option<(ArrayRecord, TaskRow)>, LedgerError> {
    let record = record_of(ledger, id)?;
    Ok(ledger.task(id, position)?.map(|row| (record, row)))
}

/// The answer where an array has no such task.
pub fn no_such_task() -> Answer {
    Answer::Refused {
        kind: Refusal::NotFound,
        message: "the array has no such task".to_owned(),
    }
}

/// Everything about one task. `running` is what its worker last said of it, `waiting` why it does
/// not run though it is due; each is passed over where the task's state says otherwise.
///
/// # Errors
/// The ledger's.
pub fn story(
    ledger: &mut impl Ledger,
    slots: &mut Slots,
    (record, row): (ArrayRecord, TaskRow),
    running: Option<RunningTask>,
    waiting: Waiting,
    now: UnixMicros,
) -> Result<Story, LedgerError> {
    let mut attempts = Vec::new();
    for attempt in ledger.attempts(&record.submitted.id, row.position)? {
        let slot = slots.of(ledger, attempt.agent)?;
        attempts.push((attempt, slot));
    }
    let waiting = match row.state {
        TaskState::Pending if row.not_before > now => Some(Waiting::Backoff {
            until: row.not_before.0,
        }),
        TaskState::Pending => Some(waiting),
        _ => None,
    };
    let slot = match row.agent {
        None => None,
        Some(agent) => slots.of(ledger, agent)?,
    };
    Ok(Story {
        running: running.filter(|_| row.state == TaskState::Running),
        record,
        task: TaskLine { row, slot },
        attempts,
        waiting,
        now: now.0,
    })
}

/// Which tasks a retry takes up: where something failed that the array gave up over, what was not
/// started because of it too.
///
/// # Errors
/// The ledger's.
pub fn to_reopen(
    ledger: &mut impl Ledger,
    before: &ArrayRecord,
    which: Reopen,
) -> Result<Reopen, LedgerError> {
    match which {
        Reopen::Failed if before.counts.cancelled > 0 => with_halted(ledger, &before.submitted.id),
        which => Ok(which),
    }
}

fn with_halted(ledger: &mut impl Ledger, id: &ArrayId) -> Result<Reopen, LedgerError> {
    let mut positions = Vec::new();
    for state in [TaskState::Failed, TaskState::Cancelled] {
        let mut from = 0;
        loop {
            let query = TaskQuery {
                from,
                limit: PAGE,
                state: Some(state),
            };
            let rows = ledger.tasks(id, query)?;
            let is_halted = |row: &&TaskRow| {
                let cause = row.ending.as_ref().map(|ending| ending.cause);
                state == TaskState::Failed || cause == Some(Cause::Halted)
            };
            positions.extend(rows.iter().filter(is_halted).map(|row| row.position));
            match rows.last() {
                Some(last) if rows.len() == PAGE as usize => from = last.position + 1,
                _ => break,
            }
        }
    }
    positions.sort_unstable();
    Ok(IndexSet::from_indices(positions).map_or(Reopen::Failed, Reopen::Positions))
}

/// A ledger's error as an answer.
pub fn refusal(error: &LedgerError) -> Answer {
    let kind = match error {
        LedgerError::UnknownArray(_) => Refusal::NotFound,
        _ => Refusal::Failed,
    };
    let message = in_full(error);
    Answer::Refused { kind, message }
}

/// An error with all that caused it.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        message.push_str(&format!(": {e}"));
        cause = e.source();
    }
    message
}
