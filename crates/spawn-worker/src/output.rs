//! What tasks print, carried from the agent's log to the object store.
//!
//! The log only grows, and so do the objects: each piece that was carried is one of its own, named by
//! where it begins. A reader puts them together again in order of their names. An outcome is
//! committed only when the output it points to has been carried.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use spawn_core::array_id::ArrayId;
use spawn_ports::ledger::AgentId;
use spawn_ports::objects::{ObjectError, Objects};

/// The longest piece, in bytes.
pub const LONGEST: u64 = 8 << 20;

/// The start of the names of one agent's pieces.
pub fn prefix(array: &ArrayId, agent: AgentId) -> String {
    format!("arrays/{}/logs/{}/", array.as_str(), agent.0)
}

/// The start of the names of all agents' pieces.
pub fn logs_prefix(array: &ArrayId) -> String {
    format!("arrays/{}/logs/", array.as_str())
}

/// The name of the piece of one agent's log that begins at byte `begins`.
pub fn piece(array: &ArrayId, agent: AgentId, begins: u64) -> String {
    format!("{}{begins:020}", prefix(array, agent))
}

/// The agent and the first byte that a piece's name says.
pub fn parse_piece(array: &ArrayId, name: &str) -> Option<(AgentId, u64)> {
    let (agent, begins) = name.strip_prefix(&logs_prefix(array))?.split_once('/')?;
    Some((AgentId(agent.parse().ok()?), begins.parse().ok()?))
}

/// Carries one agent's log.
#[derive(Debug)]
pub struct Carrier {
    prefix: String,
    path: PathBuf,
    carried: u64,
}

/// Why output cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The log cannot be read.
    #[error("cannot read the log {}: {source}", path.display())]
    Log {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store does not take it.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

impl Carrier {
    /// Carries the log at `path`, of which nothing has been carried yet.
    pub fn new(array: &ArrayId, agent: AgentId, path: &Path) -> Carrier {
        Carrier {
            prefix: prefix(array, agent),
            path: path.to_owned(),
            carried: 0,
        }
    }

    /// Bytes that are safe.
    pub fn carried(&self) -> u64 {
        self.carried
    }

    /// Carries everything up to `end`, or all there is. What was carried stays so if it fails half
    /// way; the next call goes on from there.
    pub fn carry(&mut self, objects: &mut dyn Objects, end: Option<u64>) -> Result<(), CarryError> {
        let log = |source| CarryError::Log {
            path: self.path.clone(),
            source,
        };
        let file = match File::open(&self.path) {
            // The agent has not begun.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(log)?,
        };
        let length = file.metadata().map_err(log)?.len();
        let end = end.unwrap_or(length).min(length);
        while self.carried < end {
            let size = (end - self.carried).min(LONGEST);
            let mut piece = vec![0; size as usize];
            file.read_exact_at(&mut piece, self.carried).map_err(log)?;
            let name = format!("{}{:020}", self.prefix, self.carried);
            objects.put(&name, &piece)?;
            self.carried += size;
        }
        Ok(())
    }
}

/// Puts the pieces of one agent's log together: all that was carried without a gap.
pub fn assemble(
    objects: &mut dyn Objects,
    array: &ArrayId,
    agent: AgentId,
) -> Result<Vec<u8>, ObjectError> {
    let prefix = prefix(array, agent);
    let mut log = Vec::new();
    for piece in objects.list(&prefix)? {
        let begins = piece.name[prefix.len()..].parse::<usize>();
        let Some(content) = begins
            .ok()
            .filter(|at| *at <= log.len())
            .map(|at| (at, objects.get(&piece.name)))
        else {
            break;
        };
        let (at, content) = (content.0, content.1?.unwrap_or_default());
        // A piece that was carried again after a failure may begin before the last one ended.
        log.truncate(at);
        log.extend_from_slice(&content);
    }
    Ok(log)
}
