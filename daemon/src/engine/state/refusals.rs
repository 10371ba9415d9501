//! Who was refused for good, by credentials: a row that says the same as a refused one is not tried either.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{CustomerId, FailureNote, Fingerprint, Record};

/// The index, and the records of customers that left the table: what was refused once is refused for whoever comes
/// with the same credentials under another id.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_credentials: HashMap<Fingerprint, BTreeSet<CustomerId>>,
    absent: BTreeMap<CustomerId, Record>,
}

/// The failure, if it is the server's lasting answer to the credentials.
pub(super) fn refusal(record: &Record) -> Option<&FailureNote> {
    record.failure.as_deref().filter(|note| note.permanent && note.kind.is_about_the_account())
}

impl Refusals {
    /// Keeps the record of a customer that is not in the table, if it was refused.
    pub(super) fn left(&mut self, record: &Record) {
        let is_newer = |known: &Record| known.updated_at < record.updated_at;
        if refusal(record).is_some() && self.absent.get(&record.id).is_none_or(is_newer) {
            self.absent.insert(record.id.clone(), record.clone());
        }
    }

    /// Gives the record of a customer back that is in the table again.
    pub(super) fn returned(&mut self, id: &CustomerId) -> Option<Record> {
        self.absent.remove(id)
    }

    /// The fingerprints have another key from now on.
    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// Builds the index anew.
    pub(super) fn index<'a>(&mut self, present: impl Iterator<Item = &'a Record>) {
        let mut index = HashMap::<_, BTreeSet<_>>::new();
        let mut add = |record: &Record| {
            if let Some(note) = refusal(record) {
                index.entry(note.fingerprint.clone()).or_default().insert(record.id.clone());
            }
        };
        present.for_each(&mut add);
        self.absent.values().for_each(add);
        self.by_credentials = index;
    }

    /// A customer was refused.
    pub(super) fn add(&mut self, id: &CustomerId, fingerprint: &Fingerprint) {
        self.by_credentials.entry(fingerprint.clone()).or_default().insert(id.clone());
    }

    /// These credentials have been accepted after all: brings whom that concerns, and the records of those who are not in
    /// the table.
    pub(super) fn accepted(&mut self, fingerprint: &Fingerprint) -> (BTreeSet<CustomerId>, Vec<Record>) {
        let ids = self.by_credentials.remove(fingerprint).unwrap_or_default();
        let absent = ids.iter().filter_map(|id| self.absent.remove(id)).collect();
        (ids, absent)
    }

    /// Whether nobody was refused.
    pub(super) fn is_empty(&self) -> bool {
        self.by_credentials.is_empty()
    }

    /// What was refused with these credentials: the latest that was tried itself, or else any. `present` knows the
    /// records of those in the table.
    pub(super) fn find<'a>(
        &'a self,
        fingerprint: &Fingerprint,
        present: impl Fn(&CustomerId) -> Option<&'a Record>,
    ) -> Option<(&'a CustomerId, &'a FailureNote)> {
        let records = self.by_credentials.get(fingerprint)?.iter();
        records
            .filter_map(|id| present(id).or_else(|| self.absent.get(id)))
            .filter_map(|record| Some((&record.id, refusal(record)?)))
            .filter(|(_, note)| note.fingerprint == *fingerprint)
            .max_by_key(|(_, note)| (note.consecutive > 0, note.at))
    }
}
