//! What a machine is started with: the same words in launch templates and in `RunInstances`.

use serde::Serialize;

use crate::services::Tag;

/// How a machine starts. Everything that is not said is left to the template, the image or AWS.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LaunchData {
    /// `ami-...`
    pub image_id: Option<String>,
    /// `m7g.large`
    pub instance_type: Option<String>,
    /// A key pair for SSH.
    pub key_name: Option<String>,
    /// Base64 of at most 16 KB.
    pub user_data: Option<String>,
    /// `terminate` or `stop`: what the machine's own shutdown does.
    pub instance_initiated_shutdown_behavior: Option<String>,
    /// The role.
    pub iam_instance_profile: Option<InstanceProfile>,
    /// Disks.
    #[serde(rename = "BlockDeviceMapping")]
    pub block_devices: Vec<BlockDevice>,
    /// Networks; with them, no `security_group_ids`.
    #[serde(rename = "NetworkInterface")]
    pub network_interfaces: Vec<NetworkInterface>,
    /// Firewalls.
    #[serde(rename = "SecurityGroupId")]
    pub security_group_ids: Vec<String>,
    /// The metadata service.
    pub metadata_options: Option<MetadataOptions>,
    /// Spot.
    pub instance_market_options: Option<MarketOptions>,
    /// Can hibernate.
    #[serde(rename = "HibernationOptions.Configured")]
    pub hibernation: Option<bool>,
    /// Minute metrics, which cost.
    #[serde(rename = "Monitoring.Enabled")]
    pub monitoring: Option<bool>,
    /// Tags of what comes into being.
    #[serde(rename = "TagSpecification")]
    pub tags: Vec<TagSpecification>,
}

/// A role for a machine, by one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceProfile {
    /// By ARN.
    pub arn: Option<String>,
    /// By name.
    pub name: Option<String>,
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDevice {
    /// `/dev/xvda`
    pub device_name: String,
    /// The volume.
    pub ebs: Option<EbsVolume>,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EbsVolume {
    /// GiB
    pub volume_size: Option<u32>,
    /// `gp3`
    pub volume_type: Option<String>,
    /// Encrypted.
    pub encrypted: Option<bool>,
    /// Goes with the machine.
    pub delete_on_termination: Option<bool>,
    /// Operations a second.
    pub iops: Option<u32>,
    /// MiB a second.
    pub throughput: Option<u32>,
}

/// A network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInterface {
    /// 0 for the first.
    pub device_index: u32,
    /// A public address.
    pub associate_public_ip_address: Option<bool>,
    /// Goes with the machine.
    pub delete_on_termination: Option<bool>,
    /// Firewalls.
    #[serde(rename = "SecurityGroupId")]
    pub security_group_ids: Vec<String>,
    /// Where.
    pub subnet_id: Option<String>,
}

/// The metadata service of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataOptions {
    /// `required`: version 2 only.
    pub http_tokens: &'static str,
    /// `enabled`
    pub http_endpoint: &'static str,
    /// 2 where containers ask.
    pub http_put_response_hop_limit: Option<u32>,
    /// `enabled`: tags are in it.
    pub instance_metadata_tags: Option<&'static str>,
}

impl MetadataOptions {
    /// Version 2 only.
    #[must_use]
    pub fn version_2(hop_limit: u32, tags: bool) -> Self {
        Self {
            http_tokens: "required",
            http_endpoint: "enabled",
            http_put_response_hop_limit: Some(hop_limit),
            instance_metadata_tags: tags.then_some("enabled"),
        }
    }
}

/// Spot or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MarketOptions {
    /// `spot`
    pub market_type: String,
    /// How.
    pub spot_options: Option<SpotOptions>,
}

/// How a spot machine is had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SpotOptions {
    /// USD an hour; the on-demand price if not said.
    pub max_price: Option<String>,
    /// `one-time` or `persistent`
    pub spot_instance_type: Option<String>,
    /// `terminate`, `stop`, `hibernate`
    pub instance_interruption_behavior: Option<String>,
}

/// Tags of one kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagSpecification {
    /// `instance`, `volume`, `launch-template`
    pub resource_type: String,
    /// The tags.
    #[serde(rename = "Tag")]
    pub tags: Vec<Tag>,
}

impl TagSpecification {
    /// Tags of one kind of thing.
    #[must_use]
    pub fn new(resource_type: &str, tags: &[Tag]) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            tags: tags.to_vec(),
        }
    }
}
