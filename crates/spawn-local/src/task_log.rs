//! The output of tasks: one append-only log per agent, a region per attempt.
//!
//! No file per task. A record is a header of 24 bytes and the bytes a script wrote to one of its
//! streams:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `S` `L` |
//! | 2 | stream: 1 stdout, 2 stderr |
//! | 3 | 0 |
//! | 4..8 | attempt, little-endian |
//! | 8..16 | position, little-endian |
//! | 16..20 | length of what follows, little-endian |
//! | 20..24 | 0 |
//!
//! An agent runs one task at a time, so an attempt's records are one contiguous region. A log
//! whose agent was killed may end in a torn record; readers stop there.
//!
//! A log is never opened again. Agents are numbered after the logs that are there ([`last_agent`]), so
//! that an old log stays as it is when an earlier state of the ledger is put back.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use spawn_ports::ledger::LogSpan;

const HEADER: usize = 24;

/// Which of a script's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Appends to an agent's log.
#[derive(Debug)]
pub struct TaskLog {
    file: File,
    offset: u64,
    buffer: Vec<u8>,
}

impl TaskLog {
    /// Makes a new log, and its directory.
    pub fn create(path: &Path) -> io::Result<TaskLog> {
        if let Some(dir) = path.parent() {
            crate::private_files::make_dir(dir)?;
        }
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        Ok(TaskLog {
            file,
            offset: 0,
            buffer: Vec::new(),
        })
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends what a script wrote; whole records reach the file.
    pub fn append(
        &mut self,
        position: u64,
        attempt: u32,
        stream: Stream,
        bytes: &[u8],
    ) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.buffer.clear();
        self.buffer
            .extend_from_slice(&[b'S', b'L', stream as u8 + 1, 0]);
        self.buffer.extend_from_slice(&attempt.to_le_bytes());
        self.buffer.extend_from_slice(&position.to_le_bytes());
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(bytes);
        if let Err(e) = self.file.write_all(&self.buffer) {
            // A half-written record would hide all that follow.
            self.file.set_len(self.offset)?;
            return Err(e);
        }
        self.offset += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes everything appended survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The highest number of an agent that has a log in `dir`; 0 if none has. The ledger may know less:
/// an earlier state of it may have been put back.
pub fn last_agent(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut last = 0;
    for entry in entries {
        last = last.max(agent_of(&entry?.path()).unwrap_or(0));
    }
    Ok(last)
}

/// The agent whose log is at `path`, as [`crate::home::Home::log`] names it.
pub fn agent_of(path: &Path) -> Option<u64> {
    let is_log = path.extension() == Some(OsStr::new("log"));
    path.file_stem().filter(|_| is_log)?.to_str()?.parse().ok()
}

/// A piece of a script's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which task wrote it.
    pub position: u64,
    /// In which execution.
    pub attempt: u32,
    /// To which stream.
    pub stream: Stream,
    /// What it wrote.
    pub bytes: Vec<u8>,
    /// Where the next record begins.
    pub next: u64,
}

/// Reads records in the order they were written.
#[derive(Debug)]
pub struct Records {
    file: BufReader<File>,
    at: u64,
    end: u64,
}

impl Records {
    /// The records of one region.
    pub fn of(path: &Path, span: LogSpan) -> io::Result<Records> {
        Records::between(path, span.offset, span.offset.saturating_add(span.len))
    }

    /// The records from `offset` to wherever the log ends now.
    pub fn from(path: &Path, offset: u64) -> io::Result<Records> {
        Records::between(path, offset, u64::MAX)
    }

    fn between(path: &Path, offset: u64, end: u64) -> io::Result<Records> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Records {
            file: BufReader::with_capacity(64 << 10, file),
            at: offset,
            end,
        })
    }
}

impl Iterator for Records {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        if self.at >= self.end {
            return None;
        }
        let mut header = [0u8; HEADER];
        let mut read = |buf: &mut [u8]| match self.file.read_exact(buf) {
            Ok(()) => Some(Ok(())),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => Some(Err(e)),
        };
        if let Err(e) = read(&mut header)? {
            return Some(Err(e));
        }
        let stream = match &header[..4] {
            [b'S', b'L', 1, 0] => Stream::Stdout,
            [b'S', b'L', 2, 0] => Stream::Stderr,
            _ => {
                self.at = self.end;
                return Some(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a record of a task log",
                )));
            }
        };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = word(16);
        let mut bytes = vec![0u8; len as usize];
        if let Err(e) = read(&mut bytes)? {
            return Some(Err(e));
        }
        self.at += (HEADER + bytes.len()) as u64;
        Some(Ok(Record {
            position: u64::from(word(8)) | u64::from(word(12)) << 32,
            attempt: word(4),
            stream,
            bytes,
            next: self.at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_come_back_as_written_and_a_torn_end_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/1.log");
        let mut log = TaskLog::create(&path).unwrap();
        log.append(7, 1, Stream::Stdout, b"one\n").unwrap();
        let start = log.offset();
        log.append(u64::MAX - 1, 2, Stream::Stderr, b"\xff\0two")
            .unwrap();
        log.append(u64::MAX - 1, 2, Stream::Stdout, b"").unwrap();
        let end = log.offset();
        log.append(9, 1, Stream::Stdout, b"three").unwrap();

        let span = LogSpan {
            offset: start,
            len: end - start,
        };
        let got: Vec<Record> = Records::of(&path, span)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(got.len(), 2);
        assert_eq!(
            (got[0].position, got[0].attempt, got[0].stream),
            (u64::MAX - 1, 2, Stream::Stderr)
        );
        assert_eq!(got[0].bytes, b"\xff\0two");
        assert_eq!(got[1].next, end);

        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(end + 26).unwrap();
        assert_eq!(
            Records::from(&path, 0).unwrap().map(Result::unwrap).count(),
            3
        );
    }
}
