//! Where machines can be put, and what they start from.

use serde::Deserialize;
use serde_json::json;

use super::{Filter, describe, page};
use crate::client::{AwsError, Client, items};
use crate::services::Tag;

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subnet {
    /// `subnet-...`
    pub subnet_id: String,
    /// `vpc-...`
    pub vpc_id: String,
    /// `eu-west-1a`
    pub availability_zone: String,
    /// Addresses that are left.
    pub available_ip_address_count: u32,
    /// The zone's default.
    pub default_for_az: bool,
    /// Machines get a public address.
    pub map_public_ip_on_launch: bool,
    /// `available`
    pub state: String,
    /// Tags.
    #[serde(deserialize_with = "items")]
    pub tag_set: Vec<Tag>,
}

/// `DescribeSubnets`, all pages.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_subnets(client: &Client, filters: &[Filter]) -> Result<Vec<Subnet>, AwsError> {
    page!(Subnets, "subnetSet", Subnet);
    let request = json!({ "Filter": filters, "MaxResults": 1000 });
    describe::<Subnets>(client, "DescribeSubnets", &request)
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Vpc {
    /// `vpc-...`
    pub vpc_id: String,
    /// The region's default.
    pub is_default: bool,
    /// `172.31.0.0/16`
    pub cidr_block: String,
    /// `available`
    pub state: String,
}

/// `DescribeVpcs`, all pages.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_vpcs(client: &Client, filters: &[Filter]) -> Result<Vec<Vpc>, AwsError> {
    page!(Vpcs, "vpcSet", Vpc);
    let request = json!({ "Filter": filters, "MaxResults": 1000 });
    describe::<Vpcs>(client, "DescribeVpcs", &request)
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityGroup {
    /// `sg-...`
    pub group_id: String,
    /// `vpc-...`
    pub vpc_id: String,
    /// What it lets in.
    #[serde(deserialize_with = "items")]
    pub ip_permissions: Vec<IpPermission>,
}

/// A rule of a security group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpPermission {
    /// From where.
    #[serde(deserialize_with = "items")]
    pub ip_ranges: Vec<IpRange>,
    /// From where, of IPv6.
    #[serde(deserialize_with = "items")]
    pub ipv6_ranges: Vec<Ipv6Range>,
}

/// Addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpRange {
    /// `0.0.0.0/0`
    pub cidr_ip: String,
}

/// Addresses of IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ipv6Range {
    /// `::/0`
    pub cidr_ipv6: String,
}

impl SecurityGroup {
    /// Whether some rule lets every address in.
    pub fn is_open(&self) -> bool {
        self.ip_permissions.iter().any(|rule| {
            rule.ip_ranges.iter().any(|r| r.cidr_ip == "0.0.0.0/0")
                || rule.ipv6_ranges.iter().any(|r| r.cidr_ipv6 == "::/0")
        })
    }
}

/// `DescribeSecurityGroups`, all pages.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_security_groups(
    client: &Client,
    filters: &[Filter],
) -> Result<Vec<SecurityGroup>, AwsError> {
    page!(Groups, "securityGroupInfo", SecurityGroup);
    let request = json!({ "Filter": filters, "MaxResults": 1000 });
    describe::<Groups>(client, "DescribeSecurityGroups", &request)
}

/// A machine image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Image {
    /// `ami-...`
    pub image_id: String,
    /// Its name.
    pub name: String,
    /// `x86_64`, `arm64`
    pub architecture: String,
    /// RFC 3339.
    pub creation_date: String,
    /// `available`
    pub image_state: String,
    /// The account that owns it.
    pub image_owner_id: String,
    /// `/dev/xvda`
    pub root_device_name: String,
    /// `ebs`
    pub root_device_type: String,
    /// Its disks.
    #[serde(deserialize_with = "items")]
    pub block_device_mapping: Vec<ImageDevice>,
}

/// A disk of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageDevice {
    /// `/dev/xvda`
    pub device_name: String,
    /// If it is a volume.
    pub ebs: Option<ImageVolume>,
}

/// A volume of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageVolume {
    /// GiB
    pub volume_size: Option<u32>,
    /// Encrypted.
    pub encrypted: bool,
}

/// `DescribeImages`: the named ones, or those of `owners` (`amazon`, `self`, an account) that fit.
/// [`crate::client::ErrorKind::NotFound`]: `InvalidAMIID.NotFound`.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_images(
    client: &Client,
    ids: &[&str],
    owners: &[&str],
    filters: &[Filter],
) -> Result<Vec<Image>, AwsError> {
    page!(Images, "imagesSet", Image);
    let request = json!({ "ImageId": ids, "Owner": owners, "Filter": filters });
    describe::<Images>(client, "DescribeImages", &request)
}
