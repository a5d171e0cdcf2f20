//! Machines that outlive their tasks: `--on-complete stop`, `hibernate` and `none`.
//!
//! A group takes machines away or replaces them, so these are in none: they are started by plain
//! RunInstances, are not replaced, and are ended at the TTL by a schedule of EventBridge. The launch
//! writes one schedule for all machines of a lane, right after they start; a machine that finds none
//! when it boots writes one for itself.

use serde_json::{Value, json};
use spawn_aws::client::{Client, ErrorKind};
use spawn_aws::services::ec2::{self, Filter, RunInstances, TemplateReference};
use spawn_aws::services::iam;
use spawn_aws::services::scheduler;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_node::config::{AtEnd, Standing};
use spawn_spec::OnComplete;

use crate::launch::LaunchError;
use crate::names;
use crate::plan::{LanePlan, LaunchPlan};
use crate::policy_documents::Place;

/// What a lane's machines do at their end, and what ends them at the TTL; nothing where they go with
/// their tasks.
pub fn of(
    on_complete: OnComplete,
    place: Place<'_>,
    array: &ArrayId,
    lane: u32,
    ends: UnixMicros,
) -> Option<Standing> {
    let at_end = match on_complete {
        OnComplete::Terminate => return None,
        OnComplete::Stop => AtEnd::Stop,
        OnComplete::Hibernate => AtEnd::Hibernate,
        OnComplete::None => AtEnd::Run,
    };
    let role = names::scheduler_role(place.region);
    Some(Standing {
        at_end,
        schedule: names::lane_schedule(array, lane),
        own_schedule: names::schedule_prefix(array),
        role_arn: format!("arn:{}:iam::{}:role/{role}", place.partition, place.account),
        ends: ends.0,
    })
}

/// What a machine's own power-off does: nothing that is to be kept may go with it.
pub(crate) fn shutdown_behavior(standing: &Standing) -> &'static str {
    match standing.at_end {
        AtEnd::Stop | AtEnd::Hibernate => "stop",
        AtEnd::Run => "terminate",
    }
}

/// Who may take the scheduler's role.
fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "scheduler.amazonaws.com" },
            "Action": "sts:AssumeRole"
        }]
    })
}

/// What it may do: end machines of arrays.
fn grants(place: Place<'_>) -> Value {
    let Place {
        partition,
        account,
        region,
    } = place;
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["ec2:StopInstances", "ec2:TerminateInstances"],
            "Resource": format!("arn:{partition}:ec2:{region}:{account}:instance/*"),
            "Condition": { "StringLike": { "aws:ResourceTag/spawn:array": "array-*" } }
        }]
    })
}

/// What machines that outlive their tasks need beside the agent's grants: to see or write their own
/// schedule, and to put themselves to sleep.
pub fn machine_grants(place: Place<'_>) -> Value {
    let Place {
        partition,
        account,
        region,
    } = place;
    let role = names::scheduler_role(region);
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Schedules",
                "Effect": "Allow",
                "Action": ["scheduler:CreateSchedule", "scheduler:GetSchedule"],
                "Resource": format!("arn:{partition}:scheduler:{region}:{account}:schedule/default/spawn-array-*")
            },
            {
                "Sid": "Scheduler",
                "Effect": "Allow",
                "Action": ["iam:PassRole"],
                "Resource": format!("arn:{partition}:iam::{account}:role/{role}"),
                "Condition": { "StringEquals": { "iam:PassedToService": "scheduler.amazonaws.com" } }
            },
            {
                "Sid": "Sleep",
                "Effect": "Allow",
                "Action": ["ec2:StopInstances"],
                "Resource": format!("arn:{partition}:ec2:{region}:{account}:instance/*"),
                "Condition": { "StringLike": { "aws:ResourceTag/spawn:array": "array-*" } }
            }
        ]
    })
}

/// Has the scheduler's role, one in a region.
///
/// # Errors
/// See [`LaunchError`].
pub(crate) fn ensure_role(client: &Client, plan: &LaunchPlan) -> Result<(), LaunchError> {
    let place = Place {
        partition: &plan.partition,
        account: &plan.account,
        region: &plan.region,
    };
    let name = names::scheduler_role(&plan.region);
    if iam::get_role(client, &name)?.is_none() {
        let words = "Ends machines that spawn started, at their TTL";
        let made = iam::create_role(
            client,
            &name,
            &trust().to_string(),
            words,
            &[names::tool_tag()],
        );
        match made {
            Ok(_) => {}
            Err(e) if e.kind == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.into()),
        }
    }
    iam::put_role_policy(
        client,
        &name,
        names::AGENT_POLICY,
        &grants(place).to_string(),
    )?;
    Ok(())
}

/// Machines of a lane that have not been ended.
fn machines(client: &Client, plan: &LaunchPlan, number: usize) -> Result<Vec<String>, LaunchError> {
    let tag = |key: &str, value: &str| Filter::new(&format!("tag:{key}"), [value]);
    let filters = [
        tag(names::TAG_ARRAY, plan.id().as_str()),
        tag(names::TAG_LANE, &number.to_string()),
        tag(names::TAG_LAUNCH, &plan.token),
        Filter::new(
            "instance-state-name",
            ["pending", "running", "stopping", "stopped"],
        ),
    ];
    let found = ec2::describe_instances(client, &filters)?;
    Ok(found.into_iter().map(|i| i.instance_id).collect())
}

/// Starts the machines of a lane, as many as there is room for, in the first subnet that has any.
/// What an earlier attempt started counts.
///
/// # Errors
/// See [`LaunchError`]; without room for a single one the last refusal.
pub(crate) fn run(
    client: &Client,
    plan: &LaunchPlan,
    lane: &LanePlan,
    number: usize,
) -> Result<(), LaunchError> {
    if !machines(client, plan, number)?.is_empty() {
        return Ok(());
    }
    let mut refused = None;
    for (n, subnet) in lane.subnets.iter().enumerate() {
        let request = RunInstances {
            min_count: 1,
            max_count: lane.machines,
            // Names the intent: sent again, it starts nothing more.
            client_token: Some(format!("{}-{number}-{n}", plan.token)),
            launch_template: Some(TemplateReference {
                launch_template_name: Some(lane.name.clone()),
                version: Some("1".to_owned()),
                launch_template_id: None,
            }),
            subnet_id: Some(subnet.clone()),
            ..RunInstances::default()
        };
        match ec2::run_instances(client, &request) {
            Ok(_) => return Ok(()),
            Err(e) if e.kind == ErrorKind::Capacity => refused = Some(e),
            Err(e) => return Err(e.into()),
        }
    }
    match refused {
        Some(e) => Err(e.into()),
        None => Ok(()),
    }
}

/// Writes the schedule that ends the machines of a lane.
///
/// # Errors
/// See [`LaunchError`].
pub(crate) fn guard(
    client: &Client,
    plan: &LaunchPlan,
    lane: &LanePlan,
    number: usize,
) -> Result<(), LaunchError> {
    let Some(standing) = &lane.standing else {
        return Ok(());
    };
    let found = crate::launch::look(client, || {
        let found = machines(client, plan, number).map_err(|e| match e {
            LaunchError::Aws(e) => e,
            other => spawn_aws::client::AwsError::new(
                "EC2",
                "DescribeInstances",
                ErrorKind::Other,
                other.to_string(),
            ),
        })?;
        Ok(Some(found).filter(|found| !found.is_empty()))
    })?;
    // They may all have ended since: then there is nothing to end.
    let Some(found) = found else { return Ok(()) };
    let name = standing.schedule.clone();
    let schedule = spawn_node::standing::schedule(standing, name, &found);
    match scheduler::create_schedule(client, &schedule) {
        Ok(_) => Ok(()),
        Err(e) if e.kind == ErrorKind::Conflict || e.kind == ErrorKind::AlreadyExists => {
            Ok(scheduler::update_schedule(client, &schedule)?)
        }
        Err(e) => Err(e.into()),
    }
}
