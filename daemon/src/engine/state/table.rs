//! What a look at the table changes: rows come, go and say something else; records of another life or of another daemon
//! are taken over.

use chrono::{DateTime, Utc};

use super::super::history::NoticeKind;
use super::{Entry, State};
use crate::model::{CustomerId, FingerprintKey, Record};
use crate::store::{RowProblem, Table};

/// How many customers that left the table are remembered for clients that ask for changes.
const REMEMBERED_REMOVALS: usize = 10_000;

impl State {
    pub(super) fn table_read(&mut self, table: Table, at: DateTime<Utc>) {
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
                    let mut entry = Entry::new(customer, self.revision, at, self.policy.window);
                    if let Some(record) = self.refusals.returned(&entry.customer.id) {
                        entry.record = record;
                    }
                    entry
                }
            };
            self.entries.insert(entry.customer.id.clone(), entry);
        }
        for (id, entry) in before {
            // A row may come back, and must not be tried again just because it was away.
            self.refusals.left(&entry.record);
            if self.unrecorded.remove(&id) {
                self.orphans.push(entry.record);
            }
            self.remove(id);
        }
        let revision = self.revision + 1;
        if self.hosts.used_by(self.entries.values().filter_map(|entry| entry.host.as_ref()), revision) {
            self.revision = revision;
        }
        self.adopt_records(table.records);
        self.forgive_changed_credentials(&table.key, at);
        self.refusals.index(self.entries.values().map(|entry| &entry.record));
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
            self.refusals.forget_absent();
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
            } else if !self.entries.contains_key(&record.id) {
                self.refusals.left(&record);
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
                "the table tbtokend_state cannot be used ({why}): who is parked is forgotten at a restart; have the DBA run what `tbtokend schema` prints"
            );
            self.note(at, NoticeKind::Warning, None, message);
        }
    }
}
