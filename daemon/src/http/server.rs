//! Serves connections, a bounded number at a time, and survives whatever they do.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tbtoken_proto::{MAX_CONNECTIONS, REQUEST_SECONDS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, error, info, warn};

use super::guard::Surplus;
use super::listener::Listener;
use super::patient::Patient;
use super::routes::{Shared, router};
use super::settings::{Door, Settings};
use crate::clock::Clock;
use crate::engine::handle::Handle;
use crate::engine::view::HttpListener;

/// How long the daemon waits before it tries a port again that is taken.
const BIND_PAUSE: Duration = Duration::from_secs(10);

/// How long the loop pauses when no client can be accepted, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// It is said once in this time that no client can be accepted.
const ACCEPT_SILENCE: Duration = Duration::from_secs(60);

/// The longest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// How many connections beyond the limit are told so at a time; more are closed without a word.
const TURNED_AWAY: usize = 16;

/// How long the last answers may take on their way.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What the listener is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where and how it listens.
    pub settings: Settings,
    /// Which clients it lets in; a reload changes it.
    pub door: watch::Receiver<Door>,
    /// The way to the loop.
    pub handle: Handle,
    /// What time it is.
    pub clock: Clock,
    /// When the loop was last seen to get on.
    pub alive: watch::Receiver<Instant>,
    /// How long ago that may be.
    pub patience: Duration,
    /// The order to end.
    pub shutdown: CancellationToken,
}

/// Lets clients in until the order to end, and gives the last ones their answers.
pub async fn serve(parts: Parts) {
    let Parts { settings, door, handle, clock, alive, patience, shutdown } = parts;
    let Some(mut listener) = shutdown.run_until_cancelled(bind(&settings, &handle)).await else { return };
    let app = Shared::new(handle, clock, door, (alive, patience), shutdown.clone());
    let router = router(Arc::new(app), settings.page, settings.metrics_open);
    let (places, surplus) =
        (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(Semaphore::new(TURNED_AWAY)));
    let clients = TaskTracker::new();
    let mut told: Option<Instant> = None;
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // This may go on for long, with a client let in now and then.
                if told.is_none_or(|told| told.elapsed() > ACCEPT_SILENCE) {
                    told = Some(Instant::now());
                    warn!("No client can be accepted over HTTP at the moment: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let (place, is_surplus) = match (place(&places), place(&surplus)) {
            (Some(place), _) => (place, false),
            (None, Some(place)) => (place, true),
            (None, None) => continue,
        };
        clients.spawn(attend(Patient::new(stream), router.clone(), place, is_surplus, shutdown.clone()));
    }
    drop(listener);
    clients.close();
    if timeout(LAST_ANSWERS, clients.wait()).await.is_err() {
        debug!("Some clients did not take their last answers over HTTP");
    }
}

/// Listens, as soon as that can be done. Tokens matter more than the page: the daemon runs meanwhile.
async fn bind(settings: &Settings, handle: &Handle) -> Listener {
    let listen = settings.address.to_string();
    let warning = settings.exposed.then(|| {
        format!("{listen} can be reached from other machines and has no TLS: see to it that only your proxy reaches it")
    });
    if let Some(warning) = &warning {
        warn!("HTTP: {warning} (http.behind_proxy)");
    }
    let mut shown = HttpListener { listen, error: None, warning };
    loop {
        let bound = Listener::bind(&settings.address).await;
        let why = bound.as_ref().err().cloned();
        if let Some(why) = why.as_ref().filter(|why| shown.error.as_ref() != Some(why)) {
            error!(
                "HTTP cannot listen at {}: {why}; tbtokend runs without, and tries again every 10 s",
                shown.listen
            );
        }
        shown.error = why;
        handle.show_http(shown.clone()).await;
        match bound {
            Ok(listener) => {
                info!("HTTP listens at {}", shown.listen);
                return listener;
            }
            Err(_) => sleep(BIND_PAUSE).await,
        }
    }
}

/// Serves one connection until it ends, or until the order to end and the answer that is under way.
async fn attend<S>(
    stream: Patient<S>,
    router: Router,
    place: OwnedSemaphorePermit,
    is_surplus: bool,
    shutdown: CancellationToken,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        if is_surplus {
            request.extensions_mut().insert(Surplus);
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(REQUEST_SECONDS))
        .max_buf_size(HEAD_BYTES)
        .keep_alive(!is_surplus)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("A client was dropped over HTTP: {error}");
    }
    drop(place);
}
