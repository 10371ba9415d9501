//! The ways in which a server, or what stands before it, misbehaves.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, ErrorCode};
use super::jwt;
use crate::canary;

/// How a server treats its requests. Set for the whole server or for one user, for good or for the next few requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// As ThingsBoard does.
    Normal,
    /// As ThingsBoard does, that much later. What the request does is done at once; only the answer is late.
    Slow(Duration),

    /// Nobody listens: connections are refused, and those that were open are gone. For the whole server only.
    Refuse,
    /// The network swallows everything: no connection comes about, those that were open stay silent. For the whole
    /// server only.
    BlackHole,
    /// Takes the request and never answers.
    Silent,
    /// Takes the request and resets the connection.
    Reset,
    /// Answers one request on each connection and closes it when the next one arrives, as a keep-alive connection that
    /// had been closed in the same moment. That request is never seen. For the whole server only.
    StaleKeepAlive,

    /// ThingsBoard's rate limit for tenants, 429 with code 33; `Retry-After` comes from a proxy, if at all.
    RateLimit {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The same, but only for requests beyond so many in a second.
    MaxRate {
        /// How many requests are served in each second.
        per_second: u32,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// ThingsBoard's database is in trouble: 500 with code 46.
    DatabaseError,
    /// ThingsBoard's database is dead: 500 with code 46 at once for users and passwords that are not right, and after so
    /// long for all that is; 30 s on a real server. Nothing is counted, and the password policy is answered all the same.
    DatabaseDead {
        /// How long what is right waits.
        after: Duration,
    },
    /// The process is frozen: its kernel takes connections and requests, nobody answers. When another behaviour is set, it
    /// works off what has come meanwhile, wrong passwords included, though the clients may have gone. For the whole server
    /// only.
    Frozen,
    /// ThingsBoard does and counts what it is asked to, and then the answer is lost to this behaviour of what stands before
    /// it: a [page](Self::Page) with 403 or 504, a [reset](Self::Reset), [silence](Self::Silent).
    AnswerLost(Box<Self>),
    /// A proxy's page with this status, such as 502, 503, 504, or 404 for a path that does not exist.
    Page(u16),
    /// A 401 by a proxy that wants a password of its own, with a page for people.
    ProxyUnauthorized,
    /// 200 with the login page of some portal.
    LoginPage,
    /// A redirect to elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The value of `Location`.
        location: String,
    },
    /// Exactly this.
    Says(Answer),

    /// The right answer under this content type.
    ContentType(&'static str),
    /// A 200 whose JSON holds no token.
    JsonWithoutToken,
    /// A token that is no JWT.
    NotAJwt,
    /// A token whose `exp` is not later than its `iat`.
    ExpNotAfterIat,
    /// A good token, grown to so many characters (or one more).
    TokenLength(usize),

    /// Bytes that are no HTTP.
    Garbage,
    /// Headers without end.
    EndlessHead,
    /// `100 Continue` without end.
    EndlessInterim,
    /// A body without end that begins like the right one.
    EndlessBody,
    /// The right answer, one byte at a time.
    SlowDrip {
        /// The time between two bytes.
        every: Duration,
    },
    /// The right answer, cut off after so many bytes.
    Cut(usize),
    /// The right answer, cut off after so many bytes of its body.
    CutBody(usize),
    /// The right answer, of which nothing more comes after so many bytes of its body.
    StuckBody(usize),
}

impl Behaviour {
    /// The answer that comes instead of ThingsBoard's own, where the request never reaches its rules.
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
            Self::Says(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    /// What becomes of ThingsBoard's own answer. Answers without a token stay as they are, but for their type.
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

    /// Whether this is about the server rather than about single requests.
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
