//! Large objects, in parts.

use std::io::Read;

use serde::Deserialize;

use super::{Bucket, PutOptions, XMLNS, escape, etag, put_object, query, with_checksum};
use crate::client::{
    AwsError, Call, Client, ErrorKind, Method, Safety, classify, read_xml, read_xml_error,
};

/// AWS's smallest part but the last, and its greatest number of parts.
const SMALLEST_PART: usize = 5 << 20;
const MOST_PARTS: u32 = 10_000;

/// Uploads what `from` holds: with `PutObject` if it fits into one part of `part_size` bytes (at
/// least 5 MiB), else `CreateMultipartUpload`, `UploadPart` one after another,
/// `CompleteMultipartUpload`, and `AbortMultipartUpload` if something fails. The new ETag.
///
/// The condition of `options` is checked when the upload completes.
///
/// # Errors
/// See [`AwsError`] and [`put_object`]; [`ErrorKind::Validation`] if `from` cannot be read or has
/// more than 10,000 parts.
pub fn upload(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    mut from: impl Read,
    part_size: usize,
    options: &PutOptions,
) -> Result<String, AwsError> {
    let part_size = part_size.max(SMALLEST_PART);
    let create = bucket.call(
        "CreateMultipartUpload",
        Safety::Repeatable,
        Method::Post,
        key,
    );
    let first = part(&mut from, part_size, &create)?;
    if first.len() < part_size {
        return put_object(client, bucket, key, first, options);
    }
    let create = options.describe(query(create, "uploads", ""));
    let create = create.header("x-amz-checksum-algorithm", "SHA256");
    let id = {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            upload_id: String,
        }
        let answer = client.send(&create)?;
        read_xml::<Created>(&answer.response.body)
            .map_err(|m| create.error(ErrorKind::Malformed, m))?
            .upload_id
    };
    let done = parts(client, bucket, key, &id, first, &mut from, part_size)
        .and_then(|xml| complete(client, bucket, key, &id, xml, options));
    if done
        .as_ref()
        .is_err_and(|e| !e.maybe_executed || e.kind == ErrorKind::ConditionFailed)
    {
        let abort = bucket.call(
            "AbortMultipartUpload",
            Safety::Repeatable,
            Method::Delete,
            key,
        );
        // The upload's own error is the one that matters.
        let _ = client.send(&query(abort, "uploadId", &id));
    }
    done
}

fn part(from: &mut impl Read, size: usize, call: &Call) -> Result<Vec<u8>, AwsError> {
    let mut bytes = Vec::new();
    from.take(size as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| {
            call.error(
                ErrorKind::Validation,
                format!("what to upload cannot be read: {e}"),
            )
        })?;
    Ok(bytes)
}

/// The list of parts, as `CompleteMultipartUpload` wants it.
fn parts(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    id: &str,
    first: Vec<u8>,
    from: &mut impl Read,
    size: usize,
) -> Result<String, AwsError> {
    let mut xml = String::new();
    let mut bytes = first;
    let mut number = 1;
    while !bytes.is_empty() {
        let call = bucket.call("UploadPart", Safety::Repeatable, Method::Put, key);
        if number > MOST_PARTS {
            return Err(call.error(ErrorKind::Validation, "more than 10,000 parts"));
        }
        let call = query(call, "partNumber", &number.to_string());
        let mut call = with_checksum(query(call, "uploadId", id), &bytes);
        let last = bytes.len() < size;
        let checksum = call
            .headers
            .iter()
            .find(|(n, _)| n == "x-amz-checksum-sha256")
            .map(|(_, v)| v.clone())
            .unwrap_or_default();
        call.body = bytes.into();
        let answer = client.send(&call)?;
        xml.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><ChecksumSHA256>{checksum}</ChecksumSHA256></Part>",
            escape(&etag(&answer.response))
        ));
        number += 1;
        bytes = if last {
            Vec::new()
        } else {
            part(from, size, &call)?
        };
    }
    Ok(xml)
}

fn complete(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    id: &str,
    parts: String,
    options: &PutOptions,
) -> Result<String, AwsError> {
    #[derive(Deserialize)]
    struct Completed {
        #[serde(rename = "ETag")]
        etag: String,
    }
    let call = bucket.call(
        "CompleteMultipartUpload",
        Safety::Repeatable,
        Method::Post,
        key,
    );
    let mut call = query(call, "uploadId", id).header("content-type", "application/xml");
    if let Some((name, value)) = options.condition_header() {
        call = call.header(name, value);
    }
    let xml =
        format!("<CompleteMultipartUpload xmlns=\"{XMLNS}\">{parts}</CompleteMultipartUpload>");
    call.body = xml.into_bytes().into();
    let answer = client.send(&call)?;
    // The status was sent before the work was done: an error may follow a 200.
    let said = read_xml_error(&answer.response.body);
    if !said.code.is_empty() {
        let mut error = call.error(classify(&said.code, 500), said.message);
        error.details().code = said.code;
        error.details().maybe_executed = true;
        return Err(error);
    }
    read_xml::<Completed>(&answer.response.body)
        .map(|c| c.etag)
        .map_err(|m| call.error(ErrorKind::Malformed, m))
}
