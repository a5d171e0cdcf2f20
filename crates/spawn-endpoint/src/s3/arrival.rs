//! The body of a request to S3 as it arrives: timed, its framing watched, its faults remembered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use sha2::{Digest, Sha256};

use super::framing::Framing;
use crate::authorization::only;
use crate::bodies::{Bodies, BodyFault, Room};
use crate::identifiers::to_hex;
use crate::timed::Timed;

/// What is known of a body beside it, since its errors lose their type on their way through `s3s`.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    fault: Mutex<Option<BodyFault>>,
    is_document: AtomicBool,
}

impl Watch {
    /// The body is a document, which `s3s` reads for itself: what is wrong with it is found here.
    pub(super) fn expect_document(&self) {
        self.0.is_document.store(true, Ordering::Relaxed);
    }

    fn set(&self, fault: BodyFault) -> BodyFault {
        let mut slot = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(fault.clone());
        fault
    }

    /// What went wrong with the body.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        let slot = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }
}

/// Waits for room for a chunk.
type Reserving = Pin<Box<dyn Future<Output = Result<Room, BodyFault>> + Send + Sync>>;

/// A body on its way in.
pub(super) struct Arrival {
    body: Timed<Incoming>,
    framing: Option<Framing>,
    input: Bytes,
    output: VecDeque<Bytes>,
    ended: bool,
    bodies: Arc<Bodies>,
    reserving: Option<Reserving>,
    room: Option<Room>,
    /// The digest that a document was signed with, and that of what has come.
    signed_digest: Option<String>,
    digest: Sha256,
    watch: Watch,
}

impl Arrival {
    pub(super) fn new(
        body: Incoming,
        headers: &HeaderMap,
        bodies: &Arc<Bodies>,
        watch: Watch,
    ) -> Self {
        let digest = only(headers, "x-amz-content-sha256");
        let digest = digest.filter(|text| text.len() == 64);
        Self {
            signed_digest: digest.map(str::to_owned),
            digest: Sha256::new(),
            body: Timed::new(body, bodies.limits().pause),
            framing: Framing::of(headers),
            input: Bytes::new(),
            output: VecDeque::new(),
            ended: false,
            bodies: Arc::clone(bodies),
            reserving: None,
            room: None,
            watch,
        }
    }

    /// Looks at the digest of a document. That of an object is looked at by `s3s`.
    fn digested(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyFault>>,
    ) -> Option<Result<Frame<Bytes>, BodyFault>> {
        if !self.watch.0.is_document.load(Ordering::Relaxed) {
            return frame;
        }
        match &frame {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                self.digest.update(data);
            }
            Some(Err(_)) => return frame,
            None => {}
        }
        // Who reads a length does not ask for the end.
        if frame.is_none() || self.body.is_end_stream() {
            let found = to_hex(&std::mem::take(&mut self.digest).finalize());
            if self
                .signed_digest
                .take()
                .is_some_and(|signed| signed != found)
            {
                return Some(Err(BodyFault::OtherDigest));
            }
        }
        frame
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        loop {
            if let Some(bytes) = self.output.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let Some(reserving) = &mut self.reserving {
                self.room = Some(ready!(reserving.as_mut().poll(context))?);
                self.reserving = None;
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let Some(framing) = &mut self.framing else {
                let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
                return Poll::Ready(self.digested(frame));
            };
            if self.input.is_empty() {
                match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                    Some(frame) => self.input = frame?.into_data().unwrap_or_default(),
                    None => {
                        framing.end(&mut self.output)?;
                        self.ended = true;
                        continue;
                    }
                }
            }
            if let Some(size) = framing.feed(&mut self.input, &mut self.output)? {
                // The chunk before it has been written, or soon will be.
                self.room = None;
                self.reserving = Some(Box::pin(Arc::clone(&self.bodies).reserve(size)));
            }
        }
    }
}

impl Body for Arrival {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let next = ready!(self.poll_next(context));
        Poll::Ready(next.map(|frame| frame.map_err(|fault| self.watch.set(fault))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}
