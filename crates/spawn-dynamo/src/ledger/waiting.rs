//! Which tasks wait: those handed back, by when they are due.

use std::collections::BTreeSet;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{self, Intent, TaskState, is_due};

use super::hot::Frame;
use super::items::Read;
use super::rows::StoredTask;
use super::wire::{Search, chance};
use super::{DynamoLedger, Fail, keys};
use crate::DynamoApi;

impl<A: DynamoApi> DynamoLedger<A> {
    /// Up to `want` handed-back tasks of a lane that may be claimed, in the order to claim them.
    pub(super) fn due(
        &mut self,
        frame: &Frame,
        lane: usize,
        want: u64,
        waiting: u64,
        round: u32,
        now: UnixMicros,
    ) -> Result<Vec<StoredTask>, Fail> {
        let id = &frame.submitted.id;
        let latest = latest_wait(frame, now).0;
        // Who lost a race looks further, and begins anywhere: those who raced go apart.
        let more = if round == 0 { 0 } else { 32 * u64::from(round) };
        let mut found: Vec<StoredTask> = Vec::new();
        // Most are due in the ordinary way; the rest, whose waits are longer than any can be, is
        // looked for only if there is one.
        for (first, last) in [(i64::MIN, now.0), (latest + 1, i64::MAX)] {
            let room = want - found.len() as u64;
            if room == 0 || waiting <= found.len() as u64 {
                break;
            }
            let mut some = self.found(&Search {
                of: keys::waiting(id, lane),
                between: Some(waits(first, last)),
                limit: (room + more) as usize,
                ..Search::default()
            })?;
            let budgets = &frame.submitted.budgets;
            some.retain(|task| {
                let waits = task.state == TaskState::Pending && task.closed_by == Intent::Run;
                waits && is_due(task.not_before, now, budgets)
            });
            let beyond = some.len().saturating_sub(room as usize);
            if beyond > 0 {
                some.drain(..(chance() % (beyond as u64 + 1)) as usize);
            }
            found.extend(some.into_iter().take(room as usize));
        }
        Ok(found)
    }

    pub(super) fn next_due(
        &mut self,
        frame: &Frame,
        lane: usize,
        now: UnixMicros,
    ) -> Result<Option<UnixMicros>, Fail> {
        let latest = latest_wait(frame, now).0;
        if latest <= now.0 {
            return Ok(None);
        }
        let found = self.wire.find(&Search {
            of: keys::waiting(&frame.submitted.id, lane),
            between: Some(waits(now.0 + 1, latest)),
            limit: 1,
            ..Search::default()
        })?;
        let first = found.first().and_then(|item| item.string("is"));
        Ok(first.and_then(keys::time_from))
    }

    /// The positions from `first` on, before `end`, that have items. Reads all of them.
    pub(super) fn written(
        &mut self,
        id: &ArrayId,
        first: u64,
        end: u64,
    ) -> Result<BTreeSet<u64>, Fail> {
        let Some(last) = end.checked_sub(1).filter(|last| *last >= first) else {
            return Ok(BTreeSet::new());
        };
        let found = self.wire.query(&Search {
            of: keys::tasks_pk(id),
            between: Some((keys::ordered(first), keys::ordered(last))),
            keys_only: true,
            ..Search::default()
        })?;
        let positions = found.iter().map(|item| {
            keys::number_from(item.need_str("sk")?)
                .ok_or_else(|| Fail::Broken("a task's key has no position".to_owned()))
        });
        positions.collect()
    }
}

/// The sort keys of tasks whose waits end between these times, both included.
fn waits(first: i64, last: i64) -> (String, String) {
    let (first, last) = (UnixMicros(first), UnixMicros(last));
    (
        keys::ordered_time(first),
        format!("{}~", keys::ordered_time(last)),
    )
}

/// The end of the longest wait from now, and less than what a task is stored with that never
/// waited.
fn latest_wait(frame: &Frame, now: UnixMicros) -> UnixMicros {
    task::latest_wait(now, &frame.submitted.budgets).min(UnixMicros(i64::MAX - 1))
}
