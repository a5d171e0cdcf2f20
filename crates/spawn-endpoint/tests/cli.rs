//! The real `aws` CLI against the endpoint. Without one on PATH these tests say so and pass.

mod client;

use std::fs;
use std::path::Path;
use std::process::Command;

use client::Endpoint;
use serde_json::{Value, json};

const LITERAL: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/spawn-tasks";

struct Aws<'a>(&'a Endpoint);

#[derive(Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"))
    }
}

impl Aws<'_> {
    /// A Python program with boto3 that gets the endpoint's URL; nothing if there is no boto3.
    fn python(&self, program: &str) -> Option<Ran> {
        let found = Command::new("python3")
            .args(["-c", "import boto3"])
            .output();
        if !found.is_ok_and(|run| run.status.success()) {
            eprintln!("SKIPPED: python3 has no boto3");
            return None;
        }
        let mut command = Command::new("python3");
        let url = format!("http://{}", self.0.client.address);
        Some(self.ran(command.args(["-c", program, &url])))
    }

    /// As the wrapper on a worker's PATH does: `--endpoint-url` on every call, since version 1
    /// takes no other hint for SQS.
    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("aws");
        let url = format!("http://{}", self.0.client.address);
        self.ran(command.args(["--endpoint-url", &url]).args(arguments))
    }

    fn ran(&self, command: &mut Command) -> Ran {
        let client = &self.0.client;
        let nowhere = self.0.dir.with_file_name("no-such-file");
        let output = command
            .env("AWS_ACCESS_KEY_ID", &client.credentials.access_key_id)
            .env(
                "AWS_SECRET_ACCESS_KEY",
                &client.credentials.secret_access_key,
            )
            .env("AWS_SESSION_TOKEN", "array-1/7")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", &nowhere)
            .env("AWS_SHARED_CREDENTIALS_FILE", &nowhere)
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_PAGER", "")
            .env_remove("AWS_PROFILE")
            .output()
            .unwrap();
        Ran {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn installed() -> bool {
    let found = Command::new("aws")
        .arg("--version")
        .output()
        .is_ok_and(|run| run.status.success());
    if !found {
        eprintln!("no `aws` on PATH: nothing was tested");
    }
    found
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn s3() {
    if !installed() {
        return;
    }
    let endpoint = Endpoint::start();
    let aws = Aws(&endpoint);
    let work = tempfile::tempdir().unwrap();
    let tree = work.path().join("tree");
    fs::create_dir_all(tree.join("sub dir")).unwrap();
    let odd = "sub dir/\u{e9}+%20 \u{4e2d}.txt";
    fs::write(tree.join("conf"), "one").unwrap();
    fs::write(tree.join(odd), "two").unwrap();
    // Large enough that the CLI uploads and downloads it in parts.
    let large: Vec<u8> = (0..17_000_000_u32)
        .map(|n| u8::try_from(n % 253).unwrap())
        .collect();
    fs::write(tree.join("large"), &large).unwrap();

    assert!(
        aws.run(&["s3", "mb", "s3://bkt"])
            .ok()
            .contains("make_bucket: bkt")
    );
    aws.run(&["s3", "sync", "--no-progress", path(&tree), "s3://bkt/run"])
        .ok();
    let listed = aws.run(&["s3", "ls", "--recursive", "s3://bkt/run"]).ok();
    let keys: Vec<&str> = listed.lines().map(|line| &line[31..]).collect();
    assert_eq!(keys, ["run/conf", "run/large", &format!("run/{odd}")]);
    assert!(
        aws.run(&["s3", "ls", "s3://bkt/run/"])
            .ok()
            .contains("PRE sub dir/")
    );
    let missing = aws.run(&["s3", "ls", "s3://bkt/absent"]);
    assert_eq!(
        (missing.status, missing.out.as_str()),
        (1, ""),
        "{missing:?}"
    );

    let back = work.path().join("back");
    aws.run(&[
        "s3",
        "cp",
        "--recursive",
        "--no-progress",
        "s3://bkt/run",
        path(&back),
    ])
    .ok();
    assert!(fs::read(back.join("large")).unwrap() == large);
    assert_eq!(fs::read_to_string(back.join(odd)).unwrap(), "two");
    let again = aws.run(&["s3", "sync", "s3://bkt/run", path(&back)]).ok();
    assert_eq!(again, "", "nothing to do");
    // A copy of a multipart object inside the store reads its tags and copies it in parts.
    aws.run(&[
        "s3",
        "mv",
        "--no-progress",
        "s3://bkt/run/large",
        "s3://bkt/moved",
    ])
    .ok();
    assert!(endpoint.client.s3("GET", "/bkt/moved").ok().body == large);

    let refused = aws.run(&["s3", "rb", "s3://bkt"]);
    assert!(
        refused.status != 0 && refused.err.contains("BucketNotEmpty"),
        "{refused:?}"
    );
    let got = aws.run(&["s3", "cp", "s3://bkt/absent", "-"]);
    assert!(got.status != 0 && got.err.contains("404"), "{got:?}");
    aws.run(&["s3", "rb", "--force", "s3://bkt"]).ok();
    assert!(
        spawn_endpoint::existing_buckets(&endpoint.dir)
            .unwrap()
            .is_empty()
    );
    let records = endpoint.records.lock().unwrap();
    assert!(
        records
            .iter()
            .any(|record| record.session_token.as_deref() == Some("array-1/7"))
    );
}

#[test]
fn sqs() {
    if !installed() {
        return;
    }
    let endpoint = Endpoint::start();
    let aws = Aws(&endpoint);
    let sqs = |arguments: &[&str]| aws.run(&[&["sqs"], arguments, &["--output", "json"]].concat());
    let missing = sqs(&[
        "send-message",
        "--queue-url",
        LITERAL,
        "--message-body",
        "x",
    ]);
    assert!(
        missing.status != 0 && missing.err.contains("NonExistentQueue"),
        "{missing:?}"
    );
    let url = sqs(&[
        "create-queue",
        "--queue-name",
        "spawn-tasks",
        "--attributes",
        "VisibilityTimeout=600",
    ]);
    let url = url.json()["QueueUrl"].as_str().unwrap().to_owned();
    sqs(&[
        "send-message",
        "--queue-url",
        LITERAL,
        "--message-body",
        "chunk 7",
    ])
    .ok();
    let receive = [
        "receive-message",
        "--queue-url",
        &url,
        "--wait-time-seconds",
        "1",
        "--query",
        "Messages[0]",
    ];
    let message = sqs(&receive).json();
    assert_eq!(message["Body"], "chunk 7");
    assert_eq!(sqs(&receive).ok().trim(), "null");
    let handle = message["ReceiptHandle"].as_str().unwrap();
    sqs(&[
        "delete-message",
        "--queue-url",
        LITERAL,
        "--receipt-handle",
        handle,
    ])
    .ok();
    let left = sqs(&[
        "get-queue-attributes",
        "--queue-url",
        &url,
        "--attribute-names",
        "All",
    ])
    .json();
    assert_eq!(
        left["Attributes"]["ApproximateNumberOfMessagesNotVisible"],
        "0"
    );
}

#[test]
fn dynamodb_and_sts() {
    if !installed() {
        return;
    }
    let endpoint = Endpoint::start();
    let aws = Aws(&endpoint);
    aws.run(&[
        "dynamodb",
        "create-table",
        "--table-name",
        "progress",
        "--attribute-definitions",
        "AttributeName=id,AttributeType=S",
        "--key-schema",
        "AttributeName=id,KeyType=HASH",
        "--billing-mode",
        "PAY_PER_REQUEST",
    ])
    .ok();
    aws.run(&[
        "dynamodb",
        "wait",
        "table-exists",
        "--table-name",
        "progress",
    ])
    .ok();
    let item = json!({ "id": { "S": "7" }, "state": { "S": "done" } }).to_string();
    let put = [
        "dynamodb",
        "put-item",
        "--table-name",
        "progress",
        "--item",
        &item,
    ];
    aws.run(&put).ok();
    let again = aws.run(
        &[
            &put[..],
            &["--condition-expression", "attribute_not_exists(id)"],
        ]
        .concat(),
    );
    assert!(
        again.status != 0 && again.err.contains("ConditionalCheckFailedException"),
        "{again:?}"
    );
    let values = json!({ ":s": { "S": "done" } }).to_string();
    let counted = aws.run(&[
        "dynamodb",
        "scan",
        "--table-name",
        "progress",
        "--filter-expression",
        "#s = :s",
        "--expression-attribute-names",
        "{\"#s\":\"state\"}",
        "--expression-attribute-values",
        &values,
        "--select",
        "COUNT",
        "--query",
        "Count",
    ]);
    assert_eq!(counted.ok().trim(), "1");
    let account = aws.run(&[
        "sts",
        "get-caller-identity",
        "--query",
        "Account",
        "--output",
        "text",
    ]);
    assert_eq!(account.ok().trim(), spawn_endpoint::ACCOUNT_ID);
}

#[test]
fn presigned_urls_are_good_for_anybody() {
    if !installed() {
        return;
    }
    let (endpoint, client) = Endpoint::with_bucket();
    client.put("/bkt/some key", b"shared").ok();
    let aws = Aws(&endpoint);
    // In a task there is a session token, which the URL carries.
    let url = aws
        .run(&["s3", "presign", "s3://bkt/some key", "--expires-in", "60"])
        .ok();
    let target = url
        .trim()
        .strip_prefix(&format!("http://{}", client.address))
        .unwrap();
    assert!(target.contains("Signature="), "{target}");
    let host = [("host".to_owned(), client.address.to_string())];
    assert_eq!(
        client.exchange("GET", target, &host, b"").ok().text(),
        "shared"
    );
    let record = endpoint.last_record();
    assert_eq!(record.session_token.as_deref(), Some("array-1/7"));
    assert_eq!(client.exchange("DELETE", target, &host, b"").status, 403);
    let past = aws
        .run(&["s3", "presign", "s3://bkt/some key", "--expires-in", "-10"])
        .ok();
    let target = past
        .trim()
        .strip_prefix(&format!("http://{}", client.address))
        .unwrap();
    assert_eq!(client.exchange("GET", target, &host, b"").status, 403);
}

/// Uploads of every kind that boto3 makes over plain HTTP.
const UPLOADS: &str = r#"
import boto3, botocore.config, io, sys, tempfile, urllib.request
class Pipe(io.RawIOBase):
    def __init__(self, data): self.data = io.BytesIO(data)
    def readable(self): return True
    def read(self, size=-1): return self.data.read(size)
big = bytes(range(256)) * 70000
for version in ("s3v4", "s3"):
    config = botocore.config.Config(signature_version=version)
    urls = boto3.client("s3", endpoint_url=sys.argv[1], config=config)
    s3 = boto3.client("s3", endpoint_url=sys.argv[1])
    def same(key, data):
        assert s3.get_object(Bucket="bkt", Key=key)["Body"].read() == data, key
    s3.put_object(Bucket="bkt", Key="bytes", Body=b"small")
    same("bytes", b"small")
    for name in ("CRC32", "CRC32C", "SHA1", "SHA256"):
        try:
            s3.put_object(Bucket="bkt", Key=name, Body=b"small", ChecksumAlgorithm=name)
        except botocore.exceptions.MissingDependencyException:
            continue
        same(name, b"small")
    with tempfile.TemporaryFile() as file:
        file.write(big); file.seek(0)
        s3.put_object(Bucket="bkt", Key="file", Body=file, Metadata={"a": "b"})
    same("file", big)
    s3.upload_fileobj(Pipe(big), "bkt", "pipe")
    same("pipe", big)
    put = urls.generate_presigned_url("put_object", Params={"Bucket": "bkt", "Key": "url"}, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(put, data=big, method="PUT", headers={"Content-Type": ""}))
    same("url", big)
    get = urls.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "url"}, ExpiresIn=60)
    assert urllib.request.urlopen(get).read() == big
print("done")
"#;

#[test]
fn boto3_uploads_of_every_kind() {
    let (endpoint, _) = Endpoint::with_bucket();
    if let Some(ran) = Aws(&endpoint).python(UPLOADS) {
        assert_eq!(ran.ok(), "done\n");
    }
}
