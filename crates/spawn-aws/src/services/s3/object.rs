//! Objects, one at a time.

use super::{Bucket, etag, with_checksum};
use crate::client::{AwsError, Client, ErrorKind, HttpResponse, Method, Safety};

/// When an object may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutCondition {
    /// Only if there is none (`If-None-Match: *`).
    Absent,
    /// Only over the one with this ETag (`If-Match`).
    Unchanged(String),
}

/// What a written object is like.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// When.
    pub condition: Option<PutCondition>,
    /// `application/octet-stream` if not said.
    pub content_type: Option<String>,
    /// `x-amz-meta-<name>`; names in lower case, values of printable ASCII.
    pub metadata: Vec<(String, String)>,
}

impl PutOptions {
    /// Only if there is none.
    #[must_use]
    pub fn if_absent() -> Self {
        Self {
            condition: Some(PutCondition::Absent),
            ..Self::default()
        }
    }

    pub(super) fn condition_header(&self) -> Option<(&'static str, String)> {
        self.condition.as_ref().map(|c| match c {
            PutCondition::Absent => ("if-none-match", "*".to_owned()),
            PutCondition::Unchanged(etag) => ("if-match", etag.clone()),
        })
    }

    pub(super) fn describe(&self, mut call: crate::client::Call) -> crate::client::Call {
        if let Some(kind) = &self.content_type {
            call = call.header("content-type", kind);
        }
        for (name, value) in &self.metadata {
            call = call.header(&format!("x-amz-meta-{name}"), value);
        }
        call
    }
}

/// `PutObject`; the new ETag. [`ErrorKind::ConditionFailed`]: `PreconditionFailed`, the condition
/// does not hold; if [`crate::client::Failure::maybe_executed`] is set, perhaps due to one's own
/// first attempt. [`ErrorKind::Conflict`]: `ConditionalRequestConflict`, another writes just now.
///
/// # Errors
/// See [`AwsError`].
pub fn put_object(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    body: Vec<u8>,
    options: &PutOptions,
) -> Result<String, AwsError> {
    let call = bucket.call("PutObject", Safety::Repeatable, Method::Put, key);
    let mut call = options.describe(with_checksum(call, &body));
    if let Some((name, value)) = options.condition_header() {
        call = call.header(name, value);
    }
    call.body = body.into();
    client.send(&call).map(|answer| etag(&answer.response))
}

/// An object, or a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// The bytes.
    pub body: Vec<u8>,
    /// What it is like.
    pub head: ObjectHead,
}

/// What an object is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectHead {
    /// Its ETag, in quotes.
    pub etag: String,
    /// The whole object's bytes.
    pub size: u64,
    /// As HTTP writes dates.
    pub last_modified: String,
    /// `x-amz-meta-<name>`.
    pub metadata: Vec<(String, String)>,
}

fn head(response: &HttpResponse) -> ObjectHead {
    let number = |text: &str| text.parse().ok();
    // `bytes 0-9/443` of a range.
    let whole = response
        .header("content-range")
        .and_then(|range| number(range.rsplit('/').next()?));
    let length = response.header("content-length").and_then(number);
    ObjectHead {
        etag: etag(response),
        size: whole.or(length).unwrap_or(response.body.len() as u64),
        last_modified: response
            .header("last-modified")
            .unwrap_or_default()
            .to_owned(),
        metadata: response
            .headers
            .iter()
            .filter_map(|(n, v)| Some((n.strip_prefix("x-amz-meta-")?.to_owned(), v.clone())))
            .collect(),
    }
}

/// `GetObject`; nothing if there is no such key. `range` is the first byte and how many, which may
/// be more than there are. A range that begins behind the end is [`ErrorKind::Validation`]
/// (`InvalidRange`). With `etag`, an object that has changed is [`ErrorKind::ConditionFailed`].
///
/// # Errors
/// See [`AwsError`]; [`ErrorKind::NotFound`] with `NoSuchBucket` if there is no such bucket.
pub fn get_object(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    range: Option<(u64, u64)>,
    etag: Option<&str>,
) -> Result<Option<Object>, AwsError> {
    let mut call = bucket.call("GetObject", Safety::Read, Method::Get, key);
    if let Some((first, count)) = range {
        let last = first.saturating_add(count.saturating_sub(1));
        call = call.header("range", format!("bytes={first}-{last}"));
    }
    if let Some(etag) = etag {
        call = call.header("if-match", etag);
    }
    match client.send(&call) {
        Ok(answer) => Ok(Some(Object {
            head: head(&answer.response),
            body: answer.response.body,
        })),
        Err(e) if e.code == "NoSuchKey" => Ok(None),
        Err(e) => Err(e),
    }
}

/// `HeadObject`; nothing if there is no such key, or no such bucket.
///
/// # Errors
/// See [`AwsError`].
pub fn head_object(
    client: &Client,
    bucket: &Bucket,
    key: &str,
) -> Result<Option<ObjectHead>, AwsError> {
    let call = bucket.call("HeadObject", Safety::Read, Method::Head, key);
    match client.send(&call) {
        Ok(answer) => Ok(Some(head(&answer.response))),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `DeleteObject`; also if there is none.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_object(client: &Client, bucket: &Bucket, key: &str) -> Result<(), AwsError> {
    let call = bucket.call("DeleteObject", Safety::Repeatable, Method::Delete, key);
    client.send(&call).map(|_| ())
}
