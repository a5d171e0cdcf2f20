//! What the ledger has lost, as far as the files beside it tell. It is said once, to the first command
//! that this host serves.

use std::fs;
use std::io;

use spawn_core::array_id::ArrayId;
use spawn_local::array_files::{self, Strays};
use spawn_local::home::Home;
use spawn_local::ledger::SqliteLedger;
use spawn_local::ledger::wal::{self, WalDamage};
use spawn_ports::ledger::{Ledger, LedgerError};

/// As many arrays are named; `spawn local check` names them all.
const NAMED: usize = 3;

/// Keeps a damaged write-ahead log aside, before SQLite goes on in it. What is to be said of it.
pub(crate) fn keep_damaged_log(home: &Home) -> Option<String> {
    let ledger = home.ledger();
    let WalDamage { commits, offset } = match wal::damage(&ledger) {
        Ok(damage) => damage?,
        Err(e) => {
            note!("cannot look through the ledger's log: {e}");
            return None;
        }
    };
    let log = wal::log_of(&ledger);
    let copy = array_files::free_name(&log, "damaged");
    let kept = match fs::copy(&log, &copy) {
        Ok(_) => format!("the damaged log is kept as `{}`", copy.display()),
        Err(e) => format!("it could not be kept ({e})"),
    };
    Some(format!(
        "the ledger's log `{}` is damaged from byte {offset} on: {} behind that cannot be read and \
         their outcomes are lost, so their tasks run again; {kept}",
        log.display(),
        counted(commits, "commit"),
    ))
}

/// What the files of arrays tell of records that are lost. What killed launches left is removed.
pub(crate) fn look(home: &Home, ledger: &mut SqliteLedger) -> Result<Vec<String>, LedgerError> {
    let mut said = Vec::new();
    match array_files::strays(home, &ledger.array_ids()?) {
        Ok(strays) if strays.launched.is_empty() => {
            for id in array_files::remove_killed_launches(home, &strays) {
                note!("{id}: removed what a launch left that was killed");
            }
        }
        // What looks like a killed launch may be another array whose record is lost.
        Ok(strays) => said.push(lost_arrays(home, &strays)),
        Err(e) => note!("cannot look through {}: {e}", home.arrays().display()),
    }
    for record in ledger.unfinished()? {
        let id = record.submitted.id;
        match unknown_agents(home, ledger, &id)? {
            Ok(0) => {}
            Ok(agents) => said.push(format!(
                "the ledger is older than the output of `{id}`: {} of it left output that the \
                 ledger does not know; what they had finished runs again",
                counted(agents, "worker"),
            )),
            Err(e) => note!("{id}: cannot look through its output: {e}"),
        }
    }
    for line in &said {
        note!("{line}");
    }
    Ok(said)
}

fn lost_arrays(home: &Home, strays: &Strays) -> String {
    let lost = &strays.launched;
    let mut named: Vec<String> = lost
        .iter()
        .take(NAMED)
        .map(|id| format!("`{id}`"))
        .collect();
    if lost.len() > NAMED {
        named.push(format!("{} more", lost.len() - NAMED));
    }
    format!(
        "the ledger has no record of {} that {} launched from this home ({}); files and output are \
         still under `{}`; `spawn local check` tells more, and `spawn local check --forget` puts \
         the files aside",
        counted(lost.len() as u64, "array"),
        if lost.len() == 1 { "was" } else { "were" },
        named.join(", "),
        home.arrays().display(),
    )
}

fn unknown_agents(
    home: &Home,
    ledger: &mut SqliteLedger,
    id: &ArrayId,
) -> Result<io::Result<u64>, LedgerError> {
    let known = ledger.agent_ids(id)?;
    Ok(array_files::unknown_agents(home, id, &known).map(|agents| agents.len() as u64))
}

pub(crate) fn counted(n: u64, word: &str) -> String {
    match n {
        1 => format!("1 {word}"),
        _ => format!("{n} {word}s"),
    }
}
