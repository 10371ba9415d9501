//! The ledger: what is known about each account and its credentials, and whether a password may be sent.
//!
//! `rules` decides from `account` and `server`. `ledger` holds both and synchronizes them with the store, in the form of
//! `stored`. The plan asks the ledger, the pass reports outcomes to it, the state owns it.

mod account;
mod ledger;
mod outcome;
mod rules;
mod server;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use account::Send;
pub use ledger::{Charge, Ledger, Settings, Step};
pub use outcome::Outcome;
pub use rules::{Answer, LONGEST_REQUEST, Leave, LoginQuery, Reason};
pub use server::Verdict;

use crate::model::Fingerprint;

/// All credentials that rows hold for one account. Hardly any account has more than one, so that case takes no room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldCredentials(Option<Arc<[Fingerprint]>>);

impl HeldCredentials {
    /// Makes it from all credentials of the account. A single one is not stored, because the row itself has it.
    pub fn new(credentials: &[Fingerprint]) -> Self {
        Self((credentials.len() > 1).then(|| credentials.into()))
    }

    /// Whether some row is known to hold these.
    pub fn contains(&self, credentials: &Fingerprint) -> bool {
        self.iter().any(|held| held == credentials)
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = &Fingerprint> {
        self.0.iter().flat_map(|held| held.iter())
    }
}
