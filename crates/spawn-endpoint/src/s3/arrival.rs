//! The body of a request to S3 as it arrives: timed, its framing watched, its faults remembered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::framing::Framing;
use crate::bodies::{Bodies, BodyFault, Room};
use crate::timed::Timed;

/// What went wrong with a body. It is kept beside the request, since the errors of a body lose their
/// type on their way through `s3s`.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Option<BodyFault>>>);

impl Faults {
    fn set(&self, fault: BodyFault) -> BodyFault {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(fault.clone());
        fault
    }

    pub(super) fn take(&self) -> Option<BodyFault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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
    faults: Faults,
}

impl Arrival {
    pub(super) fn new(
        body: Incoming,
        framing: Option<Framing>,
        bodies: &Arc<Bodies>,
        faults: Faults,
    ) -> Self {
        Self {
            body: Timed::new(body, bodies.limits().pause),
            framing,
            input: Bytes::new(),
            output: VecDeque::new(),
            ended: false,
            bodies: Arc::clone(bodies),
            reserving: None,
            room: None,
            faults,
        }
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
                return Pin::new(&mut self.body).poll_frame(context);
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
        Poll::Ready(next.map(|frame| frame.map_err(|fault| self.faults.set(fault))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}
