//! Files that are this user's alone, whatever the umask, and whatever mode they had before.

use std::ffi::CString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::ptr;

/// How a file is opened that nobody else may read, should it be made.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Writes a file as `fs::write` does.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(content.as_ref())
}

/// Makes a directory, and those above it, that only this user may enter.
pub fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Sees to it that everything in a directory, and the directory itself, survives a loss of power.
pub fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_tree(&entry.path())?,
            false => fs::File::open(entry.path())?.sync_all()?,
        }
    }
    sync_entry(dir)
}

/// Sees to it that what a directory names survives a loss of power.
pub fn sync_entry(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Whether users and groups are named that have rights of their own there.
pub fn has_access_list(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let name = c"system.posix_acl_access";
    // SAFETY: both strings end in a zero byte and outlive the call, which only asks for the length.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), ptr::null_mut(), 0) };
    length > 0
}

/// Takes away the access control list that a directory hands down to what is made in it: it would
/// count for more than the umask.
pub fn hand_nothing_down(dir: &Path) {
    let Ok(path) = CString::new(dir.as_os_str().as_bytes()) else {
        return;
    };
    // SAFETY: both strings end in a zero byte and outlive the call.
    unsafe { libc::removexattr(path.as_ptr(), c"system.posix_acl_default".as_ptr()) };
    // That there is none, or cannot be, is no failure.
}

/// Prepares a database of SQLite, which makes files as the umask has them, and the log and index
/// beside a database as open as the database is.
pub fn prepare_database(path: &Path) -> io::Result<()> {
    match options().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => drop(made?),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        close(file.as_ref())?;
    }
    Ok(())
}

/// Takes away what others may do with a file or a directory, if there is one. A link stays as it
/// is, and so does a file of several names: another of them may be a program that all may run.
pub fn close(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let is_open = found.mode() & 0o077 != 0;
    if found.is_symlink() || !is_open || (found.is_file() && found.nlink() > 1) {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o700)) {
        // Removed a moment ago, or on a disk where nobody can change anything.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_open_is_closed_and_links_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["file", "program", "linked"] {
            fs::write(at(name), name).unwrap();
            let mode = if name == "file" { 0o666 } else { 0o777 };
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(at("dir")).unwrap();
        fs::set_permissions(at("dir"), Permissions::from_mode(0o2777)).unwrap();
        fs::hard_link(at("linked"), at("its other name")).unwrap();
        std::os::unix::fs::symlink(at("linked"), at("link")).unwrap();
        for name in ["file", "program", "linked", "dir", "link", "missing"] {
            close(&at(name)).unwrap();
        }
        assert_eq!(mode(&at("file")), 0o600);
        assert_eq!(mode(&at("program")), 0o700);
        assert_eq!(mode(&at("linked")), 0o777);
        assert_eq!(mode(&at("dir")), 0o700);
    }

    #[test]
    fn a_database_and_what_lies_beside_it_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        prepare_database(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let all = ["a.db", "a.db-wal", "a.db-shm"].map(|name| dir.path().join(name));
        for file in &all {
            fs::write(file, "kept").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        prepare_database(&path).unwrap();
        for file in &all {
            assert_eq!(mode(file), 0o600, "{}", file.display());
            assert_eq!(fs::read_to_string(file).unwrap(), "kept");
        }
    }
}
