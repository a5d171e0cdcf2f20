//! TOML, for configuration.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::{Entry, Malformed, Node, Value};
use crate::file_problem::FileProblem;
use crate::position::{Lines, Position};

/// Reads a TOML text; an empty one is an empty map.
pub(crate) fn read(text: &str) -> Result<Node, Malformed> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let at = error
            .span()
            .map_or(Position::START, |span| lines.position(span.start));
        let message = error
            .message()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let format = "TOML";
        Malformed::new(at, FileProblem::Syntax { format, message })
    })?;
    Ok(Node {
        at: Position::START,
        value: map(table.get_ref(), &lines),
    })
}

fn map(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    let mut pairs: Vec<_> = table.iter().collect();
    // The parser sorts by key.
    pairs.sort_by_key(|(key, _)| key.span().start);
    let entries = pairs.into_iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        at: lines.position(key.span().start),
        node: node(value, lines),
    });
    Value::Map(entries.collect())
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let at = lines.position(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Plain(number.to_string()),
        DeValue::Float(number) => Value::Plain(number.to_string()),
        DeValue::Boolean(is) => Value::Plain(is.to_string()),
        DeValue::Datetime(time) => Value::Plain(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(table) => map(table, lines),
    };
    Node { at, value }
}
