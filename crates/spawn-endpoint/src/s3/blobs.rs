//! Files that are written once, named at random, and never changed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::identifiers;

/// What is gathered in memory before it is written.
const WRITE_AT: usize = 256 * 1024;

/// A stretch of a blob; the content of an object is a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, u64, u64)", into = "(String, u64, u64)")]
pub(super) struct Piece {
    pub(super) blob: String,
    /// Bytes from the start of the blob.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u64,
}

impl From<(String, u64, u64)> for Piece {
    fn from((blob, offset, length): (String, u64, u64)) -> Self {
        Self {
            blob,
            offset,
            length,
        }
    }
}

impl From<Piece> for (String, u64, u64) {
    fn from(piece: Piece) -> Self {
        (piece.blob, piece.offset, piece.length)
    }
}

/// The part of `pieces` that is `range`, in bytes from the start of the first.
pub(super) fn slice(pieces: &[Piece], range: std::ops::Range<u64>) -> Vec<Piece> {
    let mut start = 0;
    let mut sliced = Vec::new();
    for piece in pieces {
        let end = start + piece.length;
        let from = range.start.max(start);
        let to = range.end.min(end);
        if from < to {
            sliced.push(Piece {
                blob: piece.blob.clone(),
                offset: piece.offset + (from - start),
                length: to - from,
            });
        }
        start = end;
    }
    sliced
}

/// A directory of blobs.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    /// Begins the name of every blob of this process, so that others' can be told apart.
    process: String,
    made: AtomicU64,
    /// Blobs being read: by how many, and whether to remove them after the last.
    reading: Mutex<HashMap<String, (usize, bool)>>,
}

impl Blobs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            process: identifiers::hex::<6>(),
            made: AtomicU64::new(0),
            reading: Mutex::default(),
        }
    }

    /// The directory that the store is in.
    pub(super) fn store_dir(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    fn create(&self) -> io::Result<(String, File)> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number:08x}", self.process);
        let path = self.path(&name);
        let create = || File::options().write(true).create_new(true).open(&path);
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
                create()?
            }
            other => other?,
        };
        Ok((name, file))
    }

    fn path(&self, name: &str) -> PathBuf {
        let shard = name.get(name.len().saturating_sub(2)..).unwrap_or("00");
        self.dir.join(shard).join(name)
    }

    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path(name))
    }

    /// Keeps the blobs of `pieces` on disk until the mark is dropped, whatever is overwritten.
    pub(super) fn pin(self: &Arc<Self>, pieces: &[Piece]) -> Pinned {
        let mut names: Vec<_> = pieces.iter().map(|piece| piece.blob.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &names {
            reading.entry(name.clone()).or_default().0 += 1;
        }
        drop(reading);
        Pinned {
            blobs: Arc::clone(self),
            names,
        }
    }

    /// Removes blobs that nothing names any more, those being read after their last reader.
    pub(super) fn remove(&self, names: Vec<String>) {
        for name in names {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, doomed)) = reading.get_mut(&name) {
                *doomed = true;
            } else {
                drop(reading);
                self.unlink(&name);
            }
        }
    }

    /// A file that cannot be removed now is an orphan, and tried again after the next start.
    fn unlink(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// The blobs on disk that this process did not make.
    pub(super) fn of_earlier_processes(&self) -> Vec<String> {
        let shards = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        shards
            .filter_map(|shard| fs::read_dir(shard.path()).ok())
            .flat_map(|files| files.flatten())
            .filter_map(|file| file.file_name().into_string().ok())
            .filter(|name| !name.starts_with(&self.process))
            .collect()
    }
}

/// Blobs that stay on disk as long as this lives.
#[derive(Debug)]
pub(super) struct Pinned {
    blobs: Arc<Blobs>,
    names: Vec<String>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut reading = self
            .blobs
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            let Some((readers, doomed)) = reading.get_mut(name) else {
                continue;
            };
            *readers -= 1;
            if *readers == 0 {
                let doomed = *doomed;
                reading.remove(name);
                if doomed {
                    self.blobs.unlink(name);
                }
            }
        }
    }
}

/// A blob being written. It is removed on drop unless it was kept.
#[derive(Debug)]
pub(super) struct Draft {
    blobs: Arc<Blobs>,
    name: Option<String>,
    file: Option<File>,
    gathered: Vec<Bytes>,
    gathered_len: usize,
    length: u64,
    kept: bool,
}

impl Draft {
    pub(super) fn new(blobs: &Arc<Blobs>) -> Self {
        Self {
            blobs: Arc::clone(blobs),
            name: None,
            file: None,
            gathered: Vec::new(),
            gathered_len: 0,
            length: 0,
            kept: false,
        }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Appends `chunk`, and writes when enough has gathered.
    pub(super) async fn push(&mut self, chunk: Bytes) -> io::Result<()> {
        self.length += chunk.len() as u64;
        self.gathered_len += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_len < WRITE_AT {
            return Ok(());
        }
        if self.file.is_none() {
            self.create()?;
        }
        let gathered = std::mem::take(&mut self.gathered);
        self.gathered_len = 0;
        if let Some(mut file) = self.file.take() {
            let written = tokio::task::spawn_blocking(move || {
                write_all(&mut file, &gathered)?;
                Ok::<_, io::Error>(file)
            });
            self.file = Some(written.await.map_err(io::Error::other)??);
        }
        Ok(())
    }

    fn create(&mut self) -> io::Result<()> {
        let (name, file) = self.blobs.create()?;
        self.name = Some(name);
        self.file = Some(file);
        Ok(())
    }

    /// Writes what is left and says where it all is. Blocks.
    pub(super) fn seal(&mut self) -> io::Result<Vec<Piece>> {
        if self.length == 0 {
            return Ok(Vec::new());
        }
        if self.file.is_none() {
            self.create()?;
        }
        if let Some(mut file) = self.file.take() {
            write_all(&mut file, &std::mem::take(&mut self.gathered))?;
        }
        let blob = self.name.clone().unwrap_or_default();
        Ok(vec![Piece {
            blob,
            offset: 0,
            length: self.length,
        }])
    }

    /// Leaves the file where it is: a committed row names it now.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && !self.kept
        {
            self.blobs.unlink(&name);
        }
    }
}

fn write_all(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    chunks.iter().try_for_each(|chunk| file.write_all(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(blob: &str, offset: u64, length: u64) -> Piece {
        (blob.to_owned(), offset, length).into()
    }

    #[test]
    fn slices_cross_pieces() {
        let pieces = [piece("a", 5, 10), piece("b", 0, 10), piece("c", 7, 10)];
        assert_eq!(slice(&pieces, 0..30), pieces);
        assert_eq!(
            slice(&pieces, 9..21),
            [piece("a", 14, 1), piece("b", 0, 10), piece("c", 7, 1)]
        );
        assert_eq!(slice(&pieces, 12..13), [piece("b", 2, 1)]);
        assert_eq!(slice(&pieces, 30..40), []);
    }

    #[test]
    fn a_blob_outlives_its_last_reader_and_no_longer() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::new(home.path().join("blobs")));
        let (name, _) = blobs.create().unwrap();
        let first = blobs.pin(&[piece(&name, 0, 1)]);
        let second = blobs.pin(&[piece(&name, 0, 1)]);
        blobs.remove(vec![name.clone()]);
        assert!(blobs.open(&name).is_ok());
        drop(first);
        assert!(blobs.open(&name).is_ok());
        drop(second);
        assert!(blobs.open(&name).is_err());
    }

    #[test]
    fn a_draft_leaves_nothing_unless_kept() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::new(home.path().join("blobs")));
        for keep in [false, true] {
            let mut draft = Draft::new(&blobs);
            draft.length = 3;
            draft.gathered.push(Bytes::from_static(b"abc"));
            let pieces = draft.seal().unwrap();
            if keep {
                draft.keep();
            }
            drop(draft);
            assert_eq!(blobs.open(&pieces[0].blob).is_ok(), keep);
        }
    }
}
