//! What the floor programs have in common: their command line, and a spawn that allocates nothing.
//!
//! A floor is the least that the machine asks for a task. Nothing here allocates after
//! `Order::from_args` has returned.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use lexopt::prelude::*;
use nix::unistd::{ForkResult, fork};

unsafe extern "C" {
    // The process's own environment, as the C library keeps it.
    static environ: *const *mut libc::c_char;
}

/// What a floor program is asked to do.
#[derive(Debug)]
pub struct Order {
    /// How many tasks at a time.
    pub slots: u32,
    /// How many tasks.
    pub tasks: u32,
    argv: Vec<CString>,
}

/// What became of the tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tasks that ended.
    pub ended: u32,
    /// Those of them that did not exit with 0.
    pub failed: u32,
}

impl Order {
    /// Reads `[-j SLOTS] [-n TASKS] [--] PROGRAM [ARGUMENT...]` from this process's arguments.
    fn from_args() -> Result<Order, lexopt::Error> {
        Order::parse(lexopt::Parser::from_env())
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Order, lexopt::Error> {
        let (mut slots, mut tasks, mut words) = (2, 10_000, Vec::new());
        while let Some(arg) = parser.next()? {
            match arg {
                Short('j') => slots = parser.value()?.parse()?,
                Short('n') => tasks = parser.value()?.parse()?,
                Value(program) => {
                    words = vec![program];
                    words.extend(parser.raw_args()?);
                }
                other => return Err(other.unexpected()),
            }
        }
        if slots == 0 || words.is_empty() {
            return Err("expected: [-j SLOTS] [-n TASKS] [--] PROGRAM [ARGUMENT...]".into());
        }
        if !words[0].as_bytes().starts_with(b"/") {
            return Err("the program's path must be absolute: a floor searches nothing".into());
        }
        let argv = words
            .into_iter()
            .map(|word: OsString| CString::new(word.into_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| "an argument holds a zero byte")?;
        Ok(Order { slots, tasks, argv })
    }

    /// The ordered program, ready to be started many times.
    pub fn program(&self) -> Program {
        let argv = self.argv.iter().map(|word| word.as_ptr().cast_mut());
        Program {
            argv: argv.chain([ptr::null_mut()]).collect(),
        }
    }
}

/// A program ready to be started. It points into its [`Order`], which must outlive it; the floors
/// keep theirs until they end.
#[derive(Debug)]
pub struct Program {
    argv: Vec<*mut libc::c_char>,
}

impl Program {
    /// Starts it: one `posix_spawn`, with this process's environment and descriptors.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&self) -> io::Result<libc::pid_t> {
        let mut pid = 0;
        // SAFETY: `argv` ends in null and its strings live as long as the order; `environ` is the
        // C library's and nothing in a floor changes it; no actions, no attributes.
        let code = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.argv[0],
                ptr::null(),
                ptr::null(),
                self.argv.as_ptr(),
                environ,
            )
        };
        match code {
            0 => Ok(pid),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// What the slots share: how far they are.
#[derive(Default)]
struct Progress {
    taken: AtomicU32,
    ended: AtomicU32,
    failed: AtomicU32,
}

impl Order {
    /// Runs all tasks: one process for each slot, which prepares itself and then takes a task
    /// and waits for it, again and again. A single process would be no floor: it stands still
    /// while a child of its own is on its way to its program.
    ///
    /// `start` starts one task as the only child of its process; it has failed if that child
    /// ends with anything but 0.
    ///
    /// # Errors
    /// The system's, or if a slot could not go on; it has said why on standard error.
    pub fn run(
        &self,
        prepare: impl Fn(u32) -> io::Result<()>,
        start: impl Fn() -> io::Result<libc::pid_t>,
    ) -> io::Result<Tally> {
        let progress = shared_progress()?;
        for slot in 0..self.slots {
            // SAFETY: a floor has one thread, so its copy may do anything.
            match unsafe { fork() }? {
                ForkResult::Parent { .. } => {}
                ForkResult::Child => {
                    let served = prepare(slot).and_then(|()| self.serve(progress, &start));
                    if let Err(e) = &served {
                        eprintln!("slot {slot}: {e}");
                    }
                    std::process::exit(i32::from(served.is_err()));
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
            ended: progress.ended.load(Ordering::Relaxed),
            failed: progress.failed.load(Ordering::Relaxed),
        })
    }

    fn serve(
        &self,
        progress: &Progress,
        start: impl Fn() -> io::Result<libc::pid_t>,
    ) -> io::Result<()> {
        while progress.taken.fetch_add(1, Ordering::Relaxed) < self.tasks {
            start()?;
            let status = wait_any()?.ok_or(io::ErrorKind::NotFound)?;
            progress.ended.fetch_add(1, Ordering::Relaxed);
            let failed = u32::from(status != 0);
            progress.failed.fetch_add(failed, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Counters in memory that forked processes share. Never unmapped.
fn shared_progress() -> io::Result<&'static Progress> {
    // SAFETY: a new anonymous mapping, of whatever address the system likes.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<Progress>(),
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
    Ok(unsafe { &*at.cast::<Progress>() })
}

/// Waits for any child. Its wait status; `None` if there is no child.
///
/// # Errors
/// The system's.
pub fn wait_any() -> io::Result<Option<i32>> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives for the call.
        if unsafe { libc::waitpid(-1, &raw mut status, 0) } > 0 {
            return Ok(Some(status));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// A floor program: reads its order, has `run` follow it, prints the tally or why there is none.
pub fn main(name: &str, run: impl FnOnce(&Order) -> io::Result<Tally>) -> ! {
    let code = match Order::from_args().map(|order| run(&order)) {
        Ok(Ok(tally)) => {
            println!("ended {} failed {}", tally.ended, tally.failed);
            i32::from(tally.failed > 0)
        }
        Ok(Err(e)) => {
            eprintln!("{name}: {e}");
            3
        }
        Err(e) => {
            eprintln!("{name}: {e}");
            2
        }
    };
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Order, lexopt::Error> {
        Order::parse(lexopt::Parser::from_args(line))
    }

    #[test]
    fn an_order_is_read_and_the_programs_own_flags_are_left_alone() {
        let order = parse(&["-j", "8", "-n", "5", "/bin/bash", "-c", "exit 1"]).unwrap();
        assert_eq!((order.slots, order.tasks), (8, 5));
        assert_eq!(
            order.argv,
            [c"/bin/bash", c"-c", c"exit 1"].map(CString::from)
        );
        assert_eq!(parse(&["--", "/bin/true"]).unwrap().tasks, 10_000);
    }

    #[test]
    fn an_order_that_a_floor_cannot_follow_is_refused() {
        for line in [
            &["-j", "0", "/bin/true"][..],
            &[],
            &["true"],
            &["-x", "/bin/true"],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_program_starts_and_its_end_is_seen() {
        let order = parse(&["/bin/sh", "-c", "exit 7"]).unwrap();
        let program = order.program();
        let pid = program.start().unwrap();
        let mut status = 0;
        // Not `wait_any`: other tests of this process may have children.
        // SAFETY: the status lives for the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(libc::WEXITSTATUS(status), 7);
    }
}
