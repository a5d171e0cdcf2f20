//! Emptying a worker's directories between tasks.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

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

    /// Removes everything that tasks left in it, and gives it its permissions back. That may take long:
    /// `beat` is called again and again meanwhile.
    pub fn empty(&mut self, beat: &mut dyn FnMut()) -> io::Result<()> {
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
        empty_directory(self.dir.as_fd(), beat)
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
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    let dir = fs::File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)?;
    empty_directory(dir.as_fd(), &mut || {})?;
    gone(fs::remove_dir(path))
}

/// Removes everything in a directory, however much and however deep: the directories that are found in
/// one are moved up beside it, so that neither names nor open descriptors add up.
fn empty_directory(top: BorrowedFd<'_>, beat: &mut dyn FnMut()) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let mut is_empty = true;
        for name in names_in(top)? {
            is_empty = false;
            beat();
            if !is_unlinked(top, &name)? {
                lift_directories(top, &name, &mut moved, beat)?;
                gone(unlinkat(top, name.as_c_str(), UnlinkatFlags::RemoveDir))?;
            }
        }
        if is_empty {
            return Ok(());
        }
    }
}

/// Removes the files of the directory `name` in `top`, and moves its directories to `top`.
fn lift_directories(
    top: BorrowedFd<'_>,
    name: &CStr,
    moved: &mut u64,
    beat: &mut dyn FnMut(),
) -> io::Result<()> {
    // A task may have closed it to itself.
    let _ = fchmodat(top, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = openat(top, name, flags, Mode::empty())?;
    loop {
        let names = names_in(dir.as_fd())?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            beat();
            if !is_unlinked(dir.as_fd(), &name)? {
                lift(dir.as_fd(), &name, top, moved)?;
            }
        }
    }
}

/// Moves a directory to `top`, under a name that is free there.
fn lift(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> io::Result<()> {
    // Moving it changes what `..` in it means, for which it must be writable.
    let _ = fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink);
    loop {
        *moved += 1;
        let free = CString::new(format!(".removed-{moved}")).unwrap_or_default();
        match renameat(dir, name, top, free.as_c_str()) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
            done => return gone(done),
        }
    }
}

/// Removes a name that is no directory's. False if it is one's.
fn is_unlinked(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => Ok(false),
        other => gone(other).map(|()| true),
    }
}

fn gone(result: nix::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// As many names as are looked at before they are acted upon.
const NAMES: usize = 1_000;

/// Some of the names in a directory; none if it is empty.
fn names_in(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(dir, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() == NAMES {
            break;
        }
    }
    Ok(names)
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
        scratch.empty(&mut || {}).unwrap();

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
        scratch.empty(&mut || {}).unwrap();
        assert_eq!(mode(), 0o1777);
        fs::remove_dir(&path).unwrap();
        scratch.empty(&mut || {}).unwrap();
        scratch.empty(&mut || {}).unwrap();
        assert_eq!(mode(), 0o1777);
    }

    #[test]
    fn a_tree_that_is_too_deep_for_a_path_goes_and_the_beat_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        fs::create_dir(&root).unwrap();
        let mut scratch = Scratch::new(root.clone(), 0o700).unwrap();
        // Deeper than any path may be long.
        let mut at = fs::File::open(&root).unwrap();
        for _ in 0..3_000 {
            let name = c"a-directory";
            nix::sys::stat::mkdirat(&at, name, Mode::S_IRWXU).unwrap();
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let next = openat(&at, name, flags, Mode::empty()).unwrap();
            at = next.into();
        }
        for n in 0..2_500 {
            fs::write(root.join(format!("file-{n}")), "x").unwrap();
        }
        // A name that removal itself would use.
        fs::create_dir_all(root.join(".removed-1/in")).unwrap();
        fs::write(root.join(".removed-2"), "x").unwrap();
        let mut beats = 0u64;
        scratch.empty(&mut || beats += 1).unwrap();
        assert!(scratch.is_clean());
        assert!(beats >= 5_500, "{beats}");
    }

    #[test]
    fn emptiness_is_seen_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(dir.path().to_owned(), 0o700).unwrap();
        for _ in 0..2 {
            assert!(is_empty(&scratch.dir).unwrap());
            fs::write(dir.path().join("f"), "x").unwrap();
            assert!(!is_empty(&scratch.dir).unwrap());
            scratch.empty(&mut || {}).unwrap();
        }
    }
}
