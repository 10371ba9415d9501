//! Sends requests and waits for their answers, and says what an answer tells of the server.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::queues::Request;
use crate::engine::credentials::Charge;
use crate::engine::plan::Attempt;
use crate::model::{BaseUrl, CustomerId, Failure, Grant, TokenAnswer};
use crate::thingsboard::gate::{Signal, Ticket};
use crate::thingsboard::{Logins, NotRenewed, Probe};

/// The requests under way.
pub(super) type Asking<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send + 'a>>>;

/// A request that has ended.
pub(super) enum Ended {
    Attempt(Box<EndedAttempt>),
    Probe { host: usize, probe: Probe },
    Check { host: usize, id: CustomerId, answer: TokenAnswer },
}

/// A request for a customer that has ended.
pub(super) struct EndedAttempt {
    pub(super) host: usize,
    pub(super) ticket: Ticket,
    pub(super) attempt: Attempt,
    /// The charge of a password; none for a refresh token.
    pub(super) charge: Option<Charge>,
    pub(super) latency: Duration,
    pub(super) result: Result<Grant, NotRenewed>,
}

/// Sends a refresh token and waits for the answer.
pub(super) async fn refresh<L: Logins>(logins: &L, Request { host, ticket, attempt }: Request) -> Ended {
    let began = Instant::now();
    let result = match &attempt.refresh_token {
        Some(refresh_token) => logins.renew(&attempt.base, refresh_token).await,
        None => Err(NotRenewed::Refused { is_outdated: false }),
    };
    let latency = began.elapsed();
    Ended::Attempt(Box::new(EndedAttempt { host, ticket, attempt, charge: None, latency, result }))
}

/// Sends a password, whose charge is in the store, and waits for the answer.
pub(super) async fn login<L: Logins>(
    logins: &L,
    Request { host, ticket, attempt }: Request,
    charge: Charge,
    within: Duration,
) -> Ended {
    let began = Instant::now();
    let result = logins.login(&attempt.base, &attempt.customer.credentials, within).await;
    let result = result.map_err(NotRenewed::Failed);
    let (latency, charge) = (began.elapsed(), Some(charge));
    Ended::Attempt(Box::new(EndedAttempt { host, ticket, attempt, charge, latency, result }))
}

/// Probes a server.
pub(super) async fn probe<L: Logins>(logins: &L, host: usize, base: BaseUrl) -> Ended {
    Ended::Probe { host, probe: logins.probe(&base).await }
}

/// What the outcome of a request says about the server.
pub(super) fn signal(failure: Option<&Failure>) -> Signal {
    match failure {
        Some(
            Failure::Unreachable { .. }
            | Failure::Interrupted { .. }
            | Failure::Timeout { .. }
            | Failure::ServerError { .. },
        ) => Signal::Dead,
        Some(Failure::RateLimited { .. }) => Signal::Strained,
        Some(Failure::UnexpectedResponse(_)) => Signal::Foreign,
        _ => Signal::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Unexpected;

    /// Whatever is no answer of ThingsBoard counts toward the circuit breaker, any 5xx included.
    #[test]
    fn what_an_outcome_says_of_the_server() {
        let why = || "reset".to_owned();
        for (failure, expected) in [
            (Failure::Unreachable { why: why() }, Signal::Dead),
            (Failure::Interrupted { why: why() }, Signal::Dead),
            (Failure::Timeout { after: Duration::from_secs(10) }, Signal::Dead),
            (Failure::ServerError { status: 500, retry_after: None }, Signal::Dead),
            (Failure::ServerError { status: 504, retry_after: None }, Signal::Dead),
            (Failure::RateLimited { retry_after: None }, Signal::Strained),
            (Failure::UnexpectedResponse(Unexpected::NotJson), Signal::Foreign),
            (Failure::UnexpectedResponse(Unexpected::ProxyLogin), Signal::Foreign),
            (Failure::CredentialsRejected, Signal::Well),
            (Failure::AccountDisabled, Signal::Well),
            (Failure::SecondFactorRequired, Signal::Well),
        ] {
            assert_eq!(signal(Some(&failure)), expected, "{failure:?}");
        }
        assert_eq!(signal(None), Signal::Well);
    }
}
