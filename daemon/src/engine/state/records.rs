//! The records that the store does not have yet. Until they are written, older records of the store must not replace them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{CustomerId, Record};
use crate::store::Records;

/// Records on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Customers whose failure has begun, changed or ended: their records are written at once.
    changed: BTreeSet<CustomerId>,
    /// Customers with successes alone: their records can wait for the tokens of others.
    succeeded: BTreeSet<CustomerId>,
    /// Customers whose records are being written.
    writing: BTreeSet<CustomerId>,
    /// Whether the table is being read.
    reading: bool,
    /// Customers whose records were written during the read, which may bring older ones.
    just_written: BTreeSet<CustomerId>,
    /// Records of customers that left the table before they were written.
    orphans: BTreeMap<CustomerId, Record>,
}

impl Unwritten {
    /// The record of this customer has changed.
    pub(super) fn changed(&mut self, id: &CustomerId) {
        self.succeeded.remove(id);
        self.changed.insert(id.clone());
    }

    /// The record of this customer has changed, and has no failure before or after.
    pub(super) fn succeeded(&mut self, id: &CustomerId) {
        if !self.changed.contains(id) {
            self.succeeded.insert(id.clone());
        }
    }

    /// The record of this customer need not be written, because the store's is newer.
    pub(super) fn given_up(&mut self, id: &CustomerId) {
        self.changed.remove(id);
        self.succeeded.remove(id);
    }

    /// A customer left the table with this record.
    pub(super) fn left(&mut self, record: Record) {
        self.given_up(&record.id);
        self.orphans.insert(record.id.clone(), record);
    }

    /// The read of the table begins: its records may be older than those written from now on.
    pub(super) fn reading(&mut self) {
        self.reading = true;
    }

    /// The read of the table has ended.
    pub(super) fn read(&mut self) {
        self.reading = false;
        self.just_written.clear();
    }

    /// Whether the store's record of this customer may be older than the daemon's, also after it left the table.
    pub(super) fn may_be_newer(&self, id: &CustomerId) -> bool {
        [&self.changed, &self.succeeded, &self.writing, &self.just_written].iter().any(|ids| ids.contains(id))
            || self.orphans.contains_key(id)
    }

    /// Whether any of these records waits for a write.
    pub(super) fn is_waiting(&self, which: Records) -> bool {
        let succeeded = which == Records::All && !self.succeeded.is_empty();
        succeeded || !self.changed.is_empty() || !self.orphans.is_empty()
    }

    /// Takes at most `most` records to write now; `present` finds the records of customers in the table.
    pub(super) fn take<'a>(
        &mut self,
        which: Records,
        most: usize,
        present: impl Fn(&CustomerId) -> Option<&'a Record>,
    ) -> Vec<Record> {
        self.writing = take_first(&mut self.changed, most);
        if which == Records::All {
            self.writing.append(&mut take_first(&mut self.succeeded, most - self.writing.len()));
        }
        let mut records: Vec<Record> = self.writing.iter().filter_map(present).cloned().collect();
        while records.len() < most
            && let Some((id, orphan)) = self.orphans.pop_first()
        {
            // The record of a customer that came back and has changed is newer.
            if self.writing.insert(id) {
                records.push(orphan);
            }
        }
        records
    }

    /// The records that were taken are written.
    pub(super) fn written(&mut self) {
        let written = std::mem::take(&mut self.writing);
        if self.reading {
            self.just_written.extend(written);
        }
    }

    /// The write failed: `records` wait again.
    pub(super) fn not_written(&mut self, records: Vec<Record>, is_present: impl Fn(&CustomerId) -> bool) {
        self.written();
        for record in records {
            if is_present(&record.id) {
                self.changed.insert(record.id);
            } else {
                // Changes during the write are newer.
                self.orphans.entry(record.id.clone()).or_insert(record);
            }
        }
    }
}

/// Takes at most `most` ids, in their order.
fn take_first(ids: &mut BTreeSet<CustomerId>, most: usize) -> BTreeSet<CustomerId> {
    std::iter::from_fn(|| ids.pop_first()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A customer left the table while its record was being written, came back, failed again and left again.
    #[test]
    fn what_could_not_be_written_does_not_replace_what_was_learned_meanwhile() {
        let record = |renewals| Record {
            id: CustomerId::new("a"),
            failure: None,
            last_success_at: None,
            renewals,
            changes: crate::model::Changes::default(),
            updated_at: chrono::DateTime::UNIX_EPOCH,
        };
        let mut unwritten = Unwritten::default();
        unwritten.left(record(1));
        let taken = unwritten.take(Records::All, 10, |_| None);
        assert_eq!(taken, [record(1)]);
        unwritten.left(record(2));
        unwritten.not_written(taken, |_| false);
        assert_eq!(unwritten.take(Records::All, 10, |_| None), [record(2)]);
        unwritten.written();
        assert!(!unwritten.is_waiting(Records::All));
    }
}
