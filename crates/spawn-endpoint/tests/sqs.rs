//! Queues, over signed HTTP.

mod client;

use std::collections::BTreeSet;
use std::sync::Mutex;

use client::{Client, Endpoint, Request};
use serde_json::{Value, json};

const LITERAL: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/spawn-tasks";

fn queue(attributes: &Value) -> (Endpoint, Client) {
    let endpoint = Endpoint::start();
    let client = endpoint.client.clone();
    client
        .sqs(
            "CreateQueue",
            &json!({ "QueueName": "spawn-tasks", "Attributes": attributes }),
        )
        .ok();
    (endpoint, client)
}

fn send(client: &Client, body: &str) -> Value {
    client
        .sqs(
            "SendMessage",
            &json!({ "QueueUrl": LITERAL, "MessageBody": body }),
        )
        .ok()
        .json()
}

fn receive(client: &Client, mut more: Value) -> Vec<Value> {
    more["QueueUrl"] = json!(LITERAL);
    let answer = client.sqs("ReceiveMessage", &more).ok().json();
    answer["Messages"].as_array().cloned().unwrap_or_default()
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message["Body"].as_str().unwrap())
        .collect()
}

fn code(answer: &client::Answer) -> String {
    let header = answer.header("x-amzn-query-error").unwrap_or_default();
    header.split(';').next().unwrap().to_owned()
}

fn count(client: &Client, name: &str) -> String {
    let answer = client.sqs(
        "GetQueueAttributes",
        &json!({ "QueueUrl": LITERAL, "AttributeNames": ["All"] }),
    );
    answer.ok().json()["Attributes"][name]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_message_goes_through() {
    let (_endpoint, client) = queue(&json!({}));
    let sent = client
        .sqs(
            "SendMessage",
            &json!({
                "QueueUrl": LITERAL,
                "MessageBody": "hello world",
                "MessageAttributes": { "n": { "DataType": "Number", "StringValue": "3" }, "hidden": { "DataType": "String", "StringValue": "x" } }
            }),
        )
        .ok()
        .json();
    assert_eq!(sent["MD5OfMessageBody"], "5eb63bbbe01eeed093cb22bb8f5acdc3");
    let got = receive(
        &client,
        json!({ "AttributeNames": ["All"], "MessageAttributeNames": ["n"] }),
    );
    assert_eq!(got.len(), 1);
    let message = &got[0];
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(
        message["MessageAttributes"],
        json!({ "n": { "DataType": "Number", "StringValue": "3" } })
    );
    assert!(
        receive(&client, json!({})).is_empty(),
        "hidden while in flight"
    );
    assert_eq!(count(&client, "ApproximateNumberOfMessagesNotVisible"), "1");
    client
        .sqs(
            "DeleteMessage",
            &json!({ "QueueUrl": LITERAL, "ReceiptHandle": message["ReceiptHandle"] }),
        )
        .ok();
    assert_eq!(count(&client, "ApproximateNumberOfMessagesNotVisible"), "0");
}

#[test]
fn queues_are_made_once_and_found_by_any_url() {
    let (endpoint, client) = queue(&json!({ "VisibilityTimeout": "60" }));
    let create = |attributes: Value| {
        client.sqs(
            "CreateQueue",
            &json!({ "QueueName": "spawn-tasks", "Attributes": attributes }),
        )
    };
    let url = create(json!({ "VisibilityTimeout": "60" })).ok().json()["QueueUrl"].clone();
    assert_eq!(
        url,
        format!(
            "http://{}/123456789012/spawn-tasks",
            endpoint.handle.address()
        )
    );
    assert_eq!(create(json!({})).status, 200);
    let other = create(json!({ "VisibilityTimeout": "61" }));
    assert_eq!(
        (other.status, code(&other).as_str()),
        (400, "QueueAlreadyExists")
    );
    assert_eq!(
        client
            .sqs("GetQueueUrl", &json!({ "QueueName": "spawn-tasks" }))
            .ok()
            .json()["QueueUrl"],
        url
    );

    let missing = client.sqs("GetQueueUrl", &json!({ "QueueName": "absent" }));
    assert_eq!(missing.status, 400);
    assert_eq!(
        missing.json()["__type"],
        "com.amazonaws.sqs#QueueDoesNotExist"
    );
    assert_eq!(code(&missing), "AWS.SimpleQueueService.NonExistentQueue");

    client
        .sqs("CreateQueue", &json!({ "QueueName": "other" }))
        .ok();
    let urls = |body: Value| client.sqs("ListQueues", &body).ok().json()["QueueUrls"].clone();
    assert_eq!(urls(json!({})).as_array().unwrap().len(), 2);
    assert_eq!(urls(json!({ "QueueNamePrefix": "sp" })), json!([url]));

    let tag = json!({ "QueueUrl": LITERAL, "Tags": { "a": "1", "b": "2" } });
    client.sqs("TagQueue", &tag).ok();
    client
        .sqs(
            "UntagQueue",
            &json!({ "QueueUrl": LITERAL, "TagKeys": ["a"] }),
        )
        .ok();
    assert_eq!(
        client
            .sqs("ListQueueTags", &json!({ "QueueUrl": LITERAL }))
            .ok()
            .json(),
        json!({ "Tags": { "b": "2" } })
    );

    client
        .sqs("DeleteQueue", &json!({ "QueueUrl": LITERAL }))
        .ok();
    let gone = client.sqs(
        "SendMessage",
        &json!({ "QueueUrl": LITERAL, "MessageBody": "x" }),
    );
    assert_eq!(code(&gone), "AWS.SimpleQueueService.NonExistentQueue");
    assert_eq!(
        endpoint.last_record().resource.as_deref(),
        Some("spawn-tasks")
    );
}

#[test]
fn visibility_hides_returns_and_fences() {
    let (_endpoint, client) = queue(&json!({}));
    send(&client, "job");
    let first = receive(&client, json!({ "VisibilityTimeout": 0 }));
    assert_eq!(first.len(), 1, "taken, and visible again at once");
    let second = receive(
        &client,
        json!({ "VisibilityTimeout": 600, "AttributeNames": ["ApproximateReceiveCount"] }),
    );
    assert_eq!(second[0]["Attributes"]["ApproximateReceiveCount"], "2");
    assert!(receive(&client, json!({})).is_empty());

    let change = |message: &Value, timeout: i64| {
        client.sqs(
            "ChangeMessageVisibility",
            &json!({ "QueueUrl": LITERAL, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": timeout }),
        )
    };
    let delete = |message: &Value| {
        client.sqs(
            "DeleteMessage",
            &json!({ "QueueUrl": LITERAL, "ReceiptHandle": message["ReceiptHandle"] }),
        )
    };
    assert_eq!(
        change(&first[0], 0).status,
        400,
        "the first receiver has lost it"
    );
    assert_eq!(delete(&first[0]).status, 200);
    assert_eq!(
        count(&client, "ApproximateNumberOfMessagesNotVisible"),
        "1",
        "and deletes nothing"
    );
    assert_eq!(change(&second[0], 43_201).status, 400);
    change(&second[0], 0).ok();
    assert_eq!(
        code(&change(&second[0], 10)),
        "AWS.SimpleQueueService.MessageNotInflight"
    );
    let third = receive(&client, json!({}));
    delete(&third[0]).ok();
    assert!(receive(&client, json!({})).is_empty());
    let garbage = client.sqs(
        "DeleteMessage",
        &json!({ "QueueUrl": LITERAL, "ReceiptHandle": "garbage" }),
    );
    assert_eq!(code(&garbage), "ReceiptHandleIsInvalid");
}

#[test]
fn a_hidden_message_comes_back_by_itself() {
    let (_endpoint, client) = queue(&json!({ "VisibilityTimeout": "1" }));
    send(&client, "job");
    assert_eq!(receive(&client, json!({})).len(), 1);
    let again = receive(&client, json!({ "WaitTimeSeconds": 20 }));
    assert_eq!(bodies(&again), ["job"]);
}

#[test]
fn a_long_poll_ends_when_a_message_arrives_and_others_when_the_endpoint_stops() {
    let (endpoint, client) = queue(&json!({}));
    client
        .sqs("CreateQueue", &json!({ "QueueName": "quiet" }))
        .ok();
    let in_flight = |wanted: usize| {
        while endpoint.handle.in_flight() != wanted {
            std::thread::yield_now();
        }
    };
    in_flight(0);
    let quiet = std::thread::spawn({
        let client = client.clone();
        let poll = json!({ "QueueUrl": "quiet", "WaitTimeSeconds": 20 });
        move || client.sqs("ReceiveMessage", &poll).ok().json()
    });
    in_flight(1);
    let woken = std::thread::spawn({
        let client = client.clone();
        move || receive(&client, json!({ "WaitTimeSeconds": 20 }))
    });
    in_flight(2);
    send(&client, "wake");
    assert_eq!(bodies(&woken.join().unwrap()), ["wake"]);
    assert!(
        !quiet.is_finished(),
        "one that began earlier is still waiting, so it was the message that woke this one"
    );
    endpoint.handle.stop();
    assert_eq!(quiet.join().unwrap(), json!({}));
}

#[test]
fn each_message_goes_to_one_receiver() {
    let (_endpoint, client) = queue(&json!({}));
    for batch in 0..12 {
        let entries: Vec<_> = (0..10)
            .map(|n| json!({ "Id": n.to_string(), "MessageBody": format!("{}", batch * 10 + n) }))
            .collect();
        let sent = client
            .sqs(
                "SendMessageBatch",
                &json!({ "QueueUrl": LITERAL, "Entries": entries }),
            )
            .ok();
        assert_eq!(sent.json()["Successful"].as_array().unwrap().len(), 10);
    }
    let taken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let got = receive(&client, json!({ "MaxNumberOfMessages": 3 }));
                    if got.is_empty() {
                        return;
                    }
                    taken
                        .lock()
                        .unwrap()
                        .extend(got.iter().map(|m| m["Body"].as_str().unwrap().to_owned()));
                }
            });
        }
    });
    let taken = taken.into_inner().unwrap();
    assert_eq!(taken.len(), 120);
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 120);
}

#[test]
fn batches_report_each_entry() {
    let (_endpoint, client) = queue(&json!({}));
    let send = |entries: Value| {
        client.sqs(
            "SendMessageBatch",
            &json!({ "QueueUrl": LITERAL, "Entries": entries }),
        )
    };
    let answer = send(json!([
        { "Id": "good", "MessageBody": "1" },
        { "Id": "bad", "MessageBody": "" },
        { "Id": "late", "MessageBody": "2", "DelaySeconds": 900 },
    ]))
    .ok()
    .json();
    assert_eq!(answer["Successful"].as_array().unwrap().len(), 2);
    assert_eq!(answer["Failed"][0]["Id"], "bad");
    assert_eq!(count(&client, "ApproximateNumberOfMessagesDelayed"), "1");
    assert_eq!(
        code(&send(json!([]))),
        "AWS.SimpleQueueService.EmptyBatchRequest"
    );
    let same = send(json!([{ "Id": "a", "MessageBody": "1" }, { "Id": "a", "MessageBody": "2" }]));
    assert_eq!(
        code(&same),
        "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"
    );

    let got = receive(&client, json!({ "MaxNumberOfMessages": 10 }));
    assert_eq!(bodies(&got), ["1"], "the delayed one is not due");
    let entries = json!([
        { "Id": "a", "ReceiptHandle": got[0]["ReceiptHandle"] },
        { "Id": "b", "ReceiptHandle": "garbage" },
    ]);
    let answer = client
        .sqs(
            "DeleteMessageBatch",
            &json!({ "QueueUrl": LITERAL, "Entries": entries }),
        )
        .ok()
        .json();
    assert_eq!(answer["Successful"], json!([{ "Id": "a" }]));
    assert_eq!(answer["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    client
        .sqs("PurgeQueue", &json!({ "QueueUrl": LITERAL }))
        .ok();
    assert_eq!(count(&client, "ApproximateNumberOfMessagesDelayed"), "0");
}

#[test]
fn what_is_received_too_often_goes_to_the_dead_letters() {
    let (_endpoint, client) = queue(&json!({}));
    client
        .sqs("CreateQueue", &json!({ "QueueName": "dead" }))
        .ok();
    let policy = json!({ "deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": 2 });
    client
        .sqs(
            "SetQueueAttributes",
            &json!({ "QueueUrl": LITERAL, "Attributes": { "RedrivePolicy": policy.to_string(), "VisibilityTimeout": "0" } }),
        )
        .ok();
    send(&client, "poison");
    assert_eq!(receive(&client, json!({})).len(), 1);
    assert_eq!(receive(&client, json!({})).len(), 1);
    assert!(receive(&client, json!({})).is_empty());
    let answer = client
        .sqs(
            "ReceiveMessage",
            &json!({ "QueueUrl": "dead", "AttributeNames": ["All"] }),
        )
        .ok()
        .json();
    assert_eq!(answer["Messages"][0]["Body"], "poison");
    let source = answer["Messages"][0]["Attributes"]["DeadLetterQueueSourceArn"]
        .as_str()
        .unwrap();
    assert!(source.ends_with(":spawn-tasks"), "{source}");
    let sources = client
        .sqs("ListDeadLetterSourceQueues", &json!({ "QueueUrl": "dead" }))
        .ok()
        .json();
    assert_eq!(sources["queueUrls"].as_array().unwrap().len(), 1);
}

#[test]
fn fifo_keeps_order_within_a_group_and_sends_once() {
    let endpoint = Endpoint::start();
    let client = &endpoint.client;
    let call = |operation: &str, mut body: Value| {
        body["QueueUrl"] = json!("jobs.fifo");
        client.sqs(operation, &body)
    };
    let refused = client.sqs("CreateQueue", &json!({ "QueueName": "jobs.fifo" }));
    assert_eq!(refused.status, 400);
    let attributes = json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" });
    client
        .sqs(
            "CreateQueue",
            &json!({ "QueueName": "jobs.fifo", "Attributes": attributes }),
        )
        .ok();
    let send = |group: &str, body: &str| {
        call(
            "SendMessage",
            json!({ "MessageBody": body, "MessageGroupId": group }),
        )
        .ok()
        .json()
    };
    let take = |n: i64| {
        let answer = call("ReceiveMessage", json!({ "MaxNumberOfMessages": n }))
            .ok()
            .json();
        answer["Messages"].as_array().cloned().unwrap_or_default()
    };
    let first = send("a", "a1");
    let again = send("a", "a1");
    assert_eq!(first["MessageId"], again["MessageId"]);
    assert_eq!(first["SequenceNumber"], again["SequenceNumber"]);
    send("a", "a2");
    send("b", "b1");
    assert_eq!(
        call("SendMessage", json!({ "MessageBody": "x" })).status,
        400,
        "a group is needed"
    );

    let a1 = take(1);
    assert_eq!(bodies(&a1), ["a1"]);
    assert_eq!(bodies(&take(10)), ["b1"], "a2 waits for a1");
    call(
        "DeleteMessage",
        json!({ "ReceiptHandle": a1[0]["ReceiptHandle"] }),
    )
    .ok();
    assert_eq!(bodies(&take(10)), ["a2"]);
}

#[test]
fn old_clients_speak_forms_and_xml() {
    let (endpoint, client) = queue(&json!({}));
    let form = |path: &str, body: &str| {
        client.send(&Request {
            service: "sqs",
            method: "POST",
            path,
            query: vec![],
            headers: vec![("content-type", "application/x-www-form-urlencoded")],
            body: body.as_bytes(),
        })
    };
    let path = "/123456789012/spawn-tasks";
    let sent = form(
        path,
        "Action=SendMessage&MessageBody=a%20%3Cb%3E&Version=2012-11-05",
    )
    .ok();
    assert!(sent.element("MessageId").is_some(), "{}", sent.text());
    let got = form(path, "Action=ReceiveMessage&AttributeName.1=All").ok();
    assert_eq!(got.element("Body").as_deref(), Some("a &lt;b&gt;"));
    assert!(
        got.elements("Name")
            .contains(&"ApproximateReceiveCount".to_owned())
    );
    let handle = got
        .element("ReceiptHandle")
        .unwrap()
        .replace('=', "%3D")
        .replace('+', "%2B");
    form(
        path,
        &format!("Action=DeleteMessage&ReceiptHandle={handle}"),
    )
    .ok();
    assert_eq!(count(&client, "ApproximateNumberOfMessagesNotVisible"), "0");
    let missing = form("/", "Action=GetQueueUrl&QueueName=absent");
    assert_eq!(missing.status, 400);
    assert_eq!(
        missing.element("Code").as_deref(),
        Some("AWS.SimpleQueueService.NonExistentQueue")
    );
    assert_eq!(endpoint.last_record().operation, "GetQueueUrl");
}

#[test]
fn limits_are_those_of_aws() {
    let (_endpoint, client) = queue(&json!({}));
    let refused = |operation: &str, mut body: Value| {
        body["QueueUrl"] = json!(LITERAL);
        let answer = client.sqs(operation, &body);
        assert_eq!(answer.status, 400, "{body}");
        code(&answer)
    };
    assert_eq!(
        refused("ReceiveMessage", json!({ "MaxNumberOfMessages": 11 })),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused("ReceiveMessage", json!({ "WaitTimeSeconds": 21 })),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused("SendMessage", json!({ "MessageBody": "\u{0}" })),
        "InvalidMessageContents"
    );
    assert_eq!(
        refused(
            "SendMessage",
            json!({ "MessageBody": "x".repeat(1_048_577) })
        ),
        "InvalidParameterValue"
    );
    assert_eq!(refused("SendMessage", json!({})), "MissingParameter");
    assert_eq!(refused("StartMessageMoveTask", json!({})), "InvalidAction");
    assert_eq!(
        refused(
            "SetQueueAttributes",
            json!({ "Attributes": { "Colour": "red" } })
        ),
        "InvalidAttributeName"
    );
}
