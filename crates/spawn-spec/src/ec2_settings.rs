//! What one source says about EC2: network, image, disk, spot capacity and grants.

use std::path::PathBuf;

use spawn_core::duration::Span;

use crate::ec2_values as ec2;
use crate::error::{SpecError, SpecErrorKind};
use crate::origin::{Origin, Sourced};
use crate::setting_values as read;
use crate::settings::Settings;

/// What one source says about EC2. `None`: it does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ec2Settings {
    pub on_demand_base: Option<Sourced<u32>>,
    pub spot_fallback: Option<Sourced<Span>>,
    pub vpc: Option<Sourced<String>>,
    pub subnet: Option<Sourced<Vec<String>>>,
    pub security_groups: Option<Sourced<Vec<String>>>,
    pub az: Option<Sourced<Vec<String>>>,
    pub ami: Option<Sourced<String>>,
    /// GiB.
    pub volume_size: Option<Sourced<u32>>,
    pub volume_type: Option<Sourced<String>>,
    /// Operations per second.
    pub volume_iops: Option<Sourced<u32>>,
    /// MiB per second.
    pub volume_throughput: Option<Sourced<u32>>,
    /// Absolute, or from the directory of the launch.
    pub iam_policy_file: Option<Sourced<PathBuf>>,
    pub iam_managed_policies: Option<Sourced<Vec<String>>>,
    pub iam_role: Option<Sourced<String>>,
}

/// Reads one of these settings from its text, or from its texts where it is a list.
pub(crate) fn set(
    settings: &mut Ec2Settings,
    key: &str,
    texts: &[String],
    origin: Origin,
) -> Result<(), SpecError> {
    fn one<T>(
        texts: &[String],
        origin: Origin,
        read: impl Fn(&str, &Origin) -> Result<T, SpecError>,
    ) -> Result<Option<Sourced<T>>, SpecError> {
        let text = texts.first().map_or("", String::as_str);
        Ok(Some(Sourced::new(read(text, &origin)?, origin)))
    }
    fn many(
        texts: &[String],
        origin: Origin,
        read: impl Fn(&str, &Origin) -> Result<String, SpecError>,
    ) -> Result<Option<Sourced<Vec<String>>>, SpecError> {
        Ok(Some(Sourced::new(ec2::list(texts, &origin, read)?, origin)))
    }
    match key {
        "on_demand_base" => settings.on_demand_base = one(texts, origin, read::number)?,
        "spot_fallback" => settings.spot_fallback = one(texts, origin, read::span)?,
        "vpc" => settings.vpc = one(texts, origin, ec2::VPC)?,
        "subnet" => settings.subnet = many(texts, origin, ec2::SUBNET)?,
        "security_groups" => settings.security_groups = many(texts, origin, ec2::SECURITY_GROUP)?,
        "az" => settings.az = many(texts, origin, ec2::zone)?,
        "ami" => settings.ami = one(texts, origin, ec2::AMI)?,
        "volume_size" => settings.volume_size = one(texts, origin, ec2::volume_size)?,
        "volume_type" => settings.volume_type = one(texts, origin, ec2::volume_type)?,
        "volume_iops" => settings.volume_iops = one(texts, origin, ec2::volume_iops)?,
        "volume_throughput" => {
            settings.volume_throughput = one(texts, origin, ec2::volume_throughput)?;
        }
        "iam_managed_policies" => {
            let policies = ec2::managed_policies(texts, &origin)?;
            settings.iam_managed_policies = Some(Sourced::new(policies, origin));
        }
        "iam_role" => settings.iam_role = one(texts, origin, ec2::role)?,
        _ => unreachable!("`{key}` is in the list of settings and is not read"),
    }
    Ok(())
}

impl Ec2Settings {
    /// Lays these over others: what is said here replaces what is said below.
    pub fn over(self, below: Ec2Settings) -> Ec2Settings {
        Ec2Settings {
            on_demand_base: self.on_demand_base.or(below.on_demand_base),
            spot_fallback: self.spot_fallback.or(below.spot_fallback),
            vpc: self.vpc.or(below.vpc),
            subnet: self.subnet.or(below.subnet),
            security_groups: self.security_groups.or(below.security_groups),
            az: self.az.or(below.az),
            ami: self.ami.or(below.ami),
            volume_size: self.volume_size.or(below.volume_size),
            volume_type: self.volume_type.or(below.volume_type),
            volume_iops: self.volume_iops.or(below.volume_iops),
            volume_throughput: self.volume_throughput.or(below.volume_throughput),
            iam_policy_file: self.iam_policy_file.or(below.iam_policy_file),
            iam_managed_policies: self.iam_managed_policies.or(below.iam_managed_policies),
            iam_role: self.iam_role.or(below.iam_role),
        }
    }

    /// Where the values come from, in the order of the documentation.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        fn of<T>(given: &Option<Sourced<T>>) -> Option<&Origin> {
            given.as_ref().map(|given| &given.origin)
        }
        let all = [
            of(&self.on_demand_base),
            of(&self.spot_fallback),
            of(&self.vpc),
            of(&self.subnet),
            of(&self.security_groups),
            of(&self.az),
            of(&self.ami),
            of(&self.volume_size),
            of(&self.volume_type),
            of(&self.volume_iops),
            of(&self.volume_throughput),
            of(&self.iam_policy_file),
            of(&self.iam_managed_policies),
            of(&self.iam_role),
        ];
        all.into_iter().flatten()
    }
}

/// What else than a role one source says about what the tasks may do.
fn grants(settings: &Settings) -> Option<&Origin> {
    let ec2 = &settings.ec2;
    let policy = settings.iam_policy.as_ref().map(|given| &given.origin);
    let file = ec2.iam_policy_file.as_ref().map(|given| &given.origin);
    let managed = ec2.iam_managed_policies.as_ref().map(|given| &given.origin);
    policy.or(file).or(managed)
}

/// A role that is there has its own grants, so one source may not give both.
pub(crate) fn check_grants(settings: &Settings) -> Result<(), SpecError> {
    match (&settings.ec2.iam_role, grants(settings)) {
        (Some(role), Some(grants)) => Err(SpecErrorKind::RoleAndGrants {
            role: role.origin.clone(),
            grants: grants.clone(),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Between sources the stronger one decides whether there is a role or there are grants.
pub(crate) fn without_overruled_grants(above: &Settings, mut below: Settings) -> Settings {
    if above.ec2.iam_role.is_some() {
        below.iam_policy = None;
        below.ec2.iam_policy_file = None;
        below.ec2.iam_managed_policies = None;
    }
    if grants(above).is_some() {
        below.ec2.iam_role = None;
    }
    below
}
