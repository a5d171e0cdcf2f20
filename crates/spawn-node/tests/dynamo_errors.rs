//! What DynamoDB refuses keeps its kind on the way to the ledger. The ledger's laws are tested in its
//! own crate, and over this connection by the nodes that serve.

mod world;

use serde_json::json;
use spawn_dynamo::{DynamoApi, DynamoError};
use spawn_node::dynamo_api::AwsDynamo;
use world::World;

#[test]
fn errors_keep_their_kinds() {
    let world = World::new();
    let mut api = AwsDynamo(world.client());
    let key = json!({ "TableName": "nowhere", "Key": { "pk": { "S": "a" } } });
    let error = api.call("GetItem", key).unwrap_err();
    assert!(
        matches!(error, DynamoError::ResourceNotFound(_)),
        "{error:?}"
    );
    let error = api.call("NoSuchThing", json!({})).unwrap_err();
    assert!(matches!(error, DynamoError::Other { .. }), "{error:?}");

    let table = json!({
        "TableName": "things",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
    });
    api.call("CreateTable", table.clone()).unwrap();
    let error = api.call("CreateTable", table).unwrap_err();
    assert!(matches!(error, DynamoError::ResourceInUse(_)), "{error:?}");
    let new = json!({
        "TableName": "things",
        "Item": { "pk": { "S": "a" } },
        "ConditionExpression": "attribute_not_exists(pk)",
    });
    api.call("PutItem", new.clone()).unwrap();
    let error = api.call("PutItem", new.clone()).unwrap_err();
    assert!(error.is_condition() && !error.is_transient(), "{error:?}");
    let both = json!({ "TransactItems": [{ "Put": new }] });
    let error = api.call("TransactWriteItems", both).unwrap_err();
    assert!(
        matches!(&error, DynamoError::TransactionCanceled { reasons } if reasons.len() == 1),
        "{error:?}"
    );
}
