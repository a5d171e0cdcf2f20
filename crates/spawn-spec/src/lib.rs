//! What the user asked: flags, a parameter file and configuration, merged and validated into one
//! launch specification.
//!
//! [`LaunchArgs`] are the flags as typed. [`resolve()`] lays them over what files say, checks the
//! result, reads the script, finds the files to ship, and gives a [`Resolved`]
//! launch whose [`LaunchSpec`] the ledger keeps. It reads files and starts
//! nothing. What is wrong is a [`SpecError`], with a hint where there is one.
//! [`effective()`] shows the merged settings, each with its origin.
//!
//! - `flags`, `spec`: before and after.
//! - `settings`: what one source says, and how sources are laid over each other;
//!   `settings_of_flags` and `settings_of_file` read them, `setting_keys` names them,
//!   `setting_values` reads their values, `origin` says where each is from.
//! - `ec2_flags`, `ec2_settings`, `ec2_values`, `ec2_choices`: the same steps for what is asked of
//!   EC2 only; `policy_file`: its policy documents.
//! - `document`: YAML, JSON, CSV and TOML as one tree with positions.
//! - `param_file`, `param_rows`, `param_names`: rows of parameters; `lanes`: the kinds of
//!   worker they need. `config_files`: `spawn.toml` and the user's own.
//! - `resolve`: the checks of settings against each other; `retries`: the budgets;
//!   `program`: what runs.
//! - `script`, `interpreter`: what cannot run as a task, and why.
//! - `shell_words`, `mentions`: what a script uses, read off its text.
//! - `spelling`: what a slip of the hand may have meant.
//! - `shipping`: the files that go along. `unused`: what is recorded, and without effect.

mod config_files;
mod document;
mod ec2_choices;
mod ec2_flags;
mod ec2_settings;
mod ec2_values;
mod effective;
mod environment;
mod error;
mod file_problem;
mod flags;
mod interpreter;
mod lanes;
mod mentions;
mod name;
mod origin;
mod param_file;
mod param_names;
mod param_rows;
mod policies;
mod policy_file;
mod position;
mod program;
mod resolve;
mod retries;
mod script;
mod setting_keys;
mod setting_values;
mod settings;
mod settings_of_file;
mod settings_of_flags;
mod shell_words;
mod shipping;
mod spec;
mod spelling;
mod text_file;
mod unused;

pub use config_files::{ConfigFile, ConfigState, PROJECT_FILE, USER_FILE};
pub use ec2_flags::Ec2Args;
pub use effective::{Effective, SettingShown, effective};
pub use environment::TASK_VARIABLES;
pub use error::{IncludeProblem, ScriptProblem, SpecError, SpecErrorKind};
pub use file_problem::FileProblem;
pub use flags::LaunchArgs;
pub use origin::{FileOrigin, Origin};
pub use param_file::{MAX_FILE_BYTES, MAX_ROW_BYTES, MAX_ROWS, MAX_VALUE_BYTES};
pub use policies::{Access, PolicyTemplate, SERVICES};
pub use policy_file::PolicyProblem;
pub use position::Position;
pub use resolve::{LaunchContext, Resolved, resolve};
pub use script::MAX_SCRIPT_BYTES;
pub use shipping::{MAX_SHIPPED_BYTES, MAX_SHIPPED_FILES};
pub use spec::{Ec2Choices, Lane, LaunchSpec, OnComplete, Program, Provider, Row, ShippedFile};
