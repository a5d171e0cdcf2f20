//! What costs, or may, and belongs to no array that runs: found by tag, told by array.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use spawn_aws::client::{AwsError, Client};
use spawn_aws::services::ec2::{self, Filter};
use spawn_aws::services::{Tag, autoscaling, scheduler};
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_ports::ledger::{ArrayRecord, Ledger, LedgerError};

use crate::cleanup::Remnant;
use crate::names;

/// Why what is there of an array should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its tasks have ended.
    Ended(UnixMicros),
    /// Its time is over.
    Overdue(UnixMicros),
    /// The ledger knows no such array: its launch broke off, or its record was removed.
    Unknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Ended(_) => f.write_str("its tasks have ended"),
            Why::Overdue(_) => f.write_str("its TTL is over"),
            Why::Unknown => f.write_str("the ledger knows no such array"),
        }
    }
}

/// What is there of one array and should not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The array.
    pub array: ArrayId,
    /// Why it should not be.
    pub why: Why,
    /// What is there.
    pub found: Vec<Remnant>,
}

/// Why orphans cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum OrphansError {
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// How long after its end the machines of an array may still be on their way, in milliseconds.
pub const GRACE_MS: u64 = 10 * 60_000;

/// Why an array's remnants are orphans at `now`; `None`: it runs, or has ended less than `grace_ms`
/// ago.
pub fn judge(record: Option<&ArrayRecord>, now: UnixMicros, grace_ms: u64) -> Option<Why> {
    let Some(record) = record else {
        return Some(Why::Unknown);
    };
    let is_past = |at: UnixMicros| at.plus_millis(grace_ms) <= now;
    let deadline = record.submitted.deadline;
    match (record.counts.all_ended(), record.ended_at) {
        (true, Some(at)) => is_past(at).then_some(Why::Ended(at)),
        (true, None) => Some(Why::Ended(record.created_at)),
        (false, _) => is_past(deadline).then_some(Why::Overdue(deadline)),
    }
}

/// Everything that is tagged as an array's, by array. Reads: a list of each kind of thing, paged.
///
/// # Errors
/// See [`AwsError`].
pub fn remnants(client: &Client) -> Result<BTreeMap<ArrayId, Vec<Remnant>>, AwsError> {
    let mut found: BTreeMap<ArrayId, Vec<Remnant>> = BTreeMap::new();
    let mut add = |array: Option<ArrayId>, remnant: Remnant| {
        if let Some(array) = array {
            found.entry(array).or_default().push(remnant);
        }
    };
    let mut grouped = BTreeSet::new();
    for group in autoscaling::describe_groups_with_tag(client, names::TAG_ARRAY)? {
        grouped.extend(group.instances.iter().map(|i| i.instance_id.clone()));
        let remnant = Remnant::Group {
            name: group.auto_scaling_group_name,
            machines: group.instances.len(),
            is_going: group.status.is_some(),
        };
        add(array_of(&group.tags), remnant);
    }
    let tagged = Filter::new("tag-key", [names::TAG_ARRAY]);
    let living = ["pending", "running", "stopping", "stopped"];
    let filters = [tagged.clone(), Filter::new("instance-state-name", living)];
    for instance in ec2::describe_instances(client, &filters)? {
        if !grouped.contains(&instance.instance_id) {
            let array = array_of(&instance.tag_set);
            add(array, Remnant::Instance(instance.instance_id));
        }
    }
    for template in ec2::describe_launch_templates(client, &[tagged])? {
        let array = array_of(&template.tag_set);
        add(array, Remnant::Template(template.launch_template_name));
    }
    for schedule in scheduler::list_schedules(client, "spawn-array-")? {
        let array = names::array_of_schedule(&schedule.name);
        add(array, Remnant::Schedule(schedule.name));
    }
    Ok(found)
}

fn array_of(tags: &[Tag]) -> Option<ArrayId> {
    let tag = tags.iter().find(|tag| tag.key == names::TAG_ARRAY)?;
    tag.value.parse().ok()
}

/// What is there of arrays that do not run. One question to the ledger for each array of which
/// anything is there.
///
/// # Errors
/// See [`OrphansError`].
pub fn find(
    client: &Client,
    ledger: &mut dyn Ledger,
    now: UnixMicros,
    grace_ms: u64,
) -> Result<Vec<Orphan>, OrphansError> {
    let mut orphans = Vec::new();
    for (array, found) in remnants(client)? {
        let record = ledger.array(&array)?;
        if let Some(why) = judge(record.as_ref(), now, grace_ms) {
            orphans.push(Orphan { array, why, found });
        }
    }
    Ok(orphans)
}

#[cfg(test)]
mod tests {
    use spawn_ports::ledger::NewArray;
    use spawn_testkit::MemoryLedger;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn record(ledger: &mut MemoryLedger, at: UnixMicros) -> ArrayRecord {
        let id: ArrayId = "array-20260127-abc123".parse().unwrap();
        let array = NewArray {
            id: id.clone(),
            name: "demo".to_owned(),
            spec: String::new(),
            total: 1,
            budgets: Default::default(),
            deadline: at.plus_millis(HOUR),
            lanes: vec![],
        };
        ledger.submit(&array, at).unwrap();
        ledger.array(&id).unwrap().unwrap()
    }

    #[test]
    fn arrays_that_run_have_no_orphans() {
        let start = UnixMicros(1_000_000_000);
        let mut ledger = MemoryLedger::new();
        let running = record(&mut ledger, start);
        let after = |ms: u64| start.plus_millis(ms);
        assert_eq!(judge(Some(&running), after(HOUR - 1), GRACE_MS), None);
        assert_eq!(
            judge(Some(&running), after(HOUR + GRACE_MS - 1), GRACE_MS),
            None
        );
        let why = judge(Some(&running), after(HOUR + GRACE_MS), GRACE_MS);
        assert_eq!(why, Some(Why::Overdue(after(HOUR))));
        assert_eq!(judge(None, start, GRACE_MS), Some(Why::Unknown));
    }

    #[test]
    fn an_array_that_ended_is_given_time_to_leave() {
        let start = UnixMicros(1_000_000_000);
        let mut ledger = MemoryLedger::new();
        let id = record(&mut ledger, start).submitted.id;
        let intent = spawn_core::task::Intent::Cancel;
        let ended = ledger.close(&id, intent, start.plus_millis(5)).unwrap();
        assert!(ended.counts.all_ended());
        let at = ended.ended_at.unwrap();
        assert_eq!(judge(Some(&ended), at, GRACE_MS), None);
        assert_eq!(judge(Some(&ended), at, 0), Some(Why::Ended(at)));
        let why = judge(Some(&ended), at.plus_millis(GRACE_MS), GRACE_MS);
        assert_eq!(why, Some(Why::Ended(at)));
    }
}
