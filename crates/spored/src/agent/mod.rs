//! The agent: serves one slot of an array until nothing is left for it.
//!
//! One thread, one loop ([`event_loop`]) around the pure supervision machine, with [`task_start`],
//! [`watch`] and [`task_end`] for what happens to a task there. It takes turns with
//! the host, runs one task at a time in a sandbox, keeps its output, and reports one outcome for
//! each. It never outlives the host: the socket between them ends with either.

mod attempt;
mod environment;
mod event_loop;
mod output;
mod pieces;
pub mod probe;
mod task_end;
mod task_start;
mod watch;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use spawn_local::rows::Rows;
use spawn_local::sandbox::world::is_private;
use spawn_local::sandbox::{World, WorldPlan};
use spawn_local::shortage::is_shortage;
use spawn_local::task_log::TaskLog;
use spawn_local::wire::agent::{FromAgent, Job, ToAgent};
use spawn_local::wire::frames::{self, Inbox};

/// Runs the agent. Standard input is its socket to the host.
pub fn main() -> io::Result<()> {
    match serve() {
        // The host went first; its successor runs the tasks again.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn serve() -> io::Result<()> {
    reset_signals()?;
    // A stopped agent would not notice that its host is gone.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut host = UnixStream::from(socket);
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;

    let mut inbox = Inbox::new();
    let job = match frames::receive(&mut inbox, &mut host)? {
        ToAgent::Job(job) => *job,
        _ => return Ok(()),
    };
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, job.open_files.min(most), most)?;
    // The log lies in the home, which the world may hide: it is opened first and kept open.
    let log = match TaskLog::create(job.log.as_ref()) {
        Err(e) if is_shortage(&e) => {
            let why = format!("cannot make {}: {e}", job.log);
            return frames::send(&FromAgent::Short { why }, &mut host);
        }
        log => log?,
    };
    if job.missing.is_some() {
        // No task of the array can run, and each says so.
        return event_loop::Agent::new(host, inbox, job, World::nowhere(), log, None)?.serve();
    }
    if let Some(why) = pieces::missing(&job) {
        return frames::send(&FromAgent::Missing { why }, &mut host);
    }
    let rows = job.rows.as_ref().map(|path| Rows::open(path.as_ref()));
    let rows = rows.transpose()?;
    if let Some(group) = &job.group {
        group.join()?;
    }
    let shims = environment::make_shims(&job)?;
    match World::build(&world_plan(&job, shims)) {
        Ok(world) => {
            let built = FromAgent::Built {
                isolation: world.isolation,
            };
            frames::send(&built, &mut host)?;
            umask(Mode::from_bits_truncate(job.umask));
            event_loop::Agent::new(host, inbox, job, world, log, rows)?.serve()
        }
        Err(e) if e.is_shortage() => {
            let why = format!("no sandbox can be built: {e}");
            frames::send(&FromAgent::Short { why }, &mut host)
        }
        Err(e) => {
            let why = e.to_string();
            // A piece that went while the world was built says nothing of what this machine allows.
            if let Some(why) = pieces::missing(&job) {
                return frames::send(&FromAgent::Missing { why }, &mut host);
            }
            frames::send(&FromAgent::Broken { why }, &mut host)
        }
    }
}

fn world_plan(job: &Job, shims: Option<PathBuf>) -> WorldPlan {
    let is_hidden = |(name, value): &(String, String)| name == "HOME" && is_private(value.as_ref());
    WorldPlan {
        isolation: job.isolation,
        job: job.job_dir.clone().into(),
        bin: job.bin_dir.clone().into(),
        worker: job.worker_dir.clone().into(),
        own_home: job.env.iter().any(is_hidden),
        shims,
        path: std::env::split_paths(&job.path).collect(),
    }
}

/// A signal ignored here would be untrappable in every script.
///
/// By system call: the C library would otherwise reset every signal it saw touched again for
/// each script it starts, at a hundred calls a time.
fn reset_signals() -> io::Result<()> {
    /// The kernel's `struct sigaction` for the default disposition: all zero.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        // SAFETY: the structure is 32 bytes on 64-bit machines and outlives the call; the default
        // disposition runs no code of ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8usize,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}
