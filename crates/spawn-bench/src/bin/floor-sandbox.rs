//! The sandboxed floor: as the bare one, but each task gets namespaces and an init of its own.
//!
//! One process per slot builds a private `/tmp` once, then for each task clones an init into new
//! process, mount and host name namespaces. The init mounts a `/proc`, sets the host name, starts
//! the program, reaps and exits. This is what any tool must pay that isolates its tasks like this.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid, sethostname};
use spawn_bench::floor::{Order, Program, Tally, conclude, wait_any};

fn main() {
    let order = match Order::from_args() {
        Ok(order) => order,
        Err(e) => {
            eprintln!("floor-sandbox: {e}");
            std::process::exit(2);
        }
    };
    let dir = std::env::temp_dir().join(format!("floor-sandbox-{}", std::process::id()));
    let result = run(&order, &dir);
    let _ = fs::remove_dir_all(&dir);
    std::process::exit(conclude("floor-sandbox", result));
}

/// What the slots share: how far they are.
#[derive(Default)]
struct Shared {
    taken: AtomicU32,
    ended: AtomicU32,
    failed: AtomicU32,
}

fn run(order: &Order, dir: &Path) -> io::Result<Tally> {
    let program = order.program();
    let shared = shared()?;
    for slot in 0..order.slots {
        let tmp = dir.join(slot.to_string());
        fs::create_dir_all(&tmp)?;
        // SAFETY: this process has one thread, so its copy may do anything.
        match unsafe { fork() }? {
            ForkResult::Parent { .. } => {}
            ForkResult::Child => {
                let code = match serve(order, &program, shared, &tmp) {
                    Ok(()) => 0,
                    Err(e) => {
                        eprintln!("floor-sandbox: {e}");
                        1
                    }
                };
                std::process::exit(code);
            }
        }
    }
    let mut broken = false;
    while let Some(status) = wait_any()? {
        broken |= status != 0;
    }
    if broken {
        return Err(io::Error::other("a slot could not go on"));
    }
    Ok(Tally {
        ended: shared.ended.load(Ordering::Relaxed),
        failed: shared.failed.load(Ordering::Relaxed),
    })
}

/// Counters in memory that forked processes share. Never unmapped.
fn shared() -> io::Result<&'static Shared> {
    // SAFETY: a new anonymous mapping, of whatever address the system likes.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is large enough, aligned to a page, zeroed, which is a value of the
    // counters, and lives until the process ends; all access to it is atomic.
    Ok(unsafe { &*at.cast::<Shared>() })
}

fn serve(order: &Order, program: &Program, shared: &Shared, tmp: &Path) -> io::Result<()> {
    private_tmp(tmp)?;
    while shared.taken.fetch_add(1, Ordering::Relaxed) < order.tasks {
        sandboxed(program)?;
        let status = wait_any()?.ok_or(io::ErrorKind::NotFound)?;
        shared.ended.fetch_add(1, Ordering::Relaxed);
        shared
            .failed
            .fetch_add(u32::from(status != 0), Ordering::Relaxed);
    }
    Ok(())
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
fn sandboxed(program: &Program) -> io::Result<Pid> {
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
        pid => Ok(Pid::from_raw(pid as libc::pid_t)),
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
