//! Between rows and what they mean.
//!
//! A task stored as pending in a closed array has been ended by the closing: its state is
//! derived at every read ([`closing`]), so closing writes no task.

use rusqlite::types::Type;
use rusqlite::{Row, ToSql};
use spawn_core::budgets::Spent;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{Intent, Task, TaskState, Token, closing};
use spawn_ports::ledger::{AgentId, AttemptRow, LogSpan, TaskRow};

/// The columns of an attempt's end, in the order [`execution_from`] reads them.
macro_rules! end_columns {
    () => {
        "agent, started_at, ended_at, cause, exit_code, signal, message, log_offset, log_len"
    };
}
/// The columns of a task, in the order [`StoredTask::from_row`] reads them.
macro_rules! task_columns {
    () => {
        concat!(
            "position, state, attempt, token, not_before, spent, ",
            end_columns!()
        )
    };
}
pub(super) use {end_columns, task_columns};

/// One execution, as stored in a task's row or in `attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Execution {
    pub agent: AgentId,
    pub started_at: UnixMicros,
    pub ended_at: Option<UnixMicros>,
    pub ending: Option<Ending>,
    pub log: Option<LogSpan>,
}

/// A task's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredTask {
    pub position: u64,
    /// Pending also means: ended by the closing of its array.
    pub state: TaskState,
    pub attempt: u32,
    pub token: Token,
    pub not_before: UnixMicros,
    pub spent: Spent,
    pub newest: Option<Execution>,
}

impl StoredTask {
    /// The task at a position that has no row.
    pub fn untouched(position: u64) -> StoredTask {
        StoredTask {
            position,
            state: TaskState::Pending,
            attempt: 0,
            token: Token(0),
            not_before: UnixMicros(0),
            spent: Spent::default(),
            newest: None,
        }
    }

    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<StoredTask> {
        Ok(StoredTask {
            position: row.get::<_, i64>(0)? as u64,
            state: state_from(row.get(1)?)?,
            attempt: row.get(2)?,
            token: Token(row.get::<_, i64>(3)? as u64),
            not_before: UnixMicros(row.get(4)?),
            spent: match row.get_ref(5)?.as_blob_or_null()? {
                Some(bytes) => spent_from(bytes)?,
                None => Spent::default(),
            },
            newest: execution_from(row, 6)?,
        })
    }

    /// State and ending as readers see them.
    fn seen(&self, intent: Intent) -> (TaskState, Option<Ending>) {
        if self.state == TaskState::Pending && intent != Intent::Run {
            let (state, cause) = closing(intent);
            return (state, Some(Ending::of(cause)));
        }
        let ending = self.newest.as_ref().and_then(|n| n.ending.clone());
        (self.state, ending)
    }

    /// The task as the transition table wants it.
    pub fn task(&self, intent: Intent) -> Task {
        let (state, ending) = self.seen(intent);
        Task {
            state,
            attempt: self.attempt,
            token: self.token,
            not_before: self.not_before,
            spent: self.spent,
            ending,
        }
    }

    /// Takes over what a transition made of the task. `own` is how its newest attempt ended: a
    /// task that ended otherwise was ended by the closing of its array.
    pub fn become_task(&mut self, next: &Task, own: Option<&Ending>) {
        let by_closing = next.state.is_terminal() && next.ending.as_ref() != own;
        self.state = match by_closing {
            true => TaskState::Pending,
            false => next.state,
        };
        self.attempt = next.attempt;
        self.token = next.token;
        self.not_before = next.not_before;
        self.spent = next.spent;
    }

    /// The task as readers see it.
    pub fn into_seen(self, intent: Intent) -> TaskRow {
        let (state, ending) = self.seen(intent);
        TaskRow {
            position: self.position,
            state,
            attempt: self.attempt,
            token: self.token,
            agent: self.newest.as_ref().map(|n| n.agent),
            started_at: self.newest.as_ref().map(|n| n.started_at),
            ended_at: self.newest.as_ref().and_then(|n| n.ended_at),
            not_before: self.not_before,
            spent: self.spent,
            ending,
            log: self.newest.as_ref().and_then(|n| n.log),
        }
    }
}

impl Execution {
    pub fn into_attempt(self, attempt: u32) -> AttemptRow {
        AttemptRow {
            attempt,
            agent: self.agent,
            started_at: self.started_at,
            ended_at: self.ended_at,
            ending: self.ending,
            log: self.log,
        }
    }
}

/// The nine end columns from column `at` on; `None` if nobody executed the task.
pub(super) fn execution_from(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Execution>> {
    let Some(agent) = row.get::<_, Option<i64>>(at)? else {
        return Ok(None);
    };
    let ending = match row.get::<_, Option<i64>>(at + 3)? {
        None => None,
        Some(code) => Some(Ending {
            cause: cause_from(code)?,
            exit_code: row.get(at + 4)?,
            signal: row.get(at + 5)?,
            message: row.get(at + 6)?,
        }),
    };
    let log = match row.get::<_, Option<i64>>(at + 7)? {
        None => None,
        Some(offset) => Some(LogSpan {
            offset: offset as u64,
            len: row.get::<_, i64>(at + 8)? as u64,
        }),
    };
    Ok(Some(Execution {
        agent: AgentId(agent as u64),
        started_at: UnixMicros(row.get(at + 1)?),
        ended_at: row.get::<_, Option<i64>>(at + 2)?.map(UnixMicros),
        ending,
        log,
    }))
}

/// Values of the nine end columns, ready to be bound.
pub(super) struct EndValues<'a> {
    pub agent: Option<i64>,
    pub started_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub cause: Option<i64>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub message: Option<&'a str>,
    pub log_offset: Option<i64>,
    pub log_len: Option<i64>,
}

impl<'a> EndValues<'a> {
    pub fn of(execution: Option<&'a Execution>) -> EndValues<'a> {
        let ending = execution.and_then(|x| x.ending.as_ref());
        let log = execution.and_then(|x| x.log);
        EndValues {
            agent: execution.map(|x| x.agent.0 as i64),
            started_at: execution.map(|x| x.started_at.0),
            ended_at: execution.and_then(|x| x.ended_at).map(|t| t.0),
            cause: ending.map(|e| cause_code(e.cause)),
            exit_code: ending.and_then(|e| e.exit_code),
            signal: ending.and_then(|e| e.signal),
            message: ending.and_then(|e| e.message.as_deref()),
            log_offset: log.map(|l| l.offset as i64),
            log_len: log.map(|l| l.len as i64),
        }
    }

    pub fn bind(&self) -> [&dyn ToSql; 9] {
        [
            &self.agent,
            &self.started_at,
            &self.ended_at,
            &self.cause,
            &self.exit_code,
            &self.signal,
            &self.message,
            &self.log_offset,
            &self.log_len,
        ]
    }
}

/// The number a state is stored as; the partial indexes of the schema name 0, 1 and 3.
pub(super) fn state_code(state: TaskState) -> i64 {
    match state {
        TaskState::Pending => 0,
        TaskState::Running => 1,
        TaskState::Succeeded => 2,
        TaskState::Failed => 3,
        TaskState::Skipped => 4,
        TaskState::Cancelled => 5,
    }
}

fn state_from(code: i64) -> rusqlite::Result<TaskState> {
    let known = TaskState::ALL.into_iter().find(|s| state_code(*s) == code);
    known.ok_or_else(|| unknown("task state", code))
}

pub(super) fn intent_code(intent: Intent) -> i64 {
    match intent {
        Intent::Run => 0,
        Intent::Cancel => 1,
        Intent::Expired => 2,
    }
}

pub(super) fn intent_from(code: i64) -> rusqlite::Result<Intent> {
    let known = [Intent::Run, Intent::Cancel, Intent::Expired];
    let found = known.into_iter().find(|i| intent_code(*i) == code);
    found.ok_or_else(|| unknown("intent", code))
}

fn cause_code(cause: Cause) -> i64 {
    match cause {
        Cause::Succeeded => 0,
        Cause::Skipped => 1,
        Cause::Exit => 2,
        Cause::Timeout => 3,
        Cause::OutOfMemory => 4,
        Cause::Interrupted => 5,
        Cause::WorkerLost => 6,
        Cause::LaunchFailed => 7,
        Cause::Ttl => 8,
        Cause::Cancelled => 9,
    }
}

fn cause_from(code: i64) -> rusqlite::Result<Cause> {
    let known = Cause::ALL.into_iter().find(|c| cause_code(*c) == code);
    known.ok_or_else(|| unknown("cause", code))
}

/// Six counters of 4 bytes each, little endian; nothing for a task that has spent nothing.
pub(super) fn spent_bytes(spent: &Spent) -> Option<[u8; 24]> {
    if *spent == Spent::default() {
        return None;
    }
    let counters = [
        spent.exit,
        spent.timeout,
        spent.out_of_memory,
        spent.interrupted,
        spent.worker_lost,
        spent.launch_failed,
    ];
    let mut bytes = [0; 24];
    for (four, counter) in bytes.chunks_exact_mut(4).zip(counters) {
        four.copy_from_slice(&counter.to_le_bytes());
    }
    Some(bytes)
}

fn spent_from(bytes: &[u8]) -> rusqlite::Result<Spent> {
    let counter = |n: usize| -> rusqlite::Result<u32> {
        let four = bytes.get(4 * n..4 * n + 4).and_then(|b| b.try_into().ok());
        let four = four.ok_or_else(|| unknown("spent budgets, bytes", bytes.len() as i64))?;
        Ok(u32::from_le_bytes(four))
    };
    Ok(Spent {
        exit: counter(0)?,
        timeout: counter(1)?,
        out_of_memory: counter(2)?,
        interrupted: counter(3)?,
        worker_lost: counter(4)?,
        launch_failed: counter(5)?,
    })
}

/// The error for a value that no version of the schema writes.
pub(super) fn unknown(what: &str, value: i64) -> rusqlite::Error {
    let said = format!("unknown {what} {value}; the ledger's file is damaged");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, said.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for state in TaskState::ALL {
            assert_eq!(state_from(state_code(state)).unwrap(), state);
        }
        for cause in Cause::ALL {
            assert_eq!(cause_from(cause_code(cause)).unwrap(), cause);
        }
        assert!(state_from(6).is_err() && cause_from(-1).is_err() && intent_from(3).is_err());
    }

    #[test]
    fn spent_budgets_round_trip_and_nothing_spent_takes_no_space() {
        assert_eq!(spent_bytes(&Spent::default()), None);
        let spent = Spent {
            exit: 1,
            timeout: 2,
            out_of_memory: 3,
            interrupted: 400,
            worker_lost: u32::MAX,
            launch_failed: 6,
        };
        let bytes = spent_bytes(&spent).unwrap();
        assert_eq!(spent_from(&bytes).unwrap(), spent);
        assert!(spent_from(&bytes[..7]).is_err());
    }
}
