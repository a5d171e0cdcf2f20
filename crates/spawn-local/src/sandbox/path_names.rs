//! Scripts that name the place where they lie, and the same scripts for another place.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longer scripts, such as archives that begin with a `#!` line, are run where they are by a short
/// one, rather than copied.
const LONGEST: u64 = 256 << 10;

/// Directories, and their names at another place.
#[derive(Debug)]
pub struct PathNames {
    /// Longest first. With whether the name counts everywhere, or in the `#!` line only.
    names: Vec<(Vec<u8>, Vec<u8>, bool)>,
}

impl PathNames {
    /// Each directory by one of its names, with its place, and whether text that says the name
    /// means it; if not, only `#!` lines do.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a Path, PathBuf, bool)>) -> PathNames {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let mut names: Vec<_> = names
            .into_iter()
            .map(|(name, place, everywhere)| (bytes(name), bytes(&place), everywhere))
            .collect();
        names.sort_by_key(|(name, ..)| std::cmp::Reverse(name.len()));
        PathNames { names }
    }

    /// The text with the new names, if it says an old one.
    fn renamed(&self, text: &[u8], in_first_line: bool) -> Option<Vec<u8>> {
        let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let mut result = Vec::with_capacity(text.len());
        let (mut at, mut any) = (0, false);
        while at < text.len() {
            let rest = &text[at..];
            let starts =
                rest[0] == b'/' && !result.last().is_some_and(|b| in_name(b) || *b == b'/');
            let found = self.names.iter().find(|(name, _, everywhere)| {
                starts
                    && (in_first_line || *everywhere)
                    && rest.starts_with(name)
                    && !rest.get(name.len()).is_some_and(in_name)
            });
            match found {
                Some((name, place, _)) => {
                    result.extend_from_slice(place);
                    at += name.len();
                    any = true;
                }
                None => {
                    result.push(rest[0]);
                    at += 1;
                }
            }
        }
        any.then_some(result)
    }
}

/// A program that is text, or begins with a `#!` line at least.
#[derive(Debug)]
pub struct Script {
    /// All of it; the first line only if it is long or no text.
    content: Vec<u8>,
    is_whole: bool,
    mode: u32,
}

impl Script {
    /// The program at `path` if it begins with `#!`.
    pub fn read(path: &Path) -> Option<Script> {
        let meta = fs::symlink_metadata(path).ok()?;
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            return None;
        }
        let file = fs::File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .ok()?;
        let mut start = [0; 2];
        (&file).read_exact(&mut start).ok()?;
        if start != *b"#!" {
            return None;
        }
        let mut content = start.to_vec();
        file.take(LONGEST).read_to_end(&mut content).ok()?;
        let is_whole = meta.len() <= LONGEST && !content.contains(&0);
        if !is_whole {
            let end = content.iter().position(|b| *b == b'\n')?;
            content.truncate(end);
        }
        Some(Script {
            content,
            is_whole,
            mode: meta.permissions().mode() & 0o777,
        })
    }

    /// The file at `path`, if it is one, whatever it begins with.
    pub fn read_text(path: &Path) -> Option<Script> {
        let meta = fs::symlink_metadata(path).ok()?;
        if !meta.is_file() || meta.len() > LONGEST {
            return None;
        }
        Some(Script {
            content: fs::read(path).ok()?,
            is_whole: true,
            mode: meta.permissions().mode() & 0o777,
        })
    }

    /// Its permissions.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The program that its first line names.
    pub fn interpreter(&self) -> Option<PathBuf> {
        let (program, _) = shebang(self.first_line())?;
        Some(Path::new(OsStr::from_bytes(program)).to_owned())
    }

    /// What a line such as `home = /usr/bin` says of `key`.
    pub fn value_of(&self, key: &str) -> Option<PathBuf> {
        let mut lines = self.content.split(|b| *b == b'\n');
        lines.find_map(|line| {
            let (said, value) = line.split_at(line.iter().position(|b| *b == b'=')?);
            let value = OsStr::from_bytes(value[1..].trim_ascii());
            (said.trim_ascii() == key.as_bytes()).then(|| value.into())
        })
    }

    /// The script for the new places, if it names an old one. `shown` is where it lies then.
    pub fn renamed(&self, names: &PathNames, shown: &Path) -> Option<Vec<u8>> {
        let first = self.first_line();
        if !first.starts_with(b"#!") {
            return names.renamed(&self.content, false);
        }
        let line = names.renamed(first, true);
        if self.is_whole {
            let rest = &self.content[first.len()..];
            let text = names.renamed(rest, false);
            if line.is_none() && text.is_none() {
                return None;
            }
            let line = line.unwrap_or_else(|| first.to_vec());
            return Some([line, text.unwrap_or_else(|| rest.to_vec())].concat());
        }
        let line = line?;
        let (program, argument) = shebang(&line)?;
        let words = [Some(program), argument, Some(shown.as_os_str().as_bytes())];
        let mut content = b"#!/bin/sh\nexec".to_vec();
        for word in words.into_iter().flatten() {
            content.push(b' ');
            content.extend(quoted(word));
        }
        content.extend_from_slice(b" \"$@\"\n");
        Some(content)
    }

    fn first_line(&self) -> &[u8] {
        let mut lines = self.content.split(|b| *b == b'\n');
        lines.next().unwrap_or_default()
    }
}

/// The program of a `#!` line and what follows it, which is one argument.
fn shebang(line: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = line.strip_prefix(b"#!")?.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (program, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_ascii();
    Some((program, (!rest.is_empty()).then_some(rest)))
}

/// A word for the shell, in single quotes.
fn quoted(word: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = word.split(|b| *b == b'\'').collect();
    [b"'".to_vec(), parts.join(&b"'\\''"[..]), b"'".to_vec()].concat()
}
