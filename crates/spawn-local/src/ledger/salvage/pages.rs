//! The pages of a SQLite file as they lie on disk, whatever SQLite thinks of them.
//!
//! <https://www.sqlite.org/fileformat2.html>

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::wal;

/// What every ledger has, where the header cannot be asked.
const USUAL_PAGE: usize = 4_096;
/// The header of the file, before the first page's own.
const FILE_HEADER: usize = 100;

/// A file of pages, with what its write-ahead log has of them.
pub(super) struct Pages {
    file: File,
    log: Option<(File, HashMap<u32, u64>)>,
    pub page_size: usize,
    /// Bytes of a page that are used.
    usable: usize,
    /// How many pages there are; they are counted from 1.
    pub count: u32,
    header: Vec<u8>,
}

/// A value of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row, or an entry of an index.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Of a table whose rows have numbers.
    pub rowid: Option<i64>,
    pub values: Vec<Value>,
}

/// One page of a tree.
#[derive(Debug, Default)]
pub(super) struct TreePage {
    /// Whether its records have row ids.
    pub has_rowids: bool,
    pub children: Vec<u32>,
    pub records: Vec<Record>,
    /// Entries that could not be read.
    pub unreadable: u32,
}

impl Pages {
    pub fn open(path: &Path) -> io::Result<Pages> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut header = vec![0; FILE_HEADER];
        let _ = file.read_exact_at(&mut header, 0);
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => USUAL_PAGE,
        };
        let usable = page_size - usize::from(header[20]);
        let log = wal::pages(path)?;
        let in_log = log.iter().flat_map(|(_, pages)| pages.keys().copied());
        let in_file = u32::try_from(len.div_ceil(page_size as u64)).unwrap_or(u32::MAX);
        let mut pages = Pages {
            count: in_log.max().unwrap_or(0).max(in_file),
            file,
            log,
            page_size,
            usable: if usable < 480 { page_size } else { usable },
            header,
        };
        // The log may have a newer first page.
        pages.header = pages.page(1)?;
        Ok(pages)
    }

    /// A page; what the file does not have of it is zeros.
    pub fn page(&self, n: u32) -> io::Result<Vec<u8>> {
        let mut page = vec![0; self.page_size];
        if let Some((log, pages)) = &self.log
            && let Some(offset) = pages.get(&n)
        {
            log.read_exact_at(&mut page, *offset)?;
            return Ok(page);
        }
        let mut done = 0;
        let start = u64::from(n.saturating_sub(1)) * self.page_size as u64;
        while done < page.len() {
            match self.file.read_at(&mut page[done..], start + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(page)
    }

    /// Pages that are free: their old content means nothing.
    pub fn free_pages(&self) -> Vec<u32> {
        let mut free = Vec::new();
        let mut trunk = be32(&self.header, 32);
        while trunk != 0 && trunk <= self.count && !free.contains(&trunk) {
            free.push(trunk);
            let Ok(page) = self.page(trunk) else { break };
            let leaves = (be32(&page, 4) as usize).min(self.usable / 4 - 2);
            free.extend((0..leaves).map(|n| be32(&page, 8 + 4 * n)));
            trunk = be32(&page, 0);
        }
        free
    }

    /// A page as one of a tree; `None` if it is none.
    pub fn tree_page(&self, n: u32, used: &mut HashSet<u32>) -> Option<TreePage> {
        let page = self.page(n).ok()?;
        let at = if n == 1 { FILE_HEADER } else { 0 };
        let (has_rowids, is_leaf) = match page[at] {
            0x0d => (true, true),
            0x05 => (true, false),
            0x0a => (false, true),
            0x02 => (false, false),
            _ => return None,
        };
        let cells = usize::from(be16(&page, at + 3));
        let pointers = at + if is_leaf { 8 } else { 12 };
        if pointers + 2 * cells > self.usable {
            return None;
        }
        let mut tree = TreePage {
            has_rowids,
            ..TreePage::default()
        };
        for cell in 0..cells {
            let start = usize::from(be16(&page, pointers + 2 * cell));
            if start < pointers + 2 * cells || start >= self.usable {
                tree.unreadable += 1;
                continue;
            }
            let mut rest = &page[start..self.usable];
            if !is_leaf {
                let Some(child) = take(&mut rest, 4) else {
                    tree.unreadable += 1;
                    continue;
                };
                tree.children.push(be32(child, 0));
                if has_rowids {
                    continue;
                }
            }
            match self.record(rest, has_rowids, used) {
                Some(record) => tree.records.push(record),
                None => tree.unreadable += 1,
            }
        }
        if !is_leaf {
            tree.children.push(be32(&page, at + 8));
        }
        Some(tree)
    }

    fn record(&self, mut cell: &[u8], has_rowid: bool, used: &mut HashSet<u32>) -> Option<Record> {
        let len = usize::try_from(varint(&mut cell)?).ok()?;
        let rowid = match has_rowid {
            true => Some(varint(&mut cell)? as i64),
            false => None,
        };
        let payload = self.payload(cell, len, has_rowid, used)?;
        Some(Record {
            rowid,
            values: values(&payload)?,
        })
    }

    /// The `len` bytes of an entry, of which some may lie on pages of their own.
    fn payload(
        &self,
        mut cell: &[u8],
        len: usize,
        has_rowid: bool,
        used: &mut HashSet<u32>,
    ) -> Option<Vec<u8>> {
        if len > self.count as usize * self.page_size {
            return None;
        }
        let usable = self.usable;
        let most = match has_rowid {
            true => usable - 35,
            false => (usable - 12) * 64 / 255 - 23,
        };
        if len <= most {
            return take(&mut cell, len).map(<[u8]>::to_vec);
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let here = match least + (len - least) % (usable - 4) {
            fits if fits <= most => fits,
            _ => least,
        };
        let mut payload = take(&mut cell, here)?.to_vec();
        let mut next = be32(take(&mut cell, 4)?, 0);
        while payload.len() < len {
            if next == 0 || next > self.count || used.contains(&next) {
                return None;
            }
            used.insert(next);
            let page = self.page(next).ok()?;
            let piece = (len - payload.len()).min(usable - 4);
            payload.extend_from_slice(&page[4..4 + piece]);
            next = be32(&page, 0);
        }
        // The last page leads nowhere; else this was no such chain.
        (next == 0).then_some(payload)
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (piece, rest) = from.split_at_checked(n)?;
    *from = rest;
    Some(piece)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for n in 0..9 {
        let byte = take(from, 1)?[0];
        if n == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let mut rest = payload;
    let header_len = usize::try_from(varint(&mut rest)?).ok()?;
    let types_len = header_len.checked_sub(payload.len() - rest.len())?;
    let mut types = take(&mut rest, types_len)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let value = match varint(&mut types)? {
            0 => Value::Null,
            1 => Value::Integer(integer(take(&mut rest, 1)?)),
            2 => Value::Integer(integer(take(&mut rest, 2)?)),
            3 => Value::Integer(integer(take(&mut rest, 3)?)),
            4 => Value::Integer(integer(take(&mut rest, 4)?)),
            5 => Value::Integer(integer(take(&mut rest, 6)?)),
            6 => Value::Integer(integer(take(&mut rest, 8)?)),
            7 => Value::Real(f64::from_bits(integer(take(&mut rest, 8)?) as u64)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            10 | 11 => return None,
            n => {
                let bytes = take(&mut rest, usize::try_from((n - 12) / 2).ok()?)?;
                match n % 2 {
                    0 => Value::Blob(bytes.to_vec()),
                    _ => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
                }
            }
        };
        values.push(value);
    }
    rest.is_empty().then_some(values)
}

fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    bytes
        .iter()
        .fold(start, |value, byte| value << 8 | i64::from(*byte))
}
