//! Completing an upload: the parts' blobs become the object's.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{CompleteMultipartUploadInput, CompleteMultipartUploadOutput, ETag};
use s3s::{S3Result, s3_error};

use super::{Intent, StoredPart, require_upload, stored_parts};
use crate::identifiers::to_hex;
use crate::s3::checksums;
use crate::s3::conditions::Conditions;
use crate::s3::metadata::Metadata;
use crate::s3::objects::{checksum_type, fill_checksums};
use crate::s3::store::{self, Object, Store, drop_references, now_ms};

/// Every part but the last must have this many bytes, as at AWS.
const MIN_PART: u64 = 5 * 1024 * 1024;

pub(in crate::s3) async fn complete(
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
