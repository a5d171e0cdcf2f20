//! A disk without room, which has its own name in the answers of every service.
//!
//! An internal error says nothing to whoever can mend it, and clients try again four times. Status
//! 507 is none that AWS's clients try again.

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;

use hyper::StatusCode;

/// The error code of every service.
pub(crate) const CODE: &str = "DiskFull";

/// The status that goes with it.
pub(crate) const STATUS: StatusCode = StatusCode::INSUFFICIENT_STORAGE;

/// What to say when the disk that `dir` is on has no room.
pub(crate) fn message(dir: &Path) -> String {
    format!(
        "There is no space left on the disk that holds `{}`. Make room there and try again",
        dir.display()
    )
}

/// Whether `error`, or what caused it, is that a disk or a quota is full.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        if matches!(
            kind,
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        ) {
            return true;
        }
        if let Some(rusqlite::Error::SqliteFailure(failure, _)) = error.downcast_ref()
            && failure.code == rusqlite::ErrorCode::DiskFull
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the text of an error that has lost its type says that the disk is full.
pub(crate) fn says_full(text: &str) -> bool {
    [
        "database or disk is full",
        "No space left on device",
        "Disk quota exceeded",
    ]
    .iter()
    .any(|phrase| text.contains(phrase))
}

/// Whether nothing can be written in `dir` any more. SQLite reports a file of its own that cannot grow
/// as an input/output error, which has many causes; this tells them apart. Blocks.
pub(crate) fn has_no_room(dir: &Path) -> bool {
    let probe = dir.join(format!("probe-{}", crate::identifiers::hex::<8>()));
    let written = std::fs::write(&probe, vec![0; 64 * 1024]);
    let _ = std::fs::remove_file(&probe);
    written.is_err_and(|error| is_full(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_by_its_errors() {
        let full = std::io::Error::from_raw_os_error(28);
        assert!(is_full(&full) && says_full(&full.to_string()));
        let quota = std::io::Error::from_raw_os_error(122);
        assert!(is_full(&quota) && says_full(&quota.to_string()));
        assert!(!is_full(&std::io::Error::from_raw_os_error(5)));
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let full = rusqlite::Error::SqliteFailure(full, None);
        assert!(is_full(&full) && says_full("database or disk is full"));
        assert!(!has_no_room(tempfile::tempdir().unwrap().path()));
    }
}
