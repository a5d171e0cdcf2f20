//! Answers in the protocols of AWS, and the response type that all services share.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::identifiers;
use crate::judge::Denied;

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
    /// S3's own: a method on a path, and errors in XML.
    S3,
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
        Protocol::S3 => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{}</Code><Message>{}</Message></Error>",
                escape(code),
                escape(message)
            );
            reply(status, "application/xml", body)
        }
    }
}

/// The answer to a request whose signature was refused, and the code in it.
pub(crate) fn denied(protocol: Protocol, why: &Denied) -> (Reply, &'static str) {
    let message = match why {
        Denied::Unsigned if protocol == Protocol::S3 => "The request is not signed".to_owned(),
        Denied::Unsigned => "Request is missing Authentication Token".to_owned(),
        Denied::Malformed(what) => (*what).to_owned(),
        Denied::Version2 => "The authorization mechanism you have provided is not supported. \
                             Please use AWS4-HMAC-SHA256."
            .to_owned(),
        Denied::TwoSignatures => {
            "Only one way to sign is allowed: an Authorization header, or the \
                                  parameters of one presigned URL"
                .to_owned()
        }
        Denied::Form => "Form uploads are not part of the local endpoint: their signature is in \
                         the body, which is read only after the request was verified"
            .to_owned(),
        Denied::Repeated(name) => format!("The query parameter `{name}` is given twice"),
        Denied::UnknownKey => "The security token included in the request is invalid: \
                               this is the local endpoint, and the access key is not its own"
            .to_owned(),
        Denied::OtherService(service) => {
            format!("The request is signed for `{service}` and not for `s3`")
        }
        Denied::Skewed => {
            "The difference between the request time and the current time is too large: \
             signature expired or not yet current, more than 15 minutes apart"
                .to_owned()
        }
        Denied::Expired => "Request has expired".to_owned(),
        Denied::HeadersNotSigned(names) => {
            format!("There were headers present in the request which were not signed: {names}")
        }
        Denied::UnknownTrailer(name) => {
            format!("The value specified in the x-amz-trailer header is not supported: `{name}`")
        }
        Denied::Mismatch => "The request signature we calculated does not match the signature you \
                             provided. Check your AWS Secret Access Key and signing method"
            .to_owned(),
    };
    let (status, code) = denied_code(protocol, why);
    (error(protocol, status, code, &message), code)
}

fn denied_code(protocol: Protocol, why: &Denied) -> (StatusCode, &'static str) {
    let forbidden = StatusCode::FORBIDDEN;
    let bad = StatusCode::BAD_REQUEST;
    match (protocol, why) {
        (Protocol::S3, Denied::Malformed(_) | Denied::OtherService(_)) => {
            (bad, "AuthorizationHeaderMalformed")
        }
        (Protocol::S3, Denied::Version2 | Denied::UnknownTrailer(_)) => (bad, "InvalidRequest"),
        (Protocol::S3, Denied::TwoSignatures | Denied::Repeated(_)) => (bad, "InvalidArgument"),
        (Protocol::S3, Denied::UnknownKey) => (forbidden, "InvalidAccessKeyId"),
        (Protocol::S3, Denied::Skewed) => (forbidden, "RequestTimeTooSkewed"),
        (Protocol::S3, Denied::Mismatch) => (forbidden, "SignatureDoesNotMatch"),
        (
            Protocol::S3,
            Denied::Unsigned | Denied::Form | Denied::Expired | Denied::HeadersNotSigned(_),
        ) => (forbidden, "AccessDenied"),
        (Protocol::Json, Denied::Unsigned) => (forbidden, "MissingAuthenticationTokenException"),
        (Protocol::Query, Denied::Unsigned) => (forbidden, "MissingAuthenticationToken"),
        (Protocol::Json, Denied::UnknownKey) => (forbidden, "UnrecognizedClientException"),
        (Protocol::Query, Denied::UnknownKey) => (forbidden, "InvalidClientTokenId"),
        (Protocol::Json, Denied::Skewed | Denied::Expired | Denied::Mismatch) => {
            (forbidden, "InvalidSignatureException")
        }
        (Protocol::Query, Denied::Skewed | Denied::Expired | Denied::Mismatch) => {
            (forbidden, "SignatureDoesNotMatch")
        }
        (Protocol::Json, Denied::HeadersNotSigned(_)) => (forbidden, "AccessDeniedException"),
        (Protocol::Query, Denied::HeadersNotSigned(_)) => (forbidden, "AccessDenied"),
        (Protocol::Json, _) => (forbidden, "IncompleteSignatureException"),
        (Protocol::Query, _) => (forbidden, "IncompleteSignature"),
    }
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
