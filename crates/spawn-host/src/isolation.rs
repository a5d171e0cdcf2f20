//! How far tasks are kept apart on this machine: tried once, when the host starts.
//!
//! No array takes part in it. What an agent finds amiss later is a fault of its array or of the moment:
//! it holds that array up, and isolates no other one less.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use spawn_core::moment::UnixMicros;
use spawn_local::home::Home;
use spawn_local::private_files;
use spawn_local::sandbox::tidy;
use spawn_local::wire::agent::{Isolation, Probed};
use spawn_local::wire::client::Lessened;

use crate::agents::SHORTAGE_PAUSE_MILLIS;
use crate::desk::Desk;
use crate::peers::PeerId;

/// How far tasks are kept apart.
#[derive(Debug, Clone)]
pub struct Reached {
    /// This far.
    pub isolation: Isolation,
    /// Whether that was found by trying; the machine may have been out of something.
    pub is_known: bool,
    /// Set where it is less than was asked for.
    pub lessened: Option<Lessened>,
}

/// Tries `wanted`, and less where that cannot be had.
pub fn find(wanted: Isolation, spored: &Path, home: &Home) -> Reached {
    let mut isolation = wanted;
    let mut first_why = None;
    loop {
        let is_known = match probe(isolation, spored, home) {
            Ok(Probed::Yes) => true,
            Ok(Probed::No { why }) => {
                note!("isolation {isolation:?} cannot be had: {why}");
                first_why.get_or_insert(why);
                match lower(isolation) {
                    Some(less) => {
                        isolation = less;
                        continue;
                    }
                    None => true,
                }
            }
            Ok(Probed::Short { why }) => {
                note!("cannot tell what isolation can be had: {why}");
                false
            }
            Err(e) => {
                note!("cannot tell what isolation can be had: {e}");
                false
            }
        };
        return Reached {
            isolation,
            is_known,
            lessened: first_why
                .filter(|_| isolation < wanted)
                .map(|why| Lessened {
                    wanted,
                    reached: isolation,
                    why,
                }),
        };
    }
}

fn lower(isolation: Isolation) -> Option<Isolation> {
    match isolation {
        Isolation::Full => Some(Isolation::Mounts),
        Isolation::Mounts => Some(Isolation::Shared),
        Isolation::Shared => None,
    }
}

fn probe(isolation: Isolation, spored: &Path, home: &Home) -> io::Result<Probed> {
    if isolation == Isolation::Shared {
        return Ok(Probed::Yes);
    }
    let dir = home.workers().join("probe");
    private_files::make_dir(&dir)?;
    let word = serde_json::to_value(isolation).map_err(io::Error::other)?;
    let said = Command::new(spored)
        .arg("probe")
        .arg(&dir)
        .arg(word.as_str().unwrap_or_default())
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .output();
    if let Err(e) = tidy::remove(&dir) {
        note!("cannot remove {}: {e}", dir.display());
    }
    let said = said?;
    serde_json::from_slice(&said.stdout).map_err(|_| {
        let error = String::from_utf8_lossy(&said.stderr);
        io::Error::other(format!("the probe ended with {}: {error}", said.status))
    })
}

impl Desk {
    /// An agent found that it cannot isolate its tasks as it was asked to.
    pub(crate) fn cannot_isolate(&mut self, peer: PeerId, why: &str, now: UnixMicros) {
        if !self.isolation_known {
            let reached = find(self.wanted_isolation, &self.agent_program, &self.home);
            (self.isolation, self.isolation_known) = (reached.isolation, reached.is_known);
            self.lessened = reached.lessened;
        }
        let Some(agent) = self.agents.get_mut(&peer) else {
            return;
        };
        note!("agent {}: {why}", agent.id.0);
        agent.broken = true;
        if agent.tried > self.isolation {
            // The next one is asked for less.
            return;
        }
        if let Some(array) = self.arrays.get_mut(&agent.array) {
            array.start_failed(|| format!("no sandbox can be built: {why}"));
            if array.held_up.is_some() {
                array.retry_start_at = Some(now.plus_millis(SHORTAGE_PAUSE_MILLIS));
            }
        }
    }
}
