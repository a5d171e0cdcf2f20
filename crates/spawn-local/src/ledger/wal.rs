//! Whether the write-ahead log beside a ledger is whole, before SQLite reads it.
//!
//! SQLite reads such a log up to the first frame whose checksum is wrong, and takes the rest for what
//! a crash left half written. So a byte that changed on disk makes every commit behind it vanish
//! without a word. Here the rest is looked at: a frame that ends a commit, of the same generation of
//! the log, can only be there if everything before it was once written.
//!
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The lowest bit says which way round the checksums take their words.
const MAGIC: u32 = 0x377f_0682;
/// What every ledger has, where the header cannot be asked.
const USUAL_PAGE: usize = 4_096;

/// A write-ahead log of which SQLite will read only the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalDamage {
    /// How many commits stand behind the damage.
    pub commits: u64,
    /// Where the damage begins, in bytes.
    pub offset: u64,
}

/// The write-ahead log of the ledger at `path`.
pub fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The log of the ledger at `path`, and where in it the newest committed content of each page is that
/// it has, as far as it is whole. Nothing if there is no log, or nothing in it.
pub(super) fn pages(path: &Path) -> io::Result<Option<(File, HashMap<u32, u64>)>> {
    let file = match File::open(log_of(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let header = read_header(&file)?;
    let mut frames = Frames::new(file.try_clone()?, &header)?;
    frames.look()?;
    Ok(Some((file, frames.committed)).filter(|(_, pages)| !pages.is_empty()))
}

/// Whether commits stand behind a damaged place of the log of the ledger at `path`.
///
/// # Errors
/// Those of reading it. A log that is not there is whole.
pub fn damage(path: &Path) -> io::Result<Option<WalDamage>> {
    let log = log_of(path);
    loop {
        let file = match File::open(&log) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let header = read_header(&file)?;
        let found = Frames::new(file.try_clone()?, &header)?.look()?;
        // A host that writes meanwhile may have begun the log anew.
        if found.is_none() || fs::read(&log).is_ok_and(|now| now.starts_with(&header)) {
            return Ok(found);
        }
    }
}

fn read_header(mut file: &File) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER);
    file.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
    Ok(header)
}

struct Frames {
    file: BufReader<File>,
    page: usize,
    big_endian: bool,
    /// What the checksum of the next frame goes on from; `None` behind the damage.
    sum: Option<(u32, u32)>,
    salt: Option<[u8; 8]>,
    /// Where the content of pages is, of whole commits.
    committed: HashMap<u32, u64>,
}

impl Frames {
    fn new(mut file: File, header: &[u8]) -> io::Result<Frames> {
        file.seek(SeekFrom::Start(HEADER as u64))?;
        let mut frames = Frames {
            file: BufReader::with_capacity(1 << 16, file),
            page: USUAL_PAGE,
            big_endian: false,
            sum: None,
            salt: None,
            committed: HashMap::new(),
        };
        if header.len() == HEADER && word(header, 0) & !1 == MAGIC {
            frames.big_endian = word(header, 0) & 1 == 1;
            let sum = frames.add((0, 0), &header[..24]);
            if sum == (word(header, 24), word(header, 28)) {
                frames.page = word(header, 8) as usize;
                frames.sum = Some(sum);
                frames.salt = header[16..24].try_into().ok();
            }
        }
        Ok(frames)
    }

    fn look(&mut self) -> io::Result<Option<WalDamage>> {
        let mut frame = vec![0; FRAME_HEADER + self.page];
        let mut damage = WalDamage {
            commits: 0,
            offset: 0,
        };
        let mut at = HEADER as u64;
        let mut uncommitted: HashMap<u32, u64> = HashMap::new();
        let mut broken_at = self.sum.is_none().then_some(0);
        loop {
            match self.file.read_exact(&mut frame) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e),
            }
            // Where the log's own header is unreadable, its first frame says which generation it is.
            let salt = *self.salt.get_or_insert_with(|| salt_of(&frame));
            let ours = salt_of(&frame) == salt;
            if let Some(before) = self.sum {
                let sum = self.add(before, &frame[..8]);
                let sum = self.add(sum, &frame[FRAME_HEADER..]);
                let whole = ours && sum == (word(&frame, 16), word(&frame, 20));
                self.sum = whole.then_some(sum);
                if !whole {
                    broken_at = Some(at);
                }
            }
            let ends_a_commit = word(&frame, 0) != 0 && word(&frame, 4) != 0;
            if broken_at.is_none() {
                uncommitted.insert(word(&frame, 0), at + FRAME_HEADER as u64);
                if ends_a_commit {
                    self.committed.extend(uncommitted.drain());
                }
            }
            if let Some(offset) = broken_at
                && ours
                && ends_a_commit
            {
                damage.commits += 1;
                damage.offset = offset;
            }
            at += frame.len() as u64;
        }
        Ok((damage.commits > 0).then_some(damage))
    }

    fn add(&self, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let read = |four: &[u8]| {
            let four = [four[0], four[1], four[2], four[3]];
            match self.big_endian {
                true => u32::from_be_bytes(four),
                false => u32::from_le_bytes(four),
            }
        };
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(read(&pair[..4])).wrapping_add(b);
            b = b.wrapping_add(read(&pair[4..])).wrapping_add(a);
        }
        (a, b)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn salt_of(frame: &[u8]) -> [u8; 8] {
    let mut salt = [0; 8];
    salt.copy_from_slice(&frame[8..16]);
    salt
}
