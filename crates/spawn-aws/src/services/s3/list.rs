//! Many objects: listed and deleted.

use serde::Deserialize;

use super::{Bucket, XMLNS, escape, query, with_xml};
use crate::client::{
    AwsError, Client, ErrorKind, Method, S3, Safety, classify, percent_decode, read_xml,
};
use crate::services::{pages, repeated};

/// What a listing found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Objects, by key in the order of UTF-8.
    pub objects: Vec<ListedObject>,
    /// With a delimiter: what keys begin with up to it.
    pub prefixes: Vec<String>,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// In quotes.
    pub etag: String,
    /// RFC 3339.
    pub last_modified: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Page {
    contents: Vec<Contents>,
    common_prefixes: Vec<Prefix>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    #[serde(default)]
    size: u64,
    #[serde(default, rename = "ETag")]
    etag: String,
    #[serde(default)]
    last_modified: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Prefix {
    prefix: String,
}

/// `ListObjectsV2`, all pages of keys that begin with `prefix`; `after` is a key to begin behind.
///
/// # Errors
/// See [`AwsError`].
pub fn list_objects(
    client: &Client,
    bucket: &Bucket,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&str>,
) -> Result<Listed, AwsError> {
    let operation = "ListObjectsV2";
    let mut found = Listed::default();
    pages(
        |token| {
            let mut call = bucket.call(operation, Safety::Read, Method::Get, "");
            call = query(call, "list-type", "2");
            // Keys may hold what XML cannot say.
            call = query(call, "encoding-type", "url");
            let parts = [
                ("prefix", Some(prefix).filter(|p| !p.is_empty())),
                ("delimiter", delimiter),
                ("start-after", after.filter(|_| token.is_none())),
                ("continuation-token", token.as_deref()),
            ];
            for (name, value) in parts {
                if let Some(value) = value {
                    call = query(call, name, value);
                }
            }
            let answer = client.send(&call)?;
            let page: Page =
                read_xml(&answer.response.body).map_err(|m| call.error(ErrorKind::Malformed, m))?;
            let encoded = page.encoding_type.as_deref() == Some("url");
            // S3 writes a blank as `+` here.
            let key = |text: String| match encoded {
                true => percent_decode(&text.replace('+', " ")),
                false => text,
            };
            found
                .objects
                .extend(page.contents.into_iter().map(|c| ListedObject {
                    key: key(c.key),
                    size: c.size,
                    etag: c.etag,
                    last_modified: c.last_modified,
                }));
            found
                .prefixes
                .extend(page.common_prefixes.into_iter().map(|p| key(p.prefix)));
            match (page.is_truncated, page.next_continuation_token) {
                (false, _) => Ok(None),
                (true, Some(token)) => Ok(Some(token)),
                (true, None) => Err(call.error(
                    ErrorKind::Malformed,
                    "the listing goes on, but does not say where",
                )),
            }
        },
        || repeated(&S3, operation),
    )?;
    Ok(found)
}

/// `DeleteObjects`, 1,000 a call; also those that are not there.
///
/// # Errors
/// See [`AwsError`]; the first object that could not be deleted, after its whole call.
pub fn delete_objects(client: &Client, bucket: &Bucket, keys: &[String]) -> Result<(), AwsError> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "PascalCase")]
    struct Answer {
        error: Vec<Failed>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "PascalCase")]
    struct Failed {
        key: String,
        code: String,
        message: String,
    }
    for keys in keys.chunks(1000) {
        let objects: String = keys
            .iter()
            .map(|key| format!("<Object><Key>{}</Key></Object>", escape(key)))
            .collect();
        let xml = format!("<Delete xmlns=\"{XMLNS}\"><Quiet>true</Quiet>{objects}</Delete>");
        let call = bucket.call("DeleteObjects", Safety::Repeatable, Method::Post, "");
        let call = with_xml(query(call, "delete", ""), xml);
        let answer = client.send(&call)?;
        let answer: Answer =
            read_xml(&answer.response.body).map_err(|m| call.error(ErrorKind::Malformed, m))?;
        if let Some(failed) = answer.error.into_iter().next() {
            let message = format!("`{}`: {}", failed.key, failed.message);
            let mut error = call.error(classify(&failed.code, 200), message);
            error.details().code = failed.code;
            return Err(error);
        }
    }
    Ok(())
}
