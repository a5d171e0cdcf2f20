//! Where a value comes from: a flag, a variable, a place in a file.

use std::fmt;
use std::sync::Arc;

use crate::position::Position;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, with its dashes.
    Flag(&'static str),
    /// A variable of the launching shell.
    Variable(&'static str),
    /// A parameter file or a configuration file.
    File(Arc<FileOrigin>),
}

/// A place in a file that sets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOrigin {
    /// What messages call the file.
    pub file: Arc<str>,
    /// Where the value is.
    pub at: Position,
    /// The setting, as documented.
    pub key: &'static str,
    /// Whether it is a configuration file, which speaks for more than one launch.
    pub is_config: bool,
}

impl Origin {
    /// The origin with what it says: `--ttl 90`, or x.yaml:3:7: `ttl: 90`.
    pub(crate) fn with(&self, value: impl fmt::Display) -> String {
        match self {
            Origin::Flag(COMMAND) => format!("`-- {value}`"),
            Origin::Flag(flag) => format!("`{flag} {value}`"),
            Origin::Variable(name) => format!("`{name}={value}`"),
            Origin::File(origin) => {
                let FileOrigin { file, at, key, .. } = &**origin;
                format!("{file}:{at}: `{key}: {value}`")
            }
        }
    }

    /// What another setting is called where this one is from.
    pub(crate) fn calls(&self, flag: &'static str) -> String {
        match self {
            Origin::File(_) => format!("`{}`", flag.trim_start_matches("--").replace('-', "_")),
            Origin::Flag(_) | Origin::Variable(_) => format!("`{flag}`"),
        }
    }

    /// The setting's name without where it is: `--ttl`, or `ttl` of a file.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Origin::Flag(name) | Origin::Variable(name) => name,
            Origin::File(origin) => origin.key,
        }
    }

    pub(crate) fn is_flag(&self) -> bool {
        matches!(self, Origin::Flag(_))
    }

    /// A configuration speaks for many launches, so it may say what this one has no use for.
    pub(crate) fn is_config(&self) -> bool {
        matches!(self, Origin::File(origin) if origin.is_config)
    }
}

/// The words after `--`.
pub(crate) const COMMAND: &str = "-- COMMAND";

/// As errors begin: `--ttl`, or x.yaml:3:7: `ttl`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) | Origin::Variable(name) => write!(f, "`{name}`"),
            Origin::File(origin) => {
                let FileOrigin { file, at, key, .. } = &**origin;
                write!(f, "{file}:{at}: `{key}`")
            }
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Sourced<T> {
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}
