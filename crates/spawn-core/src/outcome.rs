//! How attempts end, and what a script says about it.

use serde::{Deserialize, Serialize};

/// Why an attempt ended. Each retryable cause has a budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Exit code 0, or the script said success.
    Succeeded,
    /// The script said there was nothing to do.
    Skipped,
    /// A non-zero exit code, a signal of the script's own making, or the script said failed.
    Exit,
    /// The attempt ran longer than `--timeout`.
    Timeout,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// The machine was taken back (spot).
    Interrupted,
    /// The worker disappeared without a word.
    WorkerLost,
    /// The script could not be started.
    LaunchFailed,
    /// The worker's or the array's time to live ran out.
    Ttl,
    /// Somebody cancelled it.
    Cancelled,
    /// It was not started: too many tasks of its array had failed.
    Halted,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 11] = [
        Cause::Succeeded,
        Cause::Skipped,
        Cause::Exit,
        Cause::Timeout,
        Cause::OutOfMemory,
        Cause::Interrupted,
        Cause::WorkerLost,
        Cause::LaunchFailed,
        Cause::Ttl,
        Cause::Cancelled,
        Cause::Halted,
    ];

    /// The word for this cause, as stored and as printed by `-o json`.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Succeeded => "succeeded",
            Cause::Skipped => "skipped",
            Cause::Exit => "exit",
            Cause::Timeout => "timeout",
            Cause::OutOfMemory => "out_of_memory",
            Cause::Interrupted => "interrupted",
            Cause::WorkerLost => "worker_lost",
            Cause::LaunchFailed => "launch_failed",
            Cause::Ttl => "ttl",
            Cause::Cancelled => "cancelled",
            Cause::Halted => "halted",
        }
    }

    /// The cause that `word` names.
    pub fn from_word(word: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|c| c.word() == word)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// The script's exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended the script, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What the script or the agent said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last line that a script which ended badly wrote to its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stderr: Option<String>,
}

impl Ending {
    /// An end with a cause and nothing else known.
    pub fn of(cause: Cause) -> Ending {
        Ending {
            cause,
            exit_code: None,
            signal: None,
            message: None,
            last_stderr: None,
        }
    }

    /// The exit code as a shell shows it: 128 plus the signal for a script that one ended.
    pub fn shell_code(&self) -> Option<i32> {
        self.exit_code.or(self.signal.map(|signal| 128 + signal))
    }
}

/// What a lease holder reports of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
}

impl Report {
    /// A report with a cause and nothing else known.
    pub fn of(cause: Cause) -> Report {
        Report {
            ending: Ending::of(cause),
        }
    }
}

/// How the script's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What a script said of itself with `spored complete` or the completion file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// What it claims.
    pub status: Status,
    /// Its own words, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The claims a script can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The work is done.
    Success,
    /// The work failed.
    Failed,
    /// There was nothing to do.
    Skipped,
}

impl Status {
    /// The word, as given to `--status`.
    pub fn word(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        }
    }

    /// The status that `word` names; common spellings are taken.
    pub fn from_word(word: &str) -> Option<Status> {
        match word.trim().to_ascii_lowercase().as_str() {
            "success" | "succeeded" | "ok" => Some(Status::Success),
            "failed" | "failure" | "error" => Some(Status::Failed),
            "skipped" | "skip" => Some(Status::Skipped),
            _ => None,
        }
    }
}

/// Why the agent stopped a script. Ordered by severity: a graver cause replaces a lighter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopCause {
    /// The machine is being taken back.
    Interrupted,
    /// `--timeout` of the attempt ran out.
    Timeout,
    /// The worker's or the array's time to live ran out.
    Ttl,
    /// Somebody cancelled it.
    Cancelled,
}

impl StopCause {
    fn cause(self) -> Cause {
        match self {
            StopCause::Interrupted => Cause::Interrupted,
            StopCause::Timeout => Cause::Timeout,
            StopCause::Ttl => Cause::Ttl,
            StopCause::Cancelled => Cause::Cancelled,
        }
    }
}

/// The outcome of an attempt from everything the agent knows of it.
///
/// The script's own word comes first, then the reason it was stopped, then its exit.
/// So a trap that exits 0 during an interruption does not make a success.
pub fn judge(
    exit: Exit,
    said: Option<&Completion>,
    stopped: Option<StopCause>,
    out_of_memory: bool,
) -> Report {
    let (exit_code, signal) = match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let cause = match (said.map(|c| c.status), stopped) {
        (Some(Status::Success), _) => Cause::Succeeded,
        (Some(Status::Skipped), _) => Cause::Skipped,
        (Some(Status::Failed), _) => Cause::Exit,
        (None, Some(stop)) => stop.cause(),
        (None, None) if exit == Exit::Code(0) => Cause::Succeeded,
        (None, None) if out_of_memory => Cause::OutOfMemory,
        (None, None) => Cause::Exit,
    };
    Report {
        ending: Ending {
            cause,
            exit_code,
            signal,
            message: said.and_then(|c| c.message.clone()),
            last_stderr: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: Status) -> Completion {
        Completion {
            status,
            message: None,
        }
    }

    #[test]
    fn the_exit_code_decides_when_nothing_was_said() {
        assert_eq!(
            judge(Exit::Code(0), None, None, false).ending.cause,
            Cause::Succeeded
        );
        let failed = judge(Exit::Code(3), None, None, false).ending;
        assert_eq!((failed.cause, failed.exit_code), (Cause::Exit, Some(3)));
        let killed = judge(Exit::Signal(9), None, None, false).ending;
        assert_eq!((killed.cause, killed.signal), (Cause::Exit, Some(9)));
    }

    #[test]
    fn the_scripts_word_beats_its_exit_code_both_ways() {
        let ok = judge(Exit::Code(1), Some(&said(Status::Success)), None, false);
        assert_eq!(ok.ending.cause, Cause::Succeeded);
        assert_eq!(ok.ending.exit_code, Some(1));
        let bad = judge(Exit::Code(0), Some(&said(Status::Failed)), None, false);
        assert_eq!(bad.ending.cause, Cause::Exit);
    }

    #[test]
    fn a_trap_that_exits_zero_while_interrupted_is_interrupted() {
        let r = judge(Exit::Code(0), None, Some(StopCause::Interrupted), false);
        assert_eq!(r.ending.cause, Cause::Interrupted);
        let said_first = judge(
            Exit::Signal(9),
            Some(&said(Status::Success)),
            Some(StopCause::Interrupted),
            false,
        );
        assert_eq!(said_first.ending.cause, Cause::Succeeded);
    }

    #[test]
    fn a_script_that_copes_with_a_killed_child_has_not_run_out_of_memory() {
        let cause = |exit| judge(exit, None, None, true).ending.cause;
        assert_eq!(cause(Exit::Code(0)), Cause::Succeeded);
        assert_eq!(cause(Exit::Code(1)), Cause::OutOfMemory);
        assert_eq!(cause(Exit::Signal(9)), Cause::OutOfMemory);
    }

    #[test]
    fn words_round_trip() {
        for c in Cause::ALL {
            assert_eq!(Cause::from_word(c.word()), Some(c));
        }
        for s in [Status::Success, Status::Failed, Status::Skipped] {
            assert_eq!(Status::from_word(s.word()), Some(s));
        }
        assert_eq!(Status::from_word("done"), None);
    }
}
