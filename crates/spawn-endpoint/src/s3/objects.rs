//! Whole objects: put, get, head, delete.

use std::sync::Arc;

use hyper::StatusCode;
use s3s::dto::{
    ChecksumMode, ChecksumType, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, PutObjectInput, PutObjectOutput, Range, StreamingBlob,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::blobs::slice;
use super::checksums::{Algorithm, Checksums};
use super::conditions::Conditions;
use super::metadata::{Metadata, metadata_of};
use super::store::{self, Object, Outcome, Store, now_ms, require_bucket, timestamp};
use super::{download, upload};
use crate::identifiers::to_hex;

/// Fills the five checksum fields of an output.
macro_rules! fill_checksums {
    ($output:expr, $checksums:expr) => {{
        let checksums: &$crate::s3::checksums::Checksums = $checksums;
        use $crate::s3::checksums::Algorithm;
        $output.checksum_crc32 = checksums.get(Algorithm::Crc32);
        $output.checksum_crc32c = checksums.get(Algorithm::Crc32c);
        $output.checksum_crc64nvme = checksums.get(Algorithm::Crc64Nvme);
        $output.checksum_sha1 = checksums.get(Algorithm::Sha1);
        $output.checksum_sha256 = checksums.get(Algorithm::Sha256);
    }};
}
pub(super) use fill_checksums;

/// How a checksum came about, for outputs that say so.
pub(super) fn checksum_type(checksums: &Checksums) -> Option<ChecksumType> {
    if Algorithm::ALL
        .iter()
        .all(|algorithm| checksums.get(*algorithm).is_none())
    {
        return None;
    }
    let kind = if checksums.composite {
        ChecksumType::COMPOSITE
    } else {
        ChecksumType::FULL_OBJECT
    };
    Some(ChecksumType::from_static(kind))
}

pub(super) async fn put(
    store: &Arc<Store>,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let input = &mut request.input;
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "Appending to an object is not implemented"
        ));
    }
    let metadata = metadata_of!(input);
    let conditions = Conditions {
        if_match: input.if_match.take(),
        if_none_match: input.if_none_match.take(),
        ..Conditions::default()
    };
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let body = input.body.take();
    // Said before a large body is taken in; checked again when it is published.
    let wanted = bucket.clone();
    store
        .run(move |store| store.read(|database| require_bucket(database, &wanted)))
        .await?;

    let mut upload = upload::receive(
        &store.blobs,
        body,
        &request.headers,
        request.trailing_headers,
    )
    .await?;
    let object = store
        .run(move |store| {
            let object = Object {
                size: upload.draft.len(),
                etag: to_hex(&upload.md5),
                modified_ms: now_ms(),
                metadata: Metadata {
                    checksums: upload.checksums,
                    ..metadata
                },
                pieces: upload.draft.seal()?,
            };
            store.write(|tx, unreferenced| {
                require_bucket(tx, &bucket)?;
                if conditions.any() {
                    conditions.check_write(store::find(tx, &bucket, &key)?.as_ref())?;
                }
                store::add_references(tx, &object.pieces)?;
                store::replace(tx, unreferenced, &bucket, &key, &object)
            })?;
            upload.draft.keep();
            Ok(object)
        })
        .await?;

    let mut output = PutObjectOutput {
        checksum_type: checksum_type(&object.metadata.checksums),
        e_tag: Some(ETag::Strong(object.etag)),
        ..PutObjectOutput::default()
    };
    fill_checksums!(output, &object.metadata.checksums);
    Ok(S3Response::new(output))
}

/// What to read of an object.
struct Wanted {
    conditions: Conditions,
    range: Option<Range>,
    part_number: Option<i32>,
    with_checksums: bool,
    has_version: bool,
}

/// What was found of it.
struct Found {
    object: Object,
    span: std::ops::Range<u64>,
    partial: bool,
    body: Option<StreamingBlob>,
}

macro_rules! wanted_of {
    ($input:expr) => {
        Wanted {
            conditions: Conditions {
                if_match: $input.if_match,
                if_none_match: $input.if_none_match,
                if_modified_since: $input.if_modified_since,
                if_unmodified_since: $input.if_unmodified_since,
            },
            range: $input.range,
            part_number: $input.part_number,
            with_checksums: $input
                .checksum_mode
                .is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED),
            has_version: $input.version_id.is_some_and(|version| version != "null"),
        }
    };
}

impl Wanted {
    fn find(&self, store: &Arc<Store>, bucket: &str, key: &str, body: bool) -> Outcome<Found> {
        if self.has_version {
            return Err(
                s3_error!(NotImplemented, "Versions of objects are not implemented").into(),
            );
        }
        let (object, span, pinned) = store.read(|database| {
            let object = store::require(database, bucket, key)?;
            self.conditions.check_read(&object)?;
            let span = self.span(&object)?;
            // Under the lock, so that no overwrite can remove a blob before it is pinned.
            let pinned = store.blobs.pin(&object.pieces);
            Ok((object, span, pinned))
        })?;
        let body = if body {
            Some(download::body(
                &store.blobs,
                slice(&object.pieces, span.clone()),
            )?)
        } else {
            None
        };
        drop(pinned);
        Ok(Found {
            span,
            partial: self.range.is_some() || self.part_number.is_some(),
            body,
            object,
        })
    }

    fn span(&self, object: &Object) -> S3Result<std::ops::Range<u64>> {
        let Some(number) = self.part_number else {
            return match &self.range {
                Some(range) => Ok(range.check(object.size)?),
                None => Ok(0..object.size),
            };
        };
        let sizes = &object.metadata.part_sizes;
        if sizes.is_empty() && number == 1 {
            return Ok(0..object.size);
        }
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        match sizes.get(index) {
            Some(size) => {
                let start: u64 = sizes[..index].iter().sum();
                Ok(start..start + size)
            }
            None => Err(s3_error!(InvalidRange, "The object has no part {number}")),
        }
    }
}

/// The fields that GET and HEAD answer with alike.
macro_rules! answer {
    ($kind:ident, $found:expr, $with_checksums:expr) => {{
        let found: &Found = $found;
        let metadata = &found.object.metadata;
        let parts = metadata.part_sizes.len();
        let mut output = $kind {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: metadata.cache_control.clone(),
            content_disposition: metadata.content_disposition.clone(),
            content_encoding: metadata.content_encoding.clone(),
            content_language: metadata.content_language.clone(),
            content_length: Some((found.span.end - found.span.start).cast_signed()),
            content_range: found.content_range(),
            content_type: Some(
                metadata
                    .content_type
                    .clone()
                    .unwrap_or_else(|| "binary/octet-stream".to_owned()),
            ),
            e_tag: Some(ETag::Strong(found.object.etag.clone())),
            expires: metadata.expires.clone(),
            last_modified: Some(timestamp(found.object.modified_ms)),
            metadata: (!metadata.user.is_empty())
                .then(|| metadata.user.clone().into_iter().collect()),
            parts_count: (parts > 0).then(|| i32::try_from(parts).unwrap_or(i32::MAX)),
            ..$kind::default()
        };
        // A checksum is of the whole, so it belongs to a whole answer only.
        if $with_checksums && found.span == (0..found.object.size) {
            fill_checksums!(output, &metadata.checksums);
            output.checksum_type = checksum_type(&metadata.checksums);
        }
        output
    }};
}

impl Found {
    fn content_range(&self) -> Option<String> {
        (self.partial && self.span.start < self.span.end).then(|| {
            let last = self.span.end - 1;
            format!("bytes {}-{last}/{}", self.span.start, self.object.size)
        })
    }

    fn respond<T>(&self, output: T) -> S3Response<T> {
        if self.content_range().is_some() {
            S3Response::with_status(output, StatusCode::PARTIAL_CONTENT)
        } else {
            S3Response::new(output)
        }
    }
}

pub(super) async fn get(
    store: &Arc<Store>,
    input: GetObjectInput,
) -> S3Result<S3Response<GetObjectOutput>> {
    let (bucket, key) = (input.bucket, input.key);
    let wanted = wanted_of!(input);
    let with_checksums = wanted.with_checksums;
    let mut found = store
        .run(move |store| wanted.find(store, &bucket, &key, true))
        .await?;
    let body = found.body.take();
    let mut output = answer!(GetObjectOutput, &found, with_checksums);
    let tags = found.object.metadata.tags.len();
    output.tag_count = (tags > 0).then(|| i32::try_from(tags).unwrap_or(i32::MAX));
    output.body = body;
    Ok(found.respond(output))
}

pub(super) async fn head(
    store: &Arc<Store>,
    input: HeadObjectInput,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let (bucket, key) = (input.bucket, input.key);
    let wanted = wanted_of!(input);
    let with_checksums = wanted.with_checksums;
    let found = store
        .run(move |store| wanted.find(store, &bucket, &key, false))
        .await?;
    let output = answer!(HeadObjectOutput, &found, with_checksums);
    Ok(found.respond(output))
}

pub(super) async fn delete(
    store: &Arc<Store>,
    input: DeleteObjectInput,
) -> S3Result<DeleteObjectOutput> {
    if input.version_id.is_some_and(|version| version != "null") {
        return Err(s3_error!(
            NotImplemented,
            "Versions of objects are not implemented"
        ));
    }
    let (bucket, key) = (input.bucket, input.key);
    let conditions = Conditions {
        if_match: input.if_match,
        ..Conditions::default()
    };
    store
        .run(move |store| {
            store.write(|tx, unreferenced| {
                require_bucket(tx, &bucket)?;
                if conditions.any() {
                    conditions.check_write(store::find(tx, &bucket, &key)?.as_ref())?;
                }
                store::remove(tx, unreferenced, &bucket, &key)
            })
        })
        .await?;
    Ok(DeleteObjectOutput::default())
}

pub(super) async fn delete_many(
    store: &Arc<Store>,
    input: DeleteObjectsInput,
) -> S3Result<DeleteObjectsOutput> {
    let bucket = input.bucket;
    let quiet = input.delete.quiet.unwrap_or(false);
    let keys: Vec<String> = input
        .delete
        .objects
        .into_iter()
        .map(|object| object.key)
        .collect();
    if keys.len() > 1000 {
        return Err(s3_error!(
            MalformedXML,
            "At most 1000 keys can be deleted at once"
        ));
    }
    let deleted = store
        .run(move |store| {
            store.write(|tx, unreferenced| {
                require_bucket(tx, &bucket)?;
                for key in &keys {
                    store::remove(tx, unreferenced, &bucket, key)?;
                }
                Ok(keys)
            })
        })
        .await?;
    Ok(DeleteObjectsOutput {
        deleted: (!quiet).then(|| {
            deleted
                .into_iter()
                .map(|key| DeletedObject {
                    key: Some(key),
                    ..DeletedObject::default()
                })
                .collect()
        }),
        ..DeleteObjectsOutput::default()
    })
}
