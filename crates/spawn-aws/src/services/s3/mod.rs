//! S3: buckets and objects. Bodies are whole in memory; large objects go by ranges and in parts.

mod bucket;
mod list;
mod multipart;
mod object;

pub use bucket::{
    BucketState, LifecycleRule, create_bucket, delete_bucket, head_bucket, put_bucket_encryption,
    put_bucket_lifecycle, put_bucket_tags, put_public_access_block,
};
pub use list::{Listed, ListedObject, delete_objects, list_objects};
pub use multipart::upload;
pub use object::{
    Object, ObjectHead, PutCondition, PutOptions, delete_object, get_object, head_object,
    put_object,
};

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::client::{Call, HttpResponse, Method, S3, Safety, percent_encode};

/// A bucket, and whose it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The account that must own it, else the call is refused: names are the world's, and a bucket
    /// that was deleted may have been made anew by another.
    pub owner: Option<String>,
}

impl Bucket {
    /// A bucket of whoever.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: None,
        }
    }

    fn call(&self, operation: &'static str, safety: Safety, method: Method, key: &str) -> Call {
        let mut call = Call::new(&S3, operation, safety);
        call.method = method;
        call.bucket = Some(self.name.clone());
        call.path = format!("/{}", percent_encode(key, b"/"));
        match &self.owner {
            Some(owner) => call.header("x-amz-expected-bucket-owner", owner),
            None => call,
        }
    }
}

fn query(mut call: Call, name: &str, value: &str) -> Call {
    call.query.push((name.to_owned(), value.to_owned()));
    call
}

/// Gives a call an XML body, with the checksum that configurations and deletions need.
fn with_xml(call: Call, xml: String) -> Call {
    let mut call = with_checksum(call, xml.as_bytes()).header("content-type", "application/xml");
    call.body = xml.into_bytes().into();
    call
}

/// The service computes the same and refuses what was damaged on the way.
fn with_checksum(call: Call, body: &[u8]) -> Call {
    call.header(
        "x-amz-checksum-sha256",
        STANDARD.encode(Sha256::digest(body)),
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to say the others below a blank; S3 takes these.
            '\r' | '\n' | '\t' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

fn etag(response: &HttpResponse) -> String {
    response.header("etag").unwrap_or_default().to_owned()
}

const XMLNS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
