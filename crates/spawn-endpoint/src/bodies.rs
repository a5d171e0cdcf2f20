//! Request bodies on their way in: how much of them is in memory at once, and how long one may take.
//!
//! S3 writes objects to the disk as they arrive. Everything else has to be whole before it means
//! anything: the requests of SQS, DynamoDB and STS, XML documents of S3, and chunks that are signed
//! one by one. All of these share one bound. A request that finds no room waits for it unread, which
//! costs nothing, and is told to come again if it waits too long.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::memory;
use crate::timed::Timed;
use crate::wire::{self, Protocol, Reply};

/// No body that has to be whole in memory is larger: DynamoDB takes 16 MB, SQS 1 MiB (a third more
/// in base64).
pub(crate) const MAX_BODY: usize = 16 * 1024 * 1024;
/// From this size on, freed memory is handed back to the system by hand.
const LARGE: usize = 256 * 1024;
/// How long the endpoint must hold no body before it hands memory back.
const QUIET: Duration = Duration::from_millis(200);
/// Room is counted in these, so that it fits a semaphore of any size.
const UNIT: usize = 1024;

/// The bounds on bodies that are read into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of all such bodies together.
    pub room: usize,
    /// How long a request waits for room before it is told to come again.
    pub wait: Duration,
    /// How long a body may pause. It holds for bodies that go to the disk, too.
    pub pause: Duration,
    /// How long a body that is read into memory may take altogether.
    pub whole: Duration,
}

impl Default for BodyLimits {
    /// Room for four of the largest requests, or for 64 of the largest messages.
    fn default() -> Self {
        Self {
            room: 4 * MAX_BODY,
            wait: Duration::from_secs(10),
            pause: Duration::from_secs(30),
            whole: Duration::from_secs(60),
        }
    }
}

/// Why a body was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is larger than any request may be.
    TooLarge,
    /// The connection ended first.
    CutShort,
    /// It paused too long, or took too long altogether.
    Stalled,
    /// There was no room in memory for it.
    NoRoom,
    /// Its chunks are not what the head announced; how.
    Incomplete(&'static str),
    /// Its digest is not the one that was signed.
    OtherDigest,
    /// Its trailers are not what the head announced; how.
    MalformedTrailer(String),
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("The request is larger than a request may be"),
            Self::CutShort => f.write_str("The connection ended before the body did"),
            Self::Stalled => f.write_str(
                "The body did not arrive in time: nothing was read from the connection for too long",
            ),
            Self::NoRoom => f.write_str(
                "Too many large requests are being read at once; reduce your request rate",
            ),
            Self::OtherDigest => f.write_str(
                "The provided x-amz-content-sha256 header does not match what was computed",
            ),
            Self::Incomplete(how) => f.write_str(how),
            Self::MalformedTrailer(how) => f.write_str(how),
        }
    }
}

impl std::error::Error for BodyFault {}

impl BodyFault {
    /// The answer in `protocol`, and the code in it.
    pub(crate) fn answer(&self, protocol: Protocol) -> (Reply, &'static str) {
        let s3 = protocol == Protocol::S3;
        let (status, code) = match self {
            Self::TooLarge if s3 => (StatusCode::BAD_REQUEST, "MaxMessageLengthExceeded"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::CutShort | Self::Incomplete(_) => (StatusCode::BAD_REQUEST, "IncompleteBody"),
            Self::Stalled if s3 => (StatusCode::BAD_REQUEST, "RequestTimeout"),
            Self::Stalled => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Self::NoRoom if s3 => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::OtherDigest => (StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch"),
            Self::MalformedTrailer(_) => (StatusCode::BAD_REQUEST, "MalformedTrailerError"),
        };
        (wire::error(protocol, status, code, &self.to_string()), code)
    }
}

/// The room for bodies of one endpoint.
#[derive(Debug)]
pub(crate) struct Bodies {
    limits: BodyLimits,
    room: Arc<Semaphore>,
    units: usize,
    /// Whether something large was held since memory was last handed back.
    used: AtomicBool,
}

/// Part of the room, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    bodies: Arc<Bodies>,
    permit: Option<OwnedSemaphorePermit>,
    length: usize,
}

impl Bodies {
    pub(crate) fn new(limits: BodyLimits) -> Arc<Self> {
        let units = limits.room / UNIT;
        Arc::new(Self {
            limits,
            room: Arc::new(Semaphore::new(units)),
            units,
            used: AtomicBool::new(false),
        })
    }

    pub(crate) fn limits(&self) -> &BodyLimits {
        &self.limits
    }

    /// Room for `length` bytes, as soon as there is.
    pub(crate) async fn reserve(self: Arc<Self>, length: usize) -> Result<Room, BodyFault> {
        if length > MAX_BODY {
            return Err(BodyFault::TooLarge);
        }
        let units = u32::try_from(length.div_ceil(UNIT).min(self.units)).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.room).acquire_many_owned(units);
        let permit = tokio::time::timeout(self.limits.wait, acquire).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(BodyFault::NoRoom)?;
        Ok(Room {
            bodies: self,
            permit: Some(permit),
            length,
        })
    }

    /// Nothing of the room, for a body of `length` bytes that goes to the disk: what it passes
    /// through is memory that can be handed back as well.
    pub(crate) fn passing(self: Arc<Self>, length: usize) -> Room {
        Room {
            bodies: self,
            permit: None,
            length,
        }
    }

    /// The whole of `body`, and the room that it takes.
    pub(crate) async fn read(self: &Arc<Self>, body: Incoming) -> Result<(Bytes, Room), BodyFault> {
        let announced = body.size_hint().exact();
        let most = match announced.map(usize::try_from) {
            None => MAX_BODY,
            Some(length) => length.map_err(|_| BodyFault::TooLarge)?,
        };
        let room = Arc::clone(self).reserve(most).await?;
        let gather = async {
            let mut body = Timed::new(body, self.limits.pause);
            let mut bytes = Vec::with_capacity(announced.map_or(0, |_| most));
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    if bytes.len() + data.len() > most {
                        return Err(BodyFault::TooLarge);
                    }
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(Bytes::from(bytes))
        };
        let gathered = tokio::time::timeout(self.limits.whole, gather).await;
        let bytes = gathered.unwrap_or(Err(BodyFault::Stalled))?;
        Ok((bytes, room))
    }
}

impl Drop for Room {
    /// The last body to go takes the memory of all of them with it: an allocator keeps what it was
    /// given, and parsing a request takes several times its size.
    fn drop(&mut self) {
        self.permit = None;
        let bodies = &self.bodies;
        if self.length < LARGE {
            return;
        }
        bodies.used.store(true, Ordering::Relaxed);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let bodies = Arc::clone(bodies);
        runtime.spawn(async move {
            tokio::time::sleep(QUIET).await;
            let idle = bodies.room.available_permits() == bodies.units;
            if idle && bodies.used.swap(false, Ordering::Relaxed) {
                // A failure to hand memory back is no fault of any request.
                let _ = tokio::task::spawn_blocking(memory::hand_back).await;
            }
        });
    }
}
