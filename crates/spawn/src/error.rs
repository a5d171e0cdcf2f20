//! What can go wrong: one wording, one hint and one exit code for each.

use std::io;
use std::path::PathBuf;

use spawn_aws::client::{AwsError, ErrorKind};
use spawn_core::array_id::ArrayId;
use spawn_ec2::desk::DeskError;
use spawn_ec2::launch::LaunchError;
use spawn_ec2::preflight::Finding;
use spawn_local::home::HomeError;
use spawn_local::host_client::HostError;
use spawn_local::wire::client::Refusal;
use spawn_spec::SpecError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The launch is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The host cannot be reached, or refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The home is there to be read only.
    #[error("the home {} cannot be written to: {why}", home.display())]
    ReadOnlyHome {
        /// The home.
        home: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The home was not checked.
    #[error("{message}")]
    NotChecked {
        /// Why.
        message: String,
    },
    /// The command line does not hold together.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Nothing goes by that name.
    #[error("no array `{typed}`")]
    NoArray {
        /// What was typed.
        typed: String,
    },
    /// No array has this id, neither here nor on EC2 as far as can be seen.
    #[error("no array `{id}` here or in the AWS region of this environment")]
    NoArrayHere {
        /// What was typed.
        id: ArrayId,
    },
    /// Several arrays do.
    #[error("`{typed}` is the start of several ids: {}", list(candidates))]
    ManyArrays {
        /// What was typed.
        typed: String,
        /// Which arrays may be meant.
        candidates: Vec<ArrayId>,
    },
    /// No worker goes by that name.
    #[error("no worker `{typed}` is at work")]
    NoWorker {
        /// What was typed.
        typed: String,
    },
    /// The array has no such task.
    #[error("`{array}` has no {what}")]
    NoTask {
        /// The array.
        array: ArrayId,
        /// What it does not have.
        what: String,
    },
    /// A file or directory does not do what it should.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something must be agreed to first.
    #[error("{what}; it needs a yes")]
    Unconfirmed {
        /// What would happen.
        what: String,
        /// The same command, with the yes.
        again: String,
    },
    /// The user said no.
    #[error("nothing was done")]
    Declined,
    /// The results cannot be shown.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// AWS, or the way to it.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The shell is set to the embedded endpoint.
    #[error(
        "this shell's AWS credentials are those of the embedded endpoint, which starts no machines"
    )]
    EmbeddedCredentials,
    /// A launch on EC2 cannot work.
    #[error("nothing was started: {}", findings(found))]
    Preflight {
        /// What is in the way.
        found: Vec<Finding>,
        /// It is that nobody is signed in.
        is_signed_out: bool,
    },
    /// A launch on EC2 broke off.
    #[error("the launch of `{id}` broke off: {}", in_full(source))]
    BrokeOff {
        /// The array.
        id: ArrayId,
        /// Why.
        source: Box<LaunchError>,
    },
    /// An array on EC2 could not be asked or told.
    #[error("{}", in_full(.0))]
    Desk(#[from] DeskError),
    /// Something of a launch on EC2 cannot be made or used.
    #[error("cannot {what}: {}", in_full(source.as_ref()))]
    Ec2 {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Anything else the system refuses.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl CliError {
    /// The program's exit code, as `spawn --help` documents it.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Spec(_) => SpecError::EXIT_CODE,
            CliError::Usage { .. } | CliError::Unconfirmed { .. } => 2,
            CliError::EmbeddedCredentials | CliError::ReadOnlyHome { .. } => 4,
            CliError::Host(HostError::Refused {
                kind: Refusal::ReadOnly,
                ..
            }) => 4,
            CliError::Preflight { is_signed_out, .. } => match is_signed_out {
                true => 4,
                false => 2,
            },
            CliError::Aws(e) => aws_exit_code(e),
            CliError::BrokeOff { source, .. } => match source.as_ref() {
                LaunchError::Aws(e) => aws_exit_code(e),
                _ => 1,
            },
            CliError::Desk(e) if e.is_not_found() => 3,
            CliError::Desk(e) if e.is_denied() => 4,
            CliError::Desk(e) => e.aws().map_or(1, aws_exit_code),
            CliError::Ec2 { .. } => 1,
            CliError::NoArray { .. }
            | CliError::NoArrayHere { .. }
            | CliError::ManyArrays { .. }
            | CliError::NoWorker { .. }
            | CliError::NoTask { .. } => 3,
            CliError::Home(e) => home_exit_code(e),
            CliError::Host(HostError::Home(e)) => home_exit_code(e),
            CliError::Host(HostError::Refused {
                kind: Refusal::NotFound,
                ..
            }) => 3,
            CliError::Host(HostError::Lost(source) | HostError::Unreachable(source))
            | CliError::File { source, .. }
            | CliError::Output(source)
            | CliError::System { source, .. } => io_exit_code(source),
            CliError::Host(HostError::Impostor { .. }) => 4,
            CliError::Host(_) | CliError::NotChecked { .. } | CliError::Declined => 1,
        }
    }

    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            CliError::Spec(e) => e.hint.clone(),
            CliError::Usage { hint, .. } => hint.clone(),
            CliError::NoArray { .. } => Some("`spawn list` shows them".to_owned()),
            CliError::NoArrayHere { .. } => Some(
                "`spawn list` shows those of this home; set AWS_REGION and credentials for those on EC2"
                    .to_owned(),
            ),
            CliError::EmbeddedCredentials => Some(
                "`eval \"$(spawn env --off)\"` gives this shell your own back".to_owned(),
            ),
            CliError::Preflight { .. } => Some("`spawn doctor` checks again, and starts nothing".to_owned()),
            CliError::BrokeOff { id, .. } => Some(format!(
                "`spawn launch --resume {id}` goes on, `spawn cleanup {id}` removes what was made"
            )),
            CliError::Ec2 { hint, .. } => hint.clone(),
            CliError::Aws(e) => aws_hint(e),
            CliError::Desk(e) => e.aws().and_then(aws_hint),
            CliError::ManyArrays { .. } => Some("type more of the id".to_owned()),
            CliError::NoWorker { .. } => Some(
                "`spawn status ID` shows an array's workers; `--task INDEX` names one by its task"
                    .to_owned(),
            ),
            CliError::NoTask { array, .. } => Some(format!("`spawn tasks {array}` shows them")),
            CliError::Unconfirmed { again, .. } => Some(format!("to go ahead, run `{again}`")),
            CliError::Home(e) | CliError::Host(HostError::Home(e)) => e.hint(),
            CliError::ReadOnlyHome { .. } | CliError::Host(HostError::Impostor { .. }) => {
                Some("set `SPAWN_HOME` to a directory of your own".to_owned())
            }
            CliError::Host(HostError::Silent { pid }) => Some(format!(
                "it may have been stopped: `kill -CONT {pid}` lets it go on; `kill -KILL {pid}` ends it, and the next command starts another, which runs interrupted tasks again"
            )),
            CliError::Host(HostError::NoProgram { .. }) => {
                Some("install `spawn`, `spawn-host` and `spored` side by side".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the reader of our output has gone, as `head` does: nothing to complain about.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, CliError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn home_exit_code(error: &HomeError) -> u8 {
    match error {
        HomeError::Unset | HomeError::Relative(_) | HomeError::NotText(_) => 2,
        HomeError::Create { .. }
        | HomeError::Foreign { .. }
        | HomeError::ForeignFile { .. }
        | HomeError::Exposed { .. }
        | HomeError::Shared { .. }
        | HomeError::Open { .. } => 4,
    }
}

fn io_exit_code(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::PermissionDenied => 4,
        _ => 1,
    }
}

fn list(ids: &[ArrayId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
    ids.join(", ")
}

/// An error with all that caused it.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        // Some say already what caused them.
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = e.source();
    }
    text
}

fn findings(found: &[Finding]) -> String {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    match lines.as_slice() {
        [only] => only.clone(),
        many => many.iter().map(|line| format!("\n  - {line}")).collect(),
    }
}

fn aws_exit_code(error: &AwsError) -> u8 {
    match error.kind {
        // Not AWS's word but the client's own: no region, or a file of the AWS CLI that is wrong.
        ErrorKind::Validation if error.service == "AWS" => 2,
        ErrorKind::Denied | ErrorKind::Credentials | ErrorKind::Expired => 4,
        ErrorKind::NotFound | ErrorKind::Capacity | ErrorKind::Quota => 3,
        _ => 1,
    }
}

fn aws_hint(error: &AwsError) -> Option<String> {
    let hint = match error.kind {
        ErrorKind::Credentials | ErrorKind::Expired => {
            "sign in with `aws configure` or `aws sso login`, then `aws sts get-caller-identity`"
        }
        ErrorKind::Denied => "ask the account's administrator for this action",
        ErrorKind::Validation if error.service == "AWS" => {
            "name the region with `--region` or AWS_REGION"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
