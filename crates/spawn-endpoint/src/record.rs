//! What the host learns of each request.

use std::sync::Arc;

/// One answered request, refused ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// `s3`, `sqs`, `dynamodb`, `sts`, or the service that was asked for and does not exist here.
    pub service: String,
    /// The API operation, `PutObject`; for a request refused before it was understood, the HTTP
    /// method.
    pub operation: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The error code of the answer, `NoSuchKey`.
    pub error_code: Option<String>,
    /// The session token that the request carried. It takes no part in authentication.
    pub session_token: Option<String>,
    /// `bucket` or `bucket/key`, the queue's name, or the table's name.
    pub resource: Option<String>,
}

/// Called once per request, on the endpoint's thread, just before the answer is sent. It must be
/// quick and must not panic.
pub type RequestHook = Arc<dyn Fn(&RequestRecord) + Send + Sync>;
