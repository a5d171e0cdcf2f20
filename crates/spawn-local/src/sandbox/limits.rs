//! Limits of a worker: the processors and memory of the instance type, where control groups let us.
//!
//! The host makes a group for each agent and the agent joins it before anything else, so that all
//! it starts is inside. Control groups of version 1 are made below the host's own; those of
//! version 2 at the top, since a group that holds processes cannot have limited children. Users
//! without root can usually make neither: then there are no limits, and a launch says so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const MOUNT: &str = "/sys/fs/cgroup";
const PERIOD_MICROS: u64 = 100_000;

/// What a worker may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processors.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// One worker's control group, or groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    directories: Vec<PathBuf>,
    oom_counter: PathBuf,
}

impl Group {
    /// Makes a group of this name with these limits.
    ///
    /// # Errors
    /// Control groups are not there or not ours to make; nothing is left behind then.
    pub fn create(name: &str, limits: Limits) -> io::Result<Group> {
        let places = Places::find()?;
        let group = places.group(name);
        let made = places.make(&group, limits);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    /// Moves the calling process into the group, and with it whatever it starts from now on.
    pub fn join(&self) -> io::Result<()> {
        self.directories
            .iter()
            .try_for_each(|d| fs::write(d.join("cgroup.procs"), "0"))
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        let text = fs::read_to_string(&self.oom_counter).unwrap_or_default();
        text.lines()
            .find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Removes the group, if no process is left in it. Whether it is gone.
    fn remove(&self) -> bool {
        self.directories.iter().all(|directory| {
            let removed = fs::remove_dir(directory);
            removed.map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |()| true)
        })
    }

    /// Removes the group once the last of its processes is gone, for which it waits two seconds.
    pub fn remove_when_empty(&self) {
        let limit = Instant::now() + Duration::from_secs(2);
        while !self.remove() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether groups can be made here: by making one and removing it.
pub fn available(name: &str) -> bool {
    let limits = Limits {
        cpus: 1,
        memory_bytes: 1 << 40,
    };
    Group::create(name, limits).is_ok_and(|group| {
        group.remove();
        true
    })
}

/// Removes the empty groups whose names begin with `prefix`: what a killed host left.
pub fn remove_left(prefix: &str) {
    let Ok(places) = Places::find() else { return };
    for parent in places.parents() {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Where groups are made.
enum Places {
    Version1 { memory: PathBuf, cpu: PathBuf },
    Version2,
}

impl Places {
    fn find() -> io::Result<Places> {
        if Path::new(MOUNT).join("cgroup.controllers").exists() {
            return Ok(Places::Version2);
        }
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let place = |controller: &str| {
            own.lines()
                .find_map(|l| {
                    let (controllers, path) = l.split_once(':')?.1.split_once(':')?;
                    controllers.split(',').any(|c| c == controller).then(|| {
                        Path::new(MOUNT)
                            .join(controllers)
                            .join(path.trim_start_matches('/'))
                    })
                })
                .filter(|p| p.is_dir())
                .ok_or_else(|| io::Error::other(format!("no control group for {controller}")))
        };
        Ok(Places::Version1 {
            memory: place("memory")?,
            cpu: place("cpu")?,
        })
    }

    fn parents(&self) -> Vec<PathBuf> {
        match self {
            Places::Version1 { memory, cpu } => vec![memory.clone(), cpu.clone()],
            Places::Version2 => vec![PathBuf::from(MOUNT)],
        }
    }

    fn group(&self, name: &str) -> Group {
        let directories: Vec<PathBuf> = self.parents().iter().map(|p| p.join(name)).collect();
        let counter = match self {
            Places::Version1 { .. } => "memory.oom_control",
            Places::Version2 => "memory.events",
        };
        Group {
            oom_counter: directories[0].join(counter),
            directories,
        }
    }

    fn make(&self, group: &Group, limits: Limits) -> io::Result<()> {
        if let Places::Version2 = self {
            fs::write(
                Path::new(MOUNT).join("cgroup.subtree_control"),
                "+memory +cpu",
            )?;
        }
        for directory in &group.directories {
            fs::create_dir(directory)?;
        }
        let quota = u64::from(limits.cpus) * PERIOD_MICROS;
        let memory = limits.memory_bytes.to_string();
        match self {
            Places::Version1 { .. } => {
                let [of_memory, of_cpu] = [&group.directories[0], &group.directories[1]];
                fs::write(of_memory.join("memory.limit_in_bytes"), memory)?;
                fs::write(of_cpu.join("cpu.cfs_period_us"), PERIOD_MICROS.to_string())?;
                fs::write(of_cpu.join("cpu.cfs_quota_us"), quota.to_string())
            }
            Places::Version2 => {
                let of_both = &group.directories[0];
                fs::write(of_both.join("memory.max"), memory)?;
                fs::write(of_both.join("cpu.max"), format!("{quota} {PERIOD_MICROS}"))
            }
        }
    }
}
