//! What each command does, one file each.

pub mod cancel;
pub mod cleanup;
pub mod completion;
pub mod config;
mod confirm;
pub mod connect;
pub mod doctor;
pub mod env;
pub mod explain;
pub mod extend;
pub mod interrupt;
pub mod launch;
pub mod list;
pub mod local;
pub mod logs;
pub mod man;
pub mod orphans;
pub mod retry;
pub mod status;
pub mod tasks;
pub mod terminate;
pub mod version;

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
        Command::List(args) => list::run(&args, output),
        Command::Tasks(args) => tasks::run(&args, output),
        Command::Logs(args) => logs::run(&args, output),
        Command::Explain(args) => explain::run(&args, output),
        Command::Retry(args) => retry::run(&args, output),
        Command::Extend(args) => extend::run(&args, output),
        Command::Interrupt(args) => interrupt::run(&args, output),
        Command::Cancel(args) => cancel::run(&args, output),
        Command::Terminate(args) => terminate::run(&args, output),
        Command::Connect(args) => connect::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Orphans(args) => orphans::run(&args, output),
        Command::Cleanup(args) => cleanup::run(&args, output),
        Command::Env(args) => env::run(&args, output),
        Command::Config(args) => config::run(&args, output),
        Command::Local(args) => local::run(&args, output),
        Command::Completion(args) => completion::run(&args, output),
        Command::Man(args) => man::run(&args, output),
        Command::Version(args) => version::run(&args, output),
    }
}
