//! The test bed's process, and its control interface.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::Output;

/// What machines need of this one. Nothing if all is there, else what is missing.
pub fn missing_for_boxes() -> Option<String> {
    let mut probe = Command::new("unshare");
    probe.args([
        "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true",
    ]);
    match probe.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(e) => Some(format!("no `unshare`: {e}")),
    }
}

/// A bed that runs until it is dropped, or this process ends.
pub struct Bed {
    dir: PathBuf,
    /// The variables that lead programs to it.
    pub environment: BTreeMap<String, String>,
    address: String,
}

impl Bed {
    /// Starts one that keeps its files in `dir`.
    pub fn start(dir: &Path, options: &[&str]) -> Bed {
        let serve = build_once("spawn-endpoint", "examples/serve", &["--example", "serve"]);
        let mut start = Command::new(testbed().join("bed"));
        start
            .args(["start", "--dir"])
            .arg(dir)
            .args(["--until", &std::process::id().to_string()])
            .arg("--dynamodb-program")
            .arg(serve)
            .args(options);
        Output::of(&mut start).expect_code(0);
        let text = fs::read(dir.join("env.json")).expect("the bed says where it is");
        let environment: BTreeMap<String, String> =
            serde_json::from_slice(&text).expect("env.json holds texts");
        let address = environment["BED_URL"].trim_start_matches("http://");
        Bed {
            dir: dir.to_owned(),
            address: address.to_owned(),
            environment,
        }
    }

    /// What `GET /bed/...` answers.
    pub fn get(&self, path: &str) -> Value {
        self.request("GET", &format!("/bed/{path}"), "")
    }

    /// `POST /bed/...`
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.request("POST", &format!("/bed/{path}"), &body.to_string())
    }

    /// `DELETE /bed/...`
    pub fn delete(&self, path: &str) {
        self.request("DELETE", &format!("/bed/{path}"), "");
    }

    /// Has every call checked against the policies of who makes it.
    pub fn enforce_policies(&self) {
        self.request("POST", "/moto-api/reset-auth", "0");
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).expect("the bed listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: bed\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("the bed reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the bed answers");
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "{method} {path}: {head}\n{body}"
        );
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// What machines printed and what their service said, for messages of failed tests.
    pub fn stories(&self) -> String {
        let mut story = String::new();
        let boxes = fs::read_dir(self.dir.join("boxes")).into_iter().flatten();
        for machine in boxes.flatten() {
            let journal = "upper/var/log/box-journal/spored-node.service.log";
            for file in ["console.log", journal] {
                let path = machine.path().join(file);
                let text = fs::read_to_string(&path).unwrap_or_default();
                story += &format!("--- {:?} {file}\n{text}\n", machine.file_name());
            }
        }
        story
    }

    /// The last calls that did not succeed.
    pub fn refusals(&self) -> String {
        let wire = fs::read_to_string(self.dir.join("wire.jsonl")).unwrap_or_default();
        let mut lines: Vec<String> = wire
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|call| call["status"].as_u64().is_none_or(|status| status >= 300))
            .map(|call| {
                let of = |name: &str| call[name].to_string();
                let names = [
                    "n",
                    "who",
                    "service",
                    "operation",
                    "target",
                    "status",
                    "error",
                ];
                names.map(of).join(" ")
            })
            .collect();
        lines.drain(..lines.len().saturating_sub(40));
        lines.join("\n")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let mut stop = Command::new(testbed().join("bed"));
        stop.args(["stop", "--dir"]).arg(&self.dir);
        let stopped = stop.output();
        if !std::thread::panicking() {
            let stopped = stopped.expect("the bed can be stopped");
            assert!(stopped.status.success(), "{stopped:?}");
        }
    }
}

/// Where the bed's programs lie.
pub fn testbed() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed");
    path.canonicalize().expect("the test bed is there")
}

/// The directory of the bed's own `aws`, installed if that is needed.
pub fn tools() -> PathBuf {
    let installed = Output::of(&mut Command::new(testbed().join("install")));
    PathBuf::from(installed.expect_code(0).out().trim())
}

/// A program of the workspace, built if it is missing: cargo builds `spawn` for its tests, not its
/// neighbours. Whoever changes those builds the workspace first, as `check` does.
pub fn build_once(package: &str, program: &str, which: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_spawn")).with_file_name(program);
    if !path.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "-p", package]).args(which);
        if path.components().any(|part| part.as_os_str() == "release") {
            build.arg("--release");
        }
        Output::of(build.current_dir(env!("CARGO_MANIFEST_DIR"))).expect_code(0);
    }
    path
}
