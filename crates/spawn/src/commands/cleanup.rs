//! `spawn cleanup`: removes what an array left in AWS, or everything that spawn ever made there.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;
use spawn_aws::client::{Client, ErrorKind};
use spawn_core::array_id::ArrayId;
use spawn_ec2::cleanup::{self, Remnant};
use spawn_ec2::journal::Journal;
use spawn_ec2::orphans::{self, GRACE_MS};
use spawn_ec2::teardown;

use super::Exit;
use super::orphans as orphans_command;
use crate::ec2::backend::Where;
use crate::ec2::regions::RegionArgs;
use crate::ec2::{account, known};
use crate::error::CliError;
use crate::render::Output;
use crate::session::{Session, home};

/// A security group is in use until the last machine is gone for good.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(5);

/// Remove what arrays left in AWS
///
/// With an id: that array is terminated, and everything made for it goes. Without
/// one: what `spawn orphans` shows. With --everything: also the roles, the
/// security group, the bucket with all logs and the ledger's table of a region,
/// as if spawn had never been there. Shows what it would remove, and removes it
/// with --yes.
///
/// Examples:
///
///   spawn cleanup array-20260127-abc123
///   spawn cleanup --all-regions --yes
///   spawn cleanup --everything --region eu-west-1 --yes
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID", conflicts_with_all = ["all_regions", "everything"])]
    array: Option<String>,

    /// Also what all arrays of the region share, logs and ledger included
    #[arg(long, conflicts_with = "all_regions")]
    everything: bool,

    /// Remove it
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    regions: RegionArgs,
}

#[derive(Serialize)]
struct Cleaned {
    removed: bool,
    found: Vec<String>,
}

/// Runs `spawn cleanup`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    match &args.array {
        Some(typed) => one(typed, args, output),
        None if args.everything => everything(args, output),
        None => orphaned(args, output),
    }
}

fn one(typed: &str, args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (place, id) = find(typed, args)?;
    let client = account::client(Some(&place.region))?;
    // A launch that broke off early may have made a role that no template names yet.
    let home = home()?;
    let path = known::journal(&home, &id);
    let journal = Journal::open(&path).ok();
    let role = journal
        .as_ref()
        .map(|journal| &journal.plan().role)
        .filter(|role| !role.is_given)
        .map(|role| role.name.clone());
    let roles: Vec<&str> = role.as_deref().into_iter().collect();
    let found = cleanup::find(&client, &id, &roles)?;
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    if !args.yes {
        let again = format!("spawn cleanup {id} --yes");
        return say(lines, None, &again, output);
    }
    end(place, &id)?;
    remove(&client, &id, &roles)?;
    if journal.is_some() {
        // What was begun cannot be gone on with any more.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(known::bundle(&home, &id));
    }
    say(lines, Some(()), "", output)
}

/// Where an array is; one whose launch broke off before it was recorded, too.
fn find(typed: &str, args: &Args) -> Result<(Where, ArrayId), CliError> {
    if let (Some(region), Ok(id)) = (&args.regions.region, typed.parse::<ArrayId>()) {
        let client = account::client(Some(region))?;
        let account = account::account(&client)?;
        let region = region.clone();
        return Ok((Where { region, account }, id));
    }
    let (session, id) = Session::find(typed)?;
    let place = session.place().cloned();
    let place = place.ok_or_else(|| CliError::Usage {
        message: format!("`{id}` runs on this machine, and leaves nothing in AWS"),
        hint: Some(format!("`spawn cancel {id}` ends it")),
    })?;
    Ok((place, id))
}

/// Nothing of it is started any more; an array that was never recorded need not be told.
fn end(place: Where, id: &ArrayId) -> Result<(), CliError> {
    let mut session = Session::on_ec2(place)?;
    match session.status(id) {
        Ok(status) if !status.record.counts.all_ended() => session.cancel(id, Duration::ZERO),
        Ok(_) => Ok(()),
        Err(e) if e.exit_code() == 3 => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes until nothing is found: a role is free only once its templates are gone.
fn remove(client: &Client, id: &ArrayId, roles: &[&str]) -> Result<(), CliError> {
    let until = Instant::now() + PATIENCE;
    let mut roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    loop {
        let names: Vec<&str> = roles.iter().map(String::as_str).collect();
        let found = cleanup::find(client, id, &names)?;
        for remnant in &found {
            if let Remnant::Role(name) = remnant
                && !roles.contains(name)
            {
                roles.push(name.clone());
            }
        }
        let is_on_its_way = |r: &Remnant| matches!(r, Remnant::Group { is_going: true, .. });
        if found.iter().all(is_on_its_way) {
            return Ok(());
        }
        match cleanup::remove(client, &found) {
            Ok(_) => {}
            Err(e) if e.kind == ErrorKind::Conflict && Instant::now() < until => {
                client.clock().sleep(PAUSE);
            }
            Err(e) => return Err(e.into()),
        }
    }
}

fn orphaned(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let clients = args.regions.clients()?;
    let found = orphans_command::find(&clients, GRACE_MS)?;
    let mut views = Vec::new();
    for (client, orphans) in clients.iter().zip(&found) {
        views.extend(orphans_command::views(client.region(), orphans));
    }
    if !output.json {
        output.write(|out| orphans_command::write_views(out, &views, output))?;
    }
    let lines = match output.json {
        true => found
            .iter()
            .flatten()
            .flat_map(|o| o.found.iter().map(ToString::to_string))
            .collect(),
        false => Vec::new(),
    };
    let any = !views.is_empty();
    if !args.yes {
        if !output.json && any {
            output.write(|out| writeln!(out, "\nnothing was removed; `--yes` removes it"))?;
            return Ok(Exit::Ok);
        }
        return say(lines, None, "", output);
    }
    for (client, orphans) in clients.iter().zip(&found) {
        for orphan in orphans {
            remove(client, &orphan.array, &[])?;
        }
    }
    if !output.json && any {
        output.write(|out| writeln!(out, "\nremoved"))?;
        return Ok(Exit::Ok);
    }
    say(lines, Some(()), "", output)
}

fn everything(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let client = account::client(args.regions.region.as_deref())?;
    let account = account::account(&client)?;
    let orphans = orphans_command::find(std::slice::from_ref(&client), 0)?;
    let orphans: Vec<_> = orphans.into_iter().flatten().collect();
    let all = orphans::remnants(&client)?;
    let runs = all
        .keys()
        .find(|id| orphans.iter().all(|orphan| orphan.array != **id));
    if let Some(id) = runs {
        return Err(CliError::Usage {
            message: format!(
                "`{id}` may still run in {}; nothing was removed",
                client.region()
            ),
            hint: Some(format!("`spawn cleanup {id} --yes` ends it")),
        });
    }
    let shared = teardown::find(&client, &account)?;
    let remnants = orphans
        .iter()
        .flat_map(|o| o.found.iter().map(ToString::to_string));
    let lines: Vec<String> = remnants
        .chain(shared.iter().map(ToString::to_string))
        .collect();
    if !args.yes {
        let again = format!(
            "spawn cleanup --everything --region {} --yes",
            client.region()
        );
        return say(lines, None, &again, output);
    }
    for orphan in &orphans {
        remove(&client, &orphan.array, &[])?;
    }
    let until = Instant::now() + PATIENCE;
    for shared in &shared {
        loop {
            match teardown::remove(&client, &account, shared) {
                Err(e) if e.kind == ErrorKind::Conflict && Instant::now() < until => {
                    client.clock().sleep(PAUSE);
                }
                other => break other?,
            }
        }
    }
    say(lines, Some(()), "", output)
}

fn say(
    found: Vec<String>,
    removed: Option<()>,
    again: &str,
    output: &Output,
) -> Result<Exit, CliError> {
    let removed = removed.is_some();
    if output.json {
        output.write_json(&Cleaned { removed, found })?;
        return Ok(Exit::Ok);
    }
    output.write(|out| {
        for line in &found {
            writeln!(out, "{line}")?;
        }
        match (found.is_empty(), removed) {
            (true, _) => writeln!(out, "there is nothing to remove"),
            (false, true) => writeln!(out, "removed"),
            (false, false) => writeln!(out, "\nnothing was removed; `{again}` removes it"),
        }
    })?;
    Ok(Exit::Ok)
}
