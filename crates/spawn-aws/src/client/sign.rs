//! Signature Version 4, by AWS's own signer.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign as sign_http,
};
use aws_sigv4::sign::v4;

use crate::client::transport::HttpRequest;
use crate::credentials::Credentials;

/// Adds `x-amz-date`, `x-amz-security-token`, `authorization` and, for S3, `x-amz-content-sha256`.
///
/// # Errors
/// The request cannot be signed: its address or a header is malformed.
pub fn sign(
    request: &mut HttpRequest,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<(), String> {
    let identity = aws_credential_types::Credentials::new(
        credentials.access_key_id.clone(),
        credentials.secret_access_key.clone(),
        credentials.session_token.clone(),
        None,
        "spawn",
    )
    .into();
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|e| e.to_string())?
        .into();
    let headers = request
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()));
    let signable = SignableRequest::new(
        request.method.as_str(),
        request.url.as_str(),
        headers,
        SignableBody::Bytes(&request.body),
    )
    .map_err(|e| e.to_string())?;
    let (instructions, _) = sign_http(signable, &params)
        .map_err(|e| e.to_string())?
        .into_parts();
    let added: Vec<(String, String)> = instructions
        .headers()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    request.headers.extend(added);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::transport::Method;
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    fn signature(request: &HttpRequest) -> &str {
        let (_, value) = request
            .headers
            .iter()
            .find(|(n, _)| n == "authorization")
            .unwrap();
        value.rsplit("Signature=").next().unwrap()
    }

    fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
        let found = request.headers.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    /// The cases `get-vanilla`, `get-vanilla-query-order-key-case` and `post-x-www-form-urlencoded` of
    /// AWS's signature test suite.
    #[test]
    fn the_published_test_suite() {
        let credentials =
            Credentials::fixed("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        for (method, url, headers, body, expected) in [
            (
                Method::Get,
                "https://example.amazonaws.com/",
                vec![],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                Method::Get,
                "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                vec![],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                Method::Post,
                "https://example.amazonaws.com/",
                vec![("content-type", "application/x-www-form-urlencoded")],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let mut request = HttpRequest {
                method,
                url: url.into(),
                headers: headers
                    .into_iter()
                    .map(|(n, v): (&str, &str)| (n.into(), v.into()))
                    .collect(),
                body: Arc::from(body.as_bytes()),
            };
            sign(&mut request, &credentials, "us-east-1", "service", now).unwrap();
            assert_eq!(signature(&request), expected, "{url}");
            assert_eq!(header(&request, "x-amz-date"), Some("20150830T123600Z"));
        }
    }

    /// "GET Object" and "GET Bucket Lifecycle" of the S3 API reference, "Examples: Signature
    /// Calculations".
    #[test]
    fn the_published_s3_examples() {
        let credentials = Credentials::fixed(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        );
        let now = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        for (url, headers, expected) in [
            (
                "https://examplebucket.s3.amazonaws.com/test.txt",
                vec![("range".to_owned(), "bytes=0-9".to_owned())],
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "https://examplebucket.s3.amazonaws.com/?lifecycle",
                vec![],
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
                vec![],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let mut request = HttpRequest {
                method: Method::Get,
                url: url.into(),
                headers,
                body: Arc::from(&b""[..]),
            };
            sign(&mut request, &credentials, "us-east-1", "s3", now).unwrap();
            assert_eq!(signature(&request), expected, "{url}");
            assert!(header(&request, "x-amz-content-sha256").is_some());
        }
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let credentials = Credentials {
            session_token: Some("TOKEN".into()),
            ..Credentials::fixed("AKIDEXAMPLE", "x")
        };
        let mut request = HttpRequest {
            method: Method::Get,
            url: "https://example.amazonaws.com/".into(),
            headers: vec![],
            body: Arc::from(&b""[..]),
        };
        sign(
            &mut request,
            &credentials,
            "us-east-1",
            "service",
            UNIX_EPOCH,
        )
        .unwrap();
        assert_eq!(header(&request, "x-amz-security-token"), Some("TOKEN"));
        let authorization = header(&request, "authorization").unwrap();
        assert!(authorization.contains("x-amz-security-token"));
        assert!(
            sign(
                &mut HttpRequest {
                    url: "no address".into(),
                    ..request.clone()
                },
                &credentials,
                "us-east-1",
                "service",
                UNIX_EPOCH
            )
            .is_err()
        );
    }
}
