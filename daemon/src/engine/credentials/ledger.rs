//! The ledger of all accounts and servers, and its changes by a pass.

mod keeping;
mod slot;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::keeping::Step;
use self::slot::Slot;
use super::account::{Account, Change, InFlight, Send};
use super::outcome::Outcome;
use super::rules::{Leave, LoginQuery};
use super::server::{Server, Verdict};
use crate::model::{AccountKey, Failure, FailureKind, Fingerprint, ServerKey};
use crate::store::Stamp;

/// The settings of the ledger.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `thingsboard.wrong_password_budget`.
    pub budget: u8,
    /// The interval of the schedule, with which the back-off of a server in doubt begins.
    pub interval: Duration,
    /// The name of this daemon, for people that read the table.
    pub daemon: Arc<str>,
}

/// What is known about accounts and servers.
#[derive(Debug)]
pub struct Ledger {
    /// The settings, which may change between two passes.
    pub settings: Settings,
    accounts: HashMap<AccountKey, Slot>,
    pub(super) servers: BTreeMap<ServerKey, Server>,
    /// The stamp of the store's ledger at the last read or write; none before that.
    stamp: Option<Stamp>,
    /// The number of the last read, if another daemon wrote between it and our latest write. That is not read yet.
    read_until: Option<i64>,
    /// Whether the store's ledger was replaced, so that the next read is a whole one.
    must_read: bool,
    /// Whether the store's ledger was replaced and does not have all accounts of this daemon yet.
    is_writing_back: bool,
    /// Accounts that differ from what the store has.
    unwritten: BTreeSet<AccountKey>,
    /// The accounts of the write under way.
    in_write: BTreeSet<AccountKey>,
    /// Accounts in which a charge of an earlier or another daemon was found.
    found_in_flight: Vec<AccountKey>,
    /// The day on which all accounts that rows name were last marked as seen.
    seen_day: i32,
    /// The day on which old accounts were last forgotten.
    forgot_day: i32,
}

/// A password that is charged to its account.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The account.
    pub account: AccountKey,
    /// The number of the charge.
    pub number: u64,
    /// The password.
    pub send: Send,
}

impl Ledger {
    /// Makes a ledger before its first read.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            accounts: HashMap::new(),
            servers: BTreeMap::new(),
            stamp: None,
            read_until: None,
            must_read: false,
            is_writing_back: false,
            unwritten: BTreeSet::new(),
            in_write: BTreeSet::new(),
            found_in_flight: Vec::new(),
            seen_day: 0,
            forgot_day: 0,
        }
    }

    /// Changes the settings.
    pub fn set(&mut self, budget: u8, interval: Duration) {
        self.settings.budget = budget;
        self.settings.interval = interval;
    }

    pub(super) fn account(&self, key: &AccountKey) -> Option<&Account> {
        self.accounts.get(key).map(|slot| &slot.account)
    }

    /// The open charges of an account that count against this user name at this server.
    pub fn charges_of(&self, account: &AccountKey, server: &ServerKey, username: &str) -> u8 {
        self.account(account).map_or(0, |account| account.charges_against(server, username))
    }

    /// Whether it has the account.
    pub fn knows(&self, key: &AccountKey) -> bool {
        self.accounts.contains_key(key)
    }

    /// Whether the store's ledger is known and has all accounts of this daemon. Otherwise no charge can be made.
    pub fn is_trusted(&self) -> bool {
        self.stamp.is_some() && !self.must_read && !self.is_writing_back
    }

    /// Another daemon's charge of the account, and when this daemon first saw it.
    pub(super) fn seen_in_flight(&self, key: &AccountKey) -> Option<(u64, Instant)> {
        self.accounts.get(key)?.work.as_ref()?.seen_in_flight
    }

    // Changes by a pass.

    /// Charges a password that is about to be sent. It counts as wrong until its outcome is known. The charge must be in
    /// the store before the first byte is sent.
    pub fn charge(&mut self, query: &LoginQuery<'_>, number: u64, now: Instant) -> Charge {
        let send = self.send_of(query);
        let charges = self.charges_of(&query.account, query.server, query.username);
        let charges = if query.leave == Leave::None { charges } else { charges.max(1) };
        self.servers.entry(query.server.clone()).or_default().begin(charges, now);
        let charge = InFlight { number, daemon: (&*self.settings.daemon).into() };
        self.change(query.account, Change::Charge { charge, send: send.clone() });
        Charge { account: query.account, number, send }
    }

    fn send_of(&self, query: &LoginQuery<'_>) -> Send {
        Send {
            server: query.server.clone(),
            username: query.username.into(),
            credentials: query.credentials,
            held: query.held.clone(),
            turn: self.account(&query.account).map_or(0, |account| account.turn),
        }
    }

    /// Notes a rejection that only the customer's record has: the process ended between the two writes.
    pub fn note_rejection(&mut self, query: &LoginQuery<'_>, kind: FailureKind) {
        let is_known = |account: &Account| {
            account.is_accepted(&query.credentials) || account.rejection(&query.credentials).is_some()
        };
        // An account that is unknown or has nothing in flight has lost no outcome.
        let known = self.account(&query.account);
        if known.is_some_and(|account| account.in_flight.is_some() && !is_known(account)) {
            let send = self.send_of(query);
            self.change(query.account, Change::Recorded { send, kind });
        }
    }

    /// Notes the outcome of a charge: the password brought a token, or failed like this.
    pub fn settle(&mut self, charge: Charge, failure: Option<&Failure>, now: Instant) {
        let outcome = Outcome::of(failure);
        if outcome == Outcome::NotSent {
            return self.give_back(charge);
        }
        let interval = self.settings.interval;
        let Charge { account, number, send } = charge;
        let server = self.servers.entry(send.server.clone()).or_default();
        server.end();
        match outcome {
            Outcome::Accepted | Outcome::Rejected | Outcome::RejectedUnchecked => server.answered(),
            Outcome::Unanswered => server.unanswered(now, interval),
            Outcome::NotCounted | Outcome::NotSent => {}
        }
        let kind = failure.map_or(FailureKind::CredentialsRejected, Failure::kind);
        self.change(account, Change::Settle { number, send, outcome, kind });
    }

    /// Returns a charge, because no byte of the password was sent. A charge that is in a write is returned by the next write.
    pub fn give_back(&mut self, charge: Charge) {
        self.cancel(&charge.send.server);
        let Charge { account, number, send } = charge;
        let slot = self.accounts.entry(account).or_default();
        let in_write = slot.work.as_ref().map_or(0, |work| work.in_write);
        if slot.take_charges(in_write, |pending| pending == number).is_empty() {
            self.change(account, Change::not_sent(number, send));
        }
    }

    /// Notes that a charge for this server was not made, as returned by [`written`](Self::written).
    pub fn cancel(&mut self, server: &ServerKey) {
        if let Some(known) = self.servers.get_mut(server) {
            known.end();
        }
    }

    /// A probe of the server has ended.
    pub fn probed(&mut self, server: &ServerKey, verdict: Verdict, now: Instant) {
        let interval = self.settings.interval;
        self.servers.entry(server.clone()).or_default().probed(verdict, now, interval);
    }

    /// A refresh token of this user worked. This proves no password, but the rejections so far were before it.
    pub fn refresh_worked(&mut self, account: &AccountKey, username: &str) {
        let Some(slot) = self.accounts.get_mut(account).filter(|slot| !slot.account.rejected.is_empty())
        else {
            return;
        };
        let of_user = slot.account.rejected.iter().filter(|known| *known.username == *username);
        let rejected = of_user.map(|known| (known.credentials, known.turn)).collect();
        let refreshed = &mut slot.work.get_or_insert_default().refreshed;
        refreshed.retain(|(known, _)| **known != *username);
        refreshed.push((username.into(), rejected));
    }

    /// A refresh token of this user is outdated: the password was changed after the token was issued.
    pub fn refresh_outdated(&mut self, account: &AccountKey, username: &str) {
        let work = self.accounts.get_mut(account).and_then(|slot| slot.work.as_mut());
        let Some(refreshed) = work.map(|work| &mut work.refreshed) else { return };
        if let Some(place) = refreshed.iter().position(|(known, _)| **known == *username) {
            let (_, rejected) = refreshed.swap_remove(place);
            self.change(*account, Change::PasswordChanged { rejected });
        }
    }

    /// Changes to another fingerprint key: the new fingerprints of all credentials that rows hold, by their old ones.
    pub fn rekey(&mut self, new: HashMap<Fingerprint, Fingerprint>) {
        let new = Arc::new(new);
        for (key, slot) in self.accounts.iter_mut().filter(|(_, slot)| slot.account.is_rekeyed_by(&new)) {
            slot.change(Change::Rekeyed(Arc::clone(&new)));
            self.unwritten.insert(*key);
        }
    }

    fn change(&mut self, key: AccountKey, change: Change) {
        self.accounts.entry(key).or_default().change(change);
        self.unwritten.insert(key);
    }

    // Servers.

    /// Forgets servers without customers.
    pub fn retain_servers(&mut self, is_used: impl Fn(&ServerKey) -> bool) {
        self.servers.retain(|key, server| is_used(key) || !server.is_idle());
    }

    /// Takes the accounts in which a charge of an ended daemon was found. Their servers are in doubt: see
    /// [`doubt`](Self::doubt).
    pub fn take_found_in_flight(&mut self) -> HashSet<AccountKey> {
        std::mem::take(&mut self.found_in_flight).into_iter().collect()
    }

    /// A charge was found in flight on this server.
    pub fn doubt(&mut self, server: &ServerKey, now: Instant) {
        self.servers.entry(server.clone()).or_default().found_in_flight(now);
    }
}

#[cfg(test)]
impl Settings {
    /// The settings of most unit tests.
    pub(crate) fn of_a_minute() -> Self {
        Self { budget: 3, interval: Duration::from_secs(60), daemon: "test".into() }
    }
}

#[cfg(test)]
impl Ledger {
    /// Whether the charge of this number is not known to be in the store.
    pub(super) fn has_pending_charge(&self, account: &AccountKey, number: u64) -> bool {
        let work = self.accounts.get(account).and_then(|slot| slot.work.as_ref());
        work.is_some_and(|work| work.changes.iter().any(|change| change.is_charge(number)))
    }

    /// How many changes the store does not have yet.
    pub(super) fn pending_changes(&self) -> usize {
        self.accounts.values().flat_map(|slot| &slot.work).map(|work| work.changes.len()).sum()
    }
}
