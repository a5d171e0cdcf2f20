//! `spawn terminate`: the workers of an array end now.

use std::time::Duration;

use spawn_core::duration::Span;

use super::{Exit, cancel};
use crate::error::CliError;
use crate::render::Output;

/// End the workers of an array now
///
/// As `spawn cancel` with no notice: scripts are killed at once, and what they
/// have not saved is lost. Tasks that have not ended are cancelled.
///
/// Examples:
///
///   spawn terminate last
///   spawn terminate array-20260127-abc123 --yes
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// How long running scripts get to end by themselves [default: no time]
    #[arg(long, value_name = "TIME")]
    notice: Option<Span>,
}

/// Runs `spawn terminate`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let notice = args.notice.map_or(Duration::ZERO, Span::as_duration);
    cancel::close(
        &args.array,
        "terminate",
        "terminates",
        args.yes,
        notice,
        output,
    )
}
