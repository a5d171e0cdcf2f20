//! Failures that say nothing of what was attempted: the machine has no room for it now.

use std::error::Error;
use std::io;

use rusqlite::ErrorCode;
use spawn_ports::ledger::LedgerError;

/// Whether the system is out of something that others may give back: disk, memory, processes,
/// descriptors.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOSPC
                | libc::EDQUOT
                | libc::EAGAIN
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EMFILE
                | libc::ENFILE
        )
    )
}

/// The same of an error number.
pub fn is_shortage_errno(errno: i32) -> bool {
    is_shortage(&io::Error::from_raw_os_error(errno))
}

/// Whether the ledger could not be written for want of room. Nothing of what was to be written is
/// kept then, and it can be written later.
pub fn is_ledger_shortage(error: &LedgerError) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(sql) = error.downcast_ref::<rusqlite::Error>() {
            return matches!(
                (
                    sql.sqlite_error_code(),
                    sql.sqlite_error().map(|e| e.extended_code)
                ),
                (Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory), _)
                    // The index of the write-ahead log could not grow.
                    | (_, Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE))
            );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_shortage_and_a_missing_file_is_none() {
        assert!(is_shortage(&io::Error::from_raw_os_error(libc::ENOSPC)));
        assert!(is_shortage_errno(libc::EAGAIN));
        assert!(!is_shortage_errno(libc::ENOENT));
        assert!(!is_shortage(&io::Error::other("no number")));
    }

    #[test]
    fn a_ledger_that_is_full_is_told_from_one_that_is_damaged() {
        let of = |code: i32| LedgerError::Storage {
            what: "cannot write".to_owned(),
            source: Some(Box::new(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(code),
                None,
            ))),
        };
        assert!(is_ledger_shortage(&of(rusqlite::ffi::SQLITE_FULL)));
        assert!(is_ledger_shortage(&of(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)));
        assert!(!is_ledger_shortage(&of(rusqlite::ffi::SQLITE_CORRUPT)));
    }
}
