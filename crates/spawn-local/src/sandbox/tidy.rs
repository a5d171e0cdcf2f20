//! Emptying a worker's directories between tasks.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that is emptied for each task, and usually is empty already.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    dir: fs::File,
    mode: u32,
}

impl Scratch {
    /// The directory at `path`, with these permissions for each task.
    pub fn new(path: PathBuf, mode: u32) -> io::Result<Scratch> {
        let dir = fs::File::open(&path)?;
        Ok(Scratch { path, dir, mode })
    }

    /// Whether it is as a task should find it: empty, there, and with its permissions.
    pub fn is_clean(&self) -> bool {
        let as_made = |meta: fs::Metadata| {
            meta.nlink() > 0 && meta.permissions().mode() & 0o7777 == self.mode
        };
        self.dir.metadata().is_ok_and(as_made) && is_empty(&self.dir).unwrap_or(false)
    }

    /// Removes everything that tasks left in it, and gives it its permissions back.
    pub fn empty(&mut self) -> io::Result<()> {
        if self.is_clean() {
            return Ok(());
        }
        if self.dir.metadata()?.nlink() == 0 {
            // A task removed it.
            fs::DirBuilder::new().mode(0o700).create(&self.path)?;
            self.dir = fs::File::open(&self.path)?;
        }
        self.dir
            .set_permissions(fs::Permissions::from_mode(self.mode))?;
        for entry in fs::read_dir(&self.path)? {
            remove(&entry?.path())?;
        }
        Ok(())
    }
}

/// Whether a directory holds nothing. Two system calls, so that a short task is not slowed by it.
fn is_empty(dir: &fs::File) -> io::Result<bool> {
    let fd = dir.as_raw_fd();
    let mut buffer = [0u64; 128];
    // SAFETY: a plain seek on a descriptor that is open.
    if unsafe { libc::lseek(fd, 0, libc::SEEK_SET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel writes at most the buffer's size into it.
    let n = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            fd,
            buffer.as_mut_ptr(),
            size_of_val(&buffer),
        )
    };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut at = 0usize;
    while at < n as usize {
        // SAFETY: the kernel filled `n` bytes with records of `d_reclen` bytes each; the buffer is
        // aligned for them and `at` stays within it.
        let (name, len) = unsafe {
            let entry = buffer
                .as_ptr()
                .cast::<u8>()
                .add(at)
                .cast::<libc::dirent64>();
            let name = CStr::from_ptr((&raw const (*entry).d_name).cast());
            (name.to_bytes(), (*entry).d_reclen as usize)
        };
        if name != b"." && name != b".." {
            return Ok(false);
        }
        at += len;
    }
    Ok(true)
}

/// Removes a file or a tree, also where a task took its own permissions away.
pub fn remove(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.is_dir() {
        return gone(fs::remove_file(path));
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    unlock(path);
    gone(fs::remove_dir_all(path))
}

fn unlock(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            unlock(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_task_leaves_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let mut scratch = Scratch::new(root.clone(), 0o700).unwrap();

        fs::create_dir_all(root.join("deep/locked/in")).unwrap();
        fs::write(root.join("deep/locked/in/file"), "x").unwrap();
        fs::set_permissions(root.join("deep/locked"), fs::Permissions::from_mode(0o0)).unwrap();
        fs::write(root.join(".hidden"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
        scratch.empty().unwrap();

        assert!(is_empty(&scratch.dir).unwrap());
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn what_a_task_did_to_the_directory_itself_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work");
        fs::create_dir(&path).unwrap();
        let mut scratch = Scratch::new(path.clone(), 0o1777).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        scratch.empty().unwrap();
        assert_eq!(mode(), 0o1777);
        fs::remove_dir(&path).unwrap();
        scratch.empty().unwrap();
        scratch.empty().unwrap();
        assert_eq!(mode(), 0o1777);
    }

    #[test]
    fn emptiness_is_seen_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(dir.path().to_owned(), 0o700).unwrap();
        for _ in 0..2 {
            assert!(is_empty(&scratch.dir).unwrap());
            fs::write(dir.path().join("f"), "x").unwrap();
            assert!(!is_empty(&scratch.dir).unwrap());
            scratch.empty().unwrap();
        }
    }
}
