//! One call, from its parts to its answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;

use crate::client::clock::{Clock, SystemClock};
use crate::client::error::{AwsError, ErrorKind, classify, may_be_skew};
use crate::client::retry::{Pace, Patience, Safety, may_send_again};
use crate::client::service::{Endpoint, Overrides, Service};
use crate::client::sign::sign;
use crate::client::transport::{HttpRequest, HttpResponse, HttpTransport, Method, Transport};
use crate::client::xml;
use crate::credentials::{
    CachedCredentials, Chain, Credentials, CredentialsProvider, EMBEDDED_KEY_PREFIX, Profiles,
};
use crate::environment::Environment;

/// What a client needs. [`Config::from_environment`] finds it as the AWS SDKs do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The region of all regional services.
    pub region: String,
    /// Where credentials come from; asked again when they near their end.
    pub credentials: Arc<dyn CredentialsProvider>,
    /// Addresses that are not AWS's own.
    pub endpoints: Overrides,
    /// How calls are sent.
    pub transport: Arc<dyn Transport>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Attempts, backoffs, deadlines.
    pub patience: Patience,
}

impl Config {
    /// Region, credentials, addresses and certificates as the environment and the AWS files say;
    /// `region` and `profile` override them.
    ///
    /// # Errors
    /// The files or the CA bundle cannot be read, or no region is named anywhere.
    pub fn from_environment(
        environment: &Environment,
        region: Option<&str>,
        profile: Option<&str>,
    ) -> Result<Self, AwsError> {
        let bad =
            |message: String| AwsError::new("AWS", "configuration", ErrorKind::Validation, message);
        let profiles = Profiles::load(environment, profile).map_err(|e| bad(e.to_string()))?;
        let roots = environment
            .var("AWS_CA_BUNDLE")
            .or_else(|| profiles.value(profiles.selected(), "ca_bundle"))
            .map(|path| std::fs::read(path).map_err(|e| bad(format!("CA bundle `{path}`: {e}"))))
            .transpose()?;
        let transport = HttpTransport::for_aws(roots.as_deref()).map_err(|e| bad(e.to_string()))?;
        let region = region
            .or_else(|| environment.var("AWS_REGION"))
            .or_else(|| environment.var("AWS_DEFAULT_REGION"))
            .or_else(|| profiles.value(profiles.selected(), "region"))
            .ok_or_else(|| {
                bad("no region is named; set AWS_REGION, or `region` in the profile".to_owned())
            })?
            .to_owned();
        let endpoints = Overrides::from_environment(environment, &profiles);
        let mut config = Self {
            region,
            credentials: Arc::new(crate::credentials::NoCredentials),
            endpoints,
            transport: Arc::new(transport),
            clock: Arc::new(SystemClock::default()),
            patience: Patience::default(),
        };
        config.credentials = Arc::new(Chain::new(
            environment,
            profiles,
            profile.is_some(),
            &config,
        ));
        Ok(config)
    }
}

/// One call of an operation, before it is signed.
#[derive(Clone)]
pub struct Call {
    /// The service.
    pub service: &'static Service,
    /// The operation's name.
    pub operation: &'static str,
    /// Whether it may be sent twice.
    pub safety: Safety,
    /// The method.
    pub method: Method,
    /// The path below the endpoint, encoded, beginning with a slash.
    pub path: String,
    /// Query pairs, not encoded.
    pub query: Vec<(String, String)>,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Arc<[u8]>,
    /// A bucket: the host's first label at AWS, the path's first part at named addresses.
    pub bucket: Option<String>,
    /// Only for this call: a total deadline other than the client's.
    pub deadline: Option<Duration>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("service", &self.service.name)
            .field("operation", &self.operation)
            .field("safety", &self.safety)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A POST to `/` without headers and body.
    #[must_use]
    pub fn new(service: &'static Service, operation: &'static str, safety: Safety) -> Self {
        Self {
            service,
            operation,
            safety,
            method: Method::Post,
            path: "/".to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Arc::from(&b""[..]),
            bucket: None,
            deadline: None,
        }
    }

    /// Adds a header; the name is in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// An error of this call that no answer says.
    #[must_use]
    pub fn error(&self, kind: ErrorKind, message: impl Into<String>) -> AwsError {
        AwsError::new(self.service.name, self.operation, kind, message)
    }
}

/// A successful answer.
#[derive(Debug)]
pub struct Answer {
    /// What came.
    pub response: HttpResponse,
    /// How often the call was sent.
    pub attempts: u32,
}

/// Signs, sends and retries calls. Cheap to clone; clones share connections, credentials and pace.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    config: Config,
    credentials: Arc<CachedCredentials>,
    paces: Mutex<BTreeMap<&'static str, Pace>>,
    /// Seconds to add to the machine's clock to have AWS's.
    skew: AtomicI64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("region", &self.0.config.region)
            .field("endpoints", &self.0.config.endpoints)
            .finish_non_exhaustive()
    }
}

/// Clocks closer than this are not why a signature was refused.
const TOLERATED_SKEW: i64 = 60;

impl Client {
    /// A client; nothing is sent or asked yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Shared {
            credentials: Arc::new(CachedCredentials::new(
                Arc::clone(&config.credentials),
                Arc::clone(&config.clock),
            )),
            config,
            paces: Mutex::default(),
            skew: AtomicI64::new(0),
        }))
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.0.config.region
    }

    /// The same client for another region; it shares nothing but the configuration.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self::new(Config {
            region: region.to_owned(),
            ..self.0.config.clone()
        })
    }

    /// The same client with another patience; it shares the connections and the credentials.
    #[must_use]
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self(Arc::new(Shared {
            config: Config {
                patience,
                ..self.0.config.clone()
            },
            credentials: Arc::clone(&self.0.credentials),
            paces: Mutex::default(),
            skew: AtomicI64::new(self.0.skew.load(Ordering::Relaxed)),
        }))
    }

    /// Where a service is, for this client's region.
    ///
    /// # Errors
    /// It has no address there: [`ErrorKind::Validation`].
    pub fn endpoint(&self, service: &'static Service) -> Result<Endpoint, AwsError> {
        let Config {
            endpoints, region, ..
        } = &self.0.config;
        endpoints.resolve(service, region, "endpoint")
    }

    /// Time and chance.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.config.clock
    }

    /// AWS's time, as far as answers have told.
    #[must_use]
    pub fn aws_now(&self) -> SystemTime {
        let skew = self.0.skew.load(Ordering::Relaxed);
        let by = Duration::from_secs(skew.unsigned_abs());
        let now = self.0.config.clock.wall();
        if skew < 0 { now - by } else { now + by }
    }

    /// Sends a call until it has an answer that stands.
    ///
    /// # Errors
    /// The last answer is an error, or there is none in time.
    pub fn send(&self, call: &Call) -> Result<Answer, AwsError> {
        let Config {
            endpoints,
            clock,
            patience,
            region,
            ..
        } = &self.0.config;
        let endpoint = endpoints.resolve(call.service, region, call.operation)?;
        let started = clock.monotonic();
        let deadline = started + call.deadline.unwrap_or(patience.call);
        let mut attempts = 0;
        let mut in_doubt = false;
        let mut clock_corrected = false;
        let mut credentials_renewed = false;
        loop {
            let credentials = self.credentials(call, &endpoint)?;
            self.wait_for_turn(call, deadline)?;
            attempts += 1;
            let left = deadline.saturating_sub(clock.monotonic());
            let timeout = patience.attempt.min(left).max(Duration::from_millis(10));
            let mut error = match self.attempt(call, &endpoint, &credentials, timeout) {
                Ok(response) => return Ok(Answer { response, attempts }),
                Err(error) => error,
            };
            let this_in_doubt = error.maybe_executed;
            in_doubt |= this_in_doubt;
            error.details().attempts = attempts;
            error.details().maybe_executed = in_doubt;

            let throttled = error.kind == ErrorKind::Throttled;
            if throttled && call.safety != Safety::Read {
                self.with_pace(call.service, |pace| pace.throttled(clock.monotonic()));
            }
            if attempts >= patience.attempts {
                return Err(error);
            }
            if !clock_corrected && self.corrected_clock(&mut error) {
                clock_corrected = true;
                continue;
            }
            if !credentials_renewed && self.renewed_credentials(&error) {
                credentials_renewed = true;
                continue;
            }
            if !may_send_again(call.safety, error.kind, this_in_doubt) || error.permanent {
                return Err(error);
            }
            let rest = patience.backoff(attempts, throttled, clock.random());
            if clock.monotonic() + rest >= deadline {
                return Err(error);
            }
            clock.sleep(rest);
        }
    }

    /// Credentials for an endpoint. Those of spawn's own endpoint never go to AWS.
    fn credentials(&self, call: &Call, endpoint: &Endpoint) -> Result<Credentials, AwsError> {
        let credentials = self
            .0
            .credentials
            .get(self.aws_now())
            .map_err(|e| call.error(ErrorKind::Credentials, e.to_string()))?;
        if endpoint.is_aws() && credentials.access_key_id.starts_with(EMBEDDED_KEY_PREFIX) {
            return Err(call.error(
                ErrorKind::Credentials,
                "the credentials in use are those of spawn's own endpoint and are not sent to AWS; run `eval \"$(spawn env --off)\"` first",
            ));
        }
        Ok(credentials)
    }

    fn with_pace<T>(&self, service: &'static Service, act: impl FnOnce(&mut Pace) -> T) -> T {
        let mut paces = self.0.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces
            .entry(service.variable)
            .or_insert_with(|| Pace::new(service.pace, self.0.config.clock.monotonic()));
        act(pace)
    }

    fn wait_for_turn(&self, call: &Call, deadline: Duration) -> Result<(), AwsError> {
        if call.safety == Safety::Read {
            return Ok(());
        }
        let clock = &self.0.config.clock;
        let now = clock.monotonic();
        let rest = self.with_pace(call.service, |pace| pace.take(now));
        if now + rest >= deadline {
            self.with_pace(call.service, Pace::give_back);
            return Err(call.error(
                ErrorKind::Throttled,
                "too many changing calls at once to send this one in time",
            ));
        }
        if !rest.is_zero() {
            clock.sleep(rest);
        }
        Ok(())
    }

    fn attempt(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        credentials: &Credentials,
        timeout: Duration,
    ) -> Result<HttpResponse, AwsError> {
        let mut request = HttpRequest {
            method: call.method,
            url: address(call, endpoint),
            headers: call.headers.clone(),
            body: Arc::clone(&call.body),
        };
        sign(
            &mut request,
            credentials,
            &endpoint.signing_region,
            call.service.signing,
            self.aws_now(),
        )
        .map_err(|m| call.error(ErrorKind::Validation, m))?;
        let response = self
            .0
            .config
            .transport
            .send(&request, timeout)
            .map_err(|e| {
                let mut error = call.error(ErrorKind::Network, e.message);
                error.details().maybe_executed = e.maybe_executed;
                error.details().permanent = e.permanent;
                error
            })?;
        match response.status {
            200..=299 => Ok(response),
            _ => Err(error_of(call, response, credentials)),
        }
    }

    /// Takes over AWS's time if a refusal may be due to the machine's clock.
    fn corrected_clock(&self, error: &mut AwsError) -> bool {
        let Some(date) = error.details().date.take() else {
            return false;
        };
        if !may_be_skew(&error.code) {
            return false;
        }
        let now = self.0.config.clock.wall();
        let skew = match date.duration_since(now) {
            Ok(ahead) => ahead.as_secs().cast_signed(),
            Err(behind) => -behind.duration().as_secs().cast_signed(),
        };
        let known = self.0.skew.load(Ordering::Relaxed);
        if (skew - known).abs() <= TOLERATED_SKEW {
            return false;
        }
        self.0.skew.store(skew, Ordering::Relaxed);
        true
    }

    fn renewed_credentials(&self, error: &AwsError) -> bool {
        error.kind == ErrorKind::Expired && self.0.credentials.renew()
    }
}

fn address(call: &Call, endpoint: &Endpoint) -> String {
    let mut url = match &call.bucket {
        // Certificates of AWS cover one label: a bucket with a dot goes into the path.
        Some(bucket) if endpoint.overridden || bucket.contains('.') => {
            format!("{}/{bucket}{}", endpoint.url, call.path)
        }
        Some(bucket) => endpoint.url.replacen("://", &format!("://{bucket}."), 1) + &call.path,
        None => format!("{}{}", endpoint.url, call.path),
    };
    if !call.query.is_empty() {
        url.push('?');
        url.push_str(&crate::client::percent::pairs(&call.query));
    }
    url
}

fn error_of(call: &Call, response: HttpResponse, credentials: &Credentials) -> AwsError {
    let status = response.status;
    let document: Option<serde_json::Value> = serde_json::from_slice(&response.body)
        .ok()
        .filter(serde_json::Value::is_object);
    let mut found = match &document {
        Some(json) => xml::ErrorDocument {
            code: json["__type"]
                .as_str()
                .or(json["code"].as_str())
                .unwrap_or_default()
                .to_owned(),
            message: ["message", "Message", "errorMessage"]
                .iter()
                .find_map(|name| json[*name].as_str())
                .unwrap_or_default()
                .to_owned(),
            ..Default::default()
        },
        None => xml::read_error(&response.body),
    };
    if found.code.is_empty() {
        // Answers to HEAD have no body; of those, the status is all there is.
        found.code = response
            .header("x-amzn-errortype")
            .unwrap_or_default()
            .to_owned();
    }
    // `com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException:http://...`
    let code = found.code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let kind = classify(code, status);
    let mut error = call.error(kind, hide_secrets(&found.message, credentials));
    let details = error.details();
    details.code = code.to_owned();
    details.status = status;
    details.maybe_executed =
        status >= 500 && matches!(kind, ErrorKind::Unavailable | ErrorKind::Other);
    details.request_id = found
        .request_id
        .or_else(|| response.header("x-amzn-requestid").map(str::to_owned))
        .or_else(|| response.header("x-amz-request-id").map(str::to_owned));
    details.bucket_region = response
        .header("x-amz-bucket-region")
        .map(str::to_owned)
        .or(found.region);
    details.date = response.header("date").and_then(parse_date);
    details.document = document;
    error
}

/// A refused signature's message repeats the request, its session token included.
fn hide_secrets(message: &str, credentials: &Credentials) -> String {
    let mut message = message.to_owned();
    let token = credentials.session_token.as_deref().unwrap_or_default();
    for secret in [credentials.secret_access_key.as_str(), token] {
        if !secret.is_empty() {
            message = message.replace(secret, "(hidden)");
        }
    }
    message
}

fn parse_date(text: &str) -> Option<SystemTime> {
    let zoned = rfc2822::parse(&text.replace("GMT", "+0000")).ok()?;
    Some(SystemTime::from(zoned.timestamp()))
}
