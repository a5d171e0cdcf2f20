//! YAML, read event by event, so that plain scalars keep their spelling.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::{Entry, MAX_DEPTH, Malformed, Node, Value, check_twice};
use crate::file_problem::FileProblem;
use crate::position::Position;

/// How many bytes and values aliases may add, so that a few lines of `*a` cannot fill the memory.
const MAX_COPIED: usize = 64 << 20;

/// Reads the one document of a YAML text; `None` if there is nothing in it.
pub(crate) fn read(text: &str) -> Result<Option<Node>, Malformed> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        text,
        anchors: HashMap::new(),
        copied: 0,
    };
    let mut found = None;
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(found),
            Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(..) if found.is_some() => {
                return Err(Malformed::new(at, FileProblem::SecondDocument));
            }
            Event::DocumentStart(..) => {
                let (event, at) = reader.next()?;
                let node = reader.node(event, at, 0)?;
                found = (!node.is_null()).then_some(node);
            }
            _ => return Err(unexpected(at)),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    text: &'a str,
    anchors: HashMap<usize, Node>,
    copied: usize,
}

fn position(mark: &Marker) -> Position {
    Position::new(mark.line(), mark.col() + 1)
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), Malformed> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, position(&start(&span)))),
            Some(Err(error)) => {
                let at = position(error.marker());
                let message = error.kind().to_string();
                Err(match self.tab(at, &message) {
                    Some(at) => Malformed::new(at, FileProblem::Tab),
                    None => syntax(at, message),
                })
            }
            None => Ok((Event::StreamEnd, Position::START)),
        }
    }

    /// The tab that stands where the parser gave up, or a line further. Its own words do not say
    /// so, and a tab cannot be seen.
    fn tab(&self, at: Position, message: &str) -> Option<Position> {
        let line = at.line as usize;
        let lines = if message.contains("tab") { 2 } else { 1 };
        let mut lines = (line..).zip(self.text.lines().skip(line - 1)).take(lines);
        lines.find_map(|(number, text)| {
            let indent = text.bytes().take_while(|b| matches!(b, b' ' | b'\t'));
            let tab = indent.enumerate().find(|(_, byte)| *byte == b'\t');
            tab.map(|(before, _)| Position::new(number, before + 1))
        })
    }

    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Result<Node, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::new(at, FileProblem::TooDeep));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = core_tag(tag.as_deref(), at)?;
                let plain = style == ScalarStyle::Plain && tag.as_deref() != Some("str");
                let value = match plain {
                    true if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
                    true => Value::Plain(text.into_owned()),
                    false => Value::Text(text.into_owned()),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                core_tag(tag.as_deref(), at)?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                core_tag(tag.as_deref(), at)?;
                (self.map(depth)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, at, depth),
            _ => return Err(unexpected(at)),
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.copy_costs(&node, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Malformed> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Malformed> {
        let mut entries = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                check_twice(&entries)?;
                return Ok(Value::Map(entries));
            }
            let plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = match event {
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(Malformed::new(at, FileProblem::KeyNotText)),
            };
            if plain && key == "<<" {
                return Err(Malformed::new(at, FileProblem::MergeKey));
            }
            let (event, value_at) = self.next()?;
            let mut node = self.node(event, value_at, depth + 1)?;
            // What is missing has no place of its own.
            if node.is_null() && node.at.line != at.line {
                node.at = at;
            }
            entries.push(Entry { key, at, node });
        }
    }

    fn alias(&mut self, id: usize, at: Position, depth: usize) -> Result<Node, Malformed> {
        // An anchor is only known once its value is complete.
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(Malformed::new(at, FileProblem::AliasOfItself));
        };
        if depth + height(&node) > MAX_DEPTH {
            return Err(Malformed::new(at, FileProblem::TooDeep));
        }
        self.copy_costs(&node, at)?;
        Ok(Node { at, ..node })
    }

    fn copy_costs(&mut self, node: &Node, at: Position) -> Result<(), Malformed> {
        self.copied = self.copied.saturating_add(size(node));
        match self.copied > MAX_COPIED {
            true => Err(Malformed::new(at, FileProblem::TooManyAliases)),
            false => Ok(()),
        }
    }
}

fn syntax(at: Position, message: String) -> Malformed {
    let format = "YAML";
    Malformed::new(at, FileProblem::Syntax { format, message })
}

fn unexpected(at: Position) -> Malformed {
    syntax(at, "unexpected content".into())
}

/// Where a node starts; its tag is not part of it.
fn start(span: &Span) -> Marker {
    span.start
}

/// Tags of YAML itself are read; others mean something to some other program.
fn core_tag(tag: Option<&Tag>, at: Position) -> Result<Option<String>, Malformed> {
    let Some(tag) = tag else {
        return Ok(None);
    };
    let known = ["str", "int", "float", "bool", "null", "seq", "map"]
        .into_iter()
        .find(|suffix| tag.is_yaml_core_schema_tag(suffix));
    match known {
        Some(suffix) => Ok(Some(suffix.to_owned())),
        None => {
            let tag = tag.to_string();
            Err(Malformed::new(at, FileProblem::Tag { tag }))
        }
    }
}

fn height(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| height(&e.node)).max().unwrap_or(0),
        Value::Null | Value::Plain(_) | Value::Text(_) => 0,
    }
}

fn size(node: &Node) -> usize {
    const EACH: usize = 64;
    EACH + match &node.value {
        Value::Null => 0,
        Value::Plain(text) | Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| EACH + entry.key.len() + size(&entry.node))
            .sum(),
    }
}
