//! What the agent is told: the same job that a host makes of a submission, on a machine of its own.

use std::path::{Path, PathBuf};

use spawn_core::moment::UnixMicros;
use spawn_core::supervise::notice_of;
use spawn_local::submission::Submission;
use spawn_local::wire::agent::{Isolation, Job};
use spawn_ports::ledger::{AgentId, ArrayRecord};
use spawn_spec::Program;

use crate::config::NodeConfig;

/// Where things are on this machine.
#[derive(Debug, Clone)]
pub struct Places {
    dir: PathBuf,
}

impl Places {
    /// Everything below this directory.
    pub fn below(dir: &Path) -> Places {
        Places {
            dir: dir.to_owned(),
        }
    }

    /// The unpacked bundle.
    pub fn job(&self) -> PathBuf {
        self.dir.join("job")
    }

    /// Programs for scripts.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// What the sandbox of one run of this program uses.
    pub fn worker(&self, run: &str) -> PathBuf {
        self.dir.join("workers").join(run)
    }

    /// The agent's log of one run of this program.
    pub fn log(&self, run: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{run}.log"))
    }
}

/// One run of the agent on this machine.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// Its name; no two runs on a machine share one.
    pub name: &'a str,
    /// The slot it fills.
    pub slot: u32,
    /// The most isolation to try for.
    pub isolation: Isolation,
    /// How many files a task may have open.
    pub open_files: u64,
    /// PATH of this machine.
    pub path: &'a str,
    /// The time.
    pub now: UnixMicros,
}

/// The job of an agent. `None`: the array has no such lane.
pub fn job(
    config: &NodeConfig,
    submission: &Submission,
    record: &ArrayRecord,
    run: &Run<'_>,
    agent: AgentId,
) -> Option<Job> {
    let launch = &submission.launch;
    let lanes = launch.all_lanes();
    let nth = config.lane as usize;
    let lane = lanes.get(nth)?;
    let before = lanes[..nth].iter().map(|lane| lane.indices.len()).sum();
    let (argv, script) = match &launch.program {
        Program::Script {
            file_name,
            interpreter,
        } => (interpreter.clone(), Some(file_name.clone())),
        Program::Command { argv } => (argv.clone(), None),
    };
    let places = Places::below(&config.dir);
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let shortest = lane.ttl_ms.min(launch.ttl_ms);
    Some(Job {
        array: config.array.clone(),
        name: launch.name.clone(),
        indices: lane.indices.clone(),
        first_position: before,
        total: launch.indices.len(),
        rows: launch
            .has_rows
            .then(|| text(places.job().join(spawn_local::rows::FILE))),
        agent,
        slot: run.slot,
        fresh: launch.workers.is_none(),
        argv,
        script,
        shipped: launch.shipped.iter().map(|f| f.name.clone()).collect(),
        env: variables(config, submission),
        path: run.path.to_owned(),
        timeout_ms: launch.timeout_ms,
        ttl_ms: record.submitted.deadline.micros_since(run.now) / 1000,
        worker_ttl_ms: Some(lane.ttl_ms).filter(|ttl| *ttl < launch.ttl_ms),
        ttl_notice_ms: millis(notice_of(std::time::Duration::from_millis(shortest))),
        heartbeat_ms: config.lease_ms / 4,
        umask: submission.umask,
        open_files: run.open_files,
        // Another machine may have nothing to do; and a failure too many stops all of them.
        one_by_one: true,
        durable: launch.durable,
        group: None,
        job_dir: text(places.job()),
        worker_dir: text(places.worker(run.name)),
        bin_dir: text(places.bin()),
        log: text(places.log(run.name)),
        isolation: run.isolation,
        missing: None,
    })
}

/// The variables of every task. Those of the launching shell that describe its machine are not
/// taken over; AWS tools find the instance's role by themselves.
fn variables(config: &NodeConfig, submission: &Submission) -> Vec<(String, String)> {
    let own = [
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("AWS_REGION", config.region.as_str()),
        ("AWS_DEFAULT_REGION", config.region.as_str()),
        ("AWS_PAGER", ""),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let taken = submission.shell_env.iter().filter(|(name, _)| name == "TZ");
    let asked = submission.launch.env.iter();
    own.into_iter().chain(taken.chain(asked).cloned()).collect()
}
