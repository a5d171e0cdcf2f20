//! What a check of a home found, between `spawn-host --check` and `spawn local check`.

use serde::{Deserialize, Serialize};
use spawn_core::array_id::ArrayId;

pub use crate::ledger::salvage::Salvaged;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// It was done.
    Done(Box<Report>),
    /// It could not be done, or the way on that was asked for could not be taken.
    Failed {
        /// Why.
        message: String,
    },
}

/// A check that was done.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Arrays in the ledger, as far as they can be read.
    pub arrays: u64,
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// Arrays whose files were put aside now.
    pub put_aside: Vec<ArrayId>,
    /// What was saved now, if that was asked for.
    pub salvaged: Option<Salvage>,
}

impl Report {
    /// Whether something is damaged or lost.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|f| f.kind.is_damage())
    }
}

/// A ledger that was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvage {
    /// Where the new one is.
    pub ledger: String,
    /// Where the damaged one is now, if it was moved.
    pub damaged: Option<String>,
    /// What is in the new one.
    pub saved: Salvaged,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// The arrays that it concerns, if it is of arrays.
    pub arrays: Vec<ArrayId>,
    /// What is to be told.
    pub text: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The ledger cannot be opened or read.
    Unreadable,
    /// SQLite finds damage within the file.
    Pages,
    /// The write-ahead log is damaged, and commits in it are lost.
    Log,
    /// Rows of the ledger contradict each other.
    Rows,
    /// Arrays were launched and have no record.
    LostArrays,
    /// Output has no record: the ledger is older than it.
    NewerOutput,
    /// Output is shorter than its record, or missing.
    ShortOutput,
    /// The files of an array are missing, and it may still run.
    NoFiles,
    /// Files of an array that has ended are missing: somebody made room.
    OldFilesGone,
    /// Launches that were killed left files.
    KilledLaunches,
}

impl Kind {
    /// Whether something is lost by it.
    pub fn is_damage(self) -> bool {
        !matches!(
            self,
            Kind::NewerOutput | Kind::OldFilesGone | Kind::KilledLaunches
        )
    }
}
