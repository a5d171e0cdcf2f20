//! A body that must keep coming.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::bodies::BodyFault;

/// A body whose client may pause for a while between any two pieces of it, and no longer.
///
/// Only time spent waiting for the client counts; a server that is slow to ask has all the time it
/// wants.
pub(crate) struct Timed<B> {
    body: B,
    pause: Duration,
    /// Until when the client may pause, while it does.
    patience: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<B> Timed<B> {
    pub(crate) fn new(body: B, pause: Duration) -> Self {
        Self {
            body,
            pause,
            patience: Box::pin(tokio::time::sleep(pause)),
            waiting: false,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyFault::CutShort)));
        }
        if !self.waiting {
            self.waiting = true;
            let until = Instant::now() + self.pause;
            self.patience.as_mut().reset(until);
        }
        ready!(self.patience.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyFault::Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
