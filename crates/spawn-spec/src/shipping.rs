//! Which files go along: those the script names, and those `--include` names.
//!
//! A file keeps its path below the launch directory. What a shipped file itself
//! uses is not followed; that is what `--include` is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{IncludeProblem, SpecError, SpecErrorKind};
use crate::origin::Origin;
use crate::spec::ShippedFile;

/// The most bytes to ship: 64 MB.
pub const MAX_SHIPPED_BYTES: u64 = 64_000_000;
/// The most files to ship.
pub const MAX_SHIPPED_FILES: usize = 10_000;

/// Files that are named one by one in notes; more are counted.
const NAMED_IN_NOTES: usize = 10;

/// Files to ship, by name, and what to say about them.
#[derive(Debug)]
pub(crate) struct Shipment<'a> {
    launch_dir: &'a Path,
    files: BTreeMap<String, (PathBuf, ShippedFile)>,
    /// Why something the script or `--include` reaches stays behind.
    left_out: BTreeSet<String>,
}

impl<'a> Shipment<'a> {
    pub fn new(launch_dir: &'a Path) -> Self {
        Self {
            launch_dir,
            files: BTreeMap::new(),
            left_out: BTreeSet::new(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&ShippedFile> {
        self.files.get(name).map(|(_, file)| file)
    }

    /// Adds those words that name regular files below the launch directory.
    pub fn add_mentioned<'w>(
        &mut self,
        words: impl IntoIterator<Item = &'w String>,
        script: Option<&Path>,
    ) {
        let script = script.and_then(|path| path.canonicalize().ok());
        for word in words {
            let Some(name) = relative_name(word) else {
                let above = Path::new(word)
                    .components()
                    .any(|c| c == Component::ParentDir);
                if above && self.launch_dir.join(word).is_file() {
                    self.leave_out(word, "not below the directory of the launch");
                }
                continue;
            };
            let source = self.launch_dir.join(&name);
            // Most words name no file at all, and need no remark.
            let Ok(meta) = source.metadata() else {
                continue;
            };
            if name.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            if meta.is_dir() {
                // A word without a slash is more often just a word.
                if word.contains('/') {
                    self.leave_out(&name, &format!("a directory; add `--include {name}`"));
                }
            } else if self.has_symlink(&name) {
                self.leave_out(&name, "a symbolic link");
            } else if !meta.is_file() || (script.is_some() && source.canonicalize().ok() == script)
            {
                continue;
            } else if is_secret(&name) {
                self.leave_out(&name, "it looks like a key or a credential");
            } else if File::open(&source).is_err() {
                self.leave_out(&name, "it cannot be read");
            } else {
                self.add_file(name, source, &meta);
            }
        }
    }

    /// Adds a file or a directory that the user named.
    pub fn include(&mut self, typed: &Path, origin: &Origin) -> Result<(), SpecError> {
        let fail = |problem| {
            SpecError::from(SpecErrorKind::Include {
                origin: origin.clone(),
                path: typed.display().to_string(),
                problem,
            })
        };
        let below = match typed.strip_prefix(self.launch_dir) {
            Ok(below) => below,
            Err(_) if typed.is_absolute() => return Err(fail(IncludeProblem::Outside)),
            Err(_) => typed,
        };
        if below.components().any(|part| part == Component::ParentDir) {
            return Err(fail(IncludeProblem::Parent));
        }
        let below = below
            .to_str()
            .ok_or_else(|| fail(IncludeProblem::NotUtf8))?;
        // An empty name is the launch directory itself.
        let name = relative_name(below).unwrap_or_default();
        let source = self.launch_dir.join(&name);
        let meta = source
            .symlink_metadata()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    fail(IncludeProblem::Missing)
                }
                kind => fail(IncludeProblem::Unreadable(kind)),
            })?;
        if typed.as_os_str().is_empty() {
            return Err(fail(IncludeProblem::Missing));
        }
        if self.has_symlink(&name) {
            return Err(fail(IncludeProblem::Symlink));
        }
        if is_secret(&name) {
            return Err(fail(IncludeProblem::Secret));
        }
        if meta.is_file() {
            File::open(&source).map_err(|error| fail(IncludeProblem::Unreadable(error.kind())))?;
            self.add_file(name, source, &meta);
            return Ok(());
        }
        if !meta.is_dir() {
            return Err(fail(IncludeProblem::Special));
        }
        self.include_dir(&name, &source)
            .map_err(|error| fail(IncludeProblem::Unreadable(error.kind())))?;
        match self.files.len() {
            count if count > MAX_SHIPPED_FILES => Err(SpecErrorKind::ShipsTooMany { count }.into()),
            _ => Ok(()),
        }
    }

    fn include_dir(&mut self, name: &str, dir: &Path) -> std::io::Result<()> {
        let mut waiting = vec![(name.to_owned(), dir.to_owned())];
        while let Some((name, dir)) = waiting.pop() {
            for entry in fs::read_dir(&dir)? {
                if self.files.len() > MAX_SHIPPED_FILES {
                    return Ok(());
                }
                let entry = entry?;
                let base = entry.file_name();
                let slash = if name.is_empty() { "" } else { "/" };
                let inner = format!("{name}{slash}{}", base.to_string_lossy());
                let meta = entry.metadata()?;
                if base.to_str().is_none() {
                    self.leave_out(&inner, "its name is not UTF-8");
                } else if inner.rsplit('/').next().is_some_and(|b| b.starts_with('.')) {
                    self.leave_out(&inner, "its name starts with a dot");
                } else if meta.is_symlink() {
                    self.leave_out(&inner, "a symbolic link");
                } else if is_secret(&inner) {
                    self.leave_out(&inner, "it looks like a key or a credential");
                } else if meta.is_dir() {
                    waiting.push((inner, entry.path()));
                } else if meta.is_file() {
                    File::open(entry.path())?;
                    self.add_file(inner, entry.path(), &meta);
                } else {
                    self.leave_out(&inner, "neither a file nor a directory");
                }
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, name: &str, why: &str) {
        self.left_out
            .insert(format!("does not ship {name} ({why})"));
    }

    fn add_file(&mut self, name: String, source: PathBuf, meta: &Metadata) {
        let file = ShippedFile {
            name: name.clone(),
            size: meta.len(),
            executable: meta.permissions().mode() & 0o100 != 0,
        };
        self.files.insert(name, (source, file));
    }

    /// Whether the file or a directory on the way to it is a symbolic link.
    fn has_symlink(&self, name: &str) -> bool {
        let mut path = self.launch_dir.to_owned();
        name.split('/').any(|part| {
            path.push(part);
            path.is_symlink()
        })
    }

    /// Holds the whole to its limits.
    pub fn check_limits(&self) -> Result<(), SpecError> {
        let count = self.files.len();
        if count > MAX_SHIPPED_FILES {
            return Err(SpecErrorKind::ShipsTooMany { count }.into());
        }
        let files = self.files.values().map(|(_, file)| file);
        let total: u64 = files.clone().map(|file| file.size).sum();
        match files.max_by_key(|file| file.size) {
            Some(biggest) if total > MAX_SHIPPED_BYTES => Err(SpecErrorKind::ShipsTooMuch {
                total,
                biggest: biggest.name.clone(),
                biggest_size: biggest.size,
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Lines to show: what goes along, and what does not.
    pub fn notes(&self) -> Vec<String> {
        let files: Vec<&ShippedFile> = self.files.values().map(|(_, file)| file).collect();
        let (named, counted) = files.split_at(files.len().min(NAMED_IN_NOTES));
        let mut notes: Vec<String> = named
            .iter()
            .map(|file| format!("ships {} ({})", file.name, human_bytes(file.size)))
            .collect();
        if !counted.is_empty() {
            let bytes = counted.iter().map(|file| file.size).sum();
            let more = counted.len();
            notes.push(format!("ships {more} more files ({})", human_bytes(bytes)));
        }
        notes.extend(self.left_out.iter().take(NAMED_IN_NOTES).cloned());
        if let Some(more) = self.left_out.len().checked_sub(NAMED_IN_NOTES)
            && more > 0
        {
            notes.push(format!("does not ship {more} more files"));
        }
        notes
    }

    /// What goes into the spec, and where each file is found.
    pub fn into_parts(self) -> (Vec<ShippedFile>, Vec<(PathBuf, String)>) {
        self.files
            .into_values()
            .map(|(source, file)| {
                let name = file.name.clone();
                (file, (source, name))
            })
            .unzip()
    }
}

/// `./a//b` as `a/b`; `None` for what is absolute, has `..`, or is nothing.
pub(crate) fn relative_name(word: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in Path::new(word).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Names that keys and credentials have, in any part of the path.
fn is_secret(name: &str) -> bool {
    name.split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        [".pem", ".key", ".p12"]
            .iter()
            .any(|end| part.ends_with(end))
            || ["id_rsa", "id_ed25519", "credentials", ".env"]
                .iter()
                .any(|start| part.starts_with(start))
    })
}

/// Bytes for people: `812 B`, `1.2 kB`, `64 MB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) if whole < 100 => format!("{whole}.{tenth} {}", UNITS[unit]),
        (whole, _) => format!("{whole} {}", UNITS[unit]),
    }
}

#[cfg(test)]
#[path = "shipping_tests.rs"]
mod tests;
