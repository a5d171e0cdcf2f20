//! S3: `s3s` speaks the protocol and verifies signatures; this module stores.
//!
//! | file | holds |
//! |---|---|
//! | `api.rs` | the operations, one line each |
//! | `buckets.rs`, `objects.rs`, `copies.rs`, `listing.rs`, `multipart/`, `tags.rs` | what they do |
//! | `arrival.rs`, `framing.rs` | a body as it arrives, and the chunks that it may come in |
//! | `conditions.rs` | `If-Match` and its relatives |
//! | `upload.rs` | a body on its way in: digests and checksums |
//! | `download.rs` | a body on its way out |
//! | `blobs.rs` | files that are written once |
//! | `store.rs` | the database that says which blobs are which object |

mod api;
mod arrival;
mod blobs;
mod buckets;
mod checksums;
mod conditions;
mod copies;
mod download;
mod framing;
mod listing;
mod metadata;
mod multipart;
mod objects;
mod store;
mod tags;
mod upload;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Request;
use hyper::body::Incoming;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::path::S3Path;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use subtle::ConstantTimeEq;

use crate::admission::Admission;
use crate::bodies::{Bodies, BodyFault};
use crate::router::{error_code_of, not_taken_in};
use crate::wire::{self, Protocol, Served};
use crate::{Credentials, EndpointError, database};
use arrival::{Arrival, Watch};
use store::Store;

/// Where the store keeps what, below the endpoint's directory.
const DATABASE: &str = "s3.sqlite";
const BLOBS: &str = "blobs";
/// The largest XML document: a thousand keys to delete with every character escaped.
const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// The names of the buckets kept in `dir`, in order. Starts and creates nothing.
///
/// # Errors
/// There is a database and it cannot be read.
pub fn existing_buckets(dir: &Path) -> Result<Vec<String>, EndpointError> {
    let file = dir.join(DATABASE);
    if !file.exists() {
        return Ok(Vec::new());
    }
    let connection = database::open_to_read(&file)?;
    buckets::names(&connection).map_err(|error| database::failed(&file, &error))
}

/// The object store of one endpoint, behind its protocol.
pub(crate) struct ObjectService {
    service: S3Service,
}

impl ObjectService {
    /// Opens or creates the store in `dir`. Blocks; runs inside a runtime.
    pub(crate) fn open(dir: &Path, credentials: &Credentials) -> Result<Self, EndpointError> {
        let store = Arc::new(Store::open(&dir.join(DATABASE), dir.join(BLOBS))?);
        let sweep = Arc::clone(&store);
        tokio::task::spawn_blocking(move || sweep.remove_orphans());
        let mut builder = S3ServiceBuilder::new(api::Api { store });
        builder.set_auth(OneKey(credentials.clone()));
        builder.set_access(Signed);
        let mut config = S3Config::default();
        config.xml_max_body_size = MAX_DOCUMENT;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Ok(Self {
            service: builder.build(),
        })
    }

    /// Answers one request whose head was judged. Its signature is verified here, and then it is
    /// admitted.
    pub(crate) async fn serve(
        &self,
        request: Request<Incoming>,
        admission: &Admission,
        bodies: &Arc<Bodies>,
    ) -> Served {
        let understood = Understood::default();
        let watch = Watch::default();
        let method = request.method().to_string();
        let (parts, body) = request.into_parts();
        let arrival = Arrival::new(body, &parts.headers, bodies, watch.clone());
        let mut request = Request::from_parts(parts, s3s::Body::http_body(arrival));
        request.extensions_mut().insert(watch.clone());
        request.extensions_mut().insert(understood.clone());
        request.extensions_mut().insert(admission.clone());
        let reply = self.service.call(request).await.unwrap_or_else(|_| {
            let message = "The request could not be answered";
            let status = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            wire::error(Protocol::S3, status, "InternalError", message)
        });
        let (operation, resource) = understood.take().unwrap_or((method, None));
        if let Some(fault) = watch.fault().filter(|_| !reply.status().is_success()) {
            let served = not_taken_in(Protocol::S3, operation, &fault);
            return Served { resource, ..served };
        }
        Served {
            error_code: error_code_of(&reply),
            reply,
            operation,
            resource,
        }
    }
}

/// Which operation on what a request was found to be, carried out of `s3s` for the record.
#[derive(Clone, Default)]
struct Understood(Arc<Mutex<Option<Meaning>>>);

/// An operation, and the bucket or object it is about.
type Meaning = (String, Option<String>);

impl Understood {
    fn set(&self, operation: String, resource: Option<String>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some((operation, resource));
    }

    fn take(&self) -> Option<Meaning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Knows one key pair.
struct OneKey(Credentials);

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if bool::from(access_key.as_bytes().ct_eq(self.0.access_key_id.as_bytes())) {
            Ok(SecretKey::from(self.0.secret_access_key.as_str()))
        } else {
            Err(s3_error!(
                InvalidAccessKeyId,
                "This is the local endpoint, and the access key is not its own"
            ))
        }
    }
}

/// Lets every signed request do everything, and an unsigned one nothing.
struct Signed;

#[async_trait::async_trait]
impl S3Access for Signed {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name().to_owned();
        let resource = match context.s3_path() {
            S3Path::Root => None,
            S3Path::Bucket { bucket } => Some(bucket.to_string()),
            S3Path::Object { bucket, key } => Some(format!("{bucket}/{key}")),
        };
        let is_upload = matches!(operation.as_str(), "PutObject" | "UploadPart");
        if let Some(understood) = context.extensions_mut().get::<Understood>() {
            understood.set(operation, resource);
        }
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "The request is not signed"));
        }
        let Some(admission) = context.extensions_mut().get::<Admission>().cloned() else {
            return Err(s3_error!(AccessDenied, "The request was not judged"));
        };
        admission.admit();
        let length = context.headers().get("content-length");
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let is_open_ended = context.headers().contains_key("transfer-encoding");
        let unknown = if is_open_ended { MAX_DOCUMENT } else { 0 };
        let length: usize = length.unwrap_or(unknown);
        if is_upload {
            admission.pass(length);
            return Ok(());
        }
        // Whatever else has a body has an XML document, which is held in memory.
        if length > MAX_DOCUMENT {
            return Err(s3_error!(
                MaxMessageLengthExceeded,
                "{}",
                BodyFault::TooLarge
            ));
        }
        if let Some(watch) = context.extensions_mut().get::<Watch>() {
            watch.expect_document();
        }
        match admission.reserve(length).await {
            Ok(()) => Ok(()),
            Err(BodyFault::NoRoom) => Err(s3_error!(SlowDown, "{}", BodyFault::NoRoom)),
            Err(fault) => Err(s3_error!(MaxMessageLengthExceeded, "{}", fault)),
        }
    }
}
