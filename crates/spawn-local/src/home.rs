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

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use spawn_core::array_id::ArrayId;
use spawn_ports::ledger::AgentId;

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

    /// Makes the home for this user alone, if it is not there yet.
    pub fn create(&self) -> Result<(), HomeError> {
        for path in [
            self.root.clone(),
            self.arrays(),
            self.workers(),
            self.bin(),
            self.aws(),
        ] {
            make_private_dir(&path).map_err(|source| HomeError::Create { path, source })?;
        }
        Ok(())
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

/// Makes a directory, and those above it, that only this user may enter.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
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
