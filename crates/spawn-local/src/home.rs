//! Where everything of one user's local provider lives.
//!
//! ```text
//! ledger.db            the ledger
//! host.sock host.lock  the background host's socket, and the lock it holds while it lives
//! host.log             what the host and its agents say
//! endpoint.port        the endpoint's TCP port, kept from run to run
//! aws/                 the endpoint's data; aws/credentials its keys
//! bin/                 spored, spawn and the `aws` wrapper, for scripts and `spawn env`
//! arrays/ID/job/       the script and the files shipped with it
//! arrays/ID/logs/      one log per agent
//! arrays/ID/launched   the mark that the launch was acknowledged
//! lost/ID/             an array's files, put aside because the ledger does not know it
//! workers/N/           one agent's /tmp, /var/tmp and working directory
//! ```
//!
//! All of it is its user's alone: `access`.

mod access;
mod accounts;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use spawn_core::array_id::ArrayId;
use spawn_ports::ledger::AgentId;

use crate::private_files::{hand_nothing_down, make_dir};

/// The state directory of the local provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Why there is no home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither variable says where.
    #[error("no place for spawn's state: none of `SPAWN_HOME`, `XDG_STATE_HOME` and `HOME` is set")]
    Unset,
    /// A relative path would mean another home in every directory.
    #[error("`SPAWN_HOME` is `{}`: expected an absolute path", .0.display())]
    Relative(PathBuf),
    /// Scripts and messages name it as text.
    #[error("the home {} is not valid UTF-8; set `SPAWN_HOME` to one that is", .0.display())]
    NotText(PathBuf),
    /// It cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Create {
        /// What was to be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is another user's.
    #[error(
        "the home {} belongs to {}, and this command runs as {}",
        path.display(), user(*owner), user(own())
    )]
    Foreign {
        /// The home.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Another user put something into it.
    #[error(
        "{} in the home belongs to {}: others could write to this home, and it cannot be trusted",
        path.display(), user(*owner)
    )]
    ForeignFile {
        /// What was put there.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others could put another in its place.
    #[error("another home could be put in the place of {}: {}", path.display(), way_in(by, *owner))]
    Exposed {
        /// The home.
        path: PathBuf,
        /// What lies on the way to it.
        by: PathBuf,
        /// Whose that is, if that is what is wrong with it.
        owner: Option<u32>,
    },
    /// It is open to others, and holds more than a home does, so it is not closed.
    #[error(
        "the home {} is open to other users, and is more than a home: it holds {}",
        path.display(), with.display()
    )]
    Shared {
        /// The home.
        path: PathBuf,
        /// What is not a home's.
        with: PathBuf,
    },
    /// It is open to others and stays so.
    #[error("the home {} is open to other users, and cannot be closed: {source}", path.display())]
    Open {
        /// The home.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HomeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let own = "set `SPAWN_HOME` to a directory of your own";
        Some(match self {
            HomeError::Unset | HomeError::Relative(_) | HomeError::NotText(_) => return None,
            HomeError::Create { .. } | HomeError::Open { .. } => own.to_owned(),
            HomeError::Foreign { .. } => format!("run it as that user, or {own}"),
            HomeError::ForeignFile { path, .. } => {
                let path = path.display();
                format!("look at it, and remove it (`rm -r '{path}'`), or {own}")
            }
            HomeError::Exposed {
                by, owner: None, ..
            } => {
                format!("close it with `chmod go-w '{}'`, or {own}", by.display())
            }
            HomeError::Exposed { .. } => own.to_owned(),
            HomeError::Shared { path, .. } => format!(
                "set `SPAWN_HOME` to a directory in it, such as {}, or close it with `chmod go= '{}'`",
                path.join("spawn").display(),
                path.display()
            ),
        })
    }
}

fn own() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A user by number and, where it has one, by name.
fn user(id: u32) -> String {
    match accounts::user(id) {
        Some(name) => format!("user {id} (`{name}`)"),
        None => format!("user {id}"),
    }
}

fn way_in(by: &Path, owner: Option<u32>) -> String {
    let by = by.display();
    match owner {
        Some(owner) => format!("{by} belongs to {}", user(owner)),
        None => format!("other users can write to {by}"),
    }
}

impl Home {
    /// `SPAWN_HOME`, or `spawn` under the XDG state directory (`$XDG_STATE_HOME`, `~/.local/state`).
    pub fn locate(var: impl Fn(&str) -> Option<OsString>) -> Result<Home, HomeError> {
        let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(root) = set("SPAWN_HOME") {
            if root.is_relative() {
                return Err(HomeError::Relative(root));
            }
            return Home::named(root);
        }
        let state = set("XDG_STATE_HOME")
            .filter(|p| p.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".local/state")))
            .ok_or(HomeError::Unset)?;
        Home::named(state.join("spawn"))
    }

    fn named(root: PathBuf) -> Result<Home, HomeError> {
        match root.to_str() {
            Some(_) => Ok(Home { root }),
            None => Err(HomeError::NotText(root)),
        }
    }

    /// The home at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Home {
        Home { root: root.into() }
    }

    /// Makes the home for this user alone, if it is not there yet. Somebody else may have been
    /// quicker, so it is [secured](Home::secure) afterwards.
    pub fn create(&self) -> Result<(), HomeError> {
        for path in [
            self.root.clone(),
            self.arrays(),
            self.workers(),
            self.bin(),
            self.aws(),
        ] {
            match make_dir(&path) {
                Ok(()) => hand_nothing_down(&path),
                Err(source) => return Err(HomeError::Create { path, source }),
            }
        }
        self.secure().map(drop)
    }

    /// Sees to it that nobody else reaches this home, or puts another in its place. To be called
    /// before anything in it is used; nothing need be there yet. Whether the home was open to
    /// other users until now: it is closed then, and that should be said.
    ///
    /// # Errors
    /// It is not this user's own, or cannot be closed.
    pub fn secure(&self) -> Result<bool, HomeError> {
        access::secure(&self.root)
    }

    /// What to say when [`Home::secure`] closed it.
    pub fn closed_note(&self) -> String {
        format!(
            "the home {} was open to other users; it is closed to them now",
            self.root.display()
        )
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    /// The host's socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("host.sock")
    }

    /// The lock that the living host holds.
    pub fn lock(&self) -> PathBuf {
        self.root.join("host.lock")
    }

    /// The host's log.
    pub fn host_log(&self) -> PathBuf {
        self.root.join("host.log")
    }

    /// The file that keeps the endpoint's port.
    pub fn endpoint_port(&self) -> PathBuf {
        self.root.join("endpoint.port")
    }

    /// The endpoint's data.
    pub fn aws(&self) -> PathBuf {
        self.root.join("aws")
    }

    /// The endpoint's keys.
    pub fn credentials(&self) -> PathBuf {
        self.root.join("aws/credentials")
    }

    /// Programs for scripts.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// All arrays' files.
    pub fn arrays(&self) -> PathBuf {
        self.root.join("arrays")
    }

    /// One array's files.
    pub fn array(&self, id: &ArrayId) -> PathBuf {
        self.arrays().join(id.as_str())
    }

    /// One array's script and shipped files.
    pub fn job(&self, id: &ArrayId) -> PathBuf {
        self.array(id).join("job")
    }

    /// The rows of one array's tasks.
    pub fn rows(&self, id: &ArrayId) -> PathBuf {
        self.job(id).join(crate::rows::FILE)
    }

    /// The mark that an array's launch was acknowledged.
    pub fn launched(&self, id: &ArrayId) -> PathBuf {
        self.array(id).join("launched")
    }

    /// Files of arrays whose record is lost, once they were put aside.
    pub fn put_aside(&self) -> PathBuf {
        self.root.join("lost")
    }

    /// The logs of one array's agents.
    pub fn logs(&self, id: &ArrayId) -> PathBuf {
        self.array(id).join("logs")
    }

    /// One agent's log.
    pub fn log(&self, id: &ArrayId, agent: AgentId) -> PathBuf {
        self.logs(id).join(format!("{}.log", agent.0))
    }

    /// All workers' directories.
    pub fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }

    /// One worker's directories.
    pub fn worker(&self, agent: AgentId) -> PathBuf {
        self.workers().join(agent.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(vars: &[(&str, &str)]) -> Result<PathBuf, HomeError> {
        let found = |name: &str| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| OsString::from(v))
        };
        Home::locate(found).map(|h| h.root)
    }

    #[test]
    fn the_home_follows_the_variables_in_order() {
        assert_eq!(
            home(&[("SPAWN_HOME", "/s"), ("HOME", "/h")]).unwrap(),
            Path::new("/s")
        );
        assert_eq!(
            home(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]).unwrap(),
            Path::new("/x/spawn")
        );
        assert_eq!(
            home(&[("HOME", "/h"), ("SPAWN_HOME", "")]).unwrap(),
            Path::new("/h/.local/state/spawn")
        );
        assert!(matches!(home(&[]), Err(HomeError::Unset)));
        assert!(matches!(
            home(&[("SPAWN_HOME", "s")]),
            Err(HomeError::Relative(_))
        ));
    }
}
