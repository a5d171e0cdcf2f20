//! The groups of an array's machines, found by its tag: a lane's own, and any that stand beside it.

use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::autoscaling::{self, Group, ScheduledAction};
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;

use crate::names;
use crate::plan::time;

/// All groups of an array, those that are being deleted too.
pub(super) fn find(client: &Client, array: &ArrayId) -> Result<Vec<Group>, AwsError> {
    let mut found = autoscaling::describe_groups_tagged(client, names::TAG_ARRAY, array.as_str())?;
    // The tag is looked at again: what is ended by a slip cannot be had back.
    found.retain(|group| {
        let mut tags = group.tags.iter();
        tags.any(|tag| tag.key == names::TAG_ARRAY && tag.value == array.as_str())
    });
    Ok(found)
}

/// The lane that a group says it is of.
pub(super) fn lane_of(group: &Group) -> Option<u32> {
    let tag = group.tags.iter().find(|tag| tag.key == names::TAG_LANE);
    tag?.value.parse().ok()
}

/// Whether a group launches nothing at present.
pub(super) fn is_suspended(group: &Group) -> bool {
    let mut suspended = group.suspended_processes.iter();
    suspended.any(|process| process.process_name == "Launch")
}

/// Whether a call failed only because the group is gone, or goes.
pub(super) fn is_gone(error: &AwsError) -> bool {
    let message = error.message.to_ascii_lowercase();
    match error.kind {
        ErrorKind::NotFound => true,
        ErrorKind::Validation => message.contains("not found"),
        _ => message.contains("delet"),
    }
}

/// Has the groups launch nothing more.
pub(super) fn suspend(client: &Client, groups: &[Group]) -> Result<(), AwsError> {
    for group in groups {
        if group.status.is_some() || is_suspended(group) {
            continue;
        }
        let name = &group.auto_scaling_group_name;
        match autoscaling::suspend_processes(client, name, &["Launch"]) {
            Err(e) if !is_gone(&e) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// When a group's machines end by themselves; nothing if it has no such action.
fn backstop(client: &Client, group: &str) -> Result<Option<UnixMicros>, AwsError> {
    let actions = autoscaling::describe_scheduled_actions(client, group)?;
    let ours = |action: &&ScheduledAction| {
        action.scheduled_action_name == names::backstop(group)
            && (action.max_size, action.desired_capacity) == (Some(0), Some(0))
    };
    Ok(actions
        .iter()
        .find(ours)
        .and_then(|action| action.start_time.parse::<jiff::Timestamp>().ok())
        .map(|at| UnixMicros(at.as_microsecond())))
}

/// Has a group's machines end at this time, if they would end before or never.
pub(super) fn end_no_earlier(client: &Client, group: &str, at: UnixMicros) -> Result<(), AwsError> {
    if backstop(client, group)?.is_some_and(|there| there >= at) {
        return Ok(());
    }
    let action = ScheduledAction {
        auto_scaling_group_name: group.to_owned(),
        scheduled_action_name: names::backstop(group),
        start_time: time(at),
        min_size: Some(0),
        max_size: Some(0),
        desired_capacity: Some(0),
    };
    autoscaling::put_scheduled_action(client, &action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_gone_or_go_are_told_from_other_failures() {
        let error = |kind, message: &str| AwsError::new("Auto Scaling", "X", kind, message);
        assert!(is_gone(&error(
            ErrorKind::Validation,
            "AutoScalingGroup name not found - AutoScalingGroup 'x' not found"
        )));
        assert!(is_gone(&error(ErrorKind::NotFound, "")));
        assert!(is_gone(&error(
            ErrorKind::Other,
            "You cannot perform this operation, the group is pending deletion"
        )));
        assert!(!is_gone(&error(ErrorKind::Validation, "Max bound")));
        assert!(!is_gone(&error(ErrorKind::Denied, "not authorized")));
    }
}
