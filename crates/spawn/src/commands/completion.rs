//! `spawn completion`: what a shell needs to complete our words.

use std::io::Write;

use clap::{CommandFactory, ValueEnum};

use super::Exit;
use crate::cli::Cli;
use crate::error::CliError;
use crate::render::Output;

/// Print what makes a shell complete commands and flags
///
/// Examples:
///
///   source <(spawn completion bash)       in ~/.bashrc
///   source <(spawn completion zsh)        in ~/.zshrc, after compinit
///   spawn completion fish | source        in ~/.config/fish/config.fish
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Shells that can be told.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs `spawn completion`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Made in memory first: the generator does not take a failing writer well.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "spawn", &mut script);
    output.write(|out| out.write_all(&script))?;
    Ok(Exit::Ok)
}
