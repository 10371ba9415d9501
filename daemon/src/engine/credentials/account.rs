//! What is known of one account: its open charges, and which credentials were accepted or rejected.

use std::collections::HashMap;

use crate::model::{FailureKind, Fingerprint, HostKey};

use super::Held;
use super::outcome::Outcome;

/// How many rejected credentials an account remembers besides those that rows hold, and how many accepted ones.
const REMEMBERED: usize = 8;

/// One account. A charge is a send that ThingsBoard may have counted as a wrong password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Account {
    /// The charges since the last acceptance, of any spelling of the user name and at any port.
    charges: u8,
    /// The charges that an acceptance elsewhere does not clear.
    open: Vec<OpenCharges>,
    /// Credentials that were accepted and not rejected since, the latest last.
    accepted: Vec<Accepted>,
    /// Credentials that are not sent again, the latest last.
    rejected: Vec<Rejected>,
    /// The send that is on its way, or was when its daemon died.
    in_flight: Option<Box<InFlight>>,
    /// Rises with every answer, and tells which of two came later.
    turn: u32,
}

/// The charges at one server, of one spelling of the user name, or both. Whether another port of the host is another server,
/// and another spelling another user, is not known: each of these counts is right in one of those cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenCharges {
    /// The server; none: any.
    pub(super) server: Option<Box<str>>,
    /// The user name as a row writes it; none: any spelling.
    pub(super) username: Option<Box<str>>,
    /// How many since the last acceptance there, of that spelling.
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
    /// The server.
    pub server: HostKey,
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
    /// The record of a customer has a rejection that the ledger lacks.
    Recorded {
        /// The password.
        send: Send,
        /// What ThingsBoard said.
        kind: FailureKind,
    },
    /// The password of a user was changed in ThingsBoard after these rejections, so their passwords may be right now.
    PasswordChanged {
        /// Which.
        rejected: Vec<RejectionMark>,
    },
}

impl Change {
    /// Nothing came of a charge: it is returned if it is the one in flight.
    pub(super) fn not_sent(number: u64, send: Send) -> Self {
        Self::Settle { number, send, outcome: Outcome::NotSent, kind: FailureKind::CredentialsRejected }
    }

    pub(super) fn is_not_sent(&self) -> bool {
        matches!(self, Self::Settle { outcome: Outcome::NotSent, .. })
    }

    /// Whether it is the charge of this number.
    pub(super) fn is_charge(&self, number: u64) -> bool {
        matches!(self, Self::Charge { charge, .. } if charge.number == number)
    }
}

impl Account {
    /// An account as it was stored.
    pub(super) fn from_parts(
        charges: u8,
        open: Vec<OpenCharges>,
        accepted: Vec<Accepted>,
        rejected: Vec<Rejected>,
        in_flight: Option<Box<InFlight>>,
        turn: u32,
    ) -> Self {
        Self { charges, open, accepted, rejected, in_flight, turn }
    }

    /// The charges since the last acceptance.
    pub(super) fn charges(&self) -> u8 {
        self.charges
    }

    /// The charges that count against this user name at this server, of whichever count is the largest.
    pub(super) fn charges_against(&self, server: &HostKey, username: &str) -> u8 {
        let counts = self.open.iter().filter(|open| open.concerns(server, username)).map(|open| open.charges);
        counts.chain([self.charges]).max().unwrap_or_default()
    }

    /// The charges by server and spelling.
    pub(super) fn open(&self) -> &[OpenCharges] {
        &self.open
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
                self.add_charge(send);
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
                        self.return_charge(send);
                    }
                    Outcome::Rejected => self.reject(send, *kind),
                    Outcome::RejectedUnchecked => {
                        if is_current {
                            self.return_charge(send);
                        }
                        self.note_rejection(send, *kind);
                    }
                    Outcome::Accepted | Outcome::NotCounted | Outcome::NotSent | Outcome::Unanswered => {}
                }
            }
            Change::Recorded { send, kind } => self.reject(send, *kind),
            Change::PasswordChanged { rejected } => {
                self.rejected.retain(|known| !rejected.contains(&(known.credentials, known.turn)));
            }
        }
    }

    fn add_charge(&mut self, send: &Send) {
        self.charges = self.charges.saturating_add(1);
        let (server, username) = (Some(send.server.as_str()), Some(&*send.username));
        for (server, username) in [(server, None), (None, username), (server, username)] {
            let open = self.open_charges(server, username);
            *open = open.saturating_add(1);
        }
    }

    fn open_charges(&mut self, server: Option<&str>, username: Option<&str>) -> &mut u8 {
        let is_it =
            |open: &OpenCharges| open.server.as_deref() == server && open.username.as_deref() == username;
        let place = self.open.iter().position(is_it).unwrap_or(self.open.len());
        if place == self.open.len() {
            let (server, username) = (server.map(Into::into), username.map(Into::into));
            self.open.push(OpenCharges { server, username, charges: 0 });
        }
        &mut self.open[place].charges
    }

    fn return_charge(&mut self, send: &Send) {
        self.charges = self.charges.saturating_sub(1);
        for open in self.open.iter_mut().filter(|open| open.concerns(&send.server, &send.username)) {
            open.charges = open.charges.saturating_sub(1);
        }
        self.open.retain(|open| open.charges > 0);
    }

    fn accept(&mut self, send: &Send) {
        let turn = self.next_turn();
        self.charges = 0;
        self.open.retain(|open| !open.concerns(&send.server, &send.username));
        self.rejected.retain(|rejected| rejected.credentials != send.credentials);
        self.accepted.retain(|accepted| accepted.credentials != send.credentials);
        self.accepted.push(Accepted { credentials: send.credentials, turn });
        keep_latest(&mut self.accepted, |accepted| send.is_held(&accepted.credentials));
        // Nearly all accounts stay like this for months, and there is one for each customer.
        self.open.shrink_to_fit();
        self.accepted.shrink_to_fit();
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
        for theirs in &stored.open {
            let ours = self.open_charges(theirs.server.as_deref(), theirs.username.as_deref());
            *ours = theirs.charges.max(*ours);
        }
        self.merge_answers(stored);
        self.turn = self.turn.max(stored.turn);
        // Another daemon was faster, and sends already. Its charge counts as in flight for longer than ours can be.
        if stored.in_flight.is_some() {
            self.in_flight.clone_from(&stored.in_flight);
        }
    }

    /// Of two answers to the same credentials the later one counts.
    fn merge_answers(&mut self, stored: &Self) {
        for theirs in &stored.rejected {
            let is_of_theirs = |ours: &Accepted| ours.credentials == theirs.credentials;
            let is_outlived = self.accepted.iter().any(|ours| is_of_theirs(ours) && ours.turn > theirs.turn);
            if !is_outlived && self.rejection(&theirs.credentials).is_none() {
                self.accepted.retain(|ours| !is_of_theirs(ours));
                self.rejected.push(theirs.clone());
            }
        }
        for theirs in &stored.accepted {
            let is_of_theirs = |ours: &Rejected| ours.credentials == theirs.credentials;
            let is_outlived = self.rejected.iter().any(|ours| is_of_theirs(ours) && ours.turn >= theirs.turn);
            if !is_outlived && !self.is_accepted(&theirs.credentials) {
                self.rejected.retain(|ours| !is_of_theirs(ours));
                self.accepted.push(*theirs);
            }
        }
        self.rejected.sort_by_key(|known| known.turn);
        self.accepted.sort_by_key(|known| known.turn);
    }
}

impl OpenCharges {
    fn concerns(&self, server: &HostKey, username: &str) -> bool {
        self.server.as_deref().is_none_or(|known| known == server.as_str())
            && self.username.as_deref().is_none_or(|known| known == username)
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
