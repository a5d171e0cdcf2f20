//! Servers that the tests talk to: spawn's own endpoint, moto, and a proxy that loses answers.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use spawn_aws::client::{Client, Config, HttpTransport, Overrides, Patience, SystemClock};
use spawn_aws::credentials::Credentials;
use spawn_endpoint::{EndpointConfig, EndpointHandle};

/// A client of everything at `url`, which does not rest long.
pub fn client(url: &str, credentials: Credentials) -> Client {
    Client::new(Config {
        region: "eu-west-1".to_owned(),
        credentials: Arc::new(credentials),
        endpoints: Overrides::everything_at(url),
        transport: Arc::new(HttpTransport::for_aws(None).unwrap()),
        clock: Arc::new(SystemClock::default()),
        patience: Patience {
            base: Duration::from_millis(5),
            throttle_base: Duration::from_millis(20),
            ..Patience::default()
        },
    })
}

/// spawn's own endpoint over a temporary directory.
pub struct Endpoint {
    pub credentials: Credentials,
    pub url: String,
    _handle: EndpointHandle,
    _home: tempfile::TempDir,
}

impl Endpoint {
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let keys =
            spawn_endpoint::Credentials::load_or_create(&home.path().join("credentials")).unwrap();
        let config = EndpointConfig {
            dir: home.path().join("endpoint"),
            credentials: keys.clone(),
            on_request: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handle = spawn_endpoint::start(listener, config).unwrap();
        Self {
            credentials: Credentials::fixed(&keys.access_key_id, &keys.secret_access_key),
            url: format!("http://{}", handle.address()),
            _handle: handle,
            _home: home,
        }
    }

    pub fn client(&self) -> Client {
        client(&self.url, self.credentials.clone())
    }
}

/// A proxy that forwards requests to a server and, while told so, closes the connection instead of
/// handing back the answer.
pub struct LossyProxy {
    pub url: String,
    lose: Arc<AtomicU32>,
    forwarded: Arc<Mutex<Vec<String>>>,
}

impl LossyProxy {
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (lose, forwarded) = (
            Arc::<AtomicU32>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let server = server.trim_start_matches("http://").to_owned();
        std::thread::spawn({
            let (lose, forwarded) = (Arc::clone(&lose), Arc::clone(&forwarded));
            move || {
                for stream in listener.incoming().flatten() {
                    let Some((body, answer)) = forward(&stream, &server) else {
                        continue;
                    };
                    forwarded.lock().unwrap().push(body);
                    let lost = lose
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                        .is_ok();
                    if !lost {
                        let _ = (&stream).write_all(&answer);
                    }
                }
            }
        });
        Self {
            url,
            lose,
            forwarded,
        }
    }

    /// Loses the next `count` answers.
    pub fn lose(&self, count: u32) {
        self.lose.store(count, Ordering::SeqCst);
    }

    /// How many requests reached the server.
    pub fn forwarded(&self) -> usize {
        self.bodies().len()
    }

    /// The bodies of the requests that reached the server.
    pub fn bodies(&self) -> Vec<String> {
        self.forwarded.lock().unwrap().clone()
    }
}

fn forward(stream: &TcpStream, server: &str) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut upstream = TcpStream::connect(server).ok()?;
    write!(upstream, "{head}connection: close\r\n\r\n").ok()?;
    upstream.write_all(&body).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    Some((String::from_utf8_lossy(&body).into_owned(), answer))
}

/// A moto server, ended when it is dropped.
pub struct Moto {
    pub url: String,
    process: Child,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    /// Starts one. Without moto there is none, which is said; where `CI` is set it is an error.
    pub fn start() -> Option<Self> {
        let Some(program) = moto_server() else {
            assert!(
                std::env::var_os("CI").is_none(),
                "moto_server is missing: run scripts/install-tools --for-tests"
            );
            eprintln!("SKIPPED: no moto_server; run scripts/install-tools --for-tests");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .unwrap()
            .port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
            .env("MOTO_ENABLE_AMI_VALIDATION", "true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server starts");
        let moto = Self {
            url: format!("http://127.0.0.1:{port}"),
            process,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "moto_server does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    pub fn client(&self) -> Client {
        client(&self.url, Credentials::fixed("AKIAMOTO", "secret"))
    }
}

fn moto_server() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/moto/bin/moto_server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(own)
        .chain(std::env::split_paths(&path).map(|dir| dir.join("moto_server")))
        .find(|program| program.is_file())
}
