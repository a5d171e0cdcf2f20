//! CSV with a header: every further row is a map from the header's names to its cells.

use csv_core::{ReadFieldResult, Reader};

use super::{Entry, Malformed, Node, Value, check_twice};
use crate::file_problem::FileProblem;
use crate::position::{Lines, Position};

struct Cell {
    text: String,
    at: Position,
}

/// Reads a CSV text into a list of maps; `None` if there is nothing in it.
pub(crate) fn read(text: &str) -> Result<Option<Node>, Malformed> {
    let lines = Lines::of(text);
    let mut records = records(text, &lines)?.into_iter();
    let Some(header) = records.next() else {
        return Ok(None);
    };
    let names = header.iter().map(|cell| Entry {
        key: cell.text.clone(),
        at: cell.at,
        node: Node {
            at: cell.at,
            value: Value::Null,
        },
    });
    check_twice(&names.collect::<Vec<_>>())?;
    let rows = records.map(|record| row(&header, record));
    Ok(Some(Node {
        at: Position::START,
        value: Value::List(rows.collect::<Result<_, _>>()?),
    }))
}

fn row(header: &[Cell], record: Vec<Cell>) -> Result<Node, Malformed> {
    let at = record.first().map_or(Position::START, |cell| cell.at);
    if record.len() != header.len() {
        return Err(Malformed::new(
            at,
            FileProblem::Fields {
                found: record.len(),
                expected: header.len(),
            },
        ));
    }
    let entries = header.iter().zip(record).map(|(name, cell)| Entry {
        key: name.text.clone(),
        at: name.at,
        node: Node {
            at: cell.at,
            value: match cell.text.is_empty() {
                true => Value::Null,
                false => Value::Text(cell.text),
            },
        },
    });
    Ok(Node {
        at,
        value: Value::Map(entries.collect()),
    })
}

fn records(text: &str, lines: &Lines<'_>) -> Result<Vec<Vec<Cell>>, Malformed> {
    let mut reader = Reader::new();
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = Vec::new();
    let mut buffer = [0; 4096];
    let mut at = 0;
    let mut start = 0;
    loop {
        let (result, read, written) = reader.read_field(&text.as_bytes()[at..], &mut buffer);
        field.extend_from_slice(&buffer[..written]);
        at += read;
        let ends_record = match result {
            ReadFieldResult::OutputFull | ReadFieldResult::InputEmpty => continue,
            ReadFieldResult::End => return Ok(records),
            ReadFieldResult::Field { record_end } => record_end,
        };
        let mut raw = &text[start..at];
        if record.is_empty() {
            // Empty lines before it belong to no row.
            raw = raw.trim_start_matches(['\r', '\n']);
        }
        let position = lines.position(at - raw.len());
        check_quotes(raw).map_err(|problem| Malformed::new(position, problem))?;
        // Cut at ASCII from valid UTF-8.
        let text = String::from_utf8_lossy(&field).into_owned();
        field.clear();
        start = at;
        record.push(Cell { text, at: position });
        if ends_record {
            records.push(std::mem::take(&mut record));
        }
    }
}

/// The reader takes anything. A quote that stays open swallows the rest of the file, and text
/// after a closing one is a quote that should have been doubled.
fn check_quotes(raw: &str) -> Result<(), FileProblem> {
    let Some(inside) = raw.strip_prefix('"') else {
        return Ok(());
    };
    let mut rest = inside;
    while let Some(at) = rest.find('"') {
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(after) => rest = after,
            None if matches!(rest, "" | "," | "\n" | "\r" | "\r\n") => return Ok(()),
            None => return Err(FileProblem::TextAfterQuote),
        }
    }
    Err(FileProblem::OpenQuote)
}
