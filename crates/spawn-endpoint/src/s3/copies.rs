//! Copies: a new row over the same blobs.

use std::sync::Arc;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag, MetadataDirective,
    TaggingDirective,
};
use s3s::{S3Result, s3_error};

use super::conditions::Conditions;
use super::metadata::{Metadata, metadata_of};
use super::objects::{checksum_type, fill_checksums};
use super::store::{self, Object, Store, now_ms, require_bucket, timestamp};

/// The bucket and key that a copy reads.
pub(super) fn source(source: &CopySource) -> S3Result<(String, String)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id: None,
        } => Ok((bucket.to_string(), key.to_string())),
        _ => Err(s3_error!(
            NotImplemented,
            "Copies from versions, access points and outposts are not implemented"
        )),
    }
}

pub(super) async fn copy(
    store: &Arc<Store>,
    mut input: CopyObjectInput,
) -> S3Result<CopyObjectOutput> {
    let (from_bucket, from_key) = source(&input.copy_source)?;
    let given = metadata_of!(input);
    let replaces = |directive: Option<&str>| directive == Some(MetadataDirective::REPLACE);
    let new_metadata = replaces(
        input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str),
    );
    let new_tags = replaces(
        input
            .tagging_directive
            .as_ref()
            .map(TaggingDirective::as_str),
    );
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let (bucket, key) = (input.bucket, input.key);
    let onto_itself = from_bucket == bucket && from_key == key;
    if onto_itself && !new_metadata && !new_tags && input.storage_class.is_none() {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata, storage class, website redirect location \
             or encryption attributes."
        ));
    }
    let object = store
        .run(move |store| {
            store.write(|tx, unreferenced| {
                let found = store::require(tx, &from_bucket, &from_key)?;
                conditions.check_source(&found)?;
                require_bucket(tx, &bucket)?;
                let kept = found.metadata;
                let tags = if new_tags {
                    given.tags.clone()
                } else {
                    kept.tags.clone()
                };
                let metadata = if new_metadata {
                    Metadata {
                        checksums: kept.checksums,
                        part_sizes: kept.part_sizes,
                        tags,
                        ..given
                    }
                } else {
                    Metadata { tags, ..kept }
                };
                let object = Object {
                    modified_ms: now_ms(),
                    metadata,
                    ..found
                };
                store::add_references(tx, &object.pieces)?;
                store::replace(tx, unreferenced, &bucket, &key, &object)?;
                Ok(object)
            })
        })
        .await?;
    let mut result = CopyObjectResult {
        checksum_type: checksum_type(&object.metadata.checksums),
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_ms)),
        ..CopyObjectResult::default()
    };
    fill_checksums!(result, &object.metadata.checksums);
    Ok(CopyObjectOutput {
        copy_object_result: Some(result),
        ..CopyObjectOutput::default()
    })
}
