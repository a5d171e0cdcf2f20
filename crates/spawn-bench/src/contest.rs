//! One command, run and measured; repetitions; what they say together.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;

/// What something cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Time passed.
    pub wall: Duration,
    /// Processor time, user and system, of every process that had a part in it.
    pub cpu: Duration,
}

/// A command that ended well.
#[derive(Debug)]
pub struct Ran {
    /// What it cost, with all descendants that were waited for.
    pub cost: Cost,
    /// What it wrote to standard output.
    pub output: String,
}

/// Why there is no figure.
#[derive(Debug)]
pub enum Trouble {
    /// The user pressed Ctrl-C: everything stops.
    Interrupted,
    /// This one measurement cannot be had.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Interrupted => f.write_str("interrupted"),
            Trouble::Failed(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Failed(error.to_string())
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on Ctrl-C ends what is being measured, and then everything in order.
///
/// # Errors
/// The system's.
pub fn watch_interrupts() -> io::Result<()> {
    let handler = SigHandler::Handler(note_interrupt);
    // Without SA_RESTART: a wait must notice.
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler stores to an atomic, and nothing else.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Runs commands, with their output in files of a directory.
#[derive(Debug)]
pub struct Runner {
    dir: PathBuf,
}

impl Runner {
    /// A runner that keeps its files in `dir`.
    pub fn new(dir: &Path) -> Runner {
        Runner {
            dir: dir.to_owned(),
        }
    }

    /// Runs a command to its end and measures it, from just before its start. Its input is what
    /// the command says, nothing by default.
    ///
    /// # Errors
    /// If it cannot be started, does not end within `limit`, or does not exit with 0.
    pub fn run(&self, command: &mut Command, limit: Duration) -> Result<Ran, Trouble> {
        let (out, err) = (self.dir.join("out"), self.dir.join("err"));
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?);
        let began = Instant::now();
        let child = command
            .spawn()
            .map_err(|e| Trouble::Failed(format!("cannot start `{name}`: {e}")))?;
        let pid = Pid::from_raw(child.id() as i32);
        let (status, cpu) = match wait(pid, limit, was_interrupted)? {
            Some(ended) => ended,
            None => {
                let _ = kill(pid, Signal::SIGKILL);
                reap(pid)?;
                if was_interrupted() {
                    return Err(Trouble::Interrupted);
                }
                let why = format!("`{name}` had not ended after {} s", limit.as_secs());
                return Err(Trouble::Failed(why));
            }
        };
        let wall = began.elapsed();
        if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
            let said = fs::read_to_string(&err).unwrap_or_default();
            let line = said.lines().next().unwrap_or("no word about it");
            let how = match libc::WIFEXITED(status) {
                true => format!("exited with {}", libc::WEXITSTATUS(status)),
                false => format!("was killed by signal {}", libc::WTERMSIG(status)),
            };
            return Err(Trouble::Failed(format!("`{name}` {how}: {line}")));
        }
        let output = String::from_utf8_lossy(&fs::read(&out)?).into_owned();
        let cost = Cost { wall, cpu };
        Ok(Ran { cost, output })
    }
}

/// A command without input.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Whether the user pressed Ctrl-C.
pub fn was_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Waits for a child of this process; its wait status and processor time, or nothing if it has
/// not ended after `limit`, or earlier if `give_up` says so when a signal has come.
///
/// # Errors
/// If there is no such child.
pub fn wait(
    pid: Pid,
    limit: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Option<(i32, Duration)>, Trouble> {
    let deadline = Instant::now() + limit;
    let end = pidfd(pid)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fd = libc::pollfd {
            fd: end.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        if give_up() {
            return Ok(None);
        }
        // SAFETY: one descriptor, which lives for the call.
        match unsafe { libc::poll(&raw mut fd, 1, ms) } {
            0 => return Ok(None),
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(io::Error::last_os_error().into()),
            _ => return reap(pid).map(Some),
        }
    }
}

/// A descriptor that is readable once the process has ended.
fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: a system call with plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn reap(pid: Pid) -> Result<(i32, Duration), Trouble> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both places live for the call.
        if unsafe { libc::wait4(pid.as_raw(), &raw mut status, 0, &raw mut usage) } > 0 {
            let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
            return Ok((status, time(usage.ru_utime) + time(usage.ru_stime)));
        }
        match Errno::last() {
            Errno::EINTR => {}
            e => return Err(Trouble::Failed(format!("cannot wait for {pid}: {e}"))),
        }
    }
}

/// Repetitions of one measurement: the median, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; the mean of the two in the middle where their number is even.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; `None` if there is none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Spread { median, min, max })
    }

    /// Of one figure alone.
    pub fn one(figure: f64) -> Spread {
        Spread {
            median: figure,
            min: figure,
            max: figure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_extremes() {
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_command_is_measured_and_its_failure_told() {
        let dir = std::env::temp_dir().join(format!("spawn-bench-test-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let runner = Runner::new(&dir);
        let sh = |script: &str, limit| runner.run(command("/bin/sh").args(["-c", script]), limit);
        let long = Duration::from_secs(60);

        let ran = sh("echo said; sleep 0.05", long).unwrap();
        assert_eq!(ran.output, "said\n");
        assert!(ran.cost.wall >= Duration::from_millis(50));
        let failed = sh("echo why >&2; exit 3", long).unwrap_err();
        assert_eq!(failed.to_string(), "`/bin/sh` exited with 3: why");
        let late = sh("sleep 60", Duration::from_millis(20)).unwrap_err();
        assert!(late.to_string().contains("had not ended"), "{late}");
        fs::remove_dir_all(dir).unwrap();
    }
}
