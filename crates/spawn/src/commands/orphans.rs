//! `spawn orphans`: what is left in AWS of arrays that do not run.

use std::io::Write;

use serde::Serialize;
use spawn_aws::client::Client;
use spawn_core::array_id::ArrayId;
use spawn_ec2::orphans::{self, GRACE_MS, Orphan};
use spawn_local::wall_clock;

use super::Exit;
use super::launch::ec2_ledger;
use crate::ec2::regions::{self, RegionArgs};
use crate::error::CliError;
use crate::render::Output;

/// Show what is left in AWS of arrays that do not run
///
/// Machines, groups, launch templates and schedules that spawn made for arrays
/// whose tasks have ended, whose time is over, or whose launch broke off. They
/// go by themselves as a rule; what is shown here did not. Removes nothing.
///
/// Examples:
///
///   spawn orphans
///   spawn orphans --all-regions -o json
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    regions: RegionArgs,
}

/// Orphans of one array.
#[derive(Debug, Serialize)]
pub struct OrphanView {
    region: String,
    array_id: ArrayId,
    why: String,
    found: Vec<String>,
}

impl OrphanView {
    fn new(region: &str, orphan: &Orphan) -> OrphanView {
        OrphanView {
            region: region.to_owned(),
            array_id: orphan.array.clone(),
            why: orphan.why.to_string(),
            found: orphan.found.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Runs `spawn orphans`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let clients = args.regions.clients()?;
    let mut views = Vec::new();
    for (client, orphans) in clients.iter().zip(find(&clients, GRACE_MS)?) {
        views.extend(orphans.iter().map(|o| OrphanView::new(client.region(), o)));
    }
    if output.json {
        output.write_json(&views)?;
        return Ok(Exit::Ok);
    }
    output.write(|out| {
        if views.is_empty() {
            return writeln!(out, "nothing is left of arrays that do not run");
        }
        write_views(out, &views, output)?;
        writeln!(out, "\n  spawn cleanup --yes    removes it")
    })?;
    Ok(Exit::Ok)
}

/// Orphans of each client's region; arrays that ended less than `grace_ms` ago have none.
pub fn find(clients: &[Client], grace_ms: u64) -> Result<Vec<Vec<Orphan>>, CliError> {
    let now = wall_clock::now();
    let found = regions::ask(clients, |client| {
        orphans::find(client, &mut ec2_ledger(client), now, grace_ms)
    });
    found
        .into_iter()
        .map(|found| {
            found.map_err(|e| match e {
                orphans::OrphansError::Aws(e) => CliError::Aws(e),
                orphans::OrphansError::Ledger(e) => CliError::Ec2 {
                    what: "look for orphans",
                    source: Box::new(e),
                    hint: None,
                },
            })
        })
        .collect()
}

/// Writes them, array by array.
pub fn write_views(
    out: &mut impl Write,
    views: &[OrphanView],
    output: &Output,
) -> std::io::Result<()> {
    for view in views {
        let id = output.style.strong(view.array_id.as_str());
        writeln!(out, "{id} in {}: {}", view.region, view.why)?;
        for line in &view.found {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

/// Views of what was found in a region.
pub fn views(region: &str, orphans: &[Orphan]) -> Vec<OrphanView> {
    orphans.iter().map(|o| OrphanView::new(region, o)).collect()
}
