//! A plan completed with what its machines are told: which programs, which bundle, which lane.

use spawn_local::submission::Submission;
use spawn_node::boot::{self, Boot, BootError, Fetched, Need};
use spawn_node::config::{Made, NodeConfig};
use spawn_spec::LaunchSpec;

use crate::names;
use crate::plan::LaunchPlan;
use crate::programs::Programs;

/// What a plan is completed with.
#[derive(Debug, Clone)]
pub struct Furniture<'a> {
    /// The programs for each architecture.
    pub programs: &'a Programs,
    /// What scripts need that an image may lack.
    pub needs: &'a [Need],
    /// How long a silent worker is waited for before its tasks are given to others, in
    /// milliseconds.
    pub lease_ms: u64,
    /// How long a machine tries to get ready, in seconds.
    pub boot_patience_s: u32,
    /// The file creation mask of tasks.
    pub umask: u32,
}

/// Why a plan cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum FurnishError {
    /// The programs of an architecture are missing.
    #[error("there is no `spored-node` and `spored` for {0}")]
    NoPrograms(String),
    /// The machines cannot be told.
    #[error("the machines of lane {lane} cannot be told what to run")]
    Boot {
        /// Which lane.
        lane: usize,
        /// Why.
        #[source]
        source: BootError,
    },
    /// The specification cannot be written down.
    #[error("the specification cannot be stored")]
    Spec(#[from] serde_json::Error),
}

/// Where things are on a machine.
const HOME: &str = "/opt/spawn";
const STATE: &str = "/var/lib/spawn";

/// Gives every lane its user data, and the array its record.
///
/// # Errors
/// See [`FurnishError`]; the plan is not to be used then.
pub fn furnish(
    plan: &mut LaunchPlan,
    spec: &LaunchSpec,
    with: &Furniture<'_>,
) -> Result<(), FurnishError> {
    let grouped = |lane: &&crate::plan::LanePlan| lane.standing.is_none();
    let made: Vec<Made> = plan.lanes.iter().filter(grouped).flat_map(made).collect();
    for lane in 0..plan.lanes.len() {
        let architecture = &plan.lanes[lane].architecture;
        let programs = with.programs.of(architecture);
        let [node, spored] =
            programs.ok_or_else(|| FurnishError::NoPrograms(architecture.clone()))?;
        // Its own group first: the others go before it.
        let mut made = made.clone();
        let own = |made: &Made| made.group == plan.lanes[lane].name;
        if let Some(first) = made.iter().position(own) {
            made.rotate_left(first);
        }
        let config = NodeConfig {
            array: plan.id().clone(),
            lane: lane as u32,
            table: names::TABLE.to_owned(),
            bucket: plan.bucket.clone(),
            prefix: String::new(),
            region: plan.region.clone(),
            made,
            wanted: plan.lanes[lane]
                .fallback
                .as_ref()
                .map(|_| plan.lanes[lane].machines),
            standing: plan.lanes[lane].standing.clone(),
            bundle: format!("{HOME}/bundle").into(),
            bundle_sha256: plan.bundle_sha256.clone(),
            dir: STATE.into(),
            lease_ms: with.lease_ms,
            look_ms: (with.lease_ms / 18).clamp(200, 5_000),
            ask_ms: (with.lease_ms / 9).clamp(200, 10_000),
        };
        let boot = Boot {
            config,
            node: node.fetched(),
            spored: spored.fetched(),
            bundle: Fetched {
                key: plan.bundle_key.clone(),
                sha256: plan.bundle_sha256.clone(),
            },
            needs: with.needs.to_vec(),
            bucket_url: boot::bucket_url(&plan.bucket, &plan.region),
            scaling_url: boot::scaling_url(&plan.region),
            most_failures: boot::most_failures(plan.machines()),
            metadata_url: boot::METADATA.to_owned(),
            root: String::new(),
            patience_s: with.boot_patience_s,
        };
        let text = boot
            .user_data()
            .map_err(|source| FurnishError::Boot { lane, source })?;
        plan.lanes[lane].user_data = text;
    }
    Ok(record(plan, spec, with.umask)?)
}

/// Gives the array its record: what was asked, and the plan itself, so that machines can be had
/// again.
///
/// # Errors
/// The specification cannot be written down.
pub fn record(plan: &mut LaunchPlan, spec: &LaunchSpec, umask: u32) -> serde_json::Result<()> {
    plan.array.spec = String::new();
    let submission = Submission {
        launch: spec.clone(),
        shell_env: Vec::new(),
        path: String::new(),
        umask,
        machines: Some(serde_json::to_value(&*plan)?),
    };
    plan.array.spec = serde_json::to_string(&submission)?;
    Ok(())
}

/// A lane's own group, and the one that stands in for it.
fn made(lane: &crate::plan::LanePlan) -> impl Iterator<Item = Made> {
    let own = Made {
        group: lane.name.clone(),
        template: lane.template().to_owned(),
        raise: None,
    };
    let twin = lane.twin().map(|twin| Made {
        template: twin.template().to_owned(),
        raise: Some(names::raise(&twin.name)),
        group: twin.name,
    });
    std::iter::once(own).chain(twin)
}

/// The plan that an array was launched by, as its record has it.
pub fn plan_of(array: &spawn_ports::ledger::NewArray) -> Option<LaunchPlan> {
    let submission: Submission = serde_json::from_str(&array.spec).ok()?;
    let mut plan: LaunchPlan = serde_json::from_value(submission.machines?).ok()?;
    plan.array = array.clone();
    Some(plan)
}
