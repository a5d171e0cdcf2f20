//! A worker of the local provider: a sandbox of namespaces on this machine.
//!
//! An agent first builds its [`World`]: the machine as its tasks will see it, once. It then
//! opens a [`Sandbox`] in it, a process tree with a tiny init at its root, for each task anew
//! or for one task after another.
//!
//! ```text
//! agent     own mount namespace, user namespace if not root: private /tmp, /var/tmp, /dev/shm,
//!           /spawn/{job,bin,work,ctl} at the same place wherever the home is
//!   init    one clone away: own process ids, mounts (a /proc of its own) and host name; reaps
//!     script    the leader; never process 1
//!       ...     its descendants; none outlives it, however they daemonise
//! ```
//!
//! This keeps tasks from treading on each other by accident. It is no security boundary: scripts
//! run as the user who launched them and can do what that user can.
//!
//! [`world`] builds, [`tidy`] empties, [`init`] is the program inside, [`init_link`] what it and
//! the agent say, [`limits`] bounds memory and processors, [`processes`] reads `/proc`.

pub mod init;
pub mod init_link;
pub mod limits;
pub mod processes;
pub mod tidy;
pub mod world;

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub use init_link::{FromInit, ToInit};
pub use world::{World, WorldError, WorldPlan};

use crate::wire::agent::Isolation;

/// What a sandbox runs for each task.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program's path.
    pub path: CString,
    /// Its arguments, the zeroth included.
    pub argv: Vec<CString>,
    /// `NAME=VALUE` for every task; each task adds its own.
    pub env: Vec<CString>,
    /// Where the script starts.
    pub directory: CString,
    /// Whether the kernel ends what this starts, rather than the agent, when memory runs out.
    pub first_to_go: bool,
    /// The script's standard output and error.
    pub stdout: BorrowedPipe,
    /// See `stdout`.
    pub stderr: BorrowedPipe,
}

/// A pipe's writing end that the agent keeps open for as long as it lives.
#[derive(Debug, Clone, Copy)]
pub struct BorrowedPipe(pub i32);

/// A living process tree.
#[derive(Debug)]
pub struct Sandbox {
    init: Pid,
    link: OwnedFd,
    own_pids: bool,
}

impl Sandbox {
    /// Opens a sandbox: clones the init into namespaces of its own.
    ///
    /// With `only`, the variables of a task, the init runs that task at once and ends after it;
    /// otherwise it waits to be told.
    ///
    /// The caller must have one thread only: the init goes on with a copy of its memory.
    pub fn open(
        isolation: Isolation,
        hostname: &str,
        program: &Program,
        only: Option<&[u8]>,
    ) -> io::Result<Sandbox> {
        let (link, theirs) = init_link::pair()?;
        if isolation != Isolation::Full {
            // What an init that dies too early leaves comes to this process, not to the machine's.
            nix::sys::prctl::set_child_subreaper(true)?;
        }
        let flags = match isolation {
            Isolation::Full => libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS,
            Isolation::Mounts => libc::CLONE_NEWNS | libc::CLONE_NEWUTS,
            Isolation::Shared => 0,
        };
        // Not `clone3`, which some containers refuse.
        // SAFETY: without CLONE_VM this is fork: the child has its own copy of the memory. The
        // agent is single-threaded, so no lock is held by a thread that the child lacks.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
        match pid {
            0 => init::main(theirs, isolation, hostname, program, only),
            -1 => Err(no_namespace(io::Error::last_os_error())),
            pid => Ok(Sandbox {
                init: Pid::from_raw(pid as i32),
                link,
                own_pids: isolation == Isolation::Full,
            }),
        }
    }

    /// The agent's end of the link; readable when the init has something to say.
    pub fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// The process at the root of the sandbox, as the agent numbers it.
    pub fn init_pid(&self) -> i32 {
        self.init.as_raw()
    }

    /// Tells the init to do something.
    pub fn tell(&self, what: &ToInit<'_>) -> io::Result<()> {
        init_link::tell(self.link.as_fd(), what)
    }

    /// What the init says next. [`FromInit::Gone`] if it died.
    pub fn hear(&self) -> io::Result<FromInit> {
        init_link::hear(self.link.as_fd())
    }

    /// Ends the sandbox and everything in it, and waits until it is gone.
    pub fn close(self) -> io::Result<()> {
        drop(self.link);
        reap(self.init, WaitPidFlag::empty()).map(|_| ())
    }

    /// Ends the sandbox by force: for an init that does not answer.
    ///
    /// Where processes have no namespace, the init is what ends them, and it is asked only. What one
    /// that died before it could do so has left is ended here.
    pub fn kill(self) -> io::Result<()> {
        if self.own_pids {
            let _ = kill(self.init, Signal::SIGKILL);
            return self.close();
        }
        self.close()?;
        end_descendants();
        Ok(())
    }
}

/// The kernel says that there is no space where its limit of namespaces is reached. Nobody makes room
/// there: it is as if they were not allowed.
fn no_namespace(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => io::Error::other("the machine allows no more namespaces"),
        _ => error,
    }
}

/// Kills all that descends from this process, until nothing does. Inits on their way out go too:
/// of their tasks nothing is left.
fn end_descendants() {
    loop {
        let left = processes::descendants(std::process::id() as i32);
        if left.is_empty() {
            return;
        }
        for process in left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Sandboxes whose last task has ended and whose init is on its way out.
///
/// Nothing of the task is left in them by then. The kernel takes a while to dismantle the
/// namespaces; the next task does not wait for that.
#[derive(Debug, Default)]
pub struct Departing {
    inits: VecDeque<Pid>,
}

impl Departing {
    /// More than this many are waited for.
    const MOST: usize = 4;

    /// Lets a sandbox go.
    pub fn add(&mut self, sandbox: Sandbox) -> io::Result<()> {
        drop(sandbox.link);
        self.inits.push_back(sandbox.init);
        while let Some(&first) = self.inits.front() {
            let flags = match self.inits.len() > Departing::MOST {
                true => WaitPidFlag::empty(),
                false => WaitPidFlag::WNOHANG,
            };
            if !reap(first, flags)? {
                break;
            }
            self.inits.pop_front();
        }
        Ok(())
    }
}

/// Waits for an init. False if it has not ended (with `WNOHANG`).
fn reap(init: Pid, flags: WaitPidFlag) -> io::Result<bool> {
    loop {
        match waitpid(init, Some(flags)) {
            Ok(status) => return Ok(status != WaitStatus::StillAlive),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
