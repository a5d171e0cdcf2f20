//! The end that time brings when no machine is left to write it down.
//!
//! Agents that live end their array at its deadline. Where all are dead, the groups still take the
//! machines away at that time, and whoever looks next writes down what follows from it.

use spawn_core::moment::UnixMicros;
use spawn_core::task::Intent;
use spawn_ports::ledger::{ArrayRecord, Ledger};

use super::{Desk, DeskError, groups};

impl Desk {
    /// The array as it stands once its time has been heeded.
    ///
    /// Machines are what tells: a deadline that only this clock has reached ends nothing. Whoever
    /// may read the ledger and not write to it sees what was left there.
    pub(super) fn heed_time(&mut self, record: ArrayRecord) -> Result<ArrayRecord, DeskError> {
        if !is_over(&record, self.now()) {
            return Ok(record);
        }
        match self.expire(&record) {
            Err(e) if e.is_denied() => Ok(record),
            expired => expired.map(|ended| ended.unwrap_or(record)),
        }
    }

    fn expire(&mut self, record: &ArrayRecord) -> Result<Option<ArrayRecord>, DeskError> {
        let id = &record.submitted.id;
        let groups = groups::find(&self.client, id)?;
        if groups.iter().any(|group| !group.instances.is_empty()) {
            return Ok(None);
        }
        self.ledger.close(id, Intent::Expired, self.now())?;
        self.end_agents(id)?;
        self.record(id).map(Some)
    }
}

/// Whether an array should have ended by itself.
fn is_over(record: &ArrayRecord, now: UnixMicros) -> bool {
    record.submitted.deadline <= now && !record.counts.all_ended()
}
