//! One attempt of one task, from its start to its outcome.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use spawn_core::completion;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::Usage;
use spawn_core::outcome::{Completion, Exit, Report, Status, StopCause, judge};
use spawn_core::supervise::Supervisor;
use spawn_core::task::Token;
use spawn_local::sandbox::{LeaderEnd, World, tidy};
use spawn_ports::ledger::{ClaimedTask, Commit, LogSpan};

use super::watch::Watch;
use crate::task_files::SAID;

/// The completion file that scripts may write themselves.
pub const COMPLETION_FILE: &str = "/tmp/SPAWN_COMPLETE";

/// More than this of a completion file is not read, in bytes.
const LARGEST_COMPLETION: u64 = 1 << 20;

/// An attempt at work.
#[derive(Debug)]
pub struct Attempt {
    /// The lease.
    pub token: Token,
    /// Which task, and which execution of it.
    pub task: ClaimedTask,
    /// Wall-clock start.
    pub started_at: UnixMicros,
    /// Start since the agent's origin.
    pub began: Duration,
    /// When to stop it.
    pub supervisor: Supervisor,
    /// When its own time limit has ended it at the latest, since the agent's origin.
    pub timeout_at: Option<Duration>,
    /// Where its output begins.
    pub log_offset: u64,
    /// Whether the host has been told that it runs.
    pub announced: bool,
    /// What it uses and how far it is, as was last looked.
    pub watch: Watch,
    /// How its leader ended and why it was being stopped then, if only what it left behind still runs.
    pub leader_end: Option<(LeaderEnd, Option<StopCause>)>,
}

impl Attempt {
    /// The outcome to commit.
    pub fn commit(
        &self,
        report: Report,
        usage: Option<Usage>,
        ended_at: UnixMicros,
        log_end: u64,
    ) -> Commit {
        Commit {
            usage,
            // The host knows of them.
            failed_calls: Vec::new(),
            position: self.task.position,
            token: self.token,
            report,
            started_at: self.started_at,
            ended_at,
            log: LogSpan {
                offset: self.log_offset,
                len: log_end - self.log_offset,
            },
        }
    }

    /// Judges an attempt whose leader ended with wait status `status`, being stopped for `stopping`.
    pub fn judge(
        &self,
        status: i32,
        stopping: Option<StopCause>,
        world: &World,
        out_of_memory: bool,
    ) -> Report {
        let exit = if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        };
        let (said, complaint) = match read_completion(world) {
            Ok(said) => (said, None),
            // A completion that cannot be read is no success.
            Err(complaint) => (
                Some(Completion {
                    status: Status::Failed,
                    message: None,
                }),
                Some(complaint),
            ),
        };
        let mut report = judge(exit, said.as_ref(), stopping, out_of_memory);
        if report.ending.message.is_none() {
            report.ending.message = complaint;
        }
        report
    }
}

/// What the script said: with `spored complete`, else in the completion file.
fn read_completion(world: &World) -> Result<Option<Completion>, String> {
    for path in [&world.control.join(SAID), Path::new(COMPLETION_FILE)] {
        let content =
            read_plainly(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        if let Some(content) = content {
            return completion::parse(&content)
                .map(Some)
                .map_err(|e| e.to_string());
        }
    }
    Ok(None)
}

/// The content of a regular file that is this user's own. Anything else of that name is no
/// completion, and a pipe must not be waited for.
fn read_plainly(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(LARGEST_COMPLETION).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Removes what an earlier task of this sandbox said.
pub fn forget_completion() -> io::Result<()> {
    match fs::remove_file(COMPLETION_FILE) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => tidy::remove(Path::new(COMPLETION_FILE)),
    }
}

/// Puts the shipped files into the working directory.
pub fn lay_out(shipped: &[String], world: &World) -> io::Result<()> {
    let files = world.job.join("files");
    for name in shipped {
        let to = world.work.join(name);
        if name.contains('/')
            && let Some(dir) = to.parent()
        {
            fs::create_dir_all(dir)?;
        }
        copy(&files.join(name), &to)?;
    }
    Ok(())
}

/// Content and whether it may be executed. What is kept is closed to others; a task's files are as
/// they lay beside the script, as far as that is known.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = fs::File::open(from)?;
    let is_program = from.metadata()?.mode() & 0o100 != 0;
    let mut to = fs::File::create(to)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(fs::Permissions::from_mode(if is_program {
        0o755
    } else {
        0o644
    }))
}
