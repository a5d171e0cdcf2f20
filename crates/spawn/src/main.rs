//! `spawn`: one script, thousands of tasks.
//!
//! A command reads its flags, asks the background host, and shows the answer:
//!
//! - [`cli`]: the flags. [`commands`]: what each command does, one file each.
//! - [`bundle`]: the files of a launch. [`session`]: a conversation about arrays: with the host,
//!   which is started where none runs, or with EC2, by [`ec2`].
//! - [`read_model`]: the host's answers as people and programs read them; the only place that
//!   gives them meaning. [`render`]: that, as text. JSON is the read model itself.
//! - [`error`]: what can go wrong, with its hint and exit code.
//!
//! Everything is synchronous and lazy: a command that asks one question costs milliseconds.

mod bundle;
mod cli;
mod commands;
mod ec2;
mod error;
mod read_model;
mod render;
mod session;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = render::Output::new(cli.global.output, cli.global.color);
    match commands::run(cli.command, &output) {
        Ok(exit) => exit.into(),
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output.show_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
