//! How the endpoint's SQLite databases are opened.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::EndpointError;

/// Opens or creates a database and brings it to `schema`.
///
/// Write-ahead log with `synchronous=NORMAL`: an acknowledged change survives the death of the
/// process at any instant; the death of the machine may take the last few with it.
pub(crate) fn open(path: &Path, schema: &str) -> Result<Connection, EndpointError> {
    // Whatever is in the way of it, SQLite says it.
    let _ = keep_private(path);
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

/// Makes a database that only this user can read, or takes away what others may do with one. SQLite
/// itself would make it as the umask has it, and the files beside it with the same mode.
pub(crate) fn keep_private(path: &Path) -> io::Result<()> {
    let mut options = fs::File::options();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => drop(made?),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match fs::metadata(&file) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
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
