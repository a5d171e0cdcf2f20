//! The test bed: an AWS account on this machine. Where it cannot be started, tests say so and pass.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod launched;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spawn_aws::client::{Client, Config, HttpTransport, Overrides, Patience, SystemClock};
use spawn_aws::credentials::Credentials;
use tempfile::TempDir;

pub struct Bed {
    dir: TempDir,
    url: String,
    env: Value,
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/bed")
}

impl Bed {
    /// A bed of this test's own.
    pub fn start() -> Option<Bed> {
        let dir = tempfile::tempdir().unwrap();
        let started = Command::new(program())
            .args(["start", "--until", &std::process::id().to_string(), "--dir"])
            .arg(dir.path())
            .output()
            .unwrap();
        if !started.status.success() {
            let why = String::from_utf8_lossy(&started.stderr);
            eprintln!("SKIPPED: the test bed does not start; nothing was held against it: {why}");
            return None;
        }
        let env = std::fs::read_to_string(dir.path().join("env.json")).unwrap();
        let env: Value = serde_json::from_str(&env).unwrap();
        let url = env["BED_URL"].as_str().unwrap().to_owned();
        Some(Bed { dir, url, env })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn region(&self) -> &str {
        self.env["AWS_REGION"].as_str().unwrap()
    }

    /// A client of the account's administrator that sends each call at most `attempts` times.
    pub fn client(&self, attempts: u32) -> Client {
        let text = |name: &str| self.env[name].as_str().unwrap();
        let keys = Credentials::fixed(text("AWS_ACCESS_KEY_ID"), text("AWS_SECRET_ACCESS_KEY"));
        Client::new(Config {
            region: self.region().to_owned(),
            credentials: Arc::new(keys),
            endpoints: Overrides::everything_at(&self.url),
            transport: Arc::new(HttpTransport::for_aws(None).unwrap()),
            clock: Arc::new(SystemClock::default()),
            patience: Patience {
                attempts,
                ..Patience::default()
            },
        })
    }

    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, Some(body))
    }

    pub fn delete(&self, path: &str) {
        self.ask("DELETE", path, None);
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = None;
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let fine = line.split(' ').nth(1).is_some_and(|s| s.starts_with('2'));
        let status = line.clone();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse::<usize>().ok();
                }
                Some(_) => {}
            }
        }
        let mut answer = vec![0; length.unwrap_or(0)];
        match length {
            Some(_) => reader.read_exact(&mut answer).unwrap(),
            None => drop(reader.read_to_end(&mut answer).unwrap()),
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(fine, "{method} {path}: {status}{answer}");
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// How many calls arrived so far, by operation.
    pub fn calls(&self) -> std::collections::BTreeMap<String, u64> {
        serde_json::from_value(self.get("/bed/counts")["calls"].clone()).unwrap()
    }

    /// How many calls arrived so far.
    pub fn count(&self) -> u64 {
        self.calls().values().sum()
    }

    /// The k-th call from now fails so.
    pub fn fail(&self, k: u64, kind: &str) {
        let fault = json!({ "operation": "*", "at": k, "kind": kind });
        self.post("/bed/faults", &fault);
    }

    /// Whether a fault is still to come; none is from now on.
    pub fn forget_faults(&self) -> bool {
        let left = self.get("/bed/faults");
        self.delete("/bed/faults");
        let mut faults = left.as_object().into_iter().flat_map(|all| all.values());
        faults.any(|fault| fault["hits"] == json!(0))
    }

    /// Nothing that AWS would refuse was sent.
    pub fn assert_clean(&self) {
        assert_eq!(self.get("/bed/violations"), json!([]));
        assert_eq!(self.get("/bed/errors"), json!([]));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = Command::new(program())
            .args(["stop", "--dir"])
            .arg(self.dir.path())
            .output();
    }
}

/// The first value that there is.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < patience, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
