//! What changes tasks: claim, commit, release, the end of an agent, closing.
//!
//! Every call checks what it was given before it writes, so that an error it answers with leaves
//! nothing half done. An error of the storage fails the whole transaction.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{
    self, Circumstances, Event, Illegal, Intent, Task, TaskState, Token, closing, step,
};
use spawn_ports::ledger::{
    AgentId, Claim, ClaimedTask, Commit, LedgerError, NewAgent, NewArray, dice,
};

use super::Fail;
use super::hot::{Hot, HotArray, HotLane};
use super::reads;
use super::rows::{
    EndValues, Execution, StoredTask, end_columns, execution_from, spent_bytes, task_columns,
};

/// Reads handed-back tasks of a lane that are claimable, up to the condition on `not_before`.
macro_rules! select_handed_back {
    ($when:literal) => {
        concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks INDEXED BY tasks_handed_back WHERE array = ?1 AND state = 0 AND ",
            $when,
            " AND position >= ?4 AND position < ?5 ORDER BY not_before, position LIMIT ?3"
        )
    };
}
pub(super) const DUE: &str = select_handed_back!("not_before <= ?2");
/// Those whose wait is longer than any can be: the clock was set back. Never-claimed ones are
/// stored so that they come after them.
pub(super) const BEYOND_ANY_WAIT: &str = select_handed_back!("not_before > ?2");
pub(super) const NEXT_DUE: &str = "SELECT not_before FROM tasks INDEXED BY tasks_handed_back
     WHERE array = ?1 AND state = 0 AND not_before > ?2 AND not_before <= ?3
         AND position >= ?4 AND position < ?5
     ORDER BY not_before LIMIT 1";
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
     exit_code = ?12, signal = ?13, message = ?14, log_offset = ?15, log_len = ?16,
     last_stderr = ?17, peak_memory = ?18, cpu_micros = ?19, failed_calls = ?20
     WHERE array = ?1 AND position = ?2";

pub(super) fn submit(conn: &Connection, array: &NewArray, now: UnixMicros) -> Result<(), Fail> {
    let lanes = array.lane_ranges()?;
    let total = array.total as i64;
    let taken = conn
        .prepare_cached("SELECT 1 FROM arrays WHERE id = ?1")?
        .exists([array.id.as_str()])?;
    if taken {
        return Err(LedgerError::Duplicate(array.id.clone()).into());
    }
    let json = |what| move |e| Fail::Broken(format!("cannot write {what}: {e}"));
    let budgets = serde_json::to_string(&array.budgets).map_err(json("retry budgets"))?;
    let sizes = match array.lanes.as_slice() {
        [] => None,
        sizes => Some(serde_json::to_string(sizes).map_err(json("lanes"))?),
    };
    conn.prepare_cached(
        "INSERT INTO arrays (id, name, spec, total, budgets, deadline, created_at, lanes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        array.id.as_str(),
        array.name,
        array.spec,
        total,
        budgets,
        array.deadline.0,
        now.0,
        sizes
    ])?;
    let row = conn.last_insert_rowid();
    conn.prepare_cached(
        "INSERT INTO progress (array, intent, fresh, next_token, pending, running, succeeded,
             failed, skipped, cancelled, interrupted, workers_lost)
         VALUES (?1, 0, 0, 1, ?2, 0, 0, 0, 0, 0, 0, 0)",
    )?
    .execute([row, total])?;
    if lanes.len() > 1 {
        for (n, lane) in lanes.into_iter().enumerate() {
            let pending = lane.end - lane.start;
            conn.prepare_cached(
                "INSERT INTO lanes (array, lane, fresh, pending, running)
                 VALUES (?1, ?2, ?3, ?4, 0)",
            )?
            .execute([row, n as i64, lane.start as i64, pending as i64])?;
        }
    }
    Ok(())
}

pub(super) fn enroll(
    conn: &Connection,
    agent: &NewAgent,
    last: u64,
    now: UnixMicros,
) -> Result<AgentId, Fail> {
    let frame = reads::frame(conn, &agent.array)?;
    if agent.lane as usize >= frame.lanes.len() {
        return Err(LedgerError::UnknownLane {
            array: agent.array.clone(),
            lane: agent.lane,
        }
        .into());
    }
    conn.prepare_cached(
        "INSERT INTO agents (agent, array, slot, pid, pid_started, boot, hostname, started_at,
             last_update, tasks_done, lane)
         VALUES (max(ifnull((SELECT max(agent) FROM agents), 0), ?9) + 1,
             ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 0, ?8)",
    )?
    .execute(params![
        frame.row,
        agent.slot,
        agent.pid,
        agent.pid_started as i64,
        agent.boot,
        agent.hostname,
        now.0,
        agent.lane,
        last as i64
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
    let lane = agent.lane;
    if lane >= array.lanes.len() {
        let what = format!("agent {} serves lane {lane}, which is not there", id.0);
        return Err(Fail::Broken(what));
    }
    let token = Token(array.next_token);
    let mut tasks = Vec::new();
    if array.handed_back(lane) > 0 {
        for mut stored in due(conn, array, lane, now, want)? {
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
        let HotLane { fresh, end, .. } = array.lanes[lane];
        let last = end.min(fresh.saturating_add(room));
        for position in fresh..last {
            let mut stored = StoredTask::untouched(position);
            lease(array, &mut stored, token, id, now)?;
            insert(conn, array.row, &stored, id, now)?;
            tasks.push(claimed(&stored));
        }
        array.set_fresh(lane, last);
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
        if array.started_at.is_none() {
            array.started_at = Some(now);
            array.turned = true;
        }
    } else if array.handed_back(lane) > 0 {
        claim.next_due = next_due(conn, array, lane, now)?;
    }
    Ok(claim)
}

fn claimed(stored: &StoredTask) -> ClaimedTask {
    ClaimedTask {
        position: stored.position,
        attempt: stored.attempt,
    }
}

/// Up to `want` handed-back tasks of a lane that may be claimed, in the order to claim them.
fn due(
    conn: &Connection,
    array: &HotArray,
    lane: usize,
    now: UnixMicros,
    want: u32,
) -> rusqlite::Result<Vec<StoredTask>> {
    let HotLane { first, end, .. } = array.lanes[lane];
    let mut found = Vec::new();
    for (sql, bound) in [(DUE, now), (BEYOND_ANY_WAIT, latest_wait(array, now))] {
        let room = u64::from(want) - found.len() as u64;
        // Most are due in the ordinary way; the rest is looked for only if there is one.
        if room > 0 && array.handed_back(lane) > found.len() as u64 {
            let key = params![array.row, bound.0, room as i64, first as i64, end as i64];
            let mut query = conn.prepare_cached(sql)?;
            for stored in query.query_map(key, StoredTask::from_row)? {
                found.push(stored?);
            }
        }
    }
    Ok(found)
}

fn next_due(
    conn: &Connection,
    array: &HotArray,
    lane: usize,
    now: UnixMicros,
) -> rusqlite::Result<Option<UnixMicros>> {
    let HotLane { first, end, .. } = array.lanes[lane];
    let latest = latest_wait(array, now).0;
    conn.prepare_cached(NEXT_DUE)?
        .query_row(
            [array.row, now.0, latest, first as i64, end as i64],
            |row| row.get(0).map(UnixMicros),
        )
        .optional()
}

/// The end of the longest wait from now, and less than what a task is stored with that never
/// waited.
fn latest_wait(array: &HotArray, now: UnixMicros) -> UnixMicros {
    task::latest_wait(now, &array.budgets).min(UnixMicros(i64::MAX - 1))
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
    stored.become_task(&next, false);
    stored.newest = Some(Execution {
        agent,
        started_at: now,
        ended_at: None,
        ending: None,
        log: None,
        usage: None,
        failed_calls: Vec::new(),
    });
    array.shift(stored.position, TaskState::Pending, TaskState::Running);
    Ok(())
}

/// What the transition table says. Changes nothing.
pub(super) fn ask(
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
                    newest.usage = commit.usage;
                    newest.failed_calls = commit.failed_calls.clone();
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
    array.shift(stored.position, TaskState::Running, next.state);
    // What the attempt came to is not what the task did: the closing had the last word.
    let by_closing = next.state.is_terminal() && next.ending.as_ref() != Some(&ending);
    stored.become_task(next, by_closing);
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
                stored.become_task(&next, next.state.is_terminal());
                save(conn, array.row, &stored)?;
                array.shift(*position, TaskState::Running, next.state);
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
        for lane in 0..array.lanes.len() {
            let pending = array.lanes[lane].pending;
            array.shift_in(lane, TaskState::Pending, state, pending);
        }
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
        stored.state_code(),
        stored.attempt,
        stored.token.0 as i64,
        agent.0 as i64,
        now.0,
        stored.not_before_code(),
    ])?;
    Ok(())
}

pub(super) fn save(conn: &Connection, array: i64, stored: &StoredTask) -> rusqlite::Result<()> {
    let position = stored.position as i64;
    let state = stored.state_code();
    let token = stored.token.0 as i64;
    let not_before = stored.not_before_code();
    let spent = spent_bytes(&stored.spent);
    let end = EndValues::of(stored.newest.as_ref());
    let end = end.bind();
    let mut values: [&dyn ToSql; 20] = [&array; 20];
    values[1] = &position;
    values[2] = &state;
    values[3] = &stored.attempt;
    values[4] = &token;
    values[5] = &not_before;
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
    let mut values: [&dyn ToSql; 16] = [&array; 16];
    values[1] = &position;
    values[2] = &stored.attempt;
    values[3..].copy_from_slice(&end);
    conn.prepare_cached(concat!(
        "INSERT INTO attempts (array, position, attempt, ",
        end_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
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
