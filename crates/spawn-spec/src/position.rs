//! Places in a file, as editors count them: lines and columns from 1.

use std::fmt;

/// A place in a text. Columns are characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Position {
    /// The beginning of a file.
    pub const START: Position = Position { line: 1, column: 1 };

    pub(crate) fn new(line: usize, column: usize) -> Self {
        let short = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            line: short(line),
            column: short(column),
        }
    }
}

/// `3:7`, as compilers write it.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Finds positions by byte.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Self {
            text,
            starts: starts.collect(),
        }
    }

    /// The position of a byte; one beyond the end counts as the end.
    pub fn position(&self, byte: usize) -> Position {
        let byte = byte.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts[line - 1];
        let before = &self.text.as_bytes()[start..byte];
        // Bytes that continue a character are not counted.
        let column = before.iter().filter(|b| **b & 0xc0 != 0x80).count();
        Position::new(line, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_characters_count_from_one() {
        let lines = Lines::of("aé x\n\nb");
        for (byte, shown) in [
            (0, "1:1"),
            (3, "1:3"),
            (4, "1:4"),
            (6, "2:1"),
            (7, "3:1"),
            (99, "3:2"),
        ] {
            assert_eq!(lines.position(byte).to_string(), shown, "{byte}");
        }
        assert_eq!(Lines::of("").position(0), Position::START);
    }
}
