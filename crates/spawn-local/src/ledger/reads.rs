//! What readers ask for. Nothing here writes.

use std::collections::HashSet;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use spawn_core::array_id::ArrayId;
use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Intent, TaskState, closing};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, LaneCounts, LedgerError, NewAgent, NewArray,
    TaskQuery, TaskRow,
};

use super::Fail;
use super::rows::{
    DOUBTFUL, StoredTask, closed_code, end_columns, execution_from, intent_from, json_from,
    state_code, state_codes, task_columns, unknown,
};

/// Reads array records, up to the WHERE.
macro_rules! select_array {
    () => {
        "SELECT a.id, a.name, a.spec, a.total, a.budgets, a.deadline, a.created_at,
             p.started_at, p.ended_at, p.intent, p.interrupted, p.workers_lost,
             p.pending, p.running, p.succeeded, p.failed, p.skipped, p.cancelled,
             a.array, a.lanes, p.fresh
         FROM progress p JOIN arrays a USING (array)"
    };
}
/// Reads agent records, up to the WHERE.
macro_rules! select_agent {
    () => {
        "SELECT g.agent, a.id, g.slot, g.pid, g.pid_started, g.boot, g.hostname,
             g.started_at, g.last_update, g.ended_at, g.tasks_done, g.lane
         FROM agents g JOIN arrays a USING (array)"
    };
}

pub(super) const UNFINISHED: &str = concat!(
    select_array!(),
    " WHERE p.ended_at IS NULL ORDER BY p.array"
);
pub(super) const LIVE_AGENTS: &str = concat!(
    select_agent!(),
    " WHERE g.ended_at IS NULL ORDER BY g.agent"
);
pub(super) const RECENT_FAILURES: &str = concat!(
    "SELECT ",
    task_columns!(),
    " FROM tasks INDEXED BY tasks_failed WHERE array = ?1 AND state = 3",
    " ORDER BY ended_at DESC, position DESC LIMIT ?2"
);

pub(super) const DOUBTFUL_SUCCESSES: &str = concat!(
    "SELECT ",
    task_columns!(),
    " FROM tasks INDEXED BY tasks_marked WHERE array = ?1 AND state > 5 AND state = ?2",
    " ORDER BY position LIMIT ?3"
);

/// An array's row id and what reading its tasks takes.
pub(super) struct Frame {
    pub row: i64,
    pub lanes: Vec<Lane>,
    total: u64,
    intent: Intent,
}

/// A lane as stored.
pub(super) struct Lane {
    pub first: u64,
    pub end: u64,
    /// Positions from here to `end` have no rows.
    pub fresh: u64,
    pub counts: LaneCounts,
}

/// The frame of array `id`.
pub(super) fn frame(conn: &Connection, id: &ArrayId) -> Result<Frame, Fail> {
    let found = conn
        .prepare_cached(
            "SELECT p.pending, p.running, a.array, a.lanes, p.fresh, a.total, p.intent
             FROM arrays a JOIN progress p USING (array) WHERE a.id = ?1",
        )?
        .query_row([id.as_str()], |r| {
            let total = r.get::<_, i64>(5)? as u64;
            Ok(Frame {
                row: r.get(2)?,
                lanes: lanes_from(conn, r, total, counts_in_lane(r, 0)?, 2)?,
                total,
                intent: intent_from(r.get(6)?)?,
            })
        })
        .optional()?;
    Ok(found.ok_or_else(|| LedgerError::UnknownArray(id.clone()))?)
}

/// The lanes of the array with row id `row`, which must exist.
pub(super) fn lanes(conn: &Connection, row: i64) -> rusqlite::Result<Vec<Lane>> {
    conn.prepare_cached(
        "SELECT p.pending, p.running, a.array, a.lanes, p.fresh, a.total
         FROM arrays a JOIN progress p USING (array) WHERE a.array = ?1",
    )?
    .query_row([row], |r| {
        let total = r.get::<_, i64>(5)? as u64;
        lanes_from(conn, r, total, counts_in_lane(r, 0)?, 2)
    })
}

/// The lanes of an array from the columns `array, lanes, fresh`, `at` on. `all` is counted in the
/// whole array.
fn lanes_from(
    conn: &Connection,
    r: &Row<'_>,
    total: u64,
    all: LaneCounts,
    at: usize,
) -> rusqlite::Result<Vec<Lane>> {
    let sizes = lane_sizes(r, at + 1)?;
    if sizes.len() < 2 {
        return Ok(vec![Lane {
            first: 0,
            end: total,
            fresh: r.get::<_, i64>(at + 2)? as u64,
            counts: all,
        }]);
    }
    let mut query = conn.prepare_cached(
        "SELECT pending, running, fresh FROM lanes WHERE array = ?1 ORDER BY lane",
    )?;
    let mut stored = query.query([r.get::<_, i64>(at)?])?;
    let mut lanes = Vec::with_capacity(sizes.len());
    let mut first = 0;
    for size in sizes {
        let lane = stored
            .next()?
            .ok_or_else(|| unknown("lane of", size as i64))?;
        lanes.push(Lane {
            first,
            end: first + size,
            fresh: lane.get::<_, i64>(2)? as u64,
            counts: counts_in_lane(lane, 0)?,
        });
        first += size;
    }
    Ok(lanes)
}

fn lane_sizes(r: &Row<'_>, at: usize) -> rusqlite::Result<Vec<u64>> {
    match r.get_ref(at)?.as_str_or_null()? {
        None => Ok(Vec::new()),
        Some(json) => json_from(json),
    }
}

fn counts_in_lane(r: &Row<'_>, at: usize) -> rusqlite::Result<LaneCounts> {
    Ok(LaneCounts {
        pending: count(r, at)?,
        running: count(r, at + 1)?,
    })
}

pub(super) fn array(conn: &Connection, id: &ArrayId) -> Result<Option<ArrayRecord>, Fail> {
    let mut query = conn.prepare_cached(concat!(select_array!(), " WHERE a.id = ?1"))?;
    Ok(query
        .query_row([id.as_str()], |r| array_from(conn, r))
        .optional()?)
}

pub(super) fn arrays(conn: &Connection, limit: u32) -> Result<Vec<ArrayRecord>, Fail> {
    let mut query =
        conn.prepare_cached(concat!(select_array!(), " ORDER BY p.array DESC LIMIT ?1"))?;
    let rows = query.query_map([limit], |r| array_from(conn, r))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn unfinished(conn: &Connection) -> Result<Vec<ArrayRecord>, Fail> {
    let mut query = conn.prepare_cached(UNFINISHED)?;
    let rows = query.query_map([], |r| array_from(conn, r))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn array_ids(conn: &Connection) -> Result<HashSet<ArrayId>, Fail> {
    let mut query = conn.prepare_cached("SELECT id FROM arrays")?;
    let ids = query.query_map([], |r| array_id(r, 0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

pub(super) fn agent_ids(conn: &Connection, id: &ArrayId) -> Result<HashSet<u64>, Fail> {
    let mut query = conn.prepare_cached("SELECT agent FROM agents WHERE array = ?1")?;
    let found = query.query_map([frame(conn, id)?.row], |r| {
        r.get::<_, i64>(0).map(|agent| agent as u64)
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn agents(
    conn: &Connection,
    id: &ArrayId,
    limit: u32,
) -> Result<Vec<AgentRecord>, Fail> {
    let mut query = conn.prepare_cached(concat!(
        select_agent!(),
        " WHERE g.array = ?1 ORDER BY g.agent DESC LIMIT ?2"
    ))?;
    let rows = query.query_map(params![frame(conn, id)?.row, limit], agent_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn agent(conn: &Connection, id: AgentId) -> Result<Option<AgentRecord>, Fail> {
    let Ok(row) = i64::try_from(id.0) else {
        return Ok(None);
    };
    let mut query = conn.prepare_cached(concat!(select_agent!(), " WHERE g.agent = ?1"))?;
    Ok(query.query_row([row], agent_from).optional()?)
}

pub(super) fn live_agents(conn: &Connection) -> Result<Vec<AgentRecord>, Fail> {
    let mut query = conn.prepare_cached(LIVE_AGENTS)?;
    let rows = query.query_map([], agent_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The stored task at a position, untouched if it has no row.
pub(super) fn stored(conn: &Connection, array: i64, position: u64) -> rusqlite::Result<StoredTask> {
    let found = stored_row(conn, array, position)?;
    Ok(found.unwrap_or_else(|| StoredTask::untouched(position)))
}

/// The row of the task at a position.
pub(super) fn stored_row(
    conn: &Connection,
    array: i64,
    position: u64,
) -> rusqlite::Result<Option<StoredTask>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        task_columns!(),
        " FROM tasks WHERE array = ?1 AND position = ?2"
    ))?
    .query_row([array, position as i64], StoredTask::from_row)
    .optional()
}

pub(super) fn task(
    conn: &Connection,
    id: &ArrayId,
    position: u64,
) -> Result<Option<TaskRow>, Fail> {
    let frame = frame(conn, id)?;
    if position >= frame.total {
        return Ok(None);
    }
    let task = stored(conn, frame.row, position)?;
    Ok(Some(task.into_seen(frame.intent)))
}

pub(super) fn tasks(conn: &Connection, id: &ArrayId, q: TaskQuery) -> Result<Vec<TaskRow>, Fail> {
    let frame = frame(conn, id)?;
    let mut rows = Vec::new();
    if let Some(sql) = tasks_sql(q.state, frame.intent) {
        // No row lies beyond what an i64 holds.
        let from = i64::try_from(q.from).unwrap_or(i64::MAX);
        let mut query = conn.prepare_cached(&sql)?;
        let found = query.query_map(params![frame.row, from, q.limit], StoredTask::from_row)?;
        rows = found.collect::<Result<_, _>>()?;
    }
    // The rest has no rows and looks alike.
    let (untouched_state, _) = closing(frame.intent);
    let wanted = q.state.is_none_or(|state| state == untouched_state);
    let ranges = frame.lanes.iter().filter(|_| wanted);
    let untouched = ranges.flat_map(|lane| lane.fresh.max(q.from)..lane.end);
    let untouched = untouched.map(StoredTask::untouched);
    let both = in_order(rows.into_iter(), untouched).take(q.limit as usize);
    Ok(both.map(|task| task.into_seen(frame.intent)).collect())
}

/// Two series of tasks in order of position, made one.
fn in_order(
    left: impl Iterator<Item = StoredTask>,
    right: impl Iterator<Item = StoredTask>,
) -> impl Iterator<Item = StoredTask> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(l), Some(r)) if l.position < r.position => left.next(),
        (_, Some(_)) => right.next(),
        (_, None) => left.next(),
    })
}

/// The query for the rows of tasks that readers see in `state`; `None` if no row can be.
/// Few tasks are pending, running or failed: their own indexes find them and are sorted.
pub(super) fn tasks_sql(state: Option<TaskState>, intent: Intent) -> Option<String> {
    let closed = intent != Intent::Run;
    let select = |index: &str, which: &str| {
        format!(
            "SELECT {} FROM tasks {index} WHERE array = ?1 AND position >= ?2 {which}",
            task_columns!()
        )
    };
    let one_of = |mut codes: Vec<i64>, more: Option<i64>| {
        codes.extend(more);
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        format!("AND state IN ({})", codes.join(", "))
    };
    let rows = match state {
        None => select("", ""),
        Some(TaskState::Pending) if closed => return None,
        Some(TaskState::Pending) => select("INDEXED BY tasks_handed_back", "AND state = 0"),
        Some(TaskState::Running) => select("INDEXED BY tasks_running", "AND state = 1"),
        // Those that the closing ended are stored as pending.
        Some(state) if closed && state == closing(intent).0 => select(
            "",
            &one_of(state_codes(state), Some(state_code(TaskState::Pending))),
        ),
        Some(TaskState::Failed) => {
            let earlier = format!("AND state > 5 AND state = {}", closed_code(Intent::Expired));
            format!(
                "{} UNION ALL {}",
                select("INDEXED BY tasks_failed", "AND state = 3"),
                select("INDEXED BY tasks_marked", &earlier),
            )
        }
        Some(state) => select("", &one_of(state_codes(state), None)),
    };
    Some(format!("{rows} ORDER BY position LIMIT ?3"))
}

pub(super) fn attempts(
    conn: &Connection,
    id: &ArrayId,
    position: u64,
) -> Result<Vec<AttemptRow>, Fail> {
    let row = frame(conn, id)?.row;
    let mut query = conn.prepare_cached(concat!(
        "SELECT attempt, ",
        end_columns!(),
        " FROM attempts WHERE array = ?1 AND position = ?2 ORDER BY attempt"
    ))?;
    let mut found = Vec::new();
    let mut rows = query.query([row, position as i64])?;
    while let Some(row) = rows.next()? {
        if let Some(execution) = execution_from(row, 1)? {
            found.push(execution.into_attempt(row.get(0)?));
        }
    }
    let task = stored(conn, row, position)?;
    let attempt = task.attempt;
    found.extend(task.newest.map(|newest| newest.into_attempt(attempt)));
    Ok(found)
}

pub(super) fn recent_failures(
    conn: &Connection,
    id: &ArrayId,
    limit: u32,
) -> Result<Vec<TaskRow>, Fail> {
    let frame = frame(conn, id)?;
    let mut query = conn.prepare_cached(RECENT_FAILURES)?;
    let rows = query.query_map(params![frame.row, limit], StoredTask::from_row)?;
    let mut found = Vec::new();
    for stored in rows {
        found.push(stored?.into_seen(frame.intent));
    }
    Ok(found)
}

pub(super) fn doubtful_successes(
    conn: &Connection,
    id: &ArrayId,
    limit: u32,
) -> Result<Vec<TaskRow>, Fail> {
    let frame = frame(conn, id)?;
    let mut query = conn.prepare_cached(DOUBTFUL_SUCCESSES)?;
    let rows = query.query_map(params![frame.row, DOUBTFUL, limit], StoredTask::from_row)?;
    let mut found = Vec::new();
    for stored in rows {
        found.push(stored?.into_seen(frame.intent));
    }
    Ok(found)
}

fn array_from(conn: &Connection, r: &Row<'_>) -> rusqlite::Result<ArrayRecord> {
    let total = r.get::<_, i64>(3)? as u64;
    let counts = counts_from(r, 12)?;
    let all = LaneCounts {
        pending: counts.pending,
        running: counts.running,
    };
    let lanes = lanes_from(conn, r, total, all, 18)?;
    Ok(ArrayRecord {
        submitted: NewArray {
            id: array_id(r, 0)?,
            name: r.get(1)?,
            spec: r.get(2)?,
            total,
            budgets: json_from(r.get_ref(4)?.as_str()?)?,
            deadline: UnixMicros(r.get(5)?),
            lanes: lane_sizes(r, 19)?,
        },
        created_at: UnixMicros(r.get(6)?),
        started_at: r.get::<_, Option<i64>>(7)?.map(UnixMicros),
        ended_at: r.get::<_, Option<i64>>(8)?.map(UnixMicros),
        intent: intent_from(r.get(9)?)?,
        interrupted: r.get::<_, i64>(10)? as u64,
        workers_lost: r.get::<_, i64>(11)? as u64,
        counts,
        lanes: lanes.iter().map(|lane| lane.counts).collect(),
    })
}

fn agent_from(r: &Row<'_>) -> rusqlite::Result<AgentRecord> {
    Ok(AgentRecord {
        id: AgentId(r.get::<_, i64>(0)? as u64),
        enrolled: NewAgent {
            array: array_id(r, 1)?,
            slot: r.get(2)?,
            lane: r.get(11)?,
            pid: r.get(3)?,
            pid_started: r.get::<_, i64>(4)? as u64,
            boot: r.get(5)?,
            hostname: r.get(6)?,
        },
        started_at: UnixMicros(r.get(7)?),
        last_update: UnixMicros(r.get(8)?),
        ended_at: r.get::<_, Option<i64>>(9)?.map(UnixMicros),
        tasks_done: r.get::<_, i64>(10)? as u64,
    })
}

fn array_id(r: &Row<'_>, at: usize) -> rusqlite::Result<ArrayId> {
    let text = r.get_ref(at)?.as_str()?;
    text.parse()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(e)))
}

/// Counts from six columns, `at` on, in the order of [`Counts`].
pub(super) fn counts_from(r: &Row<'_>, at: usize) -> rusqlite::Result<Counts> {
    Ok(Counts {
        pending: count(r, at)?,
        running: count(r, at + 1)?,
        succeeded: count(r, at + 2)?,
        failed: count(r, at + 3)?,
        skipped: count(r, at + 4)?,
        cancelled: count(r, at + 5)?,
    })
}

fn count(r: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = r.get(at)?;
    u64::try_from(value).map_err(|_| unknown("count", value))
}
