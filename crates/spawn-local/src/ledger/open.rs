//! Opening the ledger's file, and saying plainly what is wrong with one that cannot be opened.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use spawn_ports::ledger::LedgerError;

use super::Durability;
use super::schema;
use crate::private_files;

/// How long a call waits for another process that writes, before it fails.
const BUSY: Duration = Duration::from_secs(10);

/// Pages of 4 KiB in the write-ahead log before they move into the file: 8 MiB.
const CHECKPOINT_PAGES: u32 = 2_000;

/// Opens the ledger at `path`, creating it if there is none.
pub(super) fn writable(path: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    let new = fs::metadata(path).map_or(true, |file| file.len() == 0);
    check_whole(path)?;
    // Whatever is in the way of it, SQLite says it.
    let _ = private_files::prepare_database(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let prepare = || -> rusqlite::Result<(Connection, i64)> {
        let mut conn = connect(path, flags)?;
        let found = schema::version(&conn)?;
        if found > schema::VERSION || (found == 0 && !new && is_foreign(&conn)?) {
            return Ok((conn, found));
        }
        let creating = found == 0 && durability == Durability::ProcessCrash;
        if creating {
            // An empty ledger that a power cut takes away has lost nothing.
            conn.execute_batch("PRAGMA synchronous = OFF;")?;
        }
        conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        if found < schema::VERSION {
            schema::migrate(&mut conn)?;
        }
        conn.execute_batch(synchronous(durability))?;
        conn.execute_batch(&format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"))?;
        Ok((conn, found))
    };
    let (conn, found) = prepare().map_err(|error| storage(path, "open", error))?;
    check(path, &conn, found)?;
    Ok(conn)
}

/// What sets the durability; going to the stronger one also brings what was written before to disk.
pub(super) fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::ProcessCrash => "PRAGMA synchronous = NORMAL;",
        Durability::PowerLoss => "PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(PASSIVE);",
    }
}

/// Opens the ledger at `path` for reading only; there must be one.
pub(super) fn read_only(path: &Path) -> Result<Connection, LedgerError> {
    check_whole(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let prepare = || -> rusqlite::Result<(Connection, i64)> {
        let conn = connect(path, flags)?;
        let found = schema::version(&conn)?;
        Ok((conn, found))
    };
    let (conn, found) = prepare().map_err(|error| storage(path, "open", error))?;
    check(path, &conn, found)?;
    if found < schema::VERSION {
        return Err(refused(format!(
            "ledger `{}` has version {found}, older than version {} of this program; \
             a command that writes brings it up to date",
            path.display(),
            schema::VERSION
        )));
    }
    Ok(conn)
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch("PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;")?;
    Ok(conn)
}

fn is_foreign(conn: &Connection) -> rusqlite::Result<bool> {
    let ours: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(ours != schema::APPLICATION_ID && tables > 0)
}

pub(super) fn check(path: &Path, conn: &Connection, found: i64) -> Result<(), LedgerError> {
    let foreign = is_foreign(conn).map_err(|error| storage(path, "open", error))?;
    let shown = path.display();
    if foreign {
        return Err(refused(format!(
            "`{shown}` is the database of another program, not a ledger; \
             move it away or name another place"
        )));
    }
    if found > schema::VERSION {
        return Err(refused(format!(
            "ledger `{shown}` has version {found}, this program knows up to version {}; \
             use the newer program that wrote it",
            schema::VERSION
        )));
    }
    Ok(())
}

/// Refuses a file that ends within a page, unless its log can make it whole. SQLite would read
/// the missing bytes as zeros.
pub(super) fn check_whole(path: &Path) -> Result<(), LedgerError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(PathBuf::from(log)).is_ok_and(|log| log.len() > 0);
    if !has_log && ends_within_a_page(path) == Some(true) {
        return Err(refused(damaged(path, "open", "its last page is torn")));
    }
    Ok(())
}

/// `None` if that cannot be told; whatever is wrong then, SQLite says it.
fn ends_within_a_page(path: &Path) -> Option<bool> {
    let mut file = File::open(path).ok()?;
    let mut header = [0; 18];
    file.read_exact(&mut header).ok()?;
    // https://www.sqlite.org/fileformat2.html#page_size: big endian, 1 stands for 65536.
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let len = file.metadata().ok()?.len();
    Some(len.checked_rem(page_size)? != 0)
}

pub(super) fn refused(what: String) -> LedgerError {
    LedgerError::Storage { what, source: None }
}

/// The error of a call that failed while it wanted to `doing` the ledger at `path`.
pub(super) fn storage(path: &Path, doing: &str, error: rusqlite::Error) -> LedgerError {
    let shown = path.display();
    let what = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(path, doing, &error.to_string())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("cannot {doing} ledger `{shown}`: another process keeps it locked ({error})")
        }
        Some(ErrorCode::DiskFull) => {
            format!("cannot {doing} ledger `{shown}`: no space left ({error}); nothing was lost")
        }
        // No version of this program writes such values.
        None if matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        ) =>
        {
            damaged(path, doing, &error.to_string())
        }
        _ => format!("cannot {doing} ledger `{shown}`: {error}"),
    };
    LedgerError::Storage {
        what,
        source: Some(Box::new(error)),
    }
}

fn damaged(path: &Path, doing: &str, why: &str) -> String {
    let shown = path.display();
    format!(
        "cannot {doing} ledger `{shown}`: the file is damaged or is no ledger ({why}); \
         `spawn local check` says what is damaged, and `spawn local check --salvage` saves what \
         can be read and keeps the damaged file"
    )
}
