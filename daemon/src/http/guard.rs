//! The checks before every handler, in this order: a free place, a short head, `Host`, then (in [`Access`], once the route is known) the
//! origin and the token, then the body.

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

use super::answer::HttpRefusal;
use super::routes::App;
use super::settings::AccessRules;
use crate::control::Access;
use crate::text::printable;

/// How much of a body that is too long is read, so that the answer arrives.
const DISCARDED_BYTES: usize = 1024 * 1024;
const DISCARDED_TIME: Duration = Duration::from_secs(2);

/// The longest head of a request, in bytes.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// Marks the requests of a connection beyond the limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surplus;

/// Refuses requests over a connection beyond the limit, with a long head, or with the `Host` of another site.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Surplus>().is_some() {
        let error =
            format!("tbtokend serves at most {MAX_CONNECTIONS} connections at once, and all are in use");
        return HttpRefusal::of(ErrorCode::Busy, error).into_response();
    }
    if head_length(&request) > HEAD_BYTES {
        let (status, code) = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::BadRequest);
        return HttpRefusal::new(status, code, "the head of the request is longer than 16 KiB")
            .into_response();
    }
    // Probes send any name, and their answers hold one word.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let checked =
        if is_probe { Ok(()) } else { check_host(&app.access_rules(), request.headers(), request.uri()) };
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

fn head_length(request: &Request) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    request.uri().path_and_query().map_or(0, |path| path.as_str().len()) + headers.sum::<usize>()
}

/// Refuses the name of another site that was made to resolve to this machine (DNS rebinding). Addresses are allowed,
/// because no name is rebound to them.
fn check_host(access_rules: &AccessRules, headers: &HeaderMap, uri: &Uri) -> Result<(), HttpRefusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(HttpRefusal::of(ErrorCode::BadRequest, "send one Host header"));
    };
    let host = host.to_str().ok().and_then(authority);
    let host = host.ok_or_else(|| HttpRefusal::of(ErrorCode::BadRequest, "the Host header names no host"))?;
    for host in [Some(&host), uri.authority()].into_iter().flatten() {
        let name = host.host();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if !is_address && !access_rules.knows(name) {
            let name = printable(name);
            let error = format!("{name} is not a name of tbtokend; set http.allowed_hosts = [\"{name}\"]");
            return Err(HttpRefusal::of(ErrorCode::Misdirected, error));
        }
    }
    Ok(())
}

fn authority(text: &str) -> Option<Authority> {
    Authority::from_str(text).ok().filter(|authority| !authority.as_str().contains('@'))
}

/// Refuses requests from a page of another site.
pub(super) fn check_origin(access_rules: &AccessRules, headers: &HeaderMap) -> Result<(), HttpRefusal> {
    let foreign = |what: &str| Err(HttpRefusal::of(ErrorCode::Forbidden, what));
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| authority(origin.split_once("://")?.1));
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_ours = |origin: &Authority| {
            origin.as_str().eq_ignore_ascii_case(host) || access_rules.knows(origin.host())
        };
        if !origin.as_ref().is_some_and(is_ours) {
            return foreign(
                "this comes from a page of another site; if the site is yours, add its name to http.allowed_hosts",
            );
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return foreign("this comes from a page of another site");
    }
    Ok(())
}

/// The access that the client's token gives. A handler with this parameter is never reached without a valid one.
impl FromRequestParts<App> for Access {
    type Rejection = HttpRefusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HttpRefusal> {
        let access_rules = app.access_rules();
        check_origin(&access_rules, &parts.headers)?;
        let token = bearer(&parts.headers);
        access_rules.access_of(token).ok_or_else(|| {
            if token.is_some() {
                app.note_wrong_token();
            }
            let error = "a token is needed: send Authorization: Bearer TOKEN with the token in http.token_file or http.read_token_file";
            HttpRefusal::of(ErrorCode::Unauthorized, error)
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

/// Reads the body of a request whose type is JSON. A form of another site cannot send that type.
pub(super) async fn json_body(request: Request) -> Result<String, HttpRefusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let error = "send Content-Type: application/json";
        return Err(HttpRefusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::BadRequest, error));
    }
    let bytes = read(request.into_body()).await?;
    String::from_utf8(bytes).map_err(|_| HttpRefusal::of(ErrorCode::BadRequest, "the body is not UTF-8"))
}

async fn read(body: Body) -> Result<Vec<u8>, HttpRefusal> {
    let refused = |status, error: &str| Err(HttpRefusal::new(status, ErrorCode::BadRequest, error));
    let deadline = Instant::now() + Duration::from_secs(REQUEST_SECONDS);
    let (mut chunks, mut bytes) = (body.into_data_stream(), Vec::new());
    while bytes.len() <= MAX_REQUEST_BYTES {
        match timeout_at(deadline, chunks.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
            Ok(Some(Err(_))) => return refused(StatusCode::BAD_REQUEST, "the body ended early"),
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
    // The answer is the same whether the rest came in time or not.
    let _ = timeout(DISCARDED_TIME, discard).await;
    refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB")
}
