//! What somebody without the key can cost: no memory, no time, and no minute of the host's life.

mod client;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Client, Endpoint, parse};
use serde_json::json;
use spawn_endpoint::{BodyLimits, Credentials, EndpointConfig, start_with_limits};

const MIB: u64 = 1024 * 1024;

/// Serves until it is killed; its memory is that of a process of its own.
struct Server {
    child: Child,
    client: Client,
}

impl Server {
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

    /// Bytes of memory that are resident.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// The most that was resident while `work` ran.
    fn most_resident(&self, work: impl FnOnce() + Send) -> u64 {
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            let mut most = self.resident();
            while !working.is_finished() {
                most = most.max(self.resident());
                std::thread::sleep(Duration::from_millis(5));
            }
            working.join().unwrap();
            most
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the server of the others, in a process of its own.
#[test]
#[ignore = "run by the other tests"]
fn serves_until_killed() {
    let Ok(dir) = std::env::var("SPAWN_ENDPOINT_TEST_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = EndpointConfig {
        dir: dir.join("endpoint"),
        credentials: Credentials::load_or_create(&dir.join("credentials")).unwrap(),
        on_request: None,
    };
    let handle = spawn_endpoint::start(listener, config).unwrap();
    println!("serving {}", handle.address());
    loop {
        std::thread::park();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(
            Instant::now() < until,
            "{what} did not happen in 30 seconds"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// A large request without a signature, as any web page may send it.
fn form_head(length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: https://evil.example\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[test]
fn forty_large_unsigned_bodies_cost_no_memory() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    server.client.sqs("ListQueues", &json!({})).ok();
    let before = server.resident();
    let body = vec![b'x'; 15 << 20];
    let heads = [
        form_head(body.len()),
        form_head(body.len()).replace(
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
        ),
        form_head(body.len()).replace(
            "content-type: application/x-www-form-urlencoded",
            "x-amz-target: AmazonSQS.SendMessage",
        ),
        form_head(body.len()).replace("POST / ", "PUT /bkt/key "),
    ];
    let address = server.client.address;
    let most = server.most_resident(|| {
        std::thread::scope(|scope| {
            for number in 0..40 {
                let (head, body) = (&heads[number % heads.len()], &body);
                scope.spawn(move || {
                    let mut stream = connect(address);
                    stream.write_all(head.as_bytes()).unwrap();
                    let _ = stream.write_all(body);
                    let mut answer = Vec::new();
                    let _ = stream.read_to_end(&mut answer);
                    assert_eq!(parse(&answer).expect("an answer").status, 403);
                });
            }
        });
    });
    let grown = most.saturating_sub(before) / MIB;
    assert!(grown < 24, "{grown} MiB for requests that nobody signed");
    server.client.sqs("ListQueues", &json!({})).ok();
}

#[test]
fn a_refusal_comes_before_the_body() {
    let endpoint = Endpoint::start();
    for head in [
        form_head(15 << 20),
        form_head(15 << 20).replace("POST / ", "PUT /bkt/key "),
    ] {
        let mut stream = connect(endpoint.client.address);
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403");
    }
}

#[test]
fn half_a_request_of_a_stranger_is_no_activity() {
    let endpoint = Endpoint::start();
    let address = endpoint.client.address;
    let host = address.to_string();
    let key = &endpoint.client.credentials.access_key_id;
    let date = client::amz_date(std::time::SystemTime::now());
    // The key alone can be known: it is in every presigned URL.
    let with_key = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {date}\r\nx-amz-target: AmazonSQS.SendMessage\r\n\
         authorization: AWS4-HMAC-SHA256 Credential={key}/{}/us-east-1/sqs/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-target, Signature={}\r\ncontent-length: 1000\r\n\r\nhalf",
        &date[..8],
        "0".repeat(64)
    );
    let put = with_key
        .replace("POST / ", "PUT /bkt/key ")
        .replace("/sqs/", "/s3/");
    let heads = [
        "GET /bkt".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\n"),
        format!("{}half", form_head(1000)),
        form_head(1000).replace("POST / ", "PUT /bkt/key ") + "half",
        with_key,
        put,
        format!("GET /bkt/key HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ];
    let mut streams = Vec::new();
    for head in &heads {
        let mut stream = connect(address);
        stream.write_all(head.as_bytes()).unwrap();
        streams.push(stream);
    }
    // Each of these is refused at once; the others are waited for.
    for refused in [2, 3, 5, 6] {
        let mut answer = [0; 12];
        streams[refused].read_exact(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{:?}", heads[refused]);
    }
    assert_eq!(endpoint.handle.in_flight(), 0);
    assert_eq!(endpoint.handle.last_request(), None);
    endpoint.client.s3("GET", "/").ok();
    assert!(endpoint.handle.last_request().is_some());
    wait_until("the end of the request", || {
        endpoint.handle.in_flight() == 0
    });
}

/// With these limits, a pause is short and there is room for one large request.
fn with_limits(limits: BodyLimits) -> Endpoint {
    Endpoint::start_with(|listener, config| start_with_limits(listener, config, limits).unwrap())
}

#[test]
fn a_body_that_pauses_too_long_is_given_up() {
    let endpoint = with_limits(BodyLimits {
        pause: Duration::from_millis(500),
        ..BodyLimits::default()
    });
    let client = &endpoint.client;
    client.s3("PUT", "/bkt").ok();
    client.put("/bkt/old", b"old").ok();
    client
        .sqs("CreateQueue", &json!({ "QueueName": "queue" }))
        .ok();
    let body = "x".repeat(1000);
    let message = json!({ "QueueUrl": "queue", "MessageBody": body }).to_string();
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "AmazonSQS.SendMessage"),
    ];
    let document = "<Delete><Object><Key>old</Key></Object></Delete>";
    let request = |service, method, path, query, headers, body| client::Request {
        service,
        method,
        path,
        query,
        headers,
        body,
    };
    let requests = [
        (
            request("s3", "PUT", "/bkt/new", vec![], vec![], body.as_bytes()),
            400,
        ),
        (
            request("s3", "PUT", "/bkt/old", vec![], vec![], body.as_bytes()),
            400,
        ),
        (
            request(
                "s3",
                "POST",
                "/bkt",
                vec![("delete", "")],
                vec![],
                document.as_bytes(),
            ),
            400,
        ),
        (
            request(
                "sqs",
                "POST",
                "/",
                vec![],
                headers.to_vec(),
                message.as_bytes(),
            ),
            408,
        ),
    ];
    for (request, status) in requests {
        let bytes = client.signed_bytes(&request);
        let mut stream = connect(client.address);
        stream.write_all(&bytes[..bytes.len() - 10]).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = parse(&answer).expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(
            answer.text().contains("RequestTimeout"),
            "{}",
            answer.text()
        );
        wait_until("the end of the request", || {
            endpoint.handle.in_flight() == 0
        });
    }
    assert_eq!(client.s3("GET", "/bkt").ok().elements("Key"), ["old"]);
    assert_eq!(client.s3("GET", "/bkt/old").ok().text(), "old");
    assert_eq!(endpoint.blobs(), 1);
    let attributes =
        json!({ "QueueUrl": "queue", "AttributeNames": ["ApproximateNumberOfMessages"] });
    let attributes = client.sqs("GetQueueAttributes", &attributes).ok().json();
    assert_eq!(attributes["Attributes"]["ApproximateNumberOfMessages"], "0");
}

#[test]
fn who_finds_no_room_waits_and_is_told_to_come_again() {
    let endpoint = with_limits(BodyLimits {
        room: 1 << 20,
        wait: Duration::from_millis(300),
        ..BodyLimits::default()
    });
    let client = &endpoint.client;
    client
        .sqs("CreateQueue", &json!({ "QueueName": "queue" }))
        .ok();
    client.s3("PUT", "/bkt").ok();
    let body = json!({ "QueueUrl": "queue", "MessageBody": "x".repeat(900_000) }).to_string();
    let request = client::Request {
        service: "sqs",
        method: "POST",
        path: "/",
        query: vec![],
        headers: vec![
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", "AmazonSQS.SendMessage"),
        ],
        body: body.as_bytes(),
    };
    let bytes = client.signed_bytes(&request);
    let mut first = connect(client.address);
    first.write_all(&bytes[..bytes.len() - 1]).unwrap();
    // The first has taken the room once its last byte is all that is waited for.
    wait_until("a refusal for want of room", || {
        let refused = client.send(&request);
        if refused.status == 503 {
            assert!(
                refused.text().contains("ServiceUnavailable"),
                "{}",
                refused.text()
            );
        }
        refused.status == 503
    });
    let delete = "<Delete><Object><Key>a</Key></Object></Delete>".to_owned() + &" ".repeat(900_000);
    let refused = client.s3_with("POST", "/bkt", &[("delete", "")], &[], delete.as_bytes());
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("SlowDown"), "{}", refused.text());
    // Objects go to the disk and need no room.
    client.put("/bkt/key", &vec![b'x'; 8 << 20]).ok();
    first.write_all(&bytes[bytes.len() - 1..]).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    parse(&answer).expect("an answer").ok();
    client.send(&request).ok();
}

#[test]
fn large_requests_of_clients_give_their_memory_back() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    let client = &server.client;
    let table = json!({
        "TableName": "table",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    client.dynamodb("CreateTable", &table).ok();
    client.s3("PUT", "/bkt").ok();
    let before = server.resident();
    let most = server.most_resident(|| {
        std::thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || {
                    let puts: Vec<_> = (0..24)
                        .map(|n| {
                            let id = format!("{writer}-{n}");
                            json!({ "PutRequest": { "Item": {
                                "id": { "S": id },
                                "text": { "S": "x".repeat(390_000) },
                            } } })
                        })
                        .collect();
                    let batch = json!({ "RequestItems": { "table": puts } });
                    client.dynamodb("BatchWriteItem", &batch).ok();
                });
                // None of these may be refused, however many there are.
                scope.spawn(move || {
                    client
                        .put(&format!("/bkt/{writer}"), &vec![b'x'; 8 << 20])
                        .ok();
                });
            }
        });
    });
    let grown = most.saturating_sub(before) / MIB;
    assert!(grown < 512, "{grown} MiB for four batches at once");
    // What stays is what the databases keep at hand.
    wait_until("memory going back", || {
        server.resident().saturating_sub(before) < 48 * MIB
    });
}

#[test]
fn heads_that_never_end_are_bounded() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    server.client.s3("PUT", "/bkt").ok();
    let before = server.resident();
    let mut streams = Vec::new();
    let head = format!("GET / HTTP/1.1\r\nx-h: {}", "a".repeat(60_000));
    for _ in 0..600 {
        let mut stream = connect(server.client.address);
        let _ = stream.write_all(head.as_bytes());
        streams.push(stream);
    }
    // The first to come was sent away, and clients are served all the while.
    let mut rest = Vec::new();
    let _ = streams[0].read_to_end(&mut rest);
    server.client.put("/bkt/key", b"content").ok();
    let grown = server.resident().saturating_sub(before) / MIB;
    assert!(grown < 80, "{grown} MiB for heads that never end");
}
