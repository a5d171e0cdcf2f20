//! What tasks wrote, as bytes, as lines with their task's index, or as JSON lines.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;
use spawn_local::task_log::{Record, Stream};

use super::Style;
use crate::read_model::Indices;

/// A line longer than this is cut in two, so that a task without line ends takes no more memory.
const LONGEST_LINE: usize = 1 << 20;

/// How output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The bytes of one task, each stream to its own.
    Raw,
    /// Lines of several tasks, each after `[INDEX] `.
    Lines,
    /// One JSON object a line.
    Json,
}

/// Writes records: standard output to standard output, standard error to standard error.
#[derive(Debug)]
pub struct TaskOutput {
    shape: Shape,
    only: Option<Stream>,
    indices: Indices,
    style: Style,
    out: BufWriter<Stdout>,
    /// Lines whose end has not come yet.
    partial: HashMap<(u64, u32, Stream), Vec<u8>>,
    has_written: bool,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    index: u64,
    attempt: u32,
    stream: &'static str,
    line: &'a str,
}

impl TaskOutput {
    /// Nothing written yet. `only` leaves the other stream out.
    pub fn new(shape: Shape, only: Option<Stream>, indices: Indices, style: Style) -> TaskOutput {
        TaskOutput {
            shape,
            only,
            indices,
            style,
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            partial: HashMap::new(),
            has_written: false,
        }
    }

    /// Whether there was anything to write.
    pub fn has_written(&self) -> bool {
        self.has_written
    }

    /// Writes what a record holds, or keeps it until its line is whole.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        if self.only.is_some_and(|only| only != record.stream) || record.bytes.is_empty() {
            return Ok(());
        }
        self.has_written = true;
        if self.shape == Shape::Raw {
            return self.raw(record.stream, &record.bytes);
        }
        let key = (record.position, record.attempt, record.stream);
        let mut line = self.partial.remove(&key).unwrap_or_default();
        for piece in record.bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || line.len() >= LONGEST_LINE {
                self.line(key, &line)?;
                line.clear();
            }
        }
        if !line.is_empty() {
            self.partial.insert(key, line);
        }
        Ok(())
    }

    /// Writes what is left without a line end, and hands everything on.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end_lines()?;
        self.flush()
    }

    /// Writes what is left without a line end: its task will not go on with it.
    pub fn end_lines(&mut self) -> io::Result<()> {
        let mut left: Vec<_> = self.partial.drain().collect();
        left.sort_by_key(|((position, attempt, stream), _)| {
            (*position, *attempt, *stream == Stream::Stderr)
        });
        for (key, line) in left {
            self.line(key, &line)?;
        }
        Ok(())
    }

    /// Writes what is left without a line end of tasks that `is_over` says will not go on with it.
    pub fn end_lines_of(&mut self, is_over: impl Fn(u64, u32) -> bool) -> io::Result<()> {
        let mut over: Vec<_> = self
            .partial
            .keys()
            .filter(|k| is_over(k.0, k.1))
            .copied()
            .collect();
        over.sort_by_key(|(position, attempt, stream)| {
            (*position, *attempt, *stream == Stream::Stderr)
        });
        for key in over {
            if let Some(line) = self.partial.remove(&key) {
                self.line(key, &line)?;
            }
        }
        Ok(())
    }

    /// The tasks with a line whose end has not come yet: position and attempt.
    pub fn unfinished(&self) -> HashSet<(u64, u32)> {
        self.partial.keys().map(|k| (k.0, k.1)).collect()
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn raw(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Stdout => self.out.write_all(bytes),
            Stream::Stderr => {
                // Both may be the same terminal: in the order they were written.
                self.out.flush()?;
                io::stderr().write_all(bytes)
            }
        }
    }

    fn line(&mut self, key: (u64, u32, Stream), line: &[u8]) -> io::Result<()> {
        let (position, attempt, stream) = key;
        let index = self.indices.at(position);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if self.shape == Shape::Json {
            let line = JsonLine {
                index,
                attempt,
                stream: match stream {
                    Stream::Stdout => "stdout",
                    Stream::Stderr => "stderr",
                },
                line: &String::from_utf8_lossy(line),
            };
            serde_json::to_writer(&mut self.out, &line)?;
            return self.out.write_all(b"\n");
        }
        let prefix = self.style.faint(&format!("[{index}]"));
        let mut whole = Vec::with_capacity(prefix.len() + line.len() + 2);
        whole.extend_from_slice(prefix.as_bytes());
        whole.push(b' ');
        whole.extend_from_slice(line);
        whole.push(b'\n');
        self.raw(stream, &whole)
    }
}
