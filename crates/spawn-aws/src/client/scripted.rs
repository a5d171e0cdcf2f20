//! A transport for tests: hands out answers from a list and keeps what was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use crate::client::clock::fake::FakeClock;
use crate::client::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use crate::client::{Client, Config, Overrides, Patience};
use crate::credentials::{Credentials, CredentialsProvider};

pub(crate) type Outcome = Result<HttpResponse, TransportError>;

#[derive(Debug)]
pub(crate) struct Scripted {
    answers: Mutex<VecDeque<Outcome>>,
    pub(crate) asked: Mutex<Vec<(HttpRequest, Duration)>>,
}

impl Scripted {
    pub(crate) fn new(answers: impl IntoIterator<Item = Outcome>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
        })
    }

    pub(crate) fn requests(&self) -> Vec<HttpRequest> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(request, _)| request.clone()).collect()
    }

    /// The bodies of what was asked, as text.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|r| String::from_utf8(r.body.to_vec()).unwrap())
            .collect()
    }
}

impl Transport for Scripted {
    fn send(&self, request: &HttpRequest, timeout: Duration) -> Outcome {
        self.asked.lock().unwrap().push((request.clone(), timeout));
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| panic!("one request too many: {request:?}"))
    }
}

pub(crate) fn status(status: u16, body: &str) -> Outcome {
    Ok(HttpResponse {
        status,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    })
}

pub(crate) fn with_header(answer: Outcome, name: &str, value: &str) -> Outcome {
    let mut answer = answer?;
    answer.headers.push((name.to_owned(), value.to_owned()));
    Ok(answer)
}

pub(crate) fn lost(maybe_executed: bool) -> Outcome {
    Err(TransportError {
        maybe_executed,
        permanent: false,
        message: "connection closed".to_owned(),
    })
}

pub(crate) fn ec2_error(http: u16, code: &str) -> Outcome {
    status(
        http,
        &format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>words</Message></Error></Errors><RequestID>r</RequestID></Response>"
        ),
    )
}

pub(crate) fn client_of(
    transport: &Arc<Scripted>,
    credentials: impl CredentialsProvider + 'static,
) -> (Client, Arc<FakeClock>) {
    // 2026-11-25T12:00:00Z
    let clock = Arc::new(FakeClock::at(
        UNIX_EPOCH + Duration::from_secs(1_795_608_000),
    ));
    let client = Client::new(Config {
        region: "eu-west-1".to_owned(),
        credentials: Arc::new(credentials),
        endpoints: Overrides::default(),
        transport: Arc::clone(transport) as Arc<dyn Transport>,
        clock: Arc::clone(&clock) as _,
        patience: Patience::default(),
    });
    (client, clock)
}

/// A client of scripted answers, with the credentials of AWS's examples.
pub(crate) fn client(
    answers: impl IntoIterator<Item = Outcome>,
) -> (Client, Arc<Scripted>, Arc<FakeClock>) {
    let transport = Scripted::new(answers);
    let keys = Credentials {
        session_token: Some("SESSION".to_owned()),
        ..Credentials::fixed("AKIDEXAMPLE", "SECRET")
    };
    let (client, clock) = client_of(&transport, keys);
    (client, transport, clock)
}
