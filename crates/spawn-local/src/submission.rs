//! What the ledger keeps as an array's spec: the launch, and what it took from the launching shell.

use serde::{Deserialize, Serialize};
use spawn_spec::LaunchSpec;

/// A launch as submitted to the local provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// What to run.
    pub launch: LaunchSpec,
    /// Variables of the launching shell that tasks get: who the user is and which language they speak.
    pub shell_env: Vec<(String, String)>,
    /// PATH of the launching shell.
    pub path: String,
}

/// The variables of the launching shell that tasks get, besides PATH.
pub const SHELL_VARIABLES: [&str; 8] = [
    "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ",
];
