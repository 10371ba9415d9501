//! What is known of one account: its open charges, and which credentials were accepted or rejected.

use std::collections::HashMap;

use crate::model::{FailureKind, Fingerprint};

use super::Held;
use super::outcome::Outcome;

/// How many rejected credentials an account remembers besides those that rows hold, and how many accepted ones.
const REMEMBERED: usize = 8;

/// One account. A charge is a send that ThingsBoard may have counted as a wrong password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Account {
    /// The charges since the last acceptance of any spelling of the user name.
    charges: u8,
    /// The spellings with charges since the last acceptance of that spelling.
    spellings: Vec<Spelling>,
    /// Credentials that were accepted and not rejected since, the latest last.
    accepted: Vec<Accepted>,
    /// Credentials that are not sent again, the latest last.
    rejected: Vec<Rejected>,
    /// The send that is on its way, or was when its daemon died.
    in_flight: Option<Box<InFlight>>,
    /// Rises with every answer, and tells which of two came later.
    turn: u32,
}

/// A user name as some row writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spelling {
    /// The user name.
    pub(super) username: Box<str>,
    /// Its charges.
    pub(super) charges: u8,
}

/// Accepted credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Which.
    pub(super) credentials: Fingerprint,
    /// The account's turn when they were accepted.
    pub(super) turn: u32,
}

/// Rejected credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    /// Which.
    pub(super) credentials: Fingerprint,
    /// Their user name.
    pub(super) username: Box<str>,
    /// The account's turn when they were rejected.
    pub(super) turn: u32,
    /// What ThingsBoard said.
    pub(super) kind: FailureKind,
}

/// One rejection: the credentials, and its turn.
pub(super) type RejectionMark = (Fingerprint, u32);

/// A charge whose outcome is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InFlight {
    /// The number of the charge.
    pub(super) number: u64,
    /// The daemon that made it.
    pub(super) daemon: Box<str>,
}

/// One password to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The user name as the row writes it.
    pub username: Box<str>,
    /// Server, user name and password.
    pub credentials: Fingerprint,
    /// All credentials that rows hold for the account.
    pub held: Held,
    /// The account's turn when it was charged.
    pub turn: u32,
}

/// Something that changes an account. Changes that the store does not have yet are applied again to what another daemon
/// wrote meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A password is about to be sent.
    Charge {
        /// The number and the daemon.
        charge: InFlight,
        /// The password.
        send: Send,
    },
    /// What came of it.
    Settle {
        /// The number of the charge.
        number: u64,
        /// The password.
        send: Send,
        /// The outcome.
        outcome: Outcome,
        /// What ThingsBoard said, if it rejected the credentials.
        kind: FailureKind,
    },
    /// The password of a user was changed in ThingsBoard after these rejections, so their passwords may be right now.
    PasswordChanged {
        /// Which.
        rejected: Vec<RejectionMark>,
    },
}

impl Account {
    /// An account as it was stored.
    pub(super) fn from_parts(
        charges: u8,
        spellings: Vec<Spelling>,
        accepted: Vec<Accepted>,
        rejected: Vec<Rejected>,
        in_flight: Option<Box<InFlight>>,
        turn: u32,
    ) -> Self {
        Self { charges, spellings, accepted, rejected, in_flight, turn }
    }

    /// The charges since the last acceptance of any spelling.
    pub(super) fn charges(&self) -> u8 {
        self.charges
    }

    /// The charges that count against this user name: of its spelling or of the account, whichever are more.
    pub(super) fn charges_against(&self, username: &str) -> u8 {
        self.spelling(username).max(self.charges)
    }

    fn spelling(&self, username: &str) -> u8 {
        self.spellings
            .iter()
            .find(|spelling| *spelling.username == *username)
            .map_or(0, |known| known.charges)
    }

    /// The spellings with charges.
    pub(super) fn spellings(&self) -> &[Spelling] {
        &self.spellings
    }

    /// What ThingsBoard said to these credentials, if it rejected them.
    pub(super) fn rejection(&self, credentials: &Fingerprint) -> Option<FailureKind> {
        self.rejected
            .iter()
            .find(|rejected| rejected.credentials == *credentials)
            .map(|rejected| rejected.kind)
    }

    /// What ThingsBoard said to credentials of this user that may be these: their fingerprint is of another key, so it cannot
    /// be told.
    pub(super) fn unknown_rejection(&self, username: &str, credentials: &Fingerprint) -> Option<FailureKind> {
        let may_be_these = |rejected: &&Rejected| {
            *rejected.username == *username && !rejected.credentials.has_key_of(credentials)
        };
        let is_known = self.is_accepted(credentials) || self.rejection(credentials).is_some();
        self.rejected.iter().filter(|_| !is_known).find(may_be_these).map(|rejected| rejected.kind)
    }

    /// Puts the new fingerprints of the same credentials in place of the old ones. Says whether there were any.
    pub(super) fn rekey(&mut self, new: &HashMap<Fingerprint, Fingerprint>) -> bool {
        let accepted = self.accepted.iter_mut().map(|accepted| &mut accepted.credentials);
        let known = accepted.chain(self.rejected.iter_mut().map(|rejected| &mut rejected.credentials));
        let mut is_changed = false;
        for credentials in known {
            if let Some(new) = new.get(credentials) {
                *credentials = *new;
                is_changed = true;
            }
        }
        is_changed
    }

    /// The rejected credentials, the latest last.
    pub(super) fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Whether these credentials were accepted and not rejected since.
    pub(super) fn is_accepted(&self, credentials: &Fingerprint) -> bool {
        self.accepted.iter().any(|accepted| accepted.credentials == *credentials)
    }

    /// The accepted credentials, the latest last.
    pub(super) fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// The charge that is in flight.
    pub(super) fn in_flight(&self) -> Option<&InFlight> {
        self.in_flight.as_deref()
    }

    /// The turn of the latest answer.
    pub(super) fn turn(&self) -> u32 {
        self.turn
    }

    fn next_turn(&mut self) -> u32 {
        self.turn = self.turn.saturating_add(1);
        self.turn
    }

    /// What another daemon wrote comes before what we apply to it.
    pub(super) fn not_before(mut self, turn: u32) -> Self {
        self.turn = self.turn.max(turn);
        self
    }

    /// Applies a change. An outcome clears or returns its charge only while that charge is still the one in flight;
    /// otherwise it can only add a rejection.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Charge { charge, send } => {
                self.charges = self.charges.saturating_add(1);
                self.charge_spelling(&send.username);
                self.in_flight = Some(Box::new(charge.clone()));
            }
            Change::Settle { number, send, outcome, kind } => {
                let is_current = self.in_flight.as_ref().is_some_and(|charge| charge.number == *number);
                if is_current {
                    self.in_flight = None;
                    if *outcome != Outcome::NotSent {
                        // Only an operator sends rejected credentials again, and by that takes the rejection back; not one
                        // that a late answer brought meanwhile.
                        self.rejected.retain(|rejected| {
                            rejected.credentials != send.credentials || rejected.turn > send.turn
                        });
                    }
                }
                match outcome {
                    Outcome::Accepted if is_current => self.accept(send),
                    Outcome::NotCounted | Outcome::NotSent if is_current => {
                        self.return_charge(&send.username);
                    }
                    Outcome::Rejected => self.reject(send, *kind),
                    Outcome::RejectedUnchecked => {
                        if is_current {
                            self.return_charge(&send.username);
                        }
                        self.note_rejection(send, *kind);
                    }
                    Outcome::Accepted | Outcome::NotCounted | Outcome::NotSent | Outcome::Unanswered => {}
                }
            }
            Change::PasswordChanged { rejected } => {
                self.rejected.retain(|known| !rejected.contains(&(known.credentials, known.turn)));
            }
        }
    }

    fn charge_spelling(&mut self, username: &str) {
        match self.spellings.iter_mut().find(|spelling| *spelling.username == *username) {
            Some(spelling) => spelling.charges = spelling.charges.saturating_add(1),
            None => self.spellings.push(Spelling { username: username.into(), charges: 1 }),
        }
    }

    fn return_charge(&mut self, username: &str) {
        self.charges = self.charges.saturating_sub(1);
        for spelling in self.spellings.iter_mut().filter(|spelling| *spelling.username == *username) {
            spelling.charges = spelling.charges.saturating_sub(1);
        }
        self.spellings.retain(|spelling| spelling.charges > 0);
    }

    fn accept(&mut self, send: &Send) {
        let turn = self.next_turn();
        self.charges = 0;
        self.spellings.retain(|spelling| *spelling.username != *send.username);
        self.rejected.retain(|rejected| rejected.credentials != send.credentials);
        self.accepted.retain(|accepted| accepted.credentials != send.credentials);
        self.accepted.push(Accepted { credentials: send.credentials, turn });
        keep_latest(&mut self.accepted, |accepted| send.is_held(&accepted.credentials));
    }

    fn reject(&mut self, send: &Send, kind: FailureKind) {
        let worked = self.accepted.iter().find(|accepted| accepted.credentials == send.credentials);
        if let Some(worked) = worked.map(|accepted| accepted.turn) {
            self.forget_rejections(&send.username, worked);
        }
        self.accepted.retain(|accepted| accepted.credentials != send.credentials);
        self.note_rejection(send, kind);
    }

    fn note_rejection(&mut self, send: &Send, kind: FailureKind) {
        self.rejected.retain(|rejected| rejected.credentials != send.credentials);
        let turn = self.next_turn();
        let (credentials, username) = (send.credentials, send.username.clone());
        self.rejected.push(Rejected { credentials, username, turn, kind });
        keep_latest(&mut self.rejected, |rejected| send.is_held(&rejected.credentials));
    }

    fn forget_rejections(&mut self, username: &str, before: u32) {
        self.rejected.retain(|rejected| *rejected.username != *username || rejected.turn > before);
    }

    /// The ledger of the store was lost or is an older one: what either knows holds, and of two counts the larger.
    pub(super) fn merge(&mut self, stored: &Self) {
        self.charges = self.charges.max(stored.charges);
        for theirs in &stored.spellings {
            match self.spellings.iter_mut().find(|spelling| spelling.username == theirs.username) {
                Some(ours) => ours.charges = ours.charges.max(theirs.charges),
                None => self.spellings.push(theirs.clone()),
            }
        }
        for theirs in &stored.rejected {
            let is_of_theirs = |ours: &Accepted| ours.credentials == theirs.credentials;
            let is_outlived = self.accepted.iter().any(|ours| is_of_theirs(ours) && ours.turn > theirs.turn);
            if !is_outlived && self.rejection(&theirs.credentials).is_none() {
                self.accepted.retain(|ours| !is_of_theirs(ours));
                self.rejected.push(theirs.clone());
            }
        }
        self.turn = self.turn.max(stored.turn);
        // Another daemon was faster, and sends already.
        if self.in_flight.is_none() {
            self.in_flight.clone_from(&stored.in_flight);
        }
    }
}

impl Send {
    fn is_held(&self, credentials: &Fingerprint) -> bool {
        self.credentials == *credentials || self.held.contains(credentials)
    }
}

/// Drops the oldest of those that no row holds, if there are more than are remembered.
fn keep_latest<T>(marks: &mut Vec<T>, is_held: impl Fn(&T) -> bool) {
    let mut too_many = marks.iter().filter(|mark| !is_held(mark)).count().saturating_sub(REMEMBERED);
    marks.retain(|mark| {
        let goes = too_many > 0 && !is_held(mark);
        too_many -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
#[path = "tests/account.rs"]
mod tests;
