//! DynamoDB. Items are JSON as on the wire: `{ "id": { "S": "x" } }`.
//!
//! A conditional write that is sent again after a lost answer meets its own first execution: its
//! error is [`ErrorKind::ConditionFailed`] with [`crate::client::Failure::maybe_executed`] set, and
//! the caller reads the item to know. Transactions carry a token and have no such case.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{AwsError, Client, DYNAMODB, ErrorKind, Safety, Service, json_call, new_token};

const API: (&Service, &str, &str) = (&DYNAMODB, "DynamoDB_20120810", "1.0");

/// Attribute names and their typed values.
pub type Item = Map<String, Value>;

/// Any operation with any request, for what has no function here.
///
/// # Errors
/// See [`AwsError`].
pub fn call(
    client: &Client,
    operation: &'static str,
    safety: Safety,
    request: &Value,
) -> Result<Value, AwsError> {
    json_call(client, API, operation, safety, request)
}

fn item(value: &mut Value, name: &str) -> Option<Item> {
    match value.get_mut(name).map(Value::take) {
        Some(Value::Object(item)) => Some(item),
        _ => None,
    }
}

/// An expression and what it refers to.
#[derive(Debug, Clone, Default)]
pub struct Expression {
    /// `attribute_not_exists(#id)`
    pub text: String,
    /// `#id` and what it stands for.
    pub names: Vec<(String, String)>,
    /// `:v` and its typed value.
    pub values: Vec<(String, Value)>,
}

impl Expression {
    /// An expression that refers to nothing yet.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// What a `#name` stands for.
    #[must_use]
    pub fn name(mut self, placeholder: &str, name: &str) -> Self {
        self.names.push((placeholder.to_owned(), name.to_owned()));
        self
    }

    /// What a `:value` stands for.
    #[must_use]
    pub fn value(mut self, placeholder: &str, value: Value) -> Self {
        self.values.push((placeholder.to_owned(), value));
        self
    }

    /// Adds names and values to a request.
    fn refer(&self, request: &mut Value) {
        for (key, value) in &self.names {
            request["ExpressionAttributeNames"][key] = json!(value);
        }
        for (key, value) in &self.values {
            request["ExpressionAttributeValues"][key] = value.clone();
        }
    }
}

/// `GetItem`; nothing if there is none.
///
/// # Errors
/// See [`AwsError`].
pub fn get_item(
    client: &Client,
    table: &str,
    key: &Item,
    consistent: bool,
) -> Result<Option<Item>, AwsError> {
    let request = json!({ "TableName": table, "Key": key, "ConsistentRead": consistent });
    call(client, "GetItem", Safety::Read, &request).map(|mut answer| item(&mut answer, "Item"))
}

/// `PutItem`, with a condition perhaps. [`ErrorKind::ConditionFailed`]:
/// `ConditionalCheckFailedException`; [`failed_item`] is the item that is there.
///
/// # Errors
/// See [`AwsError`].
pub fn put_item(
    client: &Client,
    table: &str,
    item: &Item,
    condition: Option<&Expression>,
) -> Result<(), AwsError> {
    let mut request = json!({ "TableName": table, "Item": item });
    conditional(&mut request, condition);
    call(client, "PutItem", Safety::Repeatable, &request).map(|_| ())
}

fn conditional(request: &mut Value, condition: Option<&Expression>) {
    if let Some(condition) = condition {
        request["ConditionExpression"] = json!(condition.text);
        request["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
        condition.refer(request);
    }
}

/// `DeleteItem`, with a condition perhaps.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_item(
    client: &Client,
    table: &str,
    key: &Item,
    condition: Option<&Expression>,
) -> Result<(), AwsError> {
    let mut request = json!({ "TableName": table, "Key": key });
    conditional(&mut request, condition);
    call(client, "DeleteItem", Safety::Repeatable, &request).map(|_| ())
}

/// `UpdateItem`; the whole item as it then is. `safety` is the caller's word: an update that adds
/// is [`Safety::Once`] unless a condition makes its repetition fail.
///
/// # Errors
/// See [`AwsError`].
pub fn update_item(
    client: &Client,
    table: &str,
    key: &Item,
    update: &Expression,
    condition: Option<&Expression>,
    safety: Safety,
) -> Result<Item, AwsError> {
    let mut request = json!({
        "TableName": table,
        "Key": key,
        "UpdateExpression": update.text,
        "ReturnValues": "ALL_NEW",
    });
    update.refer(&mut request);
    conditional(&mut request, condition);
    call(client, "UpdateItem", safety, &request)
        .map(|mut answer| item(&mut answer, "Attributes").unwrap_or_default())
}

/// The item that made a condition fail, if the service says it.
#[must_use]
pub fn failed_item(error: &AwsError) -> Option<&Item> {
    error.document.as_ref()?.get("Item")?.as_object()
}

/// `TransactWriteItems`: all or nothing, up to 100 items; `items` as on the wire. The token makes
/// it repeatable for ten minutes; a new one if none is given.
/// [`ErrorKind::ConditionFailed`]: `TransactionCanceledException`;
/// [`AwsError::cancellation_reasons`] says why, item by item. Transactions that only met each other
/// (`TransactionConflict`) or a throttle have kind [`ErrorKind::Conflict`] and may be tried again.
///
/// # Errors
/// See [`AwsError`].
pub fn transact_write_items(
    client: &Client,
    items: &[Value],
    token: Option<&str>,
) -> Result<(), AwsError> {
    let token = token.map_or_else(|| new_token(client.clock()), str::to_owned);
    let request = json!({ "TransactItems": items, "ClientRequestToken": token });
    let answer = call(client, "TransactWriteItems", Safety::Repeatable, &request);
    answer.map(|_| ()).map_err(|mut error| {
        let passing = |reason: &str| {
            matches!(
                reason,
                "None"
                    | "TransactionConflict"
                    | "ThrottlingError"
                    | "ProvisionedThroughputExceeded"
            )
        };
        let reasons = error.cancellation_reasons();
        if !reasons.is_empty() && reasons.into_iter().all(passing) {
            error.details().kind = ErrorKind::Conflict;
        }
        error
    })
}

/// What `Query` is asked.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The table.
    pub table: String,
    /// An index of it.
    pub index: Option<String>,
    /// The key condition.
    pub key: Expression,
    /// What of the found is wanted.
    pub filter: Option<Expression>,
    /// The attributes that are wanted; all if not said.
    pub projection: Option<Expression>,
    /// Strongly consistent; not for global indexes.
    pub consistent: bool,
    /// Greatest sort key first.
    pub backward: bool,
    /// No more than this in all; 0 for no limit.
    pub limit: usize,
}

/// `Query`, all pages up to the limit.
///
/// # Errors
/// See [`AwsError`].
pub fn query(client: &Client, query: &Query) -> Result<Vec<Item>, AwsError> {
    let mut request = json!({
        "TableName": query.table,
        "KeyConditionExpression": query.key.text,
        "ConsistentRead": query.consistent,
        "ScanIndexForward": !query.backward,
    });
    query.key.refer(&mut request);
    let parts = [
        ("FilterExpression", &query.filter),
        ("ProjectionExpression", &query.projection),
    ];
    for (name, expression) in parts {
        if let Some(expression) = expression {
            request[name] = json!(expression.text);
            expression.refer(&mut request);
        }
    }
    if let Some(index) = &query.index {
        request["IndexName"] = json!(index);
    }
    all_pages(client, "Query", request, query.limit)
}

/// `Scan`, all pages: of a whole table, so only for small ones and repairs.
///
/// # Errors
/// See [`AwsError`].
pub fn scan(client: &Client, table: &str) -> Result<Vec<Item>, AwsError> {
    let request = json!({ "TableName": table, "ConsistentRead": true });
    all_pages(client, "Scan", request, 0)
}

fn all_pages(
    client: &Client,
    operation: &'static str,
    mut request: Value,
    limit: usize,
) -> Result<Vec<Item>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Page {
        #[serde(default)]
        items: Vec<Item>,
        last_evaluated_key: Option<Value>,
    }
    let mut found = Vec::new();
    loop {
        if limit > 0 {
            request["Limit"] = json!(limit - found.len());
        }
        let page: Page = json_call(client, API, operation, Safety::Read, &request)?;
        found.extend(page.items);
        match page.last_evaluated_key {
            Some(key) if (limit == 0 || found.len() < limit) && key != json!({}) => {
                if request["ExclusiveStartKey"] == key {
                    return Err(super::repeated(&DYNAMODB, operation));
                }
                request["ExclusiveStartKey"] = key;
            }
            _ => return Ok(found),
        }
    }
}

/// `BatchGetItem` of one table: 100 keys a call, and again what a call left unprocessed. In no order.
///
/// # Errors
/// See [`AwsError`]; [`ErrorKind::Throttled`] if a call processes nothing ten times.
pub fn batch_get_item(
    client: &Client,
    table: &str,
    keys: &[Item],
    consistent: bool,
) -> Result<Vec<Item>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Page {
        #[serde(default)]
        responses: std::collections::BTreeMap<String, Vec<Item>>,
        #[serde(default)]
        unprocessed_keys: Value,
    }
    let mut found = Vec::new();
    for keys in keys.chunks(100) {
        let mut wanted = json!({ table: { "Keys": keys, "ConsistentRead": consistent } });
        let mut idle = 0;
        loop {
            let request = json!({ "RequestItems": wanted });
            let page: Page = json_call(client, API, "BatchGetItem", Safety::Read, &request)?;
            let got: usize = page.responses.values().map(Vec::len).sum();
            found.extend(page.responses.into_values().flatten());
            let Some(left) = page.unprocessed_keys.as_object().filter(|l| !l.is_empty()) else {
                break;
            };
            wanted = Value::Object(left.clone());
            rest_if_idle(client, "BatchGetItem", &mut idle, got > 0)?;
        }
    }
    Ok(found)
}

/// `BatchWriteItem` of one table: 25 requests a call (`PutRequest` or `DeleteRequest` as on the
/// wire), and again what a call left unprocessed. No conditions, no order.
///
/// # Errors
/// See [`AwsError`]; [`ErrorKind::Throttled`] if a call processes nothing ten times.
pub fn batch_write_item(client: &Client, table: &str, requests: &[Value]) -> Result<(), AwsError> {
    for requests in requests.chunks(25) {
        let mut left = requests.to_vec();
        let mut idle = 0;
        while !left.is_empty() {
            let request = json!({ "RequestItems": { table: left } });
            let mut answer = call(client, "BatchWriteItem", Safety::Repeatable, &request)?;
            let unprocessed = match answer["UnprocessedItems"][table].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            let progressed = unprocessed.len() < left.len();
            left = unprocessed;
            if !left.is_empty() {
                rest_if_idle(client, "BatchWriteItem", &mut idle, progressed)?;
            }
        }
    }
    Ok(())
}

fn rest_if_idle(
    client: &Client,
    operation: &'static str,
    idle: &mut u32,
    progressed: bool,
) -> Result<(), AwsError> {
    *idle = if progressed { 0 } else { *idle + 1 };
    if *idle >= 10 {
        let message = "the table takes no more at present";
        return Err(AwsError::new(
            DYNAMODB.name,
            operation,
            ErrorKind::Throttled,
            message,
        ));
    }
    let patience = crate::client::Patience::default();
    client
        .clock()
        .sleep(patience.backoff(*idle + 1, true, client.clock().random()));
    Ok(())
}

/// `CreateTable` with a request as on the wire. [`ErrorKind::AlreadyExists`]:
/// `ResourceInUseException`, it is there or being made.
///
/// # Errors
/// See [`AwsError`].
pub fn create_table(client: &Client, request: &Value) -> Result<(), AwsError> {
    call(client, "CreateTable", Safety::Repeatable, request).map(|_| ())
}

/// `DescribeTable`: its description as on the wire, `TableStatus` among it; nothing if there is none.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_table(client: &Client, table: &str) -> Result<Option<Value>, AwsError> {
    match call(
        client,
        "DescribeTable",
        Safety::Read,
        &json!({ "TableName": table }),
    ) {
        Ok(mut answer) => Ok(Some(answer["Table"].take())),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `DeleteTable`; whether it was there. [`ErrorKind::Conflict`]: it is being made or changed.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_table(client: &Client, table: &str) -> Result<bool, AwsError> {
    let request = json!({ "TableName": table });
    match call(client, "DeleteTable", Safety::Repeatable, &request) {
        Ok(_) => Ok(true),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// `UpdateTimeToLive`: items go some time after the seconds since 1970 in `attribute`.
///
/// # Errors
/// See [`AwsError`]; [`ErrorKind::Validation`] if it is set so already.
pub fn enable_time_to_live(client: &Client, table: &str, attribute: &str) -> Result<(), AwsError> {
    let request = json!({
        "TableName": table,
        "TimeToLiveSpecification": { "Enabled": true, "AttributeName": attribute },
    });
    call(client, "UpdateTimeToLive", Safety::Repeatable, &request).map(|_| ())
}
