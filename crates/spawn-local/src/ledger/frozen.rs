//! Opening a ledger where nothing can be written: on a read-only disk, or in a directory that is
//! closed to its user.
//!
//! SQLite cannot make the files there that it shares with a writer. So the file is read as one that
//! nobody changes; if there is a write-ahead log beside it, or if it is of an older version, a copy of
//! it is made elsewhere, completed and read instead.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use spawn_ports::ledger::LedgerError;

use super::open::{check, check_whole, connect, refused, storage, writable};
use super::wal::log_of;
use super::{Durability, schema};

/// A copy is made again this often if a host writes meanwhile.
const COPIES: u32 = 20;

/// Opens the ledger at `path` for reading, and writes nothing beside it.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    check_whole(path)?;
    let has_log = fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0);
    if !has_log {
        let conn = as_it_is(path).map_err(|error| storage(path, "open", error))?;
        let found = schema::version(&conn).map_err(|error| storage(path, "open", error))?;
        check(path, &conn, found)?;
        if found == schema::VERSION {
            return Ok(conn);
        }
    }
    let dir = private_dir().map_err(|e| cannot_copy(path, &e))?;
    let opened = completed(path, &dir.join("ledger.db"));
    // What is open stays readable.
    let _ = fs::remove_dir_all(&dir);
    opened
}

fn cannot_copy(path: &Path, error: &io::Error) -> LedgerError {
    refused(format!(
        "cannot copy ledger `{}` to read it: {error}",
        path.display()
    ))
}

fn as_it_is(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(*byte),
            byte => uri.extend(format!("%{byte:02x}").bytes()),
        }
    }
    uri.extend(b"?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let uri = String::from_utf8(uri).expect("only letters are left");
    connect(Path::new(&uri), flags)
}

/// A copy with its log in it, as this version writes it.
fn completed(path: &Path, copy: &Path) -> Result<Connection, LedgerError> {
    copy_whole(path, copy).map_err(|e| cannot_copy(path, &e))?;
    let whole = writable(copy, Durability::ProcessCrash)?;
    let in_one_file = whole.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()));
    in_one_file.map_err(|error| storage(path, "open", error))?;
    drop(whole);
    let conn = as_it_is(copy).and_then(|conn| {
        // It is read once by name before the name goes.
        schema::version(&conn)?;
        Ok(conn)
    });
    conn.map_err(|error| storage(path, "open", error))
}

/// Copies the file and its log as they were at one moment.
fn copy_whole(path: &Path, copy: &Path) -> io::Result<()> {
    for _ in 0..COPIES {
        let before = state(path)?;
        fs::copy(path, copy)?;
        match fs::copy(log_of(path), log_of(copy)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied?),
        }
        if state(path)? == before {
            return Ok(());
        }
    }
    Err(io::Error::other("it changes all the time"))
}

/// What changes whenever pages move from the log into the file. That the log grows is no matter.
fn state(path: &Path) -> io::Result<(u64, i64, i64, Vec<u8>)> {
    let file = fs::metadata(path)?;
    let mut header = Vec::new();
    match File::open(log_of(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        log => drop(log?.take(32).read_to_end(&mut header)?),
    }
    Ok((file.len(), file.mtime(), file.mtime_nsec(), header))
}

fn private_dir() -> io::Result<PathBuf> {
    let mut n = 0;
    loop {
        let name = format!("spawn-ledger-{}-{n}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => n += 1,
            made => return made.map(|()| dir),
        }
    }
}
