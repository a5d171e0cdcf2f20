//! Auto Scaling: groups that replace lost machines, and actions at set times.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{
    AUTO_SCALING, AwsError, Client, ErrorKind, Lists, Safety, Service, items, query_call,
    query_result_call,
};
use crate::services::ec2::TemplateReference;
use crate::services::{Tag, pages, repeated};

const API: (&Service, &str, Lists) = (&AUTO_SCALING, "2011-01-01", Lists::Member);

/// What `CreateAutoScalingGroup` is asked.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateGroup {
    /// Unique in the account and region.
    pub auto_scaling_group_name: String,
    /// No fewer machines.
    pub min_size: u32,
    /// No more machines.
    pub max_size: u32,
    /// How many are wanted.
    pub desired_capacity: Option<u32>,
    /// One type of machine; or `mixed_instances_policy`.
    pub launch_template: Option<TemplateReference>,
    /// Several types of machine.
    pub mixed_instances_policy: Option<MixedInstancesPolicy>,
    /// Subnets, joined by commas.
    #[serde(rename = "VPCZoneIdentifier")]
    pub subnets: String,
    /// Seconds until a new machine's health counts.
    pub health_check_grace_period: Option<u32>,
    /// `Default`, `OldestInstance`, ...
    pub termination_policies: Vec<String>,
    /// Replace spot machines at a rebalance recommendation, before they are interrupted.
    pub capacity_rebalance: Option<bool>,
    /// Tags; those that say so go on to machines.
    pub tags: Vec<GroupTag>,
}

/// A tag of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupTag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Machines get it too.
    pub propagate_at_launch: bool,
}

/// Several types of machine, spot and on demand.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MixedInstancesPolicy {
    /// What is started.
    pub launch_template: MixedTemplate,
    /// Spot or on demand, and which first.
    pub instances_distribution: Distribution,
}

/// A template and the types it is started as.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MixedTemplate {
    /// The template.
    pub launch_template_specification: TemplateReference,
    /// The types.
    pub overrides: Vec<TypeOverride>,
}

/// A type of machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TypeOverride {
    /// `m7g.large`
    pub instance_type: String,
    /// Units of capacity, 1 if not said.
    pub weighted_capacity: Option<String>,
    /// For types of another architecture.
    pub launch_template_specification: Option<TemplateReference>,
}

/// Spot or on demand, and which first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Distribution {
    /// On demand before any spot.
    pub on_demand_base_capacity: u32,
    /// Of the rest: 0 for all spot, 100 for all on demand.
    pub on_demand_percentage_above_base_capacity: u32,
    /// `price-capacity-optimized`
    pub spot_allocation_strategy: Option<String>,
    /// `lowest-price` or `prioritized`
    pub on_demand_allocation_strategy: Option<String>,
    /// USD an hour; the on-demand price if not said.
    pub spot_max_price: Option<String>,
}

fn done(
    client: &Client,
    operation: &'static str,
    safety: Safety,
    request: &impl Serialize,
) -> Result<(), AwsError> {
    #[derive(Deserialize)]
    struct Empty {}
    query_call::<Empty>(client, API, operation, safety, request)
        .map(|_| ())
        .map_err(absent)
}

/// Auto Scaling says "not found" in words only.
fn absent(mut error: AwsError) -> AwsError {
    let message = error.message.to_ascii_lowercase();
    let absent = [
        "not found",
        "does not exist",
        "no such",
        "no autoscalinggroup",
    ]
    .iter()
    .any(|words| message.contains(words));
    if error.kind == ErrorKind::Validation && absent {
        error.details().kind = ErrorKind::NotFound;
    }
    error
}

fn whether<T>(answer: Result<T, AwsError>) -> Result<bool, AwsError> {
    match answer {
        Ok(_) => Ok(true),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// `CreateAutoScalingGroup`. [`ErrorKind::AlreadyExists`]: `AlreadyExists`, perhaps by one's own
/// first attempt. [`ErrorKind::Quota`]: `LimitExceeded`.
///
/// # Errors
/// See [`AwsError`].
pub fn create_group(client: &Client, group: &CreateGroup) -> Result<(), AwsError> {
    done(client, "CreateAutoScalingGroup", Safety::Repeatable, group)
}

/// What `UpdateAutoScalingGroup` changes; what is not said stays.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateGroup {
    /// Its name.
    pub auto_scaling_group_name: String,
    /// No fewer machines.
    pub min_size: Option<u32>,
    /// No more machines.
    pub max_size: Option<u32>,
    /// How many are wanted.
    pub desired_capacity: Option<u32>,
    /// New machines are protected from scale-in.
    pub new_instances_protected_from_scale_in: Option<bool>,
}

/// `UpdateAutoScalingGroup`. [`ErrorKind::NotFound`]: there is no such group.
/// [`ErrorKind::Conflict`]: `ScalingActivityInProgress`, `ResourceContention`.
///
/// # Errors
/// See [`AwsError`].
pub fn update_group(client: &Client, update: &UpdateGroup) -> Result<(), AwsError> {
    done(client, "UpdateAutoScalingGroup", Safety::Repeatable, update)
}

/// `DeleteAutoScalingGroup`; whether it was there. `force` ends its machines too; without it, a
/// group that has some is [`ErrorKind::Conflict`]: `ResourceInUse`.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_group(client: &Client, name: &str, force: bool) -> Result<bool, AwsError> {
    let request = json!({ "AutoScalingGroupName": name, "ForceDelete": force });
    whether(done(
        client,
        "DeleteAutoScalingGroup",
        Safety::Repeatable,
        &request,
    ))
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Group {
    /// Its name.
    pub auto_scaling_group_name: String,
    /// Its ARN.
    #[serde(rename = "AutoScalingGroupARN")]
    pub arn: String,
    /// No fewer machines.
    pub min_size: u32,
    /// No more machines.
    pub max_size: u32,
    /// How many are wanted.
    pub desired_capacity: u32,
    /// RFC 3339.
    pub created_time: String,
    /// `Delete in progress`; nothing if it lives.
    pub status: Option<String>,
    /// Its machines.
    #[serde(deserialize_with = "items")]
    pub instances: Vec<GroupInstance>,
    /// What is suspended.
    #[serde(deserialize_with = "items")]
    pub suspended_processes: Vec<SuspendedProcess>,
    /// Its tags.
    #[serde(deserialize_with = "items")]
    pub tags: Vec<Tag>,
}

/// A machine of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GroupInstance {
    /// `i-...`
    pub instance_id: String,
    /// `m7g.large`
    pub instance_type: String,
    /// `eu-west-1a`
    pub availability_zone: String,
    /// `Pending`, `InService`, `Terminating`, ...
    pub lifecycle_state: String,
    /// `Healthy`, `Unhealthy`
    pub health_status: String,
}

/// What a group does not do at present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SuspendedProcess {
    /// `Launch`, `AZRebalance`, ...
    pub process_name: String,
}

/// A list below a result, with its token.
fn list<T: for<'de> Deserialize<'de>>(
    client: &Client,
    operation: &'static str,
    mut request: serde_json::Value,
    mut take: impl FnMut(T) -> Option<String>,
) -> Result<(), AwsError> {
    pages(
        |token| {
            request["NextToken"] = json!(token);
            let answer = query_result_call(client, API, operation, Safety::Read, &request);
            Ok(take(answer.map_err(absent)?))
        },
        || repeated(&AUTO_SCALING, operation),
    )
}

/// `DescribeAutoScalingGroups` of these names, 50 a call; those that are not there are left out.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_groups(client: &Client, names: &[&str]) -> Result<Vec<Group>, AwsError> {
    let mut found = Vec::new();
    for names in names.chunks(50) {
        let request = json!({ "AutoScalingGroupNames": names, "MaxRecords": 100 });
        groups(client, request, &mut found)?;
    }
    Ok(found)
}

/// `DescribeAutoScalingGroups` that have a tag of this key, whatever its value.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_groups_with_tag(client: &Client, key: &str) -> Result<Vec<Group>, AwsError> {
    let mut found = Vec::new();
    let filter = json!([{ "Name": "tag-key", "Values": [key] }]);
    groups(
        client,
        json!({ "Filters": filter, "MaxRecords": 100 }),
        &mut found,
    )?;
    Ok(found)
}

/// `DescribeAutoScalingGroups` that have this tag with this value.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_groups_tagged(
    client: &Client,
    key: &str,
    value: &str,
) -> Result<Vec<Group>, AwsError> {
    let mut found = Vec::new();
    let filter = json!([{ "Name": format!("tag:{key}"), "Values": [value] }]);
    groups(
        client,
        json!({ "Filters": filter, "MaxRecords": 100 }),
        &mut found,
    )?;
    Ok(found)
}

fn groups(
    client: &Client,
    request: serde_json::Value,
    found: &mut Vec<Group>,
) -> Result<(), AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Page {
        #[serde(default, deserialize_with = "items")]
        auto_scaling_groups: Vec<Group>,
        next_token: Option<String>,
    }
    list(
        client,
        "DescribeAutoScalingGroups",
        request,
        |page: Page| {
            found.extend(page.auto_scaling_groups);
            page.next_token
        },
    )
}

/// Sizes that a group gets at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ScheduledAction {
    /// The group.
    pub auto_scaling_group_name: String,
    /// The action's name, unique in the group.
    pub scheduled_action_name: String,
    /// When, RFC 3339 in UTC.
    pub start_time: String,
    /// No fewer machines.
    pub min_size: Option<u32>,
    /// No more machines.
    pub max_size: Option<u32>,
    /// How many are wanted.
    pub desired_capacity: Option<u32>,
}

/// `PutScheduledUpdateGroupAction`: makes or replaces an action.
/// [`ErrorKind::AlreadyExists`]: another action has the same time. [`ErrorKind::NotFound`]: no group.
///
/// # Errors
/// See [`AwsError`].
pub fn put_scheduled_action(client: &Client, action: &ScheduledAction) -> Result<(), AwsError> {
    let operation = "PutScheduledUpdateGroupAction";
    done(client, operation, Safety::Repeatable, action)
}

/// `DeleteScheduledAction`; whether it was there.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_scheduled_action(
    client: &Client,
    group: &str,
    action: &str,
) -> Result<bool, AwsError> {
    let request = json!({ "AutoScalingGroupName": group, "ScheduledActionName": action });
    whether(done(
        client,
        "DeleteScheduledAction",
        Safety::Repeatable,
        &request,
    ))
}

/// `DescribeScheduledActions` of a group, all pages.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_scheduled_actions(
    client: &Client,
    group: &str,
) -> Result<Vec<ScheduledAction>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Page {
        #[serde(default, deserialize_with = "items")]
        scheduled_update_group_actions: Vec<ScheduledAction>,
        next_token: Option<String>,
    }
    let mut found = Vec::new();
    let request = json!({ "AutoScalingGroupName": group, "MaxRecords": 100 });
    list(client, "DescribeScheduledActions", request, |page: Page| {
        found.extend(page.scheduled_update_group_actions);
        page.next_token
    })?;
    Ok(found)
}

/// `SuspendProcesses`: `Launch`, `AZRebalance`, ...
///
/// # Errors
/// See [`AwsError`].
pub fn suspend_processes(client: &Client, group: &str, processes: &[&str]) -> Result<(), AwsError> {
    let request = json!({ "AutoScalingGroupName": group, "ScalingProcesses": processes });
    done(client, "SuspendProcesses", Safety::Repeatable, &request)
}

/// `ResumeProcesses`.
///
/// # Errors
/// See [`AwsError`].
pub fn resume_processes(client: &Client, group: &str, processes: &[&str]) -> Result<(), AwsError> {
    let request = json!({ "AutoScalingGroupName": group, "ScalingProcesses": processes });
    done(client, "ResumeProcesses", Safety::Repeatable, &request)
}

/// `SetDesiredCapacity`. [`ErrorKind::Conflict`]: `ScalingActivityInProgress`.
///
/// # Errors
/// See [`AwsError`].
pub fn set_desired_capacity(client: &Client, group: &str, desired: u32) -> Result<(), AwsError> {
    let request = json!({
        "AutoScalingGroupName": group,
        "DesiredCapacity": desired,
        "HonorCooldown": false,
    });
    done(client, "SetDesiredCapacity", Safety::Repeatable, &request)
}

/// `TerminateInstanceInAutoScalingGroup`; `decrement` also lowers what is wanted, so that it is not
/// replaced. Whether the machine was there (`Instance Id not found`). With `decrement` it is never
/// sent again once it may have been executed, since a second one could lower what is wanted twice:
/// [`ErrorKind::Network`] then means to look at the group.
///
/// # Errors
/// See [`AwsError`].
pub fn terminate_instance(
    client: &Client,
    instance: &str,
    decrement: bool,
) -> Result<bool, AwsError> {
    let request = json!({ "InstanceId": instance, "ShouldDecrementDesiredCapacity": decrement });
    let safety = if decrement {
        Safety::Once
    } else {
        Safety::Repeatable
    };
    let operation = "TerminateInstanceInAutoScalingGroup";
    whether(done(client, operation, safety, &request))
}

/// Something that a group did or tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Activity {
    /// Its id.
    pub activity_id: String,
    /// `Launching a new EC2 instance: i-...`
    pub description: String,
    /// Why.
    pub cause: String,
    /// `Successful`, `Failed`, `InProgress`, ...
    pub status_code: String,
    /// AWS's words of a failure, as that there is no capacity.
    pub status_message: Option<String>,
    /// RFC 3339.
    pub start_time: String,
    /// Percent.
    pub progress: Option<u32>,
}

/// `DescribeScalingActivities` of a group, newest first, up to `limit` (0 for all of six weeks).
///
/// # Errors
/// See [`AwsError`].
pub fn describe_activities(
    client: &Client,
    group: &str,
    limit: usize,
) -> Result<Vec<Activity>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Page {
        #[serde(default, deserialize_with = "items")]
        activities: Vec<Activity>,
        next_token: Option<String>,
    }
    let mut found = Vec::new();
    let request = json!({ "AutoScalingGroupName": group, "MaxRecords": 100 });
    list(
        client,
        "DescribeScalingActivities",
        request,
        |page: Page| {
            found.extend(page.activities);
            page.next_token
                .filter(|_| limit == 0 || found.len() < limit)
        },
    )?;
    if limit > 0 {
        found.truncate(limit);
    }
    Ok(found)
}
