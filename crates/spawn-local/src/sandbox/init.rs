//! The program at the root of a sandbox: starts the script, reaps, and lets nothing outlive it.
//!
//! A clone of the agent that never returns. It is process 1 of its namespace where it has one;
//! elsewhere it is the subreaper and hunts by parentage. It ends with its agent.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, sethostname};

use super::init_link::{FromInit, LeaderEnd, Step, ToInit, hear_agent, tell_agent};
use super::processes::{self, Process};
use super::{BorrowedPipe, Program};
use crate::wire::agent::Isolation;

pub(super) fn main(
    link: OwnedFd,
    isolation: Isolation,
    hostname: &str,
    program: &Program,
    only: Option<&[u8]>,
) -> ! {
    match set_up(link.as_fd(), isolation, hostname, program) {
        Ok(signals) => {
            let mut init = Init {
                link: link.as_fd(),
                signals,
                program,
                own_pids: isolation == Isolation::Full,
                leader: None,
                noted: Vec::new(),
            };
            // An error here means that the agent is gone or the machine is at its end.
            let _ = init.serve(only);
            init.end_all();
        }
        Err((step, error)) => {
            let errno = error as i32;
            let _ = tell_agent(link.as_fd(), FromInit::Broken { errno, step });
        }
    }
    // SAFETY: ends this process at once, without the agent's exit handlers.
    unsafe { libc::_exit(0) }
}

fn set_up(
    link: BorrowedFd<'_>,
    isolation: Isolation,
    hostname: &str,
    program: &Program,
) -> Result<SignalFd, (Step, Errno)> {
    let at = |step: Step| move |e: Errno| (step, e);
    match isolation {
        // With process 1 goes all of its namespace.
        Isolation::Full => prctl::set_pdeathsig(Signal::SIGKILL),
        // Elsewhere the init has to outlive the agent to end what the script started: it sees
        // the end of the link.
        Isolation::Mounts | Isolation::Shared => prctl::set_child_subreaper(true),
    }
    .map_err(at(Step::Lifeline))?;
    let null = std::fs::File::open("/dev/null").map_err(|_| (Step::Descriptors, Errno::ENOENT))?;
    let pipe = |p: BorrowedPipe| {
        // SAFETY: the agent keeps its pipes open for as long as it lives, and so do its clones.
        unsafe { BorrowedFd::borrow_raw(p.0) }
    };
    dup2_stdin(&null).map_err(at(Step::Descriptors))?;
    drop(null);
    dup2_stdout(pipe(program.stdout)).map_err(at(Step::Descriptors))?;
    dup2_stderr(pipe(program.stderr)).map_err(at(Step::Descriptors))?;
    close_all_but(link.as_raw_fd());
    if isolation >= Isolation::Mounts {
        sethostname(hostname).map_err(at(Step::Hostname))?;
    }
    if isolation == Isolation::Full {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(at(Step::Proc))?;
    }
    if program.first_to_go {
        // Files in a private /dev/shm count as the group's memory too, so size alone may point at
        // the agent. Raising one's own score needs no privilege; where it fails, size decides.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    chdir(program.directory.as_c_str()).map_err(at(Step::Directory))?;
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    watched.thread_block().map_err(at(Step::Signals))?;
    SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(at(Step::Signals))
}

/// The agent's other descriptors must not live on here: the host watches them for the agent's end.
fn close_all_but(keep: i32) {
    let range = |from: i32, to: u32| {
        if from as u32 <= to {
            // SAFETY: no object of this process is used after this that owns one of them.
            unsafe { libc::syscall(libc::SYS_close_range, from as u32, to, 0u32) };
        }
    };
    if keep > 3 {
        range(3, keep as u32 - 1);
    }
    range(keep.max(2) + 1, u32::MAX);
}

/// More processes than this are not noted, to be told to stop.
const MOST_NOTED: usize = 2_000;

struct Init<'a> {
    link: BorrowedFd<'a>,
    signals: SignalFd,
    program: &'a Program,
    own_pids: bool,
    leader: Option<Pid>,
    noted: Vec<Process>,
}

impl Init<'_> {
    fn serve(&mut self, only: Option<&[u8]>) -> io::Result<()> {
        let mut buffer = Vec::new();
        if let Some(vars) = only {
            self.run(vars)?;
        }
        while only.is_none() || self.leader.is_some() {
            let mut fds = [
                PollFd::new(self.link, PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let [spoken, child] = [&fds[0], &fds[1]].map(|f| f.any().unwrap_or(true));
            if child {
                while self.signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            if spoken {
                match hear_agent(self.link, &mut buffer)? {
                    None => return Ok(()),
                    Some(ToInit::Run(vars)) => self.run(vars)?,
                    Some(ToInit::TermLeader) => self.term_leader(),
                    Some(ToInit::TermDescendants) => self.term_descendants(),
                    Some(ToInit::KillAll) => self.kill_all(),
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, vars: &[u8]) -> io::Result<()> {
        self.noted.clear();
        match start(self.program, vars) {
            Ok(pid) => {
                self.leader = Some(pid);
                Ok(())
            }
            Err(errno) => tell_agent(
                self.link,
                FromInit::NotStarted {
                    errno: errno as i32,
                },
            ),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, status, usage) = match wait4(libc::WNOHANG)? {
                Waited::Ended(pid, status, usage) => (pid, status, usage),
                Waited::NotYet | Waited::NoChild => return Ok(()),
            };
            if Some(pid) != self.leader {
                continue;
            }
            self.leader = None;
            let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
            let end = LeaderEnd {
                status,
                peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
                cpu_micros: micros(usage.ru_utime) + micros(usage.ru_stime),
            };
            // The common case: the script left nothing behind, and this says so at once.
            if self.has_children() {
                // The agent counts the time that their end takes; not all of them may end.
                tell_agent(self.link, FromInit::Lingering(end))?;
                self.end_all();
            }
            tell_agent(self.link, FromInit::Ended(end))?;
        }
    }

    /// Reaps what has ended. Whether something is left.
    fn has_children(&self) -> bool {
        loop {
            match wait4(libc::WNOHANG) {
                Err(_) | Ok(Waited::NoChild) => return false,
                Ok(Waited::Ended(..)) => {}
                Ok(Waited::NotYet) => return true,
            }
        }
    }

    /// Kills and reaps until no descendant is left.
    fn end_all(&mut self) {
        while self.has_children() {
            self.kill_all();
            if wait4(0).is_err() {
                return;
            }
        }
    }

    fn kill_all(&self) {
        if self.own_pids {
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        } else {
            for p in processes::descendants(std::process::id() as i32) {
                let _ = kill(Pid::from_raw(p.pid), Signal::SIGKILL);
            }
        }
    }

    fn term_leader(&mut self) {
        let me = std::process::id() as i32;
        let Some(leader) = self.leader else { return };
        self.noted = if self.own_pids {
            // Of a fork bomb not all are told; all are killed.
            processes::first(MOST_NOTED)
        } else {
            processes::descendants(me)
        };
        self.noted
            .retain(|p| p.pid != me && p.pid != leader.as_raw());
        let _ = kill(leader, Signal::SIGTERM);
        // A stopped script could not hear it.
        let _ = kill(leader, Signal::SIGCONT);
    }

    fn term_descendants(&mut self) {
        for p in std::mem::take(&mut self.noted) {
            if processes::is_alive(p.pid, p.started) {
                let _ = kill(Pid::from_raw(p.pid), Signal::SIGTERM);
                let _ = kill(Pid::from_raw(p.pid), Signal::SIGCONT);
            }
        }
    }
}

enum Waited {
    Ended(Pid, i32, libc::rusage),
    NotYet,
    NoChild,
}

/// Waits for any child; with `WNOHANG` only looks.
fn wait4(flags: i32) -> Result<Waited, Errno> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both places live for the call.
        match unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) } {
            0 => return Ok(Waited::NotYet),
            -1 => match Errno::last() {
                Errno::EINTR => {}
                Errno::ECHILD => return Ok(Waited::NoChild),
                e => return Err(e),
            },
            pid => return Ok(Waited::Ended(Pid::from_raw(pid), status, usage)),
        }
    }
}

/// Starts the program as the leader of a session of its own, with no signal blocked. None is
/// ignored either: the agent resets its dispositions before it opens a sandbox.
fn start(program: &Program, vars: &[u8]) -> Result<Pid, Errno> {
    let mut env: Vec<&CStr> = program.env.iter().map(CString::as_c_str).collect();
    env.extend(
        vars.split_inclusive(|b| *b == 0)
            .filter_map(|v| CStr::from_bytes_with_nul(v).ok()),
    );
    let pointers = |strings: &mut dyn Iterator<Item = &CStr>| -> Vec<*mut libc::c_char> {
        strings
            .map(|s| s.as_ptr().cast_mut())
            .chain([std::ptr::null_mut()])
            .collect()
    };
    let argv = pointers(&mut program.argv.iter().map(CString::as_c_str));
    let envp = pointers(&mut env.into_iter());
    let mut pid = 0;
    let ok = |code: i32| match code {
        0 => Ok(()),
        code => Err(Errno::from_raw(code)),
    };
    // SAFETY: the attributes are initialised before use and destroyed after; the argument and
    // environment arrays end in null and live, with what they point to, until the call returns.
    unsafe {
        let mut attributes = std::mem::zeroed();
        ok(libc::posix_spawnattr_init(&raw mut attributes))?;
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        let flags = libc::POSIX_SPAWN_SETSIGMASK as i16 | libc::POSIX_SPAWN_SETSID;
        let spawned = ok(libc::posix_spawnattr_setsigmask(
            &raw mut attributes,
            &raw const none,
        ))
        .and_then(|()| ok(libc::posix_spawnattr_setflags(&raw mut attributes, flags)))
        .and_then(|()| {
            ok(libc::posix_spawn(
                &raw mut pid,
                program.path.as_ptr(),
                std::ptr::null(),
                &raw const attributes,
                argv.as_ptr(),
                envp.as_ptr(),
            ))
        });
        libc::posix_spawnattr_destroy(&raw mut attributes);
        spawned?;
    }
    Ok(Pid::from_raw(pid))
}
