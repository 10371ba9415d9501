//! All accounts and servers, and what a pass learns of them.

mod keeping;
mod slot;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::keeping::Step;
use self::slot::Slot;
use super::account::{Account, Change, InFlight, Send};
use super::outcome::Outcome;
use super::rules::{Ask, Leave};
use super::server::{Server, Verdict};
use crate::model::{AccountKey, Failure, FailureKind, Fingerprint, HostKey};
use crate::store::Stamp;

/// The settings of the ledger.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `thingsboard.wrong_password_budget`.
    pub budget: u8,
    /// The interval of the schedule, with which the back-off of a server in doubt begins.
    pub interval: Duration,
    /// The name of this daemon, for people who look into the table.
    pub daemon: Arc<str>,
}

impl Settings {
    /// The settings of most unit tests.
    #[cfg(test)]
    pub(crate) fn of_a_minute() -> Self {
        Self { budget: 3, interval: Duration::from_secs(60), daemon: "test".into() }
    }
}

/// Everything that is known of accounts and servers.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    accounts: HashMap<AccountKey, Slot>,
    servers: BTreeMap<HostKey, Server>,
    /// The store's ledger as it was last read or written; none before that.
    stamp: Option<Stamp>,
    /// Another daemon wrote between our read of this number and our latest write: what it wrote is not read yet.
    read_until: Option<i64>,
    /// The store's ledger was replaced: it is read as a whole next.
    must_read: bool,
    /// The store's ledger was replaced, and does not know yet what is known here.
    is_writing_back: bool,
    /// Accounts that differ from what the store has.
    unwritten: BTreeSet<AccountKey>,
    /// The accounts of the write under way.
    in_write: BTreeSet<AccountKey>,
    /// Accounts in which a charge was found that no daemon here made.
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
    /// Names the charge.
    pub number: u64,
    /// The password.
    pub send: Send,
}

impl Ledger {
    /// A ledger of which nothing is known yet.
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

    /// Other settings from now on.
    pub fn set(&mut self, budget: u8, interval: Duration) {
        self.settings.budget = budget;
        self.settings.interval = interval;
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn budget(&self) -> u8 {
        self.settings.budget
    }

    pub(super) fn account(&self, key: &AccountKey) -> Option<&Account> {
        self.accounts.get(key).map(|slot| &slot.account)
    }

    /// The open charges of an account that count against this user name at this server.
    pub fn charges_of(&self, account: &AccountKey, server: &HostKey, username: &str) -> u8 {
        self.account(account).map_or(0, |account| account.charges_against(server, username))
    }

    /// Whether anything is known of the account.
    pub fn knows(&self, key: &AccountKey) -> bool {
        self.accounts.contains_key(key)
    }

    pub(super) fn server(&self, key: &HostKey) -> Option<&Server> {
        self.servers.get(key)
    }

    /// Whether the store's ledger is known, and knows what is known here: else no charge can be made.
    pub fn is_trusted(&self) -> bool {
        self.stamp.is_some() && !self.must_read && !self.is_writing_back
    }

    /// Another daemon's charge of the account, and when this daemon first saw it.
    pub(super) fn seen_in_flight(&self, key: &AccountKey) -> Option<(u64, Instant)> {
        self.accounts.get(key)?.work.as_ref()?.seen_in_flight
    }

    // What the pass does.

    /// Notes that a password is about to be sent: it counts as wrong until its outcome is known. It must be in the store
    /// before the first byte is sent.
    pub fn charge(&mut self, ask: &Ask<'_>, number: u64, now: Instant) -> Charge {
        let send = self.send_of(ask);
        let charges = self.charges_of(&ask.account, ask.server, ask.username);
        let charges = if ask.leave == Leave::None { charges } else { charges.max(1) };
        self.servers.entry(ask.server.clone()).or_default().begin(charges, now);
        let charge = InFlight { number, daemon: (&*self.settings.daemon).into() };
        self.change(ask.account, Change::Charge { charge, send: send.clone() });
        Charge { account: ask.account, number, send }
    }

    fn send_of(&self, ask: &Ask<'_>) -> Send {
        Send {
            server: ask.server.clone(),
            username: ask.username.into(),
            credentials: ask.credentials,
            held: ask.held.clone(),
            turn: self.account(&ask.account).map_or(0, |account| account.turn),
        }
    }

    /// Notes a rejection that the customer's record has, and the ledger lacks: the process ended between the two writes.
    pub fn note_rejection(&mut self, ask: &Ask<'_>, kind: FailureKind) {
        let is_known = |account: &Account| {
            account.is_accepted(&ask.credentials) || account.rejection(&ask.credentials).is_some()
        };
        // An account that is unknown or has nothing in flight has lost no outcome.
        let known = self.account(&ask.account);
        if known.is_some_and(|account| account.in_flight.is_some() && !is_known(account)) {
            let send = self.send_of(ask);
            self.change(ask.account, Change::Recorded { send, kind });
        }
    }

    /// Notes what came of a charge: the password brought a token, or failed like this.
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

    /// No byte of the password was sent. A charge that no write holds is forgotten; another one is returned by the next
    /// write.
    pub fn give_back(&mut self, charge: Charge) {
        self.cancel(&charge.send.server);
        let Charge { account, number, send } = charge;
        let slot = self.accounts.entry(account).or_default();
        let in_write = slot.work.as_ref().map_or(0, |work| work.in_write);
        if slot.take_charges(in_write, |pending| pending == number).is_empty() {
            self.change(account, Change::not_sent(number, send));
        }
    }

    /// A charge for this server was not made after all, as [`written`](Self::written) says.
    pub fn cancel(&mut self, server: &HostKey) {
        if let Some(known) = self.servers.get_mut(server) {
            known.end();
        }
    }

    /// A probe of the server has ended.
    pub fn probed(&mut self, server: &HostKey, verdict: Verdict, now: Instant) {
        let interval = self.settings.interval;
        self.servers.entry(server.clone()).or_default().probed(verdict, now, interval);
    }

    /// A refresh token of this user worked. That is no proof of any password, but what was rejected so far was rejected
    /// before.
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

    /// There is another fingerprint key: the new fingerprints of all credentials that rows hold, by their old ones.
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

    /// Whether the charge of this number is not known to be in the store.
    #[cfg(test)]
    pub(super) fn has_pending_charge(&self, account: &AccountKey, number: u64) -> bool {
        let work = self.accounts.get(account).and_then(|slot| slot.work.as_ref());
        work.is_some_and(|work| work.changes.iter().any(|change| change.is_charge(number)))
    }

    /// How many changes the store does not have yet.
    #[cfg(test)]
    pub(super) fn pending_changes(&self) -> usize {
        self.accounts.values().flat_map(|slot| &slot.work).map(|work| work.changes.len()).sum()
    }

    // What is known of servers.

    /// Forgets servers that no customer uses any more.
    pub fn retain_servers(&mut self, is_used: impl Fn(&HostKey) -> bool) {
        self.servers.retain(|key, server| is_used(key) || !server.is_idle());
    }

    /// Accounts in which a charge was found whose daemon is gone. Their servers are in doubt: see
    /// [`doubt`](Self::doubt).
    pub fn take_found_in_flight(&mut self) -> HashSet<AccountKey> {
        std::mem::take(&mut self.found_in_flight).into_iter().collect()
    }

    /// A charge was found in flight on this server.
    pub fn doubt(&mut self, server: &HostKey, now: Instant) {
        self.servers.entry(server.clone()).or_default().found_in_flight(now);
    }
}
