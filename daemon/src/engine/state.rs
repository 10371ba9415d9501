//! What is known of each customer, and how each fact changes it. Pure: facts, the time and a roll of the dice go in.

mod entry;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

pub use entry::Entry;

use super::event::{Event, Via};
use super::history::{FailureDetail, History, Notice, NoticeKind, RenewalDetail};
use super::plan::Policy;
use crate::model::{
    BaseUrl, CustomerId, Failure, FailureKind, FailureNote, FingerprintKey, HostKey, Record, TokenStatus,
};
use crate::store::{RowProblem, StoreError, Table};

/// How many customers that left the table are remembered for clients that ask for changes.
const REMEMBERED_REMOVALS: usize = 10_000;

/// Everything that the daemon knows. The scheduler owns it; nobody else changes it.
#[derive(Debug)]
pub struct State {
    policy: Policy,
    entries: BTreeMap<CustomerId, Entry>,
    key: Option<FingerprintKey>,
    revision: u64,
    removed: VecDeque<(u64, CustomerId)>,
    /// Before this revision the removals are no longer known.
    removed_floor: u64,
    history: History,
    table_read_at: Option<DateTime<Utc>>,
    read_error: Option<StoreError>,
    write_error: Option<StoreError>,
    told: HashSet<RowProblem>,
    told_records_lost: bool,
    unrecorded: BTreeSet<CustomerId>,
    /// Records of customers that left the table before they were written.
    orphans: Vec<Record>,
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
            key: None,
            revision: start,
            removed: VecDeque::new(),
            removed_floor: start,
            history: History::starting_at(start + 1),
            table_read_at: None,
            read_error: None,
            write_error: None,
            told: HashSet::new(),
            told_records_lost: false,
            unrecorded: BTreeSet::new(),
            orphans: Vec::new(),
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
        self.read_error.as_ref()
    }

    /// Why the store cannot be used, if it cannot.
    pub fn store_error(&self) -> Option<&StoreError> {
        self.read_error.as_ref().or(self.write_error.as_ref())
    }

    /// What the pass under way, or the last one, came to.
    pub fn pass(&self) -> PassCounts {
        self.pass
    }

    /// Renewals since the start: with the password, and with a refresh token.
    pub fn renewals_by(&self) -> (u64, u64) {
        (self.by_login, self.by_refresh_token)
    }

    /// The records that have changed since this was last asked.
    pub fn take_unrecorded(&mut self) -> Vec<Record> {
        let ids = std::mem::take(&mut self.unrecorded);
        let present = ids.iter().filter_map(|id| self.entries.get(id)).map(|entry| entry.record.clone());
        present.chain(self.orphans.drain(..)).collect()
    }

    /// Whether records wait to be written.
    pub fn has_unrecorded(&self) -> bool {
        !self.unrecorded.is_empty() || !self.orphans.is_empty()
    }

    /// Takes over what happened at `at`. `roll` is random in 0..1, for the spread of a back-off.
    pub fn apply(&mut self, event: Event, at: DateTime<Utc>, roll: f64) {
        match event {
            Event::TableRead(table) => self.table_read(table, at),
            Event::TableUnreadable(error) => {
                self.lose_store(&error, at);
                self.read_error = Some(error);
            }
            Event::PassStarted { trigger: _, attempts } => {
                self.pass = PassCounts { total: attempts, ..PassCounts::default() };
                if attempts > 0 {
                    let customers = if attempts == 1 { "customer" } else { "customers" };
                    let message = format!("renewing {attempts} {customers}");
                    self.note(at, NoticeKind::PassStarted, None, message);
                }
            }
            Event::Attempting(id) => {
                self.touch(&id, |entry| {
                    entry.attempting = true;
                    entry.deferred = None;
                });
            }
            Event::Obtained { renewal, refresh_token, via, latency, skew: _ } => {
                match via {
                    Via::Login => self.by_login += 1,
                    Via::RefreshToken => self.by_refresh_token += 1,
                }
                let id = renewal.id.clone();
                self.touch(&id, |entry| {
                    entry.unsaved = Some(*renewal);
                    entry.latency = Some(latency);
                    entry.refresh_token = refresh_token;
                });
            }
            Event::Saved(id) => self.saved(&id, at),
            Event::Superseded(id) => {
                self.unrecorded.insert(id.clone());
                self.touch(&id, |entry| {
                    entry.attempting = false;
                    entry.unsaved = None;
                    // The token that waited to be saved is not wanted any more, and that was the whole trouble.
                    entry.record.failure.take_if(|failure| failure.kind == FailureKind::Database);
                    entry.record.updated_at = at;
                });
                let message = "the row was changed meanwhile; its token was left as it is".to_owned();
                self.note(at, NoticeKind::Warning, Some(&id), message);
            }
            Event::Failed { id, failure } => self.failed(&id, &failure, at, roll),
            Event::SaveFailed { ids, error } => {
                for id in &ids {
                    let why = error.to_string();
                    self.failed(id, &Failure::Database { why }, at, roll);
                }
                self.lose_store(&error, at);
                self.write_error = Some(error);
            }
            Event::Deferred { id, why } => {
                self.touch(&id, |entry| {
                    entry.attempting = false;
                    entry.deferred = why;
                });
            }
            Event::HostBack(host) => self.host_back(&host),
            Event::PassFinished => self.pass_finished(at),
            Event::Recorded => self.write_works(at),
            Event::RecordsFailed { records, error } => {
                for record in records {
                    if self.entries.contains_key(&record.id) {
                        self.unrecorded.insert(record.id);
                    } else {
                        self.orphans.push(record);
                    }
                }
                self.lose_store(&error, at);
                self.write_error = Some(error);
            }
            Event::LoopStarted => self.note(at, NoticeKind::Started, None, "the loop was started".to_owned()),
            Event::LoopStopped => self.note(at, NoticeKind::Stopped, None, "the loop was stopped".to_owned()),
        }
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
            self.note(
                now,
                NoticeKind::Expired,
                Some(&id),
                "its token has ended without a new one".to_owned(),
            );
        }
        next
    }

    fn table_read(&mut self, table: Table, at: DateTime<Utc>) {
        self.adopt_key(&table.key);
        let mut before = std::mem::take(&mut self.entries);
        for customer in table.customers {
            let entry = match before.remove(&customer.id) {
                Some(mut entry) => {
                    if entry.replace_row(customer) {
                        self.revision += 1;
                        entry.revision = self.revision;
                    }
                    entry
                }
                None => {
                    self.revision += 1;
                    Entry::new(customer, self.revision, at, self.policy.window)
                }
            };
            self.entries.insert(entry.customer.id.clone(), entry);
        }
        for (id, entry) in before {
            // A row may come back, and must not be tried again just because it was away.
            if self.unrecorded.remove(&id) {
                self.orphans.push(entry.record);
            }
            self.remove(id);
        }
        self.adopt_records(table.records);
        self.forgive_changed_credentials(&table.key, at);
        self.tell_problems(&table.problems, table.records_lost, at);
        self.table_read_at = Some(at);
        let was_lost = self.read_error.take().is_some();
        if was_lost && self.write_error.is_none() {
            self.note(at, NoticeKind::StoreBack, None, "the database can be used again".to_owned());
        }
        self.advance(at);
    }

    /// When records become possible that were not before, the fingerprints get the stored key.
    fn adopt_key(&mut self, key: &FingerprintKey) {
        if let Some(old) = self.key.replace(key.clone()).filter(|old| old != key) {
            for entry in self.entries.values_mut() {
                let credentials = &entry.customer.credentials;
                if let Some(failure) = &mut entry.record.failure
                    && failure.fingerprint == old.fingerprint(credentials)
                {
                    failure.fingerprint = key.fingerprint(credentials);
                }
            }
        }
    }

    fn remove(&mut self, id: CustomerId) {
        self.revision += 1;
        self.removed.push_back((self.revision, id));
        if self.removed.len() > REMEMBERED_REMOVALS
            && let Some((revision, _)) = self.removed.pop_front()
        {
            self.removed_floor = revision;
        }
    }

    /// Takes over what the store remembers and we do not know better: all of it at the start, and later what another
    /// daemon on the same table has learned.
    fn adopt_records(&mut self, records: Vec<Record>) {
        for record in records {
            if let Some(entry) = self.entries.get_mut(&record.id)
                && !self.unrecorded.contains(&record.id)
                && entry.record.updated_at < record.updated_at
            {
                self.revision += 1;
                entry.revision = self.revision;
                entry.record = record;
            }
        }
    }

    /// A failure belongs to the credentials that failed. Others are a new story: the customer is tried again.
    fn forgive_changed_credentials(&mut self, key: &FingerprintKey, at: DateTime<Utc>) {
        let mut unparked = Vec::new();
        for (id, entry) in &mut self.entries {
            let Some(failure) = &entry.record.failure else { continue };
            if failure.fingerprint == key.fingerprint(&entry.customer.credentials) {
                continue;
            }
            if failure.permanent {
                unparked.push(id.clone());
            }
            entry.record.failure = None;
            entry.record.updated_at = at;
            self.revision += 1;
            entry.revision = self.revision;
            self.unrecorded.insert(id.clone());
        }
        for id in unparked {
            let message = "its URL, user or password has changed; it is tried again".to_owned();
            self.note(at, NoticeKind::Unparked, Some(&id), message);
        }
    }

    /// Says once what is wrong with a row, and again only if it was right in between.
    fn tell_problems(&mut self, problems: &[RowProblem], records_lost: Option<String>, at: DateTime<Utc>) {
        let told = std::mem::replace(&mut self.told, problems.iter().cloned().collect());
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            let message = format!("row {}: {}", problem.row, problem.what);
            self.note(at, NoticeKind::Warning, None, message);
        }
        if let Some(why) = records_lost.filter(|_| !self.told_records_lost) {
            self.told_records_lost = true;
            let message = format!(
                "the table tbtokend_state cannot be used ({why}): who is parked is forgotten at a restart; create it with the statements of the documentation"
            );
            self.note(at, NoticeKind::Warning, None, message);
        }
    }

    fn saved(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        self.write_works(at);
        let mut message = None;
        self.touch(id, |entry| message = entry.saved(at));
        let Some((renewed, recovered)) = message else { return };
        self.unrecorded.insert(id.clone());
        self.pass.updated += 1;
        if let Some(failures) = recovered {
            let message = format!("renewed after {failures} failed attempts");
            self.note(at, NoticeKind::Recovered, Some(id), message);
        }
        let message = format!("renewed until {}", renewed.format("%FT%TZ"));
        let renewal = self.entries.get_mut(id).map(|entry| RenewalDetail {
            url: crate::text::url(&entry.customer.credentials.url),
            latency: entry.latency.take(),
        });
        let customer = Some(id.clone());
        let kind = NoticeKind::Renewed;
        self.history.push(Notice {
            seq: 0,
            at,
            kind,
            customer,
            message,
            failure: None,
            renewal,
            quiet: false,
        });
        self.advance_one(id, at);
    }

    fn advance_one(&mut self, id: &CustomerId, now: DateTime<Utc>) {
        let window = self.policy.window;
        self.touch(id, |entry| entry.status = entry.status_at(now, window));
    }

    fn failed(&mut self, id: &CustomerId, failure: &Failure, at: DateTime<Utc>, roll: f64) {
        let (Some(entry), Some(key)) = (self.entries.get_mut(id), &self.key) else { return };
        let consecutive = entry.record.failure.as_ref().map_or(0, |f| f.consecutive).saturating_add(1);
        let permanent = failure.is_permanent();
        let next_attempt_at = match failure {
            _ if permanent => None,
            // Its token is here; it waits for the store, not for a time.
            Failure::Database { .. } => None,
            failure => {
                let remaining = entry.customer.expiry.filter(|_| entry.customer.has_token).map(|e| e - at);
                Some(at + retry_after(failure, self.policy.backoff().delay(consecutive, remaining, roll)))
            }
        };
        let note = FailureNote {
            kind: failure.kind(),
            message: failure.to_string(),
            permanent,
            consecutive,
            at,
            next_attempt_at,
            fingerprint: key.fingerprint(&entry.customer.credentials),
        };
        let is_news = entry.record.failure.as_ref().is_none_or(|before| before.kind != note.kind);
        let detail = FailureDetail {
            kind: note.kind,
            attempt: consecutive,
            next_at: next_attempt_at,
            url: crate::text::url(&entry.customer.credentials.url),
        };
        entry.attempting = false;
        entry.deferred = None;
        if note.kind != FailureKind::Database {
            entry.unsaved = None;
        }
        entry.record.failure = Some(note);
        entry.record.updated_at = at;
        self.revision += 1;
        entry.revision = self.revision;
        self.unrecorded.insert(id.clone());
        self.pass.errors += 1;
        self.history.push(Notice {
            seq: 0,
            at,
            kind: if permanent { NoticeKind::Parked } else { NoticeKind::Failed },
            customer: Some(id.clone()),
            message: failure.to_string(),
            failure: Some(detail),
            renewal: None,
            quiet: !is_news && !permanent && !consecutive.is_power_of_two(),
        });
    }

    /// A server answers again: who waited only for that need not wait longer.
    fn host_back(&mut self, host: &HostKey) {
        for entry in self.entries.values_mut() {
            let Some(failure) = &mut entry.record.failure else { continue };
            let waits_for_the_host = matches!(failure.kind, FailureKind::Unreachable | FailureKind::Timeout);
            let base = BaseUrl::parse(&entry.customer.credentials.url);
            if waits_for_the_host && base.is_ok_and(|base| base.host_key() == *host) {
                failure.next_attempt_at = None;
                self.revision += 1;
                entry.revision = self.revision;
            }
        }
    }

    fn pass_finished(&mut self, at: DateTime<Utc>) {
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

    /// Says that the store is lost, unless that is known.
    fn lose_store(&mut self, error: &StoreError, at: DateTime<Utc>) {
        if self.store_error().is_none() {
            let message = format!("{error}. {}", error.remedy());
            self.note(at, NoticeKind::StoreLost, None, message);
        }
    }

    fn write_works(&mut self, at: DateTime<Utc>) {
        if self.write_error.take().is_some() && self.read_error.is_none() {
            self.note(at, NoticeKind::StoreBack, None, "the database can be used again".to_owned());
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
        let customer = customer.cloned();
        self.history.push(Notice {
            seq: 0,
            at,
            kind,
            customer,
            message,
            failure: None,
            renewal: None,
            quiet: false,
        });
    }
}

/// The wait that the server asked for, if it asked for a longer one.
fn retry_after(failure: &Failure, delay: TimeDelta) -> TimeDelta {
    match failure {
        Failure::RateLimited { retry_after: Some(asked) } => {
            let asked = TimeDelta::from_std(*asked).unwrap_or(super::backoff::Backoff::MAX);
            delay.max(asked.min(super::backoff::Backoff::MAX))
        }
        _ => delay,
    }
}
