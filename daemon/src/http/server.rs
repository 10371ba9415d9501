//! Serves a bounded number of connections, and survives misbehaving clients.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tbtoken_proto::{MAX_CONNECTIONS, REQUEST_SECONDS};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, error, info, warn};

use super::guard::{HEAD_BYTES, Surplus};
use super::listener::Listener;
use super::routes::{Shared, router};
use super::settings::{AccessRules, Settings};
use super::timed_stream::TimedStream;
use crate::clock::Clock;
use crate::engine::handle::Handle;
use crate::engine::view::HttpListener;

/// The pause before the daemon tries again to listen.
const BIND_PAUSE: Duration = Duration::from_secs(10);

/// The pause after a failure to accept a client, such as a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines about a failure to accept.
const ACCEPT_SILENCE: Duration = Duration::from_secs(60);

/// The most connections beyond the limit that get an answer; more are closed without one.
const MAX_SURPLUS: usize = 16;

/// The time for sending the last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The parts from which the listener is built.
#[derive(Debug)]
pub struct Parts {
    /// Where and how it listens.
    pub settings: Settings,
    /// The tokens and names that it accepts; a reload changes them.
    pub access_rules: watch::Receiver<AccessRules>,
    /// The handle to the loop.
    pub handle: Handle,
    /// The clock.
    pub clock: Clock,
    /// When the loop last made progress.
    pub alive: watch::Receiver<Instant>,
    /// After this time without progress the loop counts as stuck.
    pub stuck_after: Duration,
    /// Cancelled when the daemon ends.
    pub shutdown: CancellationToken,
}

/// Accepts clients until the shutdown, and sends the last answers.
pub async fn serve(parts: Parts) {
    let shutdown = parts.shutdown.clone();
    let bound = shutdown.run_until_cancelled(bind(&parts.settings, &parts.handle)).await;
    let Some(mut listener) = bound else { return };
    let (page, metrics_open) = (parts.settings.page, parts.settings.metrics_open);
    let router = router(Arc::new(Shared::new(parts)), page, metrics_open);
    let (places, surplus) =
        (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(Semaphore::new(MAX_SURPLUS)));
    let clients = TaskTracker::new();
    let mut warned: Option<Instant> = None;
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // This may last, with a client accepted now and then.
                if warned.is_none_or(|warned| warned.elapsed() > ACCEPT_SILENCE) {
                    warned = Some(Instant::now());
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
        clients.spawn(serve_connection(
            TimedStream::new(stream),
            router.clone(),
            place,
            is_surplus,
            shutdown.clone(),
        ));
    }
    drop(listener);
    clients.close();
    if timeout(LAST_ANSWERS, clients.wait()).await.is_err() {
        debug!("Some clients did not read their last answers over HTTP");
    }
}

/// Listens as soon as possible. The daemon runs meanwhile, because tokens matter more than the page.
async fn bind(settings: &Settings, handle: &Handle) -> Listener {
    let listen = settings.address.to_string();
    let warning = settings.exposed.then(|| {
        format!("other machines can reach {listen}, which has no TLS: allow only your proxy to reach it")
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
                "HTTP cannot listen at {}: {why}; tbtokend runs without HTTP, and tries again every 10 s",
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

/// Serves one connection until it ends; at the shutdown it ends after the current answer.
async fn serve_connection(
    stream: TimedStream<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    router: Router,
    place: OwnedSemaphorePermit,
    is_surplus: bool,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        if is_surplus {
            request.extensions_mut().insert(Surplus);
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(REQUEST_SECONDS))
        // Up to this length the guard refuses a long head with a reason; beyond it the library does, without one.
        .max_buf_size(4 * HEAD_BYTES)
        .keep_alive(!is_surplus)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!("A client was dropped over HTTP: {error}");
    }
    drop(place);
}
