//! `spawn cancel`: nothing more of an array is started, and what runs is stopped.

use std::io::Write;
use std::time::Duration;

use spawn_core::duration::Span;

use super::{Exit, confirm::confirm};
use crate::error::CliError;
use crate::read_model::ArrayView;
use crate::render::{Output, counted, human_seconds};
use crate::session::Session;

/// What machines on EC2 give their scripts when their array is cancelled.
const EC2_NOTICE: Duration = Duration::from_secs(30);

/// Cancel an array
///
/// Tasks that wait are not started any more. Scripts that run get a TERM signal
/// and, after the notice, are killed.
///
/// Examples:
///
///   spawn cancel last
///   spawn cancel array-20260127-abc123 --yes --notice 2m
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// How long running scripts get to end by themselves
    #[arg(long, value_name = "TIME", default_value = "30s")]
    notice: Span,
}

/// Runs `spawn cancel`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let notice = args.notice.as_duration();
    close(&args.array, "cancel", "cancels", args.yes, notice, output)
}

/// Cancels an array: what `cancel` and `terminate` do, with more notice or less.
pub fn close(
    typed: &str,
    command: &str,
    verb: &str,
    is_agreed: bool,
    notice: Duration,
    output: &Output,
) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(typed)?;
    if session.place().is_some() && !notice.is_zero() && notice != EC2_NOTICE {
        return Err(CliError::Usage {
            message: format!(
                "`--notice {}` cannot be had on EC2: machines give their scripts {}",
                human_seconds(notice.as_secs_f64()),
                human_seconds(EC2_NOTICE.as_secs_f64())
            ),
            hint: Some(format!(
                "`spawn cancel {id}` gives them that, `spawn terminate {id}` no time"
            )),
        });
    }
    let before = ArrayView::new(&session.status(&id)?);
    if !before.has_ended() {
        let counts = before.line.counts.0;
        let what = format!(
            "this {verb} `{}` ({id}): {} running, {} pending",
            before.line.name,
            counted(counts.running, "task"),
            counts.pending
        );
        confirm(&what, is_agreed, format!("spawn {command} {id} --yes"))?;
        session.cancel(&id, notice)?;
    }
    let after = ArrayView::new(&session.status(&id)?);
    if output.json {
        output.write_json(&after)?;
        return Ok(Exit::Ok);
    }
    let style = output.style;
    output.write(|out| {
        let id = style.strong(id.as_str());
        if before.has_ended() {
            let word = style.array(before.line.state, before.line.state.word());
            return writeln!(out, "{id} had ended already: {word}");
        }
        let running = after.line.counts.0.running;
        let word = after.line.state.word();
        writeln!(out, "{id}  {}", style.array(after.line.state, word))?;
        if running > 0 {
            let scripts = counted(running, "script");
            match notice.is_zero() {
                true => writeln!(out, "  {scripts} being killed")?,
                false => writeln!(
                    out,
                    "  {scripts} still running, for {} at most",
                    human_seconds(notice.as_secs_f64())
                )?,
            }
            writeln!(out, "\n  spawn status {} --wait", after.line.array_id)?;
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}
