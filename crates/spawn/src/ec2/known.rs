//! The arrays on EC2 that were launched from this home: which region and account each is in.
//!
//! A file of its own for each, `arrays/ID/ec2.json` below the home, so that commands find an array
//! by the start of its id without a question to AWS. Arrays of other machines are found by region.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_local::home::Home;
use spawn_local::private_files;

use crate::error::CliError;

const FILE: &str = "ec2.json";

/// An array on EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    pub array: ArrayId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Whose it is, twelve digits.
    pub account: String,
    /// When it was launched.
    pub launched: UnixMicros,
}

/// Where the journal of a launch is.
pub fn journal(home: &Home, id: &ArrayId) -> PathBuf {
    home.array(id).join("launch.journal")
}

/// Where the bundle of a launch is until the launch is complete.
pub fn bundle(home: &Home, id: &ArrayId) -> PathBuf {
    home.array(id).join("bundle")
}

/// Remembers an array, before anything of it is made.
pub fn remember(home: &Home, known: &Known) -> Result<(), CliError> {
    let dir = home.array(&known.array);
    let path = dir.join(FILE);
    let written = private_files::make_dir(&dir).and_then(|()| {
        let mut text = serde_json::to_vec_pretty(known)?;
        text.push(b'\n');
        private_files::write(&path, text)
    });
    written.map_err(|source| CliError::File {
        verb: "write",
        path,
        source,
    })
}

/// All arrays that are remembered, newest first.
pub fn all(home: &Home) -> Result<Vec<Known>, CliError> {
    let dir = home.arrays();
    let failed = |path: PathBuf| {
        move |source| CliError::File {
            verb: "read",
            path,
            source,
        }
    };
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(dir.clone()))?,
    };
    let mut known = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(dir.clone()))?.path().join(FILE);
        let text = match fs::read(&path) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            text => text.map_err(failed(path.clone()))?,
        };
        let read: Known = serde_json::from_slice(&text)
            .map_err(|e| failed(path)(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        known.push(read);
    }
    known.sort_by(|a, b| (b.launched, &b.array).cmp(&(a.launched, &a.array)));
    Ok(known)
}

/// Which of them are meant by an id, the start of one, a name (the newest of that name), or `last`.
pub fn matching(known: &[Known], typed: &str) -> Vec<Known> {
    let newest =
        |found: &mut dyn Iterator<Item = &Known>| found.next().cloned().into_iter().collect();
    if typed == "last" {
        return newest(&mut known.iter());
    }
    let by_id = known.iter().filter(|known| known.array.matches(typed));
    let by_id: Vec<Known> = by_id.cloned().collect();
    match by_id.iter().find(|known| known.array.as_str() == typed) {
        Some(exact) => vec![exact.clone()],
        None if !by_id.is_empty() => by_id,
        None => newest(&mut known.iter().filter(|known| known.name == typed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: &str, name: &str, launched: i64) -> Known {
        Known {
            array: id.parse().unwrap(),
            name: name.to_owned(),
            region: "eu-west-1".to_owned(),
            account: "123456789012".to_owned(),
            launched: UnixMicros(launched),
        }
    }

    #[test]
    fn arrays_are_remembered_and_found() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        assert_eq!(all(&home).unwrap(), []);
        let old = known("array-20260127-abc123", "demo", 1);
        let new = known("array-20260128-abd000", "demo", 2);
        remember(&home, &old).unwrap();
        remember(&home, &new).unwrap();
        // One of this machine's own.
        fs::create_dir_all(home.arrays().join("array-20260129-zzzzzz")).unwrap();
        let known = all(&home).unwrap();
        assert_eq!(known, [new.clone(), old.clone()]);
        for (typed, found) in [
            ("last", vec![&new]),
            ("demo", vec![&new]),
            ("array-20260127-abc123", vec![&old]),
            ("20260128", vec![&new]),
            ("array-2026012", vec![&new, &old]),
            ("other", vec![]),
            ("", vec![]),
        ] {
            let matching = matching(&known, typed);
            assert_eq!(matching.iter().collect::<Vec<_>>(), found, "{typed}");
        }
    }

    #[test]
    fn a_damaged_record_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let array = home.arrays().join("array-20260127-abc123");
        fs::create_dir_all(&array).unwrap();
        fs::write(array.join(FILE), "{").unwrap();
        let error = all(&home).unwrap_err().to_string();
        assert!(error.contains("array-20260127-abc123/ec2.json"), "{error}");
    }
}
