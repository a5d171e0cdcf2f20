//! Whether an AWS Signature Version 4 in the `Authorization` header fits its request, for the services
//! whose protocol crate does not verify it (S3 has its own).
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Credentials;
use crate::authorization::{ALGORITHM, Authorization, Scope};
use crate::identifiers::to_hex;
use crate::judge::Denied;
use crate::percent::{decode, encode};

/// Accepts a request whose head was judged if its signature fits it, its body and the secret.
pub(crate) fn verify(
    request: &Parts,
    authorization: &Authorization<'_>,
    body: &[u8],
    credentials: &Credentials,
) -> Result<(), Denied> {
    let canonical = canonical_request(request, authorization.signed_headers, body);
    let timestamp = header(&request.headers, "x-amz-date").unwrap_or_default();
    let Scope {
        date,
        region,
        service,
        ..
    } = authorization.scope;
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::judge::judge;

    /// All that a request must pass.
    fn verify(
        request: &Parts,
        body: &[u8],
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<(), Denied> {
        let authorization = judge(request, credentials, now)?;
        super::verify(request, &authorization, body, credentials)
    }

    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

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

        for now in [now + HALF_AN_HOUR, now - HALF_AN_HOUR] {
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
}
