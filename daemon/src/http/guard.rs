//! Who may ask: the checks that stand before every handler, in this order: a free place, `Host`, then (in [`Client`], once the
//! route is known) the page that sends it and the token, then the body.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tbtoken_proto::{ErrorCode, MAX_CONNECTIONS, MAX_REQUEST_BYTES, REQUEST_SECONDS};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Refused;
use super::routes::App;
use super::settings::{Door, Right};
use crate::text::printable;

/// A body that is too long is read so far, in bytes and in time, so that the answer arrives.
const DISCARDED_BYTES: usize = 1024 * 1024;
const DISCARDED_TIME: Duration = Duration::from_secs(2);

/// Marks the requests of a connection that is one too many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surplus;

/// Refuses what comes over one connection too many, or with a `Host` that is not ours.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Surplus>().is_some() {
        let error = format!("tbtokend serves {MAX_CONNECTIONS} connections at a time, and is serving them");
        return Refused::of(ErrorCode::Busy, error).into_response();
    }
    // Probes come with any name; they are told one word.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let checked = if is_probe { Ok(()) } else { check_host(&app.door(), request.headers(), request.uri()) };
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// A foreign name that was made to point here (DNS rebinding) is not ours. Addresses are: no page is rebound to one.
fn check_host(door: &Door, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refused::of(ErrorCode::BadRequest, "send one Host header"));
    };
    let host = host.to_str().ok().and_then(authority);
    let host = host.ok_or_else(|| Refused::of(ErrorCode::BadRequest, "the Host header names no host"))?;
    for host in [Some(&host), uri.authority()].into_iter().flatten() {
        let name = host.host();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if !is_address && !door.knows(name) {
            let name = printable(name);
            let error = format!("{name} is not a name of tbtokend; set http.allowed_hosts = [\"{name}\"]");
            return Err(Refused::of(ErrorCode::Misdirected, error));
        }
    }
    Ok(())
}

fn authority(text: &str) -> Option<Authority> {
    Authority::from_str(text).ok().filter(|authority| !authority.as_str().contains('@'))
}

/// Refuses what a page of another site has sent.
pub(super) fn check_origin(door: &Door, headers: &HeaderMap) -> Result<(), Refused> {
    let foreign = |what: &str| Err(Refused::of(ErrorCode::Forbidden, what));
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| authority(origin.split_once("://")?.1));
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_ours =
            |origin: &Authority| origin.as_str().eq_ignore_ascii_case(host) || door.knows(origin.host());
        if !origin.as_ref().is_some_and(is_ours) {
            return foreign(
                "this comes from a page of another site; if it is ours, put its name into http.allowed_hosts",
            );
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return foreign("this comes from a page of another site");
    }
    Ok(())
}

/// A client that has shown a token. A handler that takes it is never reached otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) right: Right,
}

impl FromRequestParts<App> for Client {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let door = app.door();
        check_origin(&door, &parts.headers)?;
        let token = bearer(&parts.headers);
        match door.right_of(token) {
            Some(right) => Ok(Self { right }),
            None => {
                if token.is_some() {
                    app.note_wrong_token();
                }
                let error = "a token is needed: send Authorization: Bearer TOKEN, with the one in http.token_file or http.read_token_file";
                Err(Refused::of(ErrorCode::Unauthorized, error))
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

/// The body of a request that says that it is JSON. A form of another site cannot say so.
pub(super) async fn json_body(request: Request) -> Result<String, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let error = "send Content-Type: application/json";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::BadRequest, error));
    }
    let bytes = read(request.into_body()).await?;
    String::from_utf8(bytes).map_err(|_| Refused::of(ErrorCode::BadRequest, "the body is not UTF-8"))
}

async fn read(body: Body) -> Result<Vec<u8>, Refused> {
    let refused = |status, error: &str| Err(Refused::new(status, ErrorCode::BadRequest, error));
    let deadline = Instant::now() + Duration::from_secs(REQUEST_SECONDS);
    let (mut chunks, mut bytes) = (body.into_data_stream(), Vec::new());
    while bytes.len() <= MAX_REQUEST_BYTES {
        match timeout_at(deadline, chunks.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
            Ok(Some(Err(_))) => return refused(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => {
                return refused(StatusCode::REQUEST_TIMEOUT, "the body was not finished within 10 s");
            }
        }
    }
    let discard = async {
        let mut length = bytes.len();
        while let Some(Ok(chunk)) = chunks.next().await {
            length += chunk.len();
            if length > DISCARDED_BYTES {
                break;
            }
        }
    };
    // Whether it was enough or too slow, the answer is the same.
    let _ = timeout(DISCARDED_TIME, discard).await;
    refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB")
}
