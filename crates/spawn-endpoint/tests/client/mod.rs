//! A running endpoint, and a small client that signs what it sends.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spawn_endpoint::{Credentials, EndpointConfig, EndpointHandle, RequestRecord, start};

/// An endpoint over a temporary directory, with a record of its requests.
pub struct Endpoint {
    pub dir: PathBuf,
    pub handle: EndpointHandle,
    pub client: Client,
    pub records: Arc<Mutex<Vec<RequestRecord>>>,
    _home: tempfile::TempDir,
}

impl Endpoint {
    pub fn start() -> Self {
        Self::start_with(|listener, config| start(listener, config).unwrap())
    }

    pub fn start_with(start: impl FnOnce(TcpListener, EndpointConfig) -> EndpointHandle) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("endpoint");
        let credentials = Credentials::load_or_create(&home.path().join("credentials")).unwrap();
        let records = Arc::new(Mutex::new(Vec::new()));
        let handle = start(
            TcpListener::bind("127.0.0.1:0").unwrap(),
            EndpointConfig {
                dir: dir.clone(),
                credentials: credentials.clone(),
                on_request: Some(Arc::new({
                    let records = Arc::clone(&records);
                    move |record: &RequestRecord| records.lock().unwrap().push(record.clone())
                })),
            },
        );
        Self {
            dir,
            client: Client::new(handle.address(), credentials),
            handle,
            records,
            _home: home,
        }
    }

    /// With a bucket called `bkt`.
    pub fn with_bucket() -> (Self, Client) {
        let endpoint = Self::start();
        let client = endpoint.client.clone();
        client.s3("PUT", "/bkt").ok();
        (endpoint, client)
    }

    /// How many blob files there are.
    pub fn blobs(&self) -> usize {
        let shards = std::fs::read_dir(self.dir.join("blobs"));
        let shards = shards.into_iter().flatten().flatten();
        shards
            .map(|shard| std::fs::read_dir(shard.path()).unwrap().count())
            .sum()
    }

    /// The record of the last answered request.
    pub fn last_record(&self) -> RequestRecord {
        self.records.lock().unwrap().last().cloned().unwrap()
    }
}

/// Signs requests and sends each on a connection of its own.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub credentials: Credentials,
    pub token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// What is between the first `<name>` and `</name>`.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        text.split(&open)
            .skip(1)
            .filter_map(|rest| rest.split_once(&close))
            .map(|(inside, _)| inside.to_owned())
            .collect()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status < 300, "{}: {}", self.status, self.text());
        self
    }
}

/// A request before it is signed.
pub struct Request<'a> {
    pub service: &'a str,
    pub method: &'a str,
    /// Not encoded.
    pub path: &'a str,
    /// Not encoded.
    pub query: Vec<(&'a str, &'a str)>,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: &'a [u8],
}

pub fn encode(text: &str, keep: &str) -> String {
    text.bytes()
        .map(|byte| {
            let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            if plain || keep.as_bytes().contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `YYYYMMDD'T'HHMMSS'Z'`.
pub fn amz_date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .cast_signed();
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

impl Client {
    pub fn new(address: SocketAddr, credentials: Credentials) -> Self {
        Self {
            address,
            credentials,
            token: None,
        }
    }

    /// Signs and sends.
    pub fn send(&self, request: &Request<'_>) -> Answer {
        self.send_at(request, SystemTime::now())
    }

    /// Signs as if it were `now`.
    pub fn send_at(&self, request: &Request<'_>, now: SystemTime) -> Answer {
        let (target, headers) = self.sign(request, now);
        self.exchange(request.method, &target, &headers, request.body)
    }

    /// A signed request as it goes over the wire.
    pub fn signed_bytes(&self, request: &Request<'_>) -> Vec<u8> {
        let (target, headers) = self.sign(request, SystemTime::now());
        let head = head(request.method, &target, &headers, request.body.len());
        [head.as_bytes(), request.body].concat()
    }

    /// The target of a request, and its headers with the signature.
    fn sign(&self, request: &Request<'_>, now: SystemTime) -> (String, Vec<(String, String)>) {
        let timestamp = amz_date(now);
        let date = &timestamp[..8];
        let payload = hex(&Sha256::digest(request.body));
        let host = self.address.to_string();
        let mut headers: Vec<(String, String)> = vec![
            ("host".into(), host),
            ("x-amz-date".into(), timestamp.clone()),
            ("x-amz-content-sha256".into(), payload.clone()),
        ];
        if let Some(token) = &self.token {
            headers.push(("x-amz-security-token".into(), token.clone()));
        }
        let given = request.headers.iter();
        headers.extend(given.map(|(name, value)| (name.to_lowercase(), (*value).to_owned())));
        headers.sort();
        let canonical_headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let mut query: Vec<_> = request
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name, ""), encode(value, "")))
            .collect();
        query.sort();
        let query = query.join("&");
        let path = encode(request.path, "/");
        let canonical_path = if request.service == "s3" {
            path.clone()
        } else {
            encode(&path, "/")
        };
        let canonical = format!(
            "{}\n{canonical_path}\n{query}\n{canonical_headers}\n{names}\n{payload}",
            request.method
        );
        let scope = format!("{date}/eu-west-1/{}/aws4_request", request.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let mut key = mac(
            format!("AWS4{}", self.credentials.secret_access_key).as_bytes(),
            date,
        );
        for part in ["eu-west-1", request.service, "aws4_request"] {
            key = mac(&key, part);
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.credentials.access_key_id,
            hex(&mac(&key, &to_sign))
        );
        headers.push(("authorization".into(), authorization));
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        (target, headers)
    }

    /// Sends without a signature.
    pub fn send_unsigned(&self, request: &Request<'_>) -> Answer {
        let mut headers = vec![("host".to_owned(), self.address.to_string())];
        let given = request.headers.iter();
        headers.extend(given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.exchange(
            request.method,
            &encode(request.path, "/"),
            &headers,
            request.body,
        )
    }

    /// One request as it is, on a connection of its own.
    pub fn exchange(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Answer {
        self.try_exchange(method, target, headers, body)
            .expect("an answer")
    }

    fn try_exchange(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let head = head(method, target, headers, body.len());
        stream.write_all(head.as_bytes())?;
        // A refused request may be answered and closed before its body is read.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            read?;
        }
        parse(&answer).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    /// A JSON call; the target is `AmazonSQS.SendMessage` and the like.
    pub fn json(&self, service: &str, target: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send(&Request {
            service,
            method: "POST",
            path: "/",
            query: vec![],
            headers: vec![
                ("content-type", "application/x-amz-json-1.0"),
                ("x-amz-target", target),
            ],
            body: body.as_bytes(),
        })
    }

    pub fn sqs(&self, operation: &str, body: &Value) -> Answer {
        self.json("sqs", &format!("AmazonSQS.{operation}"), body)
    }

    pub fn dynamodb(&self, operation: &str, body: &Value) -> Answer {
        self.json("dynamodb", &format!("DynamoDB_20120810.{operation}"), body)
    }

    pub fn s3(&self, method: &str, path: &str) -> Answer {
        self.s3_with(method, path, &[], &[], b"")
    }

    pub fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.s3_with("PUT", path, &[], &[], body)
    }

    pub fn s3_with(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(&Request {
            service: "s3",
            method,
            path,
            query: query.to_vec(),
            headers: headers.to_vec(),
            body,
        })
    }
}

fn head(method: &str, target: &str, headers: &[(String, String)], length: usize) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + &format!("content-length: {length}\r\n\r\n")
}

/// The answer in what a connection sent; nothing if it is not whole.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let answer = Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if status == 100 {
        return parse(&answer.body);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        let body = dechunk(&answer.body)?;
        return Some(Answer { body, ..answer });
    }
    let expected = answer
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let complete =
        expected.is_none_or(|length: usize| answer.body.len() == length || answer.body.is_empty());
    complete.then_some(answer)
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}
