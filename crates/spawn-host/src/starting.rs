//! How agents start: the process, its enrolment, its job.
//!
//! One spare process waits for a job, once there has been a first: the next launch does not wait
//! for a program to start.

use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_local::ledger::SqliteLedger;
use spawn_local::private_files;
use spawn_local::sandbox::limits::{self, Group, Limits};
use spawn_local::sandbox::processes;
use spawn_local::task_log;
use spawn_local::wire::agent::{Job, ToAgent};
use spawn_local::worker_name;
use spawn_ports::ledger::{AgentId, Ledger, LedgerError, NewAgent};
use spawn_spec::Program;

use crate::agents::Agent;
use crate::arrays::LiveArray;
use crate::desk::Desk;
use crate::peers::PeerId;
use crate::programs;

/// An agent process that has no job yet.
#[derive(Debug, Clone, Copy)]
pub struct Spare {
    /// Its connection.
    pub peer: PeerId,
    /// Its process.
    pub pid: u32,
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentStartError {
    /// No process: the array is held up.
    #[error("cannot start an agent: {0}")]
    Process(#[from] io::Error),
    /// The ledger failed: so does the host.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Desk {
    /// Starts an agent for a free slot of an array.
    pub(crate) fn start_agent(
        &mut self,
        ledger: &mut SqliteLedger,
        array_id: &ArrayId,
        lane: u32,
        now: UnixMicros,
    ) -> Result<(), AgentStartError> {
        if let Some(array) = self.arrays.get_mut(array_id)
            && !array.has_looked_at_logs
        {
            let last = task_log::last_agent(&self.home.logs(array_id))?;
            ledger.number_agents_after(AgentId(last));
            array.has_looked_at_logs = true;
        }
        // Tasks need them, and they are the home's, not the array's.
        if !self.home.bin().join("spored").exists() {
            private_files::make_dir(&self.home.bin())?;
            programs::install(&self.home.bin(), &self.agent_program)?;
        }
        let Spare { peer, pid } = match self.spare.take() {
            Some(spare) => spare,
            None => self.start_process()?,
        };
        let Some(array) = self.arrays.get_mut(array_id) else {
            return Ok(());
        };
        if array.retry_start_at.take().is_some() {
            array.held_up = None;
        }
        let slot = array.take_slot(lane);
        let enrolment = NewAgent {
            array: array_id.clone(),
            slot,
            lane,
            pid,
            pid_started: processes::process(pid as i32).map_or(0, |p| p.started),
            boot: self.boot.clone(),
            hostname: match array.fresh() {
                true => array.submission.launch.name.clone(),
                false => worker_name::of_slot(&array.submission.launch.name, slot),
            },
        };
        let limits = limits_of(array, lane);
        let id = ledger.enroll(&enrolment, now)?;
        let group = self.limit(pid, limits);
        let job = self.job(&self.arrays[array_id], id, (slot, lane), group, now);
        self.ending.insert(pid as i32, self.home.worker(id));
        self.peers.send(peer, &ToAgent::Job(Box::new(job)));
        let agent = Agent {
            array: array_id.clone(),
            slot,
            lane,
            pid,
            id,
            built: false,
            broken: false,
            tried: self.isolation,
            running: None,
            heard: Instant::now(),
            retired: false,
            has_claimed: false,
            makes_way: false,
            gone_by: None,
            task_gone_by: None,
        };
        self.agents.insert(peer, agent);
        Ok(())
    }

    /// Sees to it that the next agent starts at once.
    pub(crate) fn keep_a_spare(&mut self) {
        if self.spare.is_none() && !self.closing {
            // Without one, the next agent's process is started when it is needed.
            self.spare = self.start_process().ok();
        }
    }

    fn start_process(&mut self) -> io::Result<Spare> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.agent_program)
            .arg("agent")
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Spare {
            peer: self.peers.add(ours)?,
            pid: child.id(),
        })
    }

    fn job(
        &self,
        array: &LiveArray,
        id: AgentId,
        (slot, lane): (u32, u32),
        group: Option<Group>,
        now: UnixMicros,
    ) -> Job {
        let launch = &array.submission.launch;
        let (argv, script) = match &launch.program {
            Program::Script {
                file_name,
                interpreter,
            } => (interpreter.clone(), Some(file_name.clone())),
            Program::Command { argv } => (argv.clone(), None),
        };
        let path = |p: std::path::PathBuf| p.to_string_lossy().into_owned();
        let lane = &array.lanes[lane as usize];
        Job {
            array: array.id.clone(),
            name: launch.name.clone(),
            indices: lane.spec.indices.clone(),
            first_position: lane.first_position,
            total: launch.indices.len(),
            rows: launch.has_rows.then(|| path(self.home.rows(&array.id))),
            agent: id,
            slot,
            fresh: array.fresh(),
            argv,
            script,
            shipped: launch.shipped.iter().map(|f| f.name.clone()).collect(),
            env: self.task_env(array),
            path: array.submission.path.clone(),
            timeout_ms: launch.timeout_ms,
            durable: launch.durable,
            // The failure that is one too many must not find tasks claimed ahead.
            one_by_one: launch.max_failures.is_some(),
            ttl_notice_ms: array.ttl_notice_millis(lane.spec.ttl_ms),
            heartbeat_ms: (self.lease / 4).as_millis() as u64,
            umask: array.submission.umask,
            open_files: self.open_files,
            group,
            ttl_ms: array.deadline.micros_since(now) / 1000,
            // Of the longest-lived lane the array's own deadline is the end.
            worker_ttl_ms: Some(lane.spec.ttl_ms).filter(|ttl| *ttl < launch.ttl_ms),
            job_dir: path(self.home.job(&array.id)),
            worker_dir: path(self.home.worker(id)),
            bin_dir: path(self.home.bin()),
            log: path(self.home.log(&array.id, id)),
            isolation: self.isolation,
            missing: array.missing.clone(),
        }
    }

    fn task_env(&self, array: &LiveArray) -> Vec<(String, String)> {
        let submission = &array.submission;
        let mut env = submission.shell_env.clone();
        env.extend(spawn_local::endpoint_env::variables(
            self.endpoint_port,
            &self.credentials.access_key_id,
            &self.credentials.secret_access_key,
        ));
        env.extend(submission.launch.env.iter().cloned());
        env
    }

    /// Whether workers can be given limits here.
    pub(crate) fn can_limit(&self) -> bool {
        *self.limits.get_or_init(|| {
            let prefix = self.group_prefix();
            limits::remove_left(&prefix);
            limits::available(&format!("{prefix}probe"))
        })
    }

    /// The start of the names of this home's control groups.
    fn group_prefix(&self) -> String {
        let mut hash = std::hash::DefaultHasher::new();
        self.home.root().hash(&mut hash);
        format!("spawn-{:016x}-", hash.finish())
    }

    fn limit(&mut self, pid: u32, limits: Option<Limits>) -> Option<Group> {
        let limits = limits.filter(|_| self.can_limit())?;
        match Group::create(&format!("{}{pid}", self.group_prefix()), limits) {
            Ok(group) => {
                self.groups.insert(pid as i32, group.clone());
                Some(group)
            }
            Err(e) => {
                note!("no limits for agent process {pid}: {e}");
                None
            }
        }
    }
}

/// The processors and memory of the instance type that was asked for, if it is a known one.
fn limits_of(array: &LiveArray, lane: u32) -> Option<Limits> {
    let lane = array.lanes.get(lane as usize)?;
    let shape = lane.spec.instance_type.as_ref()?.shape()?;
    Some(Limits {
        cpus: shape.vcpus,
        memory_bytes: shape.memory_mib << 20,
    })
}
