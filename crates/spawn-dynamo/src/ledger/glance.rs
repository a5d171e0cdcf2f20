//! What readers ask beside the ledger's port: as many calls for a million tasks as for ten.

use std::collections::BTreeSet;

use spawn_core::array_id::ArrayId;
use spawn_ports::ledger::{AgentId, LedgerError, TaskRow};

use super::items::Read;
use super::wire::Search;
use super::{DynamoLedger, Fail, keys};
use crate::DynamoApi;

impl<A: DynamoApi> DynamoLedger<A> {
    /// The ids of the newest arrays, newest first, at most `limit`; nothing else of them is read.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn array_ids(&mut self, limit: u32) -> Result<Vec<ArrayId>, LedgerError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let search = Search {
            of: keys::ARRAYS.to_owned(),
            limit: limit as usize,
            backwards: true,
            ..Search::default()
        };
        self.run("read", |ledger| {
            let found = ledger.wire.find(&search)?;
            found
                .iter()
                .map(|item| id_of(item.need_str("pk")?))
                .collect()
        })
    }

    /// What each agent of an array has claimed and not committed, of those that hold anything;
    /// positions.
    ///
    /// # Errors
    /// [`LedgerError::UnknownArray`], or the table cannot be read.
    pub fn leases(&mut self, id: &ArrayId) -> Result<Vec<(AgentId, BTreeSet<u64>)>, LedgerError> {
        self.run("read", |ledger| {
            let frame = ledger.frame(id)?;
            let agents = ledger.hot(&frame)?.agents.into_iter();
            let holding = agents.filter(|agent| !agent.leases.is_empty());
            Ok(holding.map(|agent| (agent.id, agent.leases)).collect())
        })
    }

    /// The tasks at these positions, in order; a call for each hundred of them. Positions outside
    /// the array are passed over.
    ///
    /// # Errors
    /// [`LedgerError::UnknownArray`], or the table cannot be read.
    pub fn tasks_at(
        &mut self,
        id: &ArrayId,
        positions: &BTreeSet<u64>,
    ) -> Result<Vec<TaskRow>, LedgerError> {
        self.run("read", |ledger| {
            let frame = ledger.frame(id)?;
            let head = ledger.head(&frame)?;
            let inside = positions.iter().copied().filter(|at| frame.contains(*at));
            let inside: Vec<u64> = inside.collect();
            let mut stored = ledger.stored(id, inside.iter().copied())?;
            let row = |at: u64| {
                let task = stored.remove(&at);
                let task = task.unwrap_or_else(|| head.without_item(at));
                task.into_seen(head.intent)
            };
            Ok(inside.into_iter().map(row).collect())
        })
    }
}

/// The id that an array's key begins with.
pub(super) fn id_of(pk: &str) -> Result<ArrayId, Fail> {
    let id = pk.split('/').next().unwrap_or(pk);
    id.parse()
        .map_err(|e| Fail::Broken(format!("an array's key is no id: {e}")))
}
