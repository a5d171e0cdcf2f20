//! The facts, asked of AWS. Reads only; what cannot be asked is left unknown.

use std::collections::BTreeSet;

use spawn_aws::client::{AwsError, Client, ErrorKind, partition};
use spawn_aws::services::ec2::{self, Filter};
use spawn_aws::services::s3::{self, Bucket, BucketState};
use spawn_aws::services::{iam, quotas, ssm, sts};
use spawn_spec::{Ec2Choices, LaunchSpec};

use crate::facts::{
    Facts, GivenRole, GroupFacts, ImageFacts, QuotaFacts, SubnetFacts, TypeFacts, quota_of,
};
use crate::grants::{CALLER_ACTIONS, ROLE_ACTIONS};
use crate::policy_documents::Place;
use crate::{firewall, kinds, names, role_plan, roles};

/// The parameter that names Amazon Linux's newest image for an architecture.
fn image_parameter(architecture: &str) -> String {
    format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}")
}

/// What is known of the account and the client's region for this launch. Without good credentials
/// the account is empty, and nothing else is asked.
///
/// # Errors
/// See [`AwsError`]; what only improves the checks (quotas, grants) is left out instead.
pub fn gather(client: &Client, spec: &LaunchSpec) -> Result<Facts, AwsError> {
    let mut facts = Facts {
        region: client.region().to_owned(),
        ..Facts::default()
    };
    let Ok(partition) = partition(client.region()) else {
        // Said by `preflight`, which wants to know that somebody is signed in.
        facts.account = "unknown".to_owned();
        return Ok(facts);
    };
    let caller = match sts::get_caller_identity(client) {
        Ok(caller) => caller,
        Err(e) if matches!(e.kind, ErrorKind::Credentials | ErrorKind::Expired) => {
            return Ok(facts);
        }
        Err(e) => return Err(e),
    };
    facts.account = caller.account;
    facts.partition = partition.name.to_owned();
    match &spec.ec2.ami {
        Some(id) => image(client, id, &mut facts)?,
        None => images(client, &mut facts)?,
    }
    network(client, &spec.ec2, &mut facts)?;
    let lanes = spec.all_lanes();
    let names: BTreeSet<&str> = lanes.iter().flat_map(kinds::named).collect();
    let filters = [Filter::new("instance-type", names)];
    types(client, &filters, &mut facts)?;
    for offering in ec2::describe_instance_type_offerings(client, &filters)? {
        let zones = facts.offered.entry(offering.instance_type).or_default();
        zones.insert(offering.location);
    }
    // On demand too where spot capacity is asked: a part of it may be.
    let mut kinds: BTreeSet<(&str, bool)> = BTreeSet::new();
    for lane in &lanes {
        let names = kinds::named(lane).into_iter();
        kinds.extend(names.flat_map(|name| [(name, lane.spot), (name, false)]));
    }
    if let Err(e) = account_quotas(client, &kinds, &mut facts)
        && e.kind != ErrorKind::Denied
    {
        return Err(e);
    }
    set_up(client, spec, &mut facts)?;
    denied(client, &caller.arn, &mut facts);
    Ok(facts)
}

fn images(client: &Client, facts: &mut Facts) -> Result<(), AwsError> {
    let architectures = ["x86_64", "arm64"];
    let names = architectures.map(image_parameter);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parameters = ssm::get_parameters(client, &names)?;
    let ids: Vec<&str> = parameters.iter().map(|p| p.value.as_str()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let images = ec2::describe_images(client, &ids, &[], &[])?;
    for (architecture, name) in architectures.iter().zip(names) {
        let id = parameters.iter().find(|p| p.name == name).map(|p| &p.value);
        let Some(image) = images.iter().find(|i| Some(&i.image_id) == id) else {
            continue;
        };
        let known = image_facts(image);
        facts.images.insert((*architecture).to_owned(), known);
    }
    Ok(())
}

/// The image that was asked for; nothing if it is not there, or not ready, or not on a volume.
fn image(client: &Client, id: &str, facts: &mut Facts) -> Result<(), AwsError> {
    let found = match ec2::describe_images(client, &[id], &[], &[]) {
        Ok(found) => found,
        Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Validation) => vec![],
        Err(e) => return Err(e),
    };
    let usable =
        |image: &&ec2::Image| image.image_state == "available" && image.root_device_type == "ebs";
    if let Some(image) = found.iter().find(usable) {
        let known = image_facts(image);
        facts.images.insert(known.architecture.clone(), known);
    }
    Ok(())
}

fn image_facts(image: &ec2::Image) -> ImageFacts {
    let root = image
        .block_device_mapping
        .iter()
        .find(|d| d.device_name == image.root_device_name);
    let size = root.and_then(|d| d.ebs.as_ref()?.volume_size);
    let own_gib = size.unwrap_or(0);
    ImageFacts {
        id: image.image_id.clone(),
        architecture: image.architecture.clone(),
        root_device: image.root_device_name.clone(),
        disk_gib: own_gib.max(MIN_DISK_GIB),
        own_gib,
    }
}

/// GiB: the image, and room for what a task needs.
const MIN_DISK_GIB: u32 = 20;

fn network(client: &Client, asked: &Ec2Choices, facts: &mut Facts) -> Result<(), AwsError> {
    let which = match (&asked.subnets[..], &asked.vpc) {
        // Of whatever network they are: that they are of another is to be said.
        ([_, ..], _) => Filter::new("subnet-id", asked.subnets.iter().map(String::as_str)),
        ([], Some(vpc)) => Filter::new("vpc-id", [vpc.as_str()]),
        ([], None) => Filter::new("default-for-az", ["true"]),
    };
    let filters = [which, Filter::new("state", ["available"])];
    let subnets = ec2::describe_subnets(client, &filters)?;
    facts.vpc = subnets.first().map(|s| s.vpc_id.clone());
    facts.security_groups.clone_from(&asked.security_groups);
    if !asked.security_groups.is_empty() {
        let ids = asked.security_groups.iter().map(String::as_str);
        for group in ec2::describe_security_groups(client, &[Filter::new("group-id", ids)])? {
            let known = GroupFacts {
                is_open: group.is_open(),
                vpc: group.vpc_id,
            };
            facts.group_facts.insert(group.group_id, known);
        }
    } else if let Some(vpc) = &facts.vpc {
        facts.security_group = firewall::find(client, vpc)?;
    }
    facts.subnets = subnets
        .into_iter()
        .map(|subnet| SubnetFacts {
            id: subnet.subnet_id,
            vpc: subnet.vpc_id,
            zone: subnet.availability_zone,
            free_addresses: subnet.available_ip_address_count,
            is_public: subnet.map_public_ip_on_launch,
        })
        .collect();
    Ok(())
}

fn types(client: &Client, filters: &[Filter], facts: &mut Facts) -> Result<(), AwsError> {
    for found in ec2::describe_instance_types(client, &[], filters)? {
        let kind = TypeFacts {
            vcpus: found.vcpu_info.default_vcpus,
            architectures: found.processor_info.supported_architectures,
            memory_mib: found.memory_info.size_in_mib,
            hibernates: found.hibernation_supported,
            has_spot: found.supported_usage_classes.iter().any(|c| c == "spot"),
        };
        facts.types.insert(found.instance_type, kind);
    }
    Ok(())
}

fn account_quotas(
    client: &Client,
    kinds: &BTreeSet<(&str, bool)>,
    facts: &mut Facts,
) -> Result<(), AwsError> {
    let codes: BTreeSet<&str> = kinds
        .iter()
        .filter_map(|(name, spot)| quota_of(name, *spot))
        .map(|quota| quota.0)
        .collect();
    let filters = [Filter::new("instance-state-name", ["pending", "running"])];
    let running = ec2::describe_instances(client, &filters)?;
    let unknown: BTreeSet<&str> = running
        .iter()
        .map(|i| i.instance_type.as_str())
        .filter(|name| !facts.types.contains_key(*name))
        .collect();
    // A filter has 200 values at most.
    let unknown: Vec<&str> = unknown.into_iter().collect();
    for names in unknown.chunks(200) {
        let filters = [Filter::new("instance-type", names.iter().copied())];
        types(client, &filters, facts)?;
    }
    for code in codes {
        // The quotas have a service of their own, whose outage stops no launch.
        let Ok(quota) = quotas::get_service_quota(client, "ec2", code) else {
            continue;
        };
        let used = running
            .iter()
            .filter(|i| {
                let spot = i.instance_lifecycle.as_deref() == Some("spot");
                quota_of(&i.instance_type, spot).is_some_and(|q| q.0 == code)
            })
            .filter_map(|i| Some(facts.types.get(&i.instance_type)?.vcpus))
            .sum();
        let quota = QuotaFacts {
            limit: quota.value,
            used,
        };
        facts.quotas.insert(code.to_owned(), quota);
    }
    Ok(())
}

fn set_up(client: &Client, spec: &LaunchSpec, facts: &mut Facts) -> Result<(), AwsError> {
    let bucket = Bucket {
        name: names::bucket(&facts.account, &facts.region),
        owner: Some(facts.account.clone()),
    };
    facts.has_bucket = matches!(s3::head_bucket(client, &bucket)?, BucketState::Usable(_));
    let place = Place {
        partition: &facts.partition,
        account: &facts.account,
        region: &facts.region,
    };
    let role = role_plan::of(place, spec);
    if role.is_given {
        facts.given_role = Some(given_role(client, &role.name)?);
        return Ok(());
    }
    for policy in &role.managed {
        match iam::has_policy(client, policy) {
            Ok(true) => {}
            Ok(false) => facts.missing_policies.push(policy.clone()),
            Err(e) if e.kind == ErrorKind::Denied => {}
            Err(e) => return Err(e),
        }
    }
    facts.has_role = match roles::is_whole(client, &role) {
        Ok(is_whole) => is_whole,
        // Who may not look may still be allowed to use it.
        Err(e) if e.kind == ErrorKind::Denied => true,
        Err(e) => return Err(e),
    };
    Ok(())
}

/// What is known of a role that the user named. Who may not look may still be allowed to use it.
fn given_role(client: &Client, name: &str) -> Result<GivenRole, AwsError> {
    let role = match iam::get_role(client, name) {
        Ok(Some(role)) => role,
        Ok(None) => return Ok(GivenRole::default()),
        Err(e) if e.kind == ErrorKind::Denied => {
            return Ok(GivenRole {
                is_there: true,
                trusts_ec2: true,
                profile: Some(name.to_owned()),
                denied: Vec::new(),
            });
        }
        Err(e) => return Err(e),
    };
    let profiles = match iam::list_profiles_of_role(client, name) {
        Err(e) if e.kind == ErrorKind::Denied => vec![name.to_owned()],
        profiles => profiles?,
    };
    // The one of the same name, if there are several.
    let same = profiles.iter().find(|profile| *profile == name);
    let actions = [&role_plan::VITAL[..], &role_plan::USEFUL].concat();
    let simulated = iam::simulate_principal_policy(client, &role.arn, &actions);
    let denied = simulated.unwrap_or_default().into_iter();
    Ok(GivenRole {
        is_there: true,
        trusts_ec2: role.trust().contains("ec2.amazonaws.com"),
        profile: same.or(profiles.first()).cloned(),
        denied: denied
            .filter(|s| s.eval_decision != "allowed")
            .map(|s| s.eval_action_name)
            .collect(),
    })
}

fn denied(client: &Client, caller: &str, facts: &mut Facts) {
    let Some(principal) = principal(caller) else {
        return;
    };
    let mut actions = CALLER_ACTIONS.to_vec();
    actions.extend(ROLE_ACTIONS);
    // Whoever may not ask is not told; the call itself will say it.
    if let Ok(simulated) = iam::simulate_principal_policy(client, &principal, &actions) {
        facts.denied = simulated
            .into_iter()
            .filter(|s| s.eval_decision != "allowed")
            .map(|s| s.eval_action_name)
            .collect();
    }
}

/// The user or role behind a caller; nothing for the account's root, which may do everything.
fn principal(caller: &str) -> Option<String> {
    if let Some((head, rest)) = caller.split_once(":assumed-role/") {
        let role = rest.split('/').next()?;
        return Some(format!("{}:role/{role}", head.replace(":sts:", ":iam:")));
    }
    caller.contains(":user/").then(|| caller.to_owned())
}

#[cfg(test)]
mod tests {
    use super::principal;

    #[test]
    fn callers_are_users_or_roles() {
        for (caller, found) in [
            ("arn:aws:iam::1:user/ana", Some("arn:aws:iam::1:user/ana")),
            (
                "arn:aws:sts::1:assumed-role/Dev/session",
                Some("arn:aws:iam::1:role/Dev"),
            ),
            ("arn:aws:iam::1:root", None),
            ("arn:aws:sts::1:federated-user/bob", None),
        ] {
            assert_eq!(principal(caller).as_deref(), found, "{caller}");
        }
    }
}
