//! The rows of a parameter file, one for each task: `rows.jsonl` beside the script, a line a row.
//!
//! An agent reads the line of each task it starts; none keeps them all in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub use spawn_spec::Row;

use crate::private_files;

/// The file's name in the job's directory.
pub const FILE: &str = "rows.jsonl";

/// Writes the rows, in order of the indices they belong to.
pub fn write(path: &Path, rows: &[Row]) -> io::Result<()> {
    let file = private_files::options()
        .write(true)
        .create_new(true)
        .open(path)?;
    let mut out = io::BufWriter::new(file);
    for row in rows {
        serde_json::to_writer(&mut out, row)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// An open file of rows.
#[derive(Debug)]
pub struct Rows {
    file: File,
    /// Where each line begins, and where the last one ends.
    starts: Vec<u64>,
}

impl Rows {
    /// Opens the file and finds its lines.
    pub fn open(path: &Path) -> io::Result<Rows> {
        let file = File::open(path)?;
        let mut reader = BufReader::with_capacity(64 << 10, &file);
        let mut starts = vec![0];
        let mut at = 0;
        loop {
            let n = reader.skip_until(b'\n')?;
            if n == 0 {
                break;
            }
            at += n as u64;
            starts.push(at);
        }
        Ok(Rows { file, starts })
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        self.starts.len() as u64 - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of the task with an index.
    ///
    /// # Errors
    /// There is no such row, or it cannot be read.
    pub fn get(&self, index: u64) -> io::Result<Row> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let (Some(start), Some(end)) = (self.starts.get(at), self.starts.get(at.saturating_add(1)))
        else {
            return Err(io::Error::other(format!("there is no row {index}")));
        };
        let mut line = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut line, *start)?;
        Ok(serde_json::from_slice(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let row = |value: &str| Row {
            name: Some(value.to_owned()),
            params: vec![("k".into(), value.to_owned())],
            vars: vec![("PARAM_k".into(), value.to_owned())],
            timeout_ms: None,
        };
        let written = [
            row("$(rm -rf ~); \"'"),
            row("two\nlines\r\n"),
            row("ä\u{2028}"),
        ];
        write(&path, &written).unwrap();
        let rows = Rows::open(&path).unwrap();
        assert_eq!(rows.len(), 3);
        for (at, row) in written.iter().enumerate().rev() {
            assert_eq!(rows.get(at as u64).unwrap(), *row);
        }
        assert!(rows.get(3).is_err() && rows.get(u64::MAX).is_err());
    }
}
