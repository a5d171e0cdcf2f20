//! `spored progress DONE[/TOTAL]`: how far a script has come, shown by `spawn status`.

use std::fs;
use std::io;
use std::path::Path;

use spawn_core::observed::Progress;

use crate::task_files::{PROGRESS, replace};

/// Records how far the task has come.
pub fn report(control: &Path, progress: Progress) -> io::Result<()> {
    replace(&control.join(PROGRESS), progress.to_string().as_bytes())
}

/// How far the task said it has come, if it said so. What is no progress counts as not said.
pub fn read(control: &Path) -> Option<Progress> {
    let said = fs::read_to_string(control.join(PROGRESS)).ok()?;
    said.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_counts_and_nonsense_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        for said in ["3", "4/10"] {
            report(dir.path(), said.parse().unwrap()).unwrap();
            assert_eq!(
                read(dir.path()).map(|p| p.to_string()).as_deref(),
                Some(said)
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join(PROGRESS), "half").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
