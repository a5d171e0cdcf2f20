//! Processes as `/proc` shows them.

use std::fs;
use std::path::Path;

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

/// Every process that `/proc` shows, zombies aside.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
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
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(pid, found.started));
        assert!(!boot_id().is_empty());
    }
}
