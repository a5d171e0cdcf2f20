//! What lies under `arrays/` in a home, held against what the ledger knows.
//!
//! An array of this machine has its files first, then its record, then a mark that its launch was
//! acknowledged. So files without a record are either what a launch left that was killed, or what is
//! left of an array whose record was lost: the mark, or output, tells the second from the first.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use spawn_core::array_id::ArrayId;

use crate::home::Home;

/// A launch that has not been acknowledged for this long was killed.
const LONGEST_LAUNCH: Duration = Duration::from_secs(24 * 3600);

/// Arrays that have files in a home and no record in its ledger.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Strays {
    /// Those that were launched, in order: their record is lost.
    pub launched: Vec<ArrayId>,
    /// Those of which nothing says that they were, in order: launches that were killed, or that are
    /// just being made.
    pub unfinished: Vec<ArrayId>,
}

/// Notes that the launch of an array was acknowledged.
///
/// # Errors
/// Those of making an empty file.
pub fn mark_launched(home: &Home, id: &ArrayId) -> io::Result<()> {
    crate::private_files::write(&home.launched(id), "")
}

/// Whether there are files of arrays of this machine at all.
///
/// # Errors
/// Those of reading the directory.
pub fn are_there(home: &Home) -> io::Result<bool> {
    let strays = strays(home, &HashSet::new())?;
    Ok(!strays.launched.is_empty() || !strays.unfinished.is_empty())
}

/// The arrays with files that are not among those the ledger `knows`.
///
/// # Errors
/// Those of reading the directory.
pub fn strays(home: &Home, knows: &HashSet<ArrayId>) -> io::Result<Strays> {
    let mut strays = Strays::default();
    let entries = match fs::read_dir(home.arrays()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(strays),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|n| n.parse::<ArrayId>().ok()) else {
            continue;
        };
        if knows.contains(&id) || is_of_ec2(home, &id) {
            continue;
        }
        let is_marked = home.launched(&id).exists();
        if is_marked || home.job(&id).exists() {
            match is_marked || home.logs(&id).exists() {
                true => strays.launched.push(id),
                false => strays.unfinished.push(id),
            }
        }
    }
    strays.launched.sort_unstable();
    strays.unfinished.sort_unstable();
    Ok(strays)
}

/// What is kept here of an array on EC2: its record is not in this home's ledger.
fn is_of_ec2(home: &Home, id: &ArrayId) -> bool {
    ["ec2.json", "launch.journal"]
        .iter()
        .any(|name| home.array(id).join(name).exists())
}

/// Removes what killed launches left, once they are so old that none of them can be going on.
/// Gives those that were removed.
pub fn remove_killed_launches(home: &Home, strays: &Strays) -> Vec<ArrayId> {
    let is_old = |id: &&ArrayId| {
        let changed = fs::metadata(home.array(id)).and_then(|dir| dir.modified());
        let age = changed.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        age.is_ok_and(|age| age > LONGEST_LAUNCH)
    };
    let old = strays.unfinished.iter().filter(is_old);
    let removed = old.filter(|id| fs::remove_dir_all(home.array(id)).is_ok());
    removed.cloned().collect()
}

/// Moves the files of arrays without a record to where nothing looks at them.
///
/// # Errors
/// Those of moving them; what was moved before stays so.
pub fn put_aside<'a>(home: &Home, ids: impl IntoIterator<Item = &'a ArrayId>) -> io::Result<()> {
    for id in ids {
        crate::private_files::make_dir(&home.put_aside())?;
        fs::rename(home.array(id), home.put_aside().join(id.as_str()))?;
    }
    Ok(())
}

/// The agents that have a log of this array and are not among those the ledger `knows`: an earlier
/// state of the ledger was put back, or its end is lost.
///
/// # Errors
/// Those of reading the directory.
pub fn unknown_agents(home: &Home, id: &ArrayId, knows: &HashSet<u64>) -> io::Result<Vec<u64>> {
    let mut unknown = Vec::new();
    let entries = match fs::read_dir(home.logs(id)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(unknown),
        entries => entries?,
    };
    for entry in entries {
        let agent = crate::task_log::agent_of(&entry?.path());
        unknown.extend(agent.filter(|agent| !knows.contains(agent)));
    }
    unknown.sort_unstable();
    Ok(unknown)
}

/// A path beside `path` where nothing is yet: with `.WORD`, else `.WORD-2` and so on.
pub fn free_name(path: &Path, word: &str) -> std::path::PathBuf {
    let named = |end: String| {
        let mut name = path.file_name().unwrap_or(OsStr::new("ledger")).to_owned();
        name.push(end);
        path.with_file_name(name)
    };
    let first = named(format!(".{word}"));
    let others = (2..).map(|n: u32| named(format!(".{word}-{n}")));
    std::iter::once(first)
        .chain(others)
        .find(|name| fs::symlink_metadata(name).is_err())
        .expect("some number is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_launch_left_is_told_from_an_array_whose_record_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let id = |n: u8| ArrayId::new(2026, 1, 27, [n; 6]).unwrap();
        for n in 0..6 {
            fs::create_dir_all(home.job(&id(n)).join("files")).unwrap();
        }
        mark_launched(&home, &id(1)).unwrap();
        fs::create_dir(home.logs(&id(2))).unwrap();
        // One on EC2, and the output of another that was launched elsewhere.
        fs::write(home.array(&id(3)).join("ec2.json"), "{}").unwrap();
        fs::create_dir_all(home.logs(&id(9))).unwrap();
        fs::write(home.arrays().join("notes.txt"), "").unwrap();
        let known = HashSet::from([id(4)]);
        let found = strays(&home, &known).unwrap();
        let (launched, unfinished) = (vec![id(1), id(2)], vec![id(0), id(5)]);
        assert_eq!(
            found,
            Strays {
                launched,
                unfinished
            }
        );

        // A launch may be going on; an old one cannot.
        assert_eq!(remove_killed_launches(&home, &found), []);
        let old = SystemTime::now() - LONGEST_LAUNCH - Duration::from_secs(60);
        let array = fs::File::open(home.array(&id(5))).unwrap();
        array.set_modified(old).unwrap();
        assert_eq!(remove_killed_launches(&home, &found), [id(5)]);
        assert!(home.array(&id(0)).exists() && !home.array(&id(5)).exists());

        put_aside(&home, &found.launched).unwrap();
        assert_eq!(strays(&home, &known).unwrap().launched, []);
        assert!(home.put_aside().join(id(2).as_str()).join("logs").exists());
        assert!(are_there(&home).unwrap());
    }
}
