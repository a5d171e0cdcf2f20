//! What a launch is going to do.

use serde::Serialize;
use spawn_core::duration::Span;
use spawn_core::index_set::IndexSet;
use spawn_spec::{Program, Resolved, ShippedFile};

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
    /// Flags that are recorded, and without effect here.
    pub recorded_only: Vec<&'static str>,
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
            workers: spec.workers.map_or(tasks, u64::from),
            max_concurrent: spec.max_concurrent,
            provider: "local",
            may_cost: false,
            script,
            command,
            files: spec.shipped.clone(),
            ttl_seconds: spec.ttl_ms as f64 / 1000.0,
            timeout_seconds: spec.timeout_ms.map(|ms| ms as f64 / 1000.0),
            recorded_only: resolved.local_unused.clone(),
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

    /// `--ttl`, as its user types it.
    pub fn ttl(&self) -> String {
        shown(self.ttl_seconds)
    }

    /// `--timeout`, as its user types it.
    pub fn timeout(&self) -> Option<String> {
        self.timeout_seconds.map(shown)
    }
}

fn shown(seconds: f64) -> String {
    let span = Span::from_millis((seconds * 1000.0).round() as u64);
    span.map_or_else(|| "no time".to_owned(), |span| span.to_string())
}
