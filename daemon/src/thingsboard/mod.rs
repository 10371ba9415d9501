//! ThingsBoard over HTTP: the interface between the engine and the servers, and the limits for each server.

mod answer;
mod client;
mod dns;
pub mod gate;
mod no_answer;
mod proxy;
mod workers;

use std::future::Future;
use std::time::Duration;

pub use client::{Client, ClientError, ClientSettings};

use crate::model::{BaseUrl, Credentials, Failure, Grant, Secret, TokenAnswer};

/// A source of tokens.
///
/// Each method ends within the time-outs of its implementation.
pub trait Logins: Send + Sync + 'static {
    /// Logs in with the password: `POST {base}/api/auth/login`. Every wrong password counts toward a lockout. It ends
    /// after `within`, or after the implementation's own time-out if that is shorter. It sends no byte of the password later.
    fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> impl Future<Output = Result<Grant, Failure>> + Send;

    /// Renews with a refresh token: `POST {base}/api/auth/token`. This needs no password and counts toward no lockout.
    fn refresh(
        &self,
        base: &BaseUrl,
        refresh_token: &Secret,
    ) -> impl Future<Output = Result<Grant, RefreshError>> + Send;

    /// Checks whether ThingsBoard works: logs in as a user that does not exist, `tbtokend-probe-<hex>@probe.invalid`, with a
    /// random password. This counts toward no lockout, and leaves no audit entry.
    fn probe(&self, base: &BaseUrl) -> impl Future<Output = Probe> + Send;

    /// Checks whether a token works: `GET {base}/api/auth/user`. The token is sent to no other server.
    fn check(&self, base: &BaseUrl, token: &Secret) -> impl Future<Output = TokenAnswer> + Send;
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// ThingsBoard answers: it rejected the user in its own words.
    Good,
    /// ThingsBoard does not answer: no connection, no answer, 5xx or 429.
    Bad(Failure),
    /// Something else answers: a portal, the login of a proxy, or a redirect.
    NoVerdict(Failure),
}

/// The reason why a refresh brought no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshError {
    /// The server rejects the refresh token. A login is necessary.
    Rejected {
        /// Whether the server calls the token outdated: the password was changed after the token was issued.
        is_outdated: bool,
    },
    /// The server did not answer or is in trouble. A password would not help.
    Failed(Failure),
}
