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
        })
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
