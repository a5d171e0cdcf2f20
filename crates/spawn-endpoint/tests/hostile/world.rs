//! The endpoint under attack, and what must be the same afterwards.

use std::time::SystemTime;

use serde_json::json;
use spawn_endpoint::Credentials;

use crate::client::{Answer, Client, Endpoint, parse};
use crate::message::{Draft, Message, exchange};

/// What a hostile request must meet with.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// This status and, in its body, this code.
    Refused(u16, &'static str),
    /// This status; its body is that of the HTTP server, which is empty.
    Status(u16),
    /// No answer: the connection ends.
    Closed,
    /// It is served, though nothing of it may be readable for a web page, and nothing changes.
    Served,
}

/// One hostile request, or one beside it that must be served.
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Whether the client ends its half of the connection after that.
    pub ends: bool,
    pub expected: Expected,
}

impl Case {
    pub fn new(name: &str, message: Message, expected: Expected) -> Self {
        Self::raw(name, message.bytes(), expected)
    }

    pub fn raw(name: &str, bytes: impl Into<Vec<u8>>, expected: Expected) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.into(),
            ends: false,
            expected,
        }
    }

    /// The connection is cut after these bytes.
    pub fn cut(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            ends: true,
            ..Self::raw(name, bytes, Expected::Closed)
        }
    }
}

/// An endpoint with one object, one message and one item.
pub struct World {
    pub endpoint: Endpoint,
    pub client: Client,
    before: String,
}

pub const OLD: &[u8] = b"what was here before";

impl World {
    pub fn new() -> Self {
        let (endpoint, client) = Endpoint::with_bucket();
        client.put("/bkt/old", OLD).ok();
        client
            .sqs("CreateQueue", &json!({ "QueueName": "queue" }))
            .ok();
        client
            .sqs(
                "SendMessage",
                &json!({ "QueueUrl": "queue", "MessageBody": "old" }),
            )
            .ok();
        let table = json!({
            "TableName": "table",
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        client.dynamodb("CreateTable", &table).ok();
        let item = json!({ "TableName": "table", "Item": { "id": { "S": "old" } } });
        client.dynamodb("PutItem", &item).ok();
        let mut world = Self {
            endpoint,
            client,
            before: String::new(),
        };
        world.before = world.state();
        world
    }

    /// A request of a client that has the key: by default it puts an object.
    pub fn draft(&self, method: &str, path: &str) -> Draft {
        Draft {
            method: method.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            service: "s3".to_owned(),
            region: "us-east-1".to_owned(),
            credentials: self.client.credentials.clone(),
            at: SystemTime::now(),
            payload: None,
            host: self.client.address.to_string(),
        }
    }

    /// Puts a new object.
    pub fn put(&self) -> Draft {
        self.draft("PUT", "/bkt/new").body(b"new")
    }

    /// Calls a service that speaks JSON.
    pub fn call(&self, service: &str, target: &str, body: &serde_json::Value) -> Draft {
        let mut draft = self
            .draft("POST", "/")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .body(body.to_string().as_bytes());
        draft.service = service.to_owned();
        draft
    }

    /// Sends a message.
    pub fn send_message(&self) -> Draft {
        let body = json!({ "QueueUrl": "queue", "MessageBody": "new" });
        self.call("sqs", "AmazonSQS.SendMessage", &body)
    }

    /// Puts an item.
    pub fn put_item(&self) -> Draft {
        let body = json!({ "TableName": "table", "Item": { "id": { "S": "new" } } });
        self.call("dynamodb", "DynamoDB_20120810.PutItem", &body)
    }

    pub fn other_key(&self) -> Credentials {
        Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            ..self.client.credentials.clone()
        }
    }

    pub fn other_secret(&self) -> Credentials {
        Credentials {
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            ..self.client.credentials.clone()
        }
    }

    /// Everything that is stored, and how many files hold it.
    fn state(&self) -> String {
        let client = &self.client;
        let buckets = client.s3("GET", "/").ok().elements("Name");
        let objects = client.s3("GET", "/bkt").ok();
        let (keys, etags) = (objects.elements("Key"), objects.elements("ETag"));
        let uploads = client
            .s3_with("GET", "/bkt", &[("uploads", "")], &[], b"")
            .ok();
        let tags = client
            .s3_with("GET", "/bkt/old", &[("tagging", "")], &[], b"")
            .ok();
        let old = client.s3("GET", "/bkt/old").ok().text();
        let attributes = json!({ "QueueUrl": "queue", "AttributeNames": ["All"] });
        let queue = client.sqs("GetQueueAttributes", &attributes).ok().text();
        let queues = client.sqs("ListQueues", &json!({})).ok().text();
        let items = client
            .dynamodb("Scan", &json!({ "TableName": "table" }))
            .ok()
            .text();
        let tables = client.dynamodb("ListTables", &json!({})).ok().text();
        format!(
            "{buckets:?}\n{keys:?}\n{etags:?}\n{:?}\n{:?}\n{old}\n{queue}\n{queues}\n{items}\n{tables}",
            uploads.elements("UploadId"),
            tags.elements("Key"),
        )
    }

    /// What is not as it was; nothing if nothing was stored, changed or removed.
    pub fn changes(&self) -> Option<String> {
        let (state, blobs) = (self.state(), self.endpoint.blobs());
        (state != self.before || blobs != 1)
            .then(|| format!("before:\n{}\nafter, {blobs} files:\n{state}", self.before))
    }

    pub fn send(&self, bytes: &[u8]) -> Option<Answer> {
        parse(&exchange(self.client.address, bytes, false))
    }

    /// Sends `case` and holds the answer, and everything that is stored, against what is expected.
    pub fn check(&self, case: &Case) -> Result<(), String> {
        let got = exchange(self.client.address, &case.bytes, case.ends);
        let answer = parse(&got);
        let text = String::from_utf8_lossy(&got);
        let (name, expected) = (&case.name, case.expected);
        let as_expected = match (expected, &answer) {
            (Expected::Refused(status, code), Some(answer)) => {
                let has_code = answer.text().contains(code) || answer.body.is_empty();
                answer.status == status && has_code
            }
            (Expected::Status(status), Some(answer)) => answer.status == status,
            (Expected::Served, Some(answer)) => answer.status < 300,
            (Expected::Closed, answer) => answer.as_ref().is_none_or(|answer| answer.status >= 400),
            (_, None) => false,
        };
        if !as_expected {
            return Err(format!(
                "{name}: {expected:?} was expected and not {text:?}"
            ));
        }
        if text.to_ascii_lowercase().contains("access-control-") {
            return Err(format!("{name}: web pages may read this: {text}"));
        }
        match self.changes() {
            Some(changes) => Err(format!("{name} changed something:\n{changes}")),
            None => Ok(()),
        }
    }
}
