//! Multipart uploads. Completing one moves references: the parts' blobs become the object's.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part, Range,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::blobs::{Piece, slice};
use super::checksums::{self, Algorithm, Checksums};
use super::conditions::Conditions;
use super::metadata::{Metadata, metadata_of};
use super::objects::{checksum_type, fill_checksums};
use super::store::{
    self, Object, Outcome, Store, Unreferenced, add_references, drop_references, now_ms,
    require_bucket, timestamp,
};
use super::{copies, upload};
use crate::identifiers::{self, to_hex};

/// Every part but the last must have this many bytes, as at AWS.
const MIN_PART: u64 = 5 * 1024 * 1024;
const MAX_PART_NUMBER: i32 = 10_000;

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

pub(super) async fn create(
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

pub(super) async fn upload_part(
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

pub(super) async fn upload_part_copy(
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

pub(super) async fn complete(
    store: &Arc<Store>,
    input: CompleteMultipartUploadInput,
) -> S3Result<CompleteMultipartUploadOutput> {
    let conditions = Conditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        ..Conditions::default()
    };
    let mut listed = Vec::new();
    for part in input
        .multipart_upload
        .and_then(|upload| upload.parts)
        .unwrap_or_default()
    {
        let number = part.part_number.unwrap_or_default();
        if listed.last().is_some_and(|(last, _)| *last >= number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number."
            ));
        }
        listed.push((number, part.e_tag.map(ETag::into_value)));
    }
    if listed.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "You must specify at least one part"
        ));
    }
    let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id);
    let object = store
        .run(move |store| {
            store.write(|tx, unreferenced| {
                let intent = require_upload(tx, &id, &bucket, &key)?;
                let mut stored = stored_parts(tx, &id)?;
                let object = assemble(intent, &listed, &mut stored)?;
                if conditions.any() {
                    conditions.check_write(store::find(tx, &bucket, &key)?.as_ref())?;
                }
                // What is left in `stored` was uploaded and not listed.
                for part in stored.values() {
                    drop_references(tx, unreferenced, &part.pieces)?;
                }
                tx.execute("DELETE FROM parts WHERE upload = ?1", [&id])?;
                tx.execute("DELETE FROM uploads WHERE id = ?1", [&id])?;
                store::replace(tx, unreferenced, &bucket, &key, &object)?;
                Ok(object)
            })
        })
        .await?;
    let mut output = CompleteMultipartUploadOutput {
        checksum_type: checksum_type(&object.metadata.checksums),
        e_tag: Some(ETag::Strong(object.etag)),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        ..CompleteMultipartUploadOutput::default()
    };
    fill_checksums!(output, &object.metadata.checksums);
    Ok(output)
}

/// Takes the listed parts out of `stored` and makes the object of them.
fn assemble(
    intent: Intent,
    listed: &[(i32, Option<String>)],
    stored: &mut BTreeMap<i32, StoredPart>,
) -> S3Result<Object> {
    let mut parts = Vec::with_capacity(listed.len());
    for (index, (number, etag)) in listed.iter().enumerate() {
        let part = stored.remove(number);
        let Some(part) = part.filter(|part| etag.as_ref().is_none_or(|etag| *etag == part.etag))
        else {
            return Err(s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found. The part may not have been \
                 uploaded, or the specified entity tag may not match the part's entity tag."
            ));
        };
        if part.size < MIN_PART && index + 1 < listed.len() {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            ));
        }
        parts.push(part);
    }
    let mut digest = Md5::new();
    for part in &parts {
        for pair in part.etag.as_bytes().chunks(2) {
            let digits = std::str::from_utf8(pair).unwrap_or_default();
            digest.update(&[u8::from_str_radix(digits, 16).unwrap_or_default()]);
        }
    }
    let etag = format!("{}-{}", to_hex(&digest.finalize()), parts.len());
    let sums: Vec<_> = parts
        .iter()
        .map(|part| (part.size, part.checksums.clone()))
        .collect();
    let checksums = intent
        .algorithm
        .and_then(|algorithm| checksums::of_parts(algorithm, intent.full_object, &sums))
        .unwrap_or_default();
    Ok(Object {
        size: parts.iter().map(|part| part.size).sum(),
        etag,
        modified_ms: now_ms(),
        metadata: Metadata {
            checksums,
            part_sizes: parts.iter().map(|part| part.size).collect(),
            ..intent.metadata
        },
        pieces: parts.into_iter().flat_map(|part| part.pieces).collect(),
    })
}

pub(super) async fn abort(
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

pub(super) async fn list_parts(
    store: &Arc<Store>,
    input: ListPartsInput,
) -> S3Result<ListPartsOutput> {
    let (bucket, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let stored = store
        .run(move |store| {
            store.read(|database| {
                require_upload(database, &id, &bucket, &key)?;
                stored_parts(database, &id)
            })
        })
        .await?;
    let after = input.part_number_marker.unwrap_or(0);
    let max = usize::try_from(input.max_parts.unwrap_or(1000))
        .unwrap_or(0)
        .min(1000);
    let mut listed: Vec<Part> = Vec::new();
    let mut truncated = false;
    for (number, stored) in stored.into_iter().filter(|(number, _)| *number > after) {
        if listed.len() == max {
            truncated = true;
            break;
        }
        let mut part = Part {
            e_tag: Some(ETag::Strong(stored.etag)),
            last_modified: Some(timestamp(stored.modified_ms)),
            part_number: Some(number),
            size: Some(stored.size.cast_signed()),
            ..Part::default()
        };
        fill_checksums!(part, &stored.checksums);
        listed.push(part);
    }
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(truncated),
        max_parts: i32::try_from(max).ok(),
        part_number_marker: Some(after),
        next_part_number_marker: listed.last().and_then(|part| part.part_number),
        parts: Some(listed),
        ..ListPartsOutput::default()
    })
}

pub(super) async fn list_uploads(
    store: &Arc<Store>,
    input: ListMultipartUploadsInput,
) -> S3Result<ListMultipartUploadsOutput> {
    if input.delimiter.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "Listing uploads by delimiter is not implemented"
        ));
    }
    let bucket = input.bucket.clone();
    let prefix = input.prefix.clone().unwrap_or_default();
    let max = usize::try_from(input.max_uploads.unwrap_or(1000))
        .unwrap_or(0)
        .min(1000);
    let after_key = input.key_marker.clone().unwrap_or_default();
    let after_id = input.upload_id_marker.clone();
    let mut uploads: Vec<MultipartUpload> = store
        .run(move |store| {
            store.read(|database| {
                require_bucket(database, &bucket)?;
                let mut select = database.prepare(
                    "SELECT key, id, created_ms FROM uploads WHERE bucket = ?1 \
                     AND (key > ?2 OR (key = ?2 AND id > ?3)) ORDER BY key, id",
                )?;
                // Without an upload id to go on from, the marker's key itself is passed over.
                let after_id = after_id.as_deref().unwrap_or("~");
                let mut rows = select.query(params![bucket, after_key.as_bytes(), after_id])?;
                let mut uploads = Vec::new();
                while let Some(row) = rows.next()? {
                    let key: Vec<u8> = row.get(0)?;
                    let key = String::from_utf8_lossy(&key).into_owned();
                    if key.starts_with(&prefix) && uploads.len() <= max {
                        uploads.push(MultipartUpload {
                            key: Some(key),
                            upload_id: Some(row.get(1)?),
                            initiated: Some(timestamp(row.get(2)?)),
                            ..MultipartUpload::default()
                        });
                    }
                }
                Ok(uploads)
            })
        })
        .await?;
    let truncated = uploads.len() > max;
    uploads.truncate(max);
    let last = uploads.last().filter(|_| truncated);
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        next_key_marker: last.and_then(|upload| upload.key.clone()),
        next_upload_id_marker: last.and_then(|upload| upload.upload_id.clone()),
        is_truncated: Some(truncated),
        max_uploads: i32::try_from(max).ok(),
        uploads: Some(uploads),
        ..ListMultipartUploadsOutput::default()
    })
}
