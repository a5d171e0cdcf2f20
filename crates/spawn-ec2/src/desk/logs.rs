//! What tasks printed, brought from the bucket into files as they lie on a machine of one's own.
//!
//! A log only grows, and so does its file; what is there already is not fetched again. Bytes are
//! written where they belong, so that two commands that bring the same log do each other no harm.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use spawn_aws::client::ErrorKind;
use spawn_aws::services::s3;
use spawn_core::array_id::ArrayId;
use spawn_local::private_files;
use spawn_ports::ledger::AgentId;
use spawn_worker::output;

use super::{Desk, DeskError};

/// One carried piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    begins: u64,
    size: u64,
}

/// A part of a piece that a file lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// The first byte of the piece, which names it.
    piece: u64,
    /// The first byte of the log that is lacking.
    from: u64,
    /// How many bytes are.
    count: u64,
}

/// What a file of `have` bytes lacks of these pieces, in order of where they begin. A piece may be
/// longer than when it was fetched, or overlap the one before it; behind a gap nothing is usable.
fn lacking(mut have: u64, pieces: &[Piece]) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in pieces {
        let end = piece.begins.saturating_add(piece.size);
        if piece.begins > have {
            break;
        }
        if end > have {
            parts.push(Part {
                piece: piece.begins,
                from: have,
                count: end - have,
            });
            have = end;
        }
    }
    parts
}

impl Desk {
    /// Brings an agent's log up to date in the file at `path`, whose directories are made: what has
    /// been carried to the bucket since is added. One call if nothing came.
    ///
    /// # Errors
    /// [`DeskError`]; what was fetched before stays.
    pub fn sync_log(
        &mut self,
        array: &ArrayId,
        agent: AgentId,
        path: &Path,
    ) -> Result<(), DeskError> {
        let (file, have) = open(path)?;
        // No piece that reaches further than the file begins so far before its end.
        let after = have
            .checked_sub(output::LONGEST + 1)
            .map(|before| output::piece(array, agent, before));
        let prefix = output::prefix(array, agent);
        let mut found = self.pieces(array, &prefix, after.as_deref())?;
        let pieces = found.remove(&agent).unwrap_or_default();
        self.add(array, agent, path, &file, lacking(have, &pieces))
    }

    /// Brings the logs of all agents of an array up to date, each in `dir/AGENT.log`.
    ///
    /// # Errors
    /// [`DeskError`]; what was fetched before stays.
    pub fn sync_logs(&mut self, array: &ArrayId, dir: &Path) -> Result<(), DeskError> {
        let found = self.pieces(array, &output::logs_prefix(array), None)?;
        for (agent, pieces) in found {
            let path = dir.join(format!("{}.log", agent.0));
            let (file, have) = open(&path)?;
            self.add(array, agent, &path, &file, lacking(have, &pieces))?;
        }
        Ok(())
    }

    /// The pieces below a prefix, by agent, in order of where they begin. Where there is no bucket
    /// nothing was printed.
    fn pieces(
        &self,
        array: &ArrayId,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<BTreeMap<AgentId, Vec<Piece>>, DeskError> {
        let listed = match s3::list_objects(&self.client, &self.bucket, prefix, None, after) {
            Err(e) if e.kind == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            listed => listed?,
        };
        let mut found: BTreeMap<AgentId, Vec<Piece>> = BTreeMap::new();
        for object in listed.objects {
            if let Some((agent, begins)) = output::parse_piece(array, &object.key) {
                let size = object.size;
                found.entry(agent).or_default().push(Piece { begins, size });
            }
        }
        for pieces in found.values_mut() {
            pieces.sort_by_key(|piece| piece.begins);
        }
        Ok(found)
    }

    fn add(
        &self,
        array: &ArrayId,
        agent: AgentId,
        path: &Path,
        file: &File,
        parts: Vec<Part>,
    ) -> Result<(), DeskError> {
        for part in parts {
            let key = output::piece(array, agent, part.piece);
            let range = Some((part.from - part.piece, part.count));
            let got = s3::get_object(&self.client, &self.bucket, &key, range, None)?;
            // Listed a moment ago; if somebody removed it, what follows it is of no use.
            let Some(got) = got else { return Ok(()) };
            file.write_all_at(&got.body, part.from)
                .map_err(failed("write", path))?;
            if got.body.len() as u64 != part.count {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<(File, u64), DeskError> {
    if let Some(parent) = path.parent() {
        private_files::make_dir(parent).map_err(failed("make", parent))?;
    }
    let mut options = private_files::options();
    options.write(true).create(true).truncate(false);
    let file = options.open(path).map_err(failed("open", path))?;
    let length = file.metadata().map_err(failed("read", path))?.len();
    Ok((file, length))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DeskError {
    let path = path.to_owned();
    move |source| DeskError::File {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(have: u64, pieces: &[(u64, u64)]) -> Vec<(u64, u64, u64)> {
        let piece = |&(begins, size)| Piece { begins, size };
        let pieces: Vec<Piece> = pieces.iter().map(piece).collect();
        let parts = lacking(have, &pieces);
        parts.iter().map(|p| (p.piece, p.from, p.count)).collect()
    }

    #[test]
    fn only_what_is_lacking_is_fetched() {
        assert_eq!(parts(0, &[]), []);
        assert_eq!(parts(0, &[(0, 5), (5, 3)]), [(0, 0, 5), (5, 5, 3)]);
        assert_eq!(parts(5, &[(0, 5), (5, 3)]), [(5, 5, 3)]);
        assert_eq!(parts(8, &[(0, 5), (5, 3)]), []);
        // A file that was cut off in the middle of a piece.
        assert_eq!(parts(6, &[(0, 5), (5, 3)]), [(5, 6, 2)]);
    }

    #[test]
    fn pieces_that_grew_or_overlap_are_taken_up_where_the_file_ends() {
        assert_eq!(parts(5, &[(0, 9), (9, 1)]), [(0, 5, 4), (9, 9, 1)]);
        assert_eq!(parts(0, &[(0, 5), (3, 6)]), [(0, 0, 5), (3, 5, 4)]);
        assert_eq!(parts(0, &[(0, 9), (3, 2)]), [(0, 0, 9)]);
    }

    #[test]
    fn behind_a_gap_nothing_is_usable() {
        assert_eq!(parts(0, &[(0, 5), (6, 3), (9, 2)]), [(0, 0, 5)]);
        assert_eq!(parts(0, &[(1, 5)]), []);
    }
}
