//! Processes as `/proc` shows them.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// One process, told from a later one with the same id by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// More names than this `/proc` does not have beside those of processes, which come last.
const NOT_PROCESSES: usize = 100;

/// More processes than this are not looked at one by one.
const MOST: usize = 2_000;

/// The process `pid`, if there is one that is not a zombie.
pub fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        started,
    })
}

/// What the kernel calls a process, 15 bytes at most; empty if it is gone.
pub fn name(pid: i32) -> String {
    let name = fs::read(Path::new("/proc").join(pid.to_string()).join("comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

/// Every process that `/proc` shows, zombies aside.
pub fn all() -> Vec<Process> {
    first(usize::MAX)
}

/// The first `most` processes that `/proc` shows, zombies aside.
pub fn first(most: usize) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .take(most.saturating_add(NOT_PROCESSES))
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

/// The descendants of `root`, itself not included.
pub fn descendants(root: i32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut known = vec![root];
    loop {
        let more: Vec<Process> = all
            .iter()
            .filter(|p| known.contains(&p.parent) && !known.contains(&p.pid))
            .copied()
            .collect();
        if more.is_empty() {
            return found;
        }
        known.extend(more.iter().map(|p| p.pid));
        found.extend(more);
    }
}

/// What the processes below `root`, itself included, use: resident memory in bytes, and processor
/// time in microseconds, that of their ended children included.
///
/// A process that ends while this looks is counted or not. `None` if they are thousands: looking at them
/// would take longer than whoever looks has time.
pub fn usage_below(root: i32) -> Option<(u64, u64)> {
    let mut memory = 0;
    let mut micros = 0;
    let mut open = vec![root];
    let mut seen = 0;
    while let Some(pid) = open.pop() {
        seen += 1;
        if seen > MOST || open.len() > MOST {
            return None;
        }
        open.extend(children(pid));
        let (bytes, cpu) = usage(pid).unwrap_or_default();
        memory += bytes;
        micros += cpu;
    }
    Some((memory, micros))
}

/// The children of one process, by the kernel's own list where there is one.
fn children(pid: i32) -> Vec<i32> {
    let threads = Path::new("/proc").join(pid.to_string()).join("task");
    let mut found = Vec::new();
    for thread in fs::read_dir(threads).into_iter().flatten().flatten() {
        let Ok(list) = fs::read_to_string(thread.path().join("children")) else {
            continue;
        };
        found.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    found
}

fn usage(pid: i32) -> Option<(u64, u64)> {
    let dir = Path::new("/proc").join(pid.to_string());
    let pages = fs::read_to_string(dir.join("statm")).ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    // Fields 14 to 17: user and system time, its own and that of children it has waited for.
    let fields = rest.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let (page, second) = (
        system_value(libc::_SC_PAGESIZE),
        system_value(libc::_SC_CLK_TCK),
    );
    Some((pages * page, ticks * 1_000_000 / second))
}

/// How long a process has been running.
pub fn age(pid: i32) -> Option<Duration> {
    let started = process(pid)?.started * 1000 / system_value(libc::_SC_CLK_TCK);
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_millis(
        ((uptime * 1000.0) as u64).saturating_sub(started),
    ))
}

/// A number of the system that never changes; at least 1.
fn system_value(name: i32) -> u64 {
    // SAFETY: asks for a constant; no memory is handed over.
    u64::try_from(unsafe { libc::sysconf(name) })
        .unwrap_or(0)
        .max(1)
}

/// Whether this very process still runs.
pub fn is_alive(pid: i32, started: u64) -> bool {
    process(pid).is_some_and(|p| p.started == started)
}

/// The boot this machine is in.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_and_its_end_is_seen() {
        let me = std::process::id() as i32;
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let found = descendants(me).into_iter().find(|p| p.pid == pid).unwrap();
        assert_eq!(found.parent, me);
        assert!(is_alive(pid, found.started));
        assert!(!is_alive(pid, found.started + 1));
        let (memory, _) = usage_below(me).unwrap();
        let (of_child, _) = usage_below(pid).unwrap();
        assert!(0 < of_child && of_child < memory);
        assert!(age(me).unwrap() >= age(pid).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(pid, found.started));
        assert!(!boot_id().is_empty());
    }
}
