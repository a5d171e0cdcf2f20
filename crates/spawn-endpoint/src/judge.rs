//! What the head of a request must hold before anything of its body is read.
//!
//! Whoever can connect can send a body; only who has the key can sign. So everything that a head
//! alone can show is looked at first: that there is one signature, by the endpoint's key, for this
//! service, made within the last minutes, over every header that means something. Whether the
//! signature fits comes after that: `s3s` tells it from the head as well, and the other services
//! sign their body, which is then read within the bounds of `bodies.rs`.

use std::time::{Duration, SystemTime};

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use subtle::ConstantTimeEq;

use crate::Credentials;
use crate::authorization::{ALGORITHM, Authorization, Presigned, Query, only, parse_timestamp};

/// How far a client's clock may be off, as at AWS.
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);
/// The longest life of a presigned URL of version 4, as at AWS: seven days.
const MAX_EXPIRES: u64 = 604_800;
/// What can be announced as a trailer of an upload.
const TRAILERS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No signature at all.
    Unsigned,
    /// A signature that cannot be read; what is wrong with it.
    Malformed(&'static str),
    /// A signature of version 2 in a header.
    Version2,
    /// More than one signature, in a header and in the query.
    TwoSignatures,
    /// A form upload, whose signature is in its body.
    Form,
    /// A query parameter that is given twice, so that readers could differ on which one counts.
    Repeated(String),
    /// A key that is not the endpoint's.
    UnknownKey,
    /// Signed for another service.
    OtherService(String),
    /// Signed too far from the endpoint's clock.
    Skewed,
    /// A presigned URL past its time.
    Expired,
    /// Headers that mean something and are not signed.
    HeadersNotSigned(String),
    /// A trailer is announced that is not known.
    UnknownTrailer(String),
    /// The signature does not fit the request and the secret.
    Mismatch,
}

/// Judges the head of a request to any service but S3, signed with a header.
pub(crate) fn judge<'a>(
    request: &'a Parts,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<Authorization<'a>, Denied> {
    if !request.headers.contains_key("authorization") {
        return Err(Denied::Unsigned);
    }
    judge_header(request, credentials, now)
}

/// Judges the head of a request to S3, signed with a header or in its query.
pub(crate) fn judge_s3(
    request: &Parts,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), Denied> {
    let query = Query::of(&request.uri);
    let in_header = request.headers.contains_key("authorization");
    let presigned = query.has_any(&["X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential"]);
    let presigned_v2 = query.has_any(&["Signature", "AWSAccessKeyId"]);
    if let Some(name) = query.repeated() {
        return Err(Denied::Repeated(name.to_owned()));
    }
    if is_form(request) {
        return Err(Denied::Form);
    }
    match (in_header, presigned, presigned_v2) {
        (false, false, false) => Err(Denied::Unsigned),
        (true, false, false) => {
            let authorization = judge_header(request, credentials, now)?;
            if authorization.scope.service != "s3" {
                return Err(Denied::OtherService(authorization.scope.service.to_owned()));
            }
            check_trailers(&request.headers)
        }
        (false, true, false) => judge_presigned(request, &query, credentials, now),
        (false, false, true) => judge_presigned_v2(&query, credentials, now),
        _ => Err(Denied::TwoSignatures),
    }
}

fn judge_header<'a>(
    request: &'a Parts,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<Authorization<'a>, Denied> {
    let headers = &request.headers;
    if only(headers, "authorization").is_some_and(|text| text.starts_with("AWS ")) {
        return Err(Denied::Version2);
    }
    let authorization = Authorization::of(headers).ok_or(Denied::Malformed(
        "The Authorization header is not one of Signature Version 4",
    ))?;
    check_key(authorization.scope.access_key_id, credentials)?;
    let timestamp = only(headers, "x-amz-date").ok_or(Denied::Malformed(
        "A signed request must carry one X-Amz-Date header",
    ))?;
    let signed_at = parse_timestamp(timestamp)
        .ok_or(Denied::Malformed("The X-Amz-Date header is not a date"))?;
    let skew = match now.duration_since(signed_at) {
        Ok(age) => age,
        Err(ahead) => ahead.duration(),
    };
    if skew > MAX_SKEW {
        return Err(Denied::Skewed);
    }
    if timestamp.split_once('T').map(|(date, _)| date) != Some(authorization.scope.date) {
        return Err(Denied::Mismatch);
    }
    check_signed_headers(headers, authorization.signed_headers)?;
    Ok(authorization)
}

fn judge_presigned(
    request: &Parts,
    query: &Query,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), Denied> {
    let presigned = Presigned::of(query).ok_or(Denied::Malformed(
        "A presigned URL must have X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, X-Amz-Expires, \
         X-Amz-SignedHeaders and X-Amz-Signature",
    ))?;
    if presigned.algorithm != ALGORITHM {
        return Err(Denied::Malformed(
            "X-Amz-Algorithm must be AWS4-HMAC-SHA256",
        ));
    }
    check_key(presigned.scope.access_key_id, credentials)?;
    if presigned.scope.service != "s3" {
        return Err(Denied::OtherService(presigned.scope.service.to_owned()));
    }
    let signed_at =
        parse_timestamp(presigned.date).ok_or(Denied::Malformed("X-Amz-Date is not a date"))?;
    if !presigned.date.starts_with(presigned.scope.date) {
        return Err(Denied::Mismatch);
    }
    let digits = presigned.expires.bytes().all(|byte| byte.is_ascii_digit());
    let expires = presigned.expires.parse::<u64>();
    let expires = expires.ok().filter(|_| digits).ok_or(Denied::Malformed(
        "X-Amz-Expires must be a number of seconds",
    ))?;
    if !(1..=MAX_EXPIRES).contains(&expires) {
        return Err(Denied::Malformed(
            "X-Amz-Expires must be between 1 second and 604800 seconds, which is a week",
        ));
    }
    match now.duration_since(signed_at) {
        Ok(age) if age > Duration::from_secs(expires) => return Err(Denied::Expired),
        Err(ahead) if ahead.duration() > MAX_SKEW => return Err(Denied::Skewed),
        _ => {}
    }
    check_signed_headers(&request.headers, presigned.signed_headers)
}

/// A URL of version 2 has no date but its end, and signs every `x-amz-*` header.
fn judge_presigned_v2(
    query: &Query,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), Denied> {
    let (Some(key), Some(expires), Some(_)) = (
        query.get("AWSAccessKeyId"),
        query.get("Expires"),
        query.get("Signature"),
    ) else {
        return Err(Denied::Malformed(
            "A presigned URL must have AWSAccessKeyId, Expires and Signature",
        ));
    };
    check_key(key, credentials)?;
    let digits = expires.bytes().all(|byte| byte.is_ascii_digit());
    let expires = expires.parse::<u64>().ok().filter(|_| digits);
    let expires = expires.ok_or(Denied::Malformed(
        "Expires must be a time in seconds since 1970",
    ))?;
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if now.as_secs() > expires {
        return Err(Denied::Expired);
    }
    Ok(())
}

fn check_key(given: &str, credentials: &Credentials) -> Result<(), Denied> {
    if bool::from(given.as_bytes().ct_eq(credentials.access_key_id.as_bytes())) {
        Ok(())
    } else {
        Err(Denied::UnknownKey)
    }
}

/// The list must be sorted, name only headers that are there, and leave out none that changes what
/// is done: `host` and everything that begins with `x-amz-`.
fn check_signed_headers(headers: &HeaderMap, list: &str) -> Result<(), Denied> {
    let names: Vec<&str> = list.split(';').collect();
    let in_order = names.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = names
        .iter()
        .all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if !in_order || !lower {
        return Err(Denied::Malformed(
            "The signed headers must be in lower case, in order, and each named once",
        ));
    }
    if headers.get_all("host").iter().count() != 1 || !names.contains(&"host") {
        return Err(Denied::Malformed(
            "The Host header must be given once and be signed",
        ));
    }
    if names.iter().any(|name| !headers.contains_key(*name)) {
        return Err(Denied::Mismatch);
    }
    let unsigned: Vec<&str> = headers
        .keys()
        .map(hyper::header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !names.contains(name))
        .collect();
    if unsigned.is_empty() {
        Ok(())
    } else {
        Err(Denied::HeadersNotSigned(unsigned.join(", ")))
    }
}

fn check_trailers(headers: &HeaderMap) -> Result<(), Denied> {
    for value in headers.get_all("x-amz-trailer") {
        let value = String::from_utf8_lossy(value.as_bytes());
        for name in value
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
        {
            if !TRAILERS.contains(&name.as_str()) {
                return Err(Denied::UnknownTrailer(name));
            }
        }
    }
    Ok(())
}

/// Whether the signature would be in the body.
fn is_form(request: &Parts) -> bool {
    request.method == Method::POST
        && request.headers.get_all("content-type").iter().any(|value| {
            let value = value.as_bytes().trim_ascii_start();
            let form = b"multipart/form-data";
            value.len() >= form.len() && value[..form.len()].eq_ignore_ascii_case(form)
        })
}
