//! The pieces of an array that its tasks cannot do without.

use std::io::ErrorKind;
use std::path::Path;

use spawn_local::wire::agent::Job;

/// What is missing of an array's files, if something is. A piece that is there and cannot be read is
/// none that is missing: whoever opens it says why.
pub fn missing(job: &Job) -> Option<String> {
    let dir = Path::new(&job.job_dir);
    let is_gone = |path: &Path| {
        let found = path.symlink_metadata();
        found.is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    };
    let script = job.script.iter().map(|name| dir.join("script").join(name));
    let shipped = job.shipped.iter().map(|name| dir.join("files").join(name));
    let rows = job.rows.iter().map(|path| Path::new(path).to_owned());
    [dir.to_owned()]
        .into_iter()
        .chain(script)
        .chain(rows)
        .chain(shipped)
        .find(|path| is_gone(path))
        .map(|path| gone(&path))
}

/// The words for a piece that is gone.
pub fn gone(path: &Path) -> String {
    format!(
        "the array's files are not complete: {} is gone; launch it again",
        path.display()
    )
}
