//! The database that says which blobs make up which object.
//!
//! An object is a row: size, ETag, metadata, and the pieces of blobs that are its content, in
//! order. `blobs.refs` counts the pieces that name a blob, in objects and in parts of uploads.
//! Content is published by one transaction that inserts the row and moves the counts; a blob whose
//! count reaches zero is removed after the commit. A crash in between leaves files that no row
//! names; they are removed after the next start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use s3s::dto::Timestamp;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::blobs::{Blobs, Piece};
use super::metadata::Metadata;
use crate::{EndpointError, database, disk};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY,
    region TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    pieces TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    metadata TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    checksums TEXT NOT NULL,
    pieces TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs (
    name TEXT PRIMARY KEY,
    refs INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
";

/// Why an operation did not happen.
pub(super) enum Fault {
    /// An answer for the client.
    Refused(S3Error),
    /// The store itself failed.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// What happens inside the store.
pub(super) type Outcome<T> = Result<T, Fault>;

impl From<S3Error> for Fault {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// The answer to what the store itself could not do: a full disk has its own name.
pub(super) fn broken(blobs: &Blobs, error: Box<dyn std::error::Error + Send + Sync>) -> S3Error {
    let dir = blobs.store_dir();
    if disk::is_full(&*error) || disk::says_full(&error.to_string()) || disk::has_no_room(dir) {
        let code = S3ErrorCode::Custom(disk::CODE.into());
        let mut answer = S3Error::with_message(code, disk::message(dir));
        answer.set_status_code(disk::STATUS);
        return answer;
    }
    let message = format!("The local store failed: {error}");
    let mut answer = S3Error::with_message(S3ErrorCode::InternalError, message);
    answer.set_source(error);
    answer
}

/// One object's row.
pub(super) struct Object {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified_ms: i64,
    pub(super) metadata: Metadata,
    pub(super) pieces: Vec<Piece>,
}

/// Blobs that a transaction left without a reference.
#[derive(Default)]
pub(super) struct Unreferenced(Vec<String>);

/// Buckets, objects and uploads.
pub(super) struct Store {
    database: Mutex<Connection>,
    pub(super) blobs: Arc<Blobs>,
}

impl Store {
    pub(super) fn open(file: &Path, blobs: PathBuf) -> Result<Self, EndpointError> {
        Ok(Self {
            database: Mutex::new(database::open(file, SCHEMA)?),
            blobs: Arc::new(Blobs::new(blobs)),
        })
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Outcome<T> + Send + 'static,
    ) -> S3Result<T> {
        let store = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Fault::Refused(error))) => Err(error),
            Ok(Err(Fault::Broken(error))) => Err(broken(&self.blobs, error)),
            Err(error) => Err(s3_error!(error, InternalError)),
        }
    }

    /// Reads under the lock. While it is held no blob can lose its last reference.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        work(&self.database.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs one transaction, then removes the blobs that it left without a reference.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Unreferenced) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut unreferenced = Unreferenced::default();
        let done = {
            let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction, &mut unreferenced)?;
            transaction.commit()?;
            done
        };
        self.blobs.remove(unreferenced.0);
        Ok(done)
    }

    /// Removes the blobs that earlier processes left behind unpublished or unreferenced.
    pub(super) fn remove_orphans(&self) {
        for name in self.blobs.of_earlier_processes() {
            // No statement can bring a reference back to such a blob, so the answer is final.
            let known = self.read(|database| {
                let mut find = database.prepare_cached("SELECT 1 FROM blobs WHERE name = ?1")?;
                Ok(find.exists([&name])?)
            });
            if matches!(known, Ok(false)) {
                self.blobs.remove(vec![name]);
            }
        }
    }
}

/// Counts `pieces` as named once more.
pub(super) fn add_references(database: &Transaction<'_>, pieces: &[Piece]) -> Outcome<()> {
    let mut add = database.prepare_cached(
        "INSERT INTO blobs (name, refs) VALUES (?1, ?2) \
         ON CONFLICT (name) DO UPDATE SET refs = refs + excluded.refs",
    )?;
    for (name, count) in count_blobs(pieces) {
        add.execute(params![name, count])?;
    }
    Ok(())
}

/// Counts `pieces` as named once less.
pub(super) fn drop_references(
    database: &Transaction<'_>,
    unreferenced: &mut Unreferenced,
    pieces: &[Piece],
) -> Outcome<()> {
    let mut drop = database
        .prepare_cached("UPDATE blobs SET refs = refs - ?2 WHERE name = ?1 RETURNING refs")?;
    for (name, count) in count_blobs(pieces) {
        let left: Option<i64> = drop
            .query_row(params![name, count], |row| row.get(0))
            .optional()?;
        if left.is_some_and(|refs| refs <= 0) {
            database
                .prepare_cached("DELETE FROM blobs WHERE name = ?1")?
                .execute([name])?;
            unreferenced.0.push(name.to_owned());
        }
    }
    Ok(())
}

fn count_blobs(pieces: &[Piece]) -> BTreeMap<&str, i64> {
    let mut counts = BTreeMap::new();
    for piece in pieces {
        *counts.entry(piece.blob.as_str()).or_insert(0) += 1;
    }
    counts
}

/// Fails with `NoSuchBucket` if there is none.
pub(super) fn require_bucket(database: &Connection, bucket: &str) -> Outcome<()> {
    let mut find = database.prepare_cached("SELECT 1 FROM buckets WHERE name = ?1")?;
    if find.exists([bucket])? {
        Ok(())
    } else {
        Err(s3_error!(
            NoSuchBucket,
            "The specified bucket does not exist: {bucket}"
        )
        .into())
    }
}

/// The object at `key`, if there is one.
pub(super) fn find(database: &Connection, bucket: &str, key: &str) -> Outcome<Option<Object>> {
    let mut find = database.prepare_cached(
        "SELECT size, etag, modified_ms, metadata, pieces FROM objects WHERE bucket = ?1 AND key = ?2",
    )?;
    let row = find
        .query_row(params![bucket, key.as_bytes()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, String>(4)?,
            ))
        })
        .optional()?;
    let Some((size, etag, modified_ms, metadata, pieces)) = row else {
        return Ok(None);
    };
    Ok(Some(Object {
        size: size.unsigned_abs(),
        etag,
        modified_ms,
        metadata: serde_json::from_str(&metadata)?,
        pieces: serde_json::from_str(&pieces)?,
    }))
}

/// The object at `key`, or the error that says what is missing.
pub(super) fn require(database: &Connection, bucket: &str, key: &str) -> Outcome<Object> {
    require_bucket(database, bucket)?;
    match find(database, bucket, key)? {
        Some(object) => Ok(object),
        None => Err(s3_error!(NoSuchKey, "The specified key does not exist.").into()),
    }
}

/// Puts `object` at `key` in place of what is there. References to its pieces must be counted.
pub(super) fn replace(
    database: &Transaction<'_>,
    unreferenced: &mut Unreferenced,
    bucket: &str,
    key: &str,
    object: &Object,
) -> Outcome<()> {
    remove(database, unreferenced, bucket, key)?;
    database
        .prepare_cached(
            "INSERT INTO objects (bucket, key, size, etag, modified_ms, metadata, pieces) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            bucket,
            key.as_bytes(),
            object.size.cast_signed(),
            object.etag,
            object.modified_ms,
            serde_json::to_string(&object.metadata)?,
            serde_json::to_string(&object.pieces)?,
        ])?;
    Ok(())
}

/// Removes the object at `key`, if there is one.
pub(super) fn remove(
    database: &Transaction<'_>,
    unreferenced: &mut Unreferenced,
    bucket: &str,
    key: &str,
) -> Outcome<()> {
    let mut delete = database
        .prepare_cached("DELETE FROM objects WHERE bucket = ?1 AND key = ?2 RETURNING pieces")?;
    let pieces: Option<String> = delete
        .query_row(params![bucket, key.as_bytes()], |row| row.get(0))
        .optional()?;
    match pieces {
        Some(pieces) => drop_references(
            database,
            unreferenced,
            &serde_json::from_str::<Vec<_>>(&pieces)?,
        ),
        None => Ok(()),
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time `ms` milliseconds after 1970.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs()))
}
