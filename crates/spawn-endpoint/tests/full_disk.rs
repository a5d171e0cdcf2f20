//! A disk without room has its name in every answer, and what is there can still be read.

mod client;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use client::{Answer, Client};
use serde_json::json;
use spawn_endpoint::{Credentials, EndpointConfig, EndpointHandle, start};

/// Where the small file system is, in the process that has it.
const DIR: &str = "SPAWN_ENDPOINT_TEST_DISK";

/// Runs a test of this file in a mount namespace of its own, where a directory is a small file
/// system. Where none can be mounted it says so, and nothing is tested.
fn with_small_disk(test: &str) {
    let at = tempfile::tempdir().unwrap();
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let unshare = if root { "-m" } else { "-rm" };
    let mount = "mount -t tmpfs -o size=8m none \"$0\"";
    let tried = Command::new("unshare")
        .args([unshare, "sh", "-c", mount])
        .arg(at.path())
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: no file system can be mounted here");
        return;
    }
    let output = Command::new("unshare")
        .args([unshare, "sh", "-c", &format!("{mount} && exec \"$@\"")])
        .arg(at.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(DIR, at.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    assert!(said.contains("1 passed"), "{said}{error}");
}

/// The small file system.
struct Disk {
    dir: PathBuf,
}

impl Disk {
    fn of_this_process() -> Option<Self> {
        let dir = PathBuf::from(std::env::var_os(DIR)?);
        Some(Self { dir })
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.dir.join("filler")).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.dir.join("filler")).unwrap();
    }

    fn endpoint(&self, name: &str) -> (EndpointHandle, Client) {
        let credentials = Credentials {
            access_key_id: "SPAWNTEST".into(),
            secret_access_key: "secret".into(),
        };
        let handle = start(
            std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            EndpointConfig {
                dir: self.dir.join(name),
                credentials: credentials.clone(),
                on_request: None,
            },
        )
        .unwrap();
        let client = Client::new(handle.address(), credentials);
        (handle, client)
    }
}

fn send(client: &Client) -> Answer {
    let message = json!({ "QueueUrl": "queue", "MessageBody": "x".repeat(200_000) });
    client.sqs("SendMessage", &message)
}

fn put_item(client: &Client) -> Answer {
    let item = json!({ "id": { "S": "new" }, "text": { "S": "x".repeat(200_000) } });
    client.dynamodb("PutItem", &json!({ "TableName": "table", "Item": item }))
}

#[track_caller]
fn assert_full(answer: &Answer, dir: &Path) {
    let text = answer.text();
    assert_eq!(answer.status, 507, "{text}");
    assert!(text.contains("DiskFull"), "{text}");
    let says = format!(
        "There is no space left on the disk that holds `{}`",
        dir.display()
    );
    assert!(text.contains(&says), "{text}");
}

#[test]
fn a_full_disk_has_its_name() {
    with_small_disk("fills_a_disk");
}

#[test]
fn the_aws_cli_says_so_and_does_not_try_again() {
    let installed = Command::new("aws").arg("--version").output();
    if !installed.is_ok_and(|run| run.status.success()) {
        eprintln!("SKIPPED: no `aws` on PATH");
        return;
    }
    with_small_disk("fills_a_disk_for_the_aws_cli");
}

/// Not a test by itself: it needs a disk that it may fill.
#[test]
#[ignore = "run by the other tests"]
fn fills_a_disk() {
    let Some(disk) = Disk::of_this_process() else {
        return;
    };
    let dir = disk.dir.join("endpoint");
    let (handle, client) = disk.endpoint("endpoint");
    client.s3("PUT", "/bkt").ok();
    client.put("/bkt/old", b"old").ok();
    let begun = client
        .s3_with("POST", "/bkt/parts", &[("uploads", "")], &[], b"")
        .ok();
    let upload = begun.element("UploadId").unwrap();
    client
        .sqs("CreateQueue", &json!({ "QueueName": "queue" }))
        .ok();
    let table = json!({
        "TableName": "table",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    client.dynamodb("CreateTable", &table).ok();
    // Larger than the disk: it fails while it arrives, and what it took is free again afterwards.
    assert_full(&client.put("/bkt/new", &vec![0; 16 << 20]), &dir);
    client.put("/bkt/small", b"there is room now").ok();

    disk.fill();
    assert_full(&client.put("/bkt/new", &vec![0; 300_000]), &dir);
    assert_full(&client.put("/bkt/new", b"small"), &dir);
    let part = [("partNumber", "1"), ("uploadId", upload.as_str())];
    assert_full(
        &client.s3_with("PUT", "/bkt/parts", &part, &[], &vec![0; 300_000]),
        &dir,
    );
    assert_full(&send(&client), &dir);
    assert_full(&put_item(&client), &dir);
    let (other_handle, other) = disk.endpoint("other");
    let other_dir = disk.dir.join("other");
    assert_full(&other.s3("PUT", "/bkt"), &other_dir);
    assert_full(&other.sqs("ListQueues", &json!({})), &other_dir);
    assert_full(&other.dynamodb("ListTables", &json!({})), &other_dir);
    assert_eq!(client.s3("GET", "/bkt/old").ok().text(), "old");
    assert_eq!(client.s3("GET", "/bkt/new").status, 404);

    disk.make_room();
    client.put("/bkt/new", b"new").ok();
    send(&client).ok();
    put_item(&client).ok();
    other.s3("PUT", "/bkt").ok();
    handle.stop();
    other_handle.stop();
}

/// Not a test by itself: it needs a disk that it may fill.
#[test]
#[ignore = "run by the other tests"]
fn fills_a_disk_for_the_aws_cli() {
    let Some(disk) = Disk::of_this_process() else {
        return;
    };
    let (handle, client) = disk.endpoint("endpoint");
    client.s3("PUT", "/bkt").ok();
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("file");
    fs::write(&file, vec![0; 1_000_000]).unwrap();
    disk.fill();
    let log = work.path().join("log");
    let output = Command::new("aws")
        .args([
            "--debug",
            "--endpoint-url",
            &format!("http://{}", client.address),
        ])
        .args(["s3", "cp", "--no-progress"])
        .arg(&file)
        .arg("s3://bkt/file")
        .env("AWS_ACCESS_KEY_ID", &client.credentials.access_key_id)
        .env(
            "AWS_SECRET_ACCESS_KEY",
            &client.credentials.secret_access_key,
        )
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", &log)
        .env("AWS_SHARED_CREDENTIALS_FILE", &log)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_MAX_ATTEMPTS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let last = said
        .lines()
        .find(|line| line.starts_with("upload failed"))
        .unwrap_or(&said);
    assert!(last.contains("DiskFull"), "{last}");
    assert!(
        last.contains("There is no space left on the disk that holds"),
        "{last}"
    );
    assert_eq!(
        said.matches("Sending http request").count(),
        1,
        "tried once"
    );
    handle.stop();
}
