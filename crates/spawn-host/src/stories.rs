//! Everything that is known of one task, for `spawn explain`.

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::Intent;
use spawn_local::answers::{self, Slots};
use spawn_local::ledger::SqliteLedger;
use spawn_local::wall_clock;
use spawn_local::wire::client::{Answer, Waiting};
use spawn_ports::ledger::{ArrayRecord, LedgerError};

use crate::desk::Desk;

impl Desk {
    /// Everything about one task.
    pub(crate) fn explain(
        &mut self,
        ledger: &mut SqliteLedger,
        id: &ArrayId,
        position: u64,
    ) -> Result<Answer, LedgerError> {
        let Some((record, row)) = answers::task_of(ledger, id, position)? else {
            return Ok(answers::no_such_task());
        };
        let running = self
            .agents
            .values()
            .filter(|agent| Some(agent.id) == row.agent)
            .find_map(|agent| agent.running.filter(|r| r.position == position));
        let now = wall_clock::now();
        let waiting = self.waiting(&record, now);
        let slots = &mut Slots::default();
        let story = answers::story(ledger, slots, (record, row), running, waiting, now)?;
        Ok(Answer::Story(Box::new(story)))
    }

    /// Why a task that is due does not run.
    fn waiting(&self, record: &ArrayRecord, now: UnixMicros) -> Waiting {
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
            queued: self.queued(&record.submitted.id, now),
        }
    }
}
