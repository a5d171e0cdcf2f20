//! Buckets.

use std::sync::Arc;

use rusqlite::{Connection, params};
use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput, Owner,
};
use s3s::{S3Result, s3_error};

use super::store::{self, Outcome, Store, drop_references, now_ms, require_bucket};
use crate::ACCOUNT_ID;

const DEFAULT_REGION: &str = "us-east-1";

/// All bucket names, in order.
pub(super) fn names(database: &Connection) -> rusqlite::Result<Vec<String>> {
    database
        .prepare("SELECT name FROM buckets ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

pub(super) async fn create(
    store: &Arc<Store>,
    input: CreateBucketInput,
) -> S3Result<CreateBucketOutput> {
    let region = input
        .create_bucket_configuration
        .and_then(|configuration| configuration.location_constraint)
        .map_or_else(
            || DEFAULT_REGION.to_owned(),
            |region| region.as_str().to_owned(),
        );
    let location = format!("/{}", input.bucket);
    store
        .run(move |store| {
            store.write(|tx, _| {
                let created = tx.execute(
                    "INSERT INTO buckets (name, region, created_ms) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO NOTHING",
                    params![input.bucket, region, now_ms()],
                )?;
                // As at AWS: creating one's own bucket again is no error in us-east-1 only.
                if created == 0 && region != DEFAULT_REGION {
                    return Err(s3_error!(BucketAlreadyOwnedByYou).into());
                }
                Ok(())
            })
        })
        .await?;
    Ok(CreateBucketOutput {
        location: Some(location),
    })
}

pub(super) async fn delete(
    store: &Arc<Store>,
    input: DeleteBucketInput,
) -> S3Result<DeleteBucketOutput> {
    let bucket = input.bucket;
    store
        .run(move |store| {
            store.write(|tx, unreferenced| {
                require_bucket(tx, &bucket)?;
                if tx
                    .prepare("SELECT 1 FROM objects WHERE bucket = ?1 LIMIT 1")?
                    .exists([&bucket])?
                {
                    return Err(s3_error!(
                        BucketNotEmpty,
                        "The bucket you tried to delete is not empty"
                    )
                    .into());
                }
                let uploads = "SELECT id FROM uploads WHERE bucket = ?1";
                let pieces: Vec<String> = tx
                    .prepare(&format!(
                        "SELECT pieces FROM parts WHERE upload IN ({uploads})"
                    ))?
                    .query_map([&bucket], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for pieces in pieces {
                    drop_references(tx, unreferenced, &serde_json::from_str::<Vec<_>>(&pieces)?)?;
                }
                tx.execute(
                    &format!("DELETE FROM parts WHERE upload IN ({uploads})"),
                    [&bucket],
                )?;
                tx.execute("DELETE FROM uploads WHERE bucket = ?1", [&bucket])?;
                tx.execute("DELETE FROM buckets WHERE name = ?1", [&bucket])?;
                Ok(())
            })
        })
        .await?;
    Ok(DeleteBucketOutput::default())
}

async fn region_of(store: &Arc<Store>, bucket: String) -> S3Result<String> {
    store
        .run(move |store| {
            store.read(|database| {
                require_bucket(database, &bucket)?;
                Ok(database.query_row(
                    "SELECT region FROM buckets WHERE name = ?1",
                    [&bucket],
                    |row| row.get(0),
                )?)
            })
        })
        .await
}

pub(super) async fn head(store: &Arc<Store>, input: HeadBucketInput) -> S3Result<HeadBucketOutput> {
    Ok(HeadBucketOutput {
        bucket_region: Some(region_of(store, input.bucket).await?),
        ..HeadBucketOutput::default()
    })
}

pub(super) async fn location(
    store: &Arc<Store>,
    input: GetBucketLocationInput,
) -> S3Result<GetBucketLocationOutput> {
    let region = region_of(store, input.bucket).await?;
    // us-east-1 has no name here.
    let named = (region != DEFAULT_REGION).then(|| BucketLocationConstraint::from(region));
    Ok(GetBucketLocationOutput {
        location_constraint: named,
    })
}

/// Buckets here are never versioned, which is the answer with nothing in it.
pub(super) async fn versioning(
    store: &Arc<Store>,
    input: GetBucketVersioningInput,
) -> S3Result<GetBucketVersioningOutput> {
    region_of(store, input.bucket).await?;
    Ok(GetBucketVersioningOutput::default())
}

pub(super) async fn list(
    store: &Arc<Store>,
    input: ListBucketsInput,
) -> S3Result<ListBucketsOutput> {
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let max = usize::try_from(input.max_buckets.unwrap_or(10_000)).unwrap_or_default();
    let found: Vec<(String, String, i64)> = store
        .run(move |store| store.read(|database| buckets(database, &prefix, &after)))
        .await?;
    let truncated = found.len() > max;
    let continuation_token = truncated
        .then(|| max.checked_sub(1).and_then(|last| found.get(last)))
        .flatten()
        .map(|(name, ..)| name.clone());
    Ok(ListBucketsOutput {
        buckets: Some(
            found
                .into_iter()
                .take(max)
                .map(|(name, region, created_ms)| Bucket {
                    name: Some(name),
                    bucket_region: Some(region),
                    creation_date: Some(store::timestamp(created_ms)),
                })
                .collect(),
        ),
        continuation_token,
        owner: Some(Owner {
            display_name: Some("spawn-local".to_owned()),
            id: Some(ACCOUNT_ID.to_owned()),
        }),
        prefix: input.prefix,
    })
}

fn buckets(
    database: &Connection,
    prefix: &str,
    after: &str,
) -> Outcome<Vec<(String, String, i64)>> {
    let mut select = database.prepare(
        "SELECT name, region, created_ms FROM buckets \
         WHERE name > ?1 AND substr(name, 1, length(?2)) = ?2 ORDER BY name",
    )?;
    let rows = select.query_map([after, prefix], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
