//! The outcome of a password that was sent, with respect to ThingsBoard's counter.

use crate::model::Failure;

/// The outcome of a send. ThingsBoard counts a wrong password before it answers, so a lost answer proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The password is right, and ThingsBoard's counter is zero again.
    Accepted,
    /// The password is wrong, and was counted once.
    Rejected,
    /// ThingsBoard rejected the credentials without a check of the password: nothing was counted.
    RejectedUnchecked,
    /// ThingsBoard did not check the password: nothing was counted.
    NotCounted,
    /// No answer from ThingsBoard: the password may be counted.
    Unanswered,
    /// No byte of the password left this process.
    NotSent,
}

impl Outcome {
    /// The outcome of a login that brought a token (`None`), or failed like this.
    pub fn of(failure: Option<&Failure>) -> Self {
        match failure {
            None | Some(Failure::PasswordExpired | Failure::SecondFactorRequired) => Self::Accepted,
            Some(Failure::CredentialsRejected | Failure::AccountLocked) => Self::Rejected,
            Some(Failure::AuthenticationFailed) => Self::RejectedUnchecked,
            Some(Failure::AccountDisabled | Failure::PasswordViolatesPolicy) => Self::NotCounted,
            Some(Failure::Unreachable { .. }) => Self::NotSent,
            Some(
                Failure::RateLimited { .. }
                | Failure::ServerError { .. }
                | Failure::Interrupted { .. }
                | Failure::Timeout { .. }
                | Failure::UnexpectedResponse(_)
                // No login fails with these. If one did, its password may be sent and counted.
                | Failure::RejectedBefore { .. }
                | Failure::RejectionUnknown { .. }
                | Failure::AttemptsExhausted { .. }
                | Failure::BadUrl(_)
                | Failure::InsecureUrl
                | Failure::TokenTooLong { .. }
                | Failure::Database { .. },
            ) => Self::Unanswered,
        }
    }
}

#[cfg(test)]
impl Outcome {
    /// How a login with this outcome fails.
    pub(crate) fn failure(self) -> Option<Failure> {
        let why = "reset".to_owned();
        match self {
            Self::Accepted => None,
            Self::Rejected => Some(Failure::CredentialsRejected),
            Self::RejectedUnchecked => Some(Failure::AuthenticationFailed),
            Self::NotCounted => Some(Failure::AccountDisabled),
            Self::Unanswered => Some(Failure::Interrupted { why }),
            Self::NotSent => Some(Failure::Unreachable { why }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::UnexpectedAnswer;

    /// The table of the four outcomes; whatever is not ThingsBoard's own answer may have been counted.
    #[test]
    fn p02_only_what_never_left_counts_as_not_sent() {
        let why = || "reset".to_owned();
        let cases = [
            (None, Outcome::Accepted),
            (Some(Failure::PasswordExpired), Outcome::Accepted),
            (Some(Failure::SecondFactorRequired), Outcome::Accepted),
            (Some(Failure::CredentialsRejected), Outcome::Rejected),
            (Some(Failure::AccountLocked), Outcome::Rejected),
            (Some(Failure::AccountDisabled), Outcome::NotCounted),
            (Some(Failure::PasswordViolatesPolicy), Outcome::NotCounted),
            (Some(Failure::AuthenticationFailed), Outcome::RejectedUnchecked),
            (Some(Failure::Unreachable { why: why() }), Outcome::NotSent),
            (Some(Failure::Interrupted { why: why() }), Outcome::Unanswered),
            (Some(Failure::Timeout { after: Duration::from_secs(10) }), Outcome::Unanswered),
            (Some(Failure::RateLimited { retry_after: None }), Outcome::Unanswered),
            (Some(Failure::ServerError { status: 500, retry_after: None }), Outcome::Unanswered),
            (Some(Failure::ServerError { status: 504, retry_after: None }), Outcome::Unanswered),
            (Some(Failure::UnexpectedResponse(UnexpectedAnswer::ProxyLogin)), Outcome::Unanswered),
            (Some(Failure::UnexpectedResponse(UnexpectedAnswer::NotJson)), Outcome::Unanswered),
        ];
        for (failure, outcome) in cases {
            assert_eq!(Outcome::of(failure.as_ref()), outcome, "{failure:?}");
        }
    }
}
