//! Why a pass left out a customer that it was to renew.

use std::fmt;

use super::credentials::Reason;
use crate::model::{Failure, FailureKind};
use crate::text::length;

/// Why a customer was not tried, though it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferral {
    /// Its server is down, as another customer or a probe has seen.
    Server(Failure),
    /// The ledger lets its password wait.
    Password(Reason),
    /// Several of the named rows hold different passwords for one account.
    DifferentPasswords,
    /// The pass was cut short.
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

impl fmt::Display for Deferral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after =
            |wait: &std::time::Duration| length(chrono::TimeDelta::from_std(*wait).unwrap_or_default());
        match self {
            Self::Server(failure) => write!(f, "waiting for its server: {failure}"),
            Self::Password(Reason::Store) => {
                f.write_str("waiting for the database: no password is sent before it is noted there")
            }
            Self::Password(Reason::AccountBusy) => {
                f.write_str("waiting: another password of this account is on its way")
            }
            Self::Password(Reason::ServerBusy) => f.write_str(
                "waiting: its server gets one password at a time, because it or an account of it has left a password unanswered or rejected",
            ),
            Self::Password(Reason::Probe) => {
                f.write_str("waiting: its server must answer a probe before it gets the password")
            }
            Self::Password(Reason::ServerDown) => f.write_str(
                "waiting: its server does not answer the probe that must come before the password; it is sent when it does",
            ),
            Self::Password(Reason::NoVerdict) => f.write_str(
                "waiting: something else than ThingsBoard answers at tb_url, so it gets one password in 30 minutes; correct tb_url, or what stands before ThingsBoard",
            ),
            Self::Password(Reason::Doubt { wait }) => write!(
                f,
                "waiting: its server is in doubt, because it left a password unanswered; it gets the next one in {} or later",
                after(wait)
            ),
            Self::Password(Reason::LastCharge { wait }) => write!(
                f,
                "waiting: one more wrong password could lock the account, so the password is sent after its server has answered probes for another {}",
                after(wait)
            ),
            Self::DifferentPasswords => f.write_str(
                "not tried: the named rows hold different passwords for one account; correct them, or name one row alone",
            ),
            Self::CutShort => f.write_str("not renewed: the pass was cut short"),
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
