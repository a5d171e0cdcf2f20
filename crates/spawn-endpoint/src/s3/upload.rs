//! A body on its way in: written as it arrives, digested in the same pass.

use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_core::Stream;
use hyper::{HeaderMap, StatusCode};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use super::blobs::{Blobs, Draft};
use super::checksums::{self, Checksums};
use super::store;
use crate::bodies::BodyFault;

/// A body that has arrived whole and agrees with every digest the client gave.
pub(super) struct Upload {
    pub(super) draft: Draft,
    pub(super) md5: [u8; 16],
    pub(super) checksums: Checksums,
}

/// Takes in `body`. `headers` and `trailers` say what digests to expect and to keep.
pub(super) async fn receive(
    blobs: &Arc<Blobs>,
    body: Option<StreamingBlob>,
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
) -> S3Result<Upload> {
    let mut draft = Draft::new(blobs);
    let mut md5 = Md5::new();
    let mut hasher = checksums::hasher(&checksums::wanted(headers));
    if let Some(mut body) = body {
        while let Some(chunk) =
            std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await
        {
            let chunk = chunk.map_err(incomplete)?;
            md5.update(&chunk);
            hasher.update(&chunk);
            draft
                .push(chunk)
                .await
                .map_err(|error| store::broken(blobs, error.into()))?;
        }
    }
    let md5 = md5.finalize();
    let checksums = checksums::finish(hasher);

    if let Some(expected) = headers.get("content-md5")
        && expected.as_bytes() != BASE64.encode(md5).as_bytes()
    {
        return Err(s3_error!(
            BadDigest,
            "The Content-MD5 you specified did not match what we received."
        ));
    }
    let in_trailers = trailers.and_then(|trailers| trailers.read(Checksums::in_headers));
    let in_headers = Checksums::in_headers(headers);
    for (algorithm, expected) in in_headers
        .iter()
        .chain(in_trailers.iter().flat_map(Checksums::iter))
    {
        if checksums.get(algorithm).as_deref() != Some(expected) {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                algorithm.name()
            ));
        }
    }
    Ok(Upload {
        draft,
        md5,
        checksums,
    })
}

/// A body that breaks off, or whose bytes do not fit the digest or the signatures in it.
fn incomplete(error: s3s::StdError) -> S3Error {
    let text = error.to_string();
    let mut answer = if text.contains("Sha256Mismatch") {
        let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
        let mut answer = S3Error::with_message(code, BodyFault::OtherDigest.to_string());
        answer.set_status_code(StatusCode::BAD_REQUEST);
        answer
    } else if text.to_ascii_lowercase().contains("checksum") {
        s3_error!(
            BadDigest,
            "The body does not match the digest that was sent: {text}"
        )
    } else if text.to_ascii_lowercase().contains("signature") {
        s3_error!(
            SignatureDoesNotMatch,
            "A chunk of the body is not signed as the request is"
        )
    } else {
        s3_error!(IncompleteBody, "The body could not be read: {text}")
    };
    answer.set_source(error);
    answer
}
