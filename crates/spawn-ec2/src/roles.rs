//! The role of the machines: made where it is missing, completed where it is not whole.

use serde_json::Value;
use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::Tag;
use spawn_aws::services::iam;

use crate::launch::LaunchError;
use crate::names;
use crate::plan::RolePlan;

/// Has the role, its policies, its profile, and the one in the other. Reads first; of a role that is
/// whole nothing is changed.
pub(crate) fn ensure(client: &Client, role: &RolePlan) -> Result<(), LaunchError> {
    if role.is_given {
        return Ok(());
    }
    let name = role.name.as_str();
    let tags = [Tag::new("spawn:tool", "spawn")];
    let there = match iam::get_role(client, name)? {
        Some(there) => there,
        None => {
            let words = "Machines started by spawn; shared by arrays with the same grants";
            match iam::create_role(client, name, &role.trust, words, &tags) {
                Ok(made) => made,
                Err(e) if e.kind == ErrorKind::AlreadyExists => {
                    iam::get_role(client, name)?.ok_or(e)?
                }
                Err(e) => return Err(e.into()),
            }
        }
    };
    // A role of this name that others may take is not one that was made here.
    let trust = there.trust();
    if !trust.is_empty() && !is_same_json(&trust, &role.trust) {
        return Err(LaunchError::Foreign {
            what: format!("role `{name}`"),
            why: "it may be taken by others than EC2".to_owned(),
        });
    }
    for (policy, document) in &role.policies {
        let there = iam::get_role_policy(client, name, policy)?;
        if !there.is_some_and(|there| is_same_json(&there, document)) {
            iam::put_role_policy(client, name, policy, document)?;
        }
    }
    if !role.managed.is_empty() {
        let there = iam::list_attached_role_policies(client, name)?;
        for policy in role.managed.iter().filter(|policy| !there.contains(policy)) {
            iam::attach_role_policy(client, name, policy)?;
        }
    }
    let profile = match iam::get_instance_profile(client, name)? {
        Some(there) => there,
        None => match iam::create_instance_profile(client, name, &tags) {
            Ok(made) => made,
            Err(e) if e.kind == ErrorKind::AlreadyExists => {
                iam::get_instance_profile(client, name)?.ok_or(e)?
            }
            Err(e) => return Err(e.into()),
        },
    };
    match profile.roles.first() {
        Some(there) if there.role_name == name => Ok(()),
        Some(there) => Err(LaunchError::Foreign {
            what: format!("instance profile `{name}`"),
            why: format!("it carries role `{}`", there.role_name),
        }),
        None => added(client, name),
    }
}

/// A profile has room for one role, so being full can mean that the role is in it already.
fn added(client: &Client, name: &str) -> Result<(), LaunchError> {
    match iam::add_role_to_instance_profile(client, name, name) {
        Ok(()) => Ok(()),
        Err(e) if e.kind == ErrorKind::Quota || e.kind == ErrorKind::AlreadyExists => {
            let there = iam::get_instance_profile(client, name)?;
            match there.is_some_and(|p| p.roles.iter().any(|r| r.role_name == name)) {
                true => Ok(()),
                false => Err(e.into()),
            }
        }
        Err(e) => Err(e.into()),
    }
}

fn is_same_json(a: &str, b: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    read(a).is_some() && read(a) == read(b)
}

/// Whether the role is there with everything that [`ensure`] gives it.
pub(crate) fn is_whole(client: &Client, role: &RolePlan) -> Result<bool, AwsError> {
    let name = role.name.as_str();
    let Some(there) = iam::get_role(client, name)? else {
        return Ok(false);
    };
    if !is_same_json(&there.trust(), &role.trust) {
        return Ok(false);
    }
    for (policy, document) in &role.policies {
        let there = iam::get_role_policy(client, name, policy)?;
        if !there.is_some_and(|there| is_same_json(&there, document)) {
            return Ok(false);
        }
    }
    if !role.managed.is_empty() {
        let there = iam::list_attached_role_policies(client, name)?;
        if !role.managed.iter().all(|policy| there.contains(policy)) {
            return Ok(false);
        }
    }
    let profile = iam::get_instance_profile(client, name)?;
    Ok(profile.is_some_and(|p| p.roles.iter().any(|r| r.role_name == name)))
}

/// Takes the role away, with its profile and the policies it was made with.
pub(crate) fn remove(client: &Client, name: &str) -> Result<(), AwsError> {
    let policies = [
        names::AGENT_POLICY,
        names::TASK_POLICY,
        names::CUSTOM_POLICY,
        names::STANDING_POLICY,
    ];
    for policy in iam::list_attached_role_policies(client, name)? {
        iam::detach_role_policy(client, name, &policy)?;
    }
    iam::delete_role_and_profile(client, name, name, &policies)
}
