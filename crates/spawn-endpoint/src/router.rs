//! From a request to the service it is for, and from its answer to the record of it.

use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::{OnceCell, watch};

use crate::admission::{Admission, Admitted};
use crate::authorization::{Authorization, Query};
use crate::bodies::{Bodies, BodyFault};
use crate::dynamodb::Tables;
use crate::guests::Guest;
use crate::judge::{Denied, judge, judge_s3};
use crate::s3::ObjectService;
use crate::server::{Activity, EndpointConfig};
use crate::sigv4;
use crate::sqs::{Caller, Queues};
use crate::wire::{self, Protocol, Reply, Served};
use crate::{EndpointError, RequestRecord, disk, sts};

/// The services of one endpoint, each opened by its first request.
pub(crate) struct Router {
    config: EndpointConfig,
    activity: Arc<Activity>,
    bodies: Arc<Bodies>,
    stopped: watch::Receiver<bool>,
    lock: OnceCell<File>,
    objects: OnceCell<ObjectService>,
    queues: OnceCell<Arc<Queues>>,
    tables: OnceCell<Arc<Tables>>,
}

impl Router {
    pub(crate) fn new(
        config: EndpointConfig,
        activity: Arc<Activity>,
        bodies: Arc<Bodies>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            config,
            activity,
            bodies,
            stopped,
            lock: OnceCell::new(),
            objects: OnceCell::new(),
            queues: OnceCell::new(),
            tables: OnceCell::new(),
        }
    }

    /// Answers one request of `guest` and reports it.
    pub(crate) async fn serve(
        &self,
        request: Request<Incoming>,
        guest: &Arc<Guest>,
    ) -> Response<CountedBody> {
        let admission = Admission::new(&self.activity, guest, &self.bodies);
        let service = service_of(request.method(), request.headers());
        let session_token = session_token(&request);
        let served = if service == "s3" {
            self.serve_s3(request, &admission).await
        } else {
            self.serve_other(&service, request, &admission).await
        };
        if let Some(hook) = &self.config.on_request {
            hook(&RequestRecord {
                service,
                operation: served.operation,
                status: served.reply.status().as_u16(),
                error_code: served.error_code,
                session_token,
                resource: served.resource,
            });
        }
        served.reply.map(|body| CountedBody {
            body,
            _admitted: admission.take(),
        })
    }

    async fn serve_s3(&self, request: Request<Incoming>, admission: &Admission) -> Served {
        let (mut parts, body) = request.into_parts();
        let method = parts.method.to_string();
        if let Err(why) = judge_s3(&parts, &self.config.credentials, SystemTime::now()) {
            return denied(Protocol::S3, method, &why);
        }
        take_headers_from_query(&mut parts);
        match self.objects().await {
            Ok(objects) => {
                let request = Request::from_parts(parts, body);
                objects.serve(request, admission, &self.bodies).await
            }
            Err(error) => self.unavailable(Protocol::S3, method, &error),
        }
    }

    async fn serve_other(
        &self,
        service: &str,
        request: Request<Incoming>,
        admission: &Admission,
    ) -> Served {
        let (parts, body) = request.into_parts();
        let protocol = protocol_of(&parts.headers);
        let operation = || target_of(&parts.headers).unwrap_or_else(|| parts.method.to_string());
        let authorization = match judge(&parts, &self.config.credentials, SystemTime::now()) {
            Ok(authorization) => authorization,
            Err(why) => return denied(protocol, operation(), &why),
        };
        if !matches!(service, "sqs" | "dynamodb" | "sts") {
            let message =
                format!("`{service}` is not part of the local endpoint (s3, sqs, dynamodb, sts)");
            let code = "NotImplemented";
            return Served {
                reply: closing(wire::error(
                    protocol,
                    StatusCode::NOT_IMPLEMENTED,
                    code,
                    &message,
                )),
                operation: parts.method.to_string(),
                resource: None,
                error_code: Some(code.to_owned()),
            };
        }
        let (body, room) = match self.bodies.read(body).await {
            Ok(read) => read,
            Err(fault) => return not_taken_in(protocol, operation(), &fault),
        };
        admission.keep(room);
        if let Err(why) = sigv4::verify(&parts, &authorization, &body, &self.config.credentials) {
            return denied(protocol, operation(), &why);
        }
        admission.admit();
        match service {
            "sqs" => self.serve_sqs(protocol, &parts, body).await,
            "dynamodb" => self.serve_dynamodb(&parts, body).await,
            _ => sts::serve(&body),
        }
    }

    async fn serve_sqs(&self, protocol: Protocol, parts: &Parts, body: Bytes) -> Served {
        let caller = Caller {
            host: header(&parts.headers, "host").unwrap_or_default(),
            region: Authorization::of(&parts.headers)
                .map_or_else(|| "us-east-1".to_owned(), |a| a.scope.region.to_owned()),
            target: header(&parts.headers, "x-amz-target"),
            path: parts.uri.path().to_owned(),
        };
        match self.queues().await {
            Ok(queues) => {
                queues
                    .serve(protocol, caller, &body, self.stopped.clone())
                    .await
            }
            Err(error) => self.unavailable(protocol, parts.method.to_string(), &error),
        }
    }

    async fn serve_dynamodb(&self, parts: &Parts, body: Bytes) -> Served {
        let target = header(&parts.headers, "x-amz-target").unwrap_or_default();
        let tables = match self.tables().await {
            Ok(tables) => Arc::clone(tables),
            Err(error) => {
                return self.unavailable(Protocol::Json, parts.method.to_string(), &error);
            }
        };
        let answer = tokio::task::spawn_blocking(move || tables.serve(&target, &body)).await;
        answer.unwrap_or_else(|_| Served {
            reply: wire::error(
                Protocol::Json,
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "The request ended the thread that served it",
            ),
            operation: target_of(&parts.headers).unwrap_or_default(),
            resource: None,
            error_code: Some("InternalServerError".to_owned()),
        })
    }

    async fn objects(&self) -> Result<&ObjectService, EndpointError> {
        let dir = self.dir().await?;
        self.objects
            .get_or_try_init(|| async {
                let credentials = self.config.credentials.clone();
                blocking(move || ObjectService::open(&dir, &credentials)).await
            })
            .await
    }

    async fn queues(&self) -> Result<&Arc<Queues>, EndpointError> {
        let dir = self.dir().await?;
        self.queues
            .get_or_try_init(|| {
                blocking(move || Queues::open(&dir.join("sqs.sqlite")).map(Arc::new))
            })
            .await
    }

    async fn tables(&self) -> Result<&Arc<Tables>, EndpointError> {
        let dir = self.dir().await?;
        self.tables
            .get_or_try_init(|| async {
                let open = move || Tables::open(&dir.join("dynamodb.sqlite")).map(Arc::new);
                let tables = blocking(open).await?;
                tables.sweep_in_background();
                Ok(tables)
            })
            .await
    }

    /// The endpoint's directory, created and locked against a second process.
    async fn dir(&self) -> Result<PathBuf, EndpointError> {
        let dir = self.config.dir.clone();
        self.lock
            .get_or_try_init(|| {
                let dir = dir.clone();
                blocking(move || lock(dir))
            })
            .await?;
        Ok(dir)
    }

    /// The answer of a service that cannot be opened.
    fn unavailable(&self, protocol: Protocol, operation: String, error: &EndpointError) -> Served {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        let dir = &self.config.dir;
        let full = disk::is_full(error) || disk::says_full(&message) || disk::has_no_room(dir);
        let (status, code) = if full {
            message = disk::message(dir);
            (disk::STATUS, disk::CODE)
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        };
        Served {
            reply: wire::error(protocol, status, code, &message),
            operation,
            resource: None,
            error_code: Some(code.to_owned()),
        }
    }
}

fn lock(dir: PathBuf) -> Result<File, EndpointError> {
    let unusable = |action, source| EndpointError::File {
        action,
        path: dir.clone(),
        source,
    };
    std::fs::create_dir_all(&dir).map_err(|source| unusable("create", source))?;
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(|source| unusable("write to", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(EndpointError::InUse { path: dir }),
        Err(std::fs::TryLockError::Error(source)) => Err(unusable("lock", source)),
    }
}

async fn blocking<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, EndpointError> + Send + 'static,
) -> Result<T, EndpointError> {
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => opened,
        Err(error) => Err(EndpointError::Start {
            source: std::io::Error::other(error),
        }),
    }
}

/// The service a request is for: what it is signed for, else what its target says, else S3.
fn service_of(method: &Method, headers: &HeaderMap) -> String {
    if let Some(authorization) = Authorization::of(headers) {
        return authorization.scope.service.to_owned();
    }
    let target = header(headers, "x-amz-target").unwrap_or_default();
    let form = "application/x-www-form-urlencoded";
    let content_type = header(headers, "content-type").unwrap_or_default();
    let service = if target.starts_with("AmazonSQS.") {
        "sqs"
    } else if target.starts_with("DynamoDB") {
        "dynamodb"
    } else if *method == Method::POST && content_type.starts_with(form) {
        // An unsigned call in the query protocol, which S3 does not speak; it will be refused.
        "sts"
    } else {
        "s3"
    };
    service.to_owned()
}

fn protocol_of(headers: &HeaderMap) -> Protocol {
    if headers.contains_key("x-amz-target") {
        Protocol::Json
    } else {
        Protocol::Query
    }
}

/// The operation in `X-Amz-Target`, without the service in front of it.
fn target_of(headers: &HeaderMap) -> Option<String> {
    let target = header(headers, "x-amz-target")?;
    Some(target.rsplit('.').next().unwrap_or_default().to_owned())
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// In a header, or in the query of a presigned URL.
fn session_token<B>(request: &Request<B>) -> Option<String> {
    header(request.headers(), "x-amz-security-token").or_else(|| {
        let query = Query::of(request.uri());
        let mut pairs = query.iter();
        let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case("x-amz-security-token"));
        found.map(|(_, value)| value.to_owned())
    })
}

/// Presigned URLs of version 2 carry in their query the headers that they are signed with, which is
/// where a plain client leaves them. `s3s` looks for them among the headers, with their values.
fn take_headers_from_query(parts: &mut Parts) {
    let query = Query::of(&parts.uri);
    if query.get("AWSAccessKeyId").is_none() {
        return;
    }
    for (name, value) in query.iter() {
        let name = name.to_ascii_lowercase();
        let hoisted = name.starts_with("x-amz-") || name == "content-md5" || name == "content-type";
        if !hoisted || parts.headers.contains_key(&name) {
            continue;
        }
        // What is no header would not fit the signature either.
        if let (Ok(name), Ok(value)) = (
            hyper::header::HeaderName::try_from(name),
            HeaderValue::from_str(value),
        ) {
            parts.headers.insert(name, value);
        }
    }
}

/// The answer to a request that is refused for its signature. The body was not read, or is not worth
/// reading on for.
fn denied(protocol: Protocol, operation: String, why: &Denied) -> Served {
    let (reply, code) = wire::denied(protocol, why);
    Served {
        reply: closing(reply),
        operation,
        resource: None,
        error_code: Some(code.to_owned()),
    }
}

/// The answer to a request whose body was not taken in.
pub(crate) fn not_taken_in(protocol: Protocol, operation: String, fault: &BodyFault) -> Served {
    let (reply, code) = fault.answer(protocol);
    Served {
        reply: closing(reply),
        operation,
        resource: None,
        error_code: Some(code.to_owned()),
    }
}

/// The connection is not used again: what is left of the body stands in the way.
fn closing(mut reply: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}

/// A response body that holds what its request was admitted with until it is sent or dropped.
pub(crate) struct CountedBody {
    body: s3s::Body,
    _admitted: Admitted,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The error code in an XML error body, if the answer is an error and its body is at hand.
pub(crate) fn error_code_of(reply: &Reply) -> Option<String> {
    let status = reply.status();
    if status.is_success() {
        return None;
    }
    let body = reply.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code.to_owned());
    Some(code.unwrap_or_else(|| status.as_str().to_owned()))
}
