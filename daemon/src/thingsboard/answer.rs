//! What an answer of ThingsBoard means. Pure: a status, two headers and a body go in, a grant or a failure comes out.
//!
//! The facts are from ThingsBoard CE's source (4.4.0-SNAPSHOT): `ThingsboardErrorResponseHandler`,
//! `ThingsboardErrorCode`, `RestAuthenticationProvider`, `RestAwareAuthenticationSuccessHandler`,
//! `RefreshTokenAuthenticationProvider`.

use std::time::Duration;

use chrono::DateTime;
use serde::Deserialize;

use super::{NotRenewed, Probe};
use crate::model::{Failure, Grant, Secret, Token, Unexpected};

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// `Location`.
    pub(super) location: Option<String>,
    /// `Retry-After`.
    pub(super) retry_after: Option<String>,
    /// `Date`, by which a `Retry-After` that is a date is read: both are by the server's clock.
    pub(super) date: Option<String>,
    /// The body; `None` if it was longer than is read, or broke off in an answer whose status says enough.
    pub(super) body: Option<Vec<u8>>,
}

/// The body of a good answer. A token with a `scope` is the ticket to a second factor and of no use for the API.
#[derive(Deserialize)]
struct Good {
    token: Option<String>,
    #[serde(rename = "refreshToken")]
    refresh_token: Option<String>,
    scope: Option<serde::de::IgnoredAny>,
}

/// The body of an error, as far as it may be looked at: an expired password brings a secret in `resetToken`.
#[derive(Deserialize)]
struct Bad {
    message: Option<String>,
    #[serde(rename = "errorCode")]
    error_code: Option<i64>,
}

/// `ThingsboardErrorCode`: authentication failed.
const AUTHENTICATION: i64 = 10;
/// `ThingsboardErrorCode`: the token has expired.
const JWT_TOKEN_EXPIRED: i64 = 11;
/// `ThingsboardErrorCode`: the credentials have expired.
const CREDENTIALS_EXPIRED: i64 = 15;
/// `ThingsboardErrorCode`: the password violates the policy.
const PASSWORD_VIOLATION: i64 = 45;

/// What the answer to a login means.
pub(super) fn read_login(answer: &Answer) -> Result<Grant, Failure> {
    match answer.status {
        200 => read_grant(answer),
        401 => Err(read_unauthorized(answer)),
        429 => Err(Failure::RateLimited { retry_after: retry_after(answer) }),
        300..=399 => Err(Failure::UnexpectedResponse(redirect(answer))),
        status @ 500.. => Err(Failure::ServerError { status }),
        status => Err(Failure::UnexpectedResponse(Unexpected::Status { status })),
    }
}

/// What the answer to a renewal means. When the server has something against the refresh token (expired, session ended,
/// password changed, not a refresh token at all), the password is asked next; not when it is in trouble, nor when somebody
/// else answers: a portal or a page about maintenance gets no password.
pub(super) fn read_renewal(answer: &Answer) -> Result<Grant, NotRenewed> {
    match read_login(answer) {
        Ok(grant) => Ok(grant),
        // "Invalid Refresh Token scope" comes as an internal error (500/2).
        Err(Failure::ServerError { status: 500 }) if error_body(answer).is_some_and(is_token_scope) => {
            Err(NotRenewed::Refused { is_outdated: false })
        }
        Err(Failure::UnexpectedResponse(Unexpected::ProxyLogin)) if is_about_the_token(answer) => {
            Err(NotRenewed::Refused { is_outdated: is_outdated(answer) })
        }
        Err(
            failure @ (Failure::RateLimited { .. }
            | Failure::ServerError { .. }
            | Failure::UnexpectedResponse(_)),
        ) => Err(NotRenewed::Failed(failure)),
        Err(_) => Err(NotRenewed::Refused { is_outdated: is_outdated(answer) }),
    }
}

/// What the answer to a probe means.
pub(super) fn read_probe(answer: &Answer) -> Probe {
    match read_login(answer) {
        Err(Failure::CredentialsRejected) => Probe::Good,
        Err(failure @ (Failure::ServerError { .. } | Failure::RateLimited { .. })) => Probe::Bad(failure),
        Err(failure) => Probe::NoVerdict(failure),
        // No server lets a user in that does not exist.
        Ok(_) => Probe::NoVerdict(Failure::UnexpectedResponse(Unexpected::NotJson)),
    }
}

/// Whether a 401 is in ThingsBoard's shape and about a token: `Token has expired` (401/11), `Token is outdated` (401/10).
fn is_about_the_token(answer: &Answer) -> bool {
    error_body(answer).is_some_and(|bad| matches!(bad.error_code, Some(AUTHENTICATION | JWT_TOKEN_EXPIRED)))
}

fn is_outdated(answer: &Answer) -> bool {
    let message = error_body(answer).and_then(|bad| bad.message);
    message.is_some_and(|message| message.contains("outdated"))
}

fn is_token_scope(bad: Bad) -> bool {
    bad.error_code == Some(2) && bad.message.is_some_and(|message| message.contains("Refresh Token"))
}

fn read_grant(answer: &Answer) -> Result<Grant, Failure> {
    let unexpected = |what| Err(Failure::UnexpectedResponse(what));
    let Some(body) = &answer.body else { return unexpected(Unexpected::TooLong) };
    let Ok(good) = serde_json::from_slice::<Good>(body) else { return unexpected(Unexpected::NotJson) };
    if good.scope.is_some() {
        return Err(Failure::SecondFactorRequired);
    }
    let Some(token) = good.token else { return unexpected(Unexpected::NoToken) };
    match Token::parse(&token) {
        Ok(token) => Ok(Grant { token, refresh_token: good.refresh_token.map(Secret::new) }),
        Err(why) => unexpected(Unexpected::NotAToken(why)),
    }
}

fn read_unauthorized(answer: &Answer) -> Failure {
    let proxy_login = Failure::UnexpectedResponse(Unexpected::ProxyLogin);
    let Some(bad) = error_body(answer) else { return proxy_login };
    let message = bad.message.unwrap_or_default();
    match bad.error_code {
        Some(CREDENTIALS_EXPIRED) => Failure::PasswordExpired,
        Some(PASSWORD_VIOLATION) => Failure::PasswordViolatesPolicy,
        Some(code) if code != AUTHENTICATION => proxy_login,
        // All others share code 10; only the message tells them apart.
        _ if message.contains("is locked") => Failure::AccountLocked,
        _ if message.contains("is not active") => Failure::AccountDisabled,
        _ if message.starts_with("Invalid username or password")
            || message.starts_with("Authentication failed") =>
        {
            Failure::CredentialsRejected
        }
        _ => proxy_login,
    }
}

fn error_body(answer: &Answer) -> Option<Bad> {
    serde_json::from_slice(answer.body.as_deref()?).ok()
}

/// `Retry-After`: seconds, or a date, which counts from the answer's own `Date`, whatever our clock says.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text.trim()).ok();
    (date(text)? - date(answer.date.as_deref()?)?).to_std().ok()
}

fn redirect(answer: &Answer) -> Unexpected {
    let location = answer.location.as_deref().unwrap_or("(nowhere)");
    // User info and a query may hold what is nobody's business.
    let shown = crate::text::url(location);
    let location = shown.split(['?', '#']).next().unwrap_or_default();
    Unexpected::Redirect { location: crate::text::short(location) }
}

#[cfg(test)]
mod tests;
