//! What a launch is going to do.

use serde::Serialize;
use spawn_core::budgets::Budgets;
use spawn_core::duration::Span;
use spawn_core::index_set::IndexSet;
use spawn_core::instance_type::InstanceType;
use spawn_core::max_failures::MaxFailures;
use spawn_spec::{Lane, OnComplete, Program, Provider, Resolved, ShippedFile};

use crate::render::counted;

/// A launch, before or as it starts.
#[derive(Clone, Debug, Serialize)]
pub struct PlanView {
    /// The array's name.
    pub name: String,
    /// How many tasks.
    pub tasks: u64,
    /// Their indices, as `--array` takes them.
    pub indices: IndexSet,
    /// How many workers.
    pub workers: u64,
    /// The most tasks at a time.
    pub max_concurrent: Option<u32>,
    /// Where the workers come from.
    pub provider: &'static str,
    /// Whether it can cost money.
    pub may_cost: bool,
    /// The script's name, if it is one.
    pub script: Option<String>,
    /// What runs: the interpreter of a script, or a command's words.
    pub command: Vec<String>,
    /// Files put into each task's working directory.
    pub files: Vec<ShippedFile>,
    /// The longest the array lives, in seconds.
    pub ttl_seconds: f64,
    /// The longest one attempt runs, in seconds.
    pub timeout_seconds: Option<f64>,
    /// The EC2 instance type; where there are several that do, the one that is preferred.
    pub instance_type: Option<InstanceType>,
    /// Instance types that do as well, in order of preference.
    pub other_types: Vec<InstanceType>,
    /// Whether to use spot capacity.
    pub spot: bool,
    /// What becomes of a machine that has no more tasks.
    pub on_complete: OnComplete,
    /// What may be retried, and after which wait.
    pub retries: Budgets,
    /// The most tasks that may fail before nothing more is started.
    pub max_failures: Option<MaxFailures>,
    /// Whether each task has a row of a parameter file.
    pub has_rows: bool,
    /// The kinds of worker, if rows need more than one.
    pub kinds: Vec<KindView>,
    /// Settings that are recorded, and without effect here.
    pub recorded_only: Vec<&'static str>,
    /// What would be made in AWS, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
}

/// A kind of worker.
#[derive(Clone, Debug, Serialize)]
pub struct KindView {
    /// Which tasks need it.
    pub indices: IndexSet,
    /// How many these are.
    pub tasks: u64,
    /// The EC2 instance type; where there are several that do, the one that is preferred.
    pub instance_type: Option<InstanceType>,
    /// Instance types that do as well, in order of preference.
    pub other_types: Vec<InstanceType>,
    /// Whether it is spot capacity.
    pub spot: bool,
    /// The longest one of its workers lives, in seconds.
    pub ttl_seconds: f64,
}

impl KindView {
    fn new(lane: &Lane) -> KindView {
        KindView {
            indices: lane.indices.clone(),
            tasks: lane.indices.len(),
            instance_type: lane.instance_type.clone(),
            other_types: lane.other_types.clone(),
            spot: lane.spot,
            ttl_seconds: lane.ttl_ms as f64 / 1000.0,
        }
    }

    /// `m7i.2xlarge, spot, 4h at most`.
    pub fn summary(&self) -> String {
        let types = types(self.instance_type.as_ref(), &self.other_types);
        let mut text = types.unwrap_or_else(|| "any machine".to_owned());
        if self.spot {
            text.push_str(", spot");
        }
        format!("{text}, {} at most", shown(self.ttl_seconds))
    }
}

impl PlanView {
    /// A checked launch, read.
    pub fn new(resolved: &Resolved) -> PlanView {
        let spec = &resolved.spec;
        let tasks = spec.indices.len();
        let (script, command) = match &spec.program {
            Program::Script {
                file_name,
                interpreter,
            } => (Some(file_name.clone()), interpreter.clone()),
            Program::Command { argv } => (None, argv.clone()),
        };
        PlanView {
            name: spec.name.clone(),
            tasks,
            indices: spec.indices.clone(),
            workers: workers(resolved),
            max_concurrent: spec.max_concurrent,
            provider: match resolved.provider {
                Provider::Local => "local",
                Provider::Ec2 => "ec2",
            },
            may_cost: resolved.provider != Provider::Local,
            script,
            command,
            files: spec.shipped.clone(),
            ttl_seconds: spec.ttl_ms as f64 / 1000.0,
            timeout_seconds: spec.timeout_ms.map(|ms| ms as f64 / 1000.0),
            instance_type: spec.instance_type.clone(),
            other_types: spec.other_types.clone(),
            spot: spec.spot,
            on_complete: spec.on_complete,
            retries: spec.budgets.clone(),
            max_failures: spec.max_failures,
            has_rows: spec.has_rows,
            kinds: spec.lanes.iter().map(KindView::new).collect(),
            recorded_only: resolved.unused.clone(),
            steps: Vec::new(),
        }
    }

    /// `100 tasks of process on 100 workers, 1d at most`.
    pub fn summary(&self) -> String {
        format!(
            "{} of `{}` on {}, {} at most",
            counted(self.tasks, "task"),
            self.name,
            counted(self.workers, "worker"),
            self.ttl(),
        )
    }

    /// `c7i.large, else c6i.large or m7i.large`, if there is a type.
    pub fn types(&self) -> Option<String> {
        types(self.instance_type.as_ref(), &self.other_types)
    }

    /// `--ttl`, as its user types it.
    pub fn ttl(&self) -> String {
        shown(self.ttl_seconds)
    }

    /// `--timeout`, as its user types it.
    pub fn timeout(&self) -> Option<String> {
        self.timeout_seconds.map(shown)
    }
}

fn workers(resolved: &Resolved) -> u64 {
    let spec = &resolved.spec;
    let tasks = spec.indices.len();
    // A machine runs one task at a time, so a bound on tasks is one on machines.
    let most = match resolved.provider {
        Provider::Local => None,
        Provider::Ec2 => spec.max_concurrent,
    };
    let asked = spec.workers.into_iter().chain(most).min();
    asked.map_or(tasks, |most| u64::from(most).min(tasks))
}

fn types(first: Option<&InstanceType>, others: &[InstanceType]) -> Option<String> {
    let others: Vec<&str> = others.iter().map(InstanceType::as_str).collect();
    first.map(|first| match others.as_slice() {
        [] => first.to_string(),
        others => format!("{first}, else {}", others.join(" or ")),
    })
}

fn shown(seconds: f64) -> String {
    let span = Span::from_millis((seconds * 1000.0).round() as u64);
    span.map_or_else(|| "no time".to_owned(), |span| span.to_string())
}
