//! All accounts and servers, and how the ledger keeps in step with the store: what it takes in from there, what is still to
//! be written, and what became of a write.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::account::{Account, Change, InFlight, RejectionMark, Send};
use super::outcome::Outcome;
use super::rules::{Ask, Leave};
use super::server::{Server, Verdict};
use super::stored;
use crate::model::{AccountKey, Failure, FailureKind, Fingerprint, HostKey};
use crate::store::{AccountRow, Forget, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

/// So many days old an account's `seen_at` may become before it is written again.
const SEEN_EVERY_DAYS: i32 = 7;

/// Of so many charges of an account it may be unsure whether a write that failed has stored them.
const MOST_UNSURE: usize = 8;

/// After so many days an account without charges is forgotten that no row names.
const UNCHARGED_DAYS: i64 = 30;

/// The same for one with charges.
const CHARGED_DAYS: i64 = 365;

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

/// One account, and how it stands with the store.
#[derive(Debug, Default)]
struct Slot {
    account: Account,
    /// The version in the store; zero if it is not there.
    version: i64,
    /// When a row last named it, in days since 1970.
    seen_day: i32,
    /// The store has lost some of what is known here, and no write has brought it back yet.
    knows_more: bool,
    /// Few accounts have any.
    work: Option<Box<Work>>,
}

#[derive(Debug, Default)]
struct Work {
    /// What the store does not have yet.
    changes: Vec<Change>,
    /// How many of them are in the write under way.
    in_write: usize,
    /// Another daemon's charge, and when this daemon first saw it.
    seen_in_flight: Option<(u64, Instant)>,
    /// User names whose refresh token has worked, each with the rejections that were known when it last did.
    refreshed: Vec<(Box<str>, Vec<RejectionMark>)>,
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

/// What a look at the store's ledger showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was the first look.
    First,
    /// It goes on.
    Next,
    /// The ledger was dropped, emptied or replaced by an older one; what is known here is written back.
    Replaced,
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
            turn: self.account(&ask.account).map_or(0, Account::turn),
        }
    }

    /// Notes a rejection that the customer's record has, and the ledger lacks: the process ended between the two writes.
    pub fn note_rejection(&mut self, ask: &Ask<'_>, kind: FailureKind) {
        let is_known = |account: &Account| {
            account.is_accepted(&ask.credentials) || account.rejection(&ask.credentials).is_some()
        };
        // An account that is unknown or has nothing in flight has lost no outcome.
        let known = self.account(&ask.account);
        if known.is_some_and(|account| account.in_flight().is_some() && !is_known(account)) {
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
        let Some(slot) = self.accounts.get_mut(account).filter(|slot| !slot.account.rejected().is_empty())
        else {
            return;
        };
        let of_user = slot.account.rejected().iter().filter(|known| *known.username == *username);
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
    pub fn rekey(&mut self, new: &HashMap<Fingerprint, Fingerprint>) {
        for (key, slot) in &mut self.accounts {
            if slot.account.rekey(new) {
                self.unwritten.insert(*key);
            }
        }
    }

    fn change(&mut self, key: AccountKey, change: Change) {
        let slot = self.accounts.entry(key).or_default();
        slot.account.apply(&change);
        let work = slot.work.get_or_insert_default();
        if matches!(change, Change::Charge { .. }) {
            work.seen_in_flight = None;
        }
        work.changes.push(change);
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

    // The store.

    /// The stamp since which the store is asked for changes. If the store's ledger is another one, or an older state, it says
    /// everything.
    pub fn stamp(&self) -> Option<Stamp> {
        let since = |stamp: Stamp| Stamp { number: self.read_until.unwrap_or(stamp.number), ..stamp };
        self.stamp.map(since)
    }

    /// Takes in what the store says.
    pub fn take_in(&mut self, read: &LedgerRead, now: Instant) -> Step {
        let step = match self.stamp {
            None => Step::First,
            Some(stamp)
                if !self.must_read && stamp.id == read.stamp.id && read.stamp.number >= stamp.number =>
            {
                Step::Next
            }
            Some(_) => Step::Replaced,
        };
        self.read_until = None;
        self.must_read = step == Step::Replaced && !read.is_whole;
        if self.must_read {
            // It was replaced by a state that is newer than what was read and older than what was written.
            return Step::Next;
        }
        if step == Step::Replaced {
            for slot in self.accounts.values_mut() {
                slot.version = 0;
                slot.knows_more = true;
            }
        }
        for row in &read.accounts {
            if step == Step::First && row.in_flight.is_some() {
                self.found_in_flight.push(row.key);
            }
            self.rebase(row.key, Some(row));
            self.see_in_flight(row.key, now);
        }
        self.stamp = Some(read.stamp);
        if step == Step::Replaced {
            // Also what was to be written before, and accounts that are as they were: the store may have lost them.
            self.unwritten = self.accounts.keys().copied().collect();
            self.in_write.clear();
        }
        self.is_writing_back = (self.is_writing_back || step == Step::Replaced) && !self.unwritten.is_empty();
        step
    }

    /// Another daemon's charge counts as in flight from now on, by our own clock.
    fn see_in_flight(&mut self, key: AccountKey, now: Instant) {
        let Some(slot) = self.accounts.get_mut(&key) else { return };
        let Some(charge) = slot.account.in_flight() else {
            if let Some(work) = &mut slot.work {
                work.seen_in_flight = None;
            }
            slot.drop_idle_work();
            return;
        };
        let is_ours = slot
            .work
            .as_ref()
            .is_some_and(|work| work.changes.iter().any(|change| change.is_charge(charge.number)));
        let number = charge.number;
        let known = &mut slot.work.get_or_insert_default().seen_in_flight;
        if !is_ours && known.is_none_or(|(known, _)| known != number) {
            *known = Some((number, now));
        }
    }

    /// The store's account counts, and what it does not have yet is applied to it. Where it lacks more than that, of two counts
    /// the larger holds.
    fn rebase(&mut self, key: AccountKey, row: Option<&AccountRow>) {
        let slot = self.accounts.entry(key).or_default();
        // Without a row, or with an older one, the store has lost the account.
        let version = row.map_or(0, |row| row.version);
        if version < slot.version || row.is_none() {
            slot.knows_more = true;
        }
        if slot.knows_more {
            self.unwritten.insert(key);
        } else if version == slot.version {
            return;
        }
        slot.version = version;
        let Some(row) = row else { return };
        slot.seen_day = slot.seen_day.max(stored::day_of(row.seen_at));
        let mut stored = stored::account(row).not_before(slot.account.turn());
        for change in slot.work.iter().flat_map(|work| &work.changes) {
            stored.apply(change);
        }
        if slot.knows_more {
            slot.account.merge(&stored);
        } else {
            slot.account = stored;
        }
    }

    /// Whether something is to be written.
    pub fn is_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether the store's ledger was found to be another one: it must be read as a whole before it is written.
    pub fn must_be_read(&self) -> bool {
        self.must_read
    }

    /// What to write next; with `must_check` also if there is nothing, to see that the ledger is still there. Only one write
    /// may be under way; [`written`](Self::written) ends it.
    pub fn next_write(&mut self, now: DateTime<Utc>, must_check: bool) -> Option<LedgerWrite> {
        let has_work = must_check || !self.unwritten.is_empty();
        let stamp = self.stamp.filter(|_| has_work && !self.must_read)?;
        let today = stored::day_of(now);
        let forget = self.forget(now);
        self.in_write = self.unwritten.iter().copied().take(LedgerWrite::MOST_ACCOUNTS).collect();
        let mut accounts = Vec::with_capacity(self.in_write.len());
        for key in &self.in_write {
            self.unwritten.remove(key);
            let Some(slot) = self.accounts.get_mut(key) else { continue };
            // A clock that is slow for a while does not make an account old.
            slot.seen_day = slot.seen_day.max(today);
            if let Some(work) = &mut slot.work {
                work.in_write = work.changes.len();
            }
            accounts.push(stored::row(*key, &slot.account, slot.seen_day, slot.version));
        }
        Some(LedgerWrite { stamp, accounts, forget })
    }

    /// Once a day, when all accounts that rows name are marked as seen: those that no row has named for long.
    fn forget(&mut self, now: DateTime<Utc>) -> Option<Forget> {
        let today = stored::day_of(now);
        if self.forgot_day == today
            || self.seen_day != today
            || self.unwritten.len() > LedgerWrite::MOST_ACCOUNTS
        {
            return None;
        }
        self.forgot_day = today;
        let forget = Forget {
            uncharged_before: now - TimeDelta::days(UNCHARGED_DAYS),
            charged_before: now - TimeDelta::days(CHARGED_DAYS),
        };
        let unwritten = &self.unwritten;
        self.accounts.retain(|key, slot| {
            let before =
                if slot.account.charges() == 0 { forget.uncharged_before } else { forget.charged_before };
            slot.seen_day >= stored::day_of(before) || unwritten.contains(key)
        });
        Some(forget)
    }

    /// Whether the account is in the write under way. A password must wait for the write that its charge is in.
    pub fn is_in_write(&self, account: &AccountKey) -> bool {
        self.in_write.contains(account)
    }

    /// What became of the write. Brings the numbers of the charges that were not made: their passwords must not be sent.
    pub fn written(&mut self, written: LedgerWritten, now: Instant) -> Vec<u64> {
        let keys = std::mem::take(&mut self.in_write);
        let LedgerWritten::Written { number, conflicts } = written else {
            self.must_read = true;
            // Charges that no write holds were made on the ledger that is lost, too.
            return self.unmake(keys.into_iter().chain(self.unwritten.clone()), false);
        };
        let conflicts: HashMap<AccountKey, Option<AccountRow>> = conflicts.into_iter().collect();
        for key in keys.iter().filter(|key| !conflicts.contains_key(key)) {
            let Some(slot) = self.accounts.get_mut(key) else { continue };
            slot.version = number;
            slot.knows_more = false;
            if let Some(work) = &mut slot.work {
                work.changes.drain(..work.in_write.min(work.changes.len()));
                work.in_write = 0;
            }
            slot.drop_idle_work();
        }
        if let Some(stamp) = &mut self.stamp {
            if number > stamp.number + 1 {
                self.read_until.get_or_insert(stamp.number);
            }
            stamp.number = stamp.number.max(number);
        }
        let unmade = self.unmake(conflicts.keys().copied(), false);
        for (key, row) in &conflicts {
            self.rebase(*key, row.as_ref());
            self.see_in_flight(*key, now);
        }
        self.is_writing_back &= !self.unwritten.is_empty();
        unmade
    }

    /// The write failed, and it is not known whether it was done. Brings the numbers of the charges that may not be in the
    /// store: their passwords must not be sent.
    pub fn write_failed(&mut self) -> Vec<u64> {
        let keys = std::mem::take(&mut self.in_write);
        self.unmake(keys, true)
    }

    /// The charges of these accounts that are not known to be in the store were not sent. One that may be in the store after
    /// all is returned by the next write.
    fn unmake(&mut self, keys: impl IntoIterator<Item = AccountKey>, may_be_stored: bool) -> Vec<u64> {
        let mut unmade = Vec::new();
        for key in keys {
            self.unwritten.insert(key);
            let Some(slot) = self.accounts.get_mut(&key) else { continue };
            let Some(work) = &mut slot.work else { continue };
            work.in_write = 0;
            let charges = slot.take_charges(0, |_| true);
            unmade.extend(charges.iter().map(|(number, _)| *number));
            if may_be_stored && !charges.is_empty() {
                slot.return_later(charges);
            }
        }
        unmade
    }

    /// These accounts are named by rows. Once a day, those that were not marked for a week are marked, some at a time.
    pub fn see<'a>(&mut self, named: impl Iterator<Item = &'a AccountKey>, now: DateTime<Utc>) {
        let today = stored::day_of(now);
        if self.seen_day == today {
            return;
        }
        let room = LedgerWrite::MOST_ACCOUNTS.saturating_sub(self.unwritten.len());
        let is_old = |key: &&AccountKey| {
            self.accounts.get(key).is_some_and(|slot| slot.seen_day + SEEN_EVERY_DAYS <= today)
        };
        let old: Vec<AccountKey> = named.filter(is_old).copied().take(room).collect();
        if old.len() < room {
            self.seen_day = today;
        }
        self.unwritten.extend(old);
    }
}

impl Slot {
    /// Takes charges out of the changes from this place on, as if they had not been made.
    fn take_charges(&mut self, from: usize, is_meant: impl Fn(u64) -> bool) -> Vec<(u64, Send)> {
        let Some(work) = &mut self.work else { return Vec::new() };
        let mut taken = Vec::new();
        for change in work.changes.split_off(from.min(work.changes.len())) {
            match change {
                Change::Charge { charge, send } if is_meant(charge.number) => {
                    taken.push((charge.number, send));
                }
                change => work.changes.push(change),
            }
        }
        for (number, send) in &taken {
            self.account.apply(&Change::not_sent(*number, send.clone()));
        }
        self.drop_idle_work();
        taken
    }

    /// If these charges are in the store after all, the next write returns them. A store that refuses many writes has not
    /// done the oldest of them.
    fn return_later(&mut self, charges: Vec<(u64, Send)>) {
        let changes = &mut self.work.get_or_insert_default().changes;
        changes.extend(charges.into_iter().map(|(number, send)| Change::not_sent(number, send)));
        let mut too_many =
            changes.iter().filter(|change| change.is_not_sent()).count().saturating_sub(MOST_UNSURE);
        changes.retain(|change| {
            let goes = too_many > 0 && change.is_not_sent();
            too_many -= usize::from(goes);
            !goes
        });
    }

    fn drop_idle_work(&mut self) {
        let is_idle = |work: &Work| {
            work.changes.is_empty() && work.refreshed.is_empty() && work.seen_in_flight.is_none()
        };
        self.work.take_if(|work| is_idle(work));
    }
}
