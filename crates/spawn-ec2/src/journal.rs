//! What of a launch is done, on disk: the plan on the first line, then a line for each step taken.
//!
//! A line is on the disk before the next step begins. A step that was taken and whose line is
//! missing is taken again, which changes nothing more.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spawn_local::private_files;

use crate::plan::{LaunchPlan, Step};

/// A launch's journal, held by one process at a time.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    plan: LaunchPlan,
    done: BTreeSet<Step>,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal `{}` cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process works on the same launch.
    #[error("another process works on the launch of `{}`", .0.display())]
    Busy(PathBuf),
    /// The first line was cut off: nothing was begun, and the file can be removed.
    #[error("the journal `{}` has no plan; nothing was begun", .0.display())]
    Empty(PathBuf),
    /// A line is not one of a journal.
    #[error("line {line} of the journal `{}` cannot be read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, 1-based.
        line: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Plan(Box<LaunchPlan>),
    Done(Step),
}

impl Journal {
    /// Begins a journal; the file must be new.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn begin(path: &Path, plan: &LaunchPlan) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = private_files::options();
        options.read(true).append(true).create_new(true);
        let file = options.open(path).map_err(io)?;
        lock(&file, path)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            plan: plan.clone(),
            done: BTreeSet::new(),
        };
        journal.write(&Line::Plan(Box::new(plan.clone())))?;
        // The name has to outlive a loss of power as the content does.
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
        Ok(journal)
    }

    /// Opens a journal that was begun. A last line that was cut off is taken away.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(io)?;
        lock(&file, path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let whole = text
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
            file.seek(SeekFrom::End(0)).map_err(io)?;
        }
        let mut plan = None;
        let mut done = BTreeSet::new();
        for (at, line) in text[..whole].split_inclusive(|b| *b == b'\n').enumerate() {
            let damaged = || JournalError::Damaged {
                path: path.to_owned(),
                line: at + 1,
            };
            match (at, serde_json::from_slice(line).map_err(|_| damaged())?) {
                (0, Line::Plan(read)) => plan = Some(*read),
                (1.., Line::Done(step)) => {
                    done.insert(step);
                }
                _ => return Err(damaged()),
            }
        }
        Ok(Self {
            plan: plan.ok_or_else(|| JournalError::Empty(path.to_owned()))?,
            path: path.to_owned(),
            file,
            done,
        })
    }

    /// The launch.
    pub fn plan(&self) -> &LaunchPlan {
        &self.plan
    }

    /// Whether a step is known to be taken.
    pub fn is_done(&self, step: Step) -> bool {
        self.done.contains(&step)
    }

    /// Whether every step is taken.
    pub fn is_complete(&self) -> bool {
        self.plan.steps().iter().all(|step| self.is_done(*step))
    }

    /// Records that a step is taken; returns once that is on the disk.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn mark(&mut self, step: Step) -> Result<(), JournalError> {
        if self.done.contains(&step) {
            return Ok(());
        }
        self.write(&Line::Done(step))?;
        self.done.insert(step);
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let text = serde_json::to_string(line).expect("a journal's line is plain data");
        // One write, so that what is cut off is the end of a line.
        self.file
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|source| JournalError::Io {
                path: self.path.clone(),
                source,
            })
    }
}

fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(JournalError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
