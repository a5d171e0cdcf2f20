//! Verification of AWS Signature Version 4 in the `Authorization` header, for the services whose
//! protocol crate does not verify it (S3 has its own).
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Credentials;
use crate::identifiers::to_hex;
use crate::percent::{decode, encode};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a client's clock may be off, as at AWS.
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No signature at all.
    Unsigned,
    /// A signature that cannot be read; what is missing.
    Malformed(&'static str),
    /// A key that is not the endpoint's.
    UnknownKey,
    /// Signed too far from the endpoint's clock.
    Skewed,
    /// The signature does not fit the request and the secret.
    Mismatch,
}

/// The parts of an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header; nothing if it is absent, unreadable or of another algorithm.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let text = headers.get("authorization")?.to_str().ok()?;
        let fields = text.strip_prefix(ALGORITHM)?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| {
                let (key, value) = field.trim().split_once('=')?;
                (key == name).then_some(value)
            })
        };
        // An access key has no slash, and the scope is always the last four parts.
        let mut scope = field("Credential")?.rsplitn(5, '/');
        (scope.next()? == "aws4_request").then_some(())?;
        let service = scope.next()?;
        let region = scope.next()?;
        let date = scope.next()?;
        Some(Self {
            access_key_id: scope.next()?,
            date,
            region,
            service,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }
}

/// Accepts a request signed with `credentials` no more than 15 minutes from `now`, for any region.
pub(crate) fn verify(
    request: &Parts,
    body: &[u8],
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), Denied> {
    if !request.headers.contains_key("authorization") {
        return Err(Denied::Unsigned);
    }
    let authorization = Authorization::of(&request.headers).ok_or(Denied::Malformed(
        "the Authorization header is not one of Signature Version 4",
    ))?;
    let known = authorization.access_key_id.as_bytes();
    if !bool::from(known.ct_eq(credentials.access_key_id.as_bytes())) {
        return Err(Denied::UnknownKey);
    }
    let timestamp = header(&request.headers, "x-amz-date")
        .ok_or(Denied::Malformed("the X-Amz-Date header is missing"))?;
    let signed_at = parse_timestamp(&timestamp)
        .ok_or(Denied::Malformed("the X-Amz-Date header is not a date"))?;
    let skew = match now.duration_since(signed_at) {
        Ok(age) => age,
        Err(ahead) => ahead.duration(),
    };
    if skew > MAX_SKEW {
        return Err(Denied::Skewed);
    }
    if !timestamp.starts_with(authorization.date) {
        return Err(Denied::Mismatch);
    }
    let signed = |name: &str| authorization.signed_headers.split(';').any(|n| n == name);
    if !signed("host") || !signed("x-amz-date") {
        return Err(Denied::Malformed("host and x-amz-date must be signed"));
    }

    let canonical = canonical_request(request, authorization.signed_headers, body);
    let Authorization {
        date,
        region,
        service,
        ..
    } = authorization;
    let to_sign = format!(
        "{ALGORITHM}\n{timestamp}\n{date}/{region}/{service}/aws4_request\n{}",
        to_hex(&Sha256::digest(canonical.as_bytes()))
    );
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let mut key = mac(secret.as_bytes(), date.as_bytes());
    for part in [region, service, "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let expected = to_hex(&mac(&key, to_sign.as_bytes()));
    if bool::from(
        expected
            .as_bytes()
            .ct_eq(authorization.signature.as_bytes()),
    ) {
        Ok(())
    } else {
        Err(Denied::Mismatch)
    }
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn canonical_request(request: &Parts, signed_headers: &str, body: &[u8]) -> String {
    let mut query: Vec<(String, String)> = request
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(&decode(name), ""), encode(&decode(value), ""))
        })
        .collect();
    query.sort();
    let query: Vec<String> = query.into_iter().map(|(n, v)| format!("{n}={v}")).collect();

    let mut headers = String::new();
    for name in signed_headers.split(';') {
        headers.push_str(name);
        headers.push(':');
        headers.push_str(&header(&request.headers, name).unwrap_or_default());
        headers.push('\n');
    }
    // Every service but S3 encodes the path a second time.
    format!(
        "{}\n{}\n{}\n{headers}\n{signed_headers}\n{}",
        request.method,
        encode(request.uri.path().as_bytes(), "/"),
        query.join("&"),
        to_hex(&Sha256::digest(body))
    )
}

/// The values of a header in canonical form: trimmed, inner blanks collapsed, joined by commas.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| {
            String::from_utf8_lossy(value.as_bytes())
                .split_ascii_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Reads `YYYYMMDD'T'HHMMSS'Z'`.
fn parse_timestamp(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let all_digits = date.bytes().chain(time.bytes()).all(|b| b.is_ascii_digit());
    (date.len() == 8 && time.len() == 6 && all_digits).then_some(())?;
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, month, day) = (
        number(&date[..4])?,
        number(&date[4..6])?,
        number(&date[6..])?,
    );
    let (hour, minute, second) = (
        number(&time[..2])?,
        number(&time[2..4])?,
        number(&time[4..])?,
    );
    // Days since 1970 of a proleptic Gregorian date, counting years from March.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `get-vanilla` case of the AWS signature test suite.
    fn vanilla() -> (Parts, Credentials, SystemTime) {
        let request = hyper::Request::get("/")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            )
            .body(())
            .unwrap();
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        (request.into_parts().0, credentials, now)
    }

    #[test]
    fn the_published_example_is_accepted() {
        let (request, credentials, now) = vanilla();
        assert_eq!(verify(&request, b"", &credentials, now), Ok(()));
    }

    #[test]
    fn anything_changed_is_refused() {
        let (request, credentials, now) = vanilla();
        assert_eq!(
            verify(&request, b"x", &credentials, now),
            Err(Denied::Mismatch)
        );

        let mut moved = request.clone();
        moved.uri = "/other".parse().unwrap();
        assert_eq!(
            verify(&moved, b"", &credentials, now),
            Err(Denied::Mismatch)
        );

        let mut asked = request.clone();
        asked.uri = "/?Action=X".parse().unwrap();
        assert_eq!(
            verify(&asked, b"", &credentials, now),
            Err(Denied::Mismatch)
        );

        let other = Credentials {
            secret_access_key: "other".into(),
            ..credentials.clone()
        };
        assert_eq!(verify(&request, b"", &other, now), Err(Denied::Mismatch));

        let other = Credentials {
            access_key_id: "OTHER".into(),
            ..credentials.clone()
        };
        assert_eq!(verify(&request, b"", &other, now), Err(Denied::UnknownKey));

        for now in [now + MAX_SKEW * 2, now - MAX_SKEW * 2] {
            assert_eq!(
                verify(&request, b"", &credentials, now),
                Err(Denied::Skewed)
            );
        }

        let mut unsigned = request;
        unsigned.headers.remove("authorization");
        assert_eq!(
            verify(&unsigned, b"", &credentials, now),
            Err(Denied::Unsigned)
        );
    }

    #[test]
    fn timestamps() {
        let at =
            |text| parse_timestamp(text).map(|t| t.duration_since(UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(at("19700101T000000Z"), Some(0));
        assert_eq!(at("20000229T235959Z"), Some(951_868_799));
        assert_eq!(at("20241231T000000Z"), Some(1_735_603_200));
        assert_eq!(at("20241231"), None);
        assert_eq!(at("2024123\u{e9}T000000Z"), None);
    }
}
