//! Between items and what they mean: tasks and attempts.
//!
//! A task stored as pending in a closed array has been ended by the closing: its state is derived
//! at every read ([`closing`]), so closing writes no task. A task that ends in a closed array, and
//! one that stays ended when a part of its array is opened again, is stored as what ended it
//! ([`StoredTask::closed_by`]).

use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Spent;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Ending;
use spawn_core::task::{Intent, Task, TaskState, Token, closing};
use spawn_ports::ledger::{AgentId, AttemptRow, TaskRow};

use super::items::{Item, Read, from_json, number, text, to_json};
use super::{Fail, keys};

/// The most bytes of a message, of a last line, and of each text of a failed call. Were each byte
/// written as a JSON escape of six, an item would still be below the 400 KB that DynamoDB takes.
pub(super) const MESSAGE_BYTES: usize = 32 << 10;
pub(super) const LINE_BYTES: usize = 4 << 10;
pub(super) const CALL_BYTES: usize = 400;
/// The most kinds of failed calls.
pub(super) const CALLS: usize = 16;
/// What stands for what was cut off.
const CUT: &str = "...";

/// A task's item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredTask {
    pub position: u64,
    /// Pending also means: ended by the closing of its array.
    pub state: TaskState,
    /// Not [`Intent::Run`] if a closing of its array ended it, and it is stored so.
    pub closed_by: Intent,
    pub attempt: u32,
    pub token: Token,
    pub not_before: UnixMicros,
    pub spent: Spent,
    /// The newest attempt.
    pub newest: Option<AttemptRow>,
}

impl StoredTask {
    /// The task at a position that has no item.
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

    pub fn from_item(item: &Item) -> Result<StoredTask, Fail> {
        let position = keys::number_from(item.need_str("sk")?);
        let (state, closed_by) = state_from(item.need("st")?)?;
        Ok(StoredTask {
            position: position
                .ok_or_else(|| Fail::Broken("a task's key has no position".to_owned()))?,
            state,
            closed_by,
            attempt: item.need("at")?,
            token: Token(item.need("tk")?),
            not_before: UnixMicros(item.need("nb")?),
            spent: match item.string("sp") {
                Some(json) => from_json(json)?,
                None => Spent::default(),
            },
            newest: item.string("x").map(from_json).transpose()?,
        })
    }

    /// The whole item. `lane` is the lane of its position.
    pub fn to_item(&self, id: &ArrayId, lane: usize) -> Result<Item, Fail> {
        let mut item = keys::task(id, self.position);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("st", number(self.state_code()));
        put("at", number(self.attempt));
        put("tk", number(self.token.0));
        put("nb", number(self.not_before.0));
        if self.spent != Spent::default() {
            put("sp", text(to_json(&self.spent)?));
        }
        if let Some(newest) = &self.newest {
            put("x", text(to_json(newest)?));
        }
        if let Some((ip, is)) = self.found_by(id, lane) {
            put("ip", text(ip));
            put("is", text(is));
        }
        Ok(item)
    }

    /// Where the index lists it.
    fn found_by(&self, id: &ArrayId, lane: usize) -> Option<(String, String)> {
        let at = keys::ordered(self.position);
        match self.state {
            _ if self.closed_by != Intent::Run => None,
            TaskState::Pending => {
                let due = match self.token {
                    Token(0) => keys::NEVER_CLAIMED,
                    _ => self.not_before,
                };
                let is = format!("{}{at}", keys::ordered_time(due));
                Some((keys::waiting(id, lane), is))
            }
            TaskState::Failed => {
                let ended_at = self.newest.as_ref().and_then(|newest| newest.ended_at);
                let is = keys::ordered_time(ended_at.unwrap_or_default());
                Some((keys::failed(id), format!("{is}{at}")))
            }
            TaskState::Succeeded if self.is_doubtful() => Some((keys::doubtful(id), at)),
            _ => None,
        }
    }

    /// Whether the newest attempt had AWS calls that failed.
    pub fn is_doubtful(&self) -> bool {
        let newest = self.newest.as_ref();
        newest.is_some_and(|newest| !newest.failed_calls.is_empty())
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

    /// Takes over what a transition made of the task; `closed_by` is not [`Intent::Run`] if it
    /// ended because its array is closed so, however its newest attempt ended.
    pub fn become_task(&mut self, next: &Task, closed_by: Intent) {
        self.state = next.state;
        self.closed_by = closed_by;
        self.attempt = next.attempt;
        self.token = next.token;
        self.not_before = next.not_before;
        self.spent = next.spent;
    }

    /// Ends it as the closing of its array for `intent` does.
    pub fn close(&mut self, intent: Intent) {
        self.state = closing(intent).0;
        self.closed_by = intent;
    }

    /// The number that stands for its state.
    pub fn state_code(&self) -> i64 {
        match self.closed_by {
            Intent::Run => state_code(self.state),
            intent => closed_code(intent),
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

    /// Bytes of the newest attempt as it is stored.
    pub fn bytes(&self) -> usize {
        let newest = self.newest.as_ref().map(to_json);
        newest.and_then(Result::ok).map_or(0, |json| json.len())
    }

    /// The agent of the newest attempt.
    pub fn holder(&self) -> Option<AgentId> {
        self.newest.as_ref().map(|newest| newest.agent)
    }
}

/// An earlier attempt's item.
pub(super) fn attempt_item(
    id: &ArrayId,
    position: u64,
    attempt: &AttemptRow,
) -> Result<Item, Fail> {
    let mut item = keys::attempt(id, position, attempt.attempt);
    item.insert("x".to_owned(), text(to_json(attempt)?));
    Ok(item)
}

/// Cuts what is too long for an item.
pub(super) fn bound(attempt: &mut AttemptRow) {
    if let Some(ending) = &mut attempt.ending {
        let message = ending.message.iter_mut();
        message.for_each(|text| cut(text, MESSAGE_BYTES));
        let line = ending.last_stderr.iter_mut();
        line.for_each(|text| cut(text, LINE_BYTES));
    }
    attempt.failed_calls.truncate(CALLS);
    for call in &mut attempt.failed_calls {
        let texts = [&mut call.service, &mut call.operation, &mut call.code];
        let texts = texts.into_iter().chain(call.resource.as_mut());
        texts.for_each(|text| cut(text, CALL_BYTES));
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = text.floor_char_boundary(most - CUT.len());
        text.truncate(end);
        text.push_str(CUT);
    }
}

/// The number a state is stored as.
fn state_code(state: TaskState) -> i64 {
    match state {
        TaskState::Pending => 0,
        TaskState::Running => 1,
        TaskState::Succeeded => 2,
        TaskState::Failed => 3,
        TaskState::Skipped => 4,
        TaskState::Cancelled => 5,
    }
}

/// The number of a task that a closing for `intent` ended and that is stored so.
fn closed_code(intent: Intent) -> i64 {
    5 + intent_code(intent)
}

/// All numbers of tasks that readers see in `state`, in an array with this intent.
pub(super) fn state_codes(state: TaskState, intent: Intent) -> Vec<i64> {
    let seen = |code: i64| match state_from(code) {
        Ok((TaskState::Pending, _)) => closing(intent).0 == state,
        Ok((found, _)) => found == state,
        Err(_) => false,
    };
    (0..=closed_code(Intent::Halted))
        .filter(|c| seen(*c))
        .collect()
}

/// The state that a number stands for, and the intent of the closing that gave it.
fn state_from(code: i64) -> Result<(TaskState, Intent), Fail> {
    let closings = Intent::ALL.into_iter().filter(|i| *i != Intent::Run);
    for intent in closings {
        if closed_code(intent) == code {
            return Ok((closing(intent).0, intent));
        }
    }
    let known = TaskState::ALL.into_iter().find(|s| state_code(*s) == code);
    let state = known.ok_or_else(|| Fail::Broken(format!("unknown task state {code}")))?;
    Ok((state, Intent::Run))
}

pub(super) fn intent_code(intent: Intent) -> i64 {
    match intent {
        Intent::Run => 0,
        Intent::Cancel => 1,
        Intent::Expired => 2,
        Intent::Halted => 3,
    }
}

pub(super) fn intent_from(code: i64) -> Result<Intent, Fail> {
    let found = Intent::ALL.into_iter().find(|i| intent_code(*i) == code);
    found.ok_or_else(|| Fail::Broken(format!("unknown intent {code}")))
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
        assert_eq!(state_codes(TaskState::Pending, Intent::Run), [0]);
        assert_eq!(state_codes(TaskState::Failed, Intent::Run), [3, 7]);
        assert_eq!(state_codes(TaskState::Failed, Intent::Expired), [0, 3, 7]);
        assert!(state_codes(TaskState::Pending, Intent::Cancel).is_empty());
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let mut text = "ü".repeat(20);
        cut(&mut text, 10);
        assert_eq!(text, "üüü...");
    }
}
