//! The ledger's seam to DynamoDB over the AWS client.

use serde_json::Value;
use spawn_aws::client::{AwsError, Client, ErrorKind, Safety};
use spawn_aws::services::dynamodb;
use spawn_dynamo::{DynamoApi, DynamoError};

/// Sends the ledger's operations. What surely was not executed is sent again; all else is for the
/// ledger to decide.
#[derive(Debug, Clone)]
pub struct AwsDynamo(pub Client);

/// Every operation that the ledger uses.
const OPERATIONS: [&str; 10] = [
    "GetItem",
    "BatchGetItem",
    "Query",
    "UpdateItem",
    "PutItem",
    "TransactWriteItems",
    "CreateTable",
    "DescribeTable",
    "UpdateTimeToLive",
    "UpdateContinuousBackups",
];

impl DynamoApi for AwsDynamo {
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, DynamoError> {
        let Some(known) = OPERATIONS.into_iter().find(|known| *known == operation) else {
            return Err(DynamoError::Other {
                code: "UnknownOperation".to_owned(),
                message: format!("`{operation}` is not one that the ledger is known to use"),
            });
        };
        dynamodb::call(&self.0, known, Safety::Once, &body).map_err(sorted)
    }
}

fn sorted(error: AwsError) -> DynamoError {
    // Surely not executed; the metadata service may be late with new credentials.
    if error.kind == ErrorKind::Expired && !error.maybe_executed {
        return DynamoError::Throttled(error.to_string());
    }
    if let Some(document) = &error.document {
        return DynamoError::from_answer(error.status, &document.to_string());
    }
    match error.kind {
        _ if error.maybe_executed => DynamoError::MaybeExecuted(error.to_string()),
        ErrorKind::Unavailable | ErrorKind::Malformed => {
            DynamoError::MaybeExecuted(error.to_string())
        }
        // Surely not executed, and worth repeating. Credentials of a role may be late.
        ErrorKind::Network | ErrorKind::Throttled | ErrorKind::Expired => {
            DynamoError::Throttled(error.to_string())
        }
        ErrorKind::Credentials if error.status == 0 => DynamoError::Throttled(error.to_string()),
        _ => DynamoError::Other {
            code: error.code.clone(),
            message: error.to_string(),
        },
    }
}
