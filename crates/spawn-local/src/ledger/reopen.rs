//! What opens arrays again, and keeps them open longer.
//!
//! While an array is closed, the tasks that its closing ended are stored as pending, or not at all.
//! Once it is open again that would mean that they wait: those that are not to run again are
//! marked, and get a row if they had none. If all that have none run again, none gets one.

use rusqlite::{Connection, params};
use spawn_core::index_set::IndexSet;
use spawn_core::moment::UnixMicros;
use spawn_core::task::{Event, Intent, TaskState, closing};
use spawn_ports::ledger::Reopen;

use super::Fail;
use super::hot::{Hot, HotLane};
use super::reads;
use super::rows::{StoredTask, closed_code};
use super::transitions::{ask, save};

/// Rows of failed tasks. Those stored as pending are among them if the array has expired.
pub(super) const FAILED: &str =
    "SELECT position FROM tasks INDEXED BY tasks_failed WHERE array = ?1 AND state = 3
     UNION ALL SELECT position FROM tasks INDEXED BY tasks_marked
         WHERE array = ?1 AND state > 5 AND state = ?2
     UNION ALL SELECT position FROM tasks INDEXED BY tasks_handed_back
         WHERE array = ?1 AND state = 0 AND ?3";
pub(super) const MARK_CLOSED: &str = "UPDATE tasks INDEXED BY tasks_handed_back SET state = ?2
     WHERE array = ?1 AND state = 0";

/// Moves the deadline of the array with row id `row`, if it is open.
pub(super) fn extend(
    conn: &Connection,
    hot: &mut Hot,
    row: i64,
    deadline: UnixMicros,
) -> Result<(), Fail> {
    let array = hot.array(conn, row)?;
    if array.intent == Intent::Run && array.ended_at.is_none() {
        set_deadline(conn, row, deadline)?;
    }
    Ok(())
}

fn set_deadline(conn: &Connection, row: i64, deadline: UnixMicros) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE arrays SET deadline = ?2 WHERE array = ?1")?
        .execute([row, deadline.0])?;
    Ok(())
}

/// Tasks without rows, of one lane, that run again.
enum Untouched {
    All(u64),
    /// These, in order.
    Some(Vec<u64>),
}

/// Opens the array with row id `row` again, if it has such tasks, and gives how many.
pub(super) fn reopen(
    conn: &Connection,
    hot: &mut Hot,
    row: i64,
    which: &Reopen,
    deadline: UnixMicros,
    now: UnixMicros,
) -> Result<u64, Fail> {
    let array = hot.array(conn, row)?;
    let closed_for = array.intent;
    let with_rows = match which {
        Reopen::Failed => failed(conn, row, closed_for)?,
        Reopen::Positions(set) => ended(conn, row, closed_for, set)?,
    };
    let mut without = Vec::with_capacity(array.lanes.len());
    let mut count = with_rows.len() as u64;
    for lane in &array.lanes {
        let these = untouched(lane, closed_for, which);
        count += match &these {
            Untouched::All(count) => *count,
            Untouched::Some(positions) => positions.len() as u64,
        };
        without.push(these);
    }
    if count == 0 {
        return Ok(0);
    }
    if closed_for != Intent::Run {
        let (closed, code) = (closing(closed_for).0, closed_code(closed_for));
        conn.prepare_cached(MARK_CLOSED)?.execute([row, code])?;
        for (lane, these) in without.into_iter().enumerate() {
            let again = match these {
                Untouched::All(count) => count,
                Untouched::Some(positions) => {
                    give_rows(conn, row, &array.lanes[lane], closed_for, &positions)?;
                    array.set_fresh(lane, array.lanes[lane].end);
                    positions.len() as u64
                }
            };
            array.shift_in(lane, closed, TaskState::Pending, again);
        }
    }
    array.intent = Intent::Run;
    array.ended_at = None;
    array.turned = true;
    set_deadline(conn, row, deadline)?;
    for position in with_rows {
        let mut stored = reads::stored(conn, row, position)?;
        let before = stored.task(Intent::Run).state;
        let next = ask(array, &stored, &Event::Reopen, now).map_err(|why| {
            Fail::Broken(format!(
                "task {position} cannot run again though it has ended: {why}"
            ))
        })?;
        stored.become_task(&next, false);
        save(conn, row, &stored)?;
        array.shift(position, before, next.state);
    }
    Ok(count)
}

/// Positions of failed tasks that have rows.
fn failed(conn: &Connection, row: i64, closed_for: Intent) -> rusqlite::Result<Vec<u64>> {
    let expired = closed_for == Intent::Expired;
    let key = params![row, closed_code(Intent::Expired), expired];
    conn.prepare_cached(FAILED)?
        .query_map(key, |r| r.get::<_, i64>(0).map(|at| at as u64))?
        .collect()
}

/// Those positions of a set whose tasks have rows and have ended.
fn ended(
    conn: &Connection,
    row: i64,
    closed_for: Intent,
    set: &IndexSet,
) -> rusqlite::Result<Vec<u64>> {
    let mut found = Vec::new();
    for position in set.iter() {
        let task = reads::stored_row(conn, row, position)?.map(|t| t.task(closed_for));
        if task.is_some_and(|task| task.state.is_terminal()) {
            found.push(position);
        }
    }
    Ok(found)
}

fn untouched(lane: &HotLane, closed_for: Intent, which: &Reopen) -> Untouched {
    let range = lane.fresh..lane.end;
    let all = range.end - range.start;
    let asked = match which {
        _ if closed_for == Intent::Run => Vec::new(),
        Reopen::Failed if closing(closed_for).0 == TaskState::Failed => {
            return Untouched::All(all);
        }
        Reopen::Failed => Vec::new(),
        Reopen::Positions(set) => {
            let mut asked: Vec<u64> = set.iter().filter(|at| range.contains(at)).collect();
            asked.sort_unstable();
            asked
        }
    };
    match asked.len() as u64 == all {
        true => Untouched::All(all),
        false => Untouched::Some(asked),
    }
}

/// Gives every task of a lane a row; `again` are those that are pending.
fn give_rows(
    conn: &Connection,
    array: i64,
    lane: &HotLane,
    closed_for: Intent,
    again: &[u64],
) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO tasks (array, position, state, attempt, token, not_before)
         VALUES (?1, ?2, ?3, 0, 0, ?4)",
    )?;
    let mut again = again.iter().copied().peekable();
    for position in lane.fresh..lane.end {
        let mut stored = StoredTask::untouched(position);
        if again.next_if_eq(&position).is_none() {
            (stored.state, _) = closing(closed_for);
            stored.closed_by = closed_for;
        }
        let (code, not_before) = (stored.state_code(), stored.not_before_code());
        insert.execute([array, position as i64, code, not_before])?;
    }
    Ok(())
}
