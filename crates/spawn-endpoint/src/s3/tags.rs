//! Tags of objects; `aws s3 cp` between buckets reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::params;
use s3s::S3Result;
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};

use super::store::{self, Store};
use crate::percent;

/// Reads the `x-amz-tagging` header, `name=value&name=value`.
pub(super) fn from_header(header: Option<&str>) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        String::from_utf8_lossy(&percent::decode(&text.replace('+', " "))).into_owned()
    };
    header
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

pub(super) async fn get(
    store: &Arc<Store>,
    input: GetObjectTaggingInput,
) -> S3Result<GetObjectTaggingOutput> {
    let tags = store
        .run(move |store| {
            store.read(|database| {
                Ok(store::require(database, &input.bucket, &input.key)?
                    .metadata
                    .tags)
            })
        })
        .await?;
    Ok(GetObjectTaggingOutput {
        tag_set: tags
            .into_iter()
            .map(|(key, value)| Tag {
                key: Some(key),
                value: Some(value),
            })
            .collect(),
        version_id: None,
    })
}

async fn set(
    store: &Arc<Store>,
    bucket: String,
    key: String,
    tags: BTreeMap<String, String>,
) -> S3Result<()> {
    store
        .run(move |store| {
            store.write(|tx, _| {
                let mut metadata = store::require(tx, &bucket, &key)?.metadata;
                metadata.tags = tags;
                tx.execute(
                    "UPDATE objects SET metadata = ?3 WHERE bucket = ?1 AND key = ?2",
                    params![bucket, key.as_bytes(), serde_json::to_string(&metadata)?],
                )?;
                Ok(())
            })
        })
        .await
}

pub(super) async fn put(
    store: &Arc<Store>,
    input: PutObjectTaggingInput,
) -> S3Result<PutObjectTaggingOutput> {
    let tags = input.tagging.tag_set.into_iter();
    let tags = tags
        .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
        .collect();
    set(store, input.bucket, input.key, tags).await?;
    Ok(PutObjectTaggingOutput::default())
}

pub(super) async fn delete(
    store: &Arc<Store>,
    input: DeleteObjectTaggingInput,
) -> S3Result<DeleteObjectTaggingOutput> {
    set(store, input.bucket, input.key, BTreeMap::new()).await?;
    Ok(DeleteObjectTaggingOutput::default())
}
