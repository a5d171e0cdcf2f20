//! Sockets and frames: who is connected, what they said, what is on its way to them.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spawn_local::host_client::user_of;
use spawn_local::wire::frames::{self, Inbox};

/// How long the host holds its breath when the system is out of descriptors or memory.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// A connection, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

const LISTENER: u64 = 0;
const CHILDREN: u64 = 1;
const FIRST_PEER: u64 = 2;

#[derive(Debug)]
struct Peer {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    watching_out: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Peers {
    epoll: Epoll,
    listener: UnixListener,
    peers: HashMap<PeerId, Peer>,
    next: u64,
    dirty: Vec<PeerId>,
    /// Users whose processes have called in vain.
    turned_away: HashSet<u32>,
    /// What this round has put on its way, and where it begins: it may have to be taken back.
    unsure: Vec<(PeerId, usize)>,
}

/// What a round of waiting brought.
#[derive(Debug, Default)]
pub struct Round {
    /// Commands that connected.
    pub arrived: Vec<PeerId>,
    /// Peers that said something.
    pub spoke: Vec<PeerId>,
    /// Peers that are gone; what they said before is still to be taken.
    pub left: Vec<PeerId>,
    /// Whether some child process ended.
    pub child_ended: bool,
}

impl Peers {
    /// Listens for commands, and for the ends of children on `children`.
    pub fn new(listener: UnixListener, children: BorrowedFd<'_>) -> io::Result<Peers> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        listener.set_nonblocking(true)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(children, EpollEvent::new(EpollFlags::EPOLLIN, CHILDREN))?;
        Ok(Peers {
            epoll,
            listener,
            peers: HashMap::new(),
            next: FIRST_PEER,
            dirty: Vec::new(),
            turned_away: HashSet::new(),
            unsure: Vec::new(),
        })
    }

    /// Adds a connection.
    pub fn add(&mut self, stream: UnixStream) -> io::Result<PeerId> {
        stream.set_nonblocking(true)?;
        let id = PeerId(self.next);
        self.next += 1;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id.0))?;
        let peer = Peer {
            stream,
            inbox: Inbox::new(),
            outbox: Vec::new(),
            watching_out: false,
        };
        self.peers.insert(id, peer);
        Ok(id)
    }

    /// Ends a connection.
    pub fn remove(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.remove(&id) {
            let _ = self.epoll.delete(peer.stream.as_fd());
        }
    }

    /// Waits until something happens, `timeout_ms` at most, and takes in what has arrived.
    pub fn wait(&mut self, timeout_ms: u64) -> io::Result<Round> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(i32::try_from(timeout_ms).unwrap_or(i32::MAX))
            .unwrap_or(EpollTimeout::ZERO);
        let mut round = Round::default();
        let n = match self.epoll.wait(&mut events, timeout) {
            Ok(n) => n,
            Err(Errno::EINTR) => return Ok(round),
            Err(e) => return Err(e.into()),
        };
        for event in &events[..n] {
            match event.data() {
                LISTENER => self.accept(&mut round)?,
                CHILDREN => round.child_ended = true,
                id => self.take_in(PeerId(id), event.events(), &mut round),
            }
        }
        Ok(round)
    }

    fn accept(&mut self, round: &mut Round) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.is_welcome(&stream) {
                        round.arrived.push(self.add(stream)?);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) if is_shortage(&e) => {
                    // It stays in the queue; those who are here go on, and leave at some time.
                    note!("cannot take a connection now: {e}");
                    std::thread::sleep(SHORTAGE_PAUSE);
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Commands of this user, and of root, who can do as this user anyway. Nobody else's should
    /// come this far: neither the home nor the socket is open to them.
    fn is_welcome(&mut self, stream: &UnixStream) -> bool {
        match user_of(stream) {
            Ok(user) if user == 0 || user == geteuid().as_raw() => true,
            // Said once: whoever is turned away must not fill the disk with it.
            Ok(user) if self.turned_away.insert(user) => {
                note!("a process of user {user} was turned away");
                false
            }
            _ => false,
        }
    }

    fn take_in(&mut self, id: PeerId, events: EpollFlags, round: &mut Round) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if events.contains(EpollFlags::EPOLLOUT) {
            self.dirty.push(id);
        }
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            match peer.inbox.fill(&mut peer.stream) {
                Ok(0) => round.left.push(id),
                Ok(_) => round.spoke.push(id),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => round.left.push(id),
            }
        }
    }

    /// The next message of a peer. A peer that speaks nonsense is an error.
    pub fn next<T: DeserializeOwned>(&mut self, id: PeerId) -> io::Result<Option<T>> {
        match self.peers.get_mut(&id) {
            Some(peer) => peer.inbox.take(),
            None => Ok(None),
        }
    }

    /// Puts a message on its way; [`Peers::flush`] sends it.
    pub fn send<T: Serialize>(&mut self, id: PeerId, message: &T) {
        if let Some(peer) = self.peers.get_mut(&id) {
            self.unsure.push((id, peer.outbox.len()));
            frames::encode(message, &mut peer.outbox);
            self.dirty.push(id);
        }
    }

    /// What was put on its way so far is meant.
    pub fn settle(&mut self) {
        self.unsure.clear();
    }

    /// Puts this on its way instead of each message since the last [`Peers::settle`].
    pub fn take_back<T: Serialize>(&mut self, instead: &T) {
        let unsure = std::mem::take(&mut self.unsure);
        for (id, begin) in unsure.iter().rev() {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.outbox.truncate(*begin);
            }
        }
        for (id, _) in unsure {
            if let Some(peer) = self.peers.get_mut(&id) {
                frames::encode(instead, &mut peer.outbox);
            }
        }
    }

    /// Sends what the sockets take now; the rest goes when they have room.
    pub fn flush(&mut self) {
        self.settle();
        let dirty = std::mem::take(&mut self.dirty);
        for id in dirty {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            let mut sent = 0;
            while sent < peer.outbox.len() {
                match peer.stream.write(&peer.outbox[sent..]) {
                    Ok(n) => sent += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // Its end is seen by reading.
                    Err(_) => sent = peer.outbox.len(),
                }
            }
            peer.outbox.drain(..sent);
            let more = !peer.outbox.is_empty();
            if more != peer.watching_out {
                peer.watching_out = more;
                let out = if more {
                    EpollFlags::EPOLLOUT
                } else {
                    EpollFlags::empty()
                };
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN | out, id.0);
                let _ = self.epoll.modify(&peer.stream, &mut event);
            }
        }
    }

    /// Whether a peer has not taken yet what was sent before.
    pub fn is_backed_up(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|p| !p.outbox.is_empty())
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }
}

fn is_shortage(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
    )
}
