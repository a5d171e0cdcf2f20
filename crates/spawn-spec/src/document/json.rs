//! JSON. Numbers keep their spelling, and every value its place: pieces are taken as raw
//! slices of the text, whose address says where they are.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Entry, MAX_DEPTH, Malformed, Node, Value, check_twice};
use crate::file_problem::FileProblem;
use crate::position::{Lines, Position};

/// Reads a JSON text; `None` if there is nothing in it.
pub(crate) fn read(text: &str) -> Result<Option<Node>, Malformed> {
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let lines = Lines::of(text);
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| syntax(&error, None))?;
    let reader = Reader { text, lines };
    reader.node(raw, 0).map(Some)
}

fn syntax(error: &serde_json::Error, at: Option<Position>) -> Malformed {
    let at = at.unwrap_or_else(|| Position::new(error.line().max(1), error.column().max(1)));
    let message = error.to_string();
    // The place is said once, in front.
    let message = match message.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => message,
    };
    let format = "JSON";
    Malformed::new(at, FileProblem::Syntax { format, message })
}

struct Reader<'a> {
    text: &'a str,
    lines: Lines<'a>,
}

impl<'a> Reader<'a> {
    fn position(&self, raw: &RawValue) -> Position {
        let from = self.text.as_ptr().addr();
        self.lines
            .position(raw.get().as_ptr().addr().saturating_sub(from))
    }

    fn node(&self, raw: &'a RawValue, depth: usize) -> Result<Node, Malformed> {
        let at = self.position(raw);
        if depth > MAX_DEPTH {
            return Err(Malformed::new(at, FileProblem::TooDeep));
        }
        let text = raw.get();
        let value = match text.as_bytes().first() {
            Some(b'"') => Value::Text(self.string(raw)?),
            Some(b'n') => Value::Null,
            Some(b'[') => {
                let items = pieces(text, Pieces::list, at)?;
                let items = items.into_iter().map(|raw| self.node(raw, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let pairs = pieces(text, Pieces::map, at)?;
                let entries = pairs.chunks_exact(2).map(|pair| {
                    Ok(Entry {
                        key: self.string(pair[0])?,
                        at: self.position(pair[0]),
                        node: self.node(pair[1], depth + 1)?,
                    })
                });
                let entries = entries.collect::<Result<Vec<_>, _>>()?;
                check_twice(&entries)?;
                Value::Map(entries)
            }
            _ => Value::Plain(text.to_owned()),
        };
        Ok(Node { at, value })
    }

    fn string(&self, raw: &RawValue) -> Result<String, Malformed> {
        serde_json::from_str(raw.get()).map_err(|error| syntax(&error, Some(self.position(raw))))
    }
}

type Read<'a> = fn(
    &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>,
) -> Result<Vec<&'a RawValue>, serde_json::Error>;

fn pieces<'a>(text: &'a str, read: Read<'a>, at: Position) -> Result<Vec<&'a RawValue>, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    read(&mut deserializer).map_err(|error| syntax(&error, Some(at)))
}

/// The parts of a list, or the keys and values of a map in turn.
struct Pieces;

impl Pieces {
    fn list<'a>(
        from: &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>,
    ) -> Result<Vec<&'a RawValue>, serde_json::Error> {
        from.deserialize_seq(Pieces)
    }

    fn map<'a>(
        from: &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>,
    ) -> Result<Vec<&'a RawValue>, serde_json::Error> {
        from.deserialize_map(Pieces)
    }
}

impl<'de> Visitor<'de> for Pieces {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = seq.next_element()? {
            found.push(item);
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            found.push(key);
            found.push(value);
        }
        Ok(found)
    }
}
