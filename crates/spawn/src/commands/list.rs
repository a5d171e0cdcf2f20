//! `spawn list`: the arrays, newest first.

use std::io::Write;

use spawn_aws::client::Client;
use spawn_local::wall_clock;
use spawn_ports::ledger::ArrayRecord;

use super::Exit;
use crate::ec2::backend::Where;
use crate::ec2::regions::{self, RegionArgs};
use crate::ec2::{account, known};
use crate::error::CliError;
use crate::read_model::{ArrayLine, Stamp};
use crate::render::{Align, Output, Table, counted, human_seconds, human_since};
use crate::session::{Session, home};

/// List the arrays, newest first
///
/// Those of this machine, and those on EC2 in the regions that arrays were
/// launched in from here; with --region or --all-regions, whoever launched them.
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

    #[command(flatten)]
    regions: RegionArgs,
}

/// Runs `spawn list`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let limit = if args.all { u32::MAX - 1 } else { args.limit };
    let mut lines: Vec<ArrayLine> = Vec::new();
    // One more than shown tells whether there are more.
    let asked = limit.saturating_add(1);
    if let Some(mut session) = Session::open_to_read()? {
        let records = session.arrays(asked)?;
        lines.extend(records.iter().map(ArrayLine::new));
    }
    let places = places(&args.regions)?;
    let answers = regions::ask(&places, |place| on_ec2(place, asked));
    for (place, records) in places.iter().zip(answers) {
        match records {
            Ok(records) => lines.extend(records.iter().map(ArrayLine::new)),
            // What was asked for by name is an answer; the rest is shown without it.
            Err(e) if args.regions.region.is_some() || args.regions.all_regions => return Err(e),
            Err(e) => output.warn(&format!(
                "the arrays in {} are not shown: {e}",
                place.region
            )),
        }
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.created_at));
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

/// Where on EC2 to look.
fn places(asked: &RegionArgs) -> Result<Vec<Where>, CliError> {
    if asked.region.is_some() || asked.all_regions {
        let clients = asked.clients()?;
        let account = match clients.first() {
            Some(client) => account::account(client)?,
            None => String::new(),
        };
        let region = |client: &Client| client.region().to_owned();
        return Ok(clients
            .iter()
            .map(|client| Where {
                region: region(client),
                account: account.clone(),
            })
            .collect());
    }
    let mut places: Vec<Where> = Vec::new();
    for known in known::all(&home()?)? {
        let place = Where {
            region: known.region,
            account: known.account,
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

fn on_ec2(place: &Where, limit: u32) -> Result<Vec<ArrayRecord>, CliError> {
    Session::on_ec2(place.clone())?.arrays(limit)
}

fn table(lines: &[ArrayLine], output: &Output) -> Table {
    let style = output.style;
    let now = Stamp(wall_clock::now());
    let has_remote = lines.iter().any(|line| line.region.is_some());
    let mut columns = vec![
        ("array", Align::Left),
        ("name", Align::Left),
        ("state", Align::Left),
        ("tasks", Align::Right),
        ("failed", Align::Right),
        ("time", Align::Right),
        ("launched", Align::Left),
    ];
    if has_remote {
        columns.insert(2, ("where", Align::Left));
    }
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
        let mut cells = vec![
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
        ];
        if has_remote {
            let place = line.region.clone().unwrap_or_else(|| "here".to_owned());
            cells.insert(2, plain(place));
        }
        table.painted(cells);
    }
    table
}
