//! A real browser with a page of another origin open: what the page tries comes to nothing.

mod client;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use client::Endpoint;
use serde_json::json;

const PAGE: &str = include_str!("browser/page.html");

/// Serves the page, and hands on what it tells.
fn serve_page(endpoint: &str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let page = PAGE.replace("ENDPOINT", endpoint);
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (page, tell) = (page.clone(), tell.clone());
            std::thread::spawn(move || {
                if let Some(results) = answer(stream, &page) {
                    let _ = tell.send(results);
                }
            });
        }
    });
    (format!("http://{address}/"), told)
}

/// Answers one request; what the page tells is returned.
fn answer(mut stream: TcpStream, page: &str) -> Option<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let (head, length) = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().ok())?
            });
            break (head.to_owned(), length.unwrap_or(0_usize));
        }
    };
    while request.len() < head.len() + 4 + length {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
    }
    let done = head.starts_with("POST /done");
    let body = if head.starts_with("GET / ") { page } else { "" };
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).ok()?;
    done.then(|| String::from_utf8_lossy(&request[head.len() + 4..]).into_owned())
}

/// A browser and the processes it started.
struct Browser(Child);

impl Browser {
    /// Nothing, and why, where there is none.
    fn open(url: &str, profile: &Path) -> Option<Self> {
        let mut command = Command::new("chromium");
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
        ]);
        command.args(["--disable-dev-shm-usage", "--disable-background-networking"]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        command
            .arg(url)
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                eprintln!("SKIPPED: `chromium` cannot be run: {error}");
                None
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// Bytes of this process's memory that are resident.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_page_of_another_origin_gets_nothing_done() {
    let (endpoint, client) = Endpoint::with_bucket();
    client.put("/bkt/old", b"secret").ok();
    client
        .sqs("CreateQueue", &json!({ "QueueName": "queue" }))
        .ok();
    let until = Instant::now() + Duration::from_secs(30);
    while endpoint.handle.in_flight() > 0 {
        assert!(Instant::now() < until, "requests end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let active = endpoint.handle.last_request();
    let ours = endpoint.records.lock().unwrap().len();
    let (url, told) = serve_page(&client.address.to_string());
    let profile = tempfile::tempdir().unwrap();
    let before = resident();
    let Some(_browser) = Browser::open(&url, profile.path()) else {
        return;
    };
    let mut most = before;
    let until = Instant::now() + Duration::from_secs(90);
    let results = loop {
        match told.recv_timeout(Duration::from_millis(5)) {
            Ok(results) => break results,
            Err(RecvTimeoutError::Timeout) => most = most.max(resident()),
            Err(RecvTimeoutError::Disconnected) => panic!("the page's server has ended"),
        }
        assert!(
            Instant::now() < until,
            "the page has not told anything in 90 seconds"
        );
    };
    let results: BTreeMap<String, String> = serde_json::from_str(&results).unwrap();
    assert_eq!(results.len(), 17, "{results:?}");
    for (name, result) in &results {
        let came_to_nothing = result.starts_with("refused: ") || result == "opaque: ";
        // A beacon tells nothing, whatever comes of it.
        let sent = name == "beacon" && result == "sent";
        assert!(came_to_nothing || sent, "{name}: {result}");
        assert!(!result.contains("secret"), "{name}: {result}");
    }

    assert_eq!(endpoint.handle.in_flight(), 0, "the host may end");
    assert_eq!(
        endpoint.handle.last_request(),
        active,
        "nothing counted as activity"
    );
    let records = endpoint.records.lock().unwrap()[ours..].to_vec();
    assert!(records.len() >= 15, "the browser came through: {records:?}");
    let refused = |status: u16| status == 403;
    assert!(
        records.iter().all(|record| refused(record.status)),
        "{records:?}"
    );
    let grown = most.saturating_sub(before) / (1024 * 1024);
    assert!(grown < 24, "{grown} MiB");
    assert_eq!(client.s3("GET", "/bkt").ok().elements("Key"), ["old"]);
    assert_eq!(client.s3("GET", "/bkt/old").ok().text(), "secret");
    let attributes =
        json!({ "QueueUrl": "queue", "AttributeNames": ["ApproximateNumberOfMessages"] });
    let attributes = client.sqs("GetQueueAttributes", &attributes).ok().json();
    assert_eq!(attributes["Attributes"]["ApproximateNumberOfMessages"], "0");
    assert_eq!(endpoint.blobs(), 1);
}
