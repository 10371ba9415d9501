//! An HTTP answer before it is sent, and ThingsBoard's error bodies.
//!
//! The bodies are those of ThingsBoard 4.4: `ThingsboardErrorResponse`, `ThingsboardCredentialsExpiredResponse`,
//! `ThingsboardCredentialsViolationResponse`, written by `ThingsboardErrorResponseHandler`.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The content type; if empty, the answer has no such header.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// ThingsBoard's error codes (`ThingsboardErrorCode`) that authentication uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are ThingsBoard's own")]
pub enum ErrorCode {
    General = 2,
    Authentication = 10,
    JwtTokenExpired = 11,
    CredentialsExpired = 15,
    PermissionDenied = 20,
    BadRequestParams = 31,
    ItemNotFound = 32,
    TooManyRequests = 33,
    PasswordViolation = 45,
    Database = 46,
}

impl Answer {
    /// Makes an answer in JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    /// Makes an HTML page, as reverse proxies and login portals send them.
    #[must_use]
    pub fn html(status: u16, title: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html>\n<head><title>{title}</title></head>\n<body>\n<center><h1>{title}</h1></center>\n\
             <hr><center>nginx</center>\n</body>\n</html>\n"
        );
        Self { status, content_type: "text/html", headers: Vec::new(), body: body.into_bytes() }
    }

    /// Makes an error of ThingsBoard.
    #[must_use]
    pub fn error(status: u16, code: ErrorCode, message: &str, now: DateTime<Utc>) -> Self {
        Self::json(
            status,
            &json!({
                "status": status,
                "message": message,
                "errorCode": code as u8,
                "timestamp": now.timestamp_millis(),
            }),
        )
    }

    /// Makes the answer to a refused login or renewal: 401 with code 10.
    #[must_use]
    pub fn unauthorized(message: &str, now: DateTime<Utc>) -> Self {
        Self::error(401, ErrorCode::Authentication, message, now)
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Parses the body as JSON; null if it is not JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
