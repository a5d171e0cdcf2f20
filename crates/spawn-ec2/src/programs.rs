//! The programs that machines fetch: `spored-node` and `spored`, for each processor.
//!
//! They lie in a directory that has one directory for each architecture:
//! `x86_64/spored-node`, `x86_64/spored`, `arm64/spored-node`, `arm64/spored`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use spawn_node::boot::Fetched;

/// What the keys of programs in the bucket begin with.
pub const PREFIX: &str = "programs/";

/// Their names.
pub const NAMES: [&str; 2] = ["spored-node", "spored"];
/// The architectures of EC2 that there are programs for.
pub const ARCHITECTURES: [&str; 2] = ["x86_64", "arm64"];

/// A program on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `spored-node` or `spored`.
    pub name: &'static str,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// It needs libraries of the machine it runs on, which a machine's image may lack.
    pub needs_libraries: bool,
}

impl Program {
    /// Where it is in the bucket: named by its content, so a newer one never takes its place.
    pub fn key(&self) -> String {
        format!("{PREFIX}{}/{}", self.sha256, self.name)
    }

    /// What a machine fetches.
    pub fn fetched(&self) -> Fetched {
        Fetched {
            key: self.key(),
            sha256: self.sha256.clone(),
        }
    }
}

/// Programs by architecture and name.
#[derive(Debug, Clone, Default)]
pub struct Programs(BTreeMap<(&'static str, &'static str), Program>);

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("`{}` is not a program for {architecture}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it should be for.
        architecture: &'static str,
    },
}

impl Programs {
    /// Looks through the directories; the first that has a program gives it. A directory that is
    /// not there has none.
    ///
    /// # Errors
    /// One that is there cannot be read, or is no program for its architecture.
    pub fn find(directories: &[PathBuf]) -> Result<Programs, ProgramError> {
        let mut programs = BTreeMap::new();
        for architecture in ARCHITECTURES {
            for name in NAMES {
                let paths = directories.iter().map(|d| d.join(architecture).join(name));
                if let Some(path) = paths.into_iter().find(|path| path.is_file()) {
                    let program = read(name, architecture, &path, |_| true)?;
                    programs.extend(program.map(|program| ((architecture, name), program)));
                }
            }
        }
        Ok(Programs(programs))
    }

    /// Adds programs for this machine's own processor from a directory that has no more than
    /// these, where none was found and they need no libraries.
    ///
    /// # Errors
    /// As [`Programs::find`].
    pub fn or_beside(mut self, directory: &Path) -> Result<Programs, ProgramError> {
        let Some(architecture) = own_architecture() else {
            return Ok(self);
        };
        for name in NAMES {
            let path = directory.join(name);
            if self.0.contains_key(&(architecture, name)) || !path.is_file() {
                continue;
            }
            let program = read(name, architecture, &path, |elf| !elf.has_interpreter)?;
            self.0
                .extend(program.map(|program| ((architecture, name), program)));
        }
        Ok(self)
    }

    /// A program; nothing if there is none for the architecture.
    pub fn get(&self, architecture: &str, name: &str) -> Option<&Program> {
        let found = self
            .0
            .iter()
            .find(|((a, n), _)| (*a, *n) == (architecture, name));
        found.map(|(_, program)| program)
    }

    /// Both programs of an architecture, if both are there.
    pub fn of(&self, architecture: &str) -> Option<[&Program; 2]> {
        let [node, spored] = NAMES.map(|name| self.get(architecture, name));
        Some([node?, spored?])
    }
}

/// This machine's architecture in EC2's words, if EC2 has it.
pub fn own_architecture() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("x86_64"),
        "aarch64" => Some("arm64"),
        _ => None,
    }
}

/// A program at a path, if it is wanted; only then is its content looked through.
fn read(
    name: &'static str,
    architecture: &'static str,
    path: &Path,
    is_wanted: impl FnOnce(&Elf) -> bool,
) -> Result<Option<Program>, ProgramError> {
    let content = fs::read(path).map_err(|source| ProgramError::Read {
        path: path.to_owned(),
        source,
    })?;
    let elf = elf(&content).filter(|elf| elf.machine == machine(architecture));
    let elf = elf.ok_or_else(|| ProgramError::Foreign {
        path: path.to_owned(),
        architecture,
    })?;
    if !is_wanted(&elf) {
        return Ok(None);
    }
    Ok(Some(Program {
        name,
        architecture,
        path: path.to_owned(),
        sha256: Sha256::digest(&content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        size: content.len() as u64,
        needs_libraries: elf.has_interpreter,
    }))
}

/// What the head of an executable says.
struct Elf {
    machine: u16,
    has_interpreter: bool,
}

/// `e_machine` of ELF.
fn machine(architecture: &str) -> u16 {
    match architecture {
        "arm64" => 183,
        _ => 62,
    }
}

/// Reads the head of a 64-bit little-endian ELF file. Source: elf(5).
fn elf(content: &[u8]) -> Option<Elf> {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let part = content.get(at..at.checked_add(bytes)?)?;
        Some(
            part.iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    if content.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut has_interpreter = false;
    for n in 0..count {
        let at = usize::try_from(first.checked_add(n * size)?).ok()?;
        has_interpreter |= number(at, 4)? == u64::from(INTERPRETER);
    }
    Some(Elf {
        machine: u16::try_from(number(18, 2)?).ok()?,
        has_interpreter,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head of a program with these segments.
    fn program(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut content = vec![0; 64];
        content[..6].copy_from_slice(b"\x7fELF\x02\x01");
        content[18..20].copy_from_slice(&machine.to_le_bytes());
        content[32..40].copy_from_slice(&64u64.to_le_bytes());
        content[54..56].copy_from_slice(&56u16.to_le_bytes());
        content[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for kind in segments {
            let mut segment = vec![0; 56];
            segment[..4].copy_from_slice(&kind.to_le_bytes());
            content.extend(segment);
        }
        content
    }

    fn put(dir: &Path, path: &str, content: &[u8]) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn programs_are_found_by_architecture() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(two.path(), "x86_64/spored-node", &program(62, &[1]));
        put(two.path(), "x86_64/spored", &program(62, &[1, 3, 1]));
        put(one.path(), "arm64/spored", &program(183, &[]));
        let dirs = [
            one.path().to_owned(),
            two.path().to_owned(),
            "/not/there".into(),
        ];
        let programs = Programs::find(&dirs).unwrap();
        let [node, spored] = programs.of("x86_64").unwrap();
        assert!(!node.needs_libraries && spored.needs_libraries);
        assert!(node.key().ends_with("/spored-node") && node.key().starts_with("programs/"));
        assert!(programs.of("arm64").is_none(), "one of two is not enough");
        assert!(programs.get("arm64", "spored").is_some());
    }

    #[test]
    fn what_is_no_program_for_it_is_refused() {
        for content in [
            &b"#!/bin/sh\n"[..],
            &program(183, &[1]),
            b"",
            b"\x7fELF\x02\x01",
        ] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), "x86_64/spored", content);
            let refused = Programs::find(&[dir.path().to_owned()]);
            assert!(matches!(refused, Err(ProgramError::Foreign { .. })));
        }
    }

    #[test]
    fn programs_beside_are_taken_if_they_need_nothing() {
        let Some(own) = own_architecture() else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "spored", &program(machine(own), &[1]));
        put(dir.path(), "spored-node", &program(machine(own), &[3]));
        let programs = Programs::default().or_beside(dir.path()).unwrap();
        assert!(programs.get(own, "spored").is_some());
        assert!(programs.get(own, "spored-node").is_none());
    }
}
