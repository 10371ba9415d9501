//! Interprets the answers of ThingsBoard. Pure: turns a status, some headers and a body into a grant or a failure.
//!
//! The facts are from ThingsBoard CE's source (4.4.0-SNAPSHOT): `ThingsboardErrorResponseHandler`,
//! `ThingsboardErrorCode`, `RestAuthenticationProvider`, `RestAwareAuthenticationSuccessHandler`,
//! `RefreshTokenAuthenticationProvider`.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{Probe, RefreshError};
use crate::model::{DeadCause, Failure, Grant, Secret, Token, TokenAnswer, UnexpectedAnswer};

/// An HTTP answer that was not interpreted yet.
#[derive(Debug)]
pub(super) struct Answer {
    /// The URL of the request.
    pub(super) request_url: Url,
    /// The HTTP status.
    pub(super) status: u16,
    /// `Location`.
    pub(super) location: Option<String>,
    /// `Retry-After`.
    pub(super) retry_after: Option<String>,
    /// `Date`. A `Retry-After` that is a date is relative to it, because both come from the server's clock.
    pub(super) date: Option<String>,
    /// `Content-Encoding`; the request asks for none.
    pub(super) encoding: Option<String>,
    /// The body; `None` if it is longer than the limit, or broke off in an answer whose status is sufficient.
    pub(super) body: Option<Vec<u8>>,
}

/// The body of an answer with tokens. A token with a `scope` is only good for the second factor, not for the API.
#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    #[serde(rename = "refreshToken")]
    refresh_token: Option<String>,
    scope: Option<serde::de::IgnoredAny>,
}

/// The body of an error, without `resetToken`: with an expired password, that field holds a secret. Empty if the body is
/// another one.
#[derive(Default, Deserialize)]
struct ErrorReply {
    message: Option<String>,
    #[serde(rename = "errorCode")]
    code: Option<i64>,
}

impl ErrorReply {
    fn of(answer: &Answer) -> Self {
        answer.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}

/// The longest refresh token that is stored, in bytes. Those of ThingsBoard have about 700.
const LONGEST_REFRESH_TOKEN: usize = 8 * 1024;

/// The longest wait that a server may impose.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// `ThingsboardErrorCode`: authentication failed.
const AUTHENTICATION: i64 = 10;
/// `ThingsboardErrorCode`: the token has expired.
const JWT_TOKEN_EXPIRED: i64 = 11;
/// `ThingsboardErrorCode`: the credentials have expired.
const CREDENTIALS_EXPIRED: i64 = 15;
/// `ThingsboardErrorCode`: the password violates the policy.
const PASSWORD_VIOLATION: i64 = 45;

/// Interprets the answer to a login.
pub(super) fn read_login(answer: &Answer) -> Result<Grant, Failure> {
    match answer.status {
        200 | 401 if is_encoded(answer) => Err(Failure::UnexpectedResponse(UnexpectedAnswer::Encoded)),
        200 => read_grant(answer),
        401 => Err(read_unauthorized(answer)),
        429 => Err(Failure::RateLimited { retry_after: retry_after(answer) }),
        300..=399 => Err(Failure::UnexpectedResponse(redirect(answer))),
        status @ 500.. => Err(Failure::ServerError { status, retry_after: retry_after(answer) }),
        status => Err(Failure::UnexpectedResponse(
            read_wrong_port_or_proxy(answer).unwrap_or(UnexpectedAnswer::Status { status }),
        )),
    }
}

/// Returns the problem if the request reached a port for TLS, or a proxy that requires a login.
pub(super) fn read_wrong_port_or_proxy(answer: &Answer) -> Option<UnexpectedAnswer> {
    match answer.status {
        400 if requires_tls(answer) => Some(UnexpectedAnswer::Tls),
        407 => Some(UnexpectedAnswer::ProxyAuthentication),
        _ => None,
    }
}

/// Whether the body is what nginx, Apache and Tomcat answer to a plain request on a port for TLS.
fn requires_tls(answer: &Answer) -> bool {
    let body = answer.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    ["plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled", "requires TLS"]
        .iter()
        .any(|words| body.contains(words))
}

fn is_encoded(answer: &Answer) -> bool {
    answer.encoding.as_deref().is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity"))
}

/// Interprets the answer to a refresh.
///
/// If the server rejects the refresh token (expired, session ended, password changed, not a refresh token), the password is
/// sent next. If the server is in trouble, or a portal or a maintenance page answers, no password is sent.
pub(super) fn read_refresh(answer: &Answer) -> Result<Grant, RefreshError> {
    let error = ErrorReply::of(answer);
    let is_outdated = error.message().contains("outdated");
    match read_login(answer) {
        Ok(grant) => Ok(grant),
        // "Invalid Refresh Token scope" comes as an internal error (500/2).
        Err(Failure::ServerError { status: 500, .. })
            if error.code == Some(2) && error.message().contains("Refresh Token") =>
        {
            Err(RefreshError::Rejected { is_outdated: false })
        }
        // ThingsBoard's own 401 about a token: `Token has expired` (401/11), `Token is outdated` (401/10).
        Err(Failure::UnexpectedResponse(UnexpectedAnswer::ProxyLogin))
            if matches!(error.code, Some(AUTHENTICATION | JWT_TOKEN_EXPIRED)) =>
        {
            Err(RefreshError::Rejected { is_outdated })
        }
        Err(
            failure @ (Failure::RateLimited { .. }
            | Failure::ServerError { .. }
            | Failure::UnexpectedResponse(_)),
        ) => Err(RefreshError::Failed(failure)),
        Err(_) => Err(RefreshError::Rejected { is_outdated }),
    }
}

/// Interprets the answer to a probe.
pub(super) fn read_probe(answer: &Answer) -> Probe {
    match read_login(answer) {
        // Whatever the reason, ThingsBoard itself has rejected the user. A server that accepts a user that does not exist
        // answers logins, and rejects and counts none.
        Ok(_)
        | Err(
            Failure::CredentialsRejected
            | Failure::AuthenticationFailed
            | Failure::AccountDisabled
            | Failure::AccountLocked
            | Failure::PasswordExpired
            | Failure::PasswordViolatesPolicy,
        ) => Probe::Good,
        Err(failure @ (Failure::ServerError { .. } | Failure::RateLimited { .. })) => Probe::Bad(failure),
        Err(failure) => Probe::NoVerdict(failure),
    }
}

/// Interprets the answer to the check of a token. Only ThingsBoard's own words about the token make it dead. `Authentication
/// failed` means that the header did not arrive.
pub(super) fn read_check(answer: &Answer) -> TokenAnswer {
    let error = ErrorReply::of(answer);
    match (answer.status, error.code) {
        (200, _) if is_user(answer) => TokenAnswer::Works,
        (401, Some(JWT_TOKEN_EXPIRED)) if error.message().contains("expired") => {
            TokenAnswer::Dead(DeadCause::ExpiredEarly)
        }
        (401, Some(AUTHENTICATION)) if error.message().contains("outdated") => {
            TokenAnswer::Dead(DeadCause::Outdated)
        }
        (500.., _) => TokenAnswer::NoAnswer,
        _ => TokenAnswer::Unclear,
    }
}

/// Whether the body is a user of ThingsBoard, and not a page of another service.
fn is_user(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct User {
        authority: String,
    }
    let user = answer.body.as_deref().and_then(|body| serde_json::from_slice::<User>(body).ok());
    user.is_some_and(|user| !user.authority.is_empty())
}

fn read_grant(answer: &Answer) -> Result<Grant, Failure> {
    let unexpected = |what| Err(Failure::UnexpectedResponse(what));
    let Some(body) = &answer.body else { return unexpected(UnexpectedAnswer::TooLong) };
    let Ok(good) = serde_json::from_slice::<TokenReply>(body) else {
        return unexpected(UnexpectedAnswer::NotJson);
    };
    if good.scope.is_some() {
        return Err(Failure::SecondFactorRequired);
    }
    let Some(token) = good.token else { return unexpected(UnexpectedAnswer::NoToken) };
    match Token::parse(&token) {
        Ok(token) => {
            let refresh_token = good.refresh_token.filter(|token| token.len() <= LONGEST_REFRESH_TOKEN);
            Ok(Grant { token, refresh_token: refresh_token.map(Secret::new) })
        }
        Err(why) => unexpected(UnexpectedAnswer::NotAToken(why)),
    }
}

fn read_unauthorized(answer: &Answer) -> Failure {
    let proxy_login = Failure::UnexpectedResponse(UnexpectedAnswer::ProxyLogin);
    let error = ErrorReply::of(answer);
    let message = error.message();
    match error.code {
        Some(CREDENTIALS_EXPIRED) => Failure::PasswordExpired,
        Some(PASSWORD_VIOLATION) => Failure::PasswordViolatesPolicy,
        Some(code) if code != AUTHENTICATION => proxy_login,
        // All others share code 10; only the message tells them apart.
        _ if message.contains("is locked") => Failure::AccountLocked,
        _ if message.contains("is not active") => Failure::AccountDisabled,
        _ if message.starts_with("Invalid username or password") => Failure::CredentialsRejected,
        _ if message.starts_with("Authentication failed") => Failure::AuthenticationFailed,
        _ => proxy_login,
    }
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    let wait = crate::text::retry_after(answer.retry_after.as_deref()?, answer.date.as_deref())?;
    Some(wait.min(LONGEST_WAIT))
}

/// Returns the target of a redirect without its secrets. Path and query can hold some, so of the path only the part that the
/// request has too is shown.
fn redirect(answer: &Answer) -> UnexpectedAnswer {
    let target = answer.location.as_deref().and_then(|location| answer.request_url.join(location).ok());
    let Some(target) = target.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
        return UnexpectedAnswer::OwnRedirect;
    };
    let (ours, theirs) = (base_path(&answer.request_url), base_path(&target));
    if target.origin() == answer.request_url.origin() {
        return UnexpectedAnswer::OwnRedirect;
    }
    let path = if ours == theirs { ours } else { "" };
    UnexpectedAnswer::Redirect {
        location: crate::text::short(&format!("{}{path}", target.origin().ascii_serialization())),
    }
}

/// Strips the paths that ThingsBoard and its pages add to a base URL.
fn base_path(url: &Url) -> &str {
    let path = url.path().trim_end_matches('/');
    let tails = ["/api/auth/login", "/api/auth/token", "/api/noauth/userPasswordPolicy", "/api", "/login"];
    tails.iter().find_map(|tail| path.strip_suffix(tail)).unwrap_or(path)
}

#[cfg(test)]
mod tests;
