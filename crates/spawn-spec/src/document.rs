//! A file of settings or parameters as a tree, each piece with its place.
//!
//! Scalars keep the text of the file: `0.10`, `1e-3` and `007` are not numbers
//! here, so what a task is given is what the user wrote.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod toml;
pub(crate) mod yaml;

use crate::file_problem::FileProblem;
use crate::position::Position;

/// How deep lists and maps may stand in each other.
pub(crate) const MAX_DEPTH: usize = 32;

/// A value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub at: Position,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing: `null`, `~`, an empty cell.
    Null,
    /// A scalar without quotes, as the file spells it.
    Plain(String),
    /// A text in quotes or in a block, without them.
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Position,
    pub node: Node,
}

/// Why a text is no document.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed {
    pub at: Option<Position>,
    pub problem: FileProblem,
}

impl Malformed {
    pub fn new(at: Position, problem: FileProblem) -> Self {
        let at = Some(at);
        Self { at, problem }
    }
}

impl Node {
    /// The text of a scalar; nothing is the empty text.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Null => Some(""),
            Value::Plain(text) | Value::Text(text) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What messages call it.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Plain(_) | Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// A scalar as it is, a list or a map as compact JSON.
    pub fn to_text(&self) -> String {
        match self.scalar() {
            Some(text) => text.to_owned(),
            None => {
                let mut json = String::new();
                self.write_json(&mut json);
                json
            }
        }
    }

    fn write_json(&self, json: &mut String) {
        match &self.value {
            Value::Null => json.push_str("null"),
            Value::Plain(text) => match json_word(text) {
                Some(word) => json.push_str(word),
                None => json.push_str(&quoted(text)),
            },
            Value::Text(text) => json.push_str(&quoted(text)),
            Value::List(items) => {
                json.push('[');
                for (nth, item) in items.iter().enumerate() {
                    if nth > 0 {
                        json.push(',');
                    }
                    item.write_json(json);
                }
                json.push(']');
            }
            Value::Map(entries) => {
                json.push('{');
                for (nth, entry) in entries.iter().enumerate() {
                    if nth > 0 {
                        json.push(',');
                    }
                    json.push_str(&quoted(&entry.key));
                    json.push(':');
                    entry.node.write_json(json);
                }
                json.push('}');
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a plain scalar is in JSON, if it is no text there.
fn json_word(text: &str) -> Option<&str> {
    match text {
        "true" | "True" | "TRUE" => Some("true"),
        "false" | "False" | "FALSE" => Some("false"),
        _ => {
            let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
            number.then_some(text)
        }
    }
}

/// Refuses a key that a map has twice.
pub(crate) fn check_twice(entries: &[Entry]) -> Result<(), Malformed> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key).then(a.at.cmp(&b.at)));
    let twice = sorted
        .windows(2)
        .filter(|pair| pair[0].key == pair[1].key)
        .min_by_key(|pair| pair[1].at);
    match twice {
        None => Ok(()),
        Some(pair) => Err(Malformed::new(
            pair[1].at,
            FileProblem::KeyTwice {
                key: pair[1].key.clone(),
                first: pair[0].at,
            },
        )),
    }
}
