//! Reading the script, and refusing what cannot run as a task.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{ScriptProblem, SpecError, SpecErrorKind};
use crate::origin::Origin;

/// The largest script: 16 MiB.
pub const MAX_SCRIPT_BYTES: usize = 16 << 20;

/// First lines that ask for something other than running a script.
const CLOUD_INIT: [&str; 8] = [
    "#cloud-config",
    "#cloud-boothook",
    "#include",
    "#part-handler",
    "#upstart-job",
    "## template:",
    "Content-Type: multipart",
    "MIME-Version:",
];
const WINDOWS: [&str; 2] = ["<powershell>", "<script>"];

/// A script that has passed every check but that of its interpreter.
#[derive(Debug)]
pub(crate) struct Script {
    pub bytes: Vec<u8>,
    /// How messages call it: its path in backticks, or where it is from.
    pub label: String,
    /// Its base name; `script` if it has none.
    pub file_name: String,
    /// The file it is from, if any.
    pub path: Option<PathBuf>,
}

/// Reads a script from a file; `typed` is what the user wrote, and `origin` where.
pub(crate) fn from_file(
    typed: &Path,
    origin: &Origin,
    launch_dir: &Path,
) -> Result<Script, SpecError> {
    let label = format!("`{}`", typed.display());
    let fail = |problem| refused(&label, problem);
    let path = launch_dir.join(typed);
    if path.is_dir() {
        return Err(fail(ScriptProblem::Directory));
    }
    let bytes = File::open(&path).and_then(read_limited);
    let bytes = bytes.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => match origin {
            Origin::File(_) => {
                let place = origin.with(typed.display()).to_string();
                refused(&place, ScriptProblem::Missing)
            }
            _ => fail(ScriptProblem::Missing),
        },
        kind => fail(ScriptProblem::Unreadable(kind)),
    })?;
    let file_name = typed
        .file_name()
        .and_then(|name| crate::name::sanitise(&name.to_string_lossy()));
    check(&bytes).map_err(fail)?;
    Ok(Script {
        bytes,
        label,
        file_name: file_name.unwrap_or_else(|| "script".into()),
        path: Some(path),
    })
}

/// Takes a script that is in no file; `label` says where it is from.
pub(crate) fn from_bytes(bytes: Vec<u8>, label: &str) -> Result<Script, SpecError> {
    check(&bytes).map_err(|problem| refused(label, problem))?;
    Ok(Script {
        bytes,
        label: label.to_owned(),
        file_name: "script".into(),
        path: None,
    })
}

pub(crate) fn refused(label: &str, problem: ScriptProblem) -> SpecError {
    let script = label.to_owned();
    SpecErrorKind::Script { script, problem }.into()
}

/// One byte more than the limit, so that a larger one can be told.
fn read_limited(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_SCRIPT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the bytes are an ELF executable.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

fn check(bytes: &[u8]) -> Result<(), ScriptProblem> {
    if bytes.len() > MAX_SCRIPT_BYTES {
        return Err(ScriptProblem::TooLarge);
    }
    if is_elf(bytes) {
        return Ok(());
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(ScriptProblem::ByteOrderMark);
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(ScriptProblem::Binary {
            line: line_of(bytes, at),
        });
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ScriptProblem::Empty);
    }
    let starts = |marker: &&str| {
        let head = bytes.get(..marker.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(marker.as_bytes()))
    };
    if let Some(marker) = CLOUD_INIT.into_iter().find(starts) {
        return Err(ScriptProblem::CloudInit { marker });
    }
    if let Some(marker) = WINDOWS.into_iter().find(starts) {
        return Err(ScriptProblem::Windows { marker });
    }
    if let Some(at) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        return Err(ScriptProblem::Crlf {
            line: line_of(bytes, at),
        });
    }
    Ok(())
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_run_is_refused_in_one_line() {
        for (bytes, message) in [
            (&b""[..], "is empty"),
            (b" \n\t\n", "is empty"),
            (
                b"#cloud-config\nruncmd: []",
                "starts with `#cloud-config`, which is for cloud-init; spawn runs a script as a task",
            ),
            (
                b"#cloud-boothook\n",
                "starts with `#cloud-boothook`, which is for cloud-init; spawn runs a script as a task",
            ),
            (
                b"#include\nhttp://x",
                "starts with `#include`, which is for cloud-init; spawn runs a script as a task",
            ),
            (
                b"content-type: multipart/mixed",
                "starts with `Content-Type: multipart`, which is for cloud-init; spawn runs a script as a task",
            ),
            (
                b"<powershell>\n",
                "starts with `<powershell>`, which is for Windows; tasks run on Linux",
            ),
            (
                b"#!/bin/sh\necho a\r\n",
                "line 2 ends in CRLF, as on Windows, which a shell takes for part of the text",
            ),
            (
                b"\xef\xbb\xbf#!/bin/sh",
                "starts with a byte order mark, which hides its first line",
            ),
            (
                b"echo\n\n\0",
                "line 3 holds a zero byte, so it is no script and no ELF executable",
            ),
        ] {
            assert_eq!(check(bytes).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn what_can_run_is_taken() {
        for bytes in [
            &b"echo"[..],
            b"\x7fELF\0\0",
            b"# only a comment",
            b"\xff\xfe latin",
            b"echo '\r'",
        ] {
            assert_eq!(check(bytes), Ok(()));
        }
        assert_eq!(check(&vec![b'a'; MAX_SCRIPT_BYTES]), Ok(()));
        let large = vec![b'a'; MAX_SCRIPT_BYTES + 1];
        assert_eq!(check(&large), Err(ScriptProblem::TooLarge));
    }
}
