//! ThingsBoard over HTTP: the seam between the engine and the servers, and how gently each of them is asked.

mod answer;
mod client;
pub mod gate;

use std::future::Future;

pub use client::{Client, ClientError, ClientSettings};

use crate::model::{BaseUrl, Credentials, Failure, Grant, Secret};

/// Where tokens come from.
///
/// A method ends within the time-outs of its implementation.
pub trait Logins: Send + Sync + 'static {
    /// Logs in with the password: `POST {base}/api/auth/login`. Every wrong password counts toward a lockout.
    fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
    ) -> impl Future<Output = Result<Grant, Failure>> + Send;

    /// Renews with a refresh token: `POST {base}/api/auth/token`. It needs no password and counts toward no lockout.
    fn renew(
        &self,
        base: &BaseUrl,
        refresh_token: &Secret,
    ) -> impl Future<Output = Result<Grant, NotRenewed>> + Send;
}

/// Why a refresh token brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRenewed {
    /// The server does not take it (any more): log in instead.
    Refused,
    /// The server could not be asked or is in trouble: a password would fare no better.
    Failed(Failure),
}
