//! Answers in the protocols of AWS, and the response type that all services share.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::identifiers;
use crate::sigv4::Denied;

/// An answer of any service.
pub(crate) type Reply = hyper::Response<s3s::Body>;

/// What one request did, for the answer and for the record of it.
pub(crate) struct Served {
    pub(crate) reply: Reply,
    pub(crate) operation: String,
    pub(crate) resource: Option<String>,
    pub(crate) error_code: Option<String>,
}

/// How a client wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `application/x-amz-json-1.0` with an `X-Amz-Target` header.
    Json,
    /// A form in, XML out.
    Query,
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: String) -> Reply {
    reply(status, "application/x-amz-json-1.0", body)
}

/// An answer with an XML body.
pub(crate) fn xml(status: StatusCode, body: String) -> Reply {
    reply(status, "text/xml", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Reply::new(s3s::Body::from(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&identifiers::uuid()) {
        headers.insert("x-amzn-requestid", id);
    }
    reply
}

/// An error in `protocol`, with the code that clients match on.
pub(crate) fn error(protocol: Protocol, status: StatusCode, code: &str, message: &str) -> Reply {
    match protocol {
        Protocol::Json => {
            let body = serde_json::json!({ "__type": code, "message": message });
            json(status, body.to_string())
        }
        Protocol::Query => {
            let fault = if status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            let body = format!(
                "<?xml version=\"1.0\"?>\n<ErrorResponse><Error><Type>{fault}</Type><Code>{}</Code>\
                 <Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
                escape(code),
                escape(message),
                identifiers::uuid()
            );
            xml(status, body)
        }
    }
}

/// The answer to a request whose signature was refused, and the code in it.
pub(crate) fn denied(protocol: Protocol, why: &Denied) -> (Reply, &'static str) {
    let (json_code, query_code, message) = match why {
        Denied::Unsigned => (
            "MissingAuthenticationTokenException",
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ),
        Denied::Malformed(what) => ("IncompleteSignatureException", "IncompleteSignature", *what),
        Denied::UnknownKey => (
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "The security token included in the request is invalid: \
             this is the local endpoint, and the access key is not its own",
        ),
        Denied::Skewed => (
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "Signature expired or not yet current: the clocks differ by more than 15 minutes",
        ),
        Denied::Mismatch => (
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method",
        ),
    };
    let code = match protocol {
        Protocol::Json => json_code,
        Protocol::Query => query_code,
    };
    (error(protocol, StatusCode::FORBIDDEN, code, message), code)
}

/// Text inside an XML element.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#xD;"),
            other => escaped.push(other),
        }
    }
    escaped
}
