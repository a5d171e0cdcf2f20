//! `spawn list`: the arrays, newest first.

use std::io::Write;

use spawn_local::wall_clock;

use super::Exit;
use crate::error::CliError;
use crate::read_model::{ArrayLine, Stamp};
use crate::render::{Align, Output, Table, counted, human_seconds, human_since};
use crate::session::Session;

/// List the arrays, newest first
///
/// Examples:
///
///   spawn list
///   spawn list --all -o json | jq -r '.[] | select(.state == "failed").array_id'
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// How many arrays to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,

    /// Show all arrays there ever were
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Runs `spawn list`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let limit = if args.all { u32::MAX - 1 } else { args.limit };
    let mut lines: Vec<ArrayLine> = Vec::new();
    if let Some(mut session) = Session::open_to_read()? {
        // One more than shown tells whether there are more.
        let records = session.arrays(limit.saturating_add(1))?;
        lines.extend(records.iter().map(ArrayLine::new));
    }
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = lines.len() > shown;
    lines.truncate(shown);
    if output.json {
        output.write_json(&lines)?;
        return Ok(Exit::Ok);
    }
    output.write(|out| {
        if lines.is_empty() && !has_more {
            return writeln!(
                out,
                "no arrays yet; `spawn launch --help` shows how to start one"
            );
        }
        table(&lines, output).write(out, "")?;
        if has_more {
            let text = format!(
                "the newest {}; `--all` shows the rest",
                counted(limit.into(), "array")
            );
            writeln!(out, "{}", output.style.faint(&text))?;
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn table(lines: &[ArrayLine], output: &Output) -> Table {
    let style = output.style;
    let now = Stamp(wall_clock::now());
    let columns = [
        ("array", Align::Left),
        ("name", Align::Left),
        ("state", Align::Left),
        ("tasks", Align::Right),
        ("failed", Align::Right),
        ("time", Align::Right),
        ("launched", Align::Left),
    ];
    let mut table = Table::new(&columns, |name| style.faint(name));
    for line in lines {
        let counts = line.counts.0;
        let tasks = match counts.all_ended() {
            true => counts.total().to_string(),
            false => format!("{}/{}", counts.ended(), counts.total()),
        };
        let plain = |text: String| (text.clone(), text);
        let word = line.state.word();
        let failed = counts.failed.to_string();
        let painted = if counts.failed > 0 {
            style.bad(&failed)
        } else {
            failed.clone()
        };
        table.painted([
            (
                line.array_id.to_string(),
                style.strong(line.array_id.as_str()),
            ),
            plain(line.name.clone()),
            (word.to_owned(), style.array(line.state, word)),
            plain(tasks),
            (failed, painted),
            plain(
                line.seconds(now)
                    .map_or_else(|| "-".to_owned(), human_seconds),
            ),
            plain(human_since(line.created_at, now)),
        ]);
    }
    table
}
