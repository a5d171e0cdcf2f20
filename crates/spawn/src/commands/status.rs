//! `spawn status`: how an array is doing; or wait for its end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use spawn_core::array_id::ArrayId;
use spawn_core::duration::Span;

use super::Exit;
use crate::error::CliError;
use crate::read_model::ArrayView;
use crate::render::{Output, Progress, write_status};
use crate::session::{Session, Waited};

/// A bar on a terminal is drawn this often at least, so that its times move.
const REDRAW: Duration = Duration::from_secs(1);

/// Show how an array is doing, or wait for it
///
/// Tasks by state, the workers at work, the time to go and the newest failures.
///
///   spawn status last
///   spawn status array-20260127-abc123 --wait && echo done
///   spawn status last -o json | jq .counts
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// Stay until all tasks are done; exit 0 only if all succeeded or were skipped
    #[arg(long)]
    wait: bool,

    /// Stop waiting after this time, with exit code 124; the tasks go on
    #[arg(long, value_name = "TIME", requires = "wait")]
    wait_timeout: Option<Span>,

    /// Show it again every second until it ends
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
}

/// Runs `spawn status`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    if args.wait {
        let limit = args.wait_timeout.map(Span::as_duration);
        let (view, exit) = wait(&mut session, &id, limit, output, false)?;
        show(&view, output)?;
        return Ok(exit);
    }
    if args.watch {
        return watch(&mut session, &id, output);
    }
    show(&ArrayView::new(&session.status(&id)?), output)?;
    Ok(Exit::Ok)
}

/// Waits for the end of an array, showing how it gets on. Gives it as it stands in the end.
pub fn wait(
    session: &mut Session,
    id: &ArrayId,
    limit: Option<Duration>,
    output: &Output,
    is_quiet: bool,
) -> Result<(ArrayView, Exit), CliError> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut progress = (!is_quiet).then(|| Progress::new(output.error_style));
    let mut view = ArrayView::new(&session.watch(id)?);
    loop {
        let now = Instant::now();
        if let Some(progress) = &mut progress {
            progress.show(&view, now);
        }
        let is_late = deadline.is_some_and(|deadline| now >= deadline);
        if view.has_ended() || is_late {
            if let Some(progress) = &mut progress {
                progress.clear();
            }
            let exit = match (view.has_ended(), view.is_well()) {
                (false, _) => Exit::TimedOut,
                (true, true) => Exit::Ok,
                (true, false) => Exit::TasksFailed,
            };
            return Ok((view, exit));
        }
        let left = deadline.map_or(REDRAW, |deadline| deadline - now);
        if let Waited::Status(status) = session.next_change(id, left.min(REDRAW))? {
            view = ArrayView::new(&status);
        }
    }
}

fn watch(session: &mut Session, id: &ArrayId, output: &Output) -> Result<Exit, CliError> {
    let is_terminal = io::stdout().is_terminal();
    let mut view = ArrayView::new(&session.watch(id)?);
    loop {
        if output.json {
            output.write(|out| {
                serde_json::to_writer(&mut *out, &view)?;
                writeln!(out)
            })?;
        } else {
            output.write(|out| {
                if is_terminal {
                    write!(out, "\x1b[H\x1b[2J")?;
                }
                write_status(out, &view, output.style)
            })?;
        }
        if view.has_ended() {
            return Ok(Exit::Ok);
        }
        let next = Instant::now() + REDRAW;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            if let Waited::Status(status) = session.next_change(id, left)? {
                view = ArrayView::new(&status);
                if view.has_ended() {
                    break;
                }
            }
        }
    }
}

/// Shows an array once.
pub fn show(view: &ArrayView, output: &Output) -> Result<(), CliError> {
    if output.json {
        return output.write_json(view);
    }
    output.write(|out| write_status(out, view, output.style))
}
