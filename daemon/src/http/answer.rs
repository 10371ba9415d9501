//! HTTP answers: the JSON of the sockets, with status and headers.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::try_unfold;
use tbtoken_proto::{self as proto, ErrorCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;

use crate::control::Outgoing;

/// The headers of every answer. They forbid the browser to load other sites, to be framed, to guess types and to share
/// with other pages.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Adds the headers of every answer, unless the answer has its own.
pub(super) async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// The answer to a request that is refused.
#[derive(Debug)]
pub(super) struct HttpRefusal {
    status: StatusCode,
    refusal: proto::Refusal,
}

impl HttpRefusal {
    pub(super) fn new(status: StatusCode, code: ErrorCode, error: impl Into<String>) -> Self {
        Self { status, refusal: proto::Refusal::new(code, error) }
    }

    /// Creates a refusal with the status that belongs to the code.
    pub(super) fn of(code: ErrorCode, error: impl Into<String>) -> Self {
        Self::new(status_of(code), code, error)
    }
}

impl From<proto::Refusal> for HttpRefusal {
    fn from(refusal: proto::Refusal) -> Self {
        Self { status: status_of(refusal.code), refusal }
    }
}

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        match Outgoing::line(&proto::Answer { id: None, outcome: Err(self.refusal) }) {
            Ok(line) => response(self.status, line, None),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Converts an answer of the sockets to one of HTTP. `permit` is held until the whole answer is sent.
pub(super) fn to_response(outgoing: Outgoing, permit: Option<OwnedSemaphorePermit>) -> Response {
    response(outgoing.refused().map_or(StatusCode::OK, status_of), outgoing, permit)
}

fn response(status: StatusCode, outgoing: Outgoing, permit: Option<OwnedSemaphorePermit>) -> Response {
    let body = match outgoing {
        Outgoing::Line { line, .. } => Body::from(line),
        listing @ Outgoing::Listing(_) => streamed(listing, permit),
    };
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::TOO_MANY_REQUESTS => (header::RETRY_AFTER, "1"),
        // The daemon does not read the rest of the body.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => (header::CONNECTION, "close"),
        _ => return response,
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// Streams a list of customers; each piece is made after the one before is sent.
fn streamed(listing: Outgoing, permit: Option<OwnedSemaphorePermit>) -> Body {
    Body::from_stream(try_unfold((listing, permit), |(mut listing, permit)| async move {
        // A client that reads as fast as the daemon writes must not keep other clients waiting.
        yield_now().await;
        let mut piece = Vec::new();
        listing.next(&mut piece)?;
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, (listing, permit))))
    }))
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::UnknownAction => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::ReadOnly | ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::UnknownCustomer | ErrorCode::IneligibleCustomer => StatusCode::NOT_FOUND,
        ErrorCode::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::StoreUnavailable | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal | ErrorCode::BadConfiguration | ErrorCode::Unknown => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Returns the entity tag of a content.
pub(super) fn etag(content: &[u8]) -> String {
    let hash = digest(&SHA256, content);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12]))
}

/// Returns status 304 if the client has the content with this tag.
pub(super) fn unchanged(tag: &str, headers: &HeaderMap) -> Option<Response> {
    let known = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    let is_known = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag);
    is_known.then(|| with_tag(StatusCode::NOT_MODIFIED.into_response(), tag))
}

/// Adds a tag to an answer, unless it is a refusal.
pub(super) fn with_tag(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag)
        && !response.status().is_client_error()
    {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
