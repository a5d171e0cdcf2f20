//! A private home with a host of its own, from its start to its end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contest::{self, Ran, Runner, Trouble};
use crate::programs::Programs;

/// How often memory is looked at. Rare enough to cost nothing that shows.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest that a command may take that is expected to take milliseconds.
pub const SHORT: Duration = Duration::from_secs(60);
/// Longest that a host may take to end.
const TO_END: Duration = Duration::from_secs(20);
/// A host that this program could not stop ends by itself after so many idle seconds.
const IDLE_SECONDS: &str = "60";

/// A home. Its host is started by the first command and becomes a child of this process.
#[derive(Debug)]
pub struct Home<'a> {
    programs: &'a Programs,
    runner: &'a Runner,
    dir: PathBuf,
    host: Option<Pid>,
}

/// Makes orphans of this process's descendants its children: so hosts, which leave the commands
/// that start them, can be waited for and their processor time learnt.
///
/// # Errors
/// The system's.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

impl<'a> Home<'a> {
    /// A home in `dir`, which must not exist, with a warm host.
    ///
    /// # Errors
    /// If the first task of that host does not end well.
    pub fn warm(
        programs: &'a Programs,
        runner: &'a Runner,
        dir: PathBuf,
    ) -> Result<Home<'a>, Trouble> {
        let mut home = Home {
            programs,
            runner,
            dir,
            host: None,
        };
        home.warm_up()?;
        Ok(home)
    }

    /// Starts the host, if none runs, and has it run a task.
    ///
    /// # Errors
    /// If that task does not end well.
    pub fn warm_up(&mut self) -> Result<(), Trouble> {
        let program = self.programs.true_.clone();
        let mut launch = self.launch(1, &["--wait"]);
        launch.arg("--").arg(program);
        self.run(&mut launch, SHORT)?;
        Ok(())
    }

    /// A `spawn` command in this home.
    pub fn spawn(&self) -> Command {
        let mut command = contest::command(&self.programs.spawn);
        // Programs of this workspace stay visible to tasks also where they lie under /tmp.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut parts = vec![self.programs.dir.clone()];
        parts.extend(std::env::split_paths(&path));
        command
            .env("SPAWN_HOME", &self.dir)
            .env("SPAWN_PROVIDER", "local")
            .env("SPAWN_IDLE_SECONDS", IDLE_SECONDS)
            .env("PATH", std::env::join_paths(parts).unwrap_or(path));
        command
    }

    /// `spawn launch` of that many tasks, up to the `--`.
    pub fn launch(&self, tasks: u32, flags: &[&str]) -> Command {
        let mut command = self.spawn();
        command
            .args(["launch", "--quiet", "--ttl", "1h", "--name", "bench"])
            .arg("--array")
            .arg(tasks.to_string())
            .args(flags);
        command
    }

    /// Runs one of this home's commands, and learns of its host.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run(&mut self, command: &mut Command, limit: Duration) -> Result<Ran, Trouble> {
        let ran = self.runner.run(command, limit);
        if self.host.is_none() {
            self.host = adopted_host(&self.dir);
        }
        ran
    }

    /// As [`Home::run`], watching how much memory the host and its agents take at their peaks.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_watched(
        &mut self,
        command: &mut Command,
        limit: Duration,
    ) -> Result<(Ran, Memory), Trouble> {
        let host = self.host.ok_or(Trouble::Failed("no host runs".into()))?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| watch_memory(host, &over));
            let ran = self.run(command, limit);
            over.store(true, Ordering::Relaxed);
            watch.thread().unpark();
            let memory = watch.join().unwrap_or_default();
            Ok((ran?, memory))
        })
    }

    /// Stops the host and waits for its end. The processor time of its whole life: its own, its
    /// agents' and their tasks'.
    ///
    /// # Errors
    /// If it does not end when told to; it is killed then.
    pub fn stop(&mut self) -> Result<Duration, Trouble> {
        let Some(host) = self.host.take() else {
            return Ok(Duration::ZERO);
        };
        let mut stop = self.spawn();
        stop.args(["local", "stop", "--yes"]);
        if contest::was_interrupted() || self.runner.run(&mut stop, SHORT).is_err() {
            let _ = kill(host, Signal::SIGTERM);
        }
        // Also after a Ctrl-C: agents and tasks end in order only if their host does.
        if let Some((_, cpu)) = contest::wait(host, TO_END, || false)? {
            return Ok(cpu);
        }
        let _ = kill(host, Signal::SIGKILL);
        let _ = contest::wait(host, TO_END, || false);
        Err(Trouble::Failed(
            "the host did not stop; it was killed".into(),
        ))
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            eprintln!("bench: {e}");
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The id that a quiet launch printed.
///
/// # Errors
/// If it printed none.
pub fn array_id(ran: &Ran) -> Result<String, Trouble> {
    ran.output
        .split_whitespace()
        .find(|word| word.starts_with("array-"))
        .map(str::to_owned)
        .ok_or(Trouble::Failed("`spawn launch` printed no id".into()))
}

/// Peaks of resident memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// The host's.
    pub host: u64,
    /// All agents', of the most that lived at one time.
    pub agents: u64,
}

fn watch_memory(host: Pid, over: &AtomicBool) -> Memory {
    let mut memory = Memory::default();
    let mut peaks: HashMap<i32, u64> = HashMap::new();
    while !over.load(Ordering::Relaxed) {
        let agents = children(host.as_raw());
        for &agent in &agents {
            let peak = peaks.entry(agent).or_default();
            *peak = (*peak).max(peak_memory(agent));
        }
        let now = agents.iter().filter_map(|a| peaks.get(a)).sum();
        memory.agents = memory.agents.max(now);
        thread::park_timeout(LOOK_EVERY);
    }
    memory.host = peak_memory(host.as_raw());
    memory
}

/// `VmHWM` of a process, in bytes; 0 if it is gone.
fn peak_memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// The host of the home in `dir` among this process's children.
fn adopted_host(dir: &Path) -> Option<Pid> {
    let wanted = dir.as_os_str().as_encoded_bytes();
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let found = children(std::process::id() as i32).into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words
                .next()
                .is_some_and(|name| name.ends_with(b"spawn-host"))
                && words.any(|word| word == wanted)
        });
        if found.is_some() || Instant::now() > deadline {
            return found.map(Pid::from_raw);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|line| {
            let pids: Vec<i32> = line.split_whitespace().flat_map(str::parse).collect();
            pids
        })
        .collect()
}
