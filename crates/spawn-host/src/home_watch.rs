//! Whether the home is still the one that this host serves. Somebody may remove it under a running
//! host, move it away, or put another directory in its place.
//!
//! The lock is held on an open file, and the path leads to that file only while the home is the same.
//! A host whose path leads elsewhere can serve nobody: commands do not find it, and a second host may
//! serve the same path by now. So it ends as if it had been killed, and touches nothing by its path.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::desk::Desk;

/// How often it is looked. It costs one system call.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the path of the host's lock.
#[derive(Debug)]
pub(crate) struct HomeWatch {
    lock: PathBuf,
    /// The device and inode of the lock that is held.
    held: (u64, u64),
    looked: Instant,
}

impl HomeWatch {
    /// Watches the path of a lock that is held.
    pub(crate) fn new(lock: PathBuf, held: &File) -> io::Result<HomeWatch> {
        let meta = held.metadata()?;
        Ok(HomeWatch {
            lock,
            held: (meta.dev(), meta.ino()),
            looked: Instant::now(),
        })
    }

    /// How long the host may wait before it looks again.
    pub(crate) fn next_look(&self) -> Duration {
        LOOK_EVERY.saturating_sub(self.looked.elapsed())
    }

    /// Whether the home is gone. It is looked now and then, and at once if `now`: a command that
    /// connects may have found this host by another path than that of its home.
    pub(crate) fn is_home_gone(&mut self, now: bool) -> bool {
        if !now && self.looked.elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked = Instant::now();
        match fs::metadata(&self.lock) {
            Ok(found) => (found.dev(), found.ino()) != self.held,
            // Any other error says nothing: the disk may answer again.
            Err(e) => matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        }
    }
}

impl Desk {
    /// Ends everything that this host runs, writes nothing, and leaves what lies at its paths alone.
    pub(crate) fn abandon(mut self) {
        let home = self.home.root().display();
        let why = format!("the home {home} was removed, moved or replaced, and its host has ended");
        note!("{why}; its tasks end with it");
        self.dismiss_waiters(&why);
        self.peers.flush();
        for agent in self.agents.values() {
            agent.kill();
        }
        // A spare ends as its socket does.
        drop(self.peers);
        while !matches!(waitpid(None::<Pid>, None), Err(Errno::ECHILD)) {}
        for group in self.groups.values() {
            group.remove_when_empty();
        }
        for removal in self.removals {
            let _ = removal.join();
        }
    }
}
