//! A launch as data: everything that will be made, in order, decided without a call.

use std::fmt;

use serde::{Deserialize, Serialize};
use spawn_aws::services::Tag;
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_node::config::Standing;
use spawn_ports::ledger::NewArray;
use spawn_spec::{Lane, LaunchSpec, OnComplete};

use crate::facts::{Facts, ImageFacts};
use crate::kinds;
use crate::names;
use crate::network;
use crate::policy_documents::Place;
use crate::sizes::machines;
use crate::{role_plan, standing};

/// The most bytes of user data.
pub const MAX_USER_DATA: usize = 16 * 1024;
/// What a lane starts that names no type.
pub const DEFAULT_TYPE: &str = "t3.medium";
/// How deep the metadata service answers: 2 reaches containers.
pub const HOP_LIMIT: u32 = 2;

/// What is to be launched.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The array's new id.
    pub id: &'a ArrayId,
    /// What was asked.
    pub spec: &'a LaunchSpec,
    /// When: the TTL counts from here.
    pub launched: UnixMicros,
    /// The launch's own mark, random.
    pub token: &'a str,
    /// The bundle's SHA-256 in hexadecimal.
    pub bundle_sha256: &'a str,
    /// The bundle's bytes.
    pub bundle_size: u64,
    /// What the machines of each lane run when they start, as text.
    pub user_data: &'a [String],
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The type's facts are not known.
    #[error("`{0}` is not offered in this region")]
    UnknownType(String),
    /// The types of a lane run no common architecture; which run which.
    #[error(
        "the types of a lane run one architecture, and these do not: {0}; name types of one family"
    )]
    Architectures(String),
    /// No image fits the type.
    #[error("there is no image for `{0}`")]
    NoImage(String),
    /// No subnet is in a zone that offers the type.
    #[error("no subnet is in a zone that offers `{0}`")]
    NoSubnet(String),
    /// There is no firewall.
    #[error("there is no security group for the machines")]
    NoSecurityGroup,
    /// The user data of a lane is missing or too long.
    #[error("lane {lane} has {size} bytes of user data; 1 to {MAX_USER_DATA} are possible")]
    UserData {
        /// Which lane.
        lane: usize,
        /// Its bytes.
        size: usize,
    },
    /// The specification cannot be written down.
    #[error("the specification cannot be stored: {0}")]
    Spec(String),
}

/// A launch: stored in its journal, so a field once written keeps its name and meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// The array as the ledger gets it.
    pub array: NewArray,
    /// When it was launched.
    pub launched: UnixMicros,
    /// The launch's own mark, in [`names::TAG_LAUNCH`].
    pub token: String,
    /// `aws`, `aws-cn`, `aws-us-gov`
    #[serde(default = "usual_partition")]
    pub partition: String,
    /// The account's twelve digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Where the bundle goes.
    pub bundle_key: String,
    /// Its SHA-256.
    pub bundle_sha256: String,
    /// Its bytes.
    pub bundle_size: u64,
    /// The role and its instance profile.
    pub role: RolePlan,
    /// One group of machines for each lane.
    pub lanes: Vec<LanePlan>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolePlan {
    /// The role's and the profile's name.
    pub name: String,
    /// Who may take it, as JSON text.
    pub trust: String,
    /// Inline policies by name, as JSON text.
    pub policies: Vec<(String, String)>,
    /// ARNs of managed policies that it has beside.
    #[serde(default)]
    pub managed: Vec<String>,
    /// The instance profile that carries it.
    #[serde(default)]
    pub profile: String,
    /// It is the user's, and is used as it is.
    #[serde(default)]
    pub is_given: bool,
    /// It has to be made.
    pub is_new: bool,
}

/// A lane's group of machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanePlan {
    /// The name of template and group.
    pub name: String,
    /// Machines.
    pub machines: u32,
    /// The types, the first preferred.
    pub types: Vec<String>,
    /// Spot capacity.
    pub spot: bool,
    /// As many of the machines are on demand before spot capacity is used.
    #[serde(default)]
    pub on_demand_base: u32,
    /// USD for one machine and hour at most.
    pub spot_max_price: Option<f64>,
    /// `x86_64`, `arm64`
    #[serde(default)]
    pub architecture: String,
    /// `ami-...`
    pub image: String,
    /// `/dev/xvda`
    pub root_device: String,
    /// GiB
    pub disk_gib: u32,
    /// `gp3` if not given.
    #[serde(default)]
    pub disk_type: Option<String>,
    /// Operations a second that the disk is given.
    #[serde(default)]
    pub disk_iops: Option<u32>,
    /// MiB a second that the disk is given.
    #[serde(default)]
    pub disk_throughput: Option<u32>,
    /// The firewall: one that lets nothing in, or what was asked for. At least one.
    pub security_groups: Vec<String>,
    /// Subnets, one or more for each zone that offers a type.
    pub subnets: Vec<String>,
    /// What the machines run when they start, as text.
    pub user_data: String,
    /// When all its machines end.
    pub ends: UnixMicros,
    /// On-demand machines that stand in for spot ones that did not come.
    #[serde(default)]
    pub fallback: Option<Fallback>,
    /// The template, where it is another's.
    #[serde(default)]
    pub template: Option<String>,
    /// Its machines are in no group, and outlive their tasks so.
    #[serde(default)]
    pub standing: Option<Standing>,
    /// On template, group, machines and disks.
    pub tags: Vec<Tag>,
}

/// A group beside a lane's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Its name.
    pub name: String,
    /// When it gets room, unless machines have cancelled that.
    pub at: UnixMicros,
}

impl LanePlan {
    /// The template that its machines are started from.
    pub fn template(&self) -> &str {
        self.template.as_deref().unwrap_or(&self.name)
    }

    /// The group that stands in for it, as if it were a lane; nothing if there is none.
    pub fn twin(&self) -> Option<LanePlan> {
        let fallback = self.fallback.as_ref()?;
        Some(LanePlan {
            name: fallback.name.clone(),
            template: Some(self.template().to_owned()),
            spot: false,
            spot_max_price: None,
            on_demand_base: 0,
            fallback: None,
            ..self.clone()
        })
    }
}

fn usual_partition() -> String {
    "aws".to_owned()
}

/// One step. Each can be taken twice with the outcome of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The role of this set of grants, once.
    Role,
    /// The role of the schedules that end machines in no group, once.
    SchedulerRole,
    /// The bundle into the bucket.
    Bundle,
    /// The array into the ledger.
    Record,
    /// A lane's launch template.
    Template(usize),
    /// A lane's group, with room for no machine.
    Group(usize),
    /// The action that ends a lane's machines.
    Backstop(usize),
    /// The lane's group does not move machines between zones.
    Steady(usize),
    /// The lane's group gets room for its machines.
    Raise(usize),
    /// The group that stands in for a lane's, with room for no machine.
    FallbackGroup(usize),
    /// The action that ends its machines.
    FallbackBackstop(usize),
    /// It does not move machines between zones.
    FallbackSteady(usize),
    /// The action that gives it room later.
    FallbackRaise(usize),
    /// A lane's machines that are in no group are started.
    Run(usize),
    /// The schedule that ends them.
    Guard(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Role => f.write_str("role"),
            Step::SchedulerRole => f.write_str("scheduler's role"),
            Step::Bundle => f.write_str("bundle"),
            Step::Record => f.write_str("record"),
            Step::Template(lane) => write!(f, "template of lane {lane}"),
            Step::Group(lane) => write!(f, "group of lane {lane}"),
            Step::Backstop(lane) => write!(f, "backstop of lane {lane}"),
            Step::Steady(lane) => write!(f, "suspension of lane {lane}"),
            Step::Raise(lane) => write!(f, "raise of lane {lane}"),
            Step::FallbackGroup(lane) => write!(f, "fallback group of lane {lane}"),
            Step::FallbackBackstop(lane) => write!(f, "fallback backstop of lane {lane}"),
            Step::FallbackSteady(lane) => write!(f, "fallback suspension of lane {lane}"),
            Step::FallbackRaise(lane) => write!(f, "fallback raise of lane {lane}"),
            Step::Run(lane) => write!(f, "start of lane {lane}"),
            Step::Guard(lane) => write!(f, "schedule of lane {lane}"),
        }
    }
}

impl LanePlan {
    /// `spot`, `on-demand`, `spot (2 on demand)`
    fn capacity(&self) -> String {
        match (self.spot, self.on_demand_base) {
            (false, _) => "on-demand".to_owned(),
            (true, 0) => "spot".to_owned(),
            (true, base) => format!("spot ({base} on demand)"),
        }
    }
}

impl LaunchPlan {
    /// The array's id.
    pub fn id(&self) -> &ArrayId {
        &self.array.id
    }

    /// The steps in order. Machines come last, once everything that ends them stands in every lane.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(self.role.is_new.then_some(Step::Role));
        let stands = |lane: &usize| self.lanes[*lane].standing.is_some();
        let lanes = 0..self.lanes.len();
        steps.extend(
            lanes
                .clone()
                .any(|lane| stands(&lane))
                .then_some(Step::SchedulerRole),
        );
        steps.extend([Step::Bundle, Step::Record]);
        for lane in lanes.clone() {
            steps.push(Step::Template(lane));
            if !stands(&lane) {
                steps.extend([Step::Group(lane), Step::Backstop(lane), Step::Steady(lane)]);
            }
            if self.lanes[lane].fallback.is_some() {
                steps.extend([
                    Step::FallbackGroup(lane),
                    Step::FallbackBackstop(lane),
                    Step::FallbackSteady(lane),
                    Step::FallbackRaise(lane),
                ]);
            }
        }
        steps.extend(lanes.clone().filter(|lane| !stands(lane)).map(Step::Raise));
        steps.extend(
            lanes
                .filter(stands)
                .flat_map(|lane| [Step::Run(lane), Step::Guard(lane)]),
        );
        steps
    }

    /// Machines in all.
    pub fn machines(&self) -> u64 {
        self.lanes.iter().map(|l| u64::from(l.machines)).sum()
    }

    /// What would be made, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.steps()
            .into_iter()
            .map(|step| self.line(step))
            .collect()
    }

    fn line(&self, step: Step) -> String {
        let lane = |n: usize| &self.lanes[n];
        let none = Fallback {
            name: String::new(),
            at: UnixMicros(0),
        };
        let fallback = |n: usize| lane(n).fallback.as_ref().unwrap_or(&none);
        match step {
            Step::Role => format!(
                "make role {} with {}",
                self.role.name,
                self.role
                    .policies
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .chain(self.role.managed.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Step::Bundle if self.bundle_sha256.is_empty() => format!(
                "put script and shipped files at s3://{}/{}",
                self.bucket,
                names::array_prefix(self.id())
            ),
            Step::Bundle => format!(
                "put {} bytes at s3://{}/{}",
                self.bundle_size, self.bucket, self.bundle_key
            ),
            Step::Record => format!(
                "record {} with {} tasks in table {}",
                self.id(),
                self.array.total,
                names::TABLE
            ),
            Step::Template(n) => format!(
                "make launch template {}: {}, {} GiB encrypted, role {}",
                lane(n).name,
                lane(n).image,
                lane(n).disk_gib,
                self.role.name
            ),
            Step::Group(n) => format!(
                "make group {} for {} {} in {}, no machines yet",
                lane(n).name,
                lane(n).capacity(),
                lane(n).types.join(" or "),
                lane(n).subnets.join(", ")
            ),
            Step::Backstop(n) => format!(
                "end all machines of {} at {}",
                lane(n).name,
                time(lane(n).ends)
            ),
            Step::Steady(n) => format!("keep {} from moving machines between zones", lane(n).name),
            Step::Raise(n) => format!("start {} machines in {}", lane(n).machines, lane(n).name),
            Step::SchedulerRole => format!(
                "have role {} that may end machines of arrays",
                names::scheduler_role(&self.region)
            ),
            Step::FallbackGroup(n) => format!(
                "make group {} for on-demand {}, no machines yet",
                fallback(n).name,
                lane(n).types.join(" or ")
            ),
            Step::FallbackBackstop(n) => format!(
                "end all machines of {} at {}",
                fallback(n).name,
                time(lane(n).ends)
            ),
            Step::FallbackSteady(n) => format!(
                "keep {} from moving machines between zones",
                fallback(n).name
            ),
            Step::FallbackRaise(n) => format!(
                "start {} machines in {} at {}, if fewer than that serve then",
                lane(n).machines,
                fallback(n).name,
                time(fallback(n).at)
            ),
            Step::Run(n) => format!(
                "start {} machines from {}, in no group: they are not replaced",
                lane(n).machines,
                lane(n).name
            ),
            Step::Guard(n) => format!("end these machines at {}", time(lane(n).ends)),
        }
    }
}

/// A time as AWS takes it, in whole seconds: never earlier than `at`.
pub(crate) fn time(at: UnixMicros) -> String {
    let seconds = at.0.div_euclid(1_000_000) + i64::from(at.0.rem_euclid(1_000_000) > 0);
    jiff::Timestamp::from_second(seconds).map_or_else(
        // Beyond year 9999, which no TTL reaches.
        |_| jiff::Timestamp::MAX.to_string(),
        |t| t.to_string(),
    )
}

/// Plans a launch.
///
/// # Errors
/// [`PlanError`]; [`crate::preflight::preflight`] says the same and more, with what to do.
pub fn plan(request: &Request<'_>, facts: &Facts) -> Result<LaunchPlan, PlanError> {
    let spec = request.spec;
    let place = Place {
        partition: &facts.partition,
        account: &facts.account,
        region: &facts.region,
    };
    let role = role_plan::with(facts, role_plan::of(place, spec));
    let kinds = spec.all_lanes();
    let lanes = lane_plans(request, facts, &kinds, &role, place)?;
    let tasks: Vec<u64> = kinds.iter().map(|l| l.indices.len()).collect();
    Ok(LaunchPlan {
        array: NewArray {
            id: request.id.clone(),
            name: spec.name.clone(),
            spec: serde_json::to_string(spec).map_err(|e| PlanError::Spec(e.to_string()))?,
            total: tasks.iter().sum(),
            budgets: spec.budgets.clone(),
            deadline: request.launched.plus_millis(spec.ttl_ms),
            lanes: if spec.lanes.is_empty() { vec![] } else { tasks },
        },
        launched: request.launched,
        token: request.token.to_owned(),
        partition: facts.partition.clone(),
        account: facts.account.clone(),
        region: facts.region.clone(),
        bucket: names::bucket(&facts.account, &facts.region),
        bundle_key: names::bundle_key(request.id, request.bundle_sha256),
        bundle_sha256: request.bundle_sha256.to_owned(),
        bundle_size: request.bundle_size,
        role,
        lanes,
    })
}

/// How many machines each lane gets.
pub(crate) fn machines_of(spec: &LaunchSpec, lanes: &[Lane]) -> Vec<u32> {
    let tasks: Vec<u64> = lanes.iter().map(|l| l.indices.len()).collect();
    // A machine runs one task at a time, so more of them than that are of no use.
    let most = spec.workers.into_iter().chain(spec.max_concurrent).min();
    machines(&tasks, most)
}

fn lane_plans(
    request: &Request<'_>,
    facts: &Facts,
    lanes: &[Lane],
    role: &RolePlan,
    place: Place<'_>,
) -> Result<Vec<LanePlan>, PlanError> {
    let sizes = machines_of(request.spec, lanes);
    let asked = &request.spec.ec2;
    let security_groups = network::security_groups(facts);
    if security_groups.is_empty() {
        return Err(PlanError::NoSecurityGroup);
    }
    let mut plans = Vec::with_capacity(lanes.len());
    for (number, (lane, machines)) in lanes.iter().zip(sizes).enumerate() {
        let kinds = kinds::kinds(lane, facts)?;
        let image = &facts.images[&kinds.architecture];
        let is_offered =
            |zone: &String| (kinds.types.iter()).any(|name| facts.offered[name].contains(zone));
        let subnets: Vec<String> = network::usable(facts, asked)
            .into_iter()
            .filter(|s| is_offered(&s.zone))
            .map(|s| s.id.clone())
            .collect();
        if subnets.is_empty() {
            return Err(PlanError::NoSubnet(kinds.types.join("`, `")));
        }
        let user_data = request.user_data.get(number).cloned().unwrap_or_default();
        if user_data.is_empty() || user_data.len() > MAX_USER_DATA {
            return Err(PlanError::UserData {
                lane: number,
                size: user_data.len(),
            });
        }
        let ends = request.launched.plus_millis(lane.ttl_ms);
        plans.push(LanePlan {
            name: names::lane(request.id, number as u32),
            machines,
            types: kinds.types.clone(),
            spot: lane.spot,
            on_demand_base: match lane.spot {
                true => request.spec.ec2.on_demand_base.min(machines),
                false => 0,
            },
            spot_max_price: lane.spot_max_price,
            architecture: image.architecture.clone(),
            image: image.id.clone(),
            root_device: image.root_device.clone(),
            disk_gib: disk_gib(request.spec, image, facts, &kinds.types),
            disk_type: asked.volume_type.clone(),
            disk_iops: asked.volume_iops,
            disk_throughput: asked.volume_throughput,
            security_groups: security_groups.clone(),
            subnets,
            user_data,
            ends,
            fallback: fallback(request, lane, number as u32),
            template: None,
            standing: standing::of(
                request.spec.on_complete,
                place,
                request.id,
                number as u32,
                ends,
            ),
            tags: tags(request, number, role),
        });
    }
    Ok(plans)
}

/// GiB of a machine's disk: what was asked for, or what the image has and, where the machine is to
/// sleep, its memory.
fn disk_gib(spec: &LaunchSpec, image: &ImageFacts, facts: &Facts, types: &[String]) -> u32 {
    let sleeps = spec.on_complete == OnComplete::Hibernate;
    let memory = types.iter().map(|name| memory_gib(facts, name)).max();
    let memory = memory.filter(|_| sleeps).unwrap_or_default();
    spec.ec2.volume_gib.unwrap_or(image.disk_gib + memory)
}

/// A type's memory in GiB.
pub(crate) fn memory_gib(facts: &Facts, name: &str) -> u32 {
    let memory = facts.types.get(name).map_or(0, |kind| kind.memory_mib);
    u32::try_from(memory.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// The group that stands in for a lane of spot machines, if that was asked for.
fn fallback(request: &Request<'_>, lane: &Lane, number: u32) -> Option<Fallback> {
    let after = request.spec.ec2.spot_fallback_ms.filter(|_| lane.spot)?;
    let at = request.launched.plus_millis(after);
    // Two actions of a group cannot be for one second; and one that comes last starts what ends.
    let is_in_time = at.plus_millis(1_000) < request.launched.plus_millis(lane.ttl_ms);
    is_in_time.then(|| Fallback {
        name: names::fallback(request.id, number),
        at,
    })
}

fn tags(request: &Request<'_>, lane: usize, role: &RolePlan) -> Vec<Tag> {
    let mut ours = vec![
        Tag::new(names::TAG_ARRAY, request.id.as_str()),
        Tag::new(names::TAG_NAME, &request.spec.name),
        Tag::new(names::TAG_LANE, &lane.to_string()),
        Tag::new(names::TAG_LAUNCH, request.token),
    ];
    // By this tag roles are found that nobody uses any more; the user's own is not ours to remove.
    ours.extend((!role.is_given).then(|| Tag::new(names::TAG_ROLE, &role.name)));
    let is_ours = |key: &str| ours.iter().any(|tag| tag.key == key);
    let theirs = request.spec.tags.iter().filter(|(key, _)| !is_ours(key));
    let theirs: Vec<Tag> = theirs.map(|(key, value)| Tag::new(key, value)).collect();
    ours.iter().cloned().chain(theirs).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
