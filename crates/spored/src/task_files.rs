//! What the in-task commands and the agent leave for each other in the control directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The variable that names the control directory of a task.
pub const CONTROL: &str = "SPAWN_CONTROL";
/// The variable that says when the worker's TTL ends: milliseconds since 1970.
pub const TTL_END: &str = "SPAWN_TTL_END";
/// The variable that says how long the attempt may run: milliseconds.
pub const TIMEOUT: &str = "SPAWN_TIMEOUT_MS";

/// The file that `spored complete` makes.
pub const SAID: &str = "complete";
/// The file that `spored progress` makes.
pub const PROGRESS: &str = "progress";
/// The file that the agent makes when it stops the script.
pub const STOPPING: &str = "stopping";
/// The file that the agent makes when the TTL is extended: the new [`TTL_END`].
pub const EXTENDED: &str = "ttl_end";

/// Not inside a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not inside a task: `SPAWN_CONTROL` names no directory; this works in scripts that `spawn launch` runs"
)]
pub struct NoTask;

/// The control directory of the task that this process belongs to.
pub fn control_directory() -> Result<PathBuf, NoTask> {
    std::env::var_os(CONTROL)
        .map(PathBuf::from)
        .filter(|control| control.is_dir())
        .ok_or(NoTask)
}

/// Writes a file as a whole: who reads it sees the old one or the new one.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&draft, content)?;
    fs::rename(draft, path)
}
