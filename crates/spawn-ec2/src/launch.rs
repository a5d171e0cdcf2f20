//! A plan carried out, and one that was cut off finished: it is the same.
//!
//! Every step can be taken twice with the outcome of once. Things have names that follow from the
//! array's id; what is there already counts as made if it carries the launch's own mark, and is
//! left alone with an error if not. Machines are started by setting a group's size, which is done
//! only where the group has no room yet: agents may have left since, and are not replaced.

use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::Tag;
use spawn_aws::services::autoscaling::{self, Group};
use spawn_aws::services::ec2::{self, Filter};
use spawn_aws::services::s3::{self, Bucket, PutOptions};
use spawn_core::moment::UnixMicros;
use spawn_ports::ledger::{Ledger, LedgerError};

use crate::journal::{Journal, JournalError};
use crate::names;
use crate::plan::{LanePlan, LaunchPlan, Step};
use crate::{requests, roles, standing};

/// Why a launch did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A call failed; [`launch`] again goes on from there.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The ledger failed; [`launch`] again goes on from there.
    #[error("the array cannot be recorded")]
    Ledger(#[from] LedgerError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something of the name is there and is another's.
    #[error("{what} is there and is not of this launch: {why}")]
    Foreign {
        /// What.
        what: String,
        /// How that is seen.
        why: String,
    },
    /// A lane's time is over; nothing more is started, and cleaning up is what is left.
    #[error("the time of `{0}` is over; clean up the launch")]
    TooLate(String),
    /// The group's backstop is not there, so nothing is started.
    #[error("the group `{0}` has no action that ends it; nothing is started in it")]
    NoBackstop(String),
    /// The bundle is not the one that was planned.
    #[error("the bundle is not the one of the plan")]
    Bundle,
    /// The client is for another region than the plan.
    #[error("the plan is for region `{planned}` and the client for `{client}`")]
    Region {
        /// Of the plan.
        planned: String,
        /// Of the client.
        client: String,
    },
}

/// How often something new is looked for that was just said to be there.
const LOOKS: u32 = 6;
/// The rest between two looks.
const REST: Duration = Duration::from_secs(2);

/// Takes every step of the journal's plan that is not known to be taken.
///
/// # Errors
/// [`LaunchError`]; the journal knows what was done before.
pub fn launch(
    client: &Client,
    ledger: &mut dyn Ledger,
    journal: &mut Journal,
    bundle: &[u8],
) -> Result<(), LaunchError> {
    let plan = journal.plan().clone();
    if client.region() != plan.region {
        return Err(LaunchError::Region {
            planned: plan.region,
            client: client.region().to_owned(),
        });
    }
    let resumed = plan.steps().iter().any(|step| journal.is_done(*step));
    for step in plan.steps() {
        // A role is shared: whoever cleaned up in between may have taken it for unused.
        let look_again = step == Step::Role && resumed && !journal.is_complete();
        if journal.is_done(step) && !look_again {
            continue;
        }
        take(client, ledger, &plan, step, bundle)?;
        journal.mark(step)?;
    }
    Ok(())
}

fn take(
    client: &Client,
    ledger: &mut dyn Ledger,
    plan: &LaunchPlan,
    step: Step,
    bundle: &[u8],
) -> Result<(), LaunchError> {
    match step {
        Step::Role => roles::ensure(client, &plan.role),
        Step::Bundle => put_bundle(client, plan, bundle),
        Step::Record => record(client, ledger, plan),
        Step::Template(lane) => make_template(client, plan, &plan.lanes[lane]),
        Step::Group(lane) => make_group(client, plan, &plan.lanes[lane]),
        Step::Backstop(lane) => put_backstop(client, &plan.lanes[lane]),
        Step::Steady(lane) => Ok(autoscaling::suspend_processes(
            client,
            &plan.lanes[lane].name,
            &["AZRebalance"],
        )?),
        Step::Raise(lane) => raise(client, plan, &plan.lanes[lane]),
        Step::FallbackGroup(lane) => with_twin(plan, lane, |twin| make_group(client, plan, twin)),
        Step::FallbackBackstop(lane) => with_twin(plan, lane, |twin| put_backstop(client, twin)),
        Step::FallbackSteady(lane) => with_twin(plan, lane, |twin| {
            Ok(autoscaling::suspend_processes(
                client,
                &twin.name,
                &["AZRebalance"],
            )?)
        }),
        Step::FallbackRaise(lane) => with_twin(plan, lane, |twin| {
            let Some(fallback) = &plan.lanes[lane].fallback else {
                return Ok(());
            };
            // Resumed so late that it is over: the group is left without room, which costs nothing.
            if now(client) >= fallback.at {
                return Ok(());
            }
            let action = requests::raise_later(twin, fallback.at);
            Ok(autoscaling::put_scheduled_action(client, &action)?)
        }),
        Step::SchedulerRole => standing::ensure_role(client, plan),
        Step::Run(lane) => {
            in_time(client, &plan.lanes[lane])?;
            standing::run(client, plan, &plan.lanes[lane], lane)
        }
        Step::Guard(lane) => standing::guard(client, plan, &plan.lanes[lane], lane),
    }
}

fn with_twin(
    plan: &LaunchPlan,
    lane: usize,
    act: impl FnOnce(&LanePlan) -> Result<(), LaunchError>,
) -> Result<(), LaunchError> {
    match plan.lanes[lane].twin() {
        Some(twin) => act(&twin),
        None => Ok(()),
    }
}

fn owned(plan: &LaunchPlan) -> Bucket {
    Bucket {
        name: plan.bucket.clone(),
        owner: Some(plan.account.clone()),
    }
}

fn put_bundle(client: &Client, plan: &LaunchPlan, bundle: &[u8]) -> Result<(), LaunchError> {
    let digest: String = Sha256::digest(bundle)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if digest != plan.bundle_sha256 {
        return Err(LaunchError::Bundle);
    }
    // The key holds the digest, so putting it twice puts the same.
    let options = PutOptions::default();
    s3::put_object(
        client,
        &owned(plan),
        &plan.bundle_key,
        bundle.to_vec(),
        &options,
    )?;
    Ok(())
}

fn record(client: &Client, ledger: &mut dyn Ledger, plan: &LaunchPlan) -> Result<(), LaunchError> {
    match ledger.submit(&plan.array, now(client)) {
        Ok(()) => Ok(()),
        Err(LedgerError::Duplicate(id)) => match ledger.array(&id)? {
            // The deadline may have been extended since.
            Some(there)
                if (&there.submitted.spec, there.submitted.total)
                    == (&plan.array.spec, plan.array.total) =>
            {
                Ok(())
            }
            _ => Err(LaunchError::Foreign {
                what: format!("array `{id}`"),
                why: "it was submitted with another specification".to_owned(),
            }),
        },
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn now(client: &Client) -> UnixMicros {
    let since = client.aws_now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMicros(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

fn in_time(client: &Client, lane: &LanePlan) -> Result<(), LaunchError> {
    match now(client) < lane.ends {
        true => Ok(()),
        false => Err(LaunchError::TooLate(lane.name.clone())),
    }
}

fn check_mark(what: String, tags: &[Tag], plan: &LaunchPlan) -> Result<(), LaunchError> {
    let value = |key: &str| tags.iter().find(|t| t.key == key).map(|t| t.value.as_str());
    let (array, mark) = (value(names::TAG_ARRAY), value(names::TAG_LAUNCH));
    if array == Some(plan.id().as_str()) && mark == Some(&plan.token) {
        return Ok(());
    }
    Err(LaunchError::Foreign {
        what,
        why: format!("its tag `{}` is another's", names::TAG_LAUNCH),
    })
}

pub(crate) fn make_template(
    client: &Client,
    plan: &LaunchPlan,
    lane: &LanePlan,
) -> Result<(), LaunchError> {
    in_time(client, lane)?;
    let data = requests::template(plan, lane);
    match ec2::create_launch_template(client, &lane.name, &data, &lane.tags) {
        Ok(_) => Ok(()),
        Err(e) if e.kind == ErrorKind::AlreadyExists => {
            let filters = [Filter::new("launch-template-name", [lane.name.as_str()])];
            let found = look(client, || {
                let found = ec2::describe_launch_templates(client, &filters)?;
                Ok(found.into_iter().next())
            })?;
            let what = format!("launch template `{}`", lane.name);
            check_mark(what, &found.ok_or(e)?.tag_set, plan)
        }
        Err(e) => Err(e.into()),
    }
}

/// What was just said to be there may not be seen at once.
pub(crate) fn look<T>(
    client: &Client,
    mut find: impl FnMut() -> Result<Option<T>, AwsError>,
) -> Result<Option<T>, AwsError> {
    for left in (0..LOOKS).rev() {
        if let Some(found) = find()? {
            return Ok(Some(found));
        }
        if left > 0 {
            client.clock().sleep(REST);
        }
    }
    Ok(None)
}

fn find_group(client: &Client, lane: &LanePlan) -> Result<Option<Group>, AwsError> {
    let found = autoscaling::describe_groups(client, &[&lane.name])?;
    Ok(found.into_iter().next())
}

pub(crate) fn make_group(
    client: &Client,
    plan: &LaunchPlan,
    lane: &LanePlan,
) -> Result<(), LaunchError> {
    in_time(client, lane)?;
    // AWS refuses a second group of the name; moto puts it in place of the first.
    if let Some(found) = find_group(client, lane)? {
        return check_mark(format!("group `{}`", lane.name), &found.tags, plan);
    }
    let request = requests::group(lane);
    for left in (0..LOOKS).rev() {
        match autoscaling::create_group(client, &request) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind == ErrorKind::AlreadyExists => {
                let found = look(client, || find_group(client, lane))?.ok_or(e)?;
                return check_mark(format!("group `{}`", lane.name), &found.tags, plan);
            }
            // A new role or template is not known everywhere at once.
            Err(e) if left > 0 && is_too_new(&e) => client.clock().sleep(REST),
            Err(e) => return Err(e.into()),
        }
    }
    unreachable!("the last look returns")
}

fn is_too_new(error: &AwsError) -> bool {
    let message = error.message.to_ascii_lowercase();
    matches!(error.kind, ErrorKind::Validation | ErrorKind::NotFound)
        && ["instance profile", "instanceprofile", "launch template"]
            .iter()
            .any(|words| message.contains(words))
}

pub(crate) fn put_backstop(client: &Client, lane: &LanePlan) -> Result<(), LaunchError> {
    in_time(client, lane)?;
    Ok(autoscaling::put_scheduled_action(
        client,
        &requests::backstop(lane),
    )?)
}

/// Gives a group room, unless it was given room before: by this very step, whose answer was lost.
pub(crate) fn raise(
    client: &Client,
    plan: &LaunchPlan,
    lane: &LanePlan,
) -> Result<(), LaunchError> {
    in_time(client, lane)?;
    let found = look(client, || find_group(client, lane))?;
    let gone = || LaunchError::Foreign {
        what: format!("group `{}`", lane.name),
        why: "it was deleted".to_owned(),
    };
    let group = found.ok_or_else(gone)?;
    check_mark(format!("group `{}`", lane.name), &group.tags, plan)?;
    if group.status.is_some() {
        return Err(gone());
    }
    if group.max_size > 0 {
        return Ok(());
    }
    let backstop = look(client, || {
        let found = autoscaling::describe_scheduled_actions(client, &lane.name)?;
        Ok(found.into_iter().find(|a| {
            a.scheduled_action_name == names::backstop(&lane.name)
                && (a.min_size, a.max_size, a.desired_capacity) == (Some(0), Some(0), Some(0))
        }))
    })?;
    if backstop.is_none() {
        return Err(LaunchError::NoBackstop(lane.name.clone()));
    }
    Ok(autoscaling::update_group(client, &requests::raise(lane))?)
}
