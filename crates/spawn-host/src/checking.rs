//! `spawn-host --check`: whether a home and its ledger are whole, and the ways on if they are not.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use spawn_core::array_id::ArrayId;
use spawn_local::answers::in_full;
use spawn_local::array_files;
use spawn_local::home::Home;
use spawn_local::ledger::SqliteLedger;
use spawn_local::ledger::check::open_to_check;
use spawn_local::ledger::salvage::salvage;
use spawn_local::ledger::wal;
use spawn_local::wire::check::{Checked, Finding, Kind, Report, Salvage};
use spawn_ports::ledger::{AgentId, LedgerError};

use crate::losses::counted;

/// What to do besides looking.
#[derive(Debug, Default)]
pub(crate) struct WaysOn {
    /// Put the files of arrays without a record aside.
    pub(crate) forget: bool,
    /// Save what can be read of the ledger.
    pub(crate) salvage: Option<SalvageTo>,
}

/// Where a salvaged ledger goes.
#[derive(Debug)]
pub(crate) enum SalvageTo {
    /// In the place of the damaged one, which is kept beside it.
    Home,
    /// To this file; the home stays as it is.
    File(PathBuf),
}

/// Checks a home.
pub(crate) fn check(home: &Home, ways: &WaysOn) -> Checked {
    let done = try_check(home, ways);
    done.map_or_else(
        |message| Checked::Failed { message },
        |report| Checked::Done(Box::new(report)),
    )
}

fn try_check(home: &Home, ways: &WaysOn) -> Result<Report, String> {
    let mut report = Report::default();
    if let Some(to) = &ways.salvage {
        report.salvaged = Some(save(home, to)?);
    }
    let ledger = match &report.salvaged {
        Some(salvage) => PathBuf::from(&salvage.ledger),
        None => home.ledger(),
    };
    look_at_log(&ledger, &mut report.findings);
    let Some(mut ledger) = opened(&ledger, &mut report.findings) else {
        return Ok(report);
    };
    look_at_ledger(&mut ledger, &mut report.findings);
    // A ledger that cannot be read says nothing of the files beside it.
    if let Err(e) = look_at_files(home, &mut ledger, ways.forget, &mut report) {
        let text = in_full(&e);
        if !report.findings.iter().any(|f| f.text == text) {
            say(&mut report.findings, Kind::Unreadable, Vec::new(), text);
        }
    }
    Ok(report)
}

fn say(findings: &mut Vec<Finding>, kind: Kind, arrays: Vec<ArrayId>, text: String) {
    findings.push(Finding { kind, arrays, text });
}

/// No host may write meanwhile, nor start.
fn without_host(home: &Home) -> Result<Option<Flock<File>>, String> {
    let file = match File::open(home.lock()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| format!("cannot open {}: {e}", home.lock().display()))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            Err("the host of this home runs; stop it first with `spawn local stop`".to_owned())
        }
        Err((_, e)) => Err(format!("cannot lock {}: {e}", home.lock().display())),
    }
}

fn save(home: &Home, to: &SalvageTo) -> Result<Salvage, String> {
    let _no_host = without_host(home)?;
    let ledger = home.ledger();
    let in_full = |e: LedgerError| in_full(&e);
    let new = match to {
        SalvageTo::File(file) => {
            let saved = salvage(&ledger, file).map_err(in_full)?;
            return Ok(Salvage {
                ledger: file.display().to_string(),
                damaged: None,
                saved,
            });
        }
        SalvageTo::Home => array_files::free_name(&ledger, "salvaged"),
    };
    let saved = salvage(&ledger, &new).map_err(in_full)?;
    let damaged = array_files::free_name(&ledger, "damaged");
    put_in_place(&ledger, &new, &damaged)
        .map_err(|e| format!("the salvaged ledger is `{}`: {e}", new.display()))?;
    Ok(Salvage {
        ledger: ledger.display().to_string(),
        damaged: Some(damaged.display().to_string()),
        saved,
    })
}

/// The damaged file keeps its write-ahead log; what SQLite shares between processes it makes anew.
fn put_in_place(ledger: &Path, new: &Path, damaged: &Path) -> io::Result<()> {
    let shared = |of: &Path| {
        let mut name = of.as_os_str().to_owned();
        name.push("-shm");
        PathBuf::from(name)
    };
    let if_there = |done: io::Result<()>| match done {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    // The log first: without it the damaged file is older, but no other's log is read with it.
    if_there(fs::rename(wal::log_of(ledger), wal::log_of(damaged)))?;
    if_there(fs::remove_file(shared(ledger)))?;
    fs::rename(ledger, damaged)?;
    for left in [wal::log_of(new), shared(new)] {
        if_there(fs::remove_file(left))?;
    }
    fs::rename(new, ledger)
}

fn look_at_log(ledger: &Path, findings: &mut Vec<Finding>) {
    let log = wal::log_of(ledger);
    let text = match wal::damage(ledger) {
        Ok(None) => return,
        Ok(Some(damage)) => format!(
            "`{}` is damaged from byte {} on, and {} commits behind that cannot be read",
            log.display(),
            damage.offset,
            damage.commits
        ),
        Err(e) => format!("cannot read `{}`: {e}", log.display()),
    };
    say(findings, Kind::Log, Vec::new(), text);
}

fn opened(ledger: &Path, findings: &mut Vec<Finding>) -> Option<SqliteLedger> {
    if !ledger.exists() {
        // What the files tell is found all the same.
        return SqliteLedger::in_memory().ok();
    }
    match open_to_check(ledger) {
        Ok(ledger) => Some(ledger),
        Err(e) => {
            say(findings, Kind::Unreadable, Vec::new(), in_full(&e));
            None
        }
    }
}

fn look_at_ledger(ledger: &mut SqliteLedger, findings: &mut Vec<Finding>) {
    let faults = ledger.faults();
    for text in faults.pages {
        say(findings, Kind::Pages, Vec::new(), text);
    }
    for text in faults.rows {
        say(findings, Kind::Rows, Vec::new(), text);
    }
}

fn look_at_files(
    home: &Home,
    ledger: &mut SqliteLedger,
    forget: bool,
    report: &mut Report,
) -> Result<(), LedgerError> {
    let mut ids: HashMap<i64, (ArrayId, bool)> = HashMap::new();
    for (row, id, has_ended) in ledger.array_rows()? {
        if let Ok(id) = id.parse() {
            ids.insert(row, (id, has_ended));
        }
    }
    report.arrays = ids.len() as u64;
    look_at_strays(home, &ids, forget, report);

    let (mut gone, mut missing) = (Vec::new(), Vec::new());
    for (id, has_ended) in ids.values() {
        if !home.job(id).exists() {
            match has_ended {
                true => gone.push(id.clone()),
                false => missing.push(id.clone()),
            }
        }
    }
    let findings = &mut report.findings;
    for (kind, mut arrays, what) in [
        (
            Kind::NoFiles,
            missing,
            "unfinished, with script and files missing",
        ),
        (
            Kind::OldFilesGone,
            gone,
            "ended, with script and files not there any more",
        ),
    ] {
        if !arrays.is_empty() {
            arrays.sort_unstable();
            let text = format!("{} {what}", counted(arrays.len() as u64, "array"));
            say(findings, kind, arrays, text);
        }
    }

    let mut short: HashMap<&ArrayId, u64> = HashMap::new();
    for (row, agent, len) in ledger.recorded_output()? {
        if let Some((id, _)) = ids.get(&row) {
            let there = fs::metadata(home.log(id, AgentId(agent))).map_or(0, |log| log.len());
            if there < len {
                *short.entry(id).or_default() += 1;
            }
        }
    }
    let mut short: Vec<_> = short.into_iter().collect();
    short.sort_unstable();
    for (id, logs) in short {
        let text = format!(
            "{id}: {} without output that is recorded",
            counted(logs, "log")
        );
        say(findings, Kind::ShortOutput, vec![id.clone()], text);
    }

    let mut all: Vec<&ArrayId> = ids.values().map(|(id, _)| id).collect();
    all.sort_unstable();
    for id in all {
        let known = ledger.agent_ids(id)?;
        let unknown = array_files::unknown_agents(home, id, &known).unwrap_or_default();
        if !unknown.is_empty() {
            let text = format!(
                "{id}: output of {} that the ledger, which is older, does not know",
                counted(unknown.len() as u64, "worker")
            );
            say(findings, Kind::NewerOutput, vec![id.clone()], text);
        }
    }
    Ok(())
}

fn look_at_strays(
    home: &Home,
    ids: &HashMap<i64, (ArrayId, bool)>,
    forget: bool,
    report: &mut Report,
) {
    let known: HashSet<ArrayId> = ids.values().map(|(id, _)| id.clone()).collect();
    let strays = match array_files::strays(home, &known) {
        Ok(strays) => strays,
        Err(e) => {
            let text = format!("cannot look through {}: {e}", home.arrays().display());
            say(&mut report.findings, Kind::Unreadable, Vec::new(), text);
            return;
        }
    };
    let mut left = strays.launched;
    if forget {
        let damaged = report.is_damaged();
        for id in std::mem::take(&mut left) {
            // A damaged ledger may still give their records back.
            match (!damaged).then(|| array_files::put_aside(home, [&id])) {
                Some(Ok(())) => report.put_aside.push(id),
                _ => left.push(id),
            }
        }
    }
    if !left.is_empty() {
        let text = format!(
            "{} launched, with files under `{}` and no record",
            counted(left.len() as u64, "array"),
            home.arrays().display()
        );
        say(&mut report.findings, Kind::LostArrays, left, text);
    }
    if !strays.unfinished.is_empty() {
        let text = format!(
            "files of {} without a record, which nothing says were launched: such launches were \
             killed, and the host removes what they left after a day",
            counted(strays.unfinished.len() as u64, "array")
        );
        let arrays = strays.unfinished;
        say(&mut report.findings, Kind::KilledLaunches, arrays, text);
    }
}
