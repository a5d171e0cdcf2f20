//! A script's output: two pipes that live as long as the agent, read into its log.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use spawn_local::task_log::{Stream, TaskLog};

/// Longest piece that becomes one record.
const PIECE: usize = 64 << 10;

/// One of a script's two streams.
#[derive(Debug)]
struct Pipe {
    stream: Stream,
    reader: File,
    writer: OwnedFd,
}

/// Both streams and the log they end in.
#[derive(Debug)]
pub struct Output {
    pipes: [Pipe; 2],
    log: TaskLog,
    piece: Box<[u8]>,
    lost: Option<io::Error>,
    /// The end of what the present task wrote to standard error.
    stderr_end: Vec<u8>,
}

impl Output {
    /// Opens the pipes.
    pub fn new(log: TaskLog) -> io::Result<Output> {
        let pipe = |stream| -> io::Result<Pipe> {
            let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok(Pipe {
                stream,
                reader: reader.into(),
                writer,
            })
        };
        Ok(Output {
            pipes: [pipe(Stream::Stdout)?, pipe(Stream::Stderr)?],
            log,
            piece: vec![0; PIECE].into(),
            lost: None,
            stderr_end: Vec::new(),
        })
    }

    /// A task begins: what earlier ones wrote is none of its own.
    pub fn begin(&mut self) {
        self.stderr_end.clear();
    }

    /// The last line with something on it that the task wrote to standard error.
    pub fn last_stderr(&self) -> Option<String> {
        last_line(&self.stderr_end)
    }

    /// The writing ends, for scripts.
    pub fn writers(&self) -> (i32, i32) {
        (
            self.pipes[0].writer.as_raw_fd(),
            self.pipes[1].writer.as_raw_fd(),
        )
    }

    /// The reading ends, for polling.
    pub fn readers(&self) -> [BorrowedFd<'_>; 2] {
        [self.pipes[0].reader.as_fd(), self.pipes[1].reader.as_fd()]
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.log.offset()
    }

    /// Makes the log survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.log.sync()
    }

    /// Reads one piece of each pipe. Whether there may be more.
    pub fn read_some(&mut self, position: u64, attempt: u32) -> io::Result<bool> {
        let mut more = false;
        for i in 0..2 {
            more |= self.read_piece(i, position, attempt)?;
        }
        Ok(more)
    }

    /// Reads all that is left once no process of the task lives. What could not be kept, if so.
    pub fn drain(&mut self, position: u64, attempt: u32) -> io::Result<Option<io::Error>> {
        for i in 0..2 {
            while self.read_piece(i, position, attempt)? {}
            // A script may have made its end non-blocking; the next one must not inherit that.
            fcntl(&self.pipes[i].writer, FcntlArg::F_SETFL(OFlag::empty()))?;
        }
        Ok(self.lost.take())
    }

    fn read_piece(&mut self, i: usize, position: u64, attempt: u32) -> io::Result<bool> {
        let pipe = &mut self.pipes[i];
        let n = match pipe.reader.read(&mut self.piece) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        if pipe.stream == Stream::Stderr {
            keep_end(&mut self.stderr_end, &self.piece[..n]);
        }
        if let Err(e) = self
            .log
            .append(position, attempt, pipe.stream, &self.piece[..n])
        {
            // A full disk must not block the script; its outcome will tell.
            self.lost.get_or_insert(e);
        }
        Ok(n > 0)
    }
}

/// As much of the end of standard error as a last line is looked for in, in bytes.
const END: usize = 4096;
/// The longest line that is kept, in characters.
const LONGEST_LINE: usize = 500;

fn keep_end(end: &mut Vec<u8>, more: &[u8]) {
    end.extend_from_slice(&more[more.len().saturating_sub(END)..]);
    end.drain(..end.len().saturating_sub(END));
}

fn last_line(end: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(end);
    // What a progress bar overwrote is not what was last seen.
    let line = text
        .split(['\n', '\r'])
        .map(str::trim)
        .rfind(|l| !l.is_empty())?;
    Some(line.chars().take(LONGEST_LINE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_kept() {
        let mut end = Vec::new();
        assert_eq!(last_line(&end), None);
        keep_end(&mut end, b"one\ntw");
        keep_end(&mut end, b"o: \xff\n\n  \n");
        assert_eq!(last_line(&end).as_deref(), Some("two: \u{fffd}"));
        keep_end(&mut end, &[b'x'; 10_000]);
        assert_eq!(end.len(), END);
        assert_eq!(last_line(&end).map(|l| l.len()), Some(LONGEST_LINE));
        keep_end(&mut end, b"\n10%\r90%\r");
        assert_eq!(last_line(&end).as_deref(), Some("90%"));
    }
}
