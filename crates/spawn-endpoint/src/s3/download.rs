//! A body on its way out: read from its blobs as fast as the client takes it.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use s3s::StdError;
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use tokio::task::JoinHandle;

use super::blobs::{Blobs, Piece, Pinned};

/// What is read at a time, and held in memory per download.
const READ: u64 = 256 * 1024;

/// The bytes of `pieces` in order; small ones are read now. Blocks.
pub(super) fn body(blobs: &Arc<Blobs>, pieces: Vec<Piece>) -> io::Result<StreamingBlob> {
    let length: u64 = pieces.iter().map(|piece| piece.length).sum();
    let pin = blobs.pin(&pieces);
    let mut reader = Reader {
        blobs: Arc::clone(blobs),
        pieces: pieces.into(),
        file: None,
    };
    if length <= READ {
        let mut whole = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        while let Some(chunk) = reader.next()? {
            whole.extend_from_slice(&chunk);
        }
        return Ok(StreamingBlob::from(s3s::Body::from(Bytes::from(whole))));
    }
    Ok(StreamingBlob::new(Download {
        state: State::Idle(reader),
        remaining: length,
        _pin: pin,
    }))
}

struct Reader {
    blobs: Arc<Blobs>,
    pieces: VecDeque<Piece>,
    /// Of the first piece.
    file: Option<File>,
}

impl Reader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(piece) = self.pieces.front_mut() else {
            return Ok(None);
        };
        let file = match self.file.take() {
            Some(file) => file,
            None => self.blobs.open(&piece.blob)?,
        };
        let length = piece.length.min(READ);
        let mut chunk = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut chunk, piece.offset)?;
        piece.offset += length;
        piece.length -= length;
        if piece.length == 0 {
            self.pieces.pop_front();
        } else {
            self.file = Some(file);
        }
        Ok(Some(Bytes::from(chunk)))
    }
}

enum State {
    Idle(Reader),
    Reading(JoinHandle<(Reader, io::Result<Option<Bytes>>)>),
    Ended,
}

struct Download {
    state: State,
    remaining: u64,
    _pin: Pinned,
}

impl Stream for Download {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(mut reader) => {
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let chunk = reader.next();
                        (reader, chunk)
                    }));
                }
                State::Reading(mut read) => {
                    let done = match Pin::new(&mut read).poll(context) {
                        Poll::Pending => {
                            self.state = State::Reading(read);
                            return Poll::Pending;
                        }
                        ready => ready!(ready),
                    };
                    return Poll::Ready(match done {
                        Ok((reader, Ok(Some(chunk)))) => {
                            self.remaining -= chunk.len() as u64;
                            self.state = State::Idle(reader);
                            Some(Ok(chunk))
                        }
                        Ok((_, Ok(None))) => None,
                        Ok((_, Err(error))) => Some(Err(error.into())),
                        Err(error) => Some(Err(error.into())),
                    });
                }
            }
        }
    }
}

impl ByteStream for Download {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.remaining).unwrap_or(usize::MAX))
    }
}
