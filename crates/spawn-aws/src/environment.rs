//! The process's environment as a value, so that nothing below reads globals.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables and what follows from them.
///
/// No `Debug` of values: credentials are among them.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

impl Environment {
    /// The process's own; variables that are not text are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |s: std::ffi::OsString| s.into_string().ok();
        Self {
            vars: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
        }
    }

    /// Just these.
    pub fn of<N: Into<String>, V: Into<String>>(vars: impl IntoIterator<Item = (N, V)>) -> Self {
        Self {
            vars: vars
                .into_iter()
                .map(|(n, v)| (n.into(), v.into()))
                .collect(),
        }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// All variables, for a child process.
    pub(crate) fn vars(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// `HOME`.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }

    /// The file that `variable` names, else `~/.aws/<name>`.
    #[must_use]
    pub fn aws_file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        match self.var(variable) {
            Some(path) => Some(match (path.strip_prefix("~/"), self.home()) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(path),
            }),
            None => Some(self.home()?.join(".aws").join(name)),
        }
    }
}
