//! Becoming the host: the lock, recovery after a crash, the endpoint.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::Pid;
use spawn_endpoint::{Credentials, EndpointConfig};
use spawn_local::home::{Home, HomeError};
use spawn_local::host_client::{listen, sibling};
use spawn_local::ledger::{Durability, SqliteLedger};
use spawn_local::sandbox::{processes, tidy};
use spawn_local::wall_clock;
use spawn_ports::ledger::{Ledger, LedgerError};

use crate::failed_calls::FailedCalls;
use crate::host::Host;
use crate::losses;
use crate::programs;

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The endpoint.
    #[error("the endpoint: {0}")]
    Endpoint(#[from] spawn_endpoint::EndpointError),
    /// `spored` is not where it should be.
    #[error("cannot find `spored` beside {}", .0.display())]
    NoAgent(PathBuf),
    /// A variable says something unknown.
    #[error("`{name}` is `{value}`: expected {expected}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// Anything else.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How long an agent of a host that was killed may take to end once it is killed.
const LONGEST_END: Duration = Duration::from_secs(5);

fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> StartError {
    move |e| StartError::Io {
        what: what.into(),
        source: e.into(),
    }
}

/// Becomes the host of `home`. `None` if another process is it already.
pub fn start(home: Home) -> Result<Option<Host>, StartError> {
    if home.secure()? {
        note!("{}", home.closed_note());
    }
    home.create()?;
    detach()?;
    let open_files = take_all_descriptors()?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(home.lock())
        .map_err(failed(format!("open {}", home.lock().display())))?;
    let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, e)) => return Err(failed("take the host's lock")(e)),
    };
    let damaged_log = losses::keep_damaged_log(&home);
    let mut ledger = SqliteLedger::open(&home.ledger(), Durability::ProcessCrash)?;
    let mut warnings = Vec::from_iter(damaged_log);
    if !warnings.is_empty() {
        // What is left of the damaged log would be found again.
        ledger.empty_log()?;
    }
    recover(&home, &mut ledger)?;
    warnings.extend(losses::look(&home, &mut ledger)?);
    let agent = agent_program()?;
    programs::install(&home.bin(), &agent).map_err(failed("install the programs for scripts"))?;

    let credentials = Credentials::load_or_create(&home.credentials())?;
    let listener = endpoint_listener(&home).map_err(failed("listen for the endpoint"))?;
    let port = listener
        .local_addr()
        .map_err(failed("listen for the endpoint"))?
        .port();
    let failed_calls = FailedCalls::default();
    let endpoint = spawn_endpoint::start(
        listener,
        EndpointConfig {
            dir: home.aws(),
            credentials: credentials.clone(),
            on_request: Some(failed_calls.hook()),
        },
    )?;
    let socket = listen(&home).map_err(failed(format!("listen on {}", home.socket().display())))?;
    let host = Host::new(
        home,
        open_files,
        ledger,
        socket,
        agent,
        endpoint,
        port,
        credentials,
        failed_calls,
        lock,
        warnings,
    )?;
    // The command that started us reads to the end of this.
    println!("ready");
    io::stdout()
        .flush()
        .map_err(failed("say that it is ready"))?;
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(failed("open /dev/null"))?;
    nix::unistd::dup2_stdout(&null).map_err(failed("let go of standard output"))?;
    Ok(Some(host))
}

/// A session of its own: the terminal's signals end the command, not the host.
fn detach() -> Result<(), StartError> {
    // Fails for a process group leader only, as when run by hand.
    let _ = nix::unistd::setsid();
    // What an agent leaves without a parent comes here, to be ended.
    nix::sys::prctl::set_child_subreaper(true).map_err(failed("become the reaper of agents"))?;
    let ignored = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGPIPE];
    for s in ignored {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { signal(s, SigHandler::SigIgn) }.map_err(failed("ignore signals"))?;
    }
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    watched.add(Signal::SIGTERM);
    watched.thread_block().map_err(failed("block signals"))
}

/// As many descriptors as are allowed: each agent takes one, and each command. None of those of
/// the shell that started us, whose locks and pipes would live as long as the host. The limit as
/// it was, for the tasks.
fn take_all_descriptors() -> Result<u64, StartError> {
    // SAFETY: nothing of this process owns a descriptor past the standard three yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    let what = || failed("raise the limit of open files");
    let (usual, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(what())?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(what())?;
    Ok(usual)
}

/// After a host that was killed: agents that still live are ended, and their leases are void.
fn recover(home: &Home, ledger: &mut SqliteLedger) -> Result<(), StartError> {
    let boot = processes::boot_id();
    let orphans = ledger.live_agents()?;
    for agent in &orphans {
        let (pid, started) = (agent.enrolled.pid as i32, agent.enrolled.pid_started);
        if agent.enrolled.boot == boot && processes::is_alive(pid, started) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            let until = Instant::now() + LONGEST_END;
            while processes::is_alive(pid, started) {
                if Instant::now() >= until {
                    note!("agent process {pid} was killed and does not end: the kernel holds it");
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    // What the workers of the dead left. Before anything is written: it may be what fills the disk.
    for entry in fs::read_dir(home.workers()).into_iter().flatten().flatten() {
        if let Err(e) = tidy::remove(&entry.path()) {
            note!("cannot remove {}: {e}", entry.path().display());
        }
    }
    ledger.group(|ledger| {
        for agent in &orphans {
            ledger.end_agent(agent.id, wall_clock::now())?;
        }
        Ok(())
    })?;
    Ok(())
}

fn agent_program() -> Result<PathBuf, StartError> {
    let me = std::env::current_exe().map_err(failed("find this program"))?;
    sibling(&me, "spored").ok_or(StartError::NoAgent(me))
}

/// The endpoint's listener: on the port this home always had, or a new one that it keeps.
fn endpoint_listener(home: &Home) -> io::Result<TcpListener> {
    let kept = fs::read_to_string(home.endpoint_port())
        .ok()
        .and_then(|p| p.trim().parse::<u16>().ok());
    if let Some(port) = kept {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(e) => note!("port {port} is taken ({e}); the endpoint moves to another"),
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    fs::write(
        home.endpoint_port(),
        format!("{}\n", listener.local_addr()?.port()),
    )?;
    Ok(listener)
}

/// The lock, held until the host ends.
pub type HostLock = Flock<File>;
