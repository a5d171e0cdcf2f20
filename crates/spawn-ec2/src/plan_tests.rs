use std::collections::BTreeSet;

use serde_json::json;
use spawn_core::index_set::IndexSet;

use super::*;
use crate::facts::{ImageFacts, SubnetFacts, TypeFacts};

fn id() -> ArrayId {
    "array-20260127-abc123".parse().unwrap()
}

/// A specification of 100 tasks with these fields beside.
pub(crate) fn spec(fields: serde_json::Value) -> LaunchSpec {
    let mut value = json!({
        "name": "demo",
        "indices": IndexSet::first(100).unwrap(),
        "program": { "command": { "argv": ["true"] } },
        "ttl_ms": 3_600_000_u64,
        "instance_type": "c7i.large",
    });
    let fields = fields.as_object().unwrap().clone();
    value.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(value).unwrap()
}

pub(crate) fn facts() -> Facts {
    let zones: BTreeSet<String> = ["eu-west-1a", "eu-west-1b"].map(str::to_owned).into();
    let subnet = |zone: &str| SubnetFacts {
        id: format!("subnet-{zone}"),
        vpc: "vpc-1".to_owned(),
        zone: zone.to_owned(),
        free_addresses: 4000,
        is_public: true,
    };
    let image = |architecture: &str| ImageFacts {
        id: format!("ami-{architecture}"),
        architecture: architecture.to_owned(),
        root_device: "/dev/xvda".to_owned(),
        disk_gib: 8,
        own_gib: 8,
    };
    let kind = |architecture: &str| TypeFacts {
        vcpus: 2,
        architectures: vec![architecture.to_owned()],
        has_spot: true,
        memory_mib: 4096,
        hibernates: true,
    };
    Facts {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        partition: "aws".to_owned(),
        images: ["x86_64", "arm64"].map(|a| (a.to_owned(), image(a))).into(),
        subnets: ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
            .map(subnet)
            .to_vec(),
        security_group: Some("sg-1".to_owned()),
        offered: ["c7i.large", "m7g.large", DEFAULT_TYPE]
            .map(|name| (name.to_owned(), zones.clone()))
            .into(),
        types: [
            ("c7i.large", "x86_64"),
            ("m7g.large", "arm64"),
            (DEFAULT_TYPE, "x86_64"),
        ]
        .map(|(name, architecture)| (name.to_owned(), kind(architecture)))
        .into(),
        has_bucket: true,
        has_role: true,
        ..Facts::default()
    }
}

pub(crate) fn with_request<T>(
    spec: &LaunchSpec,
    user_data: &[&str],
    act: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let user_data: Vec<String> = user_data.iter().map(|text| (*text).to_owned()).collect();
    act(&Request {
        id: &id(),
        spec,
        // 2026-01-27T12:00:00Z and a half second.
        launched: UnixMicros(1_769_515_200_500_000),
        token: "mark",
        bundle_sha256: "beef",
        bundle_size: 1234,
        user_data: &user_data,
    })
}

fn planned(spec: &LaunchSpec, facts: &Facts) -> Result<LaunchPlan, PlanError> {
    let user_data = vec!["#!/bin/sh"; spec.all_lanes().len()];
    with_request(spec, &user_data, |request| plan(request, facts))
}

fn lanes() -> serde_json::Value {
    let lane = |from: u64, to: u64, kind: &str, spot: bool| {
        json!({
            "indices": IndexSet::from_indices(from..to).unwrap(),
            "instance_type": kind, "spot": spot, "spot_max_price": spot.then_some(0.05),
            "ttl_ms": 7_200_000_u64
        })
    };
    json!([
        lane(0, 90, "c7i.large", false),
        lane(90, 100, "m7g.large", true)
    ])
}

#[test]
fn a_plan_reads_as_lines() {
    let spec = spec(json!({ "workers": 10, "lanes": lanes() }));
    let plan = planned(&spec, &facts()).unwrap();
    let role = &plan.role.name;
    assert_eq!(
        plan.lines(),
        [
            "put 1234 bytes at s3://spawn-123456789012-eu-west-1/arrays/array-20260127-abc123/bundle-beef".to_owned(),
            "record array-20260127-abc123 with 100 tasks in table spawn-ledger".to_owned(),
            format!("make launch template spawn-array-20260127-abc123-0: ami-x86_64, 8 GiB encrypted, role {role}"),
            "make group spawn-array-20260127-abc123-0 for on-demand c7i.large in subnet-eu-west-1a, subnet-eu-west-1b, no machines yet".to_owned(),
            "end all machines of spawn-array-20260127-abc123-0 at 2026-01-27T14:00:01Z".to_owned(),
            "keep spawn-array-20260127-abc123-0 from moving machines between zones".to_owned(),
            format!("make launch template spawn-array-20260127-abc123-1: ami-arm64, 8 GiB encrypted, role {role}"),
            "make group spawn-array-20260127-abc123-1 for spot m7g.large in subnet-eu-west-1a, subnet-eu-west-1b, no machines yet".to_owned(),
            "end all machines of spawn-array-20260127-abc123-1 at 2026-01-27T14:00:01Z".to_owned(),
            "keep spawn-array-20260127-abc123-1 from moving machines between zones".to_owned(),
            "start 8 machines in spawn-array-20260127-abc123-0".to_owned(),
            "start 2 machines in spawn-array-20260127-abc123-1".to_owned(),
        ]
    );
    assert_eq!(plan.machines(), 10);
    assert_eq!(plan.array.lanes, [90, 10]);
    assert_eq!(plan.array.total, 100);
}

#[test]
fn steps_do_not_grow_with_tasks() {
    for tasks in [1, 100, 1_000_000] {
        let spec = spec(json!({ "indices": IndexSet::first(tasks).unwrap() }));
        let plan = planned(&spec, &facts()).unwrap();
        assert_eq!(plan.steps().len(), 7);
        assert_eq!(plan.machines(), tasks);
        assert!(plan.array.lanes.is_empty());
    }
}

#[test]
fn no_machine_starts_before_everything_that_ends_it_stands() {
    let plan = planned(&spec(json!({ "lanes": lanes() })), &facts()).unwrap();
    let steps = plan.steps();
    let at = |step| steps.iter().position(|s| *s == step).unwrap();
    for lane in 0..2 {
        assert!(at(Step::Template(lane)) < at(Step::Group(lane)));
        assert!(at(Step::Group(lane)) < at(Step::Backstop(lane)));
        for any in 0..2 {
            assert!(at(Step::Backstop(any)) < at(Step::Raise(lane)));
        }
    }
    assert!(at(Step::Record) < at(Step::Raise(0)));
}

#[test]
fn what_is_missing_in_the_account_is_made_first() {
    let facts = Facts {
        has_role: false,
        ..facts()
    };
    let plan = planned(&spec(json!({})), &facts).unwrap();
    assert_eq!(plan.steps()[..2], [Step::Role, Step::Bundle]);
}

#[test]
fn machines_are_no_more_than_can_work_at_once() {
    for (fields, machines) in [
        (json!({}), 100),
        (json!({ "workers": 4 }), 4),
        (json!({ "max_concurrent": 6 }), 6),
        (json!({ "workers": 4, "max_concurrent": 6 }), 4),
        (json!({ "workers": 500 }), 100),
    ] {
        let plan = planned(&spec(fields.clone()), &facts()).unwrap();
        assert_eq!(plan.machines(), machines, "{fields}");
    }
}

#[test]
fn tags_are_ours_and_the_users() {
    let spec = spec(json!({ "tags": { "owner": "ana", "spawn:array": "mine" } }));
    let plan = planned(&spec, &facts()).unwrap();
    let tags = &plan.lanes[0].tags;
    let value = |key: &str| {
        let mut found = tags.iter().filter(|t| t.key == key);
        let value = found.next().unwrap().value.as_str();
        assert!(found.next().is_none(), "{key} is there once");
        value
    };
    assert_eq!(value(names::TAG_ARRAY), "array-20260127-abc123");
    assert_eq!(value(names::TAG_NAME), "demo");
    assert_eq!(value(names::TAG_LANE), "0");
    assert_eq!(value(names::TAG_LAUNCH), "mark");
    assert_eq!(value(names::TAG_ROLE), plan.role.name);
    assert_eq!(value("owner"), "ana");
    // AWS takes 50; `spawn_core::tags` leaves room for five.
    assert!(tags.len() - 1 + spawn_core::tags::MAX_TAGS <= 50);
}

#[test]
fn a_lane_without_a_type_starts_the_default() {
    let spec = spec(json!({ "instance_type": null }));
    let plan = planned(&spec, &facts()).unwrap();
    assert_eq!(plan.lanes[0].types, [DEFAULT_TYPE]);
}

#[test]
fn machines_that_outlive_their_tasks_are_in_no_group() {
    use spawn_node::config::AtEnd;
    for (way, at_end, shutdown) in [
        ("stop", AtEnd::Stop, "stop"),
        ("hibernate", AtEnd::Hibernate, "stop"),
        ("none", AtEnd::Run, "terminate"),
    ] {
        let plan = planned(&spec(json!({ "on_complete": way })), &facts()).unwrap();
        assert_eq!(
            plan.steps(),
            [
                Step::SchedulerRole,
                Step::Bundle,
                Step::Record,
                Step::Template(0),
                Step::Run(0),
                Step::Guard(0)
            ]
        );
        let lane = &plan.lanes[0];
        let standing = lane.standing.as_ref().unwrap();
        assert_eq!((standing.at_end, standing.ends), (at_end, lane.ends.0));
        assert!(standing.schedule.starts_with(&standing.own_schedule));
        let template = crate::requests::template(&plan, lane);
        let behavior = template.instance_initiated_shutdown_behavior;
        assert_eq!(behavior.as_deref(), Some(shutdown));
        assert_eq!(template.hibernation.is_some(), way == "hibernate");
        // They may write their own schedule, which others may not.
        let policies: Vec<&str> = plan.role.policies.iter().map(|p| p.0.as_str()).collect();
        assert_eq!(policies, [names::AGENT_POLICY, names::STANDING_POLICY]);
    }
    let plan = planned(&spec(json!({})), &facts()).unwrap();
    assert!(plan.lanes[0].standing.is_none());
    assert_eq!(plan.role.policies.len(), 1);
}

#[test]
fn a_lane_has_all_its_types_and_every_zone_that_offers_one() {
    let mut some = facts();
    some.offered
        .insert(DEFAULT_TYPE.to_owned(), ["eu-west-1c".to_owned()].into());
    let spec = spec(json!({
        "other_types": ["p5.48xlarge", DEFAULT_TYPE], "spot": true, "workers": 5,
        "ec2": { "on_demand_base": 2 }
    }));
    let lane = &planned(&spec, &some).unwrap().lanes[0];
    assert_eq!(lane.types, ["c7i.large", DEFAULT_TYPE]);
    assert_eq!(lane.subnets.len(), 3);
    assert_eq!(lane.architecture, "x86_64");
    let made = crate::requests::group(lane).mixed_instances_policy.unwrap();
    let distribution = made.instances_distribution;
    assert_eq!(distribution.on_demand_base_capacity, 2);
    assert_eq!(distribution.on_demand_percentage_above_base_capacity, 0);
    let strategy = distribution.spot_allocation_strategy;
    assert_eq!(strategy.as_deref(), Some("price-capacity-optimized"));
    let strategy = distribution.on_demand_allocation_strategy;
    assert_eq!(strategy.as_deref(), Some("prioritized"));
    let types = made.launch_template.overrides;
    let types: Vec<&str> = types.iter().map(|t| t.instance_type.as_str()).collect();
    assert_eq!(types, ["c7i.large", DEFAULT_TYPE]);
}

#[test]
fn on_demand_machines_stand_in_for_spot_ones_that_do_not_come() {
    let fields =
        json!({ "spot": true, "spot_max_price": 0.05, "ec2": { "spot_fallback_ms": 1_200_000 } });
    let plan = planned(&spec(fields), &facts()).unwrap();
    let lane = &plan.lanes[0];
    let twin = lane.twin().unwrap();
    assert_eq!(twin.name, "spawn-array-20260127-abc123-0-od");
    assert_eq!(
        (twin.template(), twin.spot, twin.spot_max_price),
        (lane.template(), false, None)
    );
    assert_eq!(
        plan.steps(),
        [
            Step::Bundle,
            Step::Record,
            Step::Template(0),
            Step::Group(0),
            Step::Backstop(0),
            Step::Steady(0),
            Step::FallbackGroup(0),
            Step::FallbackBackstop(0),
            Step::FallbackSteady(0),
            Step::FallbackRaise(0),
            Step::Raise(0),
        ],
        "what ends them, and what is to come, stands before anything starts"
    );
    let group = crate::requests::group(&twin);
    let policy = group.mixed_instances_policy.unwrap();
    let distribution = policy.instances_distribution;
    assert_eq!(distribution.on_demand_percentage_above_base_capacity, 100);
    let reference = policy.launch_template.launch_template_specification;
    assert_eq!(
        reference.launch_template_name.as_deref(),
        Some(lane.template())
    );
    let raise = crate::requests::raise_later(&twin, lane.fallback.as_ref().unwrap().at);
    assert_eq!(raise.start_time, "2026-01-27T12:20:01Z");
    assert_eq!(
        (raise.min_size, raise.desired_capacity),
        (Some(0), Some(100))
    );

    let none = planned(
        &spec(json!({ "ec2": { "spot_fallback_ms": 1_200_000 } })),
        &facts(),
    );
    assert!(
        none.unwrap().lanes[0].twin().is_none(),
        "only spot machines may not come"
    );
}

#[test]
fn network_and_disk_are_as_asked() {
    let mut some = facts();
    some.security_groups = vec!["sg-a".to_owned(), "sg-b".to_owned()];
    let spec = spec(json!({ "ec2": {
        "zones": ["eu-west-1b"], "security_groups": ["sg-a", "sg-b"],
        "volume_gib": 50, "volume_type": "io2", "volume_iops": 4000, "volume_throughput": 300
    } }));
    let plan = planned(&spec, &some).unwrap();
    assert_eq!(plan.lanes[0].subnets, ["subnet-eu-west-1b"]);
    let made = crate::requests::template(&plan, &plan.lanes[0]);
    assert_eq!(made.security_group_ids, ["sg-a", "sg-b"]);
    let disk = made.block_devices[0].ebs.clone().unwrap();
    assert_eq!(disk.volume_size, Some(50));
    assert_eq!(disk.volume_type.as_deref(), Some("io2"));
    assert_eq!((disk.iops, disk.throughput), (Some(4000), Some(300)));
    assert_eq!(disk.encrypted, Some(true));
}

#[test]
fn what_cannot_be_planned_says_why() {
    let refused = |fields, facts: &Facts| planned(&spec(fields), facts).unwrap_err();
    assert_eq!(
        refused(json!({ "instance_type": "p5.48xlarge" }), &facts()),
        PlanError::UnknownType("p5.48xlarge".into())
    );
    let mut none = facts();
    none.images.clear();
    assert_eq!(
        refused(json!({}), &none),
        PlanError::NoImage("c7i.large".into())
    );
    let mut none = facts();
    none.subnets.retain(|s| s.zone == "eu-west-1c");
    assert_eq!(
        refused(json!({}), &none),
        PlanError::NoSubnet("c7i.large".into())
    );
    let mut none = facts();
    none.security_group = None;
    assert_eq!(refused(json!({}), &none), PlanError::NoSecurityGroup);
    let long = "x".repeat(MAX_USER_DATA + 1);
    for (text, size) in [("", 0), (long.as_str(), MAX_USER_DATA + 1)] {
        let error = with_request(&spec(json!({})), &[text], |r| plan(r, &facts()));
        assert_eq!(error, Err(PlanError::UserData { lane: 0, size }));
    }
}

#[test]
fn times_are_whole_seconds_and_never_early() {
    for (micros, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:01Z"),
        (1_000_000, "1970-01-01T00:00:01Z"),
        (1_769_515_200_500_000, "2026-01-27T12:00:01Z"),
    ] {
        assert_eq!(time(UnixMicros(micros)), text);
    }
    assert!(time(UnixMicros(i64::MAX)).starts_with("9999"));
}

#[test]
fn a_plan_reads_back_from_a_journal() {
    let plan = planned(&spec(json!({ "lanes": lanes() })), &facts()).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<LaunchPlan>(&text).unwrap(), plan);
}
