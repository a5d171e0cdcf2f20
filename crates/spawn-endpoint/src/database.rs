//! How the endpoint's SQLite databases are opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::EndpointError;

/// Opens or creates a database and brings it to `schema`.
///
/// Write-ahead log with `synchronous=NORMAL`: an acknowledged change survives the death of the
/// process at any instant; the death of the machine may take the last few with it.
pub(crate) fn open(path: &Path, schema: &str) -> Result<Connection, EndpointError> {
    let prepare = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.execute_batch(schema)?;
        Ok(connection)
    };
    prepare().map_err(|error: rusqlite::Error| failed(path, &error))
}

/// Opens a database that exists, to read it only.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, EndpointError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .and_then(|connection| {
            connection.busy_timeout(Duration::from_secs(10))?;
            Ok(connection)
        })
        .map_err(|error| failed(path, &error))
}

/// The error of a database that could not be opened.
pub(crate) fn failed(path: &Path, error: &dyn std::fmt::Display) -> EndpointError {
    EndpointError::Database {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
