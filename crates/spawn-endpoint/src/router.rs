//! From a request to the service it is for, and from its answer to the record of it.

use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::{OnceCell, watch};

use crate::dynamodb::Tables;
use crate::s3::ObjectService;
use crate::server::{Activity, EndpointConfig, InFlight};
use crate::sigv4::{self, Authorization};
use crate::sqs::{Caller, Queues};
use crate::wire::{self, Protocol, Reply, Served};
use crate::{EndpointError, RequestRecord, percent, sts};

/// No request but S3's is larger: DynamoDB takes 16 MB, SQS 1 MiB (a third more in base64).
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The services of one endpoint, each opened by its first request.
pub(crate) struct Router {
    config: EndpointConfig,
    activity: Arc<Activity>,
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
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            config,
            activity,
            stopped,
            lock: OnceCell::new(),
            objects: OnceCell::new(),
            queues: OnceCell::new(),
            tables: OnceCell::new(),
        }
    }

    /// Answers one request and reports it.
    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Response<CountedBody> {
        let in_flight = self.activity.begin();
        let service = service_of(request.method(), request.headers());
        let session_token = session_token(&request);
        let served = if service == "s3" {
            self.serve_s3(request).await
        } else {
            self.serve_other(&service, request).await
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
            _in_flight: in_flight,
        })
    }

    async fn serve_s3(&self, request: Request<Incoming>) -> Served {
        let method = request.method().to_string();
        match self.objects().await {
            Ok(objects) => objects.serve(request).await,
            Err(error) => unavailable(Protocol::Query, method, &error),
        }
    }

    async fn serve_other(&self, service: &str, request: Request<Incoming>) -> Served {
        let (parts, body) = request.into_parts();
        let protocol = protocol_of(&parts.headers);
        let method = parts.method.to_string();
        let refused = |status, code: &str, message: &str| Served {
            reply: wire::error(protocol, status, code, message),
            operation: method.clone(),
            resource: None,
            error_code: Some(code.to_owned()),
        };
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            let message = "The request is too large or was cut short";
            return refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                message,
            );
        };
        let body = body.to_bytes();
        let verified = sigv4::verify(&parts, &body, &self.config.credentials, SystemTime::now());
        if let Err(why) = verified {
            let (reply, code) = wire::denied(protocol, &why);
            return Served {
                reply,
                operation: target_of(&parts.headers).unwrap_or(method),
                resource: None,
                error_code: Some(code.to_owned()),
            };
        }
        match service {
            "sqs" => self.serve_sqs(protocol, &parts, body).await,
            "dynamodb" => self.serve_dynamodb(&parts, body).await,
            "sts" => sts::serve(&body),
            other => {
                let message =
                    format!("`{other}` is not part of the local endpoint (s3, sqs, dynamodb, sts)");
                refused(StatusCode::NOT_IMPLEMENTED, "NotImplemented", &message)
            }
        }
    }

    async fn serve_sqs(&self, protocol: Protocol, parts: &Parts, body: Bytes) -> Served {
        let caller = Caller {
            host: header(&parts.headers, "host").unwrap_or_default(),
            region: Authorization::of(&parts.headers)
                .map_or_else(|| "us-east-1".to_owned(), |a| a.region.to_owned()),
            target: header(&parts.headers, "x-amz-target"),
            path: parts.uri.path().to_owned(),
        };
        match self.queues().await {
            Ok(queues) => {
                queues
                    .serve(protocol, caller, &body, self.stopped.clone())
                    .await
            }
            Err(error) => unavailable(protocol, parts.method.to_string(), &error),
        }
    }

    async fn serve_dynamodb(&self, parts: &Parts, body: Bytes) -> Served {
        let target = header(&parts.headers, "x-amz-target").unwrap_or_default();
        let tables = match self.tables().await {
            Ok(tables) => Arc::clone(tables),
            Err(error) => return unavailable(Protocol::Json, parts.method.to_string(), &error),
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

fn unavailable(protocol: Protocol, operation: String, error: &EndpointError) -> Served {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Served {
        reply: wire::error(
            protocol,
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            &message,
        ),
        operation,
        resource: None,
        error_code: Some("InternalError".to_owned()),
    }
}

/// The service a request is for: what it is signed for, else what its target says, else S3.
fn service_of(method: &Method, headers: &HeaderMap) -> String {
    if let Some(authorization) = Authorization::of(headers) {
        return authorization.service.to_owned();
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
        let query = request.uri().query()?;
        query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.eq_ignore_ascii_case("x-amz-security-token")
                .then(|| String::from_utf8_lossy(&percent::decode(value)).into_owned())
        })
    })
}

/// A response body that counts as a request in flight until it is sent or dropped.
pub(crate) struct CountedBody {
    body: s3s::Body,
    _in_flight: InFlight,
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
