//! ThingsBoard over HTTP: the seam between the engine and the servers, and how gently each of them is asked.

mod answer;
mod broken;
mod client;
pub mod gate;
mod names;
mod proxy;
mod workers;

use std::future::Future;
use std::time::Duration;

pub use client::{Client, ClientError, ClientSettings};

use crate::model::{BaseUrl, Credentials, Failure, Grant, Secret, TokenAnswer};

/// Where tokens come from.
///
/// A method ends within the time-outs of its implementation.
pub trait Logins: Send + Sync + 'static {
    /// Logs in with the password: `POST {base}/api/auth/login`. Every wrong password counts toward a lockout. Ends after
    /// `within`, or the implementation's own time-out if that is shorter: no byte of the password is sent later.
    fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> impl Future<Output = Result<Grant, Failure>> + Send;

    /// Renews with a refresh token: `POST {base}/api/auth/token`. It needs no password and counts toward no lockout.
    fn refresh(
        &self,
        base: &BaseUrl,
        refresh_token: &Secret,
    ) -> impl Future<Output = Result<Grant, RefreshError>> + Send;

    /// Asks whether ThingsBoard works: a login of a user that does not exist, `tbtokend-probe-<hex>@probe.invalid`, with a
    /// random password. It counts toward no lockout, and leaves no audit entry.
    fn probe(&self, base: &BaseUrl) -> impl Future<Output = Probe> + Send;

    /// Asks whether a token works: `GET {base}/api/auth/user`. The token goes to no other server.
    fn check(&self, base: &BaseUrl, token: &Secret) -> impl Future<Output = TokenAnswer> + Send;
}

/// What a probe says of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// ThingsBoard answers: it refused the user in its own words.
    Good,
    /// It does not: no connection, no answer, 5xx or 429.
    Bad(Failure),
    /// The answer is neither: a portal, a login of a proxy, a redirect.
    NoVerdict(Failure),
}

/// Why a refresh token brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshError {
    /// The server does not take it (any more): log in instead.
    Rejected {
        /// It says that the token is outdated: the password was changed after it was issued.
        is_outdated: bool,
    },
    /// The server could not be asked or is in trouble: a password would fare no better.
    Failed(Failure),
}
