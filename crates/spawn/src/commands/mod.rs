//! What each command does, one file each.

pub mod launch;
pub mod status;

use std::process::ExitCode;

use crate::cli::Command;
use crate::error::CliError;
use crate::render::Output;

/// How a command that did its work ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All well.
    Ok,
    /// The array waited for did not end well.
    TasksFailed,
    /// The wait timed out.
    TimedOut,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::TasksFailed => 1,
            Exit::TimedOut => 124,
        })
    }
}

/// Runs a command.
pub fn run(command: Command, output: &Output) -> Result<Exit, CliError> {
    match command {
        Command::Launch(args) => launch::run(&args, output),
        Command::Status(args) => status::run(&args, output),
    }
}
