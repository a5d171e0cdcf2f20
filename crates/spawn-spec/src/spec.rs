//! What a launch is, once every flag is read: the record the ledger keeps.

use serde::{Deserialize, Serialize};
use spawn_core::budgets::Budgets;
use spawn_core::index_set::IndexSet;
use spawn_core::instance_type::InstanceType;
use spawn_core::max_failures::MaxFailures;
use spawn_core::tags::Tags;

use crate::policies::PolicyTemplate;

/// One launch: what runs, how often, on what, within which limits.
///
/// Stored as JSON in the ledger, so a field once written keeps its name and
/// meaning; new fields come with a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The array's name: 1 to 64 of `A-Z a-z 0-9 . _ -`. Not unique.
    pub name: String,
    /// The indices of the tasks; the single index 0 without `--array`.
    pub indices: IndexSet,
    /// What each task runs.
    pub program: Program,
    /// Files put into each task's working directory.
    #[serde(default)]
    pub shipped: Vec<ShippedFile>,
    /// Variables for each task, as `--env` says, in the order given.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// How many workers; never more than tasks. `None`: the provider decides.
    #[serde(default)]
    pub workers: Option<u32>,
    /// The most tasks to run at a time, over all workers; 1 or more.
    #[serde(default)]
    pub max_concurrent: Option<u32>,
    /// The longest a worker lives, and the array from its launch; milliseconds.
    pub ttl_ms: u64,
    /// The longest one attempt of a task runs; milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// What becomes of a machine that has no more tasks.
    #[serde(default)]
    pub on_complete: OnComplete,
    /// The EC2 instance type; where there are several that do, the one that is preferred.
    #[serde(default)]
    pub instance_type: Option<InstanceType>,
    /// Instance types that do as well, in order of preference.
    #[serde(default)]
    pub other_types: Vec<InstanceType>,
    /// What the tasks may do in AWS; sorted, each once.
    #[serde(default)]
    pub iam_policies: Vec<PolicyTemplate>,
    /// Whether to use spot capacity.
    #[serde(default)]
    pub spot: bool,
    /// The most to pay for spot capacity; USD for one machine and hour.
    #[serde(default)]
    pub spot_max_price: Option<f64>,
    /// The AWS region, such as `us-east-1`.
    #[serde(default)]
    pub region: Option<String>,
    /// Tags on everything the launch makes.
    #[serde(default)]
    pub tags: Tags,
    /// Local: tasks may share the machine's `/tmp` where a private one cannot be had.
    #[serde(default)]
    pub allow_shared_tmp: bool,
    /// Local: the ledger survives a loss of power.
    #[serde(default)]
    pub durable: bool,
    /// What may be retried, and after which wait.
    #[serde(default)]
    pub budgets: Budgets,
    /// The most tasks that may fail before nothing more is started.
    #[serde(default)]
    pub max_failures: Option<MaxFailures>,
    /// Whether the tasks have rows of a parameter file: one [`Row`] for each index from 0 on.
    #[serde(default)]
    pub has_rows: bool,
    /// The kinds of worker that rows with overrides need, each with its tasks. Empty: one kind, as
    /// the fields above say.
    #[serde(default)]
    pub lanes: Vec<Lane>,
    /// What is asked of EC2, the same for all lanes.
    #[serde(default)]
    pub ec2: Ec2Choices,
}

/// What a launch asks of EC2 beside types and spot capacity. Nothing: what the account has by
/// default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ec2Choices {
    /// As many machines of each lane are on demand before spot capacity is used.
    pub on_demand_base: u32,
    /// After this long, machines that spot capacity did not give are had on demand; milliseconds
    /// from the launch.
    pub spot_fallback_ms: Option<u64>,
    /// The network, `vpc-...`; the account's default one if not given.
    pub vpc: Option<String>,
    /// Subnets, `subnet-...`; every default one of the network if none is given.
    pub subnets: Vec<String>,
    /// Zones that may be used, `eu-west-1a`; all if none is given.
    pub zones: Vec<String>,
    /// Security groups, `sg-...`; one without inbound rules if none is given.
    pub security_groups: Vec<String>,
    /// The image, `ami-...`; the newest Amazon Linux 2023 if not given.
    pub ami: Option<String>,
    /// The root volume's size in GiB; at least the image's.
    pub volume_gib: Option<u32>,
    /// The root volume's type; `gp3` if not given.
    pub volume_type: Option<String>,
    /// Operations per second that the root volume is given.
    pub volume_iops: Option<u32>,
    /// MiB per second that the root volume is given.
    pub volume_throughput: Option<u32>,
    /// An IAM policy document, as JSON text, that the tasks' role gets beside its templates.
    pub policy_document: Option<String>,
    /// Managed policies that the tasks' role gets: ARNs, or names of AWS's own.
    pub managed_policies: Vec<String>,
    /// A role that is there already, by name, used instead of one made for the launch.
    pub role: Option<String>,
}

/// A kind of worker, and the tasks that need it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Its tasks. No index is in two lanes.
    pub indices: IndexSet,
    /// The EC2 instance type; where there are several that do, the one that is preferred.
    #[serde(default)]
    pub instance_type: Option<InstanceType>,
    /// Instance types that do as well, in order of preference.
    #[serde(default)]
    pub other_types: Vec<InstanceType>,
    /// Whether to use spot capacity.
    #[serde(default)]
    pub spot: bool,
    /// The most to pay for spot capacity; USD for one machine and hour.
    #[serde(default)]
    pub spot_max_price: Option<f64>,
    /// The longest one of its workers lives; milliseconds.
    pub ttl_ms: u64,
}

/// What one row of a parameter file gives its task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The row's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its parameters as the file has them, in the order of the file.
    pub params: Vec<(String, String)>,
    /// The variables that its task finds them in, ready to be exported.
    pub vars: Vec<(String, String)>,
    /// The longest one attempt of its task runs, where it is not the array's; milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl LaunchSpec {
    /// The kinds of worker, at least one.
    pub fn all_lanes(&self) -> Vec<Lane> {
        match self.lanes.is_empty() {
            true => vec![Lane {
                indices: self.indices.clone(),
                instance_type: self.instance_type.clone(),
                other_types: self.other_types.clone(),
                spot: self.spot,
                spot_max_price: self.spot_max_price,
                ttl_ms: self.ttl_ms,
            }],
            false => self.lanes.clone(),
        }
    }

    /// The index of the task at a position: positions go through the lanes one after another.
    pub fn index_at(&self, mut position: u64) -> Option<u64> {
        if self.lanes.is_empty() {
            return self.indices.get(position);
        }
        for lane in &self.lanes {
            match position.checked_sub(lane.indices.len()) {
                None => return lane.indices.get(position),
                Some(rest) => position = rest,
            }
        }
        None
    }

    /// The position of the task with an index.
    pub fn position_of(&self, index: u64) -> Option<u64> {
        if self.lanes.is_empty() {
            return self.indices.position_of(index);
        }
        let mut before = 0;
        for lane in &self.lanes {
            if let Some(position) = lane.indices.position_of(index) {
                return Some(before + position);
            }
            before += lane.indices.len();
        }
        None
    }
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A script, kept apart from the shipped files.
    Script {
        /// The name to store the script under; 1 to 64 of `A-Z a-z 0-9 . _ -`.
        file_name: String,
        /// What runs it, without the script's path: `["/bin/bash"]`, or as the
        /// kernel reads a shebang, `["/usr/bin/env", "python3"]`. Empty for an
        /// ELF executable, which is run itself.
        interpreter: Vec<String>,
    },
    /// The words after `--`, run without a shell.
    Command {
        /// The program and its arguments; never empty.
        argv: Vec<String>,
    },
}

/// A file put into each task's working directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedFile {
    /// The path in the working directory: relative, `/` between parts, no `..`.
    pub name: String,
    /// Bytes, at the time of the launch.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// What becomes of a machine that has no more tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnComplete {
    /// It is deleted, and costs nothing more
    #[default]
    Terminate,
    /// It is switched off; its disk stays and costs
    Stop,
    /// It is put to sleep with its memory on disk
    Hibernate,
    /// It keeps running, and costing, until the TTL
    None,
}

/// Where workers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// This machine; costs nothing, needs no account
    #[default]
    Local,
    /// Amazon EC2
    Ec2,
}
