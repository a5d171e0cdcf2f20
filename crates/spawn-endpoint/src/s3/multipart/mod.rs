//! Multipart uploads: rows of parts, each over blobs of its own.

mod complete;
mod listing;

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumType, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, Range, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use crate::identifiers::{self, to_hex};
use crate::s3::blobs::{Piece, slice};
use crate::s3::checksums::{Algorithm, Checksums};
use crate::s3::conditions::Conditions;
use crate::s3::metadata::{Metadata, metadata_of};
use crate::s3::objects::fill_checksums;
use crate::s3::store::{
    self, Outcome, Store, Unreferenced, add_references, drop_references, now_ms, require_bucket,
    timestamp,
};
use crate::s3::{copies, upload};

const MAX_PART_NUMBER: i32 = 10_000;

pub(super) use complete::complete;
pub(super) use listing::{list_parts, list_uploads};

/// What an upload remembers for the object it will be.
#[derive(Serialize, Deserialize)]
struct Intent {
    metadata: Metadata,
    algorithm: Option<Algorithm>,
    full_object: bool,
}

/// One part's row.
struct StoredPart {
    size: u64,
    etag: String,
    modified_ms: i64,
    checksums: Checksums,
    pieces: Vec<Piece>,
}

pub(in crate::s3) async fn create(
    store: &Arc<Store>,
    mut input: CreateMultipartUploadInput,
) -> S3Result<CreateMultipartUploadOutput> {
    let algorithm = match &input.checksum_algorithm {
        None => None,
        Some(name) => Some(Algorithm::named(name.as_str()).ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "Checksum algorithm provided is unsupported: {}",
                name.as_str()
            )
        })?),
    };
    let full_object = match &input.checksum_type {
        Some(kind) => kind.as_str() == ChecksumType::FULL_OBJECT,
        None => algorithm == Some(Algorithm::Crc64Nvme),
    };
    let intent = Intent {
        metadata: metadata_of!(input),
        algorithm,
        full_object,
    };
    let id = format!("{}{}", identifiers::hex::<16>(), identifiers::hex::<16>());
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let row = id.clone();
    store
        .run(move |store| {
            store.write(|tx, _| {
                require_bucket(tx, &bucket)?;
                tx.execute(
                    "INSERT INTO uploads (id, bucket, key, created_ms, metadata) \
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        row,
                        bucket,
                        key.as_bytes(),
                        now_ms(),
                        serde_json::to_string(&intent)?
                    ],
                )?;
                Ok(())
            })
        })
        .await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_type: algorithm.map(|_| {
            ChecksumType::from_static(if full_object {
                ChecksumType::FULL_OBJECT
            } else {
                ChecksumType::COMPOSITE
            })
        }),
        checksum_algorithm: input.checksum_algorithm,
        ..CreateMultipartUploadOutput::default()
    })
}

fn require_upload(database: &Connection, id: &str, bucket: &str, key: &str) -> Outcome<Intent> {
    require_bucket(database, bucket)?;
    let intent: Option<String> = database
        .prepare_cached("SELECT metadata FROM uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![id, bucket, key.as_bytes()], |row| row.get(0))
        .optional()?;
    match intent {
        Some(intent) => Ok(serde_json::from_str(&intent)?),
        None => Err(s3_error!(
            NoSuchUpload,
            "The specified upload does not exist. It may have been aborted or completed."
        )
        .into()),
    }
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=MAX_PART_NUMBER).contains(&number) {
        Ok(())
    } else {
        Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive"
        ))
    }
}

fn stored_parts(database: &Connection, id: &str) -> Outcome<BTreeMap<i32, StoredPart>> {
    let mut select = database.prepare_cached(
        "SELECT number, size, etag, modified_ms, checksums, pieces FROM parts WHERE upload = ?1",
    )?;
    let mut rows = select.query([id])?;
    let mut parts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let part = StoredPart {
            size: row.get::<_, i64>(1)?.unsigned_abs(),
            etag: row.get(2)?,
            modified_ms: row.get(3)?,
            checksums: serde_json::from_str(&row.get::<_, String>(4)?)?,
            pieces: serde_json::from_str(&row.get::<_, String>(5)?)?,
        };
        parts.insert(row.get(0)?, part);
    }
    Ok(parts)
}

fn replace_part(
    tx: &rusqlite::Transaction<'_>,
    unreferenced: &mut Unreferenced,
    id: &str,
    number: i32,
    part: &StoredPart,
) -> Outcome<()> {
    add_references(tx, &part.pieces)?;
    let old: Option<String> = tx
        .prepare_cached("DELETE FROM parts WHERE upload = ?1 AND number = ?2 RETURNING pieces")?
        .query_row(params![id, number], |row| row.get(0))
        .optional()?;
    if let Some(old) = old {
        drop_references(tx, unreferenced, &serde_json::from_str::<Vec<_>>(&old)?)?;
    }
    tx.prepare_cached(
        "INSERT INTO parts (upload, number, size, etag, modified_ms, checksums, pieces) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        id,
        number,
        part.size.cast_signed(),
        part.etag,
        part.modified_ms,
        serde_json::to_string(&part.checksums)?,
        serde_json::to_string(&part.pieces)?,
    ])?;
    Ok(())
}

pub(in crate::s3) async fn upload_part(
    store: &Arc<Store>,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    let input = &mut request.input;
    let number = input.part_number;
    check_number(number)?;
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let id = input.upload_id.clone();
    let body = input.body.take();
    let wanted = (id.clone(), bucket.clone(), key.clone());
    store
        .run(move |store| {
            store.read(|database| require_upload(database, &wanted.0, &wanted.1, &wanted.2))
        })
        .await?;
    let mut upload = upload::receive(
        &store.blobs,
        body,
        &request.headers,
        request.trailing_headers,
    )
    .await?;
    let part = store
        .run(move |store| {
            let part = StoredPart {
                size: upload.draft.len(),
                etag: to_hex(&upload.md5),
                modified_ms: now_ms(),
                checksums: upload.checksums,
                pieces: upload.draft.seal()?,
            };
            store.write(|tx, unreferenced| {
                require_upload(tx, &id, &bucket, &key)?;
                replace_part(tx, unreferenced, &id, number, &part)
            })?;
            upload.draft.keep();
            Ok(part)
        })
        .await?;
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(part.etag)),
        ..UploadPartOutput::default()
    };
    fill_checksums!(output, &part.checksums);
    Ok(output)
}

pub(in crate::s3) async fn upload_part_copy(
    store: &Arc<Store>,
    input: UploadPartCopyInput,
) -> S3Result<UploadPartCopyOutput> {
    let number = input.part_number;
    check_number(number)?;
    let (from_bucket, from_key) = copies::source(&input.copy_source)?;
    let range = match &input.copy_source_range {
        None => None,
        Some(text) => Some(Range::parse(text).map_err(|error| {
            s3_error!(
                error,
                InvalidArgument,
                "The x-amz-copy-source-range value must be of the form bytes=first-last"
            )
        })?),
    };
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
    let part = store
        .run(move |store| {
            store.write(|tx, unreferenced| {
                require_upload(tx, &id, &bucket, &key)?;
                let source = store::require(tx, &from_bucket, &from_key)?;
                conditions.check_source(&source)?;
                let span = match range {
                    Some(range) => range.check(source.size).map_err(s3s::S3Error::from)?,
                    None => 0..source.size,
                };
                // The content is not read, so the tag is not its MD5; it is as good as one to
                // tell it from any other, and the same each time.
                let mut tag = Md5::new();
                tag.update(format!("{} {}-{}", source.etag, span.start, span.end).as_bytes());
                let part = StoredPart {
                    size: span.end - span.start,
                    etag: to_hex(&tag.finalize()),
                    modified_ms: now_ms(),
                    checksums: Checksums::default(),
                    pieces: slice(&source.pieces, span),
                };
                replace_part(tx, unreferenced, &id, number, &part)?;
                Ok(part)
            })
        })
        .await?;
    Ok(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(ETag::Strong(part.etag)),
            last_modified: Some(timestamp(part.modified_ms)),
            ..CopyPartResult::default()
        }),
        ..UploadPartCopyOutput::default()
    })
}

pub(in crate::s3) async fn abort(
    store: &Arc<Store>,
    input: AbortMultipartUploadInput,
) -> S3Result<AbortMultipartUploadOutput> {
    store
        .run(move |store| {
            let id = &input.upload_id;
            store.write(|tx, unreferenced| {
                require_upload(tx, id, &input.bucket, &input.key)?;
                for part in stored_parts(tx, id)?.values() {
                    drop_references(tx, unreferenced, &part.pieces)?;
                }
                tx.execute("DELETE FROM parts WHERE upload = ?1", [id])?;
                tx.execute("DELETE FROM uploads WHERE id = ?1", [id])?;
                Ok(())
            })
        })
        .await?;
    Ok(AbortMultipartUploadOutput::default())
}
