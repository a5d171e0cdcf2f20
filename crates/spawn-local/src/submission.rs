//! What the ledger keeps as an array's spec: the launch, and what it took from the launching shell.

use serde::{Deserialize, Serialize};
use spawn_spec::LaunchSpec;

/// A launch as submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// What to run.
    pub launch: LaunchSpec,
    /// Variables of the launching shell that tasks get: who the user is and which language they speak.
    pub shell_env: Vec<(String, String)>,
    /// PATH of the launching shell.
    pub path: String,
    /// File creation mask of the launching shell.
    #[serde(default = "usual_umask")]
    pub umask: u32,
    /// What was made for it where its machines are not this one, so that it can be made again; its
    /// shape is that provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<serde_json::Value>,
}

/// The variables of the launching shell that tasks get, besides PATH.
pub const SHELL_VARIABLES: [&str; 8] = [
    "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ",
];

/// What most shells have.
fn usual_umask() -> u32 {
    0o022
}

/// The file creation mask of this process; the usual one if it cannot be read.
pub fn own_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| u32::from_str_radix(line.strip_prefix("Umask:")?.trim(), 8).ok())
        .unwrap_or_else(usual_umask)
}
