//! The faults of a server, or of a proxy in front of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, ErrorCode};
use super::jwt;
use crate::canary;

/// How a server answers requests. It is set for the whole server or for one user, without limit or for some requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers as ThingsBoard does.
    Normal,
    /// Answers as ThingsBoard does, but later. The request is processed at once; only the answer is late.
    Slow(Duration),

    /// Does not listen: connections are refused, and open ones are closed. For the whole server only.
    Refuse,
    /// Loses all packets: no connection can be made, and open ones stay silent. For the whole server only.
    BlackHole,
    /// Reads the request and never answers.
    Silent,
    /// Reads the request and resets the connection.
    Reset,
    /// Answers one request on each connection and closes it when the next one arrives, like a keep-alive connection that is
    /// closed at the same moment. That request is never processed. For the whole server only.
    StaleKeepAlive,

    /// Answers with ThingsBoard's rate limit for tenants, 429 with code 33. Only a proxy sends `Retry-After`.
    RateLimit {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Answers with the rate limit only above a number of requests per second.
    MaxRate {
        /// How many requests are served in each second.
        per_second: u32,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Answers as if ThingsBoard's database failed: 500 with code 46.
    DatabaseError,
    /// Answers as if ThingsBoard's database were dead: 500 with code 46. Wrong users and passwords get it at once, right
    /// ones later; on a real server after 30 s. Nothing is counted, and the password policy is still answered.
    DatabaseDead {
        /// How long a right password waits.
        after: Duration,
    },
    /// Behaves like a frozen process: the kernel accepts connections and requests, and nothing answers. When another behaviour
    /// is set, the server processes these requests, wrong passwords included, even if the clients are gone. For the whole
    /// server only.
    Frozen,
    /// Processes and counts the request, but loses the answer to this behaviour of a proxy: a [page](Self::Page) with 403 or
    /// 504, a [reset](Self::Reset), [silence](Self::Silent).
    AnswerLost(Box<Self>),
    /// Answers with a proxy's page with this status, such as 502, 503, 504, or 404 for a path that does not exist.
    Page(u16),
    /// Answers with a 401 of a proxy that wants its own password, with an HTML page.
    ProxyUnauthorized,
    /// A proxy that removes the header with the token.
    CutsTokenHeader,
    /// Answers with 200 and the login page of a portal.
    LoginPage,
    /// Answers with a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The value of `Location`.
        location: String,
    },
    /// Always sends this answer.
    FixedAnswer(Answer),

    /// Sends the right answer with this content type.
    ContentType(&'static str),
    /// Sends a 200 whose JSON has no token.
    JsonWithoutToken,
    /// Sends a token that is not a JWT.
    NotAJwt,
    /// Sends a token whose `exp` is not later than its `iat`.
    ExpNotAfterIat,
    /// Sends a valid token of this length (or one more).
    TokenLength(usize),

    /// Sends bytes that are not HTTP.
    Garbage,
    /// Sends headers without end.
    EndlessHead,
    /// Sends `100 Continue` without end.
    EndlessInterim,
    /// Sends a body without end that begins like the right one.
    EndlessBody,
    /// Sends the right answer, one byte at a time.
    SlowDrip {
        /// The time between two bytes.
        every: Duration,
    },
    /// Sends this many bytes of the right answer, and closes.
    Cut(usize),
    /// Sends this many bytes of the right body, and closes.
    CutBody(usize),
    /// Sends this many bytes of the right body, and then nothing more.
    StuckBody(usize),
}

impl Behaviour {
    /// Returns the answer in place of ThingsBoard's own, if the request never reaches it.
    pub(super) fn instead(&self, now: chrono::DateTime<chrono::Utc>) -> Option<Answer> {
        match self {
            Self::RateLimit { retry_after } => Some(rate_limited(*retry_after, now)),
            Self::DatabaseError => Some(Answer::error(500, ErrorCode::Database, "Database error", now)),
            Self::Page(status) => Some(Answer::html(*status, &format!("{status} {}", reason(*status)))),
            Self::ProxyUnauthorized => Some(
                Answer::html(401, "401 Authorization Required")
                    .with_header("WWW-Authenticate", "Basic realm=\"restricted\""),
            ),
            Self::LoginPage => Some(Answer::html(200, "Please log in")),
            Self::Redirect { status, location } => Some(
                Answer::html(*status, &format!("{status} {}", reason(*status)))
                    .with_header("Location", location.as_str()),
            ),
            Self::FixedAnswer(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    /// Changes ThingsBoard's own answer. Answers without a token change only their type.
    pub(super) fn distort(&self, mut answer: Answer, key: u64) -> Answer {
        if let Self::ContentType(content_type) = self {
            answer.content_type = content_type;
            return answer;
        }
        let mut body = answer.value();
        let Some(token) = body["token"].as_str().map(str::to_owned) else { return answer };
        let issued = jwt::peek(&token).map(|claims| claims["iat"].clone()).unwrap_or_default();
        match self {
            Self::JsonWithoutToken => body = json!({"status": "ok", "refreshToken": body["refreshToken"]}),
            Self::NotAJwt => body["token"] = format!("{}-opaque", canary::TOKEN).into(),
            Self::ExpNotAfterIat => body["token"] = jwt::reforge(key, &token, "exp", issued).into(),
            Self::TokenLength(length) => body["token"] = jwt::stretch(key, &token, *length).into(),
            _ => return answer,
        }
        answer.body = Value::to_string(&body).into_bytes();
        answer
    }

    /// Whether the behaviour concerns the whole server rather than single requests.
    pub(super) fn is_of_the_whole_server(&self) -> bool {
        matches!(self, Self::Refuse | Self::BlackHole | Self::Frozen)
    }
}

pub(super) fn rate_limited(retry_after: Option<Duration>, now: chrono::DateTime<chrono::Utc>) -> Answer {
    let answer = Answer::error(429, ErrorCode::TooManyRequests, "Too many requests for current tenant!", now);
    match retry_after {
        Some(wait) => answer.with_header("Retry-After", wait.as_secs().to_string()),
        None => answer,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => "Something",
    }
}
