//! The programs that scripts and shells find in the home's `bin`: `spored`, `spawn`, `spawn-host`
//! (which `spawn` starts) and the `aws` wrapper, which is `spored` under another name.
//!
//! | the installation | what `bin` has |
//! |---|---|
//! | on the same file system, and may be linked to | hard links: they outlive an installation that is replaced |
//! | elsewhere, where sandboxes see it | symbolic links, which take no room |
//! | elsewhere, under `/tmp` or another place that sandboxes hide | copies |
//! | another user's, who is not root | copies |
//!
//! Of copies, `spored` is needed, and the others are left out where there is little room. Users may
//! not make hard links to programs of root, so the second line is the usual one.
//!
//! Through a symbolic link, scripts get the programs of an installation that was replaced while the
//! host runs. So do agents in any case: the host starts them from the installation.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use spawn_local::host_client::sibling;
use spawn_local::sandbox::path_trees::is_private;

/// Puts the programs that lie beside `agent` into `bin`.
pub(crate) fn install(bin: &Path, agent: &Path) -> io::Result<()> {
    install_one(agent, &bin.join("spored"), Need::Must)?;
    for name in ["spawn", "spawn-host"] {
        if let Some(program) = sibling(agent, name) {
            install_one(&program, &bin.join(name), Need::May)?;
        }
    }
    match symlink("spored", bin.join("aws")) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Whether a home is of use without the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

fn install_one(from: &Path, to: &Path, need: Need) -> io::Result<()> {
    let source = fs::metadata(from)?;
    let same = |there: &fs::Metadata| (there.dev(), there.ino()) == (source.dev(), source.ino());
    let there = fs::symlink_metadata(to).ok();
    if there.as_ref().is_some_and(same) {
        return Ok(());
    }
    let draft = to.with_extension(format!("new.{}", std::process::id()));
    let _ = fs::remove_file(&draft);
    // A link that a link leads to would keep the link, and not the program.
    let real = from.canonicalize()?;
    // Of another user's program there is a copy, which that user cannot change.
    let is_trusted = source.uid() == 0 || source.uid() == geteuid().as_raw();
    if !is_trusted || fs::hard_link(&real, &draft).is_err() {
        if !is_trusted || is_private(&real) {
            return copy(&real, &source, to, &draft, need);
        }
        if fs::read_link(to).is_ok_and(|leads_to| leads_to == real) {
            return Ok(());
        }
        symlink(&real, &draft)?;
    }
    fs::rename(draft, to)
}

fn copy(
    from: &Path,
    source: &fs::Metadata,
    to: &Path,
    draft: &PathBuf,
    need: Need,
) -> io::Result<()> {
    // Of a link, what it leads to is not what was copied.
    let copied = fs::symlink_metadata(to).ok().filter(|t| t.is_file());
    if copied
        .is_some_and(|t| t.len() == source.len() && t.modified().ok() >= source.modified().ok())
    {
        return Ok(());
    }
    // What is left out is not left as it was before: that would be another version.
    let is_too_large = |bin: &Path| {
        statvfs(bin)
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < 2 * source.len())
    };
    if need == Need::May && to.parent().is_some_and(is_too_large) {
        note!("there is no room for a copy of {}", from.display());
        return match fs::remove_file(to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    }
    let copied = fs::copy(from, draft)
        .and_then(|_| fs::set_permissions(draft, fs::Permissions::from_mode(0o700)));
    if let Err(e) = copied.and_then(|()| fs::rename(draft, to)) {
        let _ = fs::remove_file(draft);
        return Err(e);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that sandboxes see, so that links into it are of use.
    fn visible() -> Option<tempfile::TempDir> {
        let target = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(target.parent().unwrap()).unwrap();
        (!is_private(&dir.path().canonicalize().unwrap())).then_some(dir)
    }

    /// A directory on another file system than `than`, if this machine has one to write to.
    fn elsewhere(than: &Path) -> Option<tempfile::TempDir> {
        let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
        ["/dev/shm", "/tmp", "/run"]
            .into_iter()
            .filter(|place| device(Path::new(place)) != device(than))
            .find_map(|place| tempfile::tempdir_in(place).ok())
    }

    fn installation(dir: &Path) -> PathBuf {
        for name in ["spored", "spawn", "spawn-host"] {
            fs::write(dir.join(name), format!("the first {name}")).unwrap();
        }
        dir.join("spored")
    }

    #[test]
    fn on_the_same_file_system_they_are_hard_links_that_outlive_a_replaced_installation() {
        let (from, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let agent = installation(from.path());
        install(bin.path(), &agent).unwrap();
        let spawn = bin.path().join("spawn");
        assert!(fs::symlink_metadata(&spawn).unwrap().is_file());
        fs::write(from.path().join("draft"), "the second spawn").unwrap();
        fs::rename(from.path().join("draft"), from.path().join("spawn")).unwrap();
        assert_eq!(fs::read_to_string(&spawn).unwrap(), "the first spawn");
        install(bin.path(), &agent).unwrap();
        assert_eq!(fs::read_to_string(&spawn).unwrap(), "the second spawn");
        assert_eq!(
            fs::read_to_string(bin.path().join("aws")).unwrap(),
            "the first spored"
        );
    }

    #[test]
    fn on_another_file_system_they_are_links_that_take_no_room() {
        let Some(from) = visible() else {
            eprintln!("SKIPPED: this build lies where sandboxes do not see it");
            return;
        };
        let Some(bin) = elsewhere(from.path()) else {
            eprintln!("SKIPPED: there is no other file system");
            return;
        };
        let agent = installation(from.path());
        // What an earlier version copied goes.
        fs::write(bin.path().join("spored"), "an older spored").unwrap();
        for _ in 0..2 {
            install(bin.path(), &agent).unwrap();
            for name in ["spored", "spawn", "spawn-host"] {
                let path = bin.path().join(name);
                assert!(fs::symlink_metadata(&path).unwrap().is_symlink(), "{name}");
                let said = fs::read_to_string(&path).unwrap();
                assert_eq!(said, format!("the first {name}"));
            }
            assert_eq!(fs::read_dir(bin.path()).unwrap().count(), 4);
        }
    }

    #[test]
    fn an_installation_that_sandboxes_hide_is_copied_once() {
        let Ok(from) = tempfile::tempdir_in("/dev/shm") else {
            eprintln!("SKIPPED: there is no /dev/shm");
            return;
        };
        let Some(bin) = visible() else {
            eprintln!("SKIPPED: this build lies where sandboxes do not see it");
            return;
        };
        let agent = installation(from.path());
        install(bin.path(), &agent).unwrap();
        let spored = bin.path().join("spored");
        let inode = || fs::symlink_metadata(&spored).unwrap().ino();
        let first = inode();
        assert!(fs::symlink_metadata(&spored).unwrap().is_file());
        install(bin.path(), &agent).unwrap();
        assert_eq!(inode(), first, "it is not copied again");
        fs::write(&agent, "the second spored, which is longer").unwrap();
        install(bin.path(), &agent).unwrap();
        assert!(
            fs::read_to_string(&spored)
                .unwrap()
                .starts_with("the second")
        );
    }
}
