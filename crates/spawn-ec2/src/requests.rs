//! The plan in AWS's words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spawn_aws::services::autoscaling::{
    CreateGroup, Distribution, GroupTag, MixedInstancesPolicy, MixedTemplate, ScheduledAction,
    TypeOverride, UpdateGroup,
};
use spawn_aws::services::ec2::{
    BlockDevice, EbsVolume, InstanceProfile, LaunchData, MetadataOptions, TagSpecification,
    TemplateReference,
};

use spawn_core::moment::UnixMicros;
use spawn_node::config::AtEnd;

use crate::names;
use crate::plan::{HOP_LIMIT, LanePlan, LaunchPlan, time};
use crate::standing;

/// What a lane's machines are started with.
pub(crate) fn template(plan: &LaunchPlan, lane: &LanePlan) -> LaunchData {
    LaunchData {
        image_id: Some(lane.image.clone()),
        instance_type: lane.types.first().cloned(),
        user_data: Some(STANDARD.encode(&lane.user_data)),
        instance_initiated_shutdown_behavior: Some(
            lane.standing
                .as_ref()
                .map_or("terminate", standing::shutdown_behavior)
                .to_owned(),
        ),
        hibernation: lane
            .standing
            .as_ref()
            .and_then(|standing| (standing.at_end == AtEnd::Hibernate).then_some(true)),
        iam_instance_profile: Some(InstanceProfile {
            arn: None,
            name: Some(plan.role.profile.clone()),
        }),
        block_devices: vec![BlockDevice {
            device_name: lane.root_device.clone(),
            ebs: Some(EbsVolume {
                volume_size: Some(lane.disk_gib),
                volume_type: lane.disk_type.clone().or_else(|| Some("gp3".to_owned())),
                iops: lane.disk_iops,
                throughput: lane.disk_throughput,
                encrypted: Some(true),
                delete_on_termination: Some(true),
            }),
        }],
        security_group_ids: lane.security_groups.clone(),
        metadata_options: Some(MetadataOptions::version_2(HOP_LIMIT, false)),
        tags: ["instance", "volume"]
            .map(|kind| TagSpecification::new(kind, &lane.tags))
            .to_vec(),
        ..LaunchData::default()
    }
}

/// A lane's group, with room for no machine.
pub(crate) fn group(lane: &LanePlan) -> CreateGroup {
    CreateGroup {
        auto_scaling_group_name: lane.name.clone(),
        min_size: 0,
        max_size: 0,
        desired_capacity: Some(0),
        launch_template: None,
        mixed_instances_policy: Some(MixedInstancesPolicy {
            launch_template: MixedTemplate {
                launch_template_specification: TemplateReference {
                    launch_template_name: Some(lane.template().to_owned()),
                    version: Some("1".to_owned()),
                    launch_template_id: None,
                },
                overrides: lane
                    .types
                    .iter()
                    .map(|name| TypeOverride {
                        instance_type: name.clone(),
                        ..TypeOverride::default()
                    })
                    .collect(),
            },
            instances_distribution: distribution(lane),
        }),
        subnets: lane.subnets.join(","),
        tags: lane
            .tags
            .iter()
            .map(|tag| GroupTag {
                key: tag.key.clone(),
                value: tag.value.clone(),
                propagate_at_launch: true,
            })
            .collect(),
        ..CreateGroup::default()
    }
}

fn distribution(lane: &LanePlan) -> Distribution {
    if lane.spot {
        Distribution {
            on_demand_base_capacity: lane.on_demand_base,
            on_demand_percentage_above_base_capacity: 0,
            spot_allocation_strategy: Some("price-capacity-optimized".to_owned()),
            // The order of the types; what is on demand of a spot lane keeps it too.
            on_demand_allocation_strategy: Some("prioritized".to_owned()),
            spot_max_price: lane.spot_max_price.map(|usd| usd.to_string()),
        }
    } else {
        Distribution {
            on_demand_base_capacity: 0,
            on_demand_percentage_above_base_capacity: 100,
            on_demand_allocation_strategy: Some("prioritized".to_owned()),
            ..Distribution::default()
        }
    }
}

/// What ends a lane's machines with everything else dead.
pub(crate) fn backstop(lane: &LanePlan) -> ScheduledAction {
    ScheduledAction {
        auto_scaling_group_name: lane.name.clone(),
        scheduled_action_name: names::backstop(&lane.name),
        start_time: time(lane.ends),
        min_size: Some(0),
        max_size: Some(0),
        desired_capacity: Some(0),
    }
}

/// What gives a group room that stands in for another.
pub(crate) fn raise_later(twin: &LanePlan, at: UnixMicros) -> ScheduledAction {
    ScheduledAction {
        auto_scaling_group_name: twin.name.clone(),
        scheduled_action_name: names::raise(&twin.name),
        start_time: time(at),
        min_size: Some(0),
        max_size: Some(twin.machines),
        desired_capacity: Some(twin.machines),
    }
}

/// Room for a lane's machines; agents that finish lower what is wanted, so nothing is the least.
pub(crate) fn raise(lane: &LanePlan) -> UpdateGroup {
    UpdateGroup {
        auto_scaling_group_name: lane.name.clone(),
        min_size: Some(0),
        max_size: Some(lane.machines),
        desired_capacity: Some(lane.machines),
        new_instances_protected_from_scale_in: None,
    }
}
