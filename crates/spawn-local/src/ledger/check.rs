//! Whether a ledger is whole: what SQLite says of the file, and whether its rows agree.

use std::path::Path;

use rusqlite::Connection;
use spawn_ports::ledger::LedgerError;

use super::rows::intent_from;
use super::tally::{self, Frame};
use super::{SqliteLedger, frozen, open};
use crate::submission::Submission;

/// As many complaints of SQLite are kept.
const COMPLAINTS: u32 = 20;

/// What is wrong with a ledger that can be opened.
#[derive(Debug, Default)]
pub struct Faults {
    /// What SQLite finds wrong with the file.
    pub pages: Vec<String>,
    /// How rows contradict each other.
    pub rows: Vec<String>,
}

/// Opens the ledger at `path` to be checked: also one of an older version, and one that cannot be
/// written to.
///
/// # Errors
/// As [`SqliteLedger::open_read_only`].
pub fn open_to_check(path: &Path) -> Result<SqliteLedger, LedgerError> {
    let conn = match open::read_only(path) {
        Ok(conn) => conn,
        Err(_) => frozen::open(path)?,
    };
    Ok(SqliteLedger::over(path, conn))
}

impl SqliteLedger {
    /// Everything that is wrong with it. Takes as long as reading all of the file.
    pub fn faults(&mut self) -> Faults {
        let mut faults = Faults::default();
        if let Err(e) = pages(&self.conn, &mut faults.pages) {
            faults.pages.push(e.to_string());
        }
        // All of one moment: a host may be writing.
        let looked = self.conn.execute_batch("BEGIN").and_then(|()| {
            let looked = rows(&self.conn, &mut faults.rows);
            self.conn.execute_batch("COMMIT").and(looked)
        });
        if let Err(e) = looked {
            let _ = self.conn.execute_batch("ROLLBACK");
            faults.pages.push(e.to_string());
        }
        faults
    }

    /// How long the log of each agent of an array must be to hold what is recorded of it.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file.
    pub fn recorded_output(&mut self) -> Result<Vec<(i64, u64, u64)>, LedgerError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT array, agent, max(log_offset + log_len) FROM (
                     SELECT array, agent, log_offset, log_len FROM tasks WHERE log_len > 0
                     UNION ALL SELECT array, agent, log_offset, log_len FROM attempts
                         WHERE log_len > 0)
                 WHERE agent IS NOT NULL GROUP BY array, agent",
            )?;
            let number = |r: &rusqlite::Row<'_>, at| r.get::<_, i64>(at).map(|n| n as u64);
            let found = query.query_map([], |r| Ok((r.get(0)?, number(r, 1)?, number(r, 2)?)))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    /// The row of each array, with its id and whether it has ended.
    ///
    /// # Errors
    /// [`LedgerError::Storage`], naming the file.
    pub fn array_rows(&mut self) -> Result<Vec<(i64, String, bool)>, LedgerError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached(
                "SELECT a.array, a.id, p.ended_at IS NOT NULL
                 FROM arrays a LEFT JOIN progress p USING (array) ORDER BY a.array",
            )?;
            let found = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}

fn pages(conn: &Connection, found: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut query = conn.prepare(&format!("PRAGMA integrity_check({COMPLAINTS})"))?;
    let mut lines = query.query([])?;
    while let Some(line) = lines.next()? {
        let line: String = line.get(0)?;
        if line != "ok" {
            found.extend(line.lines().map(str::to_owned));
        }
    }
    Ok(())
}

fn rows(conn: &Connection, found: &mut Vec<String>) -> rusqlite::Result<()> {
    for table in ["progress", "tasks", "attempts", "agents", "lanes"] {
        let orphans = conn.query_row(
            &format!("SELECT count(*) FROM {table} WHERE array NOT IN (SELECT array FROM arrays)"),
            [],
            |r| r.get::<_, i64>(0),
        )?;
        if orphans > 0 {
            found.push(format!("{orphans} rows of `{table}` are of no array"));
        }
    }
    let mut query = conn.prepare(
        "SELECT a.array, a.id, a.total, a.lanes, a.spec, p.intent, p.ended_at, p.next_token,
             p.pending, p.running, p.succeeded, p.failed, p.skipped, p.cancelled
         FROM arrays a LEFT JOIN progress p USING (array) ORDER BY a.array",
    )?;
    let mut arrays = query.query([])?;
    while let Some(r) = arrays.next()? {
        let (row, id): (i64, String) = (r.get(0)?, r.get(1)?);
        let mut say = |what: String| found.push(format!("{id}: {what}"));
        if let Err(e) = serde_json::from_str::<Submission>(r.get_ref(4)?.as_str()?) {
            say(format!("its specification cannot be read: {e}"));
        }
        let Some(intent) = r.get::<_, Option<i64>>(5)? else {
            say("its state is missing".to_owned());
            continue;
        };
        let sizes: Option<String> = r.get(3)?;
        let total = r.get::<_, i64>(2)? as u64;
        let frame = Frame::new(row, total, sizes.as_deref(), intent_from(intent)?);
        let fresh: Option<Vec<u64>> = tally::kept_fresh(conn, &frame)?.into_iter().collect();
        let Some(fresh) = fresh else {
            say("the state of one of its kinds of worker is missing".to_owned());
            continue;
        };
        let tally = tally::of(conn, &frame, &fresh)?;
        let kept = super::reads::counts_from(r, 8)?;
        if kept != tally.counts {
            say(format!(
                "it counts {kept:?}, and its rows are {:?}",
                tally.counts
            ));
        }
        let missing: u64 = tally.lanes.iter().map(|lane| lane.missing).sum();
        let beyond: u64 = tally.lanes.iter().map(|lane| lane.beyond).sum();
        if missing > 0 {
            say(format!("{missing} tasks that were started have no row"));
        }
        if beyond > 0 {
            say(format!("{beyond} tasks have a row and were never started"));
        }
        if r.get::<_, Option<i64>>(6)?.is_some() != tally.counts.all_ended() {
            say("whether it has ended is not what its tasks say".to_owned());
        }
        say_of_tasks(conn, row, r.get(7)?, &mut say)?;
    }
    Ok(())
}

fn say_of_tasks(
    conn: &Connection,
    row: i64,
    next_token: i64,
    say: &mut impl FnMut(String),
) -> rusqlite::Result<()> {
    let number = |sql: &str, key: &[i64]| {
        conn.prepare_cached(sql)?
            .query_row(rusqlite::params_from_iter(key), |r| r.get::<_, i64>(0))
    };
    let newer = number(
        "SELECT count(*) FROM tasks WHERE array = ?1 AND token >= ?2",
        &[row, next_token],
    )?;
    if newer > 0 {
        say(format!("{newer} tasks have a token that was never given"));
    }
    let lone = number(
        "SELECT count(*) FROM tasks t LEFT JOIN agents g USING (agent)
         WHERE t.array = ?1 AND t.state = 1 AND (g.agent IS NULL OR g.ended_at IS NOT NULL)",
        &[row],
    )?;
    if lone > 0 {
        say(format!("{lone} tasks run in no worker"));
    }
    Ok(())
}
