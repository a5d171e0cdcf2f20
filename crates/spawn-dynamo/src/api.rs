//! The one seam to the wire: DynamoDB's JSON protocol, one operation a call.

use serde_json::Value;

/// Sends one operation to DynamoDB.
///
/// The implementation signs and sends. It does not repeat what failed: the ledger knows what may
/// be repeated, and does.
pub trait DynamoApi {
    /// Runs `operation`, such as `UpdateItem`, with a body in DynamoDB's JSON.
    ///
    /// # Errors
    /// What DynamoDB answered, or what became of the connection.
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, DynamoError>;
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DynamoError {
    /// The condition of a single write does not hold. Nothing was written.
    #[error("the condition does not hold")]
    ConditionalCheckFailed {
        /// The item as it is, if it was asked for and exists.
        item: Option<Value>,
    },
    /// A transaction was cancelled. Nothing was written.
    #[error("the transaction was cancelled: {}", codes(.reasons))]
    TransactionCanceled {
        /// One for each of its items, in order.
        reasons: Vec<CancelReason>,
    },
    /// Another transaction holds the item. Nothing was written; worth repeating.
    #[error("another transaction holds the item")]
    Conflict,
    /// Too many requests, or the same transaction is under way. Worth repeating.
    #[error("throttled: {0}")]
    Throttled(String),
    /// There is no such table.
    #[error("there is no such table: {0}")]
    ResourceNotFound(String),
    /// The table is being created, or exists already.
    #[error("the table is in use: {0}")]
    ResourceInUse(String),
    /// The answer is lost or the server failed: it may have been done or not. Worth repeating if
    /// doing it twice is the same as once.
    #[error("the answer was lost: {0}")]
    MaybeExecuted(String),
    /// Anything else.
    #[error("{code}: {message}")]
    Other {
        /// Its name, such as `ValidationException`.
        code: String,
        /// What DynamoDB says.
        message: String,
    },
}

/// Why one item of a transaction stood in its way.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelReason {
    /// `None` if it did not, else a name such as `ConditionalCheckFailed`.
    pub code: String,
    /// The item as it is, if it was asked for and exists.
    pub item: Option<Value>,
}

impl DynamoError {
    /// Reads the error that an answer with this HTTP status and body is.
    pub fn from_answer(status: u16, body: &str) -> DynamoError {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        let kind = parsed["__type"].as_str().unwrap_or_default();
        let code = kind.rsplit('#').next().unwrap_or_default().to_owned();
        let said = parsed["message"].as_str().or(parsed["Message"].as_str());
        let message = said.unwrap_or(if parsed.is_null() { body } else { "" });
        let message = message.to_owned();
        match code.as_str() {
            "ConditionalCheckFailedException" => DynamoError::ConditionalCheckFailed {
                item: parsed.get("Item").filter(|item| !item.is_null()).cloned(),
            },
            "TransactionCanceledException" => DynamoError::TransactionCanceled {
                reasons: reasons(&parsed["CancellationReasons"]),
            },
            "TransactionConflictException" => DynamoError::Conflict,
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "TransactionInProgressException" => DynamoError::Throttled(message),
            "ResourceNotFoundException" => DynamoError::ResourceNotFound(message),
            "ResourceInUseException" => DynamoError::ResourceInUse(message),
            _ if status >= 500 && status != 501 => DynamoError::MaybeExecuted(message),
            _ => DynamoError::Other { code, message },
        }
    }

    /// Whether the same request may fare better in a moment, without anything being read anew.
    pub fn is_transient(&self) -> bool {
        match self {
            DynamoError::Conflict | DynamoError::Throttled(_) | DynamoError::MaybeExecuted(_) => {
                true
            }
            DynamoError::TransactionCanceled { reasons } => {
                let mut codes = reasons.iter().map(|reason| reason.code.as_str());
                codes.all(|code| {
                    matches!(
                        code,
                        "None"
                            | "TransactionConflict"
                            | "ThrottlingError"
                            | "ProvisionedThroughputExceeded"
                    )
                })
            }
            _ => false,
        }
    }

    /// Whether a condition of the request does not hold.
    pub fn is_condition(&self) -> bool {
        match self {
            DynamoError::ConditionalCheckFailed { .. } => true,
            DynamoError::TransactionCanceled { reasons } => {
                let mut reasons = reasons.iter();
                reasons.any(|reason| reason.code == "ConditionalCheckFailed")
            }
            _ => false,
        }
    }
}

fn reasons(listed: &Value) -> Vec<CancelReason> {
    let listed = listed.as_array().map_or(&[][..], Vec::as_slice);
    let read = |reason: &Value| CancelReason {
        code: reason["Code"].as_str().unwrap_or("None").to_owned(),
        item: reason.get("Item").filter(|item| !item.is_null()).cloned(),
    };
    listed.iter().map(read).collect()
}

fn codes(reasons: &[CancelReason]) -> String {
    let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    codes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let read = DynamoError::from_answer;
        let lost = read(
            400,
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no","Item":{"pk":{"S":"x"}}}"#,
        );
        let item = serde_json::json!({ "pk": { "S": "x" } });
        assert_eq!(
            lost,
            DynamoError::ConditionalCheckFailed { item: Some(item) }
        );
        assert!(lost.is_condition() && !lost.is_transient());
        let cancelled = |codes: &str| {
            let body = format!(
                r#"{{"__type":"x#TransactionCanceledException","CancellationReasons":[{codes}]}}"#
            );
            read(400, &body)
        };
        let conflict = cancelled(r#"{"Code":"None"},{"Code":"TransactionConflict"}"#);
        assert!(conflict.is_transient() && !conflict.is_condition());
        let both = cancelled(r#"{"Code":"ConditionalCheckFailed"},{"Code":"TransactionConflict"}"#);
        assert!(both.is_condition() && !both.is_transient());
        let failed = read(500, "oh");
        assert_eq!(failed, DynamoError::MaybeExecuted("oh".to_owned()));
        let throttled = read(
            400,
            r#"{"__type":"a#ThrottlingException","Message":"slow"}"#,
        );
        assert_eq!(throttled, DynamoError::Throttled("slow".to_owned()));
        let other = read(400, r#"{"__type":"a#ValidationException","message":"bad"}"#);
        assert_eq!(other.to_string(), "ValidationException: bad");
    }
}
