//! Columns of text.

use std::io::{self, Write};

/// Which side a column's text keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Cells to be aligned, and how each is painted once its width is known.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<(String, String)>>,
}

impl Table {
    /// A table with these columns and a first row of their names.
    pub fn new(columns: &[(&str, Align)], paint: impl Fn(&str) -> String) -> Table {
        let names = columns
            .iter()
            .map(|(name, _)| (String::from(*name), paint(name)));
        Table {
            columns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![names.collect()],
        }
    }

    /// Adds a row of plain cells.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.painted(cells.into_iter().map(|cell| (cell.clone(), cell)));
    }

    /// Adds a row of cells, each as plain text and as painted.
    pub fn painted(&mut self, cells: impl IntoIterator<Item = (String, String)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes all rows, each after `indent`.
    pub fn write(&self, out: &mut impl Write, indent: &str) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|(plain, _)| plain.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::from(indent);
            for (column, (plain, painted)) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column].saturating_sub(plain.chars().count()));
                let is_last = column + 1 == row.len();
                match self.columns[column] {
                    Align::Right => line.push_str(&gap),
                    Align::Left => {}
                }
                line.push_str(painted);
                match self.columns[column] {
                    Align::Left if !is_last => line.push_str(&gap),
                    _ => {}
                }
                if !is_last {
                    line.push_str("  ");
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
