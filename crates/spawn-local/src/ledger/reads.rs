//! What readers ask for. Nothing here writes.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Intent, TaskState, closing};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, AttemptRow, LedgerError, NewAgent, NewArray, TaskQuery,
    TaskRow,
};

use super::Fail;
use super::rows::{
    StoredTask, end_columns, execution_from, intent_from, state_code, task_columns, unknown,
};

/// Reads array records, up to the WHERE.
macro_rules! select_array {
    () => {
        "SELECT a.id, a.name, a.spec, a.total, a.budgets, a.deadline, a.created_at,
             p.started_at, p.ended_at, p.intent, p.interrupted, p.workers_lost,
             p.pending, p.running, p.succeeded, p.failed, p.skipped, p.cancelled
         FROM progress p JOIN arrays a USING (array)"
    };
}
/// Reads agent records, up to the WHERE.
macro_rules! select_agent {
    () => {
        "SELECT g.agent, a.id, g.slot, g.pid, g.pid_started, g.boot, g.hostname,
             g.started_at, g.last_update, g.ended_at, g.tasks_done
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

/// An array's row id and what reading its tasks takes.
pub(super) struct Frame {
    pub row: i64,
    total: u64,
    fresh: u64,
    intent: Intent,
}

/// The frame of array `id`.
pub(super) fn frame(conn: &Connection, id: &ArrayId) -> Result<Frame, Fail> {
    let found = conn
        .prepare_cached(
            "SELECT a.array, a.total, p.fresh, p.intent
             FROM arrays a JOIN progress p USING (array) WHERE a.id = ?1",
        )?
        .query_row([id.as_str()], |r| {
            Ok(Frame {
                row: r.get(0)?,
                total: r.get::<_, i64>(1)? as u64,
                fresh: r.get::<_, i64>(2)? as u64,
                intent: intent_from(r.get(3)?)?,
            })
        })
        .optional()?;
    Ok(found.ok_or_else(|| LedgerError::UnknownArray(id.clone()))?)
}

pub(super) fn array(conn: &Connection, id: &ArrayId) -> Result<Option<ArrayRecord>, Fail> {
    let mut query = conn.prepare_cached(concat!(select_array!(), " WHERE a.id = ?1"))?;
    Ok(query.query_row([id.as_str()], array_from).optional()?)
}

pub(super) fn arrays(conn: &Connection, limit: u32) -> Result<Vec<ArrayRecord>, Fail> {
    let mut query =
        conn.prepare_cached(concat!(select_array!(), " ORDER BY p.array DESC LIMIT ?1"))?;
    let rows = query.query_map([limit], array_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn unfinished(conn: &Connection) -> Result<Vec<ArrayRecord>, Fail> {
    let mut query = conn.prepare_cached(UNFINISHED)?;
    let rows = query.query_map([], array_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
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
    let found = conn
        .prepare_cached(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks WHERE array = ?1 AND position = ?2"
        ))?
        .query_row([array, position as i64], StoredTask::from_row)
        .optional()?;
    Ok(found.unwrap_or_else(|| StoredTask::untouched(position)))
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
    let limit = q.limit as usize;
    let mut found = Vec::new();
    if let Some(sql) = tasks_sql(q.state, frame.intent) {
        // No row lies beyond what an i64 holds.
        let from = i64::try_from(q.from).unwrap_or(i64::MAX);
        let mut query = conn.prepare_cached(&sql)?;
        let rows = query.query_map(params![frame.row, from, q.limit], StoredTask::from_row)?;
        for stored in rows {
            found.push(stored?.into_seen(frame.intent));
        }
    }
    // The rest has no rows and looks alike.
    let (untouched_state, _) = closing(frame.intent);
    if q.state.is_none_or(|state| state == untouched_state) {
        let untouched = frame.fresh.max(q.from)..frame.total;
        let room = limit.saturating_sub(found.len());
        let rest = untouched.take(room);
        found.extend(rest.map(|at| StoredTask::untouched(at).into_seen(frame.intent)));
    }
    Ok(found)
}

/// The query for the rows of tasks that readers see in `state`; `None` if no row can be.
/// Few tasks are pending, running or failed: their own indexes find them and are sorted.
pub(super) fn tasks_sql(state: Option<TaskState>, intent: Intent) -> Option<String> {
    let closed = intent != Intent::Run;
    let (index, which) = match state {
        None => ("", String::new()),
        Some(TaskState::Pending) if closed => return None,
        Some(TaskState::Pending) => ("INDEXED BY tasks_handed_back", "AND state = 0".into()),
        Some(TaskState::Running) => ("INDEXED BY tasks_running", "AND state = 1".into()),
        // Those that the closing ended are stored as pending.
        Some(state) if closed && state == closing(intent).0 => {
            ("", format!("AND state IN (0, {})", state_code(state)))
        }
        Some(TaskState::Failed) => ("INDEXED BY tasks_failed", "AND state = 3".into()),
        Some(state) => ("", format!("AND state = {}", state_code(state))),
    };
    Some(format!(
        "SELECT {} FROM tasks {index} WHERE array = ?1 AND position >= ?2 {which}
         ORDER BY position LIMIT ?3",
        task_columns!()
    ))
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

fn array_from(r: &Row<'_>) -> rusqlite::Result<ArrayRecord> {
    Ok(ArrayRecord {
        submitted: NewArray {
            id: array_id(r, 0)?,
            name: r.get(1)?,
            spec: r.get(2)?,
            total: r.get::<_, i64>(3)? as u64,
            budgets: budgets_from(r.get_ref(4)?.as_str()?)?,
            deadline: UnixMicros(r.get(5)?),
        },
        created_at: UnixMicros(r.get(6)?),
        started_at: r.get::<_, Option<i64>>(7)?.map(UnixMicros),
        ended_at: r.get::<_, Option<i64>>(8)?.map(UnixMicros),
        intent: intent_from(r.get(9)?)?,
        interrupted: r.get::<_, i64>(10)? as u64,
        workers_lost: r.get::<_, i64>(11)? as u64,
        counts: counts_from(r, 12)?,
    })
}

fn agent_from(r: &Row<'_>) -> rusqlite::Result<AgentRecord> {
    Ok(AgentRecord {
        id: AgentId(r.get::<_, i64>(0)? as u64),
        enrolled: NewAgent {
            array: array_id(r, 1)?,
            slot: r.get(2)?,
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
    let count = |n: usize| -> rusqlite::Result<u64> {
        let value: i64 = r.get(at + n)?;
        u64::try_from(value).map_err(|_| unknown("count", value))
    };
    Ok(Counts {
        pending: count(0)?,
        running: count(1)?,
        succeeded: count(2)?,
        failed: count(3)?,
        skipped: count(4)?,
        cancelled: count(5)?,
    })
}

pub(super) fn budgets_from(json: &str) -> rusqlite::Result<Budgets> {
    serde_json::from_str(json)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))
}
