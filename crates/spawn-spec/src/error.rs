//! Why a launch is refused: one kind for each reason, one wording for each kind.

use std::io;

use spawn_core::duration::SpanError;
use spawn_core::index_set::IndexError;
use spawn_core::instance_type::InstanceTypeError;
use spawn_core::tags::TagError;

use crate::file_problem::FileProblem;
use crate::origin::Origin;
use crate::policies::{PolicyTemplate, SERVICES};
use crate::position::Position;
use crate::setting_keys::PARAMETERS_IN_ROWS;
use crate::shipping::{MAX_SHIPPED_BYTES, MAX_SHIPPED_FILES, human_bytes};

/// A refused launch. Displays as one line that names the flag or file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{kind}")]
pub struct SpecError {
    /// What is wrong.
    pub kind: SpecErrorKind,
    /// What to do about it, where there is something to say.
    pub hint: Option<String>,
}

impl SpecError {
    /// The exit code of the program for every one of these: wrong usage.
    pub const EXIT_CODE: u8 = 2;
}

impl From<SpecErrorKind> for SpecError {
    fn from(kind: SpecErrorKind) -> Self {
        let hint = kind.hint();
        Self { kind, hint }
    }
}

impl From<IndexError> for SpecError {
    fn from(error: IndexError) -> Self {
        SpecErrorKind::Array(error).into()
    }
}

/// What is wrong with a launch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each kind and field is")]
pub enum SpecErrorKind {
    #[error("nothing to run: {}", nothing_to_run(param_file.as_deref(), config))]
    NoProgram {
        /// The parameter file, if there is one.
        param_file: Option<String>,
        /// What to call the configuration.
        config: String,
    },
    #[error("{} each say what to run; expected one of them", list(given))]
    ManyPrograms { given: Vec<Origin> },
    #[error("{0}")]
    Array(IndexError),
    #[error("`--array` and `--param-file` each say how many tasks; expected one of them")]
    ArrayAndParamFile,
    #[error("{}: expected 1 or more", origin.with(0))]
    Zero { origin: Origin },
    #[error("`--array` says `%{in_array}` and {origin} says {other}; expected one of them")]
    ConcurrencyDisagrees {
        in_array: u32,
        origin: Origin,
        other: u32,
    },
    #[error("{origin} is only used with {}", origin.calls(needs))]
    Needs { origin: Origin, needs: &'static str },
    #[error("{backoff} is more than {max}")]
    BackoffBeyondMax { backoff: String, max: String },
    #[error("{origin}: {error}")]
    Time { origin: Origin, error: SpanError },
    #[error("{origin}: {error}")]
    InstanceType {
        origin: Origin,
        error: InstanceTypeError,
    },
    #[error("{origin}: {error}")]
    Tags { origin: Origin, error: TagError },
    #[error("{origin}: {error}")]
    Value { origin: Origin, error: String },
    #[error("{origin}: found `{text}`; expected {expected}")]
    Unexpected {
        origin: Origin,
        text: String,
        expected: &'static str,
    },
    #[error("{origin}: `{text}` is not a template; expected `SERVICE:ACCESS`")]
    Policy {
        origin: Origin,
        text: String,
        meant: Option<PolicyTemplate>,
    },
    #[error("{origin}: `{text}` is not a price; expected USD per hour, such as `0.05`")]
    SpotPrice { origin: Origin, text: String },
    #[error("{origin}: `{text}` is not a region; expected a name such as `us-east-1`")]
    Region { origin: Origin, text: String },
    #[error("{origin}: `{text}` is not a name; expected 1 to 64 letters, digits, `.`, `_` or `-`")]
    Name { origin: Origin, text: String },
    #[error("{} would be taken for an array id or for `last`", origin.with(text))]
    NameMisleads { origin: Origin, text: String },
    #[error("{origin} is `{text}`; expected `local` or `ec2`")]
    ProviderUnknown { origin: Origin, text: String },
    #[error("`{flag}` is for the local provider only: {reason}")]
    LocalOnly {
        flag: &'static str,
        reason: &'static str,
    },
    #[error("{one} does not go with {other}; expected {expected}")]
    Mismatch {
        one: String,
        other: String,
        expected: String,
    },
    #[error("{} needs {}; expected 100 to 64000", origin.with(kind), origin.calls("--volume-iops"))]
    VolumeNeedsIops { origin: Origin, kind: String },
    #[error("{role} and {grants} each say what the tasks may do; expected one of them")]
    RoleAndGrants { role: Origin, grants: Origin },
    #[error("{origin}: `{text}` is not a zone; expected names such as `eu-west-1a`")]
    Zone { origin: Origin, text: String },
    #[error("{origin}: `{text}` is not a role; expected its name, or an ARN with `:role/` in it")]
    Role { origin: Origin, text: String },
    /// Without its value, which may be a secret.
    #[error("{origin}: `{name}` cannot name a variable; expected `NAME=VALUE` or `NAME`")]
    EnvName { origin: Origin, name: String },
    #[error("{}: {reason}", origin.with(name))]
    EnvReserved {
        origin: Origin,
        name: String,
        reason: &'static str,
    },
    #[error("{} takes its value from this shell, where it is not set", origin.with(name))]
    EnvUnset { origin: Origin, name: String },
    #[error("{} is given twice", origin.with(name))]
    EnvTwice { origin: Origin, name: String },
    #[error("{}: {problem}", place(file, *at))]
    File {
        /// What to call the file.
        file: String,
        /// Where in it, if anywhere.
        at: Option<Position>,
        problem: Box<FileProblem>,
    },
    #[error("{} is the text of a script, and there is a file of that name", origin.with(text))]
    ForgottenAt { origin: Origin, text: String },
    #[error("{script}: {problem}")]
    Script {
        /// How to call the script: its path in backticks, or where it is from.
        script: String,
        problem: ScriptProblem,
    },
    #[error("{}: no such program", origin.with(word))]
    CommandMissing { origin: Origin, word: String },
    #[error("{}: the file is not executable", origin.with(word))]
    CommandNotExecutable { origin: Origin, word: String },
    #[error("{}: {problem}", origin.with(path))]
    Include {
        origin: Origin,
        path: String,
        problem: IncludeProblem,
    },
    #[error("the files to ship are {} in all, above the limit of {}; the biggest is `{biggest}` ({})",
        human_bytes(*total), human_bytes(MAX_SHIPPED_BYTES), human_bytes(*biggest_size))]
    ShipsTooMuch {
        total: u64,
        biggest: String,
        biggest_size: u64,
    },
    #[error("there are {count} files to ship, above the limit of {MAX_SHIPPED_FILES}")]
    ShipsTooMany { count: usize },
}

/// Why a script cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each kind and field is")]
pub enum ScriptProblem {
    #[error("no such file")]
    Missing,
    #[error("is a directory; expected a script")]
    Directory,
    #[error("cannot be read ({0})")]
    Unreadable(io::ErrorKind),
    #[error("is empty")]
    Empty,
    #[error("is larger than the limit of 16 MiB")]
    TooLarge,
    #[error("starts with `{marker}`, which is for cloud-init; spawn runs a script as a task")]
    CloudInit { marker: &'static str },
    #[error("starts with `{marker}`, which is for Windows; tasks run on Linux")]
    Windows { marker: &'static str },
    #[error("line {line} ends in CRLF, as on Windows, which a shell takes for part of the text")]
    Crlf { line: usize },
    #[error("starts with a byte order mark, which hides its first line")]
    ByteOrderMark,
    #[error("line {line} holds a zero byte, so it is no script and no ELF executable")]
    Binary { line: usize },
    #[error("line 1 is `#!` and names no interpreter")]
    NoInterpreter,
    #[error("line 1 names the interpreter `{name}`, which this machine does not have")]
    InterpreterMissing { name: String },
    #[error("line 1 gives `env` the one word `{words}`, since a kernel does not split it")]
    EnvNeedsSplit { words: String },
}

/// Why a path cannot be shipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each kind and field is")]
pub enum IncludeProblem {
    #[error("no such file or directory")]
    Missing,
    #[error("`..` is not allowed")]
    Parent,
    #[error("is outside the directory of the launch")]
    Outside,
    #[error("is a symbolic link")]
    Symlink,
    #[error("looks like a key or a credential, which is never shipped")]
    Secret,
    #[error("is neither a file nor a directory")]
    Special,
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    #[error("cannot be read ({0})")]
    Unreadable(io::ErrorKind),
}

impl SpecErrorKind {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoProgram { .. } => "try `--user-data @script.sh`, or `-- python3 process.py`".into(),
            Self::InstanceType { error, .. } => {
                format!("did you mean `{}`?", error.suggestion.as_ref()?)
            }
            Self::File { problem, .. } => problem.hint()?,
            Self::ArrayAndParamFile => {
                "the file has a row for each task; to run some at a time, add `--max-concurrent`"
                    .into()
            }
            Self::Policy {
                meant: Some(meant), ..
            } => format!("did you mean `{meant}`?"),
            Self::Policy { meant: None, .. } => format!(
                "the templates are {} with `:FullAccess`, `:ReadOnly` or `:WriteOnly`",
                SERVICES.join(", ")
            ),
            Self::Needs { origin, needs } => {
                format!("add {}, or leave out `{}`", origin.calls(needs), origin.name())
            }
            Self::Region { text, .. } => {
                let region = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
                (region != text && crate::setting_values::is_region(region)).then(|| {
                    format!("that is an availability zone; did you mean `{region}`?")
                })?
            }
            Self::Zone { text, .. } if crate::setting_values::is_region(text) => {
                format!("that is a region; its zones are such as `{text}a`")
            }
            Self::Zone { origin, .. } | Self::Unexpected { origin, .. } => {
                may_be_parameter(origin)?
            }
            Self::Role { text, .. } => text
                .contains(":instance-profile/")
                .then(|| "that is an instance profile; give the name of its role".into())?,
            Self::RoleAndGrants { role, .. } => format!(
                "a role has its own grants; give them to it, or leave out `{}`",
                role.name()
            ),
            Self::LocalOnly { flag, .. } => {
                format!("leave out `{flag}`, or add `--provider local`")
            }
            Self::Name { text, .. } => {
                format!("did you mean `{}`?", crate::name::sanitise(text)?)
            }
            Self::EnvUnset { name, .. } => {
                format!("set and export it, or write `--env {name}=VALUE`")
            }
            Self::ForgottenAt {
                origin: Origin::File(_),
                text,
            } => format!("to run the file, write `@{text}`"),
            Self::ForgottenAt { text, .. } => {
                format!("to run the file, write `--user-data @{text}`")
            }
            Self::Script { script, problem } => problem.hint(script)?,
            Self::CommandMissing { word, .. } if word.contains(char::is_whitespace) => format!(
                "no shell reads a COMMAND; give its words apart, or `--user-data '{word}'`"
            ),
            Self::CommandMissing { .. } => {
                "it is not on PATH, nor a file that is shipped to the tasks".into()
            }
            Self::CommandNotExecutable { word, .. } => {
                format!("run `chmod +x {word}`, or name its interpreter before it")
            }
            Self::Include {
                problem: IncludeProblem::Secret,
                ..
            } => "pass a secret with `--env NAME`, or give the tasks an `--iam-policy`".into(),
            Self::Include {
                problem: IncludeProblem::Parent | IncludeProblem::Outside,
                ..
            } => "launch from a directory that holds all the files".into(),
            Self::ShipsTooMuch { .. } | Self::ShipsTooMany { .. } => {
                "put large data in S3, or choose what to ship with `--no-auto-include` and `--include`"
                    .into()
            }
            _ => return None,
        };
        Some(hint)
    }
}

impl ScriptProblem {
    fn hint(&self, script: &str) -> Option<String> {
        let file = script.trim_matches('`');
        Some(match self {
            Self::Missing if file.starts_with('~') => {
                "`~` is not expanded after `@`; write `@$HOME/...`".into()
            }
            Self::Missing if !script.starts_with('`') => {
                "a relative path in a file is looked up from the directory of that file".into()
            }
            Self::Missing => "a relative path is looked up from the current directory".into(),
            Self::CloudInit { .. } | Self::Windows { .. } => {
                "write the steps as a script, starting with `#!/bin/bash`".into()
            }
            Self::Crlf { .. } | Self::ByteOrderMark if !script.starts_with('`') => {
                "write it with plain line ends, in UTF-8 without a mark".into()
            }
            Self::Crlf { .. } => format!("run `sed -i 's/\\r$//' {file}`"),
            Self::ByteOrderMark => format!("run `sed -i '1s/^\\xEF\\xBB\\xBF//' {file}`"),
            Self::TooLarge | Self::Binary { .. } => {
                "put data beside the script and name it there, or in S3".into()
            }
            Self::InterpreterMissing { name } => {
                format!("install `{name}`, or correct line 1")
            }
            Self::NoInterpreter => "write `#!/bin/bash`, or leave the line out".into(),
            Self::EnvNeedsSplit { words } => format!("write `#!/usr/bin/env -S {words}`"),
            _ => return None,
        })
    }
}

/// A name that rows have for parameters may have been meant as one in `defaults` too.
fn may_be_parameter(origin: &Origin) -> Option<String> {
    let Origin::File(origin) = origin else {
        return None;
    };
    let key = origin.key;
    let may_be = !origin.is_config && PARAMETERS_IN_ROWS.contains(&key);
    may_be.then(|| {
        format!("`{key}` of `defaults` is the setting; a parameter there needs another name")
    })
}

fn list(given: &[Origin]) -> String {
    let named: Vec<String> = given.iter().map(ToString::to_string).collect();
    match named.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

fn place(file: &str, at: Option<Position>) -> String {
    match at {
        Some(at) => format!("{file}:{at}"),
        None => format!("`{file}`"),
    }
}

fn nothing_to_run(param_file: Option<&str>, config: &str) -> String {
    let flags = "`--user-data`, `--user-data-file` or `-- COMMAND`";
    let keys = "`user_data`, `user_data_file` or `command`";
    match param_file {
        None => format!("expected {flags}, or {keys} in `{config}`"),
        Some(file) => format!("expected {flags}, or {keys} in `{file}` or `{config}`"),
    }
}
