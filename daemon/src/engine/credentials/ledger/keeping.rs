//! Synchronizes the ledger with the store: takes over reads, makes the next write, and handles its result.

use std::collections::HashMap;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Ledger, Slot};
use crate::engine::credentials::stored;
use crate::model::AccountKey;
use crate::store::{AccountRow, Forget, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

/// The age of an account's `seen_at`, in days, at which it is written again.
const SEEN_EVERY_DAYS: i32 = 7;

/// The days after which an account without charges and without rows is forgotten.
const UNCHARGED_DAYS: i64 = 30;

/// The days after which an account with charges and without rows is forgotten.
const CHARGED_DAYS: i64 = 365;

/// The result of a read of the store's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was the first read.
    First,
    /// The ledger is the same as before.
    Next,
    /// The ledger was dropped, emptied or replaced by an older one. The daemon writes back what it knows.
    Replaced,
}

impl Ledger {
    /// The stamp since which the store returns changes. If its ledger is another one or an older state, it returns all rows.
    pub fn stamp(&self) -> Option<Stamp> {
        let since = |stamp: Stamp| Stamp { number: self.read_until.unwrap_or(stamp.number), ..stamp };
        self.stamp.map(since)
    }

    /// Takes over what was read.
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
            // The new state is newer than the last read and older than the last write.
            return Step::Next;
        }
        if step == Step::Replaced {
            self.accounts.values_mut().for_each(Slot::is_lost);
        }
        let is_unknown = |row: &&AccountRow| !self.accounts.contains_key(&row.key);
        let unmoved_accounts: Vec<&AccountRow> = read.unmoved_accounts.iter().filter(is_unknown).collect();
        for row in &read.accounts {
            if step == Step::First && row.in_flight.is_some() {
                self.found_in_flight.push(row.key);
            }
            self.rebase(row.key, Some(row), now);
        }
        let brings_more = step == Step::Replaced || !unmoved_accounts.is_empty();
        for row in unmoved_accounts {
            if row.in_flight.is_some() {
                self.found_in_flight.push(row.key);
            }
            let slot = self.accounts.entry(row.key).or_default();
            slot.merge_unmoved_account(row);
            slot.see_in_flight(now);
            self.unwritten.insert(row.key);
        }
        self.stamp = Some(read.stamp);
        if step == Step::Replaced {
            // The store may have lost any account, so all are written.
            self.unwritten = self.accounts.keys().copied().collect();
            self.in_write.clear();
        }
        self.is_writing_back = (self.is_writing_back || brings_more) && !self.unwritten.is_empty();
        step
    }

    fn rebase(&mut self, key: AccountKey, row: Option<&AccountRow>, now: Instant) {
        let slot = self.accounts.entry(key).or_default();
        if slot.rebase(row) {
            self.unwritten.insert(key);
        }
        slot.see_in_flight(now);
    }

    /// Whether there are changes to write.
    pub fn is_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether the store's ledger was replaced, so that it must be read as a whole before a write.
    pub fn must_be_read(&self) -> bool {
        self.must_read
    }

    /// The next write; with `must_check` also without changes, to see that the ledger is still there. Only one write may be
    /// under way; [`written`](Self::written) ends it.
    pub fn next_write(&mut self, now: DateTime<Utc>, must_check: bool) -> Option<LedgerWrite> {
        let has_work = must_check || !self.unwritten.is_empty();
        let stamp = self.stamp.filter(|_| has_work && !self.must_read)?;
        let today = stored::day_of(now);
        let forget = self.forget(now);
        let next = (0..LedgerWrite::MOST_ACCOUNTS).map_while(|_| self.unwritten.pop_first());
        self.in_write = next.collect();
        let row = |key: &AccountKey| Some(self.accounts.get_mut(key)?.begin_write(*key, today));
        let accounts = self.in_write.iter().filter_map(row).collect();
        Some(LedgerWrite { stamp, accounts, forget })
    }

    /// Once a day, when all accounts of rows are marked as seen, forgets the accounts that no row has named for long.
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

    /// Whether the account is in the write under way. A password waits for the write of its charge.
    pub fn is_in_write(&self, account: &AccountKey) -> bool {
        self.in_write.contains(account)
    }

    /// Ends a write. Returns the numbers of the charges that were not made: their passwords must not be sent.
    pub fn written(&mut self, written: LedgerWritten, now: Instant) -> Vec<u64> {
        let keys = std::mem::take(&mut self.in_write);
        let LedgerWritten::Written { number, conflicts } = written else {
            self.must_read = true;
            // Charges that are in no write were made on the lost ledger too.
            return self.unmake(keys.into_iter().chain(self.unwritten.clone()), false);
        };
        let conflicts: HashMap<AccountKey, Option<AccountRow>> = conflicts.into_iter().collect();
        for key in keys.iter().filter(|key| !conflicts.contains_key(key)) {
            if let Some(slot) = self.accounts.get_mut(key) {
                slot.end_write(number);
            }
        }
        if let Some(stamp) = &mut self.stamp {
            if number > stamp.number + 1 {
                self.read_until.get_or_insert(stamp.number);
            }
            stamp.number = stamp.number.max(number);
        }
        let unmade = self.unmake(conflicts.keys().copied(), false);
        for (key, row) in &conflicts {
            self.rebase(*key, row.as_ref(), now);
        }
        self.is_writing_back &= !self.unwritten.is_empty();
        unmade
    }

    /// Ends a failed write, which may be stored or not. Returns the numbers of its charges: their passwords must not be sent.
    pub fn write_failed(&mut self) -> Vec<u64> {
        let keys = std::mem::take(&mut self.in_write);
        self.unmake(keys, true)
    }

    /// Takes back the charges of these accounts that are not known to be in the store.
    fn unmake(&mut self, keys: impl IntoIterator<Item = AccountKey>, may_be_stored: bool) -> Vec<u64> {
        let mut unmade = Vec::new();
        for key in keys {
            self.unwritten.insert(key);
            unmade.extend(self.accounts.get_mut(&key).iter_mut().flat_map(|slot| slot.unmake(may_be_stored)));
        }
        unmade
    }

    /// Marks accounts of rows as seen: once a day those without a mark for a week, some at a time.
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
