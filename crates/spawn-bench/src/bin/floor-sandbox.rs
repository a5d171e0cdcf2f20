//! The sandboxed floor: as the bare one, but each task gets namespaces and an init of its own.
//!
//! One process per slot builds a private `/tmp` once, then for each task clones an init into new
//! process, mount and host name namespaces. The init mounts a `/proc`, sets the host name, starts
//! the program, reaps and exits. This is what any tool must pay that isolates its tasks like this.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, sethostname};
use spawn_bench::floor::{self, Order, Program, Tally, wait_any};

fn main() {
    floor::main("floor-sandbox", |order| {
        let dir = std::env::temp_dir().join(format!("floor-sandbox-{}", std::process::id()));
        let result = run(order, &dir);
        let _ = fs::remove_dir_all(&dir);
        result
    })
}

fn run(order: &Order, dir: &Path) -> io::Result<Tally> {
    let program = order.program();
    let prepare = |slot: u32| {
        let tmp = dir.join(slot.to_string());
        fs::create_dir_all(&tmp)?;
        private_tmp(&tmp)
    };
    order.run(prepare, || sandboxed(&program))
}

/// A mount namespace with a `/tmp` of its own; inside a user namespace where that is needed.
fn private_tmp(tmp: &Path) -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let at = PathBuf::from("/tmp");
    mount(Some(tmp), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Starts the program under an init in namespaces of their own.
fn sandboxed(program: &Program) -> io::Result<libc::pid_t> {
    // SAFETY: clone_args is plain numbers, for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM this is a fork, and this process has one thread.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = init(program).unwrap_or(125);
            // SAFETY: ends this process at once, without its parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid as libc::pid_t),
    }
}

/// The root of a sandbox: sets it up, starts the program and reaps until nothing is left.
fn init(program: &Program) -> io::Result<i32> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    sethostname("floor")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)?;
    program.start()?;
    let mut failed = false;
    while let Some(status) = wait_any()? {
        failed |= status != 0;
    }
    Ok(i32::from(failed))
}
