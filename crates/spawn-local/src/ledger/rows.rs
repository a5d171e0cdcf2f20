//! Between rows and what they mean.
//!
//! A task stored as pending in a closed array has been ended by the closing: its state is
//! derived at every read ([`closing`]), so closing writes no task. Once the array is open again
//! those that stay ended are stored as what ended them ([`StoredTask::closed_by`]).

use rusqlite::types::Type;
use rusqlite::{Row, ToSql};
use serde::de::DeserializeOwned;
use spawn_core::budgets::Spent;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::{FailedCall, Usage};
use spawn_core::outcome::{Cause, Ending};
use spawn_core::task::{Intent, Task, TaskState, Token, closing};
use spawn_ports::ledger::{AgentId, AttemptRow, LogSpan, TaskRow};

/// The columns of an attempt's end, in the order [`execution_from`] reads them.
macro_rules! end_columns {
    () => {
        "agent, started_at, ended_at, cause, exit_code, signal, message, log_offset, log_len, \
         last_stderr, peak_memory, cpu_micros, failed_calls"
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
    pub usage: Option<Usage>,
    pub failed_calls: Vec<FailedCall>,
}

/// A task's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredTask {
    pub position: u64,
    /// Pending also means: ended by the closing of its array.
    pub state: TaskState,
    /// Not [`Intent::Run`] if an earlier closing of its array ended it, and the array is open
    /// again.
    pub closed_by: Intent,
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
            closed_by: Intent::Run,
            attempt: 0,
            token: Token(0),
            not_before: UnixMicros(0),
            spent: Spent::default(),
            newest: None,
        }
    }

    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<StoredTask> {
        let (state, closed_by) = state_from(row.get(1)?)?;
        let not_before = UnixMicros(row.get(4)?);
        Ok(StoredTask {
            position: row.get::<_, i64>(0)? as u64,
            state,
            closed_by,
            attempt: row.get(2)?,
            token: Token(row.get::<_, i64>(3)? as u64),
            not_before: match not_before {
                NEVER_CLAIMED => UnixMicros(0),
                time => time,
            },
            spent: match row.get_ref(5)?.as_blob_or_null()? {
                Some(bytes) => spent_from(bytes)?,
                None => Spent::default(),
            },
            newest: execution_from(row, 6)?,
        })
    }

    /// State and ending as readers see them in an array with this intent.
    fn seen(&self, intent: Intent) -> (TaskState, Option<Ending>) {
        let closed_by = match self.state {
            TaskState::Pending => intent,
            _ => self.closed_by,
        };
        if closed_by != Intent::Run {
            let (state, cause) = closing(closed_by);
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

    /// Takes over what a transition made of the task; `by_closing` if it ended because its array
    /// is closed, however its newest attempt ended.
    pub fn become_task(&mut self, next: &Task, by_closing: bool) {
        self.state = match by_closing {
            true => TaskState::Pending,
            false => next.state,
        };
        self.closed_by = Intent::Run;
        self.attempt = next.attempt;
        self.token = next.token;
        self.not_before = next.not_before;
        self.spent = next.spent;
    }

    /// The number that stands for its state.
    pub fn state_code(&self) -> i64 {
        if self.closed_by != Intent::Run {
            return closed_code(self.closed_by);
        }
        let doubtful = || {
            self.newest
                .as_ref()
                .is_some_and(|n| !n.failed_calls.is_empty())
        };
        match self.state {
            TaskState::Succeeded if doubtful() => DOUBTFUL,
            state => state_code(state),
        }
    }

    /// What `not_before` is stored as.
    pub fn not_before_code(&self) -> i64 {
        match (self.state, self.token) {
            (TaskState::Pending, Token(0)) => NEVER_CLAIMED.0,
            _ => self.not_before.0,
        }
    }

    /// The task as readers see it.
    pub fn into_seen(self, intent: Intent) -> TaskRow {
        let (state, ending) = self.seen(intent);
        let newest = self.newest.as_ref();
        TaskRow {
            position: self.position,
            state,
            attempt: self.attempt,
            token: self.token,
            agent: newest.map(|n| n.agent),
            started_at: newest.map(|n| n.started_at),
            ended_at: newest.and_then(|n| n.ended_at),
            not_before: self.not_before,
            spent: self.spent,
            ending,
            log: newest.and_then(|n| n.log),
            usage: newest.and_then(|n| n.usage),
            failed_calls: self.newest.map_or_else(Vec::new, |n| n.failed_calls),
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
            usage: self.usage,
            failed_calls: self.failed_calls,
        }
    }
}

/// The end columns from column `at` on; `None` if nobody executed the task.
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
            last_stderr: row.get(at + 9)?,
        }),
    };
    let log = match row.get::<_, Option<i64>>(at + 7)? {
        None => None,
        Some(offset) => Some(LogSpan {
            offset: offset as u64,
            len: row.get::<_, i64>(at + 8)? as u64,
        }),
    };
    let usage = match row.get::<_, Option<i64>>(at + 10)? {
        None => None,
        Some(bytes) => Some(Usage {
            peak_memory_bytes: bytes as u64,
            cpu_micros: row.get::<_, i64>(at + 11)? as u64,
        }),
    };
    let failed_calls = match row.get_ref(at + 12)?.as_str_or_null()? {
        None => Vec::new(),
        Some(json) => json_from(json)?,
    };
    Ok(Some(Execution {
        agent: AgentId(agent as u64),
        started_at: UnixMicros(row.get(at + 1)?),
        ended_at: row.get::<_, Option<i64>>(at + 2)?.map(UnixMicros),
        ending,
        log,
        usage,
        failed_calls,
    }))
}

/// Values of the end columns, ready to be bound.
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
    pub last_stderr: Option<&'a str>,
    pub peak_memory: Option<i64>,
    pub cpu_micros: Option<i64>,
    pub failed_calls: Option<String>,
}

impl<'a> EndValues<'a> {
    pub fn of(execution: Option<&'a Execution>) -> EndValues<'a> {
        let ending = execution.and_then(|x| x.ending.as_ref());
        let log = execution.and_then(|x| x.log);
        let usage = execution.and_then(|x| x.usage);
        let failed_calls = execution.map_or(&[][..], |x| &x.failed_calls);
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
            last_stderr: ending.and_then(|e| e.last_stderr.as_deref()),
            peak_memory: usage.map(|u| u.peak_memory_bytes as i64),
            cpu_micros: usage.map(|u| u.cpu_micros as i64),
            failed_calls: match failed_calls {
                [] => None,
                calls => Some(serde_json::to_string(calls).expect("strings and numbers")),
            },
        }
    }

    pub fn bind(&self) -> [&dyn ToSql; 13] {
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
            &self.last_stderr,
            &self.peak_memory,
            &self.cpu_micros,
            &self.failed_calls,
        ]
    }
}

/// What `not_before` of a pending task is stored as that has a row and was never claimed: it goes
/// out after all that were handed back. Read as 0.
pub(super) const NEVER_CLAIMED: UnixMicros = UnixMicros(i64::MAX);

/// The number a state is stored as; the partial indexes of the schema name 0, 1, 3 and those
/// above 5.
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

/// The number of a task that a closing for `intent` ended, in an array that is open again.
pub(super) fn closed_code(intent: Intent) -> i64 {
    5 + intent_code(intent)
}

/// The number of a task that succeeded though AWS calls failed.
pub(super) const DOUBTFUL: i64 = 9;

/// All numbers of tasks that readers see in `state`, whatever is wanted of their array.
pub(super) fn state_codes(state: TaskState) -> Vec<i64> {
    let all = 0..=DOUBTFUL;
    all.filter(|code| state_from(*code).is_ok_and(|(found, _)| found == state))
        .collect()
}

/// The state that a number stands for, and the intent of the closing that gave it.
fn state_from(code: i64) -> rusqlite::Result<(TaskState, Intent)> {
    if code == DOUBTFUL {
        return Ok((TaskState::Succeeded, Intent::Run));
    }
    let closings = Intent::ALL.into_iter().filter(|i| *i != Intent::Run);
    for intent in closings {
        if closed_code(intent) == code {
            return Ok((closing(intent).0, intent));
        }
    }
    let known = TaskState::ALL.into_iter().find(|s| state_code(*s) == code);
    let state = known.ok_or_else(|| unknown("task state", code))?;
    Ok((state, Intent::Run))
}

/// The state that readers see of a task stored with a number, in an array with this intent.
pub(super) fn seen_state(code: i64, intent: Intent) -> rusqlite::Result<TaskState> {
    Ok(match (state_from(code)?.0, intent) {
        (state, Intent::Run) => state,
        (TaskState::Pending, closed) => closing(closed).0,
        (state, _) => state,
    })
}

pub(super) fn intent_code(intent: Intent) -> i64 {
    match intent {
        Intent::Run => 0,
        Intent::Cancel => 1,
        Intent::Expired => 2,
        Intent::Halted => 3,
    }
}

pub(super) fn intent_from(code: i64) -> rusqlite::Result<Intent> {
    let found = Intent::ALL.into_iter().find(|i| intent_code(*i) == code);
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
        Cause::Halted => 10,
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

/// What is stored as JSON.
pub(super) fn json_from<T: DeserializeOwned>(json: &str) -> rusqlite::Result<T> {
    serde_json::from_str(json)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))
}

/// The error for a value that no version of the schema writes.
pub(super) fn unknown(what: &str, value: i64) -> rusqlite::Error {
    let said = format!("unknown {what} {value}");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, said.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for state in TaskState::ALL {
            assert_eq!(state_from(state_code(state)).unwrap(), (state, Intent::Run));
        }
        for intent in Intent::ALL {
            assert_eq!(intent_from(intent_code(intent)).unwrap(), intent);
        }
        assert_eq!(state_codes(TaskState::Succeeded), [2, 9]);
        assert_eq!(state_codes(TaskState::Failed), [3, 7]);
        assert_eq!(state_codes(TaskState::Cancelled), [5, 6, 8]);
        for cause in Cause::ALL {
            assert_eq!(cause_from(cause_code(cause)).unwrap(), cause);
        }
        assert!(state_from(10).is_err() && cause_from(-1).is_err() && intent_from(4).is_err());
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
