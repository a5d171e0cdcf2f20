//! Making rows that were saved agree with each other.
//!
//! - A task whose row is lost counts as never run. In an array that was open it runs again, as after
//!   any crash that took its outcome. In one that had ended nothing starts unasked: such a task is
//!   cancelled, and `spawn retry` runs it.
//! - An array whose state is lost is closed, unless all of its tasks had ended.
//! - Counts follow from the rows.

use rusqlite::{Connection, OptionalExtension, params};
use spawn_core::counts::Counts;
use spawn_core::task::Intent;

use super::super::rows::{NEVER_CLAIMED, closed_code, intent_code, intent_from};
use super::super::tally::{self, Frame};
use super::Salvaged;

/// What is kept of an array beside its rows.
struct Kept {
    intent: Intent,
    has_ended: bool,
    next_token: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

/// Repairs a ledger that holds what could be saved, and counts what it holds then.
pub(super) fn make_whole(conn: &Connection, saved: &mut Salvaged) -> rusqlite::Result<()> {
    for table in ["progress", "tasks", "attempts", "agents", "lanes"] {
        let orphans = format!("DELETE FROM {table} WHERE array NOT IN (SELECT array FROM arrays)");
        saved.without_array += conn.execute(&orphans, [])? as u64;
    }
    // What a task's own row says is newer.
    conn.execute_batch(
        "DELETE FROM attempts WHERE EXISTS (SELECT 1 FROM tasks t WHERE t.array = attempts.array
             AND t.position = attempts.position AND t.attempt <= attempts.attempt)",
    )?;
    let mut query = conn.prepare("SELECT array, total, lanes FROM arrays ORDER BY array")?;
    let arrays: Vec<(i64, i64, Option<String>)> = query
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (row, total, sizes) in arrays {
        let kept = kept(conn, row)?;
        let intent = kept.as_ref().map_or(Intent::Run, |kept| kept.intent);
        let frame = Frame::new(row, total as u64, sizes.as_deref(), intent);
        array(conn, frame, kept, saved)?;
    }
    agents(conn)?;
    let count = |table: &str| {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| {
            r.get::<_, i64>(0).map(|n| n as u64)
        })
    };
    saved.arrays = count("arrays")?;
    saved.tasks = count("tasks")?.saturating_sub(saved.tasks_lost);
    saved.attempts = count("attempts")?;
    saved.agents = count("agents")?;
    Ok(())
}

fn kept(conn: &Connection, row: i64) -> rusqlite::Result<Option<Kept>> {
    conn.prepare_cached(
        "SELECT intent, ended_at, next_token, started_at FROM progress WHERE array = ?1",
    )?
    .query_row([row], |r| {
        let ended_at: Option<i64> = r.get(1)?;
        Ok(Kept {
            intent: intent_from(r.get(0)?)?,
            has_ended: ended_at.is_some(),
            next_token: r.get(2)?,
            started_at: r.get(3)?,
            ended_at,
        })
    })
    .optional()
}

fn array(
    conn: &Connection,
    mut frame: Frame,
    kept: Option<Kept>,
    saved: &mut Salvaged,
) -> rusqlite::Result<()> {
    conn.execute(
        "DELETE FROM tasks WHERE array = ?1 AND (position < 0 OR position >= ?2)",
        [frame.row, frame.total as i64],
    )?;
    let mut fresh = Vec::with_capacity(frame.lanes.len());
    for ((first, end), known) in frame.lanes.iter().zip(tally::kept_fresh(conn, &frame)?) {
        let last: Option<i64> = conn.query_row(
            "SELECT max(position) FROM tasks WHERE array = ?1 AND position >= ?2 AND position < ?3",
            [frame.row, *first as i64, *end as i64],
            |r| r.get(0),
        )?;
        let after_rows = last.map_or(*first, |last| last as u64 + 1);
        fresh.push(known.unwrap_or(*first).clamp(after_rows, *end));
    }
    let mut missing = 0;
    for lane in tally::of(conn, &frame, &fresh)?.lanes {
        missing += lane.missing;
    }
    let kept = match kept {
        Some(kept) => kept,
        None => {
            let counts = tally::of(conn, &frame, &fresh)?.counts;
            let has_ended = counts.all_ended() && missing == 0;
            if !has_ended {
                frame.intent = Intent::Cancel;
                saved.closed += 1;
            }
            from_rows(conn, &frame, has_ended)?
        }
    };
    let lost_are = match (kept.intent, kept.has_ended) {
        (Intent::Run, true) => closed_code(Intent::Cancel),
        _ => 0,
    };
    if missing > 0 {
        saved.tasks_lost += missing;
        for ((first, _), fresh) in frame.lanes.iter().zip(&fresh) {
            give_rows(conn, frame.row, (*first, *fresh), lost_are)?;
        }
    }
    write(conn, &frame, &fresh, &kept)
}

fn from_rows(conn: &Connection, frame: &Frame, has_ended: bool) -> rusqlite::Result<Kept> {
    let (started_at, ended_at, created_at) = conn.query_row(
        "SELECT min(t.started_at), max(t.ended_at), a.created_at
         FROM arrays a LEFT JOIN tasks t USING (array) WHERE a.array = ?1",
        [frame.row],
        |r| Ok((r.get(0)?, r.get::<_, Option<i64>>(1)?, r.get::<_, i64>(2)?)),
    )?;
    Ok(Kept {
        intent: frame.intent,
        has_ended,
        next_token: 1,
        started_at,
        ended_at: Some(ended_at.unwrap_or(created_at)),
    })
}

/// Rows for the positions of a range that have none. The next attempt is numbered after those that
/// are known.
fn give_rows(
    conn: &Connection,
    row: i64,
    (first, end): (u64, u64),
    state: i64,
) -> rusqlite::Result<()> {
    if first >= end {
        return Ok(());
    }
    conn.prepare_cached(
        "WITH RECURSIVE every (position) AS
             (VALUES (?2) UNION ALL SELECT position + 1 FROM every WHERE position + 1 < ?3)
         INSERT OR IGNORE INTO tasks (array, position, state, attempt, token, not_before)
         SELECT ?1, position, ?4, ifnull((SELECT max(attempt) FROM attempts a
             WHERE a.array = ?1 AND a.position = every.position), 0), 0, ?5 FROM every",
    )?
    .execute(params![
        row,
        first as i64,
        end as i64,
        state,
        NEVER_CLAIMED.0
    ])?;
    Ok(())
}

fn write(conn: &Connection, frame: &Frame, fresh: &[u64], kept: &Kept) -> rusqlite::Result<()> {
    let tally = tally::of(conn, frame, fresh)?;
    let counts: &Counts = &tally.counts;
    let highest: Option<i64> = conn.query_row(
        "SELECT max(token) FROM tasks WHERE array = ?1",
        [frame.row],
        |r| r.get(0),
    )?;
    let ended_at = kept.ended_at.filter(|_| counts.all_ended());
    let ended_at = match (ended_at, counts.all_ended()) {
        (None, true) => from_rows(conn, frame, true)?.ended_at,
        (ended_at, _) => ended_at,
    };
    let of_attempts = |cause: i64| -> rusqlite::Result<i64> {
        conn.prepare_cached(
            "SELECT (SELECT count(*) FROM attempts WHERE array = ?1 AND cause = ?2)
                 + (SELECT count(*) FROM tasks WHERE array = ?1 AND cause = ?2)",
        )?
        .query_row([frame.row, cause], |r| r.get(0))
    };
    conn.prepare_cached(
        "INSERT INTO progress (array, intent, fresh, next_token, pending, running, succeeded,
             failed, skipped, cancelled, interrupted, workers_lost, started_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (array) DO UPDATE SET fresh = ?3, next_token = ?4, pending = ?5,
             running = ?6, succeeded = ?7, failed = ?8, skipped = ?9, cancelled = ?10,
             ended_at = ?14",
    )?
    .execute(params![
        frame.row,
        intent_code(kept.intent),
        fresh[0] as i64,
        kept.next_token.max(highest.unwrap_or(0).saturating_add(1)),
        counts.pending as i64,
        counts.running as i64,
        counts.succeeded as i64,
        counts.failed as i64,
        counts.skipped as i64,
        counts.cancelled as i64,
        of_attempts(5)?,
        of_attempts(6)?,
        kept.started_at,
        ended_at,
    ])?;
    conn.execute("DELETE FROM lanes WHERE array = ?1", [frame.row])?;
    if frame.lanes.len() > 1 {
        for (n, (lane, fresh)) in tally.lanes.iter().zip(fresh).enumerate() {
            conn.prepare_cached(
                "INSERT INTO lanes (array, lane, fresh, pending, running)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute([
                frame.row,
                n as i64,
                *fresh as i64,
                lane.pending as i64,
                lane.running as i64,
            ])?;
        }
    }
    Ok(())
}

/// Agents that rows name and that are lost are put in place, so that no other gets their number. One
/// that holds a running task counts as alive: the host ends it, and the task goes back.
fn agents(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "INSERT OR IGNORE INTO agents (agent, array, slot, pid, pid_started, boot, hostname,
             started_at, last_update, ended_at, tasks_done, lane)
         SELECT agent, array, 0, 0, 0, '', 'unknown', ifnull(min(started_at), 0),
             ifnull(max(ended_at), 0), ifnull(max(ended_at), 0), count(*), 0
         FROM (SELECT agent, array, started_at, ended_at FROM tasks WHERE agent IS NOT NULL
             UNION ALL SELECT agent, array, started_at, ended_at FROM attempts)
         GROUP BY agent;
         UPDATE agents SET ended_at = NULL WHERE agent IN
             (SELECT agent FROM tasks WHERE state = 1);",
    )
}
