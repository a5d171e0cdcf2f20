//! Reading a file of text whole, within a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::document::Malformed;
use crate::file_problem::FileProblem;
use crate::param_file::MAX_FILE_BYTES;
use crate::position::Lines;

/// Reads a file as UTF-8, without the byte order mark that some editors write.
pub(crate) fn read(path: &Path) -> Result<String, Malformed> {
    let fail = |problem| Malformed { at: None, problem };
    if path.is_dir() {
        return Err(fail(FileProblem::Directory));
    }
    let mut bytes = Vec::new();
    // One byte more than the limit, so that a larger one can be told.
    let limit = MAX_FILE_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => fail(FileProblem::Missing),
            kind => fail(FileProblem::Unreadable(kind)),
        })?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(fail(FileProblem::TooLarge));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let at = Lines::of(&before).position(valid);
        Malformed::new(at, FileProblem::NotUtf8)
    })
}
