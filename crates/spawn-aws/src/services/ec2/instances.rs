//! Instances: started, described, tagged, ended.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{API, Filter, LaunchData, describe, page};
use crate::client::{AwsError, Client, Safety, items, new_token, query_call};
use crate::services::Tag;

/// What `RunInstances` is asked.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunInstances {
    /// No fewer than this, or none.
    pub min_count: u32,
    /// No more than this.
    pub max_count: u32,
    /// Names the intent: a second call with the same token and the same request starts nothing and
    /// answers what the first did. Made up if not said.
    pub client_token: Option<String>,
    /// Only asks whether it would be allowed.
    pub dry_run: Option<bool>,
    /// The template.
    pub launch_template: Option<TemplateReference>,
    /// Where, unless the data has network interfaces.
    pub subnet_id: Option<String>,
    /// What is said beyond the template.
    #[serde(flatten)]
    pub data: LaunchData,
}

/// A launch template, by one of id and name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TemplateReference {
    /// `lt-...`
    pub launch_template_id: Option<String>,
    /// Its name.
    pub launch_template_name: Option<String>,
    /// A number, `$Latest` or `$Default`.
    pub version: Option<String>,
}

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Instance {
    /// `i-...`
    pub instance_id: String,
    /// `ami-...`
    pub image_id: String,
    /// Its state.
    pub instance_state: InstanceState,
    /// `m7g.large`
    pub instance_type: String,
    /// RFC 3339.
    pub launch_time: String,
    /// Where.
    pub placement: Placement,
    /// `subnet-...`
    pub subnet_id: Option<String>,
    /// Inside.
    pub private_ip_address: Option<String>,
    /// Outside.
    pub ip_address: Option<String>,
    /// `spot`; nothing for on-demand.
    pub instance_lifecycle: Option<String>,
    /// `x86_64`
    pub architecture: String,
    /// Why it is in its state.
    pub state_reason: Option<StateReason>,
    /// Tags.
    #[serde(deserialize_with = "items")]
    pub tag_set: Vec<Tag>,
}

/// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct InstanceState {
    /// The name.
    pub name: String,
}

/// Where a machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Placement {
    /// `eu-west-1a`
    pub availability_zone: String,
}

/// Why a machine is in its state: `Server.SpotInstanceTermination`, `Client.UserInitiatedShutdown`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StateReason {
    /// AWS's code.
    pub code: String,
    /// AWS's words.
    pub message: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Reservation {
    #[serde(deserialize_with = "items")]
    instances_set: Vec<Instance>,
}

/// `RunInstances`: one reservation. The client token makes it repeatable. Errors that are to be
/// told apart: [`crate::client::ErrorKind::Capacity`] (`InsufficientInstanceCapacity`,
/// `SpotMaxPriceTooLow`), [`crate::client::ErrorKind::Quota`] (`VcpuLimitExceeded`,
/// `MaxSpotInstanceCountExceeded`), [`crate::client::ErrorKind::Denied`]
/// (`UnauthorizedOperation`), [`crate::client::ErrorKind::WouldSucceed`] (`DryRunOperation`),
/// [`crate::client::ErrorKind::ConditionFailed`] (`IdempotentParameterMismatch`).
///
/// # Errors
/// See [`AwsError`].
pub fn run_instances(client: &Client, request: &RunInstances) -> Result<Vec<Instance>, AwsError> {
    let mut request = request.clone();
    request
        .client_token
        .get_or_insert_with(|| new_token(client.clock()));
    let operation = "RunInstances";
    query_call::<Reservation>(client, API, operation, Safety::Repeatable, &request)
        .map(|r| r.instances_set)
}

/// What became of a machine's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StateChange {
    /// `i-...`
    pub instance_id: String,
    /// Now.
    pub current_state: InstanceState,
    /// Before.
    pub previous_state: InstanceState,
}

/// `TerminateInstances`, 1,000 a call. One unknown id fails its whole call:
/// [`crate::client::ErrorKind::NotFound`], `InvalidInstanceID.NotFound`.
///
/// # Errors
/// See [`AwsError`].
pub fn terminate_instances(client: &Client, ids: &[&str]) -> Result<Vec<StateChange>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        #[serde(default, deserialize_with = "items")]
        instances_set: Vec<StateChange>,
    }
    let mut changed = Vec::new();
    for ids in ids.chunks(1000) {
        let request = json!({ "InstanceId": ids });
        let operation = "TerminateInstances";
        let answer: Answer = query_call(client, API, operation, Safety::Repeatable, &request)?;
        changed.extend(answer.instances_set);
    }
    Ok(changed)
}

/// `StopInstances`; with `hibernate` their memory goes onto their disks, and one that cannot is
/// [`crate::client::ErrorKind::Validation`].
///
/// # Errors
/// See [`AwsError`].
pub fn stop_instances(
    client: &Client,
    ids: &[&str],
    hibernate: bool,
) -> Result<Vec<StateChange>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        #[serde(default, deserialize_with = "items")]
        instances_set: Vec<StateChange>,
    }
    let request = json!({ "InstanceId": ids, "Hibernate": hibernate.then_some(true) });
    let operation = "StopInstances";
    query_call::<Answer>(client, API, operation, Safety::Repeatable, &request)
        .map(|answer| answer.instances_set)
}

page!(Reservations, "reservationSet", Reservation);

fn flat(reservations: Vec<Reservation>) -> impl Iterator<Item = Instance> {
    reservations.into_iter().flat_map(|r| r.instances_set)
}

/// `DescribeInstances` that fit the filters, all pages; those that ended within the last hour too.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_instances(client: &Client, filters: &[Filter]) -> Result<Vec<Instance>, AwsError> {
    let request = json!({ "Filter": filters, "MaxResults": 1000 });
    describe::<Reservations>(client, "DescribeInstances", &request).map(|r| flat(r).collect())
}

/// `DescribeInstances` by id, 200 a call; those that are not there (any more, or yet) are left out.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_instances_by_id(client: &Client, ids: &[&str]) -> Result<Vec<Instance>, AwsError> {
    let mut found = Vec::new();
    for ids in ids.chunks(200) {
        // A filter, since an id that is not there makes the list of ids an error.
        found.extend(describe_instances(
            client,
            &[Filter::new("instance-id", ids.iter().copied())],
        )?);
    }
    Ok(found)
}

/// `CreateTags`, 1,000 things a call. New things may not be seen at once:
/// [`crate::client::ErrorKind::NotFound`].
///
/// # Errors
/// See [`AwsError`].
pub fn create_tags(client: &Client, resources: &[&str], tags: &[Tag]) -> Result<(), AwsError> {
    for resources in resources.chunks(1000) {
        let request = json!({ "ResourceId": resources, "Tag": tags });
        query_call::<super::Done>(client, API, "CreateTags", Safety::Repeatable, &request)?;
    }
    Ok(())
}
