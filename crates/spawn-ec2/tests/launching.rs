//! Launches against a small cloud that loses requests and answers, one at a time, everywhere.

mod cloud;

use std::path::PathBuf;

use cloud::{Cloud, Fault};
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_ec2::cleanup::{self, Remnant};
use spawn_ec2::facts::{Facts, ImageFacts, SubnetFacts, TypeFacts};
use spawn_ec2::journal::{Journal, JournalError};
use spawn_ec2::launch::{LaunchError, launch};
use spawn_ec2::names;
use spawn_ec2::plan::{LaunchPlan, Request, Step, plan};
use spawn_spec::LaunchSpec;
use spawn_testkit::MemoryLedger;

const BUNDLE: &[u8] = b"bundle";
const HOUR_MS: u64 = 3_600_000;

fn id() -> ArrayId {
    "array-20260127-abc123".parse().unwrap()
}

fn spec(lanes: usize) -> LaunchSpec {
    let lane = |n: usize| {
        let (from, to) = (n * 10, n * 10 + 9);
        let kind = ["c7i.large", "m7g.large", "c7i.large"][n % 3];
        serde_json::json!({
            "indices": indices(from, to), "instance_type": kind, "spot": n % 2 == 1,
            "ttl_ms": HOUR_MS
        })
    };
    let value = serde_json::json!({
        "name": "demo",
        "indices": indices(0, lanes * 10 - 1),
        "program": { "command": { "argv": ["true"] } },
        "ttl_ms": HOUR_MS,
        "instance_type": "c7i.large",
        "iam_policies": ["s3:FullAccess"],
        "ec2": {
            "policy_document": "{\"Version\":\"2012-10-17\",\"Statement\":[]}",
            "managed_policies": ["AmazonSSMManagedInstanceCore"],
        },
        "tags": { "owner": "ana" },
        "lanes": if lanes == 1 { vec![] } else { (0..lanes).map(lane).collect() },
    });
    serde_json::from_value(value).unwrap()
}

fn indices(from: usize, to: usize) -> serde_json::Value {
    let set = spawn_core::index_set::IndexSet::from_indices(from as u64..=to as u64).unwrap();
    serde_json::to_value(set).unwrap()
}

fn facts(is_set_up: bool) -> Facts {
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
    let zones = ["eu-west-1a", "eu-west-1b"].map(str::to_owned);
    Facts {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        partition: "aws".to_owned(),
        images: ["x86_64", "arm64"].map(|a| (a.to_owned(), image(a))).into(),
        subnets: zones
            .iter()
            .map(|zone| SubnetFacts {
                id: format!("subnet-{zone}"),
                vpc: "vpc-1".to_owned(),
                zone: zone.clone(),
                free_addresses: 100,
                is_public: true,
            })
            .collect(),
        security_group: Some("sg-1".to_owned()),
        offered: ["c7i.large", "m7g.large"]
            .map(|name| (name.to_owned(), zones.clone().into()))
            .into(),
        types: [("c7i.large", "x86_64"), ("m7g.large", "arm64")]
            .map(|(name, architecture)| (name.to_owned(), kind(architecture)))
            .into(),
        has_bucket: is_set_up,
        has_role: is_set_up,
        ..Facts::default()
    }
}

fn launched() -> UnixMicros {
    let since = cloud::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMicros(since.as_micros() as i64)
}

fn a_plan(lanes: usize, is_set_up: bool, token: &str) -> LaunchPlan {
    let user_data = vec!["#!/bin/sh\n".to_owned(); lanes];
    let digest = sha256(BUNDLE);
    let request = Request {
        id: &id(),
        spec: &spec(lanes),
        launched: launched(),
        token,
        bundle_sha256: &digest,
        bundle_size: BUNDLE.len() as u64,
        user_data: &user_data,
    };
    plan(&request, &facts(is_set_up)).unwrap()
}

struct World {
    cloud: Cloud,
    ledger: MemoryLedger,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World {
            cloud: Cloud::default(),
            ledger: MemoryLedger::new(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// With the role there, as after an earlier launch.
    fn set_up() -> World {
        let world = World::new();
        let role = a_plan(1, true, "t").role.name;
        let mut state = world.cloud.state();
        state.profiles.insert(role.clone(), Some(role));
        drop(state);
        world
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("journal")
    }

    fn begin(&mut self, plan: &LaunchPlan, attempts: u32) -> Result<(), LaunchError> {
        let mut journal = Journal::begin(&self.path(), plan)?;
        let client = self.cloud.client(attempts);
        launch(&client, &mut self.ledger, &mut journal, BUNDLE)
    }

    fn resume(&mut self) -> Result<(), LaunchError> {
        let mut journal = Journal::open(&self.path())?;
        launch(
            &self.cloud.client(1),
            &mut self.ledger,
            &mut journal,
            BUNDLE,
        )
    }

    /// One group a lane at the right size, with everything that belongs to it, and no more.
    fn assert_launched(&self, plan: &LaunchPlan) {
        let state = self.cloud.state();
        assert_eq!(state.groups.len(), plan.lanes.len());
        assert_eq!(state.templates.len(), plan.lanes.len());
        for lane in &plan.lanes {
            let group = &state.groups[&lane.name];
            assert_eq!((group.size, group.max), (lane.machines, lane.machines));
            assert_eq!(group.actions.len(), 1);
            let backstop = &group.actions[&names::backstop(&lane.name)];
            assert_eq!(backstop["StartTime"], "2027-01-15T09:00:00Z");
            assert_eq!(group.suspended.first().unwrap(), "AZRebalance");
        }
        assert_eq!(u64::from(state.started), plan.machines(), "none twice");
        let bundles = state.objects.keys().filter(|key| key.contains("/bundle-"));
        assert_eq!(bundles.count(), 1);
    }

    fn clean(&self, plan: &LaunchPlan) {
        let client = self.cloud.client(1);
        let found = cleanup::find(&client, plan.id(), &[&plan.role.name]).unwrap();
        cleanup::remove(&client, &found).unwrap();
    }

    fn assert_nothing_left(&self) {
        let state = self.cloud.state();
        assert!(state.groups.is_empty() && state.templates.is_empty());
        assert!(state.roles.is_empty() && state.profiles.is_empty());
        assert!(state.policies.is_empty() && state.attached.is_empty());
    }
}

#[test]
fn calls_do_not_grow_with_tasks() {
    for (lanes, calls) in [(1, 7), (2, 12), (3, 17)] {
        let mut world = World::set_up();
        let plan = a_plan(lanes, true, "t");
        world.begin(&plan, 1).unwrap();
        // The ledger's own call is made by the ledger.
        assert_eq!(world.cloud.changing().len() + 1, calls);
        assert_eq!(plan.steps().len(), calls);
        world.assert_launched(&plan);
    }
}

#[test]
fn machines_are_as_they_should_be() {
    let mut world = World::new();
    let plan = a_plan(2, false, "t");
    world.begin(&plan, 1).unwrap();
    let state = world.cloud.state();
    let template = &state.templates[&plan.lanes[1].name];
    let data = |key: &str| template[&format!("LaunchTemplateData.{key}")].as_str();
    assert_eq!(data("ImageId"), "ami-arm64");
    assert_eq!(data("MetadataOptions.HttpTokens"), "required");
    assert_eq!(data("MetadataOptions.HttpPutResponseHopLimit"), "2");
    assert_eq!(data("BlockDeviceMapping.1.Ebs.Encrypted"), "true");
    assert_eq!(data("BlockDeviceMapping.1.Ebs.VolumeType"), "gp3");
    assert_eq!(data("InstanceInitiatedShutdownBehavior"), "terminate");
    assert_eq!(data("SecurityGroupId.1"), "sg-1");
    assert_eq!(data("UserData"), "IyEvYmluL3NoCg==");
    for kind in [1, 2] {
        let tags = cloud::tags(
            template,
            &format!("LaunchTemplateData.TagSpecification.{kind}.Tag."),
        );
        assert_eq!(tags[names::TAG_ARRAY], id().as_str());
        assert_eq!(tags[names::TAG_NAME], "demo");
        assert_eq!(tags["owner"], "ana");
    }
    let mixed = |lane: usize, key: &str| {
        let fields = &state.groups[&plan.lanes[lane].name].fields;
        fields
            .get(&format!("MixedInstancesPolicy.InstancesDistribution.{key}"))
            .cloned()
    };
    let above = "OnDemandPercentageAboveBaseCapacity";
    assert_eq!(mixed(0, above).as_deref(), Some("100"));
    assert_eq!(mixed(1, above).as_deref(), Some("0"));
    let strategy = mixed(1, "SpotAllocationStrategy");
    assert_eq!(strategy.as_deref(), Some("price-capacity-optimized"));
    let fields = &state.groups[&plan.lanes[1].name].fields;
    assert!(!fields.contains_key("NewInstancesProtectedFromScaleIn"));
    assert_eq!(fields["MaxSize"], "0", "made without room");
    assert_eq!(
        fields["VPCZoneIdentifier"],
        "subnet-eu-west-1a,subnet-eu-west-1b"
    );
}

/// Requests of an undisturbed launch.
fn requests(plan: &LaunchPlan) -> usize {
    let mut world = World::new();
    world.begin(plan, 1).unwrap();
    world.cloud.state().requests
}

#[test]
fn a_launch_cut_off_at_any_call_is_finished_by_one_resume() {
    let plan = a_plan(2, false, "t");
    for fault in [Fault::Unsent, Fault::Lost] {
        for nth in 0..requests(&plan) {
            let mut world = World::new();
            world.cloud.fail(nth, fault);
            let cut = world.begin(&plan, 1);
            assert!(matches!(cut, Err(LaunchError::Aws(_))), "{fault:?} {nth}");
            world.resume().unwrap();
            world.assert_launched(&plan);
            world.clean(&plan);
            world.assert_nothing_left();
        }
    }
}

#[test]
fn a_launch_cut_off_at_any_call_is_undone_by_cleanup() {
    let plan = a_plan(2, false, "t");
    for fault in [Fault::Unsent, Fault::Lost] {
        for nth in 0..requests(&plan) {
            let mut world = World::new();
            world.cloud.fail(nth, fault);
            world.begin(&plan, 1).unwrap_err();
            world.clean(&plan);
            world.assert_nothing_left();
        }
    }
}

#[test]
fn a_cleanup_cut_off_at_any_call_is_finished_by_the_next() {
    let plan = a_plan(2, false, "t");
    for fault in [Fault::Unsent, Fault::Lost] {
        for nth in 0.. {
            let mut world = World::new();
            world.begin(&plan, 1).unwrap();
            world.cloud.fail(nth, fault);
            let client = world.cloud.client(1);
            let done = cleanup::find(&client, plan.id(), &[&plan.role.name])
                .and_then(|found| cleanup::remove(&client, &found));
            world.cloud.state().fault = None;
            world.clean(&plan);
            world.assert_nothing_left();
            if done.is_ok() {
                assert!(nth > 10);
                break;
            }
        }
    }
}

#[test]
fn a_lost_answer_that_the_client_asks_for_again_makes_nothing_twice() {
    let plan = a_plan(2, false, "t");
    for nth in 0..requests(&plan) {
        let mut world = World::new();
        world.cloud.fail(nth, Fault::Lost);
        world.begin(&plan, 3).unwrap();
        world.assert_launched(&plan);
    }
}

#[test]
fn a_journal_that_was_cut_off_anywhere_is_no_harm() {
    let plan = a_plan(1, false, "t");
    let mut world = World::new();
    world.begin(&plan, 1).unwrap();
    let whole = std::fs::read(world.path()).unwrap();
    let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in first..=whole.len() {
        std::fs::write(world.path(), &whole[..cut]).unwrap();
        world.resume().unwrap();
        world.assert_launched(&plan);
        assert!(Journal::open(&world.path()).unwrap().is_complete());
    }
    for cut in [0, 1, first - 1] {
        std::fs::write(world.path(), &whole[..cut]).unwrap();
        assert!(matches!(
            Journal::open(&world.path()),
            Err(JournalError::Empty(_))
        ));
    }
    std::fs::write(world.path(), [&whole[..first], b"{}\n"].concat()).unwrap();
    assert!(matches!(
        Journal::open(&world.path()),
        Err(JournalError::Damaged { line: 2, .. })
    ));
}

#[test]
fn two_processes_do_not_work_on_one_launch() {
    let world = World::new();
    let plan = a_plan(1, true, "t");
    let _held = Journal::begin(&world.path(), &plan).unwrap();
    assert!(matches!(
        Journal::open(&world.path()),
        Err(JournalError::Busy(_))
    ));
    assert!(matches!(
        Journal::begin(&world.path(), &plan),
        Err(JournalError::Io { .. })
    ));
}

#[test]
fn machines_that_left_are_not_started_again() {
    let plan = a_plan(1, true, "t");
    let mut world = World::set_up();
    // The answer to the raise is lost, and seven machines finish before anybody looks.
    world.cloud.fail(requests_of(&plan) - 1, Fault::Lost);
    world.begin(&plan, 1).unwrap_err();
    world
        .cloud
        .state()
        .groups
        .get_mut(&plan.lanes[0].name)
        .unwrap()
        .size = 3;
    world.resume().unwrap();
    let state = world.cloud.state();
    assert_eq!(state.groups[&plan.lanes[0].name].size, 3);
    assert_eq!(u64::from(state.started), plan.machines());
}

fn requests_of(plan: &LaunchPlan) -> usize {
    let mut world = World::set_up();
    world.begin(plan, 1).unwrap();
    world.cloud.state().requests
}

#[test]
fn another_launch_of_the_same_name_is_left_alone() {
    let mut world = World::set_up();
    world.begin(&a_plan(1, true, "first"), 1).unwrap();
    let before = world.cloud.state().started;
    std::fs::remove_file(world.path()).unwrap();
    let second = world.begin(&a_plan(1, true, "second"), 1);
    assert!(
        matches!(second, Err(LaunchError::Foreign { .. })),
        "{second:?}"
    );
    assert_eq!(world.cloud.state().started, before);
}

#[test]
fn nothing_is_started_once_the_time_is_over() {
    let plan = a_plan(1, true, "t");
    let mut world = World::set_up();
    world.cloud.fail(requests_of(&plan) - 1, Fault::Unsent);
    world.begin(&plan, 1).unwrap_err();
    world.cloud.pass(3600);
    assert!(matches!(world.resume(), Err(LaunchError::TooLate(_))));
    assert_eq!(world.cloud.state().started, 0);
}

#[test]
fn nothing_is_started_without_a_backstop() {
    let plan = a_plan(1, true, "t");
    let mut world = World::set_up();
    world.cloud.fail(requests_of(&plan) - 1, Fault::Unsent);
    world.begin(&plan, 1).unwrap_err();
    world
        .cloud
        .state()
        .groups
        .get_mut(&plan.lanes[0].name)
        .unwrap()
        .actions
        .clear();
    assert!(matches!(world.resume(), Err(LaunchError::NoBackstop(_))));
    assert_eq!(world.cloud.state().started, 0);
}

#[test]
fn another_bundle_is_refused() {
    let plan = a_plan(1, true, "t");
    let mut world = World::set_up();
    let mut journal = Journal::begin(&world.path(), &plan).unwrap();
    let client = world.cloud.client(1);
    let refused = launch(&client, &mut world.ledger, &mut journal, b"other");
    assert!(matches!(refused, Err(LaunchError::Bundle)));
    assert!(world.cloud.changing().is_empty());
}

#[test]
fn a_dry_run_finds_everything_and_removes_nothing() {
    let plan = a_plan(2, false, "t");
    let mut world = World::new();
    world.begin(&plan, 1).unwrap();
    let before = world.cloud.changing().len();
    let client = world.cloud.client(1);
    let found = cleanup::find(&client, plan.id(), &[]).unwrap();
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "group spawn-array-20260127-abc123-0 (10 machines)".to_owned(),
            "group spawn-array-20260127-abc123-1 (10 machines)".to_owned(),
            "launch template spawn-array-20260127-abc123-0".to_owned(),
            "launch template spawn-array-20260127-abc123-1".to_owned(),
            format!("role {}", plan.role.name),
        ]
    );
    assert_eq!(world.cloud.changing().len(), before);
}

#[test]
fn other_arrays_and_their_role_stay() {
    let plan = a_plan(1, false, "t");
    let mut world = World::new();
    world.begin(&plan, 1).unwrap();
    let client = world.cloud.client(1);
    let other: ArrayId = "array-20260127-zzz999".parse().unwrap();
    let found = cleanup::find(&client, &other, &[&plan.role.name]).unwrap();
    assert_eq!(found, Vec::<Remnant>::new());
    world.assert_launched(&plan);
}

#[test]
fn a_role_that_was_cleaned_up_in_between_is_made_again() {
    let plan = a_plan(1, false, "t");
    let mut world = World::new();
    world.cloud.fail(requests(&plan) - 1, Fault::Unsent);
    world.begin(&plan, 1).unwrap_err();
    {
        let mut state = world.cloud.state();
        state.roles.clear();
        state.policies.clear();
        state.profiles.clear();
    }
    world.resume().unwrap();
    world.assert_launched(&plan);
    assert_eq!(world.cloud.state().policies.len(), 3);
    assert!(plan.steps().contains(&Step::Role));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
