//! What is known of each customer, and how each fact changes it. Pure: facts, the time and a roll of the dice go in.

mod adopting;
mod clock;
mod entry;
mod failing;
mod health;
mod hosts;
mod records;
mod refusals;
mod renewing;
mod table;
mod waiting;

use std::collections::{BTreeMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};

pub use entry::{Entry, Known};
use health::{Health, Use};
pub use hosts::{Host, Hosts};
use records::Unwritten;
use refusals::Refusals;
use waiting::{Back, Unheard};

use super::event::Event;
use super::history::{History, Notice, NoticeKind};
use super::plan::Policy;
use crate::model::{
    Credentials, CustomerId, Failure, FailureNote, Fingerprint, FingerprintKey, Record, TokenStatus,
};
use crate::store::{RowProblem, StoreError};

/// Everything that the daemon knows. The scheduler owns it; nobody else changes it.
#[derive(Debug)]
pub struct State {
    policy: Policy,
    entries: BTreeMap<CustomerId, Entry>,
    /// Turns with every look at the table: entries that bear the other one have lost their row.
    mark: bool,
    hosts: Hosts,
    refusals: Refusals,
    unheard: Unheard,
    back: Back,
    key: Option<FingerprintKey>,
    revision: u64,
    removed: VecDeque<(u64, CustomerId)>,
    /// Before this revision the removals are no longer known.
    removed_floor: u64,
    history: History,
    table_read_at: Option<DateTime<Utc>>,
    health: Health,
    told: HashSet<RowProblem>,
    told_records_lost: bool,
    unwritten: Unwritten,
    pass: PassCounts,
    by_login: u64,
    by_refresh_token: u64,
}

/// What the pass under way, or the last one, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassCounts {
    /// Customers tried.
    pub total: usize,
    /// Tokens written.
    pub updated: usize,
    /// Failures.
    pub errors: usize,
}

impl State {
    /// Nothing known yet. Revisions and the numbers of notices begin at `start`, which a later process must choose
    /// higher: clients recognize a restart by it.
    pub fn new(policy: Policy, start: u64) -> Self {
        Self {
            policy,
            entries: BTreeMap::new(),
            mark: false,
            hosts: Hosts::default(),
            refusals: Refusals::default(),
            unheard: Unheard::default(),
            back: Back::new(),
            key: None,
            revision: start,
            removed: VecDeque::new(),
            removed_floor: start,
            history: History::starting_at(start + 1),
            table_read_at: None,
            health: Health::default(),
            told: HashSet::new(),
            told_records_lost: false,
            unwritten: Unwritten::default(),
            pass: PassCounts::default(),
            by_login: 0,
            by_refresh_token: 0,
        }
    }

    /// Other rules from now on. What they change is shown, so everyone has a new revision.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        for entry in self.entries.values_mut() {
            self.revision += 1;
            entry.revision = self.revision;
        }
    }

    /// Everyone, in the order of their ids.
    pub fn entries(&self) -> impl Iterator<Item = (&CustomerId, &Entry)> {
        self.entries.iter()
    }

    /// How many customers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no customer.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One customer.
    pub fn entry(&self, id: &CustomerId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The fingerprint of these credentials; none before the table was read.
    pub fn fingerprint(&self, credentials: &Credentials) -> Option<Fingerprint> {
        self.key.as_ref().map(|key| key.fingerprint(credentials))
    }

    /// Who was refused for good with these credentials, in the table or not, and with what.
    pub fn refusal(&self, fingerprint: &Fingerprint) -> Option<(&CustomerId, &FailureNote)> {
        self.refusals.find(fingerprint, |id| self.entries.get(id).map(|entry| &entry.record))
    }

    /// The servers of all customers.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The revision of the whole: that of the latest change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Who left the table at which revision, oldest first, and since which revision that is complete.
    pub fn removed(&self) -> (&VecDeque<(u64, CustomerId)>, u64) {
        (&self.removed, self.removed_floor)
    }

    /// What happened.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What happened, to take what is to be logged.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// When the table was last read.
    pub fn table_read_at(&self) -> Option<DateTime<Utc>> {
        self.table_read_at
    }

    /// Why the table cannot be read, if it cannot.
    pub fn read_error(&self) -> Option<&StoreError> {
        self.health.read_error()
    }

    /// Why the store cannot be used, if it cannot.
    pub fn store_error(&self) -> Option<&StoreError> {
        self.health.error()
    }

    /// What the pass under way, or the last one, came to.
    pub fn pass(&self) -> PassCounts {
        self.pass
    }

    /// Renewals since the start: with the password, and with a refresh token.
    pub fn renewals_by(&self) -> (u64, u64) {
        (self.by_login, self.by_refresh_token)
    }

    /// Records that have changed and are to be written now, so many at most.
    pub fn take_unrecorded(&mut self, most: usize) -> Vec<Record> {
        self.unwritten.take(most, |id| self.entries.get(id).map(|entry| &entry.record))
    }

    /// Whether records wait to be written.
    pub fn has_unrecorded(&self) -> bool {
        self.unwritten.is_waiting()
    }

    /// Takes over what happened at `at`. `roll` is random in 0..1, for the spread of a back-off.
    pub fn apply(&mut self, event: Event, at: DateTime<Utc>, roll: f64) {
        match event {
            Event::Reading => self.unwritten.reading(),
            Event::TableRead(table) => self.table_read(table, at),
            Event::TableUnreadable(error) => {
                self.unwritten.read();
                self.store_fails(Use::Read, error, at);
            }
            Event::PassStarted { trigger: _, attempts } => self.pass_started(attempts, at),
            Event::Attempting(id) => self.attempting(&id),
            Event::Obtained { renewal, refresh_token, via, latency, skew } => {
                self.obtained(renewal, refresh_token, via, latency, skew, at);
            }
            Event::RefreshTokenRefused(id) => self.refresh_token_refused(&id),
            Event::Saved { id, expiry } => self.saved(&id, expiry, at),
            Event::Superseded(id) => self.superseded(&id, at),
            Event::Failed { id, failure } => self.failed(&id, &failure, at, roll),
            Event::SaveFailed { ids, error } => {
                let why = error.to_string();
                self.store_fails(Use::Save, error, at);
                for id in &ids {
                    self.failed(id, &Failure::Database { why: why.clone() }, at, roll);
                }
            }
            Event::Deferred { id, why } => self.deferred(&id, why),
            Event::LeftOver(id) => self.deferred(&id, None),
            Event::HostBack(host) => {
                self.back.insert(host, at);
            }
            Event::GateMoved { host, limit, gate } => {
                let revision = self.revision + 1;
                if self.hosts.gate(&host, limit, gate, revision) {
                    self.revision = revision;
                }
            }
            Event::PassFinished => self.pass_finished(at),
            Event::Recorded => {
                self.unwritten.written();
                self.store_works(Use::Record, at);
            }
            Event::RecordsFailed { records, error } => {
                self.unwritten.not_written(records, |id| self.entries.contains_key(id));
                self.store_fails(Use::Record, error, at);
            }
            Event::ClockSetBack(by) => self.clock_set_back(by, at),
            Event::LoopStarted => self.note(at, NoticeKind::Started, None, "the loop was started".to_owned()),
            Event::LoopStopped => self.note(at, NoticeKind::Stopped, None, "the loop was stopped".to_owned()),
        }
    }

    /// Whose password is being sent, as far as is known.
    pub fn sending_passwords(&self) -> impl Iterator<Item = &CustomerId> {
        let sends = |entry: &&Entry| {
            entry.attempting && entry.unsaved.is_none() && entry.usable_refresh_token().is_none()
        };
        self.entries.values().filter(sends).map(|entry| &entry.customer.id)
    }

    /// Lets time pass: brings every status up to `now`. Says when the next one changes by itself, if one does.
    pub fn advance(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut expired = Vec::new();
        let mut next = None;
        for (id, entry) in &mut self.entries {
            let status = entry.status_at(now, self.policy.window);
            if status != entry.status {
                if status == TokenStatus::Expired && entry.status != TokenStatus::Missing {
                    expired.push(id.clone());
                }
                entry.status = status;
                self.revision += 1;
                entry.revision = self.revision;
            }
            if entry.unsaved.as_ref().is_some_and(|renewal| renewal.expiry <= now) {
                entry.unsaved = None;
            }
            let change = entry.next_change(self.policy.window);
            next = [next, change].into_iter().flatten().min();
        }
        for id in expired {
            let message = "its token has ended without a new one".to_owned();
            self.note(now, NoticeKind::Expired, Some(&id), message);
        }
        next
    }

    fn pass_started(&mut self, attempts: usize, at: DateTime<Utc>) {
        self.pass = PassCounts { total: attempts, ..PassCounts::default() };
        if attempts > 0 {
            let customers = if attempts == 1 { "customer" } else { "customers" };
            self.note(at, NoticeKind::PassStarted, None, format!("renewing {attempts} {customers}"));
        }
    }

    fn pass_finished(&mut self, at: DateTime<Utc>) {
        self.end_waits(at);
        for entry in self.entries.values_mut().filter(|entry| entry.attempting) {
            // Whatever cut the pass short: nobody stays "refreshing" for ever.
            entry.attempting = false;
            self.revision += 1;
            entry.revision = self.revision;
        }
        let PassCounts { total, updated, errors } = self.pass;
        if total > 0 {
            let message = format!("{updated} of {total} renewed, {errors} failed");
            self.note(at, NoticeKind::PassFinished, None, message);
        }
    }

    /// Changes an entry and gives it a new revision.
    fn touch(&mut self, id: &CustomerId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(id) {
            change(entry);
            self.revision += 1;
            entry.revision = self.revision;
        }
    }

    fn note(&mut self, at: DateTime<Utc>, kind: NoticeKind, customer: Option<&CustomerId>, message: String) {
        let notice = Notice::new(at, kind, message);
        self.history.push(match customer {
            Some(id) => notice.of(id),
            None => notice,
        });
    }
}

#[cfg(test)]
mod tests;
