//! The MD5 sums by which clients check what was stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use s3s::crypto::{Checksum as _, Md5};
use serde_json::{Map, Value};

use crate::identifiers::to_hex;

/// Of a message body.
pub(super) fn of_body(body: &str) -> String {
    to_hex(&Md5::checksum(body.as_bytes()))
}

/// Of message attributes, in the encoding that AWS documents: sorted by name; name, type and value
/// each behind its length; one byte for text or binary.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>
pub(super) fn of_attributes(attributes: &Map<String, Value>) -> String {
    let mut names: Vec<_> = attributes.keys().collect();
    names.sort();
    let mut md5 = Md5::new();
    let part = |bytes: &[u8], md5: &mut Md5| {
        md5.update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        md5.update(bytes);
    };
    for name in names {
        let text = |field: &str| {
            attributes[name]
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let kind = text("DataType");
        part(name.as_bytes(), &mut md5);
        part(kind.as_bytes(), &mut md5);
        if kind.starts_with("Binary") {
            md5.update(&[2]);
            part(
                &BASE64.decode(text("BinaryValue")).unwrap_or_default(),
                &mut md5,
            );
        } else {
            md5.update(&[1]);
            part(text("StringValue").as_bytes(), &mut md5);
        }
    }
    to_hex(&md5.finalize())
}

/// Of message system attributes, of which there is one.
pub(super) fn of_trace(trace: &str) -> String {
    let attribute = serde_json::json!({ "DataType": "String", "StringValue": trace });
    of_attributes(&Map::from_iter([("AWSTraceHeader".to_owned(), attribute)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_aws() {
        assert_eq!(of_body("hello world"), "5eb63bbbe01eeed093cb22bb8f5acdc3");
        // From the tests of an SDK that checks these sums.
        let attributes = serde_json::json!({
            "timestamp": { "DataType": "Number", "StringValue": "1493147359900" }
        });
        assert_eq!(
            of_attributes(attributes.as_object().unwrap()),
            "235c5c510d26fb653d073faed50ae77c"
        );
    }
}
