//! A place that tests and tasks both see: every task has a `/tmp` of its own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A new directory outside all that is private to a sandbox; removed when dropped.
pub fn directory() -> TempDir {
    let private = ["/tmp", "/var/tmp", "/dev/shm"];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    [
        Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
        home,
        Some("/run".into()),
        Some("/opt".into()),
    ]
    .into_iter()
    .flatten()
    .filter(|place| !private.iter().any(|p| place.starts_with(Path::new(p))))
    .find_map(|place| {
        tempfile::Builder::new()
            .prefix("spawn-test-")
            .tempdir_in(place)
            .ok()
    })
    .expect("some place outside /tmp can be written to")
}
