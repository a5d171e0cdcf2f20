//! `spawn retry`: tasks that ended run again, in the array they belong to.

use std::io::Write;

use serde::Serialize;
use spawn_core::array_id::ArrayId;
use spawn_core::duration::Span;
use spawn_core::index_set::{IndexErrorKind, IndexSet};
use spawn_ports::ledger::Reopen;

use super::Exit;
use crate::error::CliError;
use crate::read_model::Indices;
use crate::render::{Output, counted};
use crate::session::Session;

/// Run tasks that ended again
///
/// The same array, the same script and files; every attempt so far stays in its
/// history. Without `--tasks`, all that failed, those too that the TTL ended.
/// An array that has ended gets its TTL anew.
///
/// Examples:
///
///   spawn retry last
///   spawn retry last --tasks 3,7,20-29
///   spawn retry last --failed --ttl 2h && spawn status last --wait
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// The tasks that failed; what is meant if nothing is said
    #[arg(long, conflicts_with = "tasks")]
    failed: bool,

    /// The tasks with these indices, however they ended: `3,7,20-29`
    #[arg(long, value_name = "RANGES", allow_hyphen_values = true)]
    tasks: Option<String>,

    /// How long the array may take from now, if it had ended [default: its own `--ttl`]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Span>,
}

#[derive(Serialize)]
struct Retried<'a> {
    array_id: &'a ArrayId,
    tasks: u64,
}

/// Runs `spawn retry`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    let which = match &args.tasks {
        None => Reopen::Failed,
        Some(text) => {
            let record = session.status(&id)?.record;
            let indices = Indices::of(&record);
            let whole = indices.set(record.submitted.total);
            let picked = IndexSet::parse_subset(text, &whole).map_err(|e| CliError::Usage {
                message: e.to_string(),
                hint: (!matches!(e.kind, IndexErrorKind::NotInArray { .. }))
                    .then(|| format!("the array has the indices {}", indices.shown())),
            })?;
            Reopen::Positions(indices.positions(&picked))
        }
    };
    let tasks = session.retry(&id, which, args.ttl.map(Span::as_duration))?;
    if output.json {
        output.write_json(&Retried {
            array_id: &id,
            tasks,
        })?;
        return Ok(Exit::Ok);
    }
    output.write(|out| {
        let shown = output.style.strong(id.as_str());
        match (tasks, &args.tasks) {
            (0, None) => writeln!(out, "{shown}: no task has failed; nothing to run again"),
            (0, Some(_)) => writeln!(out, "{shown}: none of these tasks has ended yet"),
            (n, _) => {
                let verb = if n == 1 { "runs" } else { "run" };
                writeln!(out, "{shown}: {} {verb} again", counted(n, "task"))?;
                writeln!(out, "\n  spawn status {id} --wait")
            }
        }
    })?;
    Ok(Exit::Ok)
}
