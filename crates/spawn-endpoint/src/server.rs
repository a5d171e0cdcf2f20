//! The serving thread: from a bare listener to a runtime with connections, and back.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bodies::{Bodies, BodyLimits};
use crate::connection::connection;
use crate::guests::Guests;
use crate::router::Router;
use crate::{Credentials, EndpointError, RequestHook};

/// How long requests may go on after a stop was asked for.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// What an endpoint needs to run.
pub struct EndpointConfig {
    /// Where everything is kept; created when it is first needed.
    pub dir: PathBuf,
    /// The key pair that requests must be signed with.
    pub credentials: Credentials,
    /// Called for every request that was answered.
    pub on_request: Option<RequestHook>,
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("dir", &self.dir)
            .field("credentials", &self.credentials)
            .field("on_request", &self.on_request.is_some())
            .finish()
    }
}

/// What happens on an endpoint, shared between its thread and its handle.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    last_request: Mutex<Option<Instant>>,
}

impl Activity {
    fn last_request(&self) -> Option<Instant> {
        *self
            .last_request
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request until the returned mark is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.touch();
        InFlight(Arc::clone(self))
    }

    fn touch(&self) {
        let mut last = self
            .last_request
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(Instant::now());
    }
}

/// One request that is being served, its response body included.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running endpoint. Dropping it stops it, as [`EndpointHandle::stop`] does.
#[derive(Debug)]
pub struct EndpointHandle {
    address: SocketAddr,
    activity: Arc<Activity>,
    stopping: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl EndpointHandle {
    /// The address that is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Verified requests being served now, long polls and running downloads included. What is not
    /// signed, or not wholly here, does not count: nobody without the key keeps an endpoint busy.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.activity.in_flight.load(Ordering::SeqCst)
    }

    /// When a verified request last began or ended; nothing if there was none yet.
    #[must_use]
    pub fn last_request(&self) -> Option<Instant> {
        self.activity.last_request()
    }

    /// Takes no more connections, ends long polls, gives other requests two seconds, and returns
    /// when the endpoint's thread has ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.send_replace(true);
        // Before the first connection the thread is in a plain `accept`; this is what it waits for.
        drop(TcpStream::connect_timeout(&self.address, GRACE));
        // A panic on that thread has been printed by it.
        let _ = thread.join();
    }
}

impl Drop for EndpointHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves `listener` on a thread of its own.
///
/// Until the first connection arrives there is only that thread and the listener: no runtime, and
/// nothing in the directory is opened or created.
///
/// # Errors
/// The listener cannot be set up or the thread cannot be started.
pub fn start(
    listener: TcpListener,
    config: EndpointConfig,
) -> Result<EndpointHandle, EndpointError> {
    start_with_limits(listener, config, BodyLimits::default())
}

/// Like [`start`], with other bounds on bodies than the usual ones.
///
/// # Errors
/// The listener cannot be set up or the thread cannot be started.
pub fn start_with_limits(
    listener: TcpListener,
    config: EndpointConfig,
    limits: BodyLimits,
) -> Result<EndpointHandle, EndpointError> {
    let failed = |source| EndpointError::Start { source };
    let address = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(false).map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    let activity = Arc::new(Activity::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let thread = std::thread::Builder::new()
        .name("aws-endpoint".to_owned())
        .spawn({
            let (activity, stopping) = (Arc::clone(&activity), Arc::clone(&stopping));
            move || run(&listener, config, limits, activity, &stopping, stopped)
        })
        .map_err(failed)?;
    Ok(EndpointHandle {
        address,
        activity,
        stopping,
        stop,
        thread: Some(thread),
    })
}

fn run(
    listener: &TcpListener,
    config: EndpointConfig,
    limits: BodyLimits,
    activity: Arc<Activity>,
    stopping: &AtomicBool,
    stopped: watch::Receiver<bool>,
) {
    let first = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if stopping.load(Ordering::SeqCst) => return,
            // Out of descriptors or an aborted connection: the next may be fine.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    if stopping.load(Ordering::SeqCst) {
        return;
    }
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_name("aws-endpoint-io")
        .build()
        .and_then(|runtime| {
            let bodies = Bodies::new(limits);
            let router = Arc::new(Router::new(config, activity, bodies, stopped.clone()));
            let served = runtime.block_on(accept(first, listener, &router, stopped));
            drop(router);
            runtime.shutdown_timeout(GRACE);
            served
        });
    if let Err(error) = served {
        eprintln!("aws endpoint: cannot serve: {error}");
    }
}

async fn accept(
    first: TcpStream,
    listener: &TcpListener,
    router: &Arc<Router>,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut stop = stopped.clone();
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
    first.set_nonblocking(true)?;
    let first = tokio::net::TcpStream::from_std(first)?;

    let guests = Arc::new(Guests::default());
    let mut connections = JoinSet::new();
    let serve = |stream| connection(stream, guests.arrive(), Arc::clone(router), stopped.clone());
    connections.spawn(serve(first));
    loop {
        tokio::select! {
            () = stop_asked(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    // What is still running after that is dropped with the runtime.
    let _ = tokio::time::timeout(GRACE, ended).await;
    Ok(())
}

/// Returns once the endpoint is to stop.
pub(crate) async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    // The sender is in the handle; if that is gone, so is who wanted the endpoint.
    let _ = stopped.wait_for(|stop| *stop).await;
}
