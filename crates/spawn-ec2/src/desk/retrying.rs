//! `spawn retry`: tasks run again in the array they belong to, and machines for them.
//!
//! Everything that can be refused is, before anything is reopened. Then the ledger, since machines
//! that find their array ended leave and take everything with them; then the machines. Asked again
//! after a half that was done, nothing more is reopened, and the machines are had all the same.

use std::time::Duration;

use spawn_aws::services::autoscaling::{self, Group, UpdateGroup};
use spawn_aws::services::s3;
use spawn_core::array_id::ArrayId;
use spawn_core::task::Intent;
use spawn_local::answers;
use spawn_local::wire::client::Answer;
use spawn_ports::ledger::{ArrayRecord, Ledger, Reopen};

use super::extending::lane_end;
use super::{Desk, DeskError, groups, launched, refused};
use crate::plan::{LanePlan, LaunchPlan};
use crate::{furnish, launch, roles};

/// How often a group that is being deleted is looked at, and the rest in between: AWS takes as long
/// as its machines take to end.
const LOOKS: u32 = 60;
const REST: Duration = Duration::from_secs(5);

impl Desk {
    pub(super) fn retry(
        &mut self,
        id: &ArrayId,
        which: Reopen,
        ttl_ms: Option<u64>,
    ) -> Result<Answer, DeskError> {
        let before = self.record(id)?;
        let plan = match self.plan_of(&before)? {
            Ok(plan) => plan,
            Err(why) => return Ok(refused(&why)),
        };
        if let Some(why) = self.without_going(id)? {
            return Ok(refused(&why));
        }
        let now = self.now();
        let is_open = before.intent == Intent::Run && !before.counts.all_ended();
        let deadline = match (is_open, launched(&before)) {
            (true, _) => before.submitted.deadline,
            (false, spec) => match ttl_ms.or(spec.map(|spec| spec.ttl_ms)) {
                Some(ttl) => now.plus_millis(ttl),
                None => {
                    let why = "what was launched cannot be read here; say how long the array may live with `--ttl`";
                    return Ok(refused(why));
                }
            },
        };
        let which = answers::to_reopen(&mut self.ledger, &before, which)?;
        let reopened = self.ledger.reopen(id, &which, deadline, now)?;
        let record = self.record(id)?;
        if record.intent == Intent::Run && !record.counts.all_ended() {
            self.machines_again(&plan, &record)?;
        }
        Ok(Answer::Reopened(reopened))
    }

    /// The plan that machines are made from; else why there will be none.
    fn plan_of(&mut self, before: &ArrayRecord) -> Result<Result<LaunchPlan, String>, DeskError> {
        let Some(plan) = furnish::plan_of(&before.submitted) else {
            let why = "its record does not say how its machines were made, so none can be started for it; `spawn launch` starts the tasks anew";
            return Ok(Err(why.to_owned()));
        };
        if plan.lanes.iter().any(|lane| lane.standing.is_some()) {
            let why = "its machines are in no group, and are started once only; `spawn launch` starts the tasks anew";
            return Ok(Err(why.to_owned()));
        }
        if s3::head_object(&self.client, &self.bucket, &plan.bundle_key)?.is_none() {
            return Ok(Err(format!(
                "its files are gone: there is no s3://{}/{}; `spawn launch` starts the tasks anew",
                self.bucket.name, plan.bundle_key
            )));
        }
        Ok(Ok(plan))
    }

    /// Waits until groups that are being deleted are gone, since their names are taken until then;
    /// why they are not, if they stay.
    fn without_going(&self, id: &ArrayId) -> Result<Option<String>, DeskError> {
        for look in 1..=LOOKS {
            let found = groups::find(&self.client, id)?;
            let Some(going) = found.iter().find(|group| group.status.is_some()) else {
                return Ok(None);
            };
            if look == LOOKS {
                return Ok(Some(format!(
                    "its group {} is still being deleted; try again in a few minutes",
                    going.auto_scaling_group_name
                )));
            }
            self.client.clock().sleep(REST);
        }
        Ok(None)
    }

    /// Machines for what is unfinished: room in groups that are there, and new groups for lanes
    /// whose group is gone. Nothing is started before that is set which ends it.
    fn machines_again(&mut self, plan: &LaunchPlan, record: &ArrayRecord) -> Result<(), DeskError> {
        let (now, deadline) = (self.now(), record.submitted.deadline);
        let spec = launched(record);
        let end = |lane: Option<u32>| lane_end(deadline, spec.as_ref(), lane, now);
        let found = groups::find(&self.client, plan.id())?;
        for group in &found {
            let name = &group.auto_scaling_group_name;
            let end = end(groups::lane_of(group));
            groups::end_no_earlier(&self.client, name, end)?;
        }
        let lanes = plan.lanes.iter().zip(&record.lanes).enumerate();
        let mut role_is_there = false;
        for (number, (lane, counts)) in lanes {
            let wanted = machines_for(lane.machines, counts.pending + counts.running);
            if wanted == 0 {
                continue;
            }
            let own = |group: &&Group| group.auto_scaling_group_name == lane.name;
            if let Some(group) = found.iter().find(own) {
                self.make_room(group, wanted)?;
                continue;
            }
            if !role_is_there {
                roles::ensure(&self.client, &plan.role)?;
                role_is_there = true;
            }
            let again = LanePlan {
                machines: wanted,
                ends: end(u32::try_from(number).ok()),
                ..lane.clone()
            };
            self.make_again(plan, &again)?;
        }
        for group in &found {
            if groups::is_suspended(group) {
                let name = &group.auto_scaling_group_name;
                autoscaling::resume_processes(&self.client, name, &["Launch"])?;
            }
        }
        Ok(())
    }

    fn make_room(&self, group: &Group, wanted: u32) -> Result<(), DeskError> {
        if group.desired_capacity >= wanted {
            return Ok(());
        }
        let update = UpdateGroup {
            auto_scaling_group_name: group.auto_scaling_group_name.clone(),
            min_size: Some(0),
            max_size: Some(group.max_size.max(wanted)),
            desired_capacity: Some(wanted),
            new_instances_protected_from_scale_in: None,
        };
        Ok(autoscaling::update_group(&self.client, &update)?)
    }

    /// The steps of a launch that make one lane's machines, in its order.
    fn make_again(&self, plan: &LaunchPlan, lane: &LanePlan) -> Result<(), DeskError> {
        let client = &self.client;
        launch::make_template(client, plan, lane)?;
        launch::make_group(client, plan, lane)?;
        launch::put_backstop(client, lane)?;
        autoscaling::suspend_processes(client, &lane.name, &["AZRebalance"])?;
        launch::raise(client, plan, lane)?;
        Ok(())
    }
}

/// As many machines as a lane was launched with, but no more than it has unfinished tasks.
fn machines_for(launched: u32, unfinished: u64) -> u32 {
    u32::try_from(unfinished).map_or(launched, |n| n.min(launched))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_machines_than_tasks_or_than_before() {
        assert_eq!(machines_for(4, 0), 0);
        assert_eq!(machines_for(4, 3), 3);
        assert_eq!(machines_for(4, 5), 4);
        assert_eq!(machines_for(4, u64::MAX), 4);
    }
}
