//! What changes tasks: claim, commit, release, the end of an agent, closing.
//!
//! Every call checks what it was given before it writes, so that an error it answers with leaves
//! nothing half done. An error of the storage fails the whole transaction.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::step;
use spawn_core::task::{Circumstances, Event, Illegal, Intent, Task, TaskState, Token, closing};
use spawn_ports::ledger::{
    AgentId, Claim, ClaimedTask, Commit, LedgerError, NewAgent, NewArray, dice,
};

use super::Fail;
use super::hot::{Hot, HotArray};
use super::reads;
use super::rows::{
    EndValues, Execution, StoredTask, end_columns, execution_from, spent_bytes, state_code,
    task_columns,
};

pub(super) const DUE: &str = concat!(
    "SELECT ",
    task_columns!(),
    " FROM tasks INDEXED BY tasks_handed_back WHERE array = ?1 AND state = 0 AND not_before <= ?2",
    " ORDER BY not_before, position LIMIT ?3"
);
pub(super) const NEXT_DUE: &str = "SELECT not_before FROM tasks INDEXED BY tasks_handed_back
     WHERE array = ?1 AND state = 0 AND not_before > ?2 ORDER BY not_before LIMIT 1";
pub(super) const RUNNING_BY_AGENT: &str = concat!(
    "SELECT ",
    task_columns!(),
    " FROM tasks INDEXED BY tasks_running WHERE array = ?1 AND agent = ?2 AND state = 1",
    " ORDER BY position"
);
pub(super) const FIRST_CLAIM: &str = "INSERT INTO tasks
     (array, position, state, attempt, token, agent, started_at, not_before)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
pub(super) const SAVE: &str = "UPDATE tasks SET state = ?3, attempt = ?4, token = ?5,
     not_before = ?6, spent = ?7, agent = ?8, started_at = ?9, ended_at = ?10, cause = ?11,
     exit_code = ?12, signal = ?13, message = ?14, log_offset = ?15, log_len = ?16
     WHERE array = ?1 AND position = ?2";

pub(super) fn submit(conn: &Connection, array: &NewArray, now: UnixMicros) -> Result<(), Fail> {
    let total = i64::try_from(array.total).ok().filter(|total| *total > 0);
    let total = total.ok_or_else(|| LedgerError::Storage {
        what: format!("an array cannot have {} tasks", array.total),
        source: None,
    })?;
    let taken = conn
        .prepare_cached("SELECT 1 FROM arrays WHERE id = ?1")?
        .exists([array.id.as_str()])?;
    if taken {
        return Err(LedgerError::Duplicate(array.id.clone()).into());
    }
    let budgets = serde_json::to_string(&array.budgets)
        .map_err(|e| Fail::Broken(format!("cannot write retry budgets: {e}")))?;
    conn.prepare_cached(
        "INSERT INTO arrays (id, name, spec, total, budgets, deadline, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        array.id.as_str(),
        array.name,
        array.spec,
        total,
        budgets,
        array.deadline.0,
        now.0
    ])?;
    conn.prepare_cached(
        "INSERT INTO progress (array, intent, fresh, next_token, pending, running, succeeded,
             failed, skipped, cancelled, interrupted, workers_lost)
         VALUES (?1, 0, 0, 1, ?2, 0, 0, 0, 0, 0, 0, 0)",
    )?
    .execute([conn.last_insert_rowid(), total])?;
    Ok(())
}

pub(super) fn enroll(
    conn: &Connection,
    agent: &NewAgent,
    now: UnixMicros,
) -> Result<AgentId, Fail> {
    let array = reads::frame(conn, &agent.array)?.row;
    conn.prepare_cached(
        "INSERT INTO agents (array, slot, pid, pid_started, boot, hostname, started_at,
             last_update, tasks_done)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 0)",
    )?
    .execute(params![
        array,
        agent.slot,
        agent.pid,
        agent.pid_started as i64,
        agent.boot,
        agent.hostname,
        now.0
    ])?;
    Ok(AgentId(conn.last_insert_rowid() as u64))
}

pub(super) fn claim(
    conn: &Connection,
    hot: &mut Hot,
    id: AgentId,
    want: u32,
    now: UnixMicros,
) -> Result<Claim, Fail> {
    let (agent, array) = hot.agent(conn, id)?;
    if agent.ended {
        return Err(LedgerError::UnknownAgent(id).into());
    }
    agent.heard(now, 0);
    let token = Token(array.next_token);
    let mut tasks = Vec::new();
    if array.handed_back() > 0 {
        for mut stored in due(conn, array.row, now, want)? {
            if let Some(earlier) = &stored.newest {
                remember(conn, array.row, &stored, earlier)?;
            }
            lease(array, &mut stored, token, id, now)?;
            save(conn, array.row, &stored)?;
            tasks.push(claimed(&stored));
        }
    }
    if array.intent == Intent::Run {
        let room = u64::from(want) - tasks.len() as u64;
        let last = array.total.min(array.fresh.saturating_add(room));
        for position in array.fresh..last {
            let mut stored = StoredTask::untouched(position);
            lease(array, &mut stored, token, id, now)?;
            insert(conn, array.row, &stored, id, now)?;
            tasks.push(claimed(&stored));
        }
        array.fresh = last;
    }
    let mut claim = Claim {
        token: Token(0),
        tasks,
        next_due: None,
        unfinished: array.counts.pending + array.counts.running,
    };
    if !claim.tasks.is_empty() {
        claim.token = token;
        array.next_token += 1;
        array.changed = true;
        if array.started_at.is_none() {
            array.started_at = Some(now);
            array.turned = true;
        }
    } else if array.handed_back() > 0 {
        claim.next_due = conn
            .prepare_cached(NEXT_DUE)?
            .query_row([array.row, now.0], |row| row.get(0).map(UnixMicros))
            .optional()?;
    }
    Ok(claim)
}

fn claimed(stored: &StoredTask) -> ClaimedTask {
    ClaimedTask {
        position: stored.position,
        attempt: stored.attempt,
    }
}

fn due(
    conn: &Connection,
    array: i64,
    now: UnixMicros,
    want: u32,
) -> rusqlite::Result<Vec<StoredTask>> {
    let mut query = conn.prepare_cached(DUE)?;
    let rows = query.query_map(params![array, now.0, want], StoredTask::from_row)?;
    rows.collect()
}

/// Makes the task run under `token`.
fn lease(
    array: &mut HotArray,
    stored: &mut StoredTask,
    token: Token,
    agent: AgentId,
    now: UnixMicros,
) -> Result<(), Fail> {
    let next = ask(array, stored, &Event::Claim { token }, now).map_err(|why| {
        Fail::Broken(format!(
            "task {} cannot be claimed though the ledger listed it: {why}",
            stored.position
        ))
    })?;
    stored.become_task(&next, next.ending.as_ref());
    stored.newest = Some(Execution {
        agent,
        started_at: now,
        ended_at: None,
        ending: None,
        log: None,
    });
    array
        .counts
        .shift(TaskState::Pending, TaskState::Running, 1);
    Ok(())
}

/// What the transition table says. Changes nothing.
fn ask(
    array: &HotArray,
    stored: &StoredTask,
    event: &Event,
    now: UnixMicros,
) -> Result<Task, Illegal> {
    let around = Circumstances {
        intent: array.intent,
        budgets: &array.budgets,
        now,
        dice: dice(stored.token, stored.position, stored.attempt),
    };
    step(&stored.task(array.intent), event, around)
}

pub(super) fn commit(
    conn: &Connection,
    hot: &mut Hot,
    id: AgentId,
    commits: &[Commit],
    now: UnixMicros,
) -> Result<Vec<Result<(), Illegal>>, Fail> {
    let (agent, array) = hot.agent(conn, id)?;
    let mut answers = Vec::with_capacity(commits.len());
    let mut done = 0;
    for commit in commits {
        let mut stored = reads::stored(conn, array.row, commit.position)?;
        let event = Event::Commit {
            token: commit.token,
            report: commit.report.clone(),
        };
        let answer = match ask(array, &stored, &event, now) {
            Err(illegal) => Err(illegal),
            Ok(next) => {
                let ending = commit.report.ending.clone();
                if let Some(newest) = &mut stored.newest {
                    newest.started_at = commit.started_at;
                    newest.log = Some(commit.log);
                }
                end_attempt(array, &mut stored, &next, ending, commit.ended_at);
                save(conn, array.row, &stored)?;
                done += 1;
                Ok(())
            }
        };
        answers.push(answer);
    }
    agent.heard(now, done);
    array.note_end(now);
    Ok(answers)
}

fn end_attempt(
    array: &mut HotArray,
    stored: &mut StoredTask,
    next: &Task,
    ending: Ending,
    ended_at: UnixMicros,
) {
    array.count(ending.cause);
    array.counts.shift(TaskState::Running, next.state, 1);
    array.changed = true;
    stored.become_task(next, Some(&ending));
    if let Some(newest) = &mut stored.newest {
        newest.ended_at = Some(ended_at);
        newest.ending = Some(ending);
    }
}

pub(super) fn release(
    conn: &Connection,
    hot: &mut Hot,
    id: AgentId,
    token: Token,
    positions: &[u64],
    now: UnixMicros,
) -> Result<Vec<Result<(), Illegal>>, Fail> {
    let (agent, array) = hot.agent(conn, id)?;
    let mut answers = Vec::with_capacity(positions.len());
    for position in positions {
        let mut stored = reads::stored(conn, array.row, *position)?;
        let answer = match ask(array, &stored, &Event::Release { token }, now) {
            Err(illegal) => Err(illegal),
            Ok(next) => {
                stored.newest = recall(conn, array.row, *position, next.attempt)?;
                let own = stored.newest.as_ref().and_then(|n| n.ending.clone());
                stored.become_task(&next, own.as_ref());
                save(conn, array.row, &stored)?;
                array.counts.shift(TaskState::Running, next.state, 1);
                array.changed = true;
                Ok(())
            }
        };
        answers.push(answer);
    }
    agent.heard(now, 0);
    array.note_end(now);
    Ok(answers)
}

pub(super) fn end_agent(
    conn: &Connection,
    hot: &mut Hot,
    id: AgentId,
    now: UnixMicros,
) -> Result<Vec<u64>, Fail> {
    let (agent, array) = hot.agent(conn, id)?;
    if agent.ended {
        return Ok(Vec::new());
    }
    let held: Vec<StoredTask> = conn
        .prepare_cached(RUNNING_BY_AGENT)?
        .query_map([array.row, id.0 as i64], StoredTask::from_row)?
        .collect::<Result<_, _>>()?;
    let mut positions = Vec::with_capacity(held.len());
    for mut stored in held {
        let token = stored.token;
        let next = ask(array, &stored, &Event::WorkerLost { token }, now).map_err(|why| {
            Fail::Broken(format!(
                "task {} cannot lose its worker though it runs: {why}",
                stored.position
            ))
        })?;
        end_attempt(
            array,
            &mut stored,
            &next,
            Ending::of(Cause::WorkerLost),
            now,
        );
        save(conn, array.row, &stored)?;
        positions.push(stored.position);
    }
    conn.prepare_cached("UPDATE agents SET ended_at = ?2 WHERE agent = ?1")?
        .execute([id.0 as i64, now.0])?;
    agent.ended = true;
    array.note_end(now);
    Ok(positions)
}

/// Closes the array with row id `row`, writing none of its tasks.
pub(super) fn close(
    conn: &Connection,
    hot: &mut Hot,
    row: i64,
    intent: Intent,
    now: UnixMicros,
) -> Result<(), Fail> {
    let array = hot.array(conn, row)?;
    if intent != Intent::Run && array.intent == Intent::Run && array.ended_at.is_none() {
        array.intent = intent;
        let (state, _) = closing(intent);
        let pending = array.counts.pending;
        array.counts.shift(TaskState::Pending, state, pending);
        array.changed = true;
        array.turned = true;
        array.note_end(now);
    }
    Ok(())
}

fn insert(
    conn: &Connection,
    array: i64,
    stored: &StoredTask,
    agent: AgentId,
    now: UnixMicros,
) -> rusqlite::Result<()> {
    conn.prepare_cached(FIRST_CLAIM)?.execute(params![
        array,
        stored.position as i64,
        state_code(stored.state),
        stored.attempt,
        stored.token.0 as i64,
        agent.0 as i64,
        now.0,
        stored.not_before.0,
    ])?;
    Ok(())
}

fn save(conn: &Connection, array: i64, stored: &StoredTask) -> rusqlite::Result<()> {
    let position = stored.position as i64;
    let state = state_code(stored.state);
    let token = stored.token.0 as i64;
    let spent = spent_bytes(&stored.spent);
    let end = EndValues::of(stored.newest.as_ref());
    let end = end.bind();
    let mut values: [&dyn ToSql; 16] = [&array; 16];
    values[1] = &position;
    values[2] = &state;
    values[3] = &stored.attempt;
    values[4] = &token;
    values[5] = &stored.not_before.0;
    values[6] = &spent;
    values[7..].copy_from_slice(&end);
    conn.prepare_cached(SAVE)?.execute(values.as_slice())?;
    Ok(())
}

/// Moves the newest attempt of a task that is claimed again into history.
fn remember(
    conn: &Connection,
    array: i64,
    stored: &StoredTask,
    earlier: &Execution,
) -> rusqlite::Result<()> {
    let position = stored.position as i64;
    let end = EndValues::of(Some(earlier));
    let end = end.bind();
    let mut values: [&dyn ToSql; 12] = [&array; 12];
    values[1] = &position;
    values[2] = &stored.attempt;
    values[3..].copy_from_slice(&end);
    conn.prepare_cached(concat!(
        "INSERT INTO attempts (array, position, attempt, ",
        end_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))?
    .execute(values.as_slice())?;
    Ok(())
}

/// Takes an attempt out of history: it is the newest one again.
fn recall(
    conn: &Connection,
    array: i64,
    position: u64,
    attempt: u32,
) -> rusqlite::Result<Option<Execution>> {
    if attempt == 0 {
        return Ok(None);
    }
    let key = params![array, position as i64, attempt];
    let found = conn
        .prepare_cached(concat!(
            "SELECT ",
            end_columns!(),
            " FROM attempts WHERE array = ?1 AND position = ?2 AND attempt = ?3"
        ))?
        .query_row(key, |row| execution_from(row, 0))
        .optional()?;
    conn.prepare_cached(
        "DELETE FROM attempts WHERE array = ?1 AND position = ?2 AND attempt = ?3",
    )?
    .execute(key)?;
    Ok(found.flatten())
}
