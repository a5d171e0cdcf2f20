//! All of it put together: one machine serves its array until it leaves.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use spawn_aws::client::{AwsError, Client, Config, HttpTransport, Patience, SystemClock};
use spawn_aws::environment::Environment;
use spawn_aws::imds::{Imds, ImdsError};
use spawn_aws::services::s3::Bucket;
use spawn_core::moment::UnixMicros;
use spawn_dynamo::{DynamoLedger, DynamoOptions, Retries};
use spawn_local::private_files;
use spawn_local::submission::Submission;
use spawn_local::wall_clock;
use spawn_local::wire::agent::Isolation;
use spawn_ports::ledger::{ArrayRecord, Ledger, LedgerError, NewAgent};
use spawn_ports::machine::{Leave, Machine, MachineError};
use spawn_worker::patience::pause;
use spawn_worker::{End, Settings, Worker, WorkerError};

use crate::bundle::{self, BundleError};
use crate::config::NodeConfig;
use crate::dynamo_api::AwsDynamo;
use crate::job::{self, Places, Run};
use crate::machine::Ec2Machine;
use crate::objects::{S3Objects, is_passing};
use crate::standing;

/// How long scripts get when the array is cancelled.
const CANCEL_NOTICE: Duration = Duration::from_secs(30);

/// How long a machine that starts bears outages.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long an agent that was killed may take to end.
const LONGEST_END: Duration = Duration::from_secs(5);

/// More open files than any task needs.
const OPEN_FILES: u64 = 1 << 19;

/// Why a machine cannot serve. The service manager starts the program again.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration.
    #[error("the configuration {}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The instance metadata service.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The machine or its group.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// What was submitted cannot be read.
    #[error("the array's specification: {0}")]
    Spec(String),
    /// The system.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl NodeError {
    /// Whether the same may succeed later, with nothing changed by anybody.
    fn is_passing(&self) -> bool {
        match self {
            NodeError::Imds(_) => true,
            NodeError::Aws(error) => is_passing(error.kind),
            NodeError::Ledger(error) => matches!(error, LedgerError::Unavailable { .. }),
            _ => false,
        }
    }
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> NodeError {
    move |source| NodeError::System { doing, source }
}

/// Reads the configuration.
///
/// # Errors
/// It is not there, or not one.
pub fn read_config(path: &Path) -> Result<NodeConfig, NodeError> {
    let wrong = |why: String| NodeError::Config {
        path: path.to_owned(),
        why,
    };
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))
}

/// Serves the array on this machine until it leaves its group.
///
/// # Errors
/// See [`NodeError`]. The machine is still in its group then.
pub fn serve(config: &NodeConfig) -> Result<End, NodeError> {
    let environment = Environment::of_process();
    let imds = Imds::new(
        &environment,
        Arc::new(HttpTransport::for_metadata()),
        Arc::new(SystemClock::default()),
    );
    let instance = patiently(|| Ok(imds.instance_id()?))?;
    let client = Client::new(Config::from_environment(
        &environment,
        Some(&config.region),
        None,
    )?);
    let mut machine = Ec2Machine::new(imds, client.clone(), instance.clone(), config.made.clone());
    machine = machine.standing(config.standing.as_ref().map(|standing| standing.at_end));
    machine.heed_termination()?;
    if let Some(standing) = &config.standing {
        standing::guard(&client, standing, &instance)?;
    }
    let open_files = raise_open_files().map_err(|e| NodeError::System {
        doing: "raise the limit of open files",
        source: e.into(),
    })?;
    // The worker bears outages itself, and looks for notices in between: no call may take long.
    let brief = Patience {
        attempts: 3,
        attempt: Duration::from_secs(5),
        call: Duration::from_secs(10),
        longest: Duration::from_secs(4),
        ..Patience::default()
    };
    let mut ledger = DynamoLedger::new(
        AwsDynamo(client.with_patience(brief)),
        DynamoOptions {
            table: config.table.clone(),
            lease_millis: config.lease_ms,
            retries: Retries {
                attempts: 4,
                longest_millis: 2_000,
                ..Retries::default()
            },
        },
    );
    let mut objects = S3Objects::new(
        client.clone(),
        Bucket::named(&config.bucket),
        &config.prefix,
    );
    let Some(record) = patiently(|| open_array(&mut ledger, config))? else {
        // It ended before this machine was ready: what is left of it goes, if it can; this machine does.
        if let Err(e) = machine.array_has_ended() {
            eprintln!("spored-node: {e}");
        }
        machine.leave(Leave::Retire)?;
        return Ok(End::Retired);
    };
    let submission: Submission =
        serde_json::from_str(&record.submitted.spec).map_err(|e| NodeError::Spec(e.to_string()))?;
    let places = Places::below(&config.dir);
    lay_out(config, &places)?;
    let mut isolation = Isolation::Full;
    loop {
        let slot = patiently(|| free_slot(&mut ledger, config))?;
        let name = format!("{}-{}", std::process::id(), wall_clock::now().0);
        let run = Run {
            name: &name,
            slot,
            isolation,
            open_files,
            path: &machine_path(),
            now: aws_now(&client),
        };
        private_files::make_dir(&config.dir.join("logs"))
            .map_err(system("make the log's directory"))?;
        let (ours, theirs) = UnixStream::pair().map_err(system("talk to the agent"))?;
        let mut agent = start_agent(&places, theirs).map_err(system("start the agent"))?;
        let settings = settings(
            config,
            &places,
            &run,
            agent.id(),
            &instance,
            submission.launch.max_failures,
        );
        let made = |id| job::job(config, &submission, &record, &run, id);
        if made(spawn_ports::ledger::AgentId(0)).is_none() {
            return Err(NodeError::Spec(format!("it has no lane {}", config.lane)));
        }
        let now = || aws_now(&client);
        let served = Worker::start(
            settings,
            &mut ledger,
            &mut objects,
            &mut machine,
            &now,
            ours,
            |id| made(id).unwrap_or_else(|| unreachable!("the lane was found a moment ago")),
        )
        .and_then(Worker::serve);
        let _ = agent.kill();
        await_end(&mut agent);
        match (served, lower(isolation)) {
            // A kernel without some of the namespaces: less isolation is better than none served.
            (Err(WorkerError::Broken(why)), Some(less)) => {
                eprintln!("spored-node: isolation {isolation:?} cannot be had: {why}");
                isolation = less;
            }
            (served, _) => return Ok(served?),
        }
    }
}

/// Waits for the agent to end, not for ever: what the kernel does not let go of goes with the machine.
fn await_end(agent: &mut Child) {
    let until = Instant::now() + LONGEST_END;
    while matches!(agent.try_wait(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lower(isolation: Isolation) -> Option<Isolation> {
    match isolation {
        Isolation::Full => Some(Isolation::Mounts),
        Isolation::Mounts => Some(Isolation::Shared),
        Isolation::Shared => None,
    }
}

/// AWS's time, as far as answers have told: the machine's clock may be days off. Reading the array is
/// the first call, so that all that is told to the ledger comes after an answer.
pub fn aws_now(client: &Client) -> UnixMicros {
    let since = client.aws_now().duration_since(UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    UnixMicros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// Does what may be done again until it does not fail in passing, for ten minutes at most. Who gives up
/// here is started again by the service manager.
fn patiently<T>(mut what: impl FnMut() -> Result<T, NodeError>) -> Result<T, NodeError> {
    let began = Instant::now();
    for failures in 1.. {
        match what() {
            Err(e) if e.is_passing() && began.elapsed() < PATIENCE => {
                eprintln!("spored-node: {e}; trying again");
                std::thread::sleep(pause(failures));
            }
            done => return done,
        }
    }
    what()
}

/// The array, if it has anything left to do.
fn open_array(
    ledger: &mut impl Ledger,
    config: &NodeConfig,
) -> Result<Option<ArrayRecord>, NodeError> {
    // One that is not there was removed: it wants nothing either.
    let record = ledger.array(&config.array)?;
    Ok(record.filter(|record| !record.counts.all_ended()))
}

/// The lowest slot that no serving worker has. Two that start at once may take the same: it is
/// part of a name, and no more.
fn free_slot(ledger: &mut impl Ledger, config: &NodeConfig) -> Result<u32, NodeError> {
    let agents = ledger.agents(&config.array, u32::MAX)?;
    let taken: std::collections::BTreeSet<u32> = agents
        .iter()
        .filter(|agent| agent.ended_at.is_none())
        .map(|agent| agent.enrolled.slot)
        .collect();
    Ok((0..).find(|slot| !taken.contains(slot)).unwrap_or(0))
}

/// Unpacks the job, once for all runs of the program, and puts `spored` where scripts find it.
fn lay_out(config: &NodeConfig, places: &Places) -> Result<(), NodeError> {
    let (job, bin) = (places.job(), places.bin());
    private_files::make_dir(&bin).map_err(system("make the directory of programs"))?;
    private_files::close(&config.dir).map_err(system("close the directory to others"))?;
    if !job.is_dir() {
        let unfinished = config.dir.join("job.unfinished");
        match fs::remove_dir_all(&unfinished) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(system("remove an unfinished job")(e));
            }
            _ => {}
        }
        for name in ["script", "files"] {
            private_files::make_dir(&unfinished.join(name))
                .map_err(system("make the job's directory"))?;
        }
        bundle::unpack_verified(&config.bundle, &config.bundle_sha256, &unfinished)?;
        fs::rename(&unfinished, &job).map_err(system("put the job in its place"))?;
    }
    let own = std::env::current_exe().map_err(system("find this program"))?;
    let agent = bin.join("spored");
    let _ = fs::remove_file(&agent);
    let sibling = own.with_file_name("spored");
    // Other file systems take no link.
    fs::hard_link(&sibling, &agent)
        .or_else(|_| fs::copy(&sibling, &agent).map(|_| ()))
        .map_err(system("put `spored` beside the scripts"))
}

fn settings(
    config: &NodeConfig,
    places: &Places,
    run: &Run<'_>,
    agent: u32,
    instance: &str,
    max_failures: Option<spawn_core::max_failures::MaxFailures>,
) -> Settings {
    Settings {
        array: config.array.clone(),
        enrolment: NewAgent {
            array: config.array.clone(),
            slot: run.slot,
            lane: config.lane,
            pid: agent,
            pid_started: 0,
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
            hostname: instance.to_owned(),
        },
        lease: Duration::from_millis(config.lease_ms),
        look_every: Duration::from_millis(config.look_ms),
        ask_every: Duration::from_millis(config.ask_ms),
        cancel_notice: CANCEL_NOTICE,
        max_failures,
        wanted: config.wanted,
        log: places.log(run.name),
    }
}

/// The agent, as a host starts it: with nothing but its job.
fn start_agent(places: &Places, socket: UnixStream) -> io::Result<Child> {
    Command::new(places.bin().join("spored"))
        .arg("agent")
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .spawn()
}

/// This machine's PATH; what every distribution has, if there is none.
fn machine_path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()
    })
}

/// Takes as many as the machine gives, and says how many.
fn raise_open_files() -> nix::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(OPEN_FILES);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}
