//! `spawn extend`.
//!
//! What ends machines by itself moves first, the ledger last: cut off in between, machines could
//! live longer than their tasks, and leave when those end; the other way round, tasks would lose
//! their machines. Every new time follows from the ledger's deadline, so that asking again after a
//! half that was done does not extend twice.

use spawn_aws::client::ErrorKind;
use spawn_aws::services::scheduler;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::Intent;
use spawn_local::wire::client::Answer;
use spawn_ports::ledger::Ledger;
use spawn_spec::LaunchSpec;

use super::{Desk, DeskError, groups, launched, refused};
use crate::names;

impl Desk {
    pub(super) fn extend(&mut self, id: &ArrayId, by_ms: u64) -> Result<Answer, DeskError> {
        let before = self.record(id)?;
        let now = self.now();
        let deadline = before.submitted.deadline;
        if before.counts.all_ended() || before.intent != Intent::Run || deadline <= now {
            return Ok(refused(
                "the array has ended, or is ending; `spawn retry` runs its tasks again",
            ));
        }
        let longer = deadline.plus_millis(by_ms);
        let spec = launched(&before);
        for group in groups::find(&self.client, id)? {
            if group.status.is_some() {
                continue;
            }
            let name = &group.auto_scaling_group_name;
            let lane = groups::lane_of(&group);
            let wanted = lane_end(longer, spec.as_ref(), lane, now);
            match groups::end_no_earlier(&self.client, name, wanted) {
                Err(e) if !groups::is_gone(&e) => return Err(e.into()),
                _ => {}
            }
        }
        self.move_schedules(id, longer)?;
        let record = self.ledger.extend(id, longer)?;
        Ok(Answer::Extended {
            record: Box::new(record),
            too_late: 0,
        })
    }

    /// Machines that are in no group have a schedule each.
    fn move_schedules(&mut self, id: &ArrayId, longer: UnixMicros) -> Result<(), DeskError> {
        let prefix = names::schedule_prefix(id);
        for found in scheduler::list_schedules(&self.client, &prefix)? {
            let group = Some(found.group_name.as_str()).filter(|g| !g.is_empty());
            let there = scheduler::get_schedule(&self.client, &found.name, group)?;
            // One that has run meanwhile has nothing left to end.
            let Some(mut schedule) = there else { continue };
            let wanted = schedule_time(longer);
            if schedule.at >= wanted {
                continue;
            }
            schedule.at = wanted;
            match scheduler::update_schedule(&self.client, &schedule) {
                Err(e) if e.kind != ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// When the machines of a lane end in an array with this deadline: as far from it as the lane's TTL
/// is from the array's, where that is still to come.
pub(super) fn lane_end(
    deadline: UnixMicros,
    spec: Option<&LaunchSpec>,
    lane: Option<u32>,
    now: UnixMicros,
) -> UnixMicros {
    let ttls = spec.and_then(|spec| {
        let lanes = spec.all_lanes();
        let lane = lanes.get(usize::try_from(lane?).ok()?)?;
        Some((lane.ttl_ms, spec.ttl_ms))
    });
    let Some((lane, all)) = ttls.map(|(a, b)| (as_micros(a), as_micros(b))) else {
        return deadline;
    };
    let end = deadline.0.saturating_add(lane.saturating_sub(all));
    match end > now.0 {
        true => UnixMicros(end),
        false => deadline,
    }
}

fn as_micros(millis: u64) -> i64 {
    i64::try_from(millis)
        .unwrap_or(i64::MAX)
        .saturating_mul(1000)
}

/// A time as schedules take it: in UTC, to the second, without a zone. Never earlier than `at`.
fn schedule_time(at: UnixMicros) -> String {
    let text = crate::plan::time(at);
    text.strip_suffix('Z').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn spec() -> LaunchSpec {
        let lane = |from: u64, ttl_ms: u64| {
            let indices = spawn_core::index_set::IndexSet::from_indices(from..from + 2).unwrap();
            serde_json::json!({ "indices": indices, "ttl_ms": ttl_ms })
        };
        serde_json::from_value(serde_json::json!({
            "name": "demo",
            "indices": spawn_core::index_set::IndexSet::first(4).unwrap(),
            "program": { "command": { "argv": ["true"] } },
            "ttl_ms": 7_200_000,
            "lanes": [lane(0, 7_200_000), lane(2, 3_600_000)],
        }))
        .unwrap()
    }

    #[test]
    fn lanes_keep_their_distance_from_the_deadline() {
        let spec = spec();
        let end = |deadline: i64, lane, now: i64| {
            let (deadline, now) = (UnixMicros(deadline), UnixMicros(now));
            lane_end(deadline, Some(&spec), lane, now).0
        };
        assert_eq!(end(10 * HOUR, Some(0), 0), 10 * HOUR);
        assert_eq!(end(10 * HOUR, Some(1), 0), 9 * HOUR);
        // What would be over already, ends with the array.
        assert_eq!(end(10 * HOUR, Some(1), 9 * HOUR), 10 * HOUR);
        // A group that says no lane, or one that is not there.
        assert_eq!(end(10 * HOUR, None, 0), 10 * HOUR);
        assert_eq!(end(10 * HOUR, Some(7), 0), 10 * HOUR);
        assert_eq!(
            lane_end(UnixMicros(HOUR), None, Some(1), UnixMicros(0)).0,
            HOUR
        );
    }

    #[test]
    fn schedules_have_times_without_a_zone_and_never_too_early() {
        assert_eq!(schedule_time(UnixMicros(0)), "1970-01-01T00:00:00");
        assert_eq!(schedule_time(UnixMicros(1)), "1970-01-01T00:00:01");
    }
}
