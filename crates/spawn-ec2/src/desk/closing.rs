//! `spawn cancel` and `spawn terminate`.
//!
//! The ledger first: from then on nothing is claimed, and machines that come up leave again. What
//! is not done after that is done by the machines themselves, or by the groups' own end.

use spawn_core::array_id::ArrayId;
use spawn_core::task::Intent;
use spawn_local::wire::client::Answer;
use spawn_ports::ledger::Ledger;

use super::{Desk, DeskError, groups};
use crate::cleanup::{self, Remnant};

/// How often agents are ended that came up meanwhile.
const ROUNDS: u32 = 5;

impl Desk {
    /// Closes an array. With a notice, scripts that run get the time that machines give them, and
    /// the last machine removes everything; without, all of it is removed now.
    pub(super) fn close(
        &mut self,
        id: &ArrayId,
        intent: Intent,
        notice_ms: u64,
    ) -> Result<Answer, DeskError> {
        self.need_table(id)?;
        let now = self.now();
        let record = self.ledger.close(id, intent, now)?;
        let found = groups::find(&self.client, id)?;
        groups::suspend(&self.client, &found)?;
        let at_once = notice_ms == 0;
        if at_once || record.counts.all_ended() {
            self.remove_all(id)?;
        }
        if at_once {
            self.end_agents(id)?;
        }
        Ok(Answer::Done)
    }

    /// Removes what was made for the array, but for the role, which others may share.
    fn remove_all(&mut self, id: &ArrayId) -> Result<(), DeskError> {
        let mut found = cleanup::find(&self.client, id, &[])?;
        found.retain(|remnant| !matches!(remnant, Remnant::Role(_)));
        cleanup::remove(&self.client, &found)?;
        Ok(())
    }

    /// Ends every agent that still serves, so that no task stays running: their machines are gone,
    /// or go. A claim that was under way may come true after that, so it is looked again.
    pub(super) fn end_agents(&mut self, id: &ArrayId) -> Result<(), DeskError> {
        for _ in 0..ROUNDS {
            for agent in self.ledger.agents(id, u32::MAX)? {
                if agent.ended_at.is_none() {
                    self.ledger.end_agent(agent.id, self.now())?;
                }
            }
            if self.record(id)?.counts.all_ended() {
                break;
            }
        }
        Ok(())
    }
}
