//! Ending what does not go by itself, and naming what the kernel does not let go of.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::processes::{self, Process};
use crate::wire::agent::LeftProcess;

/// Kills an agent and all that descends from it, and gives what was killed. Nothing is waited for.
///
/// What loses its parent meanwhile goes to the caller, if that is a subreaper.
pub fn end_tree(agent: i32) -> Vec<LeftProcess> {
    // It must start nothing while what it has started is ended.
    let _ = kill(Pid::from_raw(agent), Signal::SIGSTOP);
    let mut tree = processes::descendants(agent);
    tree.extend(processes::process(agent));
    let tree: Vec<LeftProcess> = tree.into_iter().map(LeftProcess::from).collect();
    for process in &tree {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    tree
}

impl From<Process> for LeftProcess {
    fn from(process: Process) -> LeftProcess {
        LeftProcess {
            pid: process.pid,
            started: process.started,
            name: processes::name(process.pid),
        }
    }
}

/// How long the kernel may take to take apart what was killed.
pub(super) const AFTER_FORCE: Duration = Duration::from_secs(2);

/// Kills an init; with it goes its namespace, or else what descends from it now.
pub(super) fn force(init: Pid, own_pids: bool) {
    if !own_pids {
        for process in processes::descendants(init.as_raw()) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
    let _ = kill(init, Signal::SIGKILL);
}

/// What still lives of a sandbox: the processes in it, or the init if there are none.
pub(super) fn remaining(init: Pid) -> Vec<Process> {
    let mut left = processes::descendants(init.as_raw());
    if left.is_empty() {
        left.extend(processes::process(init.as_raw()));
    }
    left
}

/// Kills all that descends from this process, until nothing does or `limit` is over; what is left
/// then. Inits on their way out go too: of their tasks nothing is left.
pub(super) fn end_descendants(limit: Duration) -> Vec<Process> {
    let until = Instant::now() + limit;
    loop {
        let left = processes::descendants(std::process::id() as i32);
        if left.is_empty() || Instant::now() >= until {
            return left;
        }
        for process in left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether an init has ended; it is reaped then.
pub(super) fn reap(init: Pid) -> io::Result<bool> {
    loop {
        match waitpid(init, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => return Ok(status != WaitStatus::StillAlive),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Waits for an init to end, no longer than `limit`. Whether it has.
pub(super) fn await_end(init: Pid, limit: Duration) -> io::Result<bool> {
    let until = Instant::now() + limit;
    let mut watched = None;
    loop {
        if reap(init)? {
            return Ok(true);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match watched.get_or_insert_with(|| descriptor_of(init)) {
            Some(fd) => {
                let ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
                let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::ZERO);
                match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            // A kernel before 5.3.
            None => std::thread::sleep(left.min(Duration::from_millis(2))),
        }
    }
}

/// A descriptor that is readable once the process has ended.
fn descriptor_of(process: Pid) -> Option<OwnedFd> {
    // SAFETY: the call takes two numbers and gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    // SAFETY: the descriptor is new, and nothing else owns it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
