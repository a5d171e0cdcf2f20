//! `spawn interrupt`: a spot interruption, rehearsed.

use std::io::Write;

use serde::Serialize;
use spawn_core::array_id::ArrayId;
use spawn_core::duration::Span;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::StopCause;
use spawn_local::wall_clock;
use spawn_local::wire::client::{Interrupted, ToldWorker};

use super::Exit;
use crate::error::CliError;
use crate::read_model::{Indices, Stamp, stop_reason};
use crate::render::{Output, human_seconds};
use crate::session::Session;

/// Interrupt a worker, as the end of spot capacity would
///
/// The worker starts nothing more. Its script gets a TERM signal, then the
/// children that it runs do, and at the end of the notice everything is killed.
/// The task goes back and runs again by itself on a fresh worker, with
/// TASK_ATTEMPT one higher. That spends none of its `--retries`.
///
/// Name the task that it runs, or the worker as `spawn status` shows it.
///
/// Examples:
///
///   spawn interrupt last --task 7
///   spawn interrupt last --task 7 --notice 120s
///   spawn interrupt train-w2
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Worker; with `--task` the array: its id, the start of one, its name, or `last`
    #[arg(value_name = "WORKER|ID")]
    target: String,

    /// Interrupt the worker that runs the task with this index
    #[arg(short, long, value_name = "INDEX")]
    task: Option<u64>,

    /// How long the script gets to end by itself
    #[arg(long, value_name = "TIME", default_value = "120s")]
    notice: Span,
}

#[derive(Serialize)]
struct Told {
    array_id: ArrayId,
    worker: String,
    task: Option<u64>,
    /// When everything of it is killed at the latest.
    kill_at: Stamp,
    /// Why it was being stopped already, if it was.
    was_stopping: Option<StopCause>,
    /// Whether its task is given another attempt.
    runs_again: bool,
}

/// Runs `spawn interrupt`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let notice = args.notice.as_duration();
    let (mut session, told) = match args.task {
        Some(index) => {
            let (mut session, id) = Session::find(&args.target)?;
            let position = session.position(&id, index)?;
            let told = session.interrupt(Some(&id), Interrupted::Position(position), notice)?;
            (session, told)
        }
        None => {
            let Some(mut session) = Session::open_to_read()? else {
                return Err(no_worker(&args.target));
            };
            let worker = Interrupted::Worker(args.target.clone());
            let told = session.interrupt(None, worker, notice);
            match told {
                // An array is what `--task` is missing for.
                Err(e) if e.exit_code() == 3 && session.resolve(&args.target).is_ok() => {
                    return Err(CliError::Usage {
                        message: format!("`{}` is an array; which of its workers?", args.target),
                        hint: Some(format!(
                            "name the task it runs, `spawn interrupt {} --task INDEX`",
                            args.target
                        )),
                    });
                }
                Err(e) if e.exit_code() == 3 => return Err(no_worker(&args.target)),
                told => (session, told?),
            }
        }
    };
    let ToldWorker {
        array: array_id,
        slot,
        position,
        kill_at_ms,
        already,
        runs_again,
    } = told;
    let record = session.status(&array_id)?.record;
    let indices = Indices::of(&record);
    let told = Told {
        worker: match position {
            Some(position) => indices.worker(position, slot),
            None => indices
                .kept_worker(slot)
                .unwrap_or_else(|| args.target.clone()),
        },
        task: position.map(|position| indices.at(position)),
        kill_at: Stamp(UnixMicros(kill_at_ms * 1000)),
        was_stopping: already,
        runs_again,
        array_id,
    };
    if output.json {
        output.write_json(&told)?;
        return Ok(Exit::Ok);
    }
    output.write(|out| {
        let worker = output.style.strong(&told.worker);
        let left = told.kill_at.seconds_since(Stamp(wall_clock::now()));
        let left = human_seconds(left);
        match told.was_stopping {
            None => writeln!(out, "{worker} has {left} to end")?,
            Some(cause) => {
                let why = stop_reason(cause);
                writeln!(
                    out,
                    "{worker} was being stopped already ({why}); it has {left} to end"
                )?;
            }
        }
        let Some(task) = told.task else {
            return Ok(());
        };
        match told.runs_again {
            true => writeln!(out, "  its task {task} goes back and runs again by itself")?,
            false => writeln!(out, "  its task {task} is not given another attempt")?,
        }
        writeln!(out, "\n  spawn explain {} --task {task}", told.array_id)
    })?;
    Ok(Exit::Ok)
}

fn no_worker(typed: &str) -> CliError {
    CliError::NoWorker {
        typed: typed.to_owned(),
    }
}
