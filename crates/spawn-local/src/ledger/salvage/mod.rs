//! Saving what can be read of a damaged ledger into a new one.
//!
//! SQLite gives up a table at the first page that it cannot read. Here the file is read page by page:
//! each table's tree is walked as far as it leads, and if a part of some tree is unreadable, all pages
//! that no tree led to are looked at, and rows are known by their shape. Then the new ledger is made
//! to agree with itself (`repair`). The damaged file is only read.

mod pages;
mod repair;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};
use spawn_ports::ledger::LedgerError;

use super::open::{refused, storage, writable};
use super::{Durability, schema};
use pages::{Pages, Record, Value};

/// What was saved of a damaged ledger.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvaged {
    /// Arrays that are in the new ledger.
    pub arrays: u64,
    /// Rows of tasks that were saved.
    pub tasks: u64,
    /// Rows of earlier attempts that were saved.
    pub attempts: u64,
    /// Agents that were saved.
    pub agents: u64,
    /// Pages, and entries of pages, that could not be read.
    pub unreadable: u64,
    /// Rows of arrays that could not be saved themselves.
    pub without_array: u64,
    /// Tasks that had been started and whose row could not be saved.
    pub tasks_lost: u64,
    /// Arrays whose state could not be saved: they are closed.
    pub closed: u64,
}

/// A table of the ledger.
#[derive(Debug)]
struct Table {
    name: &'static str,
    has_rowids: bool,
    columns: Vec<Column>,
    /// How many columns its rows have, in each version.
    widths: Vec<usize>,
}

#[derive(Debug)]
struct Column {
    kind: String,
    not_null: bool,
    default: SqlValue,
    is_rowid: bool,
}

/// Those that have rows of their own. In this order a row of either kind is looked for.
const TABLES: [(&str, bool); 6] = [
    ("arrays", true),
    ("progress", true),
    ("agents", true),
    ("tasks", false),
    ("attempts", false),
    ("lanes", false),
];

/// Times are microseconds since 1970, tokens and slots are small: that tells rows of the same width
/// apart.
const NO_TIME: i64 = 1_000_000_000_000;

/// Writes everything that can be read of the ledger at `from` into a new one at `to`.
///
/// # Errors
/// [`LedgerError::Storage`] if `to` is there already or cannot be written, or if `from` cannot be
/// opened, is another program's, or was written by a newer one. `to` is not there then.
pub fn salvage(from: &Path, to: &Path) -> Result<Salvaged, LedgerError> {
    if fs::symlink_metadata(to).is_ok() {
        let shown = to.display();
        return Err(refused(format!(
            "`{shown}` is there already; name a file that is not"
        )));
    }
    let reading = |e: std::io::Error| refused(format!("cannot read `{}`: {e}", from.display()));
    let pages = Pages::open(from).map_err(reading)?;
    check_header(from, &pages.page(1).map_err(reading)?)?;
    let saved = save(&pages, to);
    if saved.is_err() {
        for end in ["", "-wal", "-shm"] {
            let mut name = to.as_os_str().to_owned();
            name.push(end);
            let _ = fs::remove_file(name);
        }
    }
    saved
}

fn save(pages: &Pages, to: &Path) -> Result<Salvaged, LedgerError> {
    let mut conn = writable(to, Durability::PowerLoss)?;
    let done = (|| {
        let tables = tables(&conn)?;
        let tx = conn.transaction()?;
        let mut saving = Saving {
            pages,
            conn: &tx,
            tables,
            visited: HashSet::new(),
            saved: Salvaged::default(),
        };
        saving.everything()?;
        let mut saved = saving.saved;
        repair::make_whole(&tx, &mut saved)?;
        tx.commit()?;
        // One file, that can be moved by itself.
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(saved)
    })();
    done.map_err(|error| storage(to, "write", error))
}

/// Refuses what says plainly that it is no ledger of this or an older version.
fn check_header(path: &Path, first: &[u8]) -> Result<(), LedgerError> {
    if !first.starts_with(b"SQLite format 3\0") {
        return Ok(());
    }
    let number =
        |at: usize| i32::from_be_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]]);
    let (version, application) = (i64::from(number(60)), number(68));
    let shown = path.display();
    if application != schema::APPLICATION_ID && application != 0 {
        return Err(refused(format!(
            "`{shown}` is the database of another program, not a ledger"
        )));
    }
    if application == schema::APPLICATION_ID && version > schema::VERSION {
        return Err(refused(format!(
            "ledger `{shown}` has version {version}, this program knows up to version {}; \
             use the newer program that wrote it",
            schema::VERSION
        )));
    }
    Ok(())
}

fn tables(conn: &Connection) -> rusqlite::Result<Vec<Table>> {
    let mut widths = Vec::new();
    for version in 1..=schema::VERSION {
        let older = Connection::open_in_memory()?;
        schema::make_version(&older, version)?;
        widths.push(older);
    }
    let mut tables = Vec::new();
    for (name, has_rowids) in TABLES {
        let columns = columns(conn, name, has_rowids)?;
        let mut known = Vec::new();
        for older in &widths {
            known.push(self::columns(older, name, has_rowids)?.len());
        }
        tables.push(Table {
            name,
            has_rowids,
            columns,
            widths: known,
        });
    }
    Ok(tables)
}

fn columns(conn: &Connection, table: &str, has_rowids: bool) -> rusqlite::Result<Vec<Column>> {
    let mut query =
        conn.prepare("SELECT type, \"notnull\", dflt_value, pk FROM pragma_table_info(?1)")?;
    let found = query.query_map([table], |r| {
        let default: Option<String> = r.get(2)?;
        Ok(Column {
            kind: r.get(0)?,
            not_null: r.get(1)?,
            default: default
                .and_then(|text| text.parse().ok())
                .map_or(SqlValue::Null, SqlValue::Integer),
            is_rowid: has_rowids && r.get::<_, i64>(3)? > 0,
        })
    })?;
    found.collect()
}

impl Table {
    /// A row of this table from a record, if the record can be one.
    fn row(&self, record: &Record) -> Option<Vec<SqlValue>> {
        let width = record.values.len();
        if self.has_rowids != record.rowid.is_some() || !self.widths.contains(&width) {
            return None;
        }
        let mut row = Vec::with_capacity(self.columns.len());
        for (n, column) in self.columns.iter().enumerate() {
            let value = match (record.values.get(n), record.rowid) {
                (Some(Value::Null), Some(rowid)) if column.is_rowid => SqlValue::Integer(rowid),
                (None, _) => column.default.clone(),
                (Some(Value::Null), _) if !column.not_null => SqlValue::Null,
                (Some(Value::Integer(n)), _) if column.kind == "INTEGER" => SqlValue::Integer(*n),
                (Some(Value::Text(text)), _) if column.kind == "TEXT" => {
                    SqlValue::Text(text.clone())
                }
                (Some(Value::Blob(bytes)), _) if column.kind == "BLOB" => {
                    SqlValue::Blob(bytes.clone())
                }
                _ => return None,
            };
            row.push(value);
        }
        self.is_plausible(&row).then_some(row)
    }

    fn is_plausible(&self, row: &[SqlValue]) -> bool {
        let number = |n: usize| match row[n] {
            SqlValue::Integer(n) => n,
            _ => -1,
        };
        let is_json = |n: usize| match &row[n] {
            SqlValue::Text(text) => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
            _ => false,
        };
        match self.name {
            // What overflows from a row's page may be damaged apart from it.
            "arrays" => number(4) > 0 && is_json(3) && is_json(5),
            "tasks" => (0..=9).contains(&number(2)) && (0..NO_TIME).contains(&number(4)),
            "attempts" => number(2) > 0 && number(4) >= NO_TIME,
            "lanes" => row.iter().all(|v| matches!(v, SqlValue::Integer(0..))),
            _ => true,
        }
    }
}

/// A salvage that is going on.
struct Saving<'a> {
    pages: &'a Pages,
    conn: &'a Connection,
    tables: Vec<Table>,
    visited: HashSet<u32>,
    saved: Salvaged,
}

impl Saving<'_> {
    fn everything(&mut self) -> rusqlite::Result<()> {
        let (roots, mut is_whole) = self.roots();
        for (name, root) in &roots {
            let table = self.tables.iter().position(|table| table.name == name);
            is_whole &= self.walk(*root, table)?;
        }
        let has_all = |name: &str| roots.iter().any(|(found, _)| found == name);
        if is_whole && TABLES.iter().all(|(name, _)| has_all(name)) {
            return Ok(());
        }
        // What lies on free pages is what once was deleted.
        self.visited.extend(self.pages.free_pages());
        for n in 2..=self.pages.count {
            if !self.visited.contains(&n) {
                self.look_at_stray(n)?;
            }
        }
        Ok(())
    }

    /// The tables and indexes by name, with the first page of each.
    fn roots(&mut self) -> (Vec<(String, u32)>, bool) {
        let mut found = Vec::new();
        let mut is_whole = true;
        let mut todo = vec![1];
        while let Some(n) = todo.pop() {
            if !self.visited.insert(n) {
                continue;
            }
            let page = self.pages.tree_page(n, &mut self.visited);
            let Some(page) = page.filter(|page| page.has_rowids) else {
                is_whole = false;
                self.saved.unreadable += 1;
                continue;
            };
            is_whole &= page.unreadable == 0;
            todo.extend(page.children);
            for record in page.records {
                if let [_, Value::Text(name), _, Value::Integer(root), _] = &record.values[..]
                    && let Ok(root) = u32::try_from(*root)
                    && root > 1
                {
                    found.push((name.clone(), root));
                }
            }
        }
        (found, is_whole)
    }

    /// Saves the rows of a tree, if it is that of a table. Whether all of it could be read.
    fn walk(&mut self, root: u32, table: Option<usize>) -> rusqlite::Result<bool> {
        let mut is_whole = true;
        let mut todo = vec![root];
        while let Some(n) = todo.pop() {
            if n == 0 || n > self.pages.count || self.visited.contains(&n) {
                is_whole = false;
                continue;
            }
            let wants = table.map(|table| self.tables[table].has_rowids);
            let mut overflow = HashSet::new();
            let page = self.pages.tree_page(n, &mut overflow);
            let Some(page) = page.filter(|page| wants.unwrap_or(false) == page.has_rowids) else {
                is_whole = false;
                self.saved.unreadable += 1;
                continue;
            };
            self.visited.insert(n);
            self.visited.extend(overflow);
            is_whole &= page.unreadable == 0;
            self.saved.unreadable += u64::from(page.unreadable);
            todo.extend(page.children);
            if let Some(table) = table {
                for record in &page.records {
                    self.keep(record, &[table])?;
                }
            }
        }
        Ok(is_whole)
    }

    /// A page that no tree led to: each of its rows is known by its shape.
    fn look_at_stray(&mut self, n: u32) -> rusqlite::Result<()> {
        let mut overflow = HashSet::new();
        let Some(page) = self.pages.tree_page(n, &mut overflow) else {
            return Ok(());
        };
        let any: Vec<usize> = (0..self.tables.len()).collect();
        for record in &page.records {
            self.keep(record, &any)?;
        }
        Ok(())
    }

    /// Saves a row of one of some tables; the first that has a row's key keeps it.
    fn keep(&mut self, record: &Record, tables: &[usize]) -> rusqlite::Result<()> {
        let found = tables
            .iter()
            .find_map(|n| Some((&self.tables[*n], self.tables[*n].row(record)?)));
        let Some((table, row)) = found else {
            if let [_] = tables {
                self.saved.unreadable += 1;
            }
            return Ok(());
        };
        let marks = vec!["?"; row.len()].join(", ");
        let sql = format!("INSERT OR IGNORE INTO {} VALUES ({marks})", table.name);
        self.conn
            .prepare_cached(&sql)?
            .execute(params_from_iter(row))?;
        Ok(())
    }
}
