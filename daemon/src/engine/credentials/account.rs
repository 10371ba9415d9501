//! What is known about one account: its open charges, and which credentials were accepted or rejected.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{FailureKind, Fingerprint, ServerKey};

use super::HeldCredentials;
use super::outcome::Outcome;

/// The most accepted and the most rejected credentials of an account that no row holds.
const REMEMBERED: usize = 8;

/// One account. A charge is a send that ThingsBoard may have counted as a wrong password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Account {
    /// The open charges.
    pub(super) open: Vec<OpenCharges>,
    /// Credentials that were accepted and not rejected since, the latest last.
    pub(super) accepted: Vec<Accepted>,
    /// Credentials that are not sent again, the latest last.
    pub(super) rejected: Vec<Rejected>,
    /// The password in flight, or the one that was in flight when its daemon ended.
    pub(super) in_flight: Option<Box<InFlight>>,
    /// A number that rises with every answer, so that the later of two answers is known.
    pub(super) turn: u32,
}

/// The open charges of the account, counted in one of four ways: for each server, each spelling of the user name, both, or
/// none. Another port may be the same ThingsBoard, and another spelling the same user, so each count may be the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenCharges {
    /// The server; none: any.
    pub(super) server: Option<Box<str>>,
    /// The user name as a row writes it; none: any spelling.
    pub(super) username: Option<Box<str>>,
    /// The charges since the last acceptance there, of that spelling.
    pub(super) charges: u8,
}

/// Accepted credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The credentials.
    pub(super) credentials: Fingerprint,
    /// The account's turn when they were accepted.
    pub(super) turn: u32,
}

/// Rejected credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    /// The credentials.
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

/// One password to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The server.
    pub server: ServerKey,
    /// The user name as the row writes it.
    pub username: Box<str>,
    /// Server, user name and password.
    pub credentials: Fingerprint,
    /// All credentials that rows hold for the account.
    pub held: HeldCredentials,
    /// The account's turn when it was charged.
    pub turn: u32,
}

/// A change of an account. The changes that the store does not have yet are applied again to what another daemon wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A password is about to be sent.
    Charge { charge: InFlight, send: Send },
    /// The outcome of the charge of this number, and what ThingsBoard said, if it rejected the credentials.
    Settle { number: u64, send: Send, outcome: Outcome, kind: FailureKind },
    /// The record of a customer has a rejection that the ledger lacks.
    Recorded { send: Send, kind: FailureKind },
    /// The password of a user was changed in ThingsBoard after these rejections, so that the rejected ones may be right now.
    PasswordChanged { rejected: Vec<RejectionMark> },
    /// The fingerprint key was replaced: the new fingerprints of credentials by their old ones.
    Rekeyed(Arc<HashMap<Fingerprint, Fingerprint>>),
}

impl Change {
    /// The return of a charge whose password was not sent.
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
    /// The open charges by the largest count.
    pub(super) fn charges(&self) -> u8 {
        self.open.iter().map(|open| open.charges).max().unwrap_or_default()
    }

    /// The open charges against this user name at this server by the largest count.
    pub(super) fn charges_against(&self, server: &ServerKey, username: &str) -> u8 {
        let counts = self.open.iter().filter(|open| open.concerns(server, username)).map(|open| open.charges);
        counts.max().unwrap_or_default()
    }

    /// The kind of rejection, if ThingsBoard rejected these credentials.
    pub(super) fn rejection(&self, credentials: &Fingerprint) -> Option<FailureKind> {
        self.rejected
            .iter()
            .find(|rejected| rejected.credentials == *credentials)
            .map(|rejected| rejected.kind)
    }

    /// The kind of a rejection that may concern these credentials: it is of this user, with a fingerprint of another key.
    pub(super) fn unknown_rejection(&self, username: &str, credentials: &Fingerprint) -> Option<FailureKind> {
        let may_be_these = |rejected: &&Rejected| {
            *rejected.username == *username && !rejected.credentials.has_key_of(credentials)
        };
        let is_known = self.is_accepted(credentials) || self.rejection(credentials).is_some();
        self.rejected.iter().filter(|_| !is_known).find(may_be_these).map(|rejected| rejected.kind)
    }

    /// Whether any of its credentials gets a new fingerprint.
    pub(super) fn is_rekeyed_by(&self, new: &HashMap<Fingerprint, Fingerprint>) -> bool {
        let accepted = self.accepted.iter().map(|accepted| accepted.credentials);
        accepted
            .chain(self.rejected.iter().map(|known| known.credentials))
            .any(|known| new.contains_key(&known))
    }

    fn rekey(&mut self, new: &HashMap<Fingerprint, Fingerprint>) {
        let accepted = self.accepted.iter_mut().map(|accepted| &mut accepted.credentials);
        for known in accepted.chain(self.rejected.iter_mut().map(|rejected| &mut rejected.credentials)) {
            *known = new.get(known).copied().unwrap_or(*known);
        }
    }

    /// Whether these credentials were accepted and not rejected since.
    pub(super) fn is_accepted(&self, credentials: &Fingerprint) -> bool {
        self.accepted.iter().any(|accepted| accepted.credentials == *credentials)
    }

    fn next_turn(&mut self) -> u32 {
        self.turn = self.turn.saturating_add(1);
        self.turn
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
                        // Only an operator sends rejected credentials again, which cancels the rejection. A later
                        // rejection, by a late answer, stays.
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
            Change::Rekeyed(new) => self.rekey(new),
            Change::PasswordChanged { rejected } => {
                self.rejected.retain(|known| !rejected.contains(&(known.credentials, known.turn)));
            }
        }
    }

    fn add_charge(&mut self, send: &Send) {
        let (server, username) = (Some(send.server.as_str()), Some(&*send.username));
        for (server, username) in [(None, None), (server, None), (None, username), (server, username)] {
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
        for open in self.open.iter_mut().filter(|open| open.concerns(&send.server, &send.username)) {
            open.charges = open.charges.saturating_sub(1);
        }
        self.open.retain(|open| open.charges > 0);
    }

    fn accept(&mut self, send: &Send) {
        let turn = self.next_turn();
        self.open.retain(|open| !open.concerns(&send.server, &send.username));
        self.rejected.retain(|rejected| rejected.credentials != send.credentials);
        self.accepted.retain(|accepted| accepted.credentials != send.credentials);
        self.accepted.push(Accepted { credentials: send.credentials, turn });
        drop_oldest(&mut self.accepted, REMEMBERED, |accepted| !send.is_held(&accepted.credentials));
        // Nearly all accounts stay like this for months, so their spare memory is freed.
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
        drop_oldest(&mut self.rejected, REMEMBERED, |rejected| !send.is_held(&rejected.credentials));
    }

    fn forget_rejections(&mut self, username: &str, before: u32) {
        self.rejected.retain(|rejected| *rejected.username != *username || rejected.turn > before);
    }

    /// Merges the account of a store that lost its ledger or has an older one. The answers of both and the larger counts
    /// are kept.
    pub(super) fn merge(&mut self, stored: &Self) {
        for theirs in &stored.open {
            let ours = self.open_charges(theirs.server.as_deref(), theirs.username.as_deref());
            *ours = theirs.charges.max(*ours);
        }
        self.merge_answers(stored);
        self.turn = self.turn.max(stored.turn);
        // Another daemon sends already. Its charge counts as in flight for longer than ours can be.
        if stored.in_flight.is_some() {
            self.in_flight.clone_from(&stored.in_flight);
        }
    }

    /// Merges the account of another ledger. Its turns are not comparable: its rejections count as the latest answers, and its
    /// acceptances as the earliest.
    pub(super) fn merge_of_another_ledger(&mut self, mut other: Self) {
        other.turn = self.turn.saturating_add(1);
        other.rejected.iter_mut().for_each(|known| known.turn = other.turn);
        other.accepted.iter_mut().for_each(|known| known.turn = 0);
        other.in_flight = other.in_flight.filter(|_| self.in_flight.is_none());
        self.merge(&other);
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
    fn concerns(&self, server: &ServerKey, username: &str) -> bool {
        self.server.as_deref().is_none_or(|known| known == server.as_str())
            && self.username.as_deref().is_none_or(|known| known == username)
    }
}

impl Send {
    fn is_held(&self, credentials: &Fingerprint) -> bool {
        self.credentials == *credentials || self.held.contains(credentials)
    }
}

/// Drops the oldest of the items that may go, if they are more than `most`.
pub(super) fn drop_oldest<T>(items: &mut Vec<T>, most: usize, may_go: impl Fn(&T) -> bool) {
    let mut too_many = items.iter().filter(|item| may_go(item)).count().saturating_sub(most);
    items.retain(|item| {
        let goes = too_many > 0 && may_go(item);
        too_many -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
#[path = "tests/account.rs"]
mod tests;
