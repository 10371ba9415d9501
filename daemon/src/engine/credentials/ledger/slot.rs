//! One account of the ledger, with its changes that the store does not have yet.

use std::time::Instant;

use crate::engine::credentials::account::{Account, Change, RejectionMark, Send, drop_oldest};
use crate::engine::credentials::stored;
use crate::model::AccountKey;
use crate::store::AccountRow;

/// The most charges of an account that a failed write may have stored.
const MOST_UNSURE: usize = 8;

/// One account, with its version in the store.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) account: Account,
    /// The version in the store; zero if the store does not have it.
    version: i64,
    /// When a row last named it, in days since 1970.
    pub(super) seen_day: i32,
    /// Whether the store has lost a part of it, and no write has brought it back.
    knows_more: bool,
    /// Boxed, because few accounts have any.
    pub(super) work: Option<Box<Work>>,
}

/// The part of an account that is not in the store.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The changes that the store does not have yet.
    pub(super) changes: Vec<Change>,
    /// How many of them are in the write under way.
    pub(super) in_write: usize,
    /// Another daemon's charge, and when this daemon first saw it.
    pub(super) seen_in_flight: Option<(u64, Instant)>,
    /// User names whose refresh token has worked, each with the rejections that were known when it last did.
    pub(super) refreshed: Vec<(Box<str>, Vec<RejectionMark>)>,
}

impl Slot {
    /// Applies a change.
    pub(super) fn change(&mut self, change: Change) {
        self.account.apply(&change);
        let work = self.work.get_or_insert_default();
        if matches!(change, Change::Charge { .. }) {
            work.seen_in_flight = None;
        }
        work.changes.push(change);
    }

    /// The row for a write.
    pub(super) fn begin_write(&mut self, key: AccountKey, today: i32) -> AccountRow {
        // A clock that is slow for some time must not make an account old.
        self.seen_day = self.seen_day.max(today);
        if let Some(work) = &mut self.work {
            work.in_write = work.changes.len();
        }
        stored::row(key, &self.account, self.seen_day, self.version)
    }

    /// The store has taken the row, as this version.
    pub(super) fn end_write(&mut self, version: i64) {
        self.version = version;
        self.knows_more = false;
        if let Some(work) = &mut self.work {
            work.changes.drain(..work.in_write.min(work.changes.len()));
            work.in_write = 0;
        }
        self.drop_idle_work();
    }

    /// The store has lost the account, or what was added to it.
    pub(super) fn is_lost(&mut self) {
        self.version = 0;
        self.knows_more = true;
    }

    /// Takes over the store's row and applies the changes that it lacks. If the store has lost more, the larger of two
    /// counts is kept. Returns whether it must be written.
    pub(super) fn rebase(&mut self, row: Option<&AccountRow>) -> bool {
        // Without a row, or with an older one, the store has lost the account.
        let version = row.map_or(0, |row| row.version);
        self.knows_more |= row.is_none_or(|row| row.version < self.version);
        if !self.knows_more && version == self.version {
            return false;
        }
        self.version = version;
        let Some(row) = row else { return true };
        self.seen_day = self.seen_day.max(stored::day_of(row.seen_at));
        let mut stored = stored::account(row);
        // What another daemon wrote comes before the changes that are applied to it.
        stored.turn = stored.turn.max(self.account.turn);
        for change in self.work.iter().flat_map(|work| &work.changes) {
            stored.apply(change);
        }
        if self.knows_more {
            self.account.merge(&stored);
        } else {
            self.account = stored;
        }
        self.knows_more
    }

    /// Merges a row that an earlier process stored in another place.
    pub(super) fn merge_unmoved_account(&mut self, row: &AccountRow) {
        self.account.merge_of_another_ledger(stored::account(row));
        self.seen_day = self.seen_day.max(stored::day_of(row.seen_at));
        self.knows_more = true;
    }

    /// Notes since when another daemon's charge is known to be in flight, by our own clock.
    pub(super) fn see_in_flight(&mut self, now: Instant) {
        let Some(number) = self.account.in_flight.as_ref().map(|charge| charge.number) else {
            if let Some(work) = &mut self.work {
                work.seen_in_flight = None;
            }
            return self.drop_idle_work();
        };
        let work = self.work.get_or_insert_default();
        let is_ours = work.changes.iter().any(|change| change.is_charge(number));
        if !is_ours && work.seen_in_flight.is_none_or(|(known, _)| known != number) {
            work.seen_in_flight = Some((number, now));
        }
    }

    /// Takes charges out of the changes from this place on, as if they had not been made.
    pub(super) fn take_charges(&mut self, from: usize, is_meant: impl Fn(u64) -> bool) -> Vec<(u64, Send)> {
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

    /// Takes all charges out of the changes, and returns their numbers. The next write returns those that may be in the store.
    pub(super) fn unmake(&mut self, may_be_stored: bool) -> Vec<u64> {
        if let Some(work) = &mut self.work {
            work.in_write = 0;
        }
        let charges = self.take_charges(0, |_| true);
        let numbers = charges.iter().map(|(number, _)| *number).collect();
        if may_be_stored && !charges.is_empty() {
            let changes = &mut self.work.get_or_insert_default().changes;
            changes.extend(charges.into_iter().map(|(number, send)| Change::not_sent(number, send)));
            // A store that refuses many writes has not stored the oldest of them.
            drop_oldest(changes, MOST_UNSURE, Change::is_not_sent);
        }
        numbers
    }

    fn drop_idle_work(&mut self) {
        let is_idle = |work: &Work| {
            work.changes.is_empty() && work.refreshed.is_empty() && work.seen_in_flight.is_none()
        };
        self.work.take_if(|work| is_idle(work));
    }
}
