//! What an agent and its init say to each other, over a socket that keeps messages whole.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// From the agent to the init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToInit<'a> {
    /// Run the program with these further variables, `NAME=VALUE` each ended by a zero byte.
    Run(&'a [u8]),
    /// Note which descendants run, then TERM the leader.
    TermLeader,
    /// TERM those of the noted descendants that still run.
    TermDescendants,
    /// KILL everything.
    KillAll,
}

/// How a leader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderEnd {
    /// As `wait` gives it.
    pub status: i32,
    /// Largest resident set of any process of the script, in bytes.
    pub peak_rss_bytes: u64,
    /// Processor time, user and system, in microseconds.
    pub cpu_micros: u64,
}

/// From the init to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromInit {
    /// The leader ended, and everything that it left behind is gone.
    Ended(LeaderEnd),
    /// The leader ended, and what it left behind is being killed. [`FromInit::Ended`] follows.
    Lingering(LeaderEnd),
    /// The program could not be started.
    NotStarted {
        /// The system's error number.
        errno: i32,
    },
    /// The sandbox could not be set up; the init has ended.
    Broken {
        /// The system's error number.
        errno: i32,
        /// Which step failed.
        step: Step,
    },
    /// The init is gone.
    Gone,
}

/// The steps of an init's set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Tying its life to the agent's.
    Lifeline = 1,
    /// Mounting a `/proc` of its own.
    Proc = 2,
    /// Setting the host name.
    Hostname = 3,
    /// Arranging its descriptors.
    Descriptors = 4,
    /// Entering the working directory.
    Directory = 5,
    /// Blocking and watching signals.
    Signals = 6,
}

impl Step {
    fn from_byte(byte: u8) -> Option<Step> {
        [
            Step::Lifeline,
            Step::Proc,
            Step::Hostname,
            Step::Descriptors,
            Step::Directory,
            Step::Signals,
        ]
        .into_iter()
        .find(|s| *s as u8 == byte)
    }
}

const EVENT: usize = 24;

/// A stopped init does not read: what it cannot take in this time it is not told.
const LONGEST_TELL: Duration = Duration::from_secs(2);

/// The agent's end, which does not wait long for room, and the init's.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    let limit = TimeVal::milliseconds(LONGEST_TELL.as_millis() as i64);
    setsockopt(&ours, sockopt::SendTimeout, &limit)?;
    Ok((ours, theirs))
}

pub(super) fn tell(link: BorrowedFd<'_>, what: &ToInit<'_>) -> io::Result<()> {
    let (tag, mut body): (u8, &[u8]) = match what {
        ToInit::Run(vars) => (RUN, vars),
        ToInit::TermLeader => (TERM_LEADER, &[]),
        ToInit::TermDescendants => (TERM_DESCENDANTS, &[]),
        ToInit::KillAll => (KILL_ALL, &[]),
    };
    while let Some((piece, rest)) = body
        .split_at_checked(PIECE)
        .filter(|(_, rest)| !rest.is_empty())
    {
        say(link, PART, piece)?;
        body = rest;
    }
    say(link, tag, body)
}

fn say(link: BorrowedFd<'_>, tag: u8, body: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(1 + body.len());
    message.push(tag);
    message.extend_from_slice(body);
    send(link.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// The tags of messages to the init.
const RUN: u8 = 1;
const TERM_LEADER: u8 = 2;
const TERM_DESCENDANTS: u8 = 3;
const KILL_ALL: u8 = 4;
/// The beginning of a message that is longer than a socket takes at once.
const PART: u8 = 5;

/// Well below what a socket takes at once by default, in bytes.
const PIECE: usize = 64 << 10;

/// The init's end: one message into `buffer`. `None` if the agent is gone.
pub(super) fn hear_agent<'b>(
    link: BorrowedFd<'_>,
    buffer: &'b mut Vec<u8>,
) -> io::Result<Option<ToInit<'b>>> {
    let ahead = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    buffer.clear();
    loop {
        let start = buffer.len();
        buffer.resize(start + recv(link.as_raw_fd(), &mut [], ahead)?, 0);
        let n = recv(link.as_raw_fd(), &mut buffer[start..], MsgFlags::empty())?;
        buffer.truncate(start + n);
        if n == 0 {
            return Ok(None);
        }
        // The tag goes; what it came with follows what came before.
        let tag = buffer.remove(start);
        match tag {
            PART => {}
            RUN => return Ok(Some(ToInit::Run(buffer))),
            TERM_LEADER => return Ok(Some(ToInit::TermLeader)),
            TERM_DESCENDANTS => return Ok(Some(ToInit::TermDescendants)),
            _ => return Ok(Some(ToInit::KillAll)),
        }
    }
}

/// The init's end: says one thing.
pub(super) fn tell_agent(link: BorrowedFd<'_>, what: FromInit) -> io::Result<()> {
    let mut message = [0u8; EVENT];
    match what {
        FromInit::Ended(end) | FromInit::Lingering(end) => {
            message[0] = match what {
                FromInit::Ended(_) => 1,
                _ => 4,
            };
            message[4..8].copy_from_slice(&end.status.to_le_bytes());
            message[8..16].copy_from_slice(&end.peak_rss_bytes.to_le_bytes());
            message[16..24].copy_from_slice(&end.cpu_micros.to_le_bytes());
        }
        FromInit::NotStarted { errno } => {
            message[0] = 2;
            message[4..8].copy_from_slice(&errno.to_le_bytes());
        }
        FromInit::Broken { errno, step } => {
            message[0] = 3;
            message[1] = step as u8;
            message[4..8].copy_from_slice(&errno.to_le_bytes());
        }
        FromInit::Gone => return Ok(()),
    }
    send(link.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

pub(super) fn hear(link: BorrowedFd<'_>) -> io::Result<FromInit> {
    let mut message = [0u8; EVENT];
    let n = match recv(link.as_raw_fd(), &mut message, MsgFlags::empty()) {
        Err(nix::errno::Errno::ECONNRESET) => 0,
        other => other?,
    };
    let int = i32::from_le_bytes([message[4], message[5], message[6], message[7]]);
    let long = |at: usize| {
        let mut eight = [0u8; 8];
        eight.copy_from_slice(&message[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let end = LeaderEnd {
        status: int,
        peak_rss_bytes: long(8),
        cpu_micros: long(16),
    };
    Ok(match (n, message[0]) {
        (EVENT, 1) => FromInit::Ended(end),
        (EVENT, 4) => FromInit::Lingering(end),
        (EVENT, 2) => FromInit::NotStarted { errno: int },
        (EVENT, 3) => FromInit::Broken {
            errno: int,
            step: Step::from_byte(message[1]).unwrap_or(Step::Lifeline),
        },
        _ => FromInit::Gone,
    })
}
