//! The command line: global flags and the list of commands.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

const EXIT_CODES: &str = "\
Exit codes:
  0    done; with --wait, every task succeeded or was skipped
  1    it failed; with --wait, a task did
  2    the command line is wrong
  3    no such array or task, or no capacity
  4    no permission
  124  --wait-timeout ran out; the tasks go on

An array is named by its id, the start of one, its name, or `last`.

Examples:
  spawn launch --array 100 --user-data @process.sh
  spawn status last --wait
  spawn logs last --failed";

/// Run one script as thousands of tasks
#[derive(Debug, Parser)]
#[command(
    name = "spawn",
    version,
    after_help = EXIT_CODES,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Copy, Debug)]
pub struct GlobalArgs {
    /// How to show results
    #[arg(
        short,
        long,
        value_enum,
        global = true,
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Global"
    )]
    pub output: Format,

    /// When to use colour; NO_COLOR turns it off
    #[arg(
        long,
        value_enum,
        global = true,
        value_name = "auto|always|never",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Global"
    )]
    pub color: Color,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What can be done; each command's own words are its help.
#[derive(Debug, Subcommand)]
pub enum Command {
    Launch(Box<commands::launch::Args>),
    Status(commands::status::Args),
    List(commands::list::Args),
    Tasks(commands::tasks::Args),
    Logs(commands::logs::Args),
    Explain(commands::explain::Args),
    Retry(commands::retry::Args),
    Extend(commands::extend::Args),
    Interrupt(commands::interrupt::Args),
    Cancel(commands::cancel::Args),
    Terminate(commands::terminate::Args),
    Connect(commands::connect::Args),
    Doctor(commands::doctor::Args),
    Orphans(commands::orphans::Args),
    Cleanup(commands::cleanup::Args),
    Env(commands::env::Args),
    Config(commands::config::Args),
    Local(commands::local::Args),
    Completion(commands::completion::Args),
    Man(commands::man::Args),
    Version(commands::version::Args),
}
