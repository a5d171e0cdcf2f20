//! XML answers into plain structs, and the error documents of the XML services.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};

/// Reads an answer whose root holds the fields.
///
/// # Errors
/// It is not XML, or not what `T` says.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not text".to_owned())?;
    quick_xml::de::from_str(text).map_err(|e| format!("the answer cannot be read: {e}"))
}

/// Reads an answer whose fields are in `<...Result>` below the root.
///
/// # Errors
/// As [`read`].
pub fn read_result<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    read::<InResult<T>>(body).map(|found| found.0)
}

struct InResult<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InResult<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Find<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Find<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an answer with a result")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key.ends_with("Result") {
                        found = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                found.ok_or_else(|| de::Error::custom("there is no result in it"))
            }
        }
        deserializer.deserialize_map(Find(PhantomData)).map(Self)
    }
}

/// A list in an element of its own: `<names><item>a</item></names>`, or `<member>`.
///
/// # Errors
/// An item is not what `T` says.
pub fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    struct Items<T> {
        #[serde(default = "Vec::new", alias = "member")]
        item: Vec<T>,
    }
    Ok(Items::deserialize(deserializer)?.item)
}

/// What an error document says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ErrorDocument {
    /// AWS's code; empty if the document has none.
    pub code: String,
    /// AWS's words.
    pub message: String,
    /// AWS's name of the request.
    pub request_id: Option<String>,
    /// The region S3 says to use.
    pub region: Option<String>,
}

/// Reads the three shapes: `<Response><Errors><Error>` (EC2), `<ErrorResponse><Error>` (other
/// query services) and `<Error>` (S3). Of what is none of them, nothing.
#[must_use]
pub fn read_error(body: &[u8]) -> ErrorDocument {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Shape {
        #[serde(rename = "Errors")]
        errors: Option<Errors>,
        #[serde(rename = "Error")]
        error: Option<Fields>,
        #[serde(rename = "Code")]
        code: Option<String>,
        #[serde(rename = "Message")]
        message: Option<String>,
        #[serde(rename = "RequestId", alias = "RequestID")]
        request_id: Option<String>,
        #[serde(rename = "Region")]
        region: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Vec<Fields>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "PascalCase")]
    struct Fields {
        code: String,
        message: String,
    }
    let Ok(shape) = read::<Shape>(body) else {
        return ErrorDocument::default();
    };
    let inner = shape
        .error
        .or_else(|| shape.errors.and_then(|e| e.error.into_iter().next()))
        .unwrap_or_else(|| Fields {
            code: shape.code.unwrap_or_default(),
            message: shape.message.unwrap_or_default(),
        });
    ErrorDocument {
        code: inner.code,
        message: inner.message.trim().to_owned(),
        request_id: shape.request_id,
        region: shape.region,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Answer {
        #[serde(deserialize_with = "items")]
        names: Vec<Name>,
        count: u32,
        flag: bool,
        next_token: Option<String>,
    }

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Name {
        id: String,
        #[serde(deserialize_with = "items")]
        tags: Vec<String>,
    }

    #[test]
    fn lists_of_lists_and_absent_fields() {
        let answer: Answer = read(
            br#"<?xml version="1.0" encoding="UTF-8"?>
            <R xmlns="http://ec2"><requestId>x</requestId>
              <names>
                <item><id>a &amp; b</id><tags><item>x</item><item>y</item></tags></item>
                <item><id>c</id><tags/><other><deep>1</deep></other></item>
              </names>
              <count>3</count><flag>true</flag>
            </R>"#,
        )
        .unwrap();
        assert_eq!(answer.names.len(), 2);
        assert_eq!(answer.names[0].id, "a & b");
        assert_eq!(answer.names[0].tags, ["x", "y"]);
        assert!(answer.names[1].tags.is_empty());
        assert_eq!(
            (answer.count, answer.flag, answer.next_token),
            (3, true, None)
        );

        let empty: Answer = read(b"<R><names/></R>").unwrap();
        assert_eq!(empty, Answer::default());
        let absent: Answer = read(b"<R/>").unwrap();
        assert_eq!(absent, Answer::default());
        assert!(read::<Answer>(b"<R><names>").is_err());
        assert!(read::<Answer>(b"not xml").is_err());
    }

    #[test]
    fn results_are_found() {
        let answer: Answer = read_result(
            b"<DescribeResponse xmlns='x'><DescribeResult><names><member><id>a</id></member></names>\
              </DescribeResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DescribeResponse>",
        )
        .unwrap();
        assert_eq!(answer.names[0].id, "a");
        assert!(read_result::<Answer>(b"<A><B/></A>").is_err());
    }

    #[test]
    fn error_documents() {
        let ec2 = read_error(
            b"<?xml version='1.0'?><Response><Errors><Error><Code>UnauthorizedOperation</Code>\
              <Message>You are not</Message></Error></Errors><RequestID>r-1</RequestID></Response>",
        );
        assert_eq!(
            (
                ec2.code.as_str(),
                ec2.message.as_str(),
                ec2.request_id.as_deref()
            ),
            ("UnauthorizedOperation", "You are not", Some("r-1"))
        );
        let query = read_error(
            b"<ErrorResponse xmlns='https://iam'><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
              <Message>none</Message></Error><RequestId>r-2</RequestId></ErrorResponse>",
        );
        assert_eq!(
            (query.code.as_str(), query.request_id.as_deref()),
            ("NoSuchEntity", Some("r-2"))
        );
        let s3 = read_error(
            b"<Error><Code>PermanentRedirect</Code><Message>m</Message><Region>eu-west-1</Region>\
              <RequestId>r-3</RequestId></Error>",
        );
        assert_eq!(
            (s3.code.as_str(), s3.region.as_deref()),
            ("PermanentRedirect", Some("eu-west-1"))
        );
        assert_eq!(read_error(b"<html>502</html>"), ErrorDocument::default());
        assert_eq!(read_error(b"\xff"), ErrorDocument::default());
    }
}
