//! An AWS of one process: the embedded endpoint as S3 and DynamoDB, and an instance's metadata and
//! Auto Scaling as small HTTP servers that tests decide about.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod launched;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use spawn_aws::client::{Client, Config};
use spawn_aws::environment::Environment;
use spawn_aws::services::s3::{self, Bucket};
use spawn_endpoint::{Credentials, EndpointConfig, EndpointHandle, start};
use tempfile::TempDir;

pub const REGION: &str = "eu-west-1";
pub const BUCKET: &str = "outputs";

/// The whole of it.
pub struct World {
    pub dir: TempDir,
    pub credentials: Credentials,
    endpoint: EndpointHandle,
    pub scaling: Server,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let credentials = Credentials::load_or_create(&dir.path().join("credentials")).unwrap();
        let endpoint = start(
            TcpListener::bind("127.0.0.1:0").unwrap(),
            EndpointConfig {
                dir: dir.path().join("endpoint"),
                credentials: credentials.clone(),
                on_request: None,
            },
        );
        let world = World {
            dir,
            credentials,
            endpoint: endpoint.unwrap(),
            scaling: Server::start(scaling_answer),
        };
        s3::create_bucket(&world.client(), BUCKET).unwrap();
        world
    }

    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.endpoint.address())
    }

    /// A client of the launching machine.
    pub fn client(&self) -> Client {
        let environment = Environment::of([
            ("AWS_ENDPOINT_URL", self.endpoint_url().as_str()),
            ("AWS_ACCESS_KEY_ID", &self.credentials.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.credentials.secret_access_key),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]);
        Client::new(Config::from_environment(&environment, Some(REGION), None).unwrap())
    }

    pub fn bucket(&self) -> Bucket {
        Bucket::named(BUCKET)
    }

    /// The metadata service of an instance whose role has the endpoint's keys.
    pub fn instance(&self, id: &str) -> Metadata {
        let role = format!(
            r#"{{ "Code" : "Success", "AccessKeyId" : "{}", "SecretAccessKey" : "{}", "Token" : "a/token+=", "Expiration" : "2099-01-01T00:00:00Z" }}"#,
            self.credentials.access_key_id, self.credentials.secret_access_key
        );
        let files = [
            ("instance-id", id),
            ("iam/security-credentials/", "the-role"),
            ("iam/security-credentials/the-role", &role),
        ];
        let files: Files = Arc::new(Mutex::new(
            files.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ));
        let shown = Arc::clone(&files);
        Metadata {
            files,
            server: Server::start(move |request| metadata_answer(&shown.lock().unwrap(), request)),
        }
    }
}

type Files = Arc<Mutex<BTreeMap<String, String>>>;

/// An instance's metadata; what is not there is answered 404.
pub struct Metadata {
    files: Files,
    pub server: Server,
}

impl Metadata {
    pub fn set(&self, path: &str, text: &str) {
        let mut files = self.files.lock().unwrap();
        files.insert(path.to_owned(), text.to_owned());
    }

    pub fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(path);
    }
}

const SESSION: &str = "c2Vzc2lvbg==";

fn metadata_answer(files: &BTreeMap<String, String>, request: &Request) -> (u16, String) {
    if request.first_line.starts_with("PUT /latest/api/token ") {
        return (200, SESSION.to_owned());
    }
    if request.header("x-aws-ec2-metadata-token") != Some(SESSION) {
        return (401, String::new());
    }
    let path = request.first_line.split(' ').nth(1).unwrap_or_default();
    let path = path.strip_prefix("/latest/meta-data/").unwrap_or_default();
    match files.get(path) {
        Some(text) => (200, text.clone()),
        None => (404, String::new()),
    }
}

/// Auto Scaling and EC2 say yes to everything.
fn scaling_answer(request: &Request) -> (u16, String) {
    let action = request.form("Action").unwrap_or_default();
    let body = match action.as_str() {
        "DeleteLaunchTemplate" => {
            "<DeleteLaunchTemplateResponse><requestId>r</requestId></DeleteLaunchTemplateResponse>"
                .to_owned()
        }
        action => format!(
            "<{action}Response><{action}Result/><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
        ),
    };
    (200, body)
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A field of a form, as it is encoded.
    pub fn form(&self, name: &str) -> Option<String> {
        let mut fields = self.body.split('&').filter_map(|f| f.split_once('='));
        let found = fields.find(|(n, _)| *n == name);
        found.map(|(_, value)| value.to_owned())
    }
}

/// An HTTP server that remembers what it was asked.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &noted, &*answer));
            }
        });
        Server { url, asked }
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The actions of all forms, each with a field of it.
    pub fn actions(&self, field: &str) -> Vec<(String, Option<String>)> {
        let asked = self.asked();
        let actions = asked
            .iter()
            .filter_map(|request| Some((request.form("Action")?, request.form(field))));
        actions.collect()
    }
}

fn serve(
    stream: TcpStream,
    noted: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> (u16, String),
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            Some(line.trim_end().to_owned())
        };
        let first_line = line()?;
        let mut headers = Vec::new();
        while let Some((name, value)) = line()?.split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Request {
            first_line,
            headers,
            body: String::new(),
        };
        let length = request.header("content-length").map(str::parse);
        let mut body = vec![0; length.unwrap_or(Ok(0)).ok()?];
        reader.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).ok()?;
        noted.lock().unwrap().push(request.clone());
        let (status, text) = answer(&request);
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        let answer = [head.as_bytes(), text.as_bytes()].concat();
        reader.get_mut().write_all(&answer).ok()?;
    }
}

/// A program that the workspace builds.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_spored-node")).with_file_name(name);
    assert!(path.is_file(), "build the workspace's programs first");
    path
}
