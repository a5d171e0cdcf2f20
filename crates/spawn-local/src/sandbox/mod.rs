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
//! [`force`] ends what does not go by itself, [`world`] builds, [`tidy`] empties, [`init`] is the program inside, [`init_link`] what it and
//! the agent say, [`limits`] bounds memory and processors, [`processes`] reads `/proc`.

pub mod force;
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

use nix::unistd::Pid;
use spawn_core::supervise::LONGEST_ANSWER;

use force::{AFTER_FORCE, await_end, end_descendants, force, reap, remaining};
pub use init_link::{FromInit, LeaderEnd, ToInit};
use processes::Process;
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

    /// Ends the sandbox and everything in it: an init that does not go by itself is ended by force.
    /// Gives the processes that the kernel does not let go of.
    pub fn close(self) -> io::Result<Vec<Process>> {
        let Sandbox {
            init,
            link,
            own_pids,
        } = self;
        // The init ends with its link.
        drop(link);
        if !await_end(init, LONGEST_ANSWER)? {
            force(init, own_pids);
            if !await_end(init, AFTER_FORCE)? {
                return Ok(remaining(init));
            }
        }
        match own_pids {
            true => Ok(Vec::new()),
            // What an init that died before it could end it has left.
            false => Ok(end_descendants(AFTER_FORCE)),
        }
    }

    /// Ends the sandbox by force: for an init that is not to be trusted to answer. Gives the
    /// processes that the kernel does not let go of.
    ///
    /// Where processes have no namespace the init is what ends them best, so it is asked first.
    pub fn kill(self) -> io::Result<Vec<Process>> {
        if self.own_pids {
            force(self.init, true);
            return match await_end(self.init, AFTER_FORCE)? {
                true => Ok(Vec::new()),
                false => Ok(remaining(self.init)),
            };
        }
        self.close()
    }

    /// Kills the init and what it has started, and waits for nothing.
    pub fn force(&self) {
        force(self.init, self.own_pids);
    }

    /// Lets a sandbox be that was ended by force and is not gone. Gives the processes that the
    /// kernel does not let go of.
    pub fn abandon(self) -> Vec<Process> {
        remaining(self.init)
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
            let is_gone = match self.inits.len() > Departing::MOST {
                true => {
                    let is_gone = await_end(first, LONGEST_ANSWER)?;
                    if !is_gone {
                        // Nothing is in it any more; it must not hold up the next task.
                        force(first, true);
                    }
                    true
                }
                false => reap(first)?,
            };
            if !is_gone {
                break;
            }
            self.inits.pop_front();
        }
        Ok(())
    }
}
