//! A server for tests: answers each request on the loopback interface with a function.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }
}

/// Status, headers and body.
pub(crate) type Said = (u16, Vec<(&'static str, String)>, String);

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

/// Serves until the test's process ends.
pub(crate) fn serve(answer: impl Fn(&Asked) -> Said + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    std::thread::spawn({
        let asked = Arc::clone(&asked);
        move || {
            for stream in listener.incoming().flatten() {
                if let Some(request) = read(&stream) {
                    let (status, headers, body) = answer(&request);
                    asked.lock().unwrap().push(request);
                    let mut text = format!(
                        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
                        body.len()
                    );
                    for (name, value) in headers {
                        text.push_str(&format!("{name}: {value}\r\n"));
                    }
                    let _ = write!(&stream, "{text}\r\n{body}");
                }
            }
        }
    });
    Server { url, asked }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Asked::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        asked
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = asked.header("content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

/// A metadata service: version 2 with the token `TOKEN-1` and so on, at each of `paths` the text.
/// With `only_v1`, one that hands out no tokens.
pub(crate) fn metadata(paths: Vec<(&'static str, String)>, only_v1: bool) -> Server {
    let issued = Mutex::new(0);
    serve(move |asked| {
        if asked.method == "PUT" && asked.path == "/latest/api/token" {
            let ttl = asked.header("x-aws-ec2-metadata-token-ttl-seconds");
            if only_v1 || ttl.is_none() {
                return (404, vec![], String::new());
            }
            let mut issued = issued.lock().unwrap();
            *issued += 1;
            let granted = vec![("x-aws-ec2-metadata-token-ttl-seconds", "600".to_owned())];
            return (200, granted, format!("TOKEN-{issued}"));
        }
        let current = format!("TOKEN-{}", issued.lock().unwrap());
        if !only_v1 && asked.header("x-aws-ec2-metadata-token") != Some(&current) {
            return (401, vec![], String::new());
        }
        match paths
            .iter()
            .find(|(path, _)| asked.path == format!("/latest/{path}"))
        {
            Some((_, text)) => (200, vec![], text.clone()),
            None => (404, vec![], "not found".to_owned()),
        }
    })
}

/// What an instance says of itself.
pub(crate) fn instance() -> Vec<(&'static str, String)> {
    [
        ("meta-data/instance-id", "i-0abc"),
        ("meta-data/instance-type", "m7g.large"),
        ("meta-data/placement/region", "eu-west-1"),
        ("meta-data/placement/availability-zone", "eu-west-1a"),
        ("meta-data/instance-life-cycle", "spot"),
        ("meta-data/tags/instance", "Name\nspawn:array"),
        ("meta-data/tags/instance/Name", "worker"),
        ("meta-data/tags/instance/spawn:array", "array-1"),
        ("meta-data/iam/security-credentials/", "worker-role"),
        (
            "meta-data/iam/security-credentials/worker-role",
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE","SecretAccessKey":"s",
               "Token":"t","Expiration":"2026-11-25T18:00:00Z"}"#,
        ),
    ]
    .into_iter()
    .map(|(path, text)| (path, text.to_owned()))
    .collect()
}
