//! DynamoDB: the protocol edge in front of an embedded engine.
//!
//! The engine is called in process. Its own HTTP server would have to listen on a second port,
//! and that port would take unsigned requests from anyone on the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dynoxide::{Database, DynoxideError};
use hyper::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wire::{self, Protocol, Served};
use crate::{EndpointError, database, disk};

/// What precedes the operation in `X-Amz-Target`.
const TARGETS: [&str; 2] = ["DynamoDB_20120810.", "DynamoDBStreams_20120810."];
/// DynamoDB deletes expired items within days; a minute is plenty.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The tables of one endpoint.
pub(crate) struct Tables {
    /// The directory that the database is in.
    dir: PathBuf,
    engine: Database,
}

impl Tables {
    /// Opens or creates the tables in `file`. Blocks.
    pub(crate) fn open(file: &Path) -> Result<Self, EndpointError> {
        let name = file
            .to_str()
            .ok_or_else(|| database::failed(file, &"the path is not UTF-8"))?;
        let _ = database::keep_private(file);
        let engine = Database::new(name).map_err(|error| database::failed(file, &error))?;
        // The engine opens with `synchronous=FULL` and exposes no setting; leaving its bulk mode,
        // which was never entered, is its one call that sets `NORMAL`.
        engine
            .disable_bulk_loading()
            .map_err(|error| database::failed(file, &error))?;
        let dir = file.parent().unwrap_or(file).to_owned();
        Ok(Self { dir, engine })
    }

    /// Deletes items whose time to live has passed, now and every minute while `self` lives.
    pub(crate) fn sweep_in_background(self: &Arc<Self>) {
        let tables = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(tables) = tables.upgrade() else {
                    return;
                };
                // A sweep that fails is one that the next minute repeats.
                let _ = tokio::task::spawn_blocking(move || tables.engine.sweep_ttl()).await;
            }
        });
    }

    /// Runs one verified request. Blocks.
    pub(crate) fn serve(&self, target: &str, body: &[u8]) -> Served {
        let operation = TARGETS
            .iter()
            .find_map(|prefix| target.strip_prefix(prefix))
            .unwrap_or(target);
        let body = if body.is_empty() { b"{}" } else { body };
        let answer = match std::str::from_utf8(body) {
            Ok(text) => self.run(operation, text),
            Err(_) => Some(Err(DynoxideError::SerializationException(String::new()))),
        };
        let resource = serde_json::from_slice(body)
            .ok()
            .and_then(|body| table_of(&body));
        let (reply, error_code) = match answer {
            Some(Ok(body)) => (wire::json(StatusCode::OK, body), None),
            Some(Err(error)) if self.is_for_want_of_room(&error) => {
                let message = disk::message(&self.dir);
                let reply = wire::error(Protocol::Json, disk::STATUS, disk::CODE, &message);
                (reply, Some(disk::CODE.to_owned()))
            }
            Some(Err(error)) => {
                let error = worded(operation, error);
                let status = StatusCode::from_u16(error.status_code())
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let code = error.error_type();
                let code = code.rsplit('#').next().unwrap_or(code).to_owned();
                (wire::json(status, error.to_json()), Some(code))
            }
            None => {
                let code = "UnknownOperationException";
                let message = format!("`{operation}` is not part of the local endpoint");
                let reply = wire::error(Protocol::Json, StatusCode::BAD_REQUEST, code, &message);
                (reply, Some(code.to_owned()))
            }
        };
        Served {
            reply,
            operation: operation.to_owned(),
            resource,
            error_code,
        }
    }

    /// Whether the engine failed because the disk is full, which it tells in words only.
    fn is_for_want_of_room(&self, error: &DynoxideError) -> bool {
        error.status_code() >= 500
            && (disk::says_full(&error.to_string()) || disk::has_no_room(&self.dir))
    }

    /// Nothing if there is no such operation.
    fn run(&self, operation: &str, body: &str) -> Option<Result<String, DynoxideError>> {
        let db = &self.engine;
        Some(match operation {
            "CreateTable" => call(body, |input| db.create_table(input)),
            "DeleteTable" => call(body, |input| db.delete_table(input)),
            "DescribeTable" => call(body, |input| db.describe_table(input)),
            "UpdateTable" => call(body, |input| db.update_table(input)),
            "ListTables" => call(body, |input| db.list_tables(input)),
            "PutItem" => call(body, |input| db.put_item(input)),
            "GetItem" => call(body, |input| db.get_item(input)),
            "DeleteItem" => call(body, |input| db.delete_item(input)),
            "UpdateItem" => call(body, |input| db.update_item(input)),
            "Query" => call(body, |input| db.query(input)),
            "Scan" => call(body, |input| db.scan(input)),
            "BatchGetItem" => call(body, |input| db.batch_get_item(input)),
            "BatchWriteItem" => call(body, |input| db.batch_write_item(input)),
            "TransactWriteItems" => call(body, |input| db.transact_write_items(input)),
            "TransactGetItems" => call(body, |input| db.transact_get_items(input)),
            "UpdateTimeToLive" => call(body, |input| db.update_time_to_live(input)),
            "DescribeTimeToLive" => call(body, |input| db.describe_time_to_live(input)),
            "ExecuteStatement" => call(body, |input| db.execute_statement(input)),
            "ExecuteTransaction" => call(body, |input| db.execute_transaction(input)),
            "BatchExecuteStatement" => call(body, |input| db.batch_execute_statement(input)),
            "TagResource" => call(body, |input| db.tag_resource(input)),
            "UntagResource" => call(body, |input| db.untag_resource(input)),
            "ListTagsOfResource" => call(body, |input| db.list_tags_of_resource(input)),
            "ListStreams" => call(body, |input| db.list_streams(input)),
            "DescribeStream" => call(body, |input| db.describe_stream(input)),
            "GetShardIterator" => call(body, |input| db.get_shard_iterator(input)),
            "GetRecords" => call(body, |input| db.get_records(input)),
            _ => return None,
        })
    }
}

fn call<I: DeserializeOwned, O: Serialize>(
    body: &str,
    operation: impl FnOnce(I) -> Result<O, DynoxideError>,
) -> Result<String, DynoxideError> {
    let input = serde_json::from_str(body).map_err(|error| unreadable(&error.to_string()))?;
    let output = operation(input)?;
    serde_json::to_string(&output)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// The engine's readers mark the kind of an error in front of its text, and the JSON parser adds
/// the position behind it; DynamoDB has neither.
fn unreadable(text: &str) -> DynoxideError {
    let message = text
        .rfind(" at line ")
        .map_or(text, |position| &text[..position]);
    if let Some((mark, rest)) = message.split_once(':') {
        match mark {
            "VALIDATION" | "VALIDATION_AS_READ" => {
                return DynoxideError::ValidationException(rest.to_owned());
            }
            "VALIDATION_REQUEST" => return DynoxideError::EnvelopedValidation(rest.to_owned()),
            "SERIALIZATION" | "SERIALIZATION_AS_READ" => {
                return DynoxideError::SerializationException(rest.to_owned());
            }
            _ => {}
        }
    }
    let is_value = [
        "missing field",
        "unknown variant",
        "invalid type: null",
        "AttributeValue",
    ]
    .iter()
    .any(|mark| message.contains(mark));
    if is_value {
        DynoxideError::ValidationException(message.to_owned())
    } else {
        DynoxideError::SerializationException(message.to_owned())
    }
}

/// DynamoDB puts the errors of three operations in an envelope; the engine leaves that to its edge.
fn worded(operation: &str, error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(message) => {
            let enveloped = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
            let envelope = if enveloped {
                "1 validation error detected: "
            } else {
                ""
            };
            DynoxideError::ValidationException(format!("{envelope}{message}"))
        }
        other => other,
    }
}

/// The table that a request is about; the first one of a batch.
fn table_of(body: &Value) -> Option<String> {
    if let Some(name) = body.get("TableName").and_then(Value::as_str) {
        return Some(name.to_owned());
    }
    if let Some(tables) = body.get("RequestItems").and_then(Value::as_object) {
        return tables.keys().next().cloned();
    }
    let first = body
        .get("TransactItems")?
        .as_array()?
        .first()?
        .as_object()?;
    let action = first.values().next()?;
    Some(action.get("TableName")?.as_str()?.to_owned())
}
