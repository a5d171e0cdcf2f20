//! What there is of an array in AWS, found by its tag and its names, and removed.
//!
//! Looking changes nothing and is a dry run. Removing can be cut off and done again.

use std::collections::BTreeSet;
use std::fmt;

use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::services::autoscaling;
use spawn_aws::services::ec2::{self, Filter};
use spawn_aws::services::scheduler;
use spawn_core::array_id::ArrayId;

use crate::names;
use crate::roles;

/// Something of an array.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remnant {
    /// A group, with its machines.
    Group {
        /// Its name.
        name: String,
        /// Machines in it.
        machines: usize,
        /// It is being deleted already.
        is_going: bool,
    },
    /// A machine that is in no group of the array.
    Instance(String),
    /// A launch template.
    Template(String),
    /// A schedule that ends a machine.
    Schedule(String),
    /// A role that no other array uses, with its instance profile.
    Role(String),
}

impl fmt::Display for Remnant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { name, machines, .. } => write!(f, "group {name} ({machines} machines)"),
            Self::Instance(id) => write!(f, "machine {id}"),
            Self::Template(name) => write!(f, "launch template {name}"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::Role(name) => write!(f, "role {name}"),
        }
    }
}

/// Everything there is of an array, in the order in which it is removed: what costs first, what
/// ends machines by itself after them. `roles` are those that the launch named (a plan knows them)
/// beside those that templates name; of these the ones that no template or machine uses any more.
///
/// # Errors
/// See [`AwsError`].
pub fn find(client: &Client, array: &ArrayId, roles: &[&str]) -> Result<Vec<Remnant>, AwsError> {
    let is_ours = |tags: &[spawn_aws::services::Tag]| {
        tags.iter()
            .any(|tag| tag.key == names::TAG_ARRAY && tag.value == array.as_str())
    };
    let mut found = Vec::new();
    let mut grouped = BTreeSet::new();
    for group in autoscaling::describe_groups_with_tag(client, names::TAG_ARRAY)? {
        if is_ours(&group.tags) {
            grouped.extend(group.instances.iter().map(|i| i.instance_id.clone()));
            found.push(Remnant::Group {
                name: group.auto_scaling_group_name,
                machines: group.instances.len(),
                is_going: group.status.is_some(),
            });
        }
    }
    let filters = [Filter::new(
        &format!("tag:{}", names::TAG_ARRAY),
        [array.as_str()],
    )];
    for instance in ec2::describe_instances(client, &filters)? {
        // The tag is looked at again: what is ended here cannot be had back.
        let over = ["terminated", "shutting-down"];
        if is_ours(&instance.tag_set)
            && !over.contains(&instance.instance_state.name.as_str())
            && !grouped.contains(&instance.instance_id)
        {
            found.push(Remnant::Instance(instance.instance_id));
        }
    }
    let mut roles: BTreeSet<String> = roles.iter().map(|name| (*name).to_owned()).collect();
    for template in ec2::describe_launch_templates(client, &filters)? {
        if !is_ours(&template.tag_set) {
            continue;
        }
        let role = template.tag_set.iter().find(|t| t.key == names::TAG_ROLE);
        roles.extend(role.map(|tag| tag.value.clone()));
        found.push(Remnant::Template(template.launch_template_name));
    }
    for schedule in scheduler::list_schedules(client, &names::schedule_prefix(array))? {
        found.push(Remnant::Schedule(schedule.name));
    }
    for role in roles {
        if !is_used_by_others(client, array, &role)? && is_there(client, &role)? {
            found.push(Remnant::Role(role));
        }
    }
    Ok(found)
}

fn is_there(client: &Client, role: &str) -> Result<bool, AwsError> {
    use spawn_aws::services::iam;
    // A profile without its role is a remnant too.
    Ok(
        iam::get_role(client, role)?.is_some()
            || iam::get_instance_profile(client, role)?.is_some(),
    )
}

fn is_used_by_others(client: &Client, array: &ArrayId, role: &str) -> Result<bool, AwsError> {
    let filters = [Filter::new(&format!("tag:{}", names::TAG_ROLE), [role])];
    let value = |tags: &[spawn_aws::services::Tag]| {
        let tag = tags.iter().find(|tag| tag.key == names::TAG_ARRAY);
        tag.is_none_or(|tag| tag.value != array.as_str())
    };
    let templates = ec2::describe_launch_templates(client, &filters)?;
    if templates.iter().any(|t| value(&t.tag_set)) {
        return Ok(true);
    }
    let instances = ec2::describe_instances(client, &filters)?;
    Ok(instances
        .iter()
        .any(|i| i.instance_state.name != "terminated" && value(&i.tag_set)))
}

/// Removes what was found, in its order; gives what was removed. A template of the same name that
/// is gone, or a group that is going, is no error.
///
/// # Errors
/// The first failure; what stands before it is removed, and doing it again goes on.
pub fn remove(client: &Client, found: &[Remnant]) -> Result<Vec<Remnant>, AwsError> {
    let mut removed = Vec::new();
    for remnant in found {
        let was_there = match remnant {
            Remnant::Group { is_going: true, .. } => false,
            Remnant::Group { name, .. } => match autoscaling::delete_group(client, name, true) {
                // Someone else is at it, or the service is: it goes either way.
                Err(e) if e.kind == ErrorKind::Conflict && e.message.contains("delet") => false,
                other => other?,
            },
            Remnant::Instance(id) => match ec2::terminate_instances(client, &[id]) {
                Ok(_) => true,
                Err(e) if e.kind == ErrorKind::NotFound => false,
                Err(e) => return Err(e),
            },
            Remnant::Template(name) => ec2::delete_launch_template(client, name)?,
            Remnant::Schedule(name) => scheduler::delete_schedule(client, name, None)?,
            Remnant::Role(name) => {
                roles::remove(client, name)?;
                true
            }
        };
        if was_there {
            removed.push(remnant.clone());
        }
    }
    Ok(removed)
}
