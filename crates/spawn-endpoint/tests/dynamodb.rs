//! Tables, over signed HTTP.

mod client;

use client::{Client, Endpoint};
use serde_json::{Value, json};

fn table() -> (Endpoint, Client) {
    let endpoint = Endpoint::start();
    let client = endpoint.client.clone();
    client
        .dynamodb(
            "CreateTable",
            &json!({
                "TableName": "progress",
                "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
                "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
                "BillingMode": "PAY_PER_REQUEST"
            }),
        )
        .ok();
    (endpoint, client)
}

fn put(client: &Client, id: &str, status: &str, condition: Option<&str>) -> client::Answer {
    let mut body =
        json!({ "TableName": "progress", "Item": { "id": { "S": id }, "state": { "S": status } } });
    if let Some(condition) = condition {
        body["ConditionExpression"] = json!(condition);
    }
    client.dynamodb("PutItem", &body)
}

fn kind(answer: &client::Answer) -> String {
    let body = answer.json();
    body["__type"]
        .as_str()
        .unwrap()
        .rsplit('#')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_progress_table() {
    let (endpoint, client) = table();
    for (id, state) in [("0", "done"), ("1", "running"), ("2", "done")] {
        put(&client, id, state, None).ok();
    }
    let scanned = client
        .dynamodb(
            "Scan",
            &json!({
                "TableName": "progress",
                "FilterExpression": "#s = :done",
                "ExpressionAttributeNames": { "#s": "state" },
                "ExpressionAttributeValues": { ":done": { "S": "done" } },
                "Select": "COUNT"
            }),
        )
        .ok()
        .json();
    assert_eq!(
        (&scanned["Count"], &scanned["ScannedCount"]),
        (&json!(2), &json!(3))
    );
    let updated = client
        .dynamodb(
            "UpdateItem",
            &json!({
                "TableName": "progress",
                "Key": { "id": { "S": "1" } },
                "UpdateExpression": "ADD tries :one",
                "ExpressionAttributeValues": { ":one": { "N": "1" } },
                "ReturnValues": "ALL_NEW"
            }),
        )
        .ok()
        .json();
    assert_eq!(updated["Attributes"]["tries"], json!({ "N": "1" }));
    let record = endpoint.last_record();
    assert_eq!(
        (record.service.as_str(), record.operation.as_str()),
        ("dynamodb", "UpdateItem")
    );
    assert_eq!(record.resource.as_deref(), Some("progress"));
}

#[test]
fn a_conditional_put_has_one_winner() {
    let (_endpoint, client) = table();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..20)
            .map(|n| {
                let client = &client;
                scope.spawn(move || {
                    put(
                        client,
                        "lock",
                        &n.to_string(),
                        Some("attribute_not_exists(id)"),
                    )
                    .status
                })
            })
            .collect();
        claims
            .into_iter()
            .map(|claim| claim.join().unwrap())
            .collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 19);
}

#[test]
fn errors_are_those_of_dynamodb() {
    let (endpoint, client) = table();
    put(&client, "1", "x", None).ok();
    let lost = put(&client, "1", "y", Some("attribute_not_exists(id)"));
    assert_eq!(kind(&lost), "ConditionalCheckFailedException");
    assert_eq!(
        endpoint.last_record().error_code.as_deref(),
        Some("ConditionalCheckFailedException")
    );
    let missing = client.dynamodb(
        "GetItem",
        &json!({ "TableName": "absent", "Key": { "id": { "S": "1" } } }),
    );
    assert_eq!(kind(&missing), "ResourceNotFoundException");
    let empty = client.dynamodb(
        "PutItem",
        &json!({ "TableName": "progress", "Item": { "id": { "S": "" } } }),
    );
    assert_eq!(kind(&empty), "ValidationException");
    let mistyped = client.dynamodb("GetItem", &json!({ "TableName": 5, "Key": {} }));
    assert_eq!(kind(&mistyped), "SerializationException");
    let unknown = client.dynamodb("Frobnicate", &json!({}));
    assert_eq!(kind(&unknown), "UnknownOperationException");
    for answer in [lost, missing, empty, mistyped, unknown] {
        assert_eq!(answer.status, 400);
        assert!(!answer.text().contains("VALIDATION"), "{}", answer.text());
    }
}

#[test]
fn batches_and_transactions_name_a_table_in_the_record() {
    let (endpoint, client) = table();
    let item = |id: &str| json!({ "id": { "S": id } });
    let batch: Value =
        json!({ "RequestItems": { "progress": [{ "PutRequest": { "Item": item("1") } }] } });
    client.dynamodb("BatchWriteItem", &batch).ok();
    assert_eq!(endpoint.last_record().resource.as_deref(), Some("progress"));
    let transaction =
        json!({ "TransactItems": [{ "Put": { "TableName": "progress", "Item": item("2") } }] });
    client.dynamodb("TransactWriteItems", &transaction).ok();
    assert_eq!(endpoint.last_record().resource.as_deref(), Some("progress"));
}
