//! What is known of the account and the region when a launch is planned.

use std::collections::{BTreeMap, BTreeSet};

/// What a plan and its checks are made from; gathered by reading calls only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The account's twelve digits; empty without credentials that are good.
    pub account: String,
    /// The region.
    pub region: String,
    /// `aws`, `aws-cn`, `aws-us-gov`
    pub partition: String,
    /// The image for each architecture: `x86_64`, `arm64`.
    pub images: BTreeMap<String, ImageFacts>,
    /// The subnets that machines may be put into.
    pub subnets: Vec<SubnetFacts>,
    /// The network that the subnets are in.
    pub vpc: Option<String>,
    /// A firewall that lets nothing in.
    pub security_group: Option<String>,
    /// The security groups that were asked for, used instead of that.
    pub security_groups: Vec<String>,
    /// What those of them are that are there.
    pub group_facts: BTreeMap<String, GroupFacts>,
    /// The zones in which each type is offered.
    pub offered: BTreeMap<String, BTreeSet<String>>,
    /// What each type is.
    pub types: BTreeMap<String, TypeFacts>,
    /// vCPUs by the code of the quota; those that are not here are not known.
    pub quotas: BTreeMap<String, QuotaFacts>,
    /// Actions that the caller is known to lack.
    pub denied: Vec<String>,
    /// The bucket is there and set up.
    pub has_bucket: bool,
    /// The role of this set of grants is there with all of them.
    pub has_role: bool,
    /// Managed policies that the launch names and that are known not to be there, as ARNs.
    pub missing_policies: Vec<String>,
    /// The user's own role, if the launch names one.
    pub given_role: Option<GivenRole>,
}

/// A role that the user named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenRole {
    /// There is one of the name; also if that could not be seen.
    pub is_there: bool,
    /// EC2 may take it for its machines.
    pub trusts_ec2: bool,
    /// An instance profile that carries it.
    pub profile: Option<String>,
    /// Actions of the agent that it is known to lack.
    pub denied: Vec<String>,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `ami-...`
    pub id: String,
    /// `x86_64`, `arm64`
    pub architecture: String,
    /// `/dev/xvda`
    pub root_device: String,
    /// GiB that a machine's disk has if nothing else is asked.
    pub disk_gib: u32,
    /// GiB of the image itself: no disk is smaller.
    pub own_gib: u32,
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// `vpc-...`
    pub vpc: String,
    /// It lets every address in by some rule.
    pub is_open: bool,
}

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetFacts {
    /// `subnet-...`
    pub id: String,
    /// `vpc-...`
    pub vpc: String,
    /// `eu-west-1a`
    pub zone: String,
    /// Addresses that are left.
    pub free_addresses: u32,
    /// Machines get a public address; without one they need another way out.
    pub is_public: bool,
}

/// A type of machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeFacts {
    /// vCPUs.
    pub vcpus: u32,
    /// `x86_64`, `arm64`, `i386`
    pub architectures: Vec<String>,
    /// Can be had as spot capacity.
    pub has_spot: bool,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Can put its memory onto its disk and sleep.
    pub hibernates: bool,
}

/// A quota of vCPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QuotaFacts {
    /// vCPUs at most.
    pub limit: f64,
    /// vCPUs of machines that run.
    pub used: u32,
}

/// The code of the quota that a type counts against, and its name in AWS's console.
///
/// Source: the EC2 user guide, "Amazon EC2 instance type quotas". Families that have a quota of
/// their own and are not here are not known.
pub fn quota_of(instance_type: &str, spot: bool) -> Option<(&'static str, &'static str)> {
    let family: String = instance_type
        .chars()
        .take_while(char::is_ascii_lowercase)
        .collect();
    let (on_demand, spot_code, names) = match family.as_str() {
        "a" | "c" | "d" | "h" | "i" | "im" | "is" | "m" | "r" | "t" | "z" => (
            "L-1216C47A",
            "L-34B43A08",
            [
                "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
                "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
            ],
        ),
        "g" | "gr" | "vt" => (
            "L-DB2E81BA",
            "L-3819A6DF",
            [
                "Running On-Demand G and VT instances",
                "All G and VT Spot Instance Requests",
            ],
        ),
        "f" => (
            "L-74FC7D96",
            "L-88CF9481",
            [
                "Running On-Demand F instances",
                "All F Spot Instance Requests",
            ],
        ),
        "inf" => (
            "L-1945791B",
            "L-B5D1601B",
            [
                "Running On-Demand Inf instances",
                "All Inf Spot Instance Requests",
            ],
        ),
        "x" => (
            "L-7295265B",
            "L-E3A00192",
            [
                "Running On-Demand X instances",
                "All X Spot Instance Requests",
            ],
        ),
        "trn" => (
            "L-2C3B7624",
            "L-6B0D517C",
            [
                "Running On-Demand Trn instances",
                "All Trn Spot Instance Requests",
            ],
        ),
        _ => return None,
    };
    Some(match spot {
        true => (spot_code, names[1]),
        false => (on_demand, names[0]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_count_against_the_quota_of_their_family() {
        for (name, spot, code) in [
            ("c7i.large", false, Some("L-1216C47A")),
            ("t3.medium", true, Some("L-34B43A08")),
            ("im4gn.large", false, Some("L-1216C47A")),
            ("g5.xlarge", false, Some("L-DB2E81BA")),
            ("inf2.xlarge", true, Some("L-B5D1601B")),
            ("x2gd.large", false, Some("L-7295265B")),
            ("mac2.metal", false, None),
            ("u-6tb1.metal", false, None),
        ] {
            assert_eq!(quota_of(name, spot).map(|q| q.0), code, "{name}");
        }
    }
}
