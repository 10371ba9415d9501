//! A daemon as far as passwords go: its ledger, its logins under way, and its writes to the store's ledger.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::super::{Charge, Ledger, Outcome, Settings};
use super::thingsboard::{Answer, Renewed};
use crate::model::{AccountKey, Failure, Fingerprint, ServerKey};
use crate::store::{AccountRow, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

/// The budget of the worlds.
pub(super) const BUDGET: u8 = 3;
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A login on its way.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) row: usize,
    pub(super) server: usize,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) charge: Charge,
    pub(super) charged_at: Instant,
    pub(super) is_forced: bool,
    /// When it was sent; none before its charge is stored.
    pub(super) sent_at: Option<Instant>,
    /// The answer that will come.
    pub(super) answer: Option<Answer>,
}

impl Login {
    /// When the client gives it up.
    pub(super) fn ends_at(&self) -> Instant {
        self.charged_at + REQUEST_TIMEOUT
    }
}

/// A refresh token on its way.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    pub(super) row: usize,
    pub(super) account: AccountKey,
    pub(super) username: &'static str,
    pub(super) answer: Renewed,
}

#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) ledger: Ledger,
    pub(super) logins: Vec<Login>,
    pub(super) renewals: Vec<Renewal>,
    /// Servers that left its last password unanswered.
    pub(super) doubted: BTreeSet<ServerKey>,
    pub(super) is_paused: bool,
    /// Credentials whose rejection has come and is not stored yet.
    pub(super) noted: Vec<(AccountKey, Fingerprint)>,
    pub(super) writing: Option<Writing>,
}

/// A write under way.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) write: LedgerWrite,
    /// What the store says, if it has done it already.
    pub(super) written: Option<LedgerWritten>,
    /// The rejections in it.
    pub(super) noted: Vec<(AccountKey, Fingerprint)>,
}

impl Daemon {
    pub(super) fn new(name: &str) -> Self {
        let settings = Settings { budget: BUDGET, interval: INTERVAL, daemon: Arc::from(name) };
        Self {
            ledger: Ledger::new(settings),
            logins: Vec::new(),
            renewals: Vec::new(),
            doubted: BTreeSet::new(),
            is_paused: false,
            noted: Vec::new(),
            writing: None,
        }
    }

    /// The state of the store's ledger that it knows, or will know when it hears of its write.
    pub(super) fn known(&self) -> Option<Stamp> {
        let stamp = self.ledger.stamp()?;
        match self.writing.as_ref().and_then(|writing| writing.written.as_ref()) {
            Some(LedgerWritten::Written { number, .. }) if *number == stamp.number + 1 => {
                Some(Stamp { number: *number, ..stamp })
            }
            _ => Some(stamp),
        }
    }

    /// Notes the outcome of the login at this place, and forgets the login.
    pub(super) fn settle(&mut self, place: usize, failure: Option<&Failure>, now: Instant) -> Login {
        let login = self.logins.remove(place);
        let outcome = Outcome::of(failure);
        match outcome {
            Outcome::Unanswered => {
                self.doubted.insert(login.charge.send.server.clone());
            }
            Outcome::Accepted | Outcome::Rejected | Outcome::RejectedUnchecked => {
                self.doubted.remove(&login.charge.send.server);
            }
            Outcome::NotCounted | Outcome::NotSent => {}
        }
        if outcome == Outcome::Rejected {
            self.noted.push((login.charge.account, login.charge.send.credentials));
        }
        self.ledger.settle(login.charge.clone(), failure, now);
        login
    }
}

/// The store's ledger.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) stamp: Stamp,
    pub(super) accounts: HashMap<AccountKey, AccountRow>,
}

impl Store {
    pub(super) fn new(id: i64) -> Self {
        Self { stamp: Stamp { id, number: 0 }, accounts: HashMap::new() }
    }

    /// An older state gets a new id, by which other daemons recognize it.
    pub(super) fn read(&mut self, since: Option<Stamp>) -> LedgerRead {
        if since.is_some_and(|since| since.id == self.stamp.id && since.number > self.stamp.number) {
            self.stamp.id += 1_000_000;
        }
        let is_delta = |since: Stamp| since.id == self.stamp.id && since.number <= self.stamp.number;
        let since = since.filter(|since| is_delta(*since));
        let is_new = |row: &&AccountRow| since.is_none_or(|since| row.version > since.number);
        LedgerRead {
            stamp: self.stamp,
            is_whole: since.is_none(),
            accounts: self.accounts.values().filter(is_new).cloned().collect(),
            ..LedgerRead::default()
        }
    }

    pub(super) fn write(&mut self, write: &LedgerWrite) -> LedgerWritten {
        if write.stamp.id != self.stamp.id || self.stamp.number < write.stamp.number {
            return LedgerWritten::Replaced;
        }
        self.stamp.number += 1;
        let number = self.stamp.number;
        if let Some(forget) = write.forget {
            self.accounts.retain(|_, row| {
                let before = if row.charges == 0 { forget.uncharged_before } else { forget.charged_before };
                row.seen_at >= before
            });
        }
        let mut conflicts = Vec::new();
        for row in &write.accounts {
            let known = self.accounts.get(&row.key);
            if known.map_or(0, |known| known.version) == row.version {
                self.accounts.insert(row.key, AccountRow { version: number, ..row.clone() });
            } else {
                conflicts.push((row.key, known.cloned()));
            }
        }
        LedgerWritten::Written { number, conflicts }
    }
}

/// The time of day at which a world begins.
pub(super) fn day() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap()
}
