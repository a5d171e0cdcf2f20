//! What was acknowledged survives the death of the process at any instant.

mod client;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use client::Client;
use serde_json::json;
use spawn_endpoint::Credentials;

/// A serving process that can be killed.
struct Server {
    child: Child,
    client: Client,
}

impl Server {
    /// Runs this same test binary as a server of `dir`.
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "serves_until_killed",
                "--nocapture",
                "--include-ignored",
            ])
            .env("SPAWN_ENDPOINT_TEST_DIR", dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("serving ")
                    .map(|(_, address)| address.to_owned())
            })
            .expect("the server says where it is");
        let credentials = Credentials::load_or_create(&dir.join("credentials")).unwrap();
        Self {
            child,
            client: Client::new(address.parse().unwrap(), credentials),
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the process that the others kill.
#[test]
#[ignore = "the process that the other tests start and kill"]
fn serves_until_killed() {
    let Some(dir) = std::env::var_os("SPAWN_ENDPOINT_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let handle = spawn_endpoint::start(
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        spawn_endpoint::EndpointConfig {
            credentials: Credentials::load_or_create(&dir.join("credentials")).unwrap(),
            dir,
            on_request: None,
        },
    )
    .unwrap();
    println!("\nserving {}", handle.address());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_kill_in_the_middle_of_writes_loses_nothing_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path());
    let client = server.client.clone();
    client.s3("PUT", "/bkt").ok();
    client
        .sqs("CreateQueue", &json!({ "QueueName": "jobs" }))
        .ok();
    client
        .dynamodb(
            "CreateTable",
            &json!({
                "TableName": "items",
                "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
                "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
                "BillingMode": "PAY_PER_REQUEST"
            }),
        )
        .ok();

    let acknowledged = Mutex::new([Vec::new(), Vec::new(), Vec::new()]);
    let body_of = |n: usize| vec![u8::try_from(n % 251).unwrap(); 20_000 + n];
    // The writers end when their connection does, which panics inside the client.
    let until_dead = |index: usize, write: &(dyn Fn(usize) -> u16 + Sync)| {
        for n in 0.. {
            let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(n)));
            match written {
                Ok(200) => acknowledged.lock().unwrap()[index].push(n),
                _ => return,
            }
        }
    };
    let until_dead = &until_dead;
    std::thread::scope(|scope| {
        let client = &client;
        scope.spawn(move || {
            until_dead(0, &|n| client.put(&format!("/bkt/{n}"), &body_of(n)).status)
        });
        scope.spawn(move || {
            until_dead(1, &|n| {
                client
                    .sqs(
                        "SendMessage",
                        &json!({ "QueueUrl": "jobs", "MessageBody": n.to_string() }),
                    )
                    .status
            });
        });
        scope.spawn(move || {
            until_dead(2, &|n| {
                let item =
                    json!({ "TableName": "items", "Item": { "id": { "S": n.to_string() } } });
                client.dynamodb("PutItem", &item).status
            });
        });
        // In the middle: when each writer has been answered a few dozen times.
        while acknowledged
            .lock()
            .unwrap()
            .iter()
            .any(|done| done.len() < 40)
        {
            std::thread::yield_now();
        }
        server.kill();
    });

    // What a process leaves that dies between writing a blob and publishing it.
    std::fs::create_dir_all(home.path().join("blobs/0f")).unwrap();
    let orphan = home.path().join("blobs/0f/cafecafecafe-0000000f");
    std::fs::write(&orphan, "never published").unwrap();

    let server = Server::start(home.path());
    let client = &server.client;
    let [objects, messages, items] = acknowledged.into_inner().unwrap();
    for n in &objects {
        let got = client.s3("GET", &format!("/bkt/{n}")).ok();
        assert!(got.body == body_of(*n), "object {n}");
    }
    let mut received = std::collections::BTreeSet::new();
    loop {
        let answer = client
            .sqs(
                "ReceiveMessage",
                &json!({ "QueueUrl": "jobs", "MaxNumberOfMessages": 10 }),
            )
            .ok();
        let answer = answer.json();
        let Some(messages) = answer["Messages"].as_array() else {
            break;
        };
        for message in messages {
            let n: usize = message["Body"].as_str().unwrap().parse().unwrap();
            assert!(received.insert(n), "message {n} came twice");
        }
    }
    assert!(messages.iter().all(|n| received.contains(n)));
    for n in &items {
        let key = json!({ "TableName": "items", "Key": { "id": { "S": n.to_string() } } });
        assert!(
            client.dynamodb("GetItem", &key).ok().json()["Item"].is_object(),
            "item {n}"
        );
    }
    // Every object that the listing names is whole, acknowledged or not.
    for key in client
        .s3_with("GET", "/bkt", &[("list-type", "2")], &[], b"")
        .ok()
        .elements("Key")
    {
        assert!(
            client.s3("GET", &format!("/bkt/{key}")).ok().body == body_of(key.parse().unwrap())
        );
    }
    while orphan.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn a_message_in_flight_stays_in_flight_over_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path());
    let client = &server.client;
    client
        .sqs("CreateQueue", &json!({ "QueueName": "jobs" }))
        .ok();
    client
        .sqs(
            "SendMessage",
            &json!({ "QueueUrl": "jobs", "MessageBody": "x" }),
        )
        .ok();
    let got = client
        .sqs("ReceiveMessage", &json!({ "QueueUrl": "jobs" }))
        .ok()
        .json();
    let handle = got["Messages"][0]["ReceiptHandle"].clone();
    server.kill();

    let server = Server::start(home.path());
    let client = &server.client;
    let empty = client
        .sqs("ReceiveMessage", &json!({ "QueueUrl": "jobs" }))
        .ok()
        .json();
    assert_eq!(empty, json!({}));
    let back = json!({ "QueueUrl": "jobs", "ReceiptHandle": handle, "VisibilityTimeout": 0 });
    client.sqs("ChangeMessageVisibility", &back).ok();
    let got = client
        .sqs("ReceiveMessage", &json!({ "QueueUrl": "jobs" }))
        .ok()
        .json();
    assert_eq!(got["Messages"][0]["Body"], "x");
}
