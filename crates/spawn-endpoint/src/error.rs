//! What can go wrong before a request is served.

use std::io;
use std::path::PathBuf;

/// Why the endpoint could not be prepared, started or read.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A file or directory of the endpoint could not be used.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was being done, as a verb: `create`, `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The credentials file exists but does not hold a key pair.
    #[error("`{}` holds no key pair; remove it and a new one is made", path.display())]
    Credentials {
        /// The credentials file.
        path: PathBuf,
    },
    /// A database of the endpoint could not be opened.
    #[error("cannot open the database `{}`: {reason}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What the engine answered.
        reason: String,
    },
    /// Another process serves the same directory.
    #[error("another process already serves `{}`", path.display())]
    InUse {
        /// The endpoint's directory.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// The listener or the serving thread could not be set up.
    #[error("cannot start the endpoint")]
    Start {
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}
