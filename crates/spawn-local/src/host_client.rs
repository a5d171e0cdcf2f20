//! How a command reaches the background host, starting it where none runs.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};

use crate::home::{Home, HomeError};
use crate::private_files;
use crate::wire::PROTOCOL;
use crate::wire::client::{Answer, HostInfo, Refusal, Request};
use crate::wire::frames::{self, Inbox};

/// How long a starting host may take before a command gives up on it.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a host may say nothing to a greeting, or while it ends.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Why the host cannot be reached or did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No home, no host.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The program is not where it should be.
    #[error("cannot find `spawn-host` beside {}", beside.display())]
    NoProgram {
        /// The running program.
        beside: PathBuf,
    },
    /// It ended before it was ready.
    #[error("the background host did not start: {why}")]
    NotStarted {
        /// What it said last.
        why: String,
    },
    /// Somebody else answers in its place, and was told nothing.
    #[error(
        "{} is answered by a process of user {uid}, and this command runs as user {}",
        socket.display(), nix::unistd::geteuid()
    )]
    Impostor {
        /// The host's socket.
        socket: PathBuf,
        /// Who answers.
        uid: u32,
    },
    /// Its socket does not take us.
    #[error("cannot reach the background host: {0}")]
    Unreachable(io::Error),
    /// The conversation broke.
    #[error("lost the background host: {0}")]
    Lost(#[from] io::Error),
    /// It said no.
    #[error("{message}")]
    Refused {
        /// What kind of no.
        kind: Refusal,
        /// Its words.
        message: String,
    },
    /// It listens and says nothing.
    #[error("the background host (process {pid}) does not answer")]
    Silent {
        /// Its process id.
        pid: i32,
    },
    /// It said something that does not answer the question.
    #[error("the background host speaks another protocol; stop it with `spawn local stop`")]
    Protocol,
}

/// A conversation with the host.
#[derive(Debug)]
pub struct HostClient {
    stream: UnixStream,
    inbox: Inbox,
    /// What the host said of itself when greeted.
    pub info: HostInfo,
}

impl HostClient {
    /// Talks to the host, starting it if none runs.
    ///
    /// A host of another protocol is asked to end first: its tasks go back to the ledger and
    /// the new host goes on with them.
    pub fn connect_or_start(home: &Home) -> Result<HostClient, HostError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut started = false;
        loop {
            match HostClient::connect(home) {
                Ok(Some(client)) => return Ok(client),
                Ok(None) => {}
                Err(
                    HostError::Refused {
                        kind: Refusal::Protocol,
                        ..
                    }
                    | HostError::Protocol,
                ) => {
                    HostClient::shut_down(home)?;
                }
                // It was ending as we called.
                Err(HostError::Lost(_)) => {}
                Err(e) => return Err(e),
            }
            if !started {
                start(home)?;
                started = true;
            } else if Instant::now() > deadline {
                return Err(HostError::NotStarted {
                    why: format!(
                        "no answer for {} s; see {}",
                        START_LIMIT.as_secs(),
                        home.host_log().display()
                    ),
                });
            } else {
                // Another command's host holds the lock and is about to listen.
                started = false;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Ends the host, whatever protocol it speaks. Running tasks go back to the ledger.
    pub fn shut_down(home: &Home) -> Result<(), HostError> {
        let mut host = dial(home).map_err(|e| match e {
            HostError::Unreachable(e) => HostError::Lost(e),
            e => e,
        })?;
        frames::send(&Request::Shutdown, &mut host)?;
        // It closes the connection as it ends.
        host.set_read_timeout(Some(LONGEST_SILENCE))?;
        match io::copy(&mut host, &mut io::sink()) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(silent(&host, e.into())),
            _ => Ok(()),
        }
    }

    /// Talks to the host if one runs. One that ends as it is greeted is waited for: it runs no more.
    pub fn connect(home: &Home) -> Result<Option<HostClient>, HostError> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let stream = match dial(home) {
                Ok(stream) => stream,
                Err(HostError::Unreachable(e))
                    if matches!(
                        e.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::NotADirectory
                            | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            };
            match HostClient::greet(stream) {
                Err(HostError::Lost(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                greeted => return greeted.map(Some),
            }
        }
    }

    /// Asks the ledger of a home that cannot be written to. Nothing runs there.
    pub fn read_only(home: &Home) -> Result<HostClient, HostError> {
        let program = own_sibling()?;
        let (ours, theirs) = UnixStream::pair()?;
        Command::new(&program)
            .arg("--read-only")
            .arg("--home")
            .arg(home.root())
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        HostClient::greet(ours)
    }

    fn greet(stream: UnixStream) -> Result<HostClient, HostError> {
        let mut client = HostClient {
            stream,
            inbox: Inbox::new(),
            info: HostInfo {
                protocol: 0,
                version: String::new(),
                pid: 0,
                started_at: 0,
                endpoint_port: 0,
                agents: 0,
                unfinished: 0,
                limits: false,
                isolation: None,
                warnings: Vec::new(),
                lessened: None,
            },
        };
        let hello = Request::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // A greeting takes no time, unless the host is stopped or stuck, or at work on something large.
        client.set_patience(Some(LONGEST_SILENCE))?;
        let greeted = client.ask(&hello).map_err(|e| silent(&client.stream, e));
        match greeted? {
            Answer::Host(info) => client.info = info,
            _ => return Err(HostError::Protocol),
        }
        client.set_patience(None)?;
        Ok(client)
    }

    /// Asks and waits for the answer. A refusal is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, HostError> {
        frames::send(request, &mut self.stream)?;
        self.next_answer()
    }

    /// Waits for one more answer, as [`Request::Wait`] gives.
    pub fn next_answer(&mut self) -> Result<Answer, HostError> {
        match frames::receive(&mut self.inbox, &mut self.stream) {
            Ok(Answer::Refused { kind, message }) => Err(HostError::Refused { kind, message }),
            Ok(answer) => Ok(answer),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(HostError::Protocol),
            Err(e) => Err(HostError::Lost(e)),
        }
    }

    /// Bounds the wait of [`HostClient::next_answer`]; past it the error's kind is `WouldBlock`.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(patience)
    }
}

/// A connection to this user's host, and to no other's: who answers would be sent scripts and
/// secrets, and would be believed.
fn dial(home: &Home) -> Result<UnixStream, HostError> {
    let socket = home.socket();
    let connected = with_short_path(&socket, |p| UnixStream::connect(p));
    let stream = connected.map_err(HostError::Unreachable)?;
    match user_of(&stream).map_err(HostError::Unreachable)? {
        uid if uid == nix::unistd::geteuid().as_raw() => Ok(stream),
        uid => Err(HostError::Impostor { socket, uid }),
    }
}

/// The error of a wait that took too long says whose silence it was.
fn silent(host: &UnixStream, error: HostError) -> HostError {
    match error {
        HostError::Lost(e) if e.kind() == io::ErrorKind::WouldBlock => HostError::Silent {
            pid: socket::getsockopt(host, socket::sockopt::PeerCredentials).map_or(0, |c| c.pid()),
        },
        other => other,
    }
}

/// Whose process is at the other end: the one that connected, or the one that listened.
pub fn user_of(stream: &UnixStream) -> io::Result<u32> {
    Ok(socket::getsockopt(stream, socket::sockopt::PeerCredentials)?.uid())
}

/// Binds the host's socket, replacing a dead host's. It is closed to others from the first, and
/// whatever the umask: it gets its mode from the socket that is bound.
pub fn listen(home: &Home) -> io::Result<UnixListener> {
    let path = home.socket();
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let family = AddressFamily::Unix;
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    with_short_path(&path, |p| {
        Ok(socket::bind(socket.as_raw_fd(), &UnixAddr::new(p)?)?)
    })?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    Ok(socket.into())
}

/// Socket addresses hold 107 bytes; homes may be deeper. The directory's descriptor is short.
fn with_short_path<T>(path: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() < 100 {
        return f(path);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(parent)?;
    let name = path.file_name().unwrap_or(OsStr::new("host.sock"));
    f(&Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name))
}

fn start(home: &Home) -> Result<(), HostError> {
    home.create()?;
    let program = own_sibling()?;
    let not_started = |what: String| {
        move |e: io::Error| HostError::NotStarted {
            why: format!("cannot {what}: {e}"),
        }
    };
    let log = home.host_log();
    let log = append_to(&log).map_err(not_started(format!("write to {}", log.display())))?;
    let mut host = Command::new(&program)
        .arg("--home")
        .arg(home.root())
        .current_dir("/")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| host_needs(name)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(not_started(format!("run {}", program.display())))?;
    // One line: `ready`, or why not. The host then closes its end and lives on.
    let mut said = String::new();
    if let Some(mut out) = host.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    match said.trim() {
        "ready" | "taken" => Ok(()),
        "" => Err(HostError::NotStarted {
            why: format!("it ended at once; see {}", home.host_log().display()),
        }),
        why => Err(HostError::NotStarted {
            why: why.to_owned(),
        }),
    }
}

/// The `spawn-host` that is installed beside the running program.
pub fn own_sibling() -> Result<PathBuf, HostError> {
    let me = std::env::current_exe()?;
    sibling(&me, "spawn-host").ok_or(HostError::NoProgram { beside: me })
}

/// The host outlives the command that started it, so it keeps none of that shell's settings
/// but these.
fn host_needs(name: &OsStr) -> bool {
    name.to_str().is_some_and(|n| {
        matches!(
            n,
            "PATH" | "HOME" | "USER" | "LANG" | "TZ" | "RUST_BACKTRACE"
        ) || n.starts_with("SPAWN_")
    })
}

fn append_to(path: &Path) -> io::Result<OwnedFd> {
    let file: File = private_files::options()
        .create(true)
        .append(true)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file.into())
}

/// A program installed beside `program`, links resolved or not.
pub fn sibling(program: &Path, name: &str) -> Option<PathBuf> {
    [Some(program.to_owned()), program.canonicalize().ok()]
        .into_iter()
        .flatten()
        .map(|p| p.with_file_name(name))
        .find(|p| p.is_file())
}
