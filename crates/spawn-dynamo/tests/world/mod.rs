//! A DynamoDB to test against: the embedded endpoint, over signed HTTP.
#![allow(dead_code, reason = "each test binary uses its part")]

mod faults;
mod signing;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Report};
use spawn_core::task::Token;
use spawn_dynamo::{DynamoApi, DynamoError, DynamoLedger, DynamoOptions, Retries};
use spawn_endpoint::{Credentials, EndpointConfig, EndpointHandle, start};
use spawn_ports::ledger::{Commit, Ledger, LogSpan, NewAgent, NewArray, TaskQuery, TaskRow};

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use faults::{Fault, Faults, Faulty};

struct World {
    address: SocketAddr,
    credentials: Credentials,
    _handle: EndpointHandle,
    _home: tempfile::TempDir,
}

/// One endpoint for all tests of a binary; each ledger has a table of its own.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let home = tempfile::tempdir().expect("a temporary directory");
        let credentials = Credentials::load_or_create(&home.path().join("credentials"));
        let credentials = credentials.expect("credentials");
        let handle = start(
            TcpListener::bind("127.0.0.1:0").expect("a port"),
            EndpointConfig {
                dir: home.path().join("endpoint"),
                credentials: credentials.clone(),
                on_request: None,
            },
        );
        let handle = handle.expect("starts");
        World {
            address: handle.address(),
            credentials,
            _handle: handle,
            _home: home,
        }
    })
}

/// Signs requests and sends them over one connection.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    credentials: Credentials,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub fn new() -> Http {
        Http {
            address: world().address,
            credentials: world().credentials.clone(),
            stream: None,
        }
    }

    fn exchange(&mut self, operation: &str, body: &str) -> std::io::Result<(u16, String)> {
        let head = signing::request_head(self.address, &self.credentials, operation, body);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let request = [head.as_bytes(), body.as_bytes()].concat();
        stream.get_mut().write_all(&request)?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        self.stream = Some(stream);
        let body = String::from_utf8(body).map_err(std::io::Error::other)?;
        Ok((status, body))
    }
}

impl DynamoApi for Http {
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, DynamoError> {
        let lost = |error: std::io::Error| DynamoError::MaybeExecuted(error.to_string());
        let answer = self.exchange(operation, &body.to_string());
        let (status, answer) = answer.map_err(lost)?;
        match status {
            200 => Ok(serde_json::from_str(&answer).expect("JSON")),
            status => Err(DynamoError::from_answer(status, &answer)),
        }
    }
}

/// The name of a table that nobody has used.
pub fn new_table() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("spawn-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn options(table: &str) -> DynamoOptions {
    DynamoOptions {
        table: table.to_owned(),
        retries: Retries {
            attempts: 20,
            first_millis: 1,
            longest_millis: 20,
        },
        ..DynamoOptions::default()
    }
}

/// A ledger in this table.
pub fn ledger(table: &str) -> DynamoLedger<Http> {
    DynamoLedger::new(Http::new(), options(table))
}

/// The id of the `n`th array.
pub fn array_id(n: u32) -> ArrayId {
    let random = [0, 1, 2, 3, 4, 5].map(|place| (n / 36_u32.pow(place) % 36) as u8);
    ArrayId::new(2026, 1, 27, random).expect("a day")
}

/// An array with retries for everything and no backoff.
pub fn new_array(id: ArrayId, total: u64) -> NewArray {
    NewArray {
        id,
        name: "sweep".to_owned(),
        spec: r#"{"command":["true"]}"#.to_owned(),
        total,
        budgets: Budgets {
            exit: 1,
            interrupted: 1_000,
            backoff_millis: 0,
            ..Budgets::default()
        },
        deadline: UnixMicros(i64::MAX),
        lanes: Vec::new(),
    }
}

pub fn new_agent(array: &ArrayId) -> NewAgent {
    NewAgent {
        array: array.clone(),
        slot: 0,
        lane: 0,
        pid: 1,
        pid_started: 17,
        boot: "6c3f0d8e-7a3c-4f5b-9d56-0c9a4b1f2e77".to_owned(),
        hostname: "worker".to_owned(),
    }
}

pub fn outcome(position: u64, token: Token, cause: Cause, now: UnixMicros) -> Commit {
    Commit {
        position,
        token,
        report: Report::of(cause),
        started_at: UnixMicros(now.0 - 2),
        ended_at: UnixMicros(now.0 - 1),
        log: LogSpan::default(),
        usage: None,
        failed_calls: Vec::new(),
    }
}

/// All tasks of an array.
pub fn all_tasks(ledger: &mut dyn Ledger, id: &ArrayId) -> Vec<TaskRow> {
    let query = TaskQuery {
        from: 0,
        limit: u32::MAX,
        state: None,
    };
    ledger.tasks(id, query).expect("reads")
}
