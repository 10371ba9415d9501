//! Why a pass left out a customer that it was to renew.

use super::credentials::Reason;
use crate::model::{Failure, FailureKind};

/// Why a customer was not tried, though it is due.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Deferral {
    /// Its server is down, as another customer or a probe has seen.
    #[error("waiting for its server: {0}")]
    Server(Failure),
    /// The ledger lets its password wait.
    #[error("{0}")]
    Password(Reason),
    /// Several of the named rows hold different passwords for one account.
    #[error(
        "not tried: the named rows hold different passwords for one account; correct them, or name one row alone"
    )]
    DifferentPasswords,
    /// The pass was cut short.
    #[error("not renewed: the pass was cut short")]
    CutShort,
}

impl Deferral {
    /// What is wrong, as a kind; none if nothing is wrong with the customer.
    pub fn kind(&self) -> Option<FailureKind> {
        match self {
            Self::Server(failure) => Some(failure.kind()),
            Self::Password(Reason::Store) => Some(FailureKind::Database),
            Self::Password(Reason::NoVerdict) => Some(FailureKind::UnexpectedResponse),
            Self::Password(_) => Some(FailureKind::Unreachable),
            Self::DifferentPasswords | Self::CutShort => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_reason_says_what_is_waited_for() {
        let wait = Duration::from_secs(90);
        let refused = Failure::Unreachable { why: "refused".to_owned() };
        for (why, kind, words) in [
            (
                Deferral::Server(refused),
                Some(FailureKind::Unreachable),
                "waiting for its server: the server cannot",
            ),
            (Deferral::Password(Reason::Store), Some(FailureKind::Database), "waiting for the database"),
            (
                Deferral::Password(Reason::AccountBusy),
                Some(FailureKind::Unreachable),
                "another password of this account",
            ),
            (
                Deferral::Password(Reason::ServerBusy),
                Some(FailureKind::Unreachable),
                "one password at a time",
            ),
            (Deferral::Password(Reason::Probe), Some(FailureKind::Unreachable), "must answer a probe"),
            (
                Deferral::Password(Reason::ServerDown),
                Some(FailureKind::Unreachable),
                "does not answer the probe",
            ),
            (Deferral::Password(Reason::NoVerdict), Some(FailureKind::UnexpectedResponse), "tb_url"),
            (Deferral::Password(Reason::Doubt { wait }), Some(FailureKind::Unreachable), "1 min 30 s"),
            (Deferral::Password(Reason::LastCharge { wait }), Some(FailureKind::Unreachable), "1 min 30 s"),
            (Deferral::DifferentPasswords, None, "name one row alone"),
            (Deferral::CutShort, None, "the pass was cut short"),
        ] {
            assert!(why.to_string().contains(words), "{why}");
            assert_eq!(why.kind(), kind, "{why}");
            let blames_doubt = why.to_string().contains("in doubt");
            assert_eq!(blames_doubt, matches!(why, Deferral::Password(Reason::Doubt { .. })), "{why}");
        }
    }
}
