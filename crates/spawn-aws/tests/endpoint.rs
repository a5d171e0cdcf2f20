//! The client against spawn's own endpoint: S3, DynamoDB and STS over HTTP.

mod world;

use serde_json::{Value, json};
use spawn_aws::client::{ErrorKind, Safety};
use spawn_aws::credentials::Credentials;
use spawn_aws::services::dynamodb::{self, Expression, Item};
use spawn_aws::services::s3::{self, Bucket, BucketState, PutCondition, PutOptions};
use spawn_aws::services::sts;
use world::{Endpoint, LossyProxy, client};

#[test]
fn who_is_calling() {
    let endpoint = Endpoint::start();
    let who = sts::get_caller_identity(&endpoint.client()).unwrap();
    assert_eq!(who.account, spawn_endpoint::ACCOUNT_ID);

    let id = endpoint.credentials.access_key_id.clone();
    let wrong = client(&endpoint.url, Credentials::fixed(&id, "wrong"));
    let error = sts::get_caller_identity(&wrong).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error:?}");
    assert_eq!(error.attempts, 1);
}

fn bucket(endpoint: &Endpoint) -> Bucket {
    let bucket = Bucket::named("bkt");
    assert!(s3::create_bucket(&endpoint.client(), "bkt").unwrap());
    bucket
}

#[test]
fn buckets() {
    let endpoint = Endpoint::start();
    let aws = endpoint.client();
    let bucket = Bucket::named("bkt");
    assert_eq!(s3::head_bucket(&aws, &bucket).unwrap(), BucketState::Absent);
    assert!(s3::create_bucket(&aws, "bkt").unwrap());
    assert!(matches!(
        s3::head_bucket(&aws, &bucket).unwrap(),
        BucketState::Usable(_)
    ));
    s3::put_object(&aws, &bucket, "k", b"x".to_vec(), &PutOptions::default()).unwrap();
    let error = s3::delete_bucket(&aws, &bucket).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    s3::delete_object(&aws, &bucket, "k").unwrap();
    assert!(s3::delete_bucket(&aws, &bucket).unwrap());
    assert!(!s3::delete_bucket(&aws, &bucket).unwrap());
    let error = s3::get_object(&aws, &bucket, "k", None, None).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::NotFound, "NoSuchBucket")
    );
}

#[test]
fn objects_with_conditions_and_ranges() {
    let endpoint = Endpoint::start();
    let aws = endpoint.client();
    let bucket = bucket(&endpoint);
    let key = "results/ü ~*+%&=?#<>'.txt";
    let options = PutOptions {
        content_type: Some("text/plain".into()),
        metadata: vec![("attempt".into(), "2".into())],
        ..PutOptions::if_absent()
    };
    let put = |body: &str, options: &PutOptions| {
        s3::put_object(&aws, &bucket, key, body.as_bytes().to_vec(), options)
    };
    let first = put("0123456789", &options).unwrap();
    let error = put("other", &options).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    assert!(!error.maybe_executed);

    let get = |range, etag| s3::get_object(&aws, &bucket, key, range, etag);
    let whole = get(None, None).unwrap().unwrap();
    assert_eq!(whole.body, b"0123456789");
    assert_eq!((whole.head.size, &whole.head.etag), (10, &first));
    assert_eq!(
        whole.head.metadata,
        [("attempt".to_owned(), "2".to_owned())]
    );
    let part = get(Some((3, 4)), Some(&first)).unwrap().unwrap();
    assert_eq!((&part.body[..], part.head.size), (&b"3456"[..], 10));
    let end = get(Some((8, 100)), None).unwrap().unwrap();
    assert_eq!(end.body, b"89");
    assert_eq!(
        get(Some((10, 1)), None).unwrap_err().kind,
        ErrorKind::Validation
    );

    let over = |etag: &str| PutOptions {
        condition: Some(PutCondition::Unchanged(etag.to_owned())),
        ..PutOptions::default()
    };
    let second = put("new", &over(&first)).unwrap();
    assert_ne!(first, second);
    assert_eq!(
        put("stale", &over(&first)).unwrap_err().kind,
        ErrorKind::ConditionFailed
    );
    assert_eq!(
        get(None, Some(&first)).unwrap_err().kind,
        ErrorKind::ConditionFailed
    );
    let head = s3::head_object(&aws, &bucket, key).unwrap().unwrap();
    assert_eq!((head.size, head.etag), (3, second));
    s3::delete_object(&aws, &bucket, key).unwrap();
    assert_eq!(s3::head_object(&aws, &bucket, key).unwrap(), None);
    assert_eq!(get(None, None).unwrap(), None);
}

#[test]
fn listings_and_deletions_go_beyond_a_thousand() {
    let endpoint = Endpoint::start();
    let aws = endpoint.client();
    let bucket = bucket(&endpoint);
    let odd = ["a b", "a+b", "a%2Bb", "a&<>\"'b", "ü/é", "x\ty\r\nz"];
    for key in odd {
        s3::put_object(&aws, &bucket, key, vec![], &PutOptions::default()).unwrap();
    }
    for n in 0..1010 {
        let key = format!("many/{n:04}");
        s3::put_object(&aws, &bucket, &key, vec![], &PutOptions::default()).unwrap();
    }
    let list = |prefix: &str, delimiter, after| {
        s3::list_objects(&aws, &bucket, prefix, delimiter, after).unwrap()
    };
    let many = list("many/", None, None).objects;
    assert_eq!(many.len(), 1010);
    assert_eq!(many[1009].key, "many/1009");
    assert_eq!(list("many/", None, Some("many/1004")).objects.len(), 5);
    let top = list("", Some("/"), None);
    assert_eq!(top.prefixes, ["many/", "ü/"]);
    let mut keys: Vec<String> = top.objects.into_iter().map(|o| o.key).collect();
    keys.push("ü/é".into());
    for key in odd {
        assert!(keys.contains(&key.to_owned()), "{key:?} of {keys:?}");
    }
    keys.extend(many.into_iter().map(|o| o.key));
    s3::delete_objects(&aws, &bucket, &keys).unwrap();
    assert_eq!(list("", None, None), s3::Listed::default());
}

#[test]
fn large_objects_go_in_parts() {
    let endpoint = Endpoint::start();
    let aws = endpoint.client();
    let bucket = bucket(&endpoint);
    let bytes: Vec<u8> = (0..11_000_000u32).map(|n| (n * 7 / 3) as u8).collect();
    let upload = |key: &str, bytes: &[u8]| {
        s3::upload(&aws, &bucket, key, bytes, 0, &PutOptions::if_absent())
    };
    let etag = upload("large", &bytes).unwrap();
    assert!(etag.ends_with("-3\""), "{etag}");
    let found = s3::get_object(&aws, &bucket, "large", None, None)
        .unwrap()
        .unwrap();
    assert!(found.body == bytes);
    let error = upload("large", &bytes).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    let etag = upload("small", b"small").unwrap();
    assert!(!etag.contains('-'));
}

#[test]
fn a_conditional_put_whose_answer_is_lost_is_marked() {
    let endpoint = Endpoint::start();
    let bucket = bucket(&endpoint);
    let proxy = LossyProxy::to(&endpoint.url);
    let aws = client(&proxy.url, endpoint.credentials.clone());
    proxy.lose(1);
    let body = b"mine".to_vec();
    let error = s3::put_object(&aws, &bucket, "k", body, &PutOptions::if_absent()).unwrap_err();
    assert_eq!(
        (error.kind, error.attempts),
        (ErrorKind::ConditionFailed, 2)
    );
    assert!(error.maybe_executed, "the object may be one's own");
    let found = s3::get_object(&aws, &bucket, "k", None, None).unwrap();
    assert_eq!(found.unwrap().body, b"mine");
}

fn item(value: Value) -> Item {
    value.as_object().unwrap().clone()
}

fn table(endpoint: &Endpoint) {
    let request = json!({
        "TableName": "ledger",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "N" }
        ],
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" }
        ],
        "BillingMode": "PAY_PER_REQUEST"
    });
    let aws = endpoint.client();
    assert_eq!(dynamodb::describe_table(&aws, "ledger").unwrap(), None);
    dynamodb::create_table(&aws, &request).unwrap();
    let error = dynamodb::create_table(&aws, &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    let described = dynamodb::describe_table(&aws, "ledger").unwrap().unwrap();
    assert_eq!(described["TableStatus"], "ACTIVE");
}

fn key(n: u32) -> Item {
    item(json!({ "pk": { "S": "a" }, "sk": { "N": n.to_string() } }))
}

fn absent() -> Expression {
    Expression::new("attribute_not_exists(#k)").name("#k", "pk")
}

#[test]
fn items_one_by_one() {
    let endpoint = Endpoint::start();
    table(&endpoint);
    let aws = endpoint.client();
    assert_eq!(
        dynamodb::get_item(&aws, "ledger", &key(1), true).unwrap(),
        None
    );
    let mut one = key(1);
    one.insert("state".into(), json!({ "S": "pending" }));
    dynamodb::put_item(&aws, "ledger", &one, Some(&absent())).unwrap();
    let error = dynamodb::put_item(&aws, "ledger", &one, Some(&absent())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    assert_eq!(dynamodb::failed_item(&error), Some(&one));

    let update = Expression::new("SET #s = :s ADD tries :one")
        .name("#s", "state")
        .value(":s", json!({ "S": "running" }))
        .value(":one", json!({ "N": "1" }));
    let condition = Expression::new("#s = :old")
        .name("#s", "state")
        .value(":old", json!({ "S": "pending" }));
    let run = || {
        dynamodb::update_item(
            &aws,
            "ledger",
            &key(1),
            &update,
            Some(&condition),
            Safety::Repeatable,
        )
    };
    let after = run().unwrap();
    assert_eq!(after["state"]["S"], "running");
    assert_eq!(after["tries"]["N"], "1");
    assert_eq!(run().unwrap_err().kind, ErrorKind::ConditionFailed);
    dynamodb::delete_item(&aws, "ledger", &key(1), None).unwrap();
    assert_eq!(
        dynamodb::get_item(&aws, "ledger", &key(1), true).unwrap(),
        None
    );

    let error = dynamodb::get_item(&aws, "gone", &key(1), true).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn items_in_numbers() {
    let endpoint = Endpoint::start();
    table(&endpoint);
    let aws = endpoint.client();
    let puts: Vec<Value> = (0..60)
        .map(|n| {
            let mut item = key(n);
            item.insert("fill".into(), json!({ "S": "x".repeat(30_000) }));
            json!({ "PutRequest": { "Item": item } })
        })
        .collect();
    dynamodb::batch_write_item(&aws, "ledger", &puts).unwrap();
    let query = |limit, backward| {
        let query = dynamodb::Query {
            table: "ledger".into(),
            key: Expression::new("pk = :p").value(":p", json!({ "S": "a" })),
            projection: Some(Expression::new("sk")),
            consistent: true,
            backward,
            limit,
            ..dynamodb::Query::default()
        };
        dynamodb::query(&aws, &query).unwrap()
    };
    assert_eq!(query(0, false).len(), 60, "pages of 1 MB are put together");
    let last = query(3, true);
    let numbers: Vec<_> = last
        .iter()
        .map(|i| i["sk"]["N"].as_str().unwrap())
        .collect();
    assert_eq!(numbers, ["59", "58", "57"]);
    let keys: Vec<Item> = (0..60).map(key).collect();
    let got = dynamodb::batch_get_item(&aws, "ledger", &keys, true).unwrap();
    assert_eq!(got.len(), 60);
    assert_eq!(dynamodb::scan(&aws, "ledger").unwrap().len(), 60);
}

#[test]
fn a_transaction_whose_answer_is_lost_runs_once() {
    let endpoint = Endpoint::start();
    table(&endpoint);
    let proxy = LossyProxy::to(&endpoint.url);
    let aws = client(&proxy.url, endpoint.credentials.clone());
    let add = json!({ "Update": {
        "TableName": "ledger",
        "Key": key(1),
        "UpdateExpression": "ADD done :one",
        "ExpressionAttributeValues": { ":one": { "N": "1" } }
    } });
    proxy.lose(1);
    dynamodb::transact_write_items(&aws, std::slice::from_ref(&add), None).unwrap();
    assert_eq!(proxy.forwarded(), 2);
    let found = dynamodb::get_item(&aws, "ledger", &key(1), true)
        .unwrap()
        .unwrap();
    assert_eq!(found["done"]["N"], "1");

    let refused = json!({ "ConditionCheck": {
        "TableName": "ledger",
        "Key": key(1),
        "ConditionExpression": "done = :two",
        "ExpressionAttributeValues": { ":two": { "N": "2" } }
    } });
    let other = json!({ "Put": { "TableName": "ledger", "Item": key(2) } });
    let error = dynamodb::transact_write_items(&aws, &[other, refused], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    assert_eq!(
        error.cancellation_reasons(),
        ["None", "ConditionalCheckFailed"]
    );
    assert_eq!(
        dynamodb::get_item(&aws, "ledger", &key(2), true).unwrap(),
        None
    );
}

#[test]
fn an_update_that_must_run_once_is_not_sent_again() {
    let endpoint = Endpoint::start();
    table(&endpoint);
    let proxy = LossyProxy::to(&endpoint.url);
    let aws = client(&proxy.url, endpoint.credentials.clone());
    let add = Expression::new("ADD done :one").value(":one", json!({ "N": "1" }));
    proxy.lose(1);
    let error =
        dynamodb::update_item(&aws, "ledger", &key(1), &add, None, Safety::Once).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Network);
    assert!(error.maybe_executed);
    assert_eq!(proxy.forwarded(), 1);
}
