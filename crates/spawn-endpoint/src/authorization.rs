//! Where a request says who signed it: in a header, or in the query of a presigned URL.
//!
//! Only reading happens here. What is allowed is in `judge.rs`, and whether a signature fits in
//! `sigv4.rs` and, for S3, in `s3s`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;

use crate::percent::decode;

/// The one algorithm of Signature Version 4 that is served.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signed, when and for what: `KEY/YYYYMMDD/REGION/SERVICE/aws4_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

impl<'a> Scope<'a> {
    fn read(credential: &'a str) -> Option<Self> {
        // An access key has no slash, and the scope is always the last four parts.
        let mut parts = credential.rsplitn(5, '/');
        (parts.next()? == "aws4_request").then_some(())?;
        let (service, region, date) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            access_key_id: parts.next()?,
            date,
            region,
            service,
        })
    }
}

/// The parts of an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) signed_headers: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header; nothing if it is absent, given twice, unreadable or of another algorithm.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let text = only(headers, "authorization")?;
        let fields = text.strip_prefix(ALGORITHM)?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            // A second one could be judged and the first one verified.
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(Self {
            scope: Scope::read(credential?)?,
            signed_headers: signed_headers?,
            signature: signature?,
        })
    }
}

/// The signature in the query of a presigned URL of version 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presigned<'a> {
    pub(crate) algorithm: &'a str,
    pub(crate) scope: Scope<'a>,
    pub(crate) date: &'a str,
    pub(crate) expires: &'a str,
    pub(crate) signed_headers: &'a str,
}

impl<'a> Presigned<'a> {
    /// Reads the parameters; nothing if one is absent or its credential is not one.
    pub(crate) fn of(query: &'a Query) -> Option<Self> {
        query.get("X-Amz-Signature")?;
        Some(Self {
            algorithm: query.get("X-Amz-Algorithm")?,
            scope: Scope::read(query.get("X-Amz-Credential")?)?,
            date: query.get("X-Amz-Date")?,
            expires: query.get("X-Amz-Expires")?,
            signed_headers: query.get("X-Amz-SignedHeaders")?,
        })
    }
}

/// The decoded parameters of a query, in the order they were given.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &hyper::Uri) -> Self {
        let text =
            |part: &str| String::from_utf8_lossy(&decode(&part.replace('+', " "))).into_owned();
        let pairs = uri.query().unwrap_or_default().split('&');
        Self(
            pairs
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (text(name), text(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether any of `names` is given.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// The first name that is given twice.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
            .windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The value of a header that is given once; nothing if it is given more often.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Reads `YYYYMMDD'T'HHMMSS'Z'`.
pub(crate) fn parse_timestamp(text: &str) -> Option<SystemTime> {
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

    #[test]
    fn a_field_given_twice_is_no_authorization() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", text.parse().unwrap());
            Authorization::of(&headers).is_some()
        };
        let good = "AWS4-HMAC-SHA256 Credential=K/20241231/us-east-1/s3/aws4_request, \
                    SignedHeaders=host, Signature=abc";
        assert!(read(good));
        assert!(!read(&format!("{good}, Signature=abd")));
        assert!(!read(&good.replace("aws4_request", "aws4")));
        assert!(!read(&good.replace("Signature=", "Sign=")));
        assert!(!read("AWS K:abc"));
    }

    #[test]
    fn queries_are_decoded_before_they_are_compared() {
        let query = Query::of(&"/?a=1&%61=2&b=x+y%2f".parse().unwrap());
        assert_eq!(query.repeated(), Some("a"));
        assert_eq!(query.get("b"), Some("x y/"));
        assert!(query.has_any(&["c", "b"]));
    }
}
