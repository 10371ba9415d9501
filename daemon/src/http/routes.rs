//! The routes and their handlers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chrono::TimeDelta;
use tbtoken_proto::{self as proto, ErrorCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;

use super::answer::{HttpRefusal, etag, to_response, unchanged, with_headers, with_tag};
use super::guard::{self, json_body};
use super::server::Parts;
use super::settings::AccessRules;
use super::{page, query};
use crate::control::{Access, Session};
use crate::metrics::{content_type, exposition};
use crate::notify;
use crate::text::printable;

/// `/readyz` accepts a table that was read at most this many intervals ago.
const FRESH_INTERVALS: i32 = 3;

/// The most answers about all customers at a time.
const LISTINGS: usize = 4;

/// The shortest time between two log lines about wrong tokens.
const WRONG_TOKENS_GAP: Duration = Duration::from_secs(60);

/// The state that all handlers share.
pub(super) type App = Arc<Shared>;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: Parts,
    listings: Arc<Semaphore>,
    wrong_tokens: Mutex<(u32, Option<Instant>)>,
}

/// Builds all routes. A handler with [`Access`] as its parameter needs a token.
pub(super) fn router(app: App, page: bool, metrics_open: bool) -> Router {
    let mut routes = Router::new()
        .route("/api/cron/refresh-tokens", get(status).post(act))
        .route("/api/events", get(events))
        .route("/metrics", if metrics_open { get(metrics) } else { get(metrics_for_client) })
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz));
    if page {
        routes = routes
            .route("/admin/token-refresh", get(page::html))
            .route("/admin/app.js", get(page::script))
            .route("/admin/app.css", get(page::style))
            .route("/admin/words.json", get(page::words));
    }
    routes
        .fallback(move || async move { not_found(page) })
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), guard::check))
        .layer(map_response(with_headers))
        .with_state(app)
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, listings: Arc::new(Semaphore::new(LISTINGS)), wrong_tokens: Mutex::default() }
    }

    pub(super) fn access_rules(&self) -> AccessRules {
        self.parts.access_rules.borrow().clone()
    }

    /// Counts a wrong token. The log says how many there were, and never quotes one.
    pub(super) fn note_wrong_token(&self) {
        let mut noted = self.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        noted.0 = noted.0.saturating_add(1);
        if noted.1.is_none_or(|logged| logged.elapsed() >= WRONG_TOKENS_GAP) {
            warn!("{} requests came with a wrong token over HTTP", noted.0);
            *noted = (0, Some(Instant::now()));
        }
    }

    async fn carry_out(&self, access: Access, envelope: proto::Envelope) -> Result<Response, HttpRefusal> {
        let is_listing =
            matches!(&envelope.request, proto::Request::Status(query) if query.customers == proto::Rows::All);
        let permit = is_listing.then(|| Arc::clone(&self.listings).try_acquire_owned()).transpose();
        let permit = permit.map_err(|_| {
            let error = format!(
                "tbtokend sends at most {LISTINGS} lists of all customers at once; request fewer customers"
            );
            HttpRefusal::of(ErrorCode::Busy, error)
        })?;
        let Parts { handle, clock, .. } = &self.parts;
        let session = Session::new(access, handle.clone(), clock.clone(), None);
        let mut response = to_response(session.respond(envelope).await.map_err(internal)?, permit);
        // The page decides by this header which buttons it shows.
        let shown = HeaderValue::from_static(if access == Access::Control { "all" } else { "read" });
        response.headers_mut().insert("tbtokend-right", shown);
        Ok(response)
    }
}

fn internal(error: impl std::fmt::Display) -> HttpRefusal {
    HttpRefusal::of(ErrorCode::Internal, format!("the answer cannot be written: {error}"))
}

async fn status(
    access: Access,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpRefusal> {
    let query = query.unwrap_or_default();
    let envelope = query::status(&query)?;
    let tag = tag(&app, &query, &notify::failing()).map_err(internal)?;
    if let Some(unchanged) = unchanged(&tag, &headers) {
        return Ok(unchanged);
    }
    Ok(with_tag(app.carry_out(access, envelope).await?, &tag))
}

/// Returns the tag of the answer to this query. It covers the revision, the parts that change without it, the receivers that
/// fail, which no snapshot holds, and the minute, because `minutes_until_expiry` depends on the time.
pub(super) fn tag(app: &Shared, query: &str, failing_receivers: &[String]) -> serde_json::Result<String> {
    let all = proto::StatusQuery { customers: proto::Rows::None, since: None };
    let snapshot = app.parts.handle.snapshot();
    let minute = app.parts.clock.now().timestamp().div_euclid(60);
    let head = snapshot.status_without_customers(&all).ok();
    Ok(etag(&serde_json::to_vec(&(query, minute, head, failing_receivers))?))
}

async fn act(access: Access, State(app): State<App>, request: Request) -> Result<Response, HttpRefusal> {
    let body = json_body(request).await?;
    let envelope = proto::Envelope::parse(&body).map_err(|(_, refusal)| refusal)?;
    match &envelope.request {
        proto::Request::Status(_)
        | proto::Request::Start {}
        | proto::Request::Stop {}
        | proto::Request::Refresh(_) => {}
        proto::Request::Events { .. }
        | proto::Request::Version {}
        | proto::Request::Metrics { .. }
        | proto::Request::Reload {}
        | proto::Request::NotifyList {}
        | proto::Request::NotifyTest { .. } => {
            let error = "unknown action over HTTP; use one of status, start, stop, refresh";
            return Err(HttpRefusal::of(ErrorCode::UnknownAction, error));
        }
    }
    app.carry_out(access, envelope).await
}

async fn events(
    access: Access,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpRefusal> {
    let envelope = query::events(&query.unwrap_or_default())?;
    app.carry_out(access, envelope).await
}

async fn metrics_for_client(_: Access, app: State<App>, headers: HeaderMap) -> Result<Response, HttpRefusal> {
    metrics(app, headers).await
}

/// Sends OpenMetrics to a client that accepts it, as Prometheus does, and the older format to others.
async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, HttpRefusal> {
    guard::check_origin(&app.access_rules(), &headers)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = match accept.contains("application/openmetrics-text") {
        true => proto::MetricsFormat::Openmetrics,
        false => proto::MetricsFormat::Prometheus,
    };
    let text =
        exposition(app.parts.handle.snapshot(), app.parts.clock.now(), format, true).map_err(internal)?;
    Ok(([(header::CONTENT_TYPE, content_type(format))], text).into_response())
}

/// Reports whether the watchdog is fed, in one word, because it needs no token.
async fn healthz(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.parts.alive.borrow().elapsed() <= app.parts.stuck_after {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stuck\n"),
    }
}

/// Reports whether the snapshot is fresh. The state of ThingsBoard does not count, because a restart does not fix it.
async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    let snapshot = app.parts.handle.snapshot();
    let interval = i64::try_from(snapshot.cron.interval_seconds).unwrap_or(i64::MAX);
    let oldest = TimeDelta::try_seconds(interval).unwrap_or(TimeDelta::MAX) * FRESH_INTERVALS;
    let is_fresh = |at| app.parts.clock.now() - at <= oldest;
    let word = match (app.parts.shutdown.is_cancelled(), snapshot.tokens.as_of, snapshot.tokens.success) {
        (true, ..) => "shutting_down\n",
        (false, None, true) => "starting\n",
        // A stopped loop does not read the table, so its age does not count.
        (false, Some(at), true) if is_fresh(at) || !snapshot.cron.running => {
            return (StatusCode::OK, "ok\n");
        }
        (false, ..) => "store\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, word)
}

fn not_found(page: bool) -> HttpRefusal {
    let error = match page {
        true => "there is nothing at this path; the admin page is at /admin/token-refresh",
        false => "there is nothing at this path",
    };
    HttpRefusal::new(StatusCode::NOT_FOUND, ErrorCode::BadRequest, error)
}

async fn not_allowed(method: Method, uri: Uri) -> HttpRefusal {
    let error = format!("{} does not allow {method}", printable(uri.path()));
    HttpRefusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, error)
}
