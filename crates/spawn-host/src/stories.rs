//! Everything that is known of one task, for `spawn explain`; and what failures of an array have
//! in common, for `spawn status`.

use spawn_core::array_id::ArrayId;
use spawn_core::failure_groups::{CallGroup, FailureGroup, group_calls, group_failures};
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Intent, TaskState};
use spawn_local::ledger::SqliteLedger;
use spawn_local::wall_clock;
use spawn_local::wire::client::{Answer, Refusal, Story, Waiting};
use spawn_ports::ledger::{ArrayRecord, Ledger, LedgerError, TaskRow};

use crate::desk::Desk;
use crate::serving::with_slots;

/// As many tasks are looked at for what they have in common.
pub(crate) const GROUPED: u32 = 500;

impl Desk {
    /// Everything about one task.
    pub(crate) fn explain(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        position: u64,
    ) -> Result<Answer, LedgerError> {
        let record = ledger
            .array(id)?
            .ok_or_else(|| LedgerError::UnknownArray(id.clone()))?;
        let Some(row) = ledger.task(id, position)? else {
            return Ok(Answer::Refused {
                kind: Refusal::NotFound,
                message: "the array has no such task".to_owned(),
            });
        };
        let mut attempts = Vec::new();
        for attempt in ledger.attempts(id, position)? {
            let agent = ledger.agent(attempt.agent)?;
            attempts.push((attempt, agent.map(|agent| agent.enrolled.slot)));
        }
        let running = self
            .agents
            .values()
            .filter(|agent| row.state == TaskState::Running && Some(agent.id) == row.agent)
            .find_map(|agent| agent.running.filter(|r| r.position == position));
        let now = wall_clock::now();
        let waiting = (row.state == TaskState::Pending).then(|| self.waiting(&record, &row, now));
        let mut lines = with_slots(ledger, vec![row])?;
        let Some(task) = lines.pop() else {
            return Err(LedgerError::UnknownArray(id.clone()));
        };
        Ok(Answer::Story(Box::new(Story {
            record,
            task,
            attempts,
            running,
            waiting,
            now: now.0,
        })))
    }

    /// Why a pending task does not run.
    fn waiting(&self, record: &ArrayRecord, row: &TaskRow, now: UnixMicros) -> Waiting {
        if row.not_before > now {
            return Waiting::Backoff {
                until: row.not_before.0,
            };
        }
        let array = self.arrays.get(&record.submitted.id);
        let short = self.shortage.as_ref().map(|shortage| shortage.why.clone());
        if let Some(why) = short.or_else(|| array.and_then(|a| a.held_up.clone())) {
            return Waiting::HeldUp { why };
        }
        if record.intent == Intent::Run && array.is_some_and(|a| a.is_running_out(now)) {
            return Waiting::RunningOut;
        }
        Waiting::Workers {
            at_work: array.map_or(0, |a| a.slots.len() as u32),
        }
    }
}

/// The newest failures by what they have in common, and how many were looked at.
pub(crate) fn failures_in_groups(failures: &[TaskRow]) -> Vec<FailureGroup> {
    let endings = failures
        .iter()
        .filter_map(|row| Some((row.position, row.ending.as_ref()?)));
    group_failures(endings)
}

/// AWS calls that failed in tasks which succeeded.
pub(crate) fn calls_in_groups(
    ledger: &mut SqliteLedger,
    id: &ArrayId,
) -> Result<Vec<CallGroup>, LedgerError> {
    let rows = ledger.doubtful_successes(id, GROUPED)?;
    let calls = rows
        .iter()
        .map(|row| (row.position, row.failed_calls.as_slice()));
    Ok(group_calls(calls))
}
