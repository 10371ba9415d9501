//! What a look at the table changes: rows come, go and say something else.

use chrono::{DateTime, Utc};

use super::super::history::NoticeKind;
use super::health::Use;
use super::{Entry, Known, State};
use crate::model::{Customer, CustomerId, FingerprintKey};
use crate::store::{RowProblem, Table};

/// How many customers that left the table are remembered for clients that ask for changes.
pub(super) const REMEMBERED_REMOVALS: usize = 10_000;

impl State {
    pub(super) fn table_read(&mut self, table: Table, at: DateTime<Utc>) {
        self.adopt_key(&table.key);
        self.take_over_rows(table.customers, at);
        let revision = self.revision + 1;
        if self.hosts.used_by(self.entries.values().filter_map(|entry| entry.host.as_ref()), revision) {
            self.revision = revision;
        }
        self.adopt_records(table.records, &table.key, at);
        self.unwritten.read();
        self.forgive_what_has_changed(&table.key, at);
        self.refusals.index(self.entries.values().map(|entry| &entry.record));
        let failures = self.entries.values().filter_map(|entry| entry.record.failure.as_deref());
        self.unheard.retain(failures.map(|failure| failure.fingerprint.clone()));
        self.tell_problems(&table.problems, table.records_lost, at);
        self.table_read_at = Some(at);
        if self.health.refuses_tokens() && self.entries.values().all(|entry| entry.unsaved.is_none()) {
            // Nothing waits any more for which it would be known that it works again.
            self.store_works(Use::Save, at);
        }
        self.store_works(Use::Read, at);
        self.advance(at);
    }

    /// Most rows say what they said a minute ago, so each is compared where it stands: to build the map anew took three
    /// times as long.
    fn take_over_rows(&mut self, customers: Vec<Customer>, at: DateTime<Utc>) {
        self.mark = !self.mark;
        let mut known = 0;
        let mut new = Vec::new();
        for customer in customers {
            if let Some(entry) = self.entries.get_mut(&customer.id) {
                known += 1;
                entry.mark = self.mark;
                if entry.replace_row(customer) {
                    self.revision += 1;
                    entry.revision = self.revision;
                }
            } else {
                self.revision += 1;
                let mut entry = Entry::new(customer, self.revision, at, self.policy.window);
                entry.mark = self.mark;
                if self.table_read_at.is_some() {
                    entry.known = Known::New;
                }
                if let Some(record) = self.refusals.returned(&entry.customer.id) {
                    entry.record = record;
                }
                new.push((entry.customer.id.clone(), entry));
            }
        }
        if known < self.entries.len() {
            self.remove_the_unmarked();
        }
        if self.entries.is_empty() {
            // All at once fills the nodes of the map; one by one leaves a third of them empty.
            self.entries = new.into_iter().collect();
        } else {
            self.entries.extend(new);
        }
    }

    /// Those whose row was not there this time.
    fn remove_the_unmarked(&mut self) {
        let mark = self.mark;
        let gone: Vec<_> = self.entries.extract_if(.., |_, entry| entry.mark != mark).collect();
        for (id, entry) in gone {
            // A row may come back, and must not be tried again just because it was away.
            self.refusals.left(&entry.record);
            self.unwritten.left(entry.record);
            self.remove(id);
        }
    }

    /// When records become possible that were not before, the fingerprints get the stored key, and what was only known
    /// here is written.
    fn adopt_key(&mut self, key: &FingerprintKey) {
        if let Some(old) = self.key.replace(key.clone()).filter(|old| old != key) {
            self.refusals.forget_absent();
            for (id, entry) in &mut self.entries {
                let credentials = &entry.customer.credentials;
                if let Some(failure) = &mut entry.record.failure
                    && failure.fingerprint == old.fingerprint(credentials)
                {
                    failure.fingerprint = key.fingerprint(credentials);
                    self.unwritten.changed(id);
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

    /// Says once what is wrong with a row, and again only if it was right in between.
    fn tell_problems(&mut self, problems: &[RowProblem], records_lost: Option<String>, at: DateTime<Utc>) {
        let told = std::mem::replace(&mut self.told, problems.iter().cloned().collect());
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            let message = format!("row {}: {}", problem.row, problem.what);
            self.note(at, NoticeKind::Warning, None, message);
        }
        let was_told = std::mem::replace(&mut self.told_records_lost, records_lost.is_some());
        if let Some(why) = records_lost.filter(|_| !was_told) {
            let message = format!(
                "the table tbtokend_state cannot be used ({why}): who is parked is forgotten at a restart; have the DBA run what `tbtokend schema` prints"
            );
            self.note(at, NoticeKind::Warning, None, message);
        }
    }
}
