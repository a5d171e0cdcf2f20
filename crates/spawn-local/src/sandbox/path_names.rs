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

/// So much of a file is read to see what runs it. Binaries name their loader within the first page.
const HEAD: usize = 4 << 10;

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

/// A program that another one runs: text that begins with a `#!` line, or a binary with its loader.
#[derive(Debug)]
pub struct Script {
    /// All of it; the first line only if it is long or no text. A binary counts as a script of its
    /// loader.
    content: Vec<u8>,
    is_whole: bool,
    mode: u32,
}

impl Script {
    /// The program at `path` if it begins with `#!` or has a loader.
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
        let mode = meta.permissions().mode() & 0o777;
        let mut content = Vec::with_capacity(HEAD);
        (&file).take(HEAD as u64).read_to_end(&mut content).ok()?;
        if let Some(loader) = loader(&content) {
            return Some(Script {
                content: [b"#!", loader].concat(),
                is_whole: false,
                mode,
            });
        }
        if !content.starts_with(b"#!") {
            return None;
        }
        file.take(LONGEST).read_to_end(&mut content).ok()?;
        let is_whole = meta.len() <= LONGEST && !content.contains(&0);
        if !is_whole {
            let end = content.iter().position(|b| *b == b'\n')?;
            content.truncate(end);
        }
        Some(Script {
            content,
            is_whole,
            mode,
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

/// The loader that a 64-bit ELF binary names, given its beginning.
fn loader(head: &[u8]) -> Option<&[u8]> {
    /// The type of the program header that says where the loader's name is.
    const PT_INTERP: u32 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(head.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(value)).ok()
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut headers = (0..count).map(|n| table.saturating_add(n * size));
    let header = headers.find(|at| number(*at, 4) == Some(PT_INTERP as usize))?;
    let (at, length) = (number(header.checked_add(8)?, 8)?, number(header + 32, 8)?);
    let name = head.get(at..at.checked_add(length)?)?;
    Some(name.split(|b| *b == 0).next().unwrap_or_default())
}

/// A word for the shell, in single quotes.
fn quoted(word: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = word.split(|b| *b == b'\'').collect();
    [b"'".to_vec(), parts.join(&b"'\\''"[..]), b"'".to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> PathNames {
        PathNames::new([
            (Path::new("/tmp/venv"), "/spawn/path/0".into(), true),
            (Path::new("/tmp/venv/deep"), "/spawn/path/1".into(), true),
            (Path::new("/tmp"), "/spawn/path/2".into(), false),
        ])
    }

    fn text(said: &str) -> Option<String> {
        let renamed = names().renamed(said.as_bytes(), false)?;
        Some(String::from_utf8(renamed).unwrap())
    }

    #[test]
    fn a_name_is_renamed_where_it_is_meant() {
        for (said, expected) in [
            ("exec \"/tmp/venv/bin/x\"", "exec \"/spawn/path/0/bin/x\""),
            ("A=/tmp/venv:/tmp/venv\n", "A=/spawn/path/0:/spawn/path/0\n"),
            ("/tmp/venv/deep/x", "/spawn/path/1/x"),
        ] {
            assert_eq!(text(said).as_deref(), Some(expected));
        }
        for other in [
            "/tmp/venv2",
            "/tmp/venv.old/x",
            "/srv/tmp/venv",
            "//tmp/venv",
            "/tmp/x",
            "",
        ] {
            assert_eq!(text(other), None, "{other}");
        }
        let line = names().renamed(b"#!/tmp/x/python -I", true).unwrap();
        assert_eq!(line, b"#!/spawn/path/2/x/python -I");
    }

    /// The script at a new place, as tasks would find it.
    fn moved(content: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let renamed = Script::read(&path)?.renamed(&names(), Path::new("/spawn/trees/0/it's"))?;
        Some(String::from_utf8(renamed).unwrap())
    }

    #[test]
    fn scripts_are_renamed_and_archives_are_run_where_they_are() {
        assert_eq!(
            moved(b"#!/tmp/venv/bin/python\nprint('/tmp/venv')\n").unwrap(),
            "#!/spawn/path/0/bin/python\nprint('/spawn/path/0')\n"
        );
        assert_eq!(moved(b"#!/bin/sh\necho /tmp\n"), None);
        assert_eq!(moved(b"/tmp/venv/bin/python\n"), None);
        let runs_it =
            "#!/bin/sh\nexec '/spawn/path/0/bin/python' '-I -S' '/spawn/trees/0/it'\\''s' \"$@\"\n";
        let archive = b"#! /tmp/venv/bin/python  -I -S\nPK\x00\x01/tmp/venv";
        assert_eq!(moved(archive).unwrap(), runs_it);
        let long = [
            b"#!/tmp/venv/bin/python -I -S\n".to_vec(),
            vec![b'#'; LONGEST as usize],
        ];
        assert_eq!(moved(&long.concat()).unwrap(), runs_it);
    }

    #[test]
    fn a_binary_is_run_by_its_loader_if_that_is_moved() {
        let binary = |loader: &[u8]| {
            let mut file = vec![0u8; 256];
            file[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (file[32], file[54], file[56]) = (64, 56, 2);
            // The second header is that of the loader.
            (file[120], file[128], file[152]) = (3, 200, loader.len() as u8);
            file[200..200 + loader.len()].copy_from_slice(loader);
            file
        };
        assert_eq!(
            moved(&binary(b"/tmp/venv/lib/ld.so\0")).unwrap(),
            "#!/bin/sh\nexec '/spawn/path/0/lib/ld.so' '/spawn/trees/0/it'\\''s' \"$@\"\n"
        );
        assert_eq!(moved(&binary(b"/lib64/ld-linux-x86-64.so.2\0")), None);
        for end in [6, 40, 130, 201] {
            assert_eq!(moved(&binary(b"/tmp/venv/lib/ld.so\0")[..end]), None);
        }
    }
}
