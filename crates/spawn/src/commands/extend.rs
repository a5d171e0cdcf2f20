//! `spawn extend`: more time for an array that runs.

use std::io::Write;

use spawn_core::duration::Span;

use super::Exit;
use crate::error::CliError;
use crate::read_model::{ArrayLine, Stamp};
use crate::render::{Output, counted, human_seconds};
use crate::session::Session;

/// Give an array more time than its `--ttl`
///
/// Moves the array's end, and that of the workers it has now, by this much. A
/// script that has been told to stop is not called back.
///
/// Examples:
///
///   spawn extend last 2h
///   spawn extend array-20260127-abc123 30m
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// How much longer it may take, such as `2h`
    #[arg(value_name = "DURATION")]
    by: Span,
}

/// Runs `spawn extend`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    let (record, too_late) = session.extend(&id, args.by.as_duration())?;
    let line = ArrayLine::new(&record);
    if output.json {
        output.write_json(&line)?;
        return Ok(Exit::Ok);
    }
    if too_late > 0 {
        let scripts = counted(too_late.into(), "script");
        output.warn(&format!(
            "{scripts} had been told before that the time is over, and will fail; `spawn retry {id}` runs such tasks again"
        ));
    }
    let now = Stamp(spawn_local::wall_clock::now());
    output.write(|out| {
        let left = human_seconds(line.deadline.seconds_since(now));
        let id = output.style.strong(id.as_str());
        writeln!(
            out,
            "{id} ends at {} at the latest, in {left}",
            line.deadline
        )
    })?;
    Ok(Exit::Ok)
}
