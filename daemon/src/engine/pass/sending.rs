//! Sends requests, waits for their answers, and derives the state of the server from them.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::queues::Request;
use crate::engine::credentials::Charge;
use crate::model::{BaseUrl, CustomerId, Failure, Grant, TokenAnswer};
use crate::thingsboard::gate::Signal;
use crate::thingsboard::{Logins, Probe, RefreshError};

/// The requests in flight.
pub(super) type Requests<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send + 'a>>>;

/// A request that has ended.
pub(super) enum Ended {
    Attempt(Box<EndedAttempt>),
    Probe { server: usize, probe: Probe },
    Check { server: usize, id: CustomerId, answer: TokenAnswer },
}

/// A request for a customer that has ended.
pub(super) struct EndedAttempt {
    pub(super) request: Request,
    /// The charge of a password; none for a refresh token.
    pub(super) charge: Option<Charge>,
    pub(super) latency: Duration,
    pub(super) result: Result<Grant, RefreshError>,
}

/// Sends a refresh token and waits for the answer.
pub(super) async fn refresh<L: Logins>(logins: &L, request: Request) -> Ended {
    let began = Instant::now();
    let result = match &request.attempt.refresh_token {
        Some(refresh_token) => logins.refresh(&request.attempt.base, refresh_token).await,
        None => Err(RefreshError::Rejected { is_outdated: false }),
    };
    let latency = began.elapsed();
    Ended::Attempt(Box::new(EndedAttempt { request, charge: None, latency, result }))
}

/// Sends a password, whose charge is in the store, and waits for the answer.
pub(super) async fn login<L: Logins>(
    logins: &L,
    request: Request,
    charge: Charge,
    within: Duration,
) -> Ended {
    let began = Instant::now();
    let result = logins.login(&request.attempt.base, &request.attempt.customer.credentials, within).await;
    let result = result.map_err(RefreshError::Failed);
    let (latency, charge) = (began.elapsed(), Some(charge));
    Ended::Attempt(Box::new(EndedAttempt { request, charge, latency, result }))
}

/// Probes a server.
pub(super) async fn probe<L: Logins>(logins: &L, server: usize, base: BaseUrl) -> Ended {
    Ended::Probe { server, probe: logins.probe(&base).await }
}

/// Returns what the outcome of a request means for the gate of the server.
pub(super) fn signal(failure: Option<&Failure>) -> Signal {
    match failure {
        Some(
            Failure::Unreachable { .. }
            | Failure::Interrupted { .. }
            | Failure::Timeout { .. }
            | Failure::ServerError { .. },
        ) => Signal::Unanswered,
        Some(Failure::RateLimited { .. }) => Signal::Overloaded,
        Some(Failure::UnexpectedResponse(_)) => Signal::ForeignAnswer,
        _ => Signal::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnexpectedAnswer;

    /// Each answer that is not ThingsBoard's counts toward the circuit breaker, any 5xx included.
    #[test]
    fn what_an_outcome_says_of_the_server() {
        let why = || "reset".to_owned();
        for (failure, expected) in [
            (Failure::Unreachable { why: why() }, Signal::Unanswered),
            (Failure::Interrupted { why: why() }, Signal::Unanswered),
            (Failure::Timeout { after: Duration::from_secs(10) }, Signal::Unanswered),
            (Failure::ServerError { status: 500, retry_after: None }, Signal::Unanswered),
            (Failure::ServerError { status: 504, retry_after: None }, Signal::Unanswered),
            (Failure::RateLimited { retry_after: None }, Signal::Overloaded),
            (Failure::UnexpectedResponse(UnexpectedAnswer::NotJson), Signal::ForeignAnswer),
            (Failure::UnexpectedResponse(UnexpectedAnswer::ProxyLogin), Signal::ForeignAnswer),
            (Failure::CredentialsRejected, Signal::Answered),
            (Failure::AccountDisabled, Signal::Answered),
            (Failure::SecondFactorRequired, Signal::Answered),
        ] {
            assert_eq!(signal(Some(&failure)), expected, "{failure:?}");
        }
        assert_eq!(signal(None), Signal::Answered);
    }
}
