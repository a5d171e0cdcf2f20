//! One connection: its requests, and how it ends.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::guests::Guest;
use crate::router::Router;
use crate::server::stop_asked;

/// What the head of a request may take, and what is read of a body at once. AWS takes 8 KB of
/// headers; a URL may be as long.
const BUFFER: usize = 64 * 1024;
/// How much of a body that nobody wants is read past, and for how long.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(5);

/// Serves the requests of one connection, one after another.
pub(crate) async fn connection(
    stream: TcpStream,
    guest: Guest,
    router: Arc<Router>,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let guest = Arc::new(guest);
    let service = service_fn({
        let guest = Arc::clone(&guest);
        move |request| {
            let (router, guest) = (Arc::clone(&router), Arc::clone(&guest));
            Box::pin(async move { Ok::<_, Infallible>(router.serve(request, &guest).await) })
        }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // How a connection ends is the client's affair.
    let stopping = tokio::select! {
        _ = poll_fn(|context| served.poll_without_shutdown(context)) => false,
        () = guest.sent_away() => return,
        () = stop_asked(&mut stopped) => true,
    };
    if stopping {
        Pin::new(&mut served).graceful_shutdown();
        let _ = served.await;
        return;
    }
    tokio::select! {
        () = linger(served.into_parts().io.into_inner()) => {}
        () = guest.sent_away() => {}
        () = stop_asked(&mut stopped) => {}
    }
}

/// Closes a connection so that its client sees the last answer: closing with bytes unread would
/// reset it, and the client would lose the answer that says why its request was refused.
async fn linger(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;

    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = vec![0; 16 * 1024];
    let read_past = async {
        let mut left = LINGER_BYTES;
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, read_past).await;
}
