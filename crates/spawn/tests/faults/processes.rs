//! The processes of a world, seen from outside, and conditions that are waited for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::World;

/// Waits for something to be so; it must become so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(90);
    while !so() {
        assert!(Instant::now() < limit, "not within 90 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pids() -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn read(pid: u32, file: &str) -> String {
    let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&content).replace('\0', " ")
}

/// Processes whose command line holds all of `words`.
pub fn processes(words: &[&str]) -> Vec<u32> {
    let holds = |pid: &u32| {
        let line = read(*pid, "cmdline");
        words.iter().all(|word| line.contains(word))
    };
    pids().into_iter().filter(holds).collect()
}

/// The parent of a process that lives.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then(|| fields.next()?.parse().ok())?
}

/// The world's host; more than one would be a fault.
pub fn hosts(world: &World) -> Vec<u32> {
    let home = world.home.to_str().expect("homes are text");
    let all = processes(&["spawn-host", "--home", home]);
    // Between fork and exec, a child of the host still has its command line.
    let is_child = |pid: &u32| parent(*pid).is_none_or(|p| all.contains(&p));
    all.iter().copied().filter(|pid| !is_child(pid)).collect()
}

/// The agents of the world's host, the spare one included.
pub fn agents(world: &World) -> Vec<u32> {
    let hosts = hosts(world);
    let of_host = |pid: &u32| parent(*pid).is_some_and(|p| hosts.contains(&p));
    let all = processes(&["spored", "agent"]);
    all.into_iter().filter(of_host).collect()
}

/// A process of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskProcess {
    pub pid: u32,
    pub index: usize,
    pub attempt: u32,
}

/// The processes of an array's tasks, by what their environment says.
pub fn of_array(id: &str) -> Vec<TaskProcess> {
    let find = |pid: u32| {
        let content = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&content);
        let vars: BTreeMap<&str, &str> =
            text.split('\0').filter_map(|v| v.split_once('=')).collect();
        (vars.get("TASK_ARRAY_ID") == Some(&id)).then_some(())?;
        Some(TaskProcess {
            pid,
            index: vars.get("TASK_ARRAY_INDEX")?.parse().ok()?,
            attempt: vars.get("TASK_ATTEMPT")?.parse().ok()?,
        })
    };
    pids().into_iter().filter_map(find).collect()
}

/// Sends a signal, such as `KILL`, to processes that may be gone already.
pub fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let sent = Command::new("kill")
        .args(["-s", name])
        .args(pids.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
    assert!(sent.is_ok(), "signals can be sent");
}

/// Whether a process lives, stopped or not.
pub fn lives(pid: u32) -> bool {
    parent(pid).is_some()
}

/// The most memory a process ever had, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Waits until a world that has ended has left nothing behind.
#[track_caller]
pub fn until_nothing_is_left(world: &World, id: &str) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let left = left_behind(world, id);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < limit, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a world left behind on the machine: processes, directories of workers, control groups.
fn left_behind(world: &World, id: &str) -> Vec<String> {
    let home = world.home.to_str().expect("homes are text");
    let mut left: Vec<String> = Vec::new();
    for process in of_array(id) {
        left.push(format!("{process:?}: {}", read(process.pid, "cmdline")));
    }
    for pid in processes(&["spawn-host", home]) {
        left.push(format!("host {pid}"));
    }
    for entry in fs::read_dir(world.home.join("workers"))
        .into_iter()
        .flatten()
    {
        left.extend(entry.map(|e| e.path().display().to_string()));
    }
    left.extend(groups_of(&world.home));
    left
}

/// Control groups of the workers of the home: named after it.
fn groups_of(home: &Path) -> Vec<String> {
    use std::hash::{Hash, Hasher};
    let mut hash = std::hash::DefaultHasher::new();
    home.hash(&mut hash);
    let prefix = format!("spawn-{:016x}-", hash.finish());
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "6", "-type", "d", "-name"])
        .arg(format!("{prefix}*"))
        .output();
    let found = found.expect("`find` can be run").stdout;
    String::from_utf8_lossy(&found)
        .lines()
        .map(str::to_owned)
        .collect()
}
