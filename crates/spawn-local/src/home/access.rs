//! Who may reach a home: the user whose it is, and nobody else.
//!
//! Whoever can write to a home has commands run as its owner: by the host's socket, by a program
//! in `bin`, by another home in its place. So this is asked before anything in it is used, as
//! `ssh` asks before it trusts `~/.ssh`:
//!
//! - Nobody but this user and root can rename what lies on the way to the home.
//! - The home is this user's. What others may do there is taken away, and said.
//! - What lies in it was put there by this user or root.
//!
//! Root is held to the same: a command of root does not use the home of another user, whose
//! programs it would run.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Uid, geteuid};

use super::{HomeError, accounts};
use crate::private_files;

/// Links on the way to a home; the system follows no more either.
const MOST_LINKS: u32 = 40;

/// What the names of everything begin with that is made in a home.
const OURS: [&str; 8] = [
    "ledger.db",
    "host.",
    "endpoint.port",
    "prices.",
    "aws",
    "bin",
    "arrays",
    "workers",
];

/// Sees to it that a home, if there is one, is this user's alone. Whether it was open to others
/// until now, and is closed.
pub(super) fn secure(root: &Path) -> Result<bool, HomeError> {
    let me = geteuid();
    let walked = walk(root, me);
    // That it is another's comes first: so is the way to it, then.
    if let Ok(found) = fs::metadata(root)
        && found.is_dir()
        && found.uid() != me.as_raw()
    {
        return Err(HomeError::Foreign {
            path: root.to_owned(),
            owner: found.uid(),
        });
    }
    let (home, found) = match walked? {
        Some((home, found)) if found.is_dir() => (home, found),
        // Whoever wants to make it says what is wrong with it.
        _ => return Ok(false),
    };
    let mut was_closed = false;
    if found.mode() & 0o077 != 0 {
        if let Some(with) = entries(&home).into_iter().find(|path| !is_ours(path)) {
            return Err(HomeError::Shared {
                path: root.to_owned(),
                with,
            });
        }
        examine_all(&home, me, examine_owner)?;
        was_closed = close_home(&home, &found).map_err(|source| HomeError::Open {
            path: root.to_owned(),
            source,
        })?;
        // Something may have been put there in the meantime, but no more from here on.
        close_all(&home);
        examine_all(&home, me, examine)?;
    }
    for place in [home.clone(), home.join("aws"), home.join("bin")] {
        for path in entries(&place) {
            examine(&path, me)?;
            // What cannot be closed lies in a home that is.
            let _ = private_files::close(&path);
        }
    }
    Ok(was_closed)
}

/// Follows a path from the root directory, through its links. Where it ends, and what is there;
/// `None` if nothing is, or nothing can be seen.
///
/// # Errors
/// Others could put something else in the place of a part of it.
fn walk(path: &Path, me: Uid) -> Result<Option<(PathBuf, Metadata)>, HomeError> {
    let exposed = |by: &Path, found: &Metadata| HomeError::Exposed {
        path: path.to_owned(),
        by: by.to_owned(),
        owner: Some(found.uid()).filter(|owner| !is_trusted(*owner, me)),
    };
    let mut reached = PathBuf::from("/");
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == OsStr::new("..") {
            reached.pop();
            continue;
        }
        match fs::symlink_metadata(&reached) {
            Ok(found) if !is_kept(&reached, &found, me) => return Err(exposed(&reached, &found)),
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
        let next = reached.join(part);
        let Ok(found) = fs::symlink_metadata(&next) else {
            return Ok(None);
        };
        if !found.is_symlink() {
            reached = next;
            continue;
        }
        if !is_trusted(found.uid(), me) {
            return Err(exposed(&next, &found));
        }
        links += 1;
        let Some(target) = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS) else {
            return Ok(None);
        };
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        let mut target = parts(&target);
        target.append(&mut rest);
        rest = target;
    }
    let found = fs::symlink_metadata(&reached).ok();
    Ok(found.map(|found| (reached, found)))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Whether what lies in a directory stays in its place unless this user or root moves it.
fn is_kept(path: &Path, dir: &Metadata, me: Uid) -> bool {
    let mode = dir.mode();
    is_trusted(dir.uid(), me)
        // In a directory such as `/tmp`, only the owner of an entry moves it.
        && (mode & 0o1000 != 0
            || mode & 0o022 == 0
            || mode & 0o002 == 0
                && is_alone_in(dir.gid(), dir.uid())
                && !private_files::has_access_list(path))
}

/// Whether a group has no member but one user: many systems give every user such a group, and a
/// umask under which it may write.
fn is_alone_in(group: u32, user: u32) -> bool {
    match (accounts::group(group), accounts::user(user)) {
        (Some((name, members)), Some(user)) => {
            name == user && members.iter().all(|member| *member == user)
        }
        _ => false,
    }
}

/// Whether a user could do this one harm anyway.
fn is_trusted(user: u32, me: Uid) -> bool {
    user == 0 || user == me.as_raw() || is_unknown(user)
}

/// Whether this is nobody in particular: in a user namespace, as sandboxes and containers have,
/// everybody who is not known there, root of the machine among them.
fn is_unknown(user: u32) -> bool {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let number = read("/proc/sys/kernel/overflowuid");
    let map = read("/proc/self/uid_map");
    let map: Vec<&str> = map.split_whitespace().collect();
    number.trim().parse() == Ok(user) && map.len() >= 3 && map != ["0", "0", "4294967295"]
}

/// Takes away what others may do in a home. Whether that could be done; where nothing can be
/// changed at all, nobody else can change anything either.
fn close_home(home: &Path, found: &Metadata) -> io::Result<bool> {
    match fs::set_permissions(home, Permissions::from_mode(found.mode() & 0o700)) {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(false),
        done => done?,
    }
    private_files::hand_nothing_down(home);
    match fs::metadata(home)?.mode() & 0o077 {
        0 => Ok(true),
        _ => Err(io::Error::other("its file system keeps no permissions")),
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name == "lost+found" || OURS.iter().any(|ours| name.starts_with(ours))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Refuses what another user put there, or a link that leads to what is another's.
fn examine(path: &Path, me: Uid) -> Result<(), HomeError> {
    examine_owner(path, me)?;
    let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    match is_link.then(|| walk(path, me)).transpose()?.flatten() {
        Some((_, target)) => refuse_foreign(path, &target, me),
        None => Ok(()),
    }
}

/// Refuses what another user put there.
fn examine_owner(path: &Path, me: Uid) -> Result<(), HomeError> {
    match fs::symlink_metadata(path) {
        Ok(found) => refuse_foreign(path, &found, me),
        Err(_) => Ok(()),
    }
}

fn refuse_foreign(path: &Path, found: &Metadata, me: Uid) -> Result<(), HomeError> {
    match found.uid() {
        owner if owner == 0 || owner == me.as_raw() => Ok(()),
        owner => Err(HomeError::ForeignFile {
            path: path.to_owned(),
            owner,
        }),
    }
}

/// All below a home but what its workers' tasks leave, which goes with them: a task of root may
/// make files of any user.
fn examine_all(
    home: &Path,
    me: Uid,
    examine: impl Fn(&Path, Uid) -> Result<(), HomeError>,
) -> Result<(), HomeError> {
    let mut left = entries(home);
    while let Some(path) = left.pop() {
        examine(&path, me)?;
        left.extend(below(home, &path));
    }
    Ok(())
}

fn close_all(home: &Path) {
    let mut left = entries(home);
    while let Some(path) = left.pop() {
        let _ = private_files::close(&path);
        left.extend(below(home, &path));
    }
}

fn below(home: &Path, path: &Path) -> Vec<PathBuf> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    match is_dir && path != home.join("workers") {
        true => entries(path),
        false => Vec::new(),
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
