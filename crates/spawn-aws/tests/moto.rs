//! Every wrapper of EC2, Auto Scaling, IAM, SSM, Service Quotas and Scheduler called once against
//! moto, and its answer read. One server for all, since it takes seconds to start.
//!
//! moto does not keep client tokens and has no capacity, quotas or throttling: what those answers
//! look like is held by the unit tests of the client.

mod world;

use spawn_aws::client::{Client, ErrorKind};
use spawn_aws::credentials::Credentials;
use spawn_aws::services::autoscaling::{
    self as groups, CreateGroup, Distribution, GroupTag, MixedInstancesPolicy, MixedTemplate,
    ScheduledAction, TypeOverride, UpdateGroup,
};
use spawn_aws::services::ec2::{
    self, BlockDevice, EbsVolume, Filter, InstanceProfile, LaunchData, MarketOptions,
    MetadataOptions, NetworkInterface, RunInstances, SpotPriceQuery, TagSpecification,
    TemplateReference,
};
use spawn_aws::services::s3::{self, Bucket, LifecycleRule};
use spawn_aws::services::scheduler::{self, OneTimeSchedule};
use spawn_aws::services::{Tag, iam, quotas, ssm, sts};
use world::{LossyProxy, Moto};

#[test]
fn operations_against_moto() {
    let Some(moto) = Moto::start() else {
        return;
    };
    let aws = moto.client();
    let who = sts::get_caller_identity(&aws).unwrap();
    assert_eq!(who.account.len(), 12);
    let place = catalog(&aws);
    let profile = roles(&aws);
    instances(&aws, &place, &profile);
    a_lost_answer(&moto, &place);
    auto_scaling(&aws, &place);
    parameters_and_quotas(&aws);
    schedules(&aws);
    bucket_settings(&aws);
}

struct Place {
    image: String,
    subnet: String,
}

fn catalog(aws: &Client) -> Place {
    let types = ec2::describe_instance_types(aws, &["m7g.large", "g5.xlarge"], &[]).unwrap();
    let arm = types
        .iter()
        .find(|t| t.instance_type == "m7g.large")
        .unwrap();
    assert_eq!(arm.vcpu_info.default_vcpus, 2);
    assert_eq!(arm.memory_info.size_in_mib, 8192);
    assert_eq!(arm.processor_info.supported_architectures, ["arm64"]);
    assert!(arm.current_generation && !arm.bare_metal);
    assert!(arm.supported_usage_classes.contains(&"spot".to_owned()));
    let gpu = types
        .iter()
        .find(|t| t.instance_type == "g5.xlarge")
        .unwrap();
    let gpus = gpu.gpu_info.as_ref().unwrap();
    assert_eq!(
        (gpus.gpus[0].manufacturer.as_str(), gpus.gpus[0].count),
        ("NVIDIA", 1)
    );
    assert!(gpu.instance_storage_info.as_ref().unwrap().total_size_in_gb > 0);
    let error = ec2::describe_instance_types(aws, &["x9.huge"], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Validation, "{error:?}");
    let all = ec2::describe_instance_types(aws, &[], &[]).unwrap();
    assert!(all.len() > 500, "pages are put together: {}", all.len());

    let filter = Filter::new("instance-type", ["m7g.large"]);
    let offered = ec2::describe_instance_type_offerings(aws, &[filter]).unwrap();
    assert!(
        offered.iter().any(|o| o.location == "eu-west-1a"),
        "{offered:?}"
    );

    let vpcs = ec2::describe_vpcs(aws, &[Filter::new("isDefault", ["true"])]).unwrap();
    assert!(vpcs[0].is_default && vpcs[0].vpc_id.starts_with("vpc-"));
    let in_vpc = Filter::new("vpc-id", [vpcs[0].vpc_id.clone()]);
    let subnets = ec2::describe_subnets(aws, &[in_vpc]).unwrap();
    assert_eq!(subnets.len(), 3);
    assert!(subnets[0].available_ip_address_count > 1000 && subnets[0].default_for_az);

    let filters = [
        Filter::new("architecture", ["x86_64"]),
        Filter::new("name", ["amzn2*"]),
    ];
    let images = ec2::describe_images(aws, &[], &["amazon"], &filters).unwrap();
    let image = &images[0];
    assert!(!image.root_device_name.is_empty() && image.architecture == "x86_64");
    let named = ec2::describe_images(aws, &[&image.image_id], &[], &[]).unwrap();
    assert_eq!(named.len(), 1);
    let error = ec2::describe_images(aws, &["ami-00000000000000000"], &[], &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);

    let regions = ec2::describe_regions(aws, false).unwrap();
    assert!(regions.iter().any(|r| r.region_name == "eu-west-1"));
    let query = SpotPriceQuery {
        instance_types: vec!["m5.large".into()],
        product_descriptions: vec!["Linux/UNIX".into()],
        ..SpotPriceQuery::default()
    };
    let prices = ec2::describe_spot_price_history(aws, &query).unwrap();
    assert!(prices.iter().all(|p| p.spot_price.parse::<f64>().is_ok()));
    assert!(!prices.is_empty());
    let attributes = ec2::describe_account_attributes(aws).unwrap();
    assert!(attributes.iter().all(|a| !a.values.is_empty()) && !attributes.is_empty());

    Place {
        image: image.image_id.clone(),
        subnet: subnets[0].subnet_id.clone(),
    }
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;

fn roles(aws: &Client) -> String {
    let tags = [Tag::new("spawn:made", "yes")];
    assert_eq!(iam::get_role(aws, "worker").unwrap(), None);
    let made = iam::create_role(aws, "worker", TRUST, "spawn workers", &tags).unwrap();
    assert!(made.arn.ends_with(":role/worker"));
    let error = iam::create_role(aws, "worker", TRUST, "", &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    let role = iam::get_role(aws, "worker").unwrap().unwrap();
    let trust: serde_json::Value = serde_json::from_str(&role.trust()).unwrap();
    assert_eq!(trust["Statement"][0]["Action"], "sts:AssumeRole");

    iam::put_role_policy(aws, "worker", "own", POLICY).unwrap();
    let read = iam::get_role_policy(aws, "worker", "own").unwrap().unwrap();
    assert!(read.contains("s3:GetObject"), "{read}");
    assert_eq!(iam::get_role_policy(aws, "worker", "none").unwrap(), None);
    let error = iam::put_role_policy(aws, "worker", "bad", "{").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Validation, "{error:?}");

    assert_eq!(iam::get_instance_profile(aws, "worker").unwrap(), None);
    iam::create_instance_profile(aws, "worker", &tags).unwrap();
    iam::add_role_to_instance_profile(aws, "worker", "worker").unwrap();
    let profile = iam::get_instance_profile(aws, "worker").unwrap().unwrap();
    assert_eq!(profile.roles[0].role_name, "worker");

    iam::create_role(aws, "brief", TRUST, "", &[]).unwrap();
    iam::put_role_policy(aws, "brief", "own", POLICY).unwrap();
    iam::delete_role_and_profile(aws, "brief", "brief", &["own", "none"]).unwrap();
    assert_eq!(iam::get_role(aws, "brief").unwrap(), None);
    let error = iam::attach_role_policy(aws, "worker", "arn:aws:iam::aws:policy/None").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    profile.arn
}

fn data(place: &Place) -> LaunchData {
    LaunchData {
        image_id: Some(place.image.clone()),
        instance_type: Some("m5.large".into()),
        user_data: Some("IyEvYmluL3No".into()),
        instance_initiated_shutdown_behavior: Some("terminate".into()),
        block_devices: vec![BlockDevice {
            device_name: "/dev/xvda".into(),
            ebs: Some(EbsVolume {
                volume_size: Some(20),
                volume_type: Some("gp3".into()),
                encrypted: Some(true),
                delete_on_termination: Some(true),
                ..EbsVolume::default()
            }),
        }],
        metadata_options: Some(MetadataOptions::version_2(1, true)),
        tags: vec![TagSpecification::new(
            "instance",
            &[Tag::new("spawn:array", "array-1")],
        )],
        ..LaunchData::default()
    }
}

fn instances(aws: &Client, place: &Place, profile: &str) {
    let request = RunInstances {
        min_count: 3,
        max_count: 3,
        subnet_id: Some(place.subnet.clone()),
        data: LaunchData {
            iam_instance_profile: Some(InstanceProfile {
                arn: Some(profile.to_owned()),
                name: None,
            }),
            ..data(place)
        },
        ..RunInstances::default()
    };
    let dry = RunInstances {
        dry_run: Some(true),
        ..request.clone()
    };
    assert_eq!(
        ec2::run_instances(aws, &dry).unwrap_err().kind,
        ErrorKind::WouldSucceed
    );
    let started = ec2::run_instances(aws, &request).unwrap();
    assert_eq!(started.len(), 3);
    let one = &started[0];
    assert_eq!(
        (one.instance_type.as_str(), &one.image_id),
        ("m5.large", &place.image)
    );
    assert_eq!(one.subnet_id.as_ref(), Some(&place.subnet));
    assert_eq!(one.tag_set, [Tag::new("spawn:array", "array-1")]);
    let ids: Vec<&str> = started.iter().map(|i| i.instance_id.as_str()).collect();

    let spot = RunInstances {
        min_count: 1,
        max_count: 1,
        data: LaunchData {
            instance_market_options: Some(MarketOptions {
                market_type: "spot".into(),
                spot_options: None,
            }),
            network_interfaces: vec![NetworkInterface {
                subnet_id: Some(place.subnet.clone()),
                associate_public_ip_address: Some(true),
                ..NetworkInterface::default()
            }],
            ..data(place)
        },
        ..RunInstances::default()
    };
    let started = ec2::run_instances(aws, &spot).unwrap();
    let found = ec2::describe_instances_by_id(aws, &[&started[0].instance_id]).unwrap();
    assert_eq!(found[0].instance_lifecycle.as_deref(), Some("spot"));

    ec2::create_tags(aws, &ids, &[Tag::new("Name", "w & co")]).unwrap();
    let filter = Filter::new("tag:Name", ["w & co"]);
    let found = ec2::describe_instances(aws, &[filter]).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].instance_state.name, "running");
    assert_eq!(found[0].placement.availability_zone, "eu-west-1a");
    assert!(found[0].private_ip_address.is_some());
    let unknown = ec2::describe_instances_by_id(aws, &["i-00000000000000000"]).unwrap();
    assert!(unknown.is_empty());

    let changed = ec2::terminate_instances(aws, &ids).unwrap();
    assert_eq!(changed.len(), 3);
    assert_eq!(changed[0].previous_state.name, "running");
    let error = ec2::terminate_instances(aws, &["i-00000000000000000"]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    let wrong = RunInstances {
        data: LaunchData {
            instance_type: Some("x9.huge".into()),
            ..data(place)
        },
        ..spot
    };
    // AWS says `InvalidParameterValue`, moto that it is not there.
    let error = ec2::run_instances(aws, &wrong).unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Validation | ErrorKind::NotFound),
        "{error:?}"
    );
}

/// AWS would start nothing the second time; moto does, so only the requests are compared.
fn a_lost_answer(moto: &Moto, place: &Place) {
    let proxy = LossyProxy::to(&moto.url);
    let aws = world::client(&proxy.url, Credentials::fixed("AKIAMOTO", "secret"));
    proxy.lose(1);
    let request = RunInstances {
        min_count: 1,
        max_count: 1,
        data: data(place),
        ..RunInstances::default()
    };
    assert_eq!(ec2::run_instances(&aws, &request).unwrap().len(), 1);
    let bodies = proxy.bodies();
    assert_eq!(bodies.len(), 2);
    assert!(bodies[0].contains("ClientToken=") && bodies[0] == bodies[1]);
}

fn auto_scaling(aws: &Client, place: &Place) {
    let tags = [Tag::new("spawn:array", "array-1")];
    let made = ec2::create_launch_template(aws, "array-1", &data(place), &tags).unwrap();
    assert!(made.launch_template_id.starts_with("lt-"));
    let error = ec2::create_launch_template(aws, "array-1", &data(place), &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error:?}");
    let filter = Filter::new("launch-template-name", ["array-1"]);
    let found = ec2::describe_launch_templates(aws, &[filter]).unwrap();
    assert_eq!(found[0].tag_set, tags);

    let template = TemplateReference {
        launch_template_name: Some("array-1".into()),
        version: Some("$Latest".into()),
        ..TemplateReference::default()
    };
    let group = CreateGroup {
        auto_scaling_group_name: "array-1".into(),
        subnets: place.subnet.clone(),
        mixed_instances_policy: Some(MixedInstancesPolicy {
            launch_template: MixedTemplate {
                launch_template_specification: template,
                overrides: ["m5.large", "m5a.large"]
                    .map(|t| TypeOverride {
                        instance_type: t.into(),
                        ..TypeOverride::default()
                    })
                    .into(),
            },
            instances_distribution: Distribution {
                spot_allocation_strategy: Some("price-capacity-optimized".into()),
                ..Distribution::default()
            },
        }),
        tags: vec![GroupTag {
            key: "spawn:array".into(),
            value: "array-1".into(),
            propagate_at_launch: true,
        }],
        ..CreateGroup::default()
    };
    groups::create_group(aws, &group).unwrap();
    groups::suspend_processes(aws, "array-1", &["AZRebalance", "ReplaceUnhealthy"]).unwrap();
    groups::resume_processes(aws, "array-1", &["ReplaceUnhealthy"]).unwrap();

    let end = ScheduledAction {
        auto_scaling_group_name: "array-1".into(),
        scheduled_action_name: "ttl".into(),
        start_time: "2036-11-25T12:00:00Z".into(),
        min_size: Some(0),
        max_size: Some(0),
        desired_capacity: Some(0),
    };
    groups::put_scheduled_action(aws, &end).unwrap();
    let actions = groups::describe_scheduled_actions(aws, "array-1").unwrap();
    assert_eq!(actions.len(), 1);
    assert_eq!(
        (actions[0].max_size, actions[0].desired_capacity),
        (Some(0), Some(0))
    );
    assert!(actions[0].start_time.starts_with("2036-11-25T12:00:00"));
    assert!(groups::delete_scheduled_action(aws, "array-1", "ttl").unwrap());

    let raise = UpdateGroup {
        auto_scaling_group_name: "array-1".into(),
        max_size: Some(4),
        desired_capacity: Some(3),
        ..UpdateGroup::default()
    };
    groups::update_group(aws, &raise).unwrap();
    groups::set_desired_capacity(aws, "array-1", 4).unwrap();
    let found = groups::describe_groups(aws, &["array-1", "none"]).unwrap();
    assert_eq!(found.len(), 1);
    let group = &found[0];
    assert_eq!(
        (group.min_size, group.max_size, group.desired_capacity),
        (0, 4, 4)
    );
    assert_eq!(group.instances.len(), 4);
    assert_eq!(group.instances[0].lifecycle_state, "InService");
    assert_eq!(group.suspended_processes[0].process_name, "AZRebalance");
    assert_eq!(group.tags, tags);
    let tagged = groups::describe_groups_with_tag(aws, "spawn:array").unwrap();
    assert_eq!(tagged.len(), 1);

    let worker = group.instances[0].instance_id.clone();
    let machines = ec2::describe_instances_by_id(aws, &[&worker]).unwrap();
    assert!(
        machines[0].tag_set.contains(&tags[0]),
        "tags go on to machines"
    );
    assert!(groups::terminate_instance(aws, &worker, true).unwrap());
    let found = groups::describe_groups(aws, &["array-1"]).unwrap();
    assert_eq!(found[0].desired_capacity, 3);
    let _ = groups::describe_activities(aws, "array-1", 5);

    assert!(groups::delete_group(aws, "array-1", true).unwrap());
    assert!(
        groups::describe_groups(aws, &["array-1"])
            .unwrap()
            .is_empty()
    );
    assert!(ec2::delete_launch_template(aws, "array-1").unwrap());
}

fn parameters_and_quotas(aws: &Client) {
    let path =
        |arch| format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}");
    let found = ssm::get_parameter(aws, &path("arm64")).unwrap();
    assert!(found.value.starts_with("ami-"), "{found:?}");
    let both = ssm::get_parameters(aws, &[&path("arm64"), &path("x86_64"), "/none"]).unwrap();
    assert_eq!(both.len(), 2);
    let error = ssm::get_parameter(aws, "/none").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);

    // moto knows the quotas of VPC only.
    let quota = quotas::get_service_quota(aws, "vpc", "L-F678F1CE").unwrap();
    assert!(quota.value > 0.0, "{quota:?}");
    assert!(quotas::get_service_quota(aws, "vpc", "L-NONE").is_err());
}

fn schedules(aws: &Client) {
    let schedule = OneTimeSchedule {
        name: "array-1.ttl".into(),
        group: None,
        at: "2036-11-25T12:00:00".into(),
        target: "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances".into(),
        role_arn: "arn:aws:iam::123456789012:role/worker".into(),
        input: r#"{"InstanceIds":["i-1"]}"#.into(),
        description: Some("the end".into()),
    };
    let arn = scheduler::create_schedule(aws, &schedule).unwrap();
    assert!(arn.ends_with("/array-1.ttl"), "{arn}");
    let error = scheduler::create_schedule(aws, &schedule).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    let found = scheduler::list_schedules(aws, "array-1").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].state, "ENABLED");
    assert!(scheduler::delete_schedule(aws, "array-1.ttl", None).unwrap());
    assert!(!scheduler::delete_schedule(aws, "array-1.ttl", None).unwrap());
}

fn bucket_settings(aws: &Client) {
    let bucket = Bucket::named("spawn-123");
    assert!(s3::create_bucket(aws, "spawn-123").unwrap());
    assert!(!s3::create_bucket(aws, "spawn-123").unwrap());
    s3::put_public_access_block(aws, &bucket).unwrap();
    s3::put_bucket_encryption(aws, &bucket).unwrap();
    let rules = [LifecycleRule {
        id: "arrays".into(),
        prefix: "arrays/".into(),
        expire_days: Some(30),
        abort_uploads_days: Some(1),
    }];
    s3::put_bucket_lifecycle(aws, &bucket, &rules).unwrap();
}
