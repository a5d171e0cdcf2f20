//! `spawn local check`: whether the home of this machine's arrays is whole, and the ways on if it is
//! not. `spawn-host` does the looking: it knows the ledger's file, and `spawn` stays small.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Serialize;
use spawn_core::array_id::ArrayId;
use spawn_local::home::Home;
use spawn_local::host_client::own_sibling;
use spawn_local::wire::check::{Checked, Finding, Report, Salvage};

use crate::commands::Exit;
use crate::error::CliError;
use crate::render::{Output, counted};
use crate::session::home;

/// As many arrays of a finding are named in text; JSON names them all.
const NAMED: usize = 10;

/// Check whether the record of this machine's arrays is whole, and save what is left
///
/// Looks at every page of the ledger and at all that is recorded there, and
/// holds it against the files of the arrays. Changes nothing unless asked to;
/// exit code 1 says that something is damaged or lost.
///
/// Examples:
///
///   spawn local check
///   spawn local check --salvage
///   spawn local check --forget
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct CheckArgs {
    /// Write all that can be read into a new ledger; the damaged one is kept beside it, and with
    /// FILE the new one goes there instead
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    salvage: Option<Option<PathBuf>>,

    /// Put aside the files of launched arrays that have no record: to `lost` in the home
    #[arg(long)]
    forget: bool,
}

#[derive(Debug, Serialize)]
struct CheckView<'a> {
    home: String,
    sound: bool,
    arrays: u64,
    findings: &'a [Finding],
    put_aside: &'a [ArrayId],
    #[serde(skip_serializing_if = "Option::is_none")]
    salvaged: Option<&'a Salvage>,
}

/// Runs `spawn local check`.
pub fn run(args: &CheckArgs, output: &Output) -> Result<Exit, CliError> {
    let home = home()?;
    let report = match ask(&home, args)? {
        Checked::Done(report) => report,
        Checked::Failed { message } => return Err(CliError::NotChecked { message }),
    };
    let exit = match report.is_damaged() {
        true => Exit::TasksFailed,
        false => Exit::Ok,
    };
    if output.json {
        output.write_json(&CheckView {
            home: home.root().display().to_string(),
            sound: !report.is_damaged(),
            arrays: report.arrays,
            findings: &report.findings,
            put_aside: &report.put_aside,
            salvaged: report.salvaged.as_ref(),
        })?;
        return Ok(exit);
    }
    output.write(|out| write(out, &home, &report, output))?;
    Ok(exit)
}

fn ask(home: &Home, args: &CheckArgs) -> Result<Checked, CliError> {
    let mut check = Command::new(own_sibling()?);
    check.arg("--check").arg("--home").arg(home.root());
    if args.forget {
        check.arg("--forget");
    }
    match &args.salvage {
        None => {}
        Some(None) => drop(check.arg("--salvage")),
        Some(Some(file)) => drop(check.arg("--salvage-to").arg(file)),
    }
    let failed = |source| CliError::System {
        what: "run the check",
        source,
    };
    let done = check
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(failed)?;
    serde_json::from_slice(&done.stdout).map_err(|e| failed(e.into()))
}

fn write(
    out: &mut impl Write,
    home: &Home,
    report: &Report,
    output: &Output,
) -> std::io::Result<()> {
    let style = output.style;
    if let Some(salvage) = &report.salvaged {
        let saved = &salvage.saved;
        writeln!(
            out,
            "saved {} and the state of {} in {}",
            counted(saved.arrays, "array"),
            counted(saved.tasks, "task"),
            salvage.ledger
        )?;
        if let Some(damaged) = &salvage.damaged {
            writeln!(out, "  the damaged ledger is kept as {damaged}")?;
        }
        if saved.unreadable > 0 {
            let lost = counted(saved.unreadable, "piece");
            writeln!(out, "  {lost} could not be read")?;
        }
        if saved.tasks_lost > 0 {
            let lost = counted(saved.tasks_lost, "task");
            writeln!(out, "  {lost} lost the record of what became of them")?;
        }
        if saved.closed > 0 {
            let closed = counted(saved.closed, "array");
            writeln!(
                out,
                "  {closed} closed, for want of their state; `spawn retry ID` goes on with one"
            )?;
        }
    }
    if !report.put_aside.is_empty() {
        let files = counted(report.put_aside.len() as u64, "array");
        let place = home.put_aside();
        writeln!(out, "the files of {files} are in {} now", place.display())?;
    }
    for finding in &report.findings {
        let word = match finding.kind.is_damage() {
            true => style.bad("damage"),
            false => style.strong("note"),
        };
        writeln!(out, "{word}: {}", finding.text)?;
        for id in finding.arrays.iter().take(NAMED) {
            writeln!(out, "  {id}")?;
        }
        if finding.arrays.len() > NAMED {
            writeln!(out, "  and {} more", finding.arrays.len() - NAMED)?;
        }
    }
    let arrays = counted(report.arrays, "array");
    if !report.is_damaged() {
        return writeln!(out, "{}: {arrays}", style.good("the ledger is whole"));
    }
    for way in ways_on(report) {
        writeln!(out, "{}: {way}", style.strong("way on"))?;
    }
    Ok(())
}

/// What to do about what was found.
fn ways_on(report: &Report) -> Vec<&'static str> {
    use spawn_local::wire::check::Kind;
    let has = |kinds: &[Kind]| report.findings.iter().any(|f| kinds.contains(&f.kind));
    let mut ways = Vec::new();
    if has(&[Kind::Unreadable, Kind::Pages, Kind::Rows]) && report.salvaged.is_none() {
        ways.push(
            "`spawn local stop`, then `spawn local check --salvage` saves what can be read and \
             keeps the damaged file",
        );
    }
    if has(&[Kind::LostArrays]) {
        ways.push(
            "launch them again from the scripts under `arrays/ID/job` in the home; \
             `spawn local check --forget` puts their files aside",
        );
    }
    if has(&[Kind::NoFiles]) {
        ways.push("`spawn cancel ID` ends an array whose files are gone");
    }
    ways
}
