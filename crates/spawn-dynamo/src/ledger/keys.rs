//! Where everything is: the keys of the table and of its one index.

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_ports::ledger::AgentId;

use super::items::{Item, key};

/// The sparse index: `ip` is what is looked for, `is` the order in which it is found.
pub(super) const INDEX: &str = "find";
/// `ip` of every array, by when it was submitted.
pub(super) const ARRAYS: &str = "arrays";
/// `ip` of arrays without an end, by when they were submitted.
pub(super) const OPEN: &str = "open";
/// `ip` of agents without an end, by enrolment.
pub(super) const LIVE: &str = "live";
/// The sort key of an array's head, behind those of its agents.
pub(super) const HEAD: &str = "head";

/// What a task that waits and was never claimed is ordered by: it goes out after all that were
/// handed back.
pub(super) const NEVER_CLAIMED: UnixMicros = UnixMicros(i64::MAX);

/// 16 hexadecimal digits that sort as the number does.
pub(super) fn ordered(n: u64) -> String {
    format!("{n:016x}")
}

/// 16 hexadecimal digits that sort as the time does, those before 1970 included.
pub(super) fn ordered_time(time: UnixMicros) -> String {
    ordered((time.0 as u64) ^ (1 << 63))
}

/// The time that [`ordered_time`] wrote at the start of `text`.
pub(super) fn time_from(text: &str) -> Option<UnixMicros> {
    let bits = u64::from_str_radix(text.get(..16)?, 16).ok()?;
    Some(UnixMicros((bits ^ (1 << 63)) as i64))
}

/// The number at the end of a sort key.
pub(super) fn number_from(text: &str) -> Option<u64> {
    let at = text.len().checked_sub(16)?;
    u64::from_str_radix(text.get(at..)?, 16).ok()
}

pub(super) fn counters() -> Item {
    key("counters", "counters")
}

pub(super) fn schema() -> Item {
    key("schema", "schema")
}

pub(super) fn spec_pk(id: &ArrayId) -> String {
    format!("{id}/spec")
}

/// Part 0 is the array's own item; the others continue its specification.
pub(super) fn spec(id: &ArrayId, part: usize) -> Item {
    key(spec_pk(id), format!("{part:03}"))
}

/// What claims change in an array, and beside it what its agents change.
pub(super) fn head(id: &ArrayId) -> Item {
    key(id.as_str(), HEAD)
}

pub(super) fn live_sk(agent: AgentId) -> String {
    format!("agent/{}", ordered(agent.0))
}

pub(super) fn live(id: &ArrayId, agent: AgentId) -> Item {
    key(id.as_str(), live_sk(agent))
}

/// What an agent said when it enrolled.
pub(super) fn enrolment(agent: AgentId) -> Item {
    key(format!("agent/{}", agent.0), "enrolment")
}

pub(super) fn tasks_pk(id: &ArrayId) -> String {
    format!("{id}/tasks")
}

pub(super) fn task(id: &ArrayId, position: u64) -> Item {
    key(tasks_pk(id), ordered(position))
}

pub(super) fn attempts_pk(id: &ArrayId) -> String {
    format!("{id}/attempts")
}

pub(super) fn attempt(id: &ArrayId, position: u64, attempt: u32) -> Item {
    key(
        attempts_pk(id),
        format!("{}/{attempt:010}", ordered(position)),
    )
}

/// `ip` of tasks that wait to be claimed and have a row.
pub(super) fn waiting(id: &ArrayId, lane: usize) -> String {
    format!("{id}/waiting/{lane}")
}

/// `ip` of tasks that an attempt of their own failed.
pub(super) fn failed(id: &ArrayId) -> String {
    format!("{id}/failed")
}

/// `ip` of tasks that succeeded though AWS calls failed.
pub(super) fn doubtful(id: &ArrayId) -> String {
    format!("{id}/doubtful")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_what_they_stand_for() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(|t| ordered_time(UnixMicros(t)));
        assert!(times.is_sorted());
        assert_eq!(time_from(&times[1]), Some(UnixMicros(-1)));
        assert_eq!(number_from(&live_sk(AgentId(77))), Some(77));
        assert_eq!(number_from("short"), None);
    }
}
