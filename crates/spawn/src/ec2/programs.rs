//! Where the programs for machines are found.

use std::path::PathBuf;

use spawn_ec2::programs::{ProgramError, Programs};

/// Names a directory with programs of the user's own.
pub const VARIABLE: &str = "SPAWN_NODE_PROGRAMS";

/// The programs: in the directory that [`VARIABLE`] names; else beside `spawn`, as a build or an
/// installation puts them.
pub fn find() -> Result<Programs, ProgramError> {
    if let Some(own) = std::env::var_os(VARIABLE).filter(|own| !own.is_empty()) {
        return Programs::find(&[PathBuf::from(own)]);
    }
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    let beside = program
        .ok()
        .and_then(|path| Some(path.parent()?.to_owned()));
    let Some(beside) = beside else {
        return Ok(Programs::default());
    };
    let installed = beside.join("../lib/spawn/node");
    Programs::find(&[beside.join("node"), installed])?.or_beside(&beside)
}
