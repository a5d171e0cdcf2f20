//! Counting the tasks of an array from their rows, to hold against the counts that are kept.

use rusqlite::{Connection, OptionalExtension};
use spawn_core::counts::Counts;
use spawn_core::task::{Intent, TaskState, closing};

use super::rows::{json_from, seen_state};

/// An array, as far as its tasks are counted by it.
#[derive(Debug)]
pub(super) struct Frame {
    pub row: i64,
    pub total: u64,
    /// The first position of each lane and the one after its last.
    pub lanes: Vec<(u64, u64)>,
    pub intent: Intent,
}

impl Frame {
    /// The frame of an array from what is stored; a lane for all if the stored lanes do not fit.
    pub fn new(row: i64, total: u64, sizes: Option<&str>, intent: Intent) -> Frame {
        let sizes: Vec<u64> = sizes
            .and_then(|json| json_from(json).ok())
            .unwrap_or_default();
        let mut lanes = Vec::new();
        let mut first: u64 = 0;
        for size in &sizes {
            lanes.push((first, first.saturating_add(*size)));
            first = first.saturating_add(*size);
        }
        if sizes.len() < 2 || first != total {
            lanes = vec![(0, total)];
        }
        Frame {
            row,
            total,
            lanes,
            intent,
        }
    }
}

/// What the rows of one lane come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneTally {
    pub pending: u64,
    pub running: u64,
    /// Positions before `fresh` that have no row.
    pub missing: u64,
    /// Rows at `fresh` or behind it.
    pub beyond: u64,
}

/// What the rows of an array come to.
#[derive(Debug)]
pub(super) struct Tally {
    pub counts: Counts,
    pub lanes: Vec<LaneTally>,
}

/// Counts the rows of an array whose lanes have rows up to `fresh`.
pub(super) fn of(conn: &Connection, frame: &Frame, fresh: &[u64]) -> rusqlite::Result<Tally> {
    let mut counts = Counts::default();
    let mut lanes = Vec::with_capacity(frame.lanes.len());
    let mut by_state = conn.prepare_cached(
        "SELECT state, count(*) FROM tasks
         WHERE array = ?1 AND position >= ?2 AND position < ?3 GROUP BY state",
    )?;
    for ((first, end), fresh) in frame.lanes.iter().zip(fresh) {
        let mut lane = Counts::default();
        let mut rows = 0;
        let mut found = by_state.query([frame.row, *first as i64, *fresh as i64])?;
        while let Some(row) = found.next()? {
            let n = row.get::<_, i64>(1)? as u64;
            *of_state(&mut lane, seen_state(row.get(0)?, frame.intent)?) += n;
            rows += n;
        }
        let untouched = match frame.intent {
            Intent::Run => TaskState::Pending,
            closed => closing(closed).0,
        };
        let missing = fresh.saturating_sub(*first).saturating_sub(rows);
        *of_state(&mut lane, untouched) += end.saturating_sub(*fresh) + missing;
        lanes.push(LaneTally {
            pending: lane.pending,
            running: lane.running,
            missing,
            beyond: rows_between(conn, frame.row, *fresh, *end)?,
        });
        for state in TaskState::ALL {
            *of_state(&mut counts, state) += *of_state(&mut lane, state);
        }
    }
    Ok(Tally { counts, lanes })
}

fn of_state(counts: &mut Counts, state: TaskState) -> &mut u64 {
    match state {
        TaskState::Pending => &mut counts.pending,
        TaskState::Running => &mut counts.running,
        TaskState::Succeeded => &mut counts.succeeded,
        TaskState::Failed => &mut counts.failed,
        TaskState::Skipped => &mut counts.skipped,
        TaskState::Cancelled => &mut counts.cancelled,
    }
}

fn rows_between(conn: &Connection, row: i64, from: u64, to: u64) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT count(*) FROM tasks WHERE array = ?1 AND position >= ?2 AND position < ?3",
    )?
    .query_row([row, from as i64, to as i64], |r| {
        r.get::<_, i64>(0).map(|n| n as u64)
    })
}

/// Up to where the lanes of an array have rows, as it is kept; `None` for each that is not known.
pub(super) fn kept_fresh(conn: &Connection, frame: &Frame) -> rusqlite::Result<Vec<Option<u64>>> {
    let number = |r: &rusqlite::Row<'_>| r.get::<_, i64>(0).map(|n| n as u64);
    if frame.lanes.len() == 1 {
        let fresh = conn
            .prepare_cached("SELECT fresh FROM progress WHERE array = ?1")?
            .query_row([frame.row], number)
            .optional()?;
        return Ok(vec![fresh]);
    }
    let mut query =
        conn.prepare_cached("SELECT fresh FROM lanes WHERE array = ?1 AND lane = ?2")?;
    (0..frame.lanes.len())
        .map(|n| query.query_row([frame.row, n as i64], number).optional())
        .collect()
}
