//! What the user asked: flags merged and validated into one launch specification.
//!
//! [`LaunchArgs`] are the flags as typed. [`resolve()`] checks them against each
//! other, reads the script, finds the files to ship, and gives a [`Resolved`]
//! launch whose [`LaunchSpec`] the ledger keeps. It reads files and starts
//! nothing. What is wrong is a [`SpecError`], with a hint where there is one.
//!
//! - `flags`, `spec`: before and after.
//! - `resolve`: the checks of flags; `program`: of what runs.
//! - `script`, `interpreter`: what cannot run as a task, and why.
//! - `shell_words`, `mentions`: what a script uses, read off its text.
//! - `shipping`: the files that go along.

mod environment;
mod error;
mod flags;
mod interpreter;
mod mentions;
mod name;
mod policies;
mod program;
mod resolve;
mod script;
mod shell_words;
mod shipping;
mod spec;

pub use environment::TASK_VARIABLES;
pub use error::{IncludeProblem, ScriptProblem, SpecError, SpecErrorKind};
pub use flags::LaunchArgs;
pub use policies::{Access, PolicyTemplate, SERVICES};
pub use resolve::{LaunchContext, Resolved, resolve};
pub use script::MAX_SCRIPT_BYTES;
pub use shipping::{MAX_SHIPPED_BYTES, MAX_SHIPPED_FILES};
pub use spec::{Lane, LaunchSpec, OnComplete, Program, Provider, Row, ShippedFile};
