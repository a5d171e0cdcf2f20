//! Listings: keys in the order of their UTF-8 bytes, those below a delimiter rolled up.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rusqlite::{Connection, params};
use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, ObjectStorageClass, Owner,
};
use s3s::{S3Result, s3_error};

use super::store::{Outcome, Store, require_bucket, timestamp};
use crate::{ACCOUNT_ID, percent};

/// A listing never has more entries than this.
const MAX_ENTRIES: usize = 1000;

/// What to list.
struct Query {
    bucket: String,
    prefix: String,
    delimiter: String,
    /// Only what comes after this key, or after everything below this common prefix.
    after: Option<String>,
    max: usize,
}

enum Entry {
    Object {
        key: String,
        size: i64,
        etag: String,
        modified_ms: i64,
    },
    Prefix(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object { key, .. } => key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

struct Page {
    entries: Vec<Entry>,
    truncated: bool,
}

impl Page {
    /// Where the next page starts, if there is one.
    fn resume_after(&self) -> Option<String> {
        let last = self.entries.last()?;
        self.truncated.then(|| last.name().to_owned())
    }
}

/// The first key that no key below `prefix` reaches. UTF-8 has no byte 0xff, so one exists.
fn after_all_below(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

impl Query {
    /// The common prefix that `key` belongs to.
    fn rolled_up<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = key.get(self.prefix.len()..)?;
        let end = rest.find(&self.delimiter)? + self.delimiter.len();
        key.get(..self.prefix.len() + end)
    }

    fn start(&self) -> Vec<u8> {
        let mut start = self.prefix.as_bytes().to_vec();
        if let Some(after) = &self.after {
            let past = if self.rolled_up(after) == Some(after.as_str()) {
                after_all_below(after)
            } else {
                [after.as_bytes(), b"\0"].concat()
            };
            start = start.max(past);
        }
        start
    }

    fn run(&self, database: &Connection) -> Outcome<Page> {
        require_bucket(database, &self.bucket)?;
        let mut page = Page {
            entries: Vec::new(),
            truncated: false,
        };
        if self.max == 0 {
            return Ok(page);
        }
        let mut select = database.prepare_cached(
            "SELECT key, size, etag, modified_ms FROM objects \
             WHERE bucket = ?1 AND key >= ?2 ORDER BY key",
        )?;
        let mut from = self.start();
        // One scan for each common prefix: what is below it is skipped, not read.
        'scan: loop {
            let mut rows = select.query(params![self.bucket, from])?;
            while let Some(row) = rows.next()? {
                let key: Vec<u8> = row.get(0)?;
                let key = String::from_utf8_lossy(&key).into_owned();
                if !key.starts_with(&self.prefix) {
                    return Ok(page);
                }
                if page.entries.len() == self.max {
                    page.truncated = true;
                    return Ok(page);
                }
                if let Some(prefix) = self.rolled_up(&key) {
                    from = after_all_below(prefix);
                    page.entries.push(Entry::Prefix(prefix.to_owned()));
                    continue 'scan;
                }
                page.entries.push(Entry::Object {
                    key,
                    size: row.get(1)?,
                    etag: row.get(2)?,
                    modified_ms: row.get(3)?,
                });
            }
            return Ok(page);
        }
    }
}

/// Keys and prefixes as the client wants to read them in XML.
struct Spelling {
    url: bool,
}

impl Spelling {
    fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(other) => Err(s3_error!(
                InvalidArgument,
                "Invalid Encoding Method: {other}"
            )),
        }
    }

    fn spell(&self, text: String) -> String {
        if self.url {
            percent::encode(text.as_bytes(), "/*")
        } else {
            text
        }
    }

    fn contents(
        &self,
        entries: Vec<Entry>,
        with_owner: bool,
    ) -> (Vec<s3s::dto::Object>, Vec<CommonPrefix>) {
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Prefix(prefix) => prefixes.push(CommonPrefix {
                    prefix: Some(self.spell(prefix)),
                }),
                Entry::Object {
                    key,
                    size,
                    etag,
                    modified_ms,
                } => objects.push(s3s::dto::Object {
                    key: Some(self.spell(key)),
                    size: Some(size),
                    e_tag: Some(ETag::Strong(etag)),
                    last_modified: Some(timestamp(modified_ms)),
                    owner: with_owner.then(|| Owner {
                        display_name: Some("spawn-local".to_owned()),
                        id: Some(ACCOUNT_ID.to_owned()),
                    }),
                    storage_class: Some(ObjectStorageClass::from_static(
                        ObjectStorageClass::STANDARD,
                    )),
                    ..s3s::dto::Object::default()
                }),
            }
        }
        (objects, prefixes)
    }
}

fn limit(max_keys: Option<i32>) -> S3Result<usize> {
    usize::try_from(max_keys.unwrap_or(1000))
        .map(|max| max.min(MAX_ENTRIES))
        .map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative"))
}

async fn run(store: &Arc<Store>, query: Query) -> S3Result<Page> {
    store
        .run(move |store| store.read(|database| query.run(database)))
        .await
}

fn count(number: usize) -> Option<i32> {
    i32::try_from(number).ok()
}

pub(super) async fn v1(store: &Arc<Store>, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let max = limit(input.max_keys)?;
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.marker.clone().filter(|marker| !marker.is_empty()),
        max,
    };
    let page = run(store, query).await?;
    let next_marker = page.resume_after();
    let truncated = page.truncated;
    let (objects, prefixes) = spelling.contents(page.entries, true);
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.spell(input.prefix.unwrap_or_default())),
        marker: Some(spelling.spell(input.marker.unwrap_or_default())),
        max_keys: count(max),
        is_truncated: Some(truncated),
        contents: Some(objects),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.map(|delimiter| spelling.spell(delimiter)),
        next_marker: next_marker.map(|marker| spelling.spell(marker)),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    })
}

pub(super) async fn v2(
    store: &Arc<Store>,
    input: ListObjectsV2Input,
) -> S3Result<ListObjectsV2Output> {
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let max = limit(input.max_keys)?;
    let after = match &input.continuation_token {
        Some(token) => Some(
            BASE64
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    s3_error!(
                        InvalidArgument,
                        "The continuation token provided is incorrect"
                    )
                })?,
        ),
        None => input.start_after.clone().filter(|after| !after.is_empty()),
    };
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after,
        max,
    };
    let page = run(store, query).await?;
    let next = page.resume_after().map(|after| BASE64.encode(after));
    let (entries, truncated) = (page.entries.len(), page.truncated);
    let (objects, prefixes) = spelling.contents(page.entries, input.fetch_owner.unwrap_or(false));
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(spelling.spell(input.prefix.unwrap_or_default())),
        max_keys: count(max),
        key_count: count(entries),
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token: next,
        contents: Some(objects),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.map(|delimiter| spelling.spell(delimiter)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|after| spelling.spell(after)),
        ..ListObjectsV2Output::default()
    })
}
