//! `spored complete`: a script's own word on how its task ended.
//!
//! The first word stands. Saying the same again is fine; saying otherwise is refused with exit
//! code 1. The word is taken from any process of the task, the background ones included, for as
//! long as the script runs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use spawn_core::completion;
use spawn_core::outcome::{Completion, Status};

use crate::task_files::SAID;

/// Why a word is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// Something else was said before.
    #[error("this task has completed as `{}` already; the first word stands", .0.word())]
    SaidOtherwise(Status),
    /// It cannot be written.
    #[error("cannot record the completion in {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Records a completion in the control directory. Atomic: of several at once one is the first.
pub fn complete(control: &Path, completion: &Completion) -> Result<(), CompleteError> {
    let said = control.join(SAID);
    let failed = |source| CompleteError::Io {
        path: said.clone(),
        source,
    };
    let draft = control.join(format!("complete.{}", std::process::id()));
    let content = serde_json::to_vec(completion).map_err(|e| failed(e.into()))?;
    fs::File::create(&draft)
        .and_then(|mut f| f.write_all(&content))
        .map_err(failed)?;
    // A link is made whole or not at all, and only if there is none.
    let linked = fs::hard_link(&draft, &said);
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let before = fs::read(&said).map_err(failed)?;
            match completion::parse(&before) {
                Ok(before) if before.status == completion.status => Ok(()),
                Ok(before) => Err(CompleteError::SaidOtherwise(before.status)),
                Err(e) => Err(failed(io::Error::other(e))),
            }
        }
        Err(e) => Err(failed(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(status: Status) -> Completion {
        Completion {
            status,
            message: None,
        }
    }

    #[test]
    fn the_first_word_stands() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path();
        complete(here, &word(Status::Success)).unwrap();
        complete(here, &word(Status::Success)).unwrap();
        assert!(matches!(
            complete(here, &word(Status::Failed)),
            Err(CompleteError::SaidOtherwise(Status::Success))
        ));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
