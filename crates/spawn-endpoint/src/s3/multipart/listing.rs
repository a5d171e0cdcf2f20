//! What uploads there are, and what parts they have.

use std::sync::Arc;

use rusqlite::params;
use s3s::dto::{
    ETag, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput,
    MultipartUpload, Part,
};
use s3s::{S3Result, s3_error};

use super::{require_upload, stored_parts};
use crate::s3::objects::fill_checksums;
use crate::s3::store::{Store, require_bucket, timestamp};

pub(in crate::s3) async fn list_parts(
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

pub(in crate::s3) async fn list_uploads(
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
