//! The table of the routes, and what is behind each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use chrono::TimeDelta;
use tbtoken_proto::{self as proto, ErrorCode};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::answer::{Refused, answered, etag, unchanged, with_headers, with_tag};
use super::guard::{self, Client, json_body};
use super::settings::{Door, Right};
use super::{page, query};
use crate::clock::Clock;
use crate::control::{Access, Session};
use crate::engine::handle::Handle;
use crate::text::printable;

/// `/readyz` is fine with a table that was read this many intervals ago.
const FRESH_INTERVALS: i32 = 3;

/// How many answers about all customers are sent at a time.
const LISTINGS: usize = 4;

/// Wrong tokens are told once in this time.
const WRONG_TOKENS_GAP: Duration = Duration::from_secs(60);

/// What every handler knows.
pub(super) type App = Arc<Shared>;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) handle: Handle,
    pub(super) clock: Clock,
    /// Which clients are let in; a reload changes it.
    pub(super) door: watch::Receiver<Door>,
    /// When the loop was last seen to get on, by the judge that feeds systemd's watchdog.
    pub(super) alive: watch::Receiver<Instant>,
    /// How long ago that may be.
    pub(super) patience: Duration,
    pub(super) shutdown: CancellationToken,
    listings: Arc<Semaphore>,
    wrong_tokens: Mutex<(u32, Option<Instant>)>,
}

/// Every route. What a handler takes says who may ask: a [`Client`] has shown a token.
pub(super) fn router(app: App, page: bool) -> Router {
    let mut routes = Router::new()
        .route("/api/cron/refresh-tokens", get(status).post(act))
        .route("/api/events", get(events))
        // The place of /metrics. With `Settings::metrics_open` it needs no Client.
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
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), guard::check))
        .layer(map_response(with_headers))
        .with_state(app)
}

impl Shared {
    pub(super) fn new(
        handle: Handle,
        clock: Clock,
        door: watch::Receiver<Door>,
        (alive, patience): (watch::Receiver<Instant>, Duration),
        shutdown: CancellationToken,
    ) -> Self {
        let (listings, wrong_tokens) = (Arc::new(Semaphore::new(LISTINGS)), Mutex::default());
        Self { handle, clock, door, alive, patience, shutdown, listings, wrong_tokens }
    }

    pub(super) fn door(&self) -> Door {
        self.door.borrow().clone()
    }

    /// Counts a wrong token. The operator is told how many there were, and never what they said.
    pub(super) fn note_wrong_token(&self) {
        let mut noted = self.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        noted.0 = noted.0.saturating_add(1);
        if noted.1.is_none_or(|told| told.elapsed() >= WRONG_TOKENS_GAP) {
            warn!("{} requests came with a wrong token over HTTP", noted.0);
            *noted = (0, Some(Instant::now()));
        }
    }

    async fn carry_out(&self, right: Right, envelope: proto::Envelope) -> Result<Response, Refused> {
        let is_listing =
            matches!(&envelope.request, proto::Request::Status(query) if query.customers == proto::Rows::All);
        let permit = match is_listing.then(|| Arc::clone(&self.listings).try_acquire_owned()).transpose() {
            Ok(permit) => permit,
            Err(_) => {
                let error = format!(
                    "tbtokend sends {LISTINGS} lists of all customers at a time; ask for fewer customers"
                );
                return Err(Refused::of(ErrorCode::Busy, error));
            }
        };
        let access = match right {
            Right::Read => Access::Monitor,
            Right::All => Access::Control,
        };
        let session = Session::new(access, self.handle.clone(), self.clock.clone(), None);
        let mut response = answered(session.respond(envelope).await.map_err(internal)?, permit);
        // The page shows its buttons by it.
        let shown = HeaderValue::from_static(if right == Right::All { "all" } else { "read" });
        response.headers_mut().insert("tbtokend-right", shown);
        Ok(response)
    }
}

fn internal(error: impl std::fmt::Display) -> Refused {
    Refused::of(ErrorCode::Internal, format!("the answer cannot be written: {error}"))
}

async fn status(
    client: Client,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let query = query.unwrap_or_default();
    let envelope = query::status(&query)?;
    let tag = tag(&app, &query).map_err(internal)?;
    if let Some(unchanged) = unchanged(&tag, &headers) {
        return Ok(unchanged);
    }
    Ok(with_tag(app.carry_out(client.right, envelope).await?, &tag))
}

/// The tag of the answer to this query: the revision, and all else that can change without it. What depends on the time of
/// the answer (`minutes_until_expiry`) is right to the minute.
fn tag(app: &Shared, query: &str) -> serde_json::Result<String> {
    let all = proto::StatusQuery { customers: proto::Rows::None, since: None };
    let snapshot = app.handle.snapshot();
    let minute = app.clock.now().timestamp().div_euclid(60);
    let head = snapshot.status_without_customers(&all).ok();
    Ok(etag(&serde_json::to_vec(&(query, minute, head))?))
}

async fn act(client: Client, State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let body = json_body(request).await?;
    let envelope = proto::Envelope::parse(&body).map_err(|(_, refusal)| refusal)?;
    match &envelope.request {
        proto::Request::Status(_)
        | proto::Request::Start {}
        | proto::Request::Stop {}
        | proto::Request::Refresh(_) => {}
        proto::Request::Events { .. } | proto::Request::Version {} | proto::Request::Reload {} => {
            let error = "unknown action over HTTP; use one of status, start, stop, refresh";
            return Err(Refused::of(ErrorCode::UnknownAction, error));
        }
    }
    app.carry_out(client.right, envelope).await
}

async fn events(
    client: Client,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let envelope = query::events(&query.unwrap_or_default())?;
    app.carry_out(client.right, envelope).await
}

/// Whether the watchdog is fed. It says no more: it needs no token.
async fn healthz(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.alive.borrow().elapsed() <= app.patience {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stuck\n"),
    }
}

/// Whether what it answers is fresh. ThingsBoard never counts: to restart this process does not heal another.
async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    let snapshot = app.handle.snapshot();
    let interval = i64::try_from(snapshot.cron().interval_seconds).unwrap_or(i64::MAX);
    let patience = TimeDelta::try_seconds(interval).unwrap_or(TimeDelta::MAX) * FRESH_INTERVALS;
    let is_fresh = |at| app.clock.now() - at <= patience;
    let word = match (app.shutdown.is_cancelled(), snapshot.table_read_at(), snapshot.is_readable()) {
        (true, ..) => "shutting_down\n",
        (false, None, true) => "starting\n",
        // A loop that an operator has stopped does not read the table.
        (false, Some(at), true) if is_fresh(at) || !snapshot.cron().running => {
            return (StatusCode::OK, "ok\n");
        }
        (false, ..) => "store\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, word)
}

async fn not_found() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, ErrorCode::BadRequest, "there is nothing at this path")
}

async fn not_allowed(method: Method, uri: Uri) -> Refused {
    let error = format!("{method} is not for {}", printable(uri.path()));
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, error)
}
