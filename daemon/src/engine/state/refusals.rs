//! Who was refused for good, by credentials: a row that says the same as a refused one is not tried either.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{CustomerId, FailureNote, Fingerprint, Record};

/// The index, and the records of customers that left the table: what was refused once is refused for whoever comes
/// with the same credentials under another id.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_credentials: HashMap<Fingerprint, BTreeSet<CustomerId>>,
    absent: BTreeMap<CustomerId, Record>,
    left_behind: HashMap<Fingerprint, LeftBehind>,
}

/// A refusal whose row says something else by now, though others still say what was refused. They live on refresh tokens,
/// and must not be the next to be refused when those are over.
#[derive(Debug)]
pub(super) struct LeftBehind {
    pub(super) id: CustomerId,
    pub(super) note: FailureNote,
    pub(super) others: BTreeSet<CustomerId>,
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

    /// Keeps a refusal that no record speaks of any more.
    pub(super) fn leave_behind(&mut self, refusal: LeftBehind) {
        self.left_behind.insert(refusal.note.fingerprint.clone(), refusal);
    }

    /// Drops what nobody says any more.
    pub(super) fn retain_left_behind(&mut self, says: impl Fn(&CustomerId, &Fingerprint) -> bool) {
        self.left_behind.retain(|fingerprint, refusal| {
            refusal.others.retain(|id| says(id, fingerprint));
            !refusal.others.is_empty()
        });
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
        self.left_behind.remove(fingerprint);
        let ids = self.by_credentials.remove(fingerprint).unwrap_or_default();
        let absent = ids.iter().filter_map(|id| self.absent.remove(id)).collect();
        (ids, absent)
    }

    /// Whether nobody was refused.
    pub(super) fn is_empty(&self) -> bool {
        self.by_credentials.is_empty() && self.left_behind.is_empty()
    }

    /// What was refused with these credentials: the latest that was tried itself, or else any. `present` knows the
    /// records of those in the table.
    pub(super) fn find<'a>(
        &'a self,
        fingerprint: &Fingerprint,
        present: impl Fn(&CustomerId) -> Option<&'a Record>,
    ) -> Option<(&'a CustomerId, &'a FailureNote)> {
        let left_behind = self.left_behind.get(fingerprint).map(|left| (&left.id, &left.note));
        let records = self.by_credentials.get(fingerprint).into_iter().flatten();
        records
            .filter_map(|id| present(id).or_else(|| self.absent.get(id)))
            .filter_map(|record| Some((&record.id, refusal(record)?)))
            .filter(|(_, note)| note.fingerprint == *fingerprint)
            .max_by_key(|(_, note)| (note.consecutive > 0, note.at))
            .or(left_behind)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::model::FailureKind;

    fn record(name: &str, consecutive: u32, at: i64) -> Record {
        let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(at);
        let note = FailureNote {
            kind: FailureKind::CredentialsRejected,
            message: name.to_owned(),
            permanent: true,
            consecutive,
            at,
            next_attempt_at: None,
            fingerprint: Fingerprint::from_text("f".to_owned()),
        };
        let id = CustomerId::new(name);
        Record { id, failure: Some(Box::new(note)), last_success_at: None, renewals: 0, updated_at: at }
    }

    fn found(refusals: &Refusals, present: &[Record]) -> Option<String> {
        let of = |id: &CustomerId| present.iter().find(|record| record.id == *id);
        refusals.find(&Fingerprint::from_text("f".to_owned()), of).map(|(id, _)| id.to_string())
    }

    /// The one that was tried itself can say why; of several the latest.
    #[test]
    fn who_was_tried_itself_stands_for_the_others() {
        let present =
            [record("untried", 0, 90), record("first", 1, 10), record("again", 2, 20), record("z", 0, 5)];
        let mut refusals = Refusals::default();
        assert!(refusals.is_empty());
        refusals.index(present.iter());
        assert!(!refusals.is_empty());
        assert_eq!(found(&refusals, &present).as_deref(), Some("again"));
        refusals.index([].into_iter());
        assert_eq!((refusals.is_empty(), found(&refusals, &present)), (true, None));
    }

    #[test]
    fn what_is_no_lasting_answer_about_the_account_is_no_refusal() {
        let with = |kind, permanent| {
            let mut record = record("a", 1, 10);
            let note = record.failure.take().unwrap();
            Record { failure: Some(Box::new(FailureNote { kind, permanent, ..*note })), ..record }
        };
        assert!(refusal(&with(FailureKind::AccountLocked, true)).is_some());
        assert!(refusal(&with(FailureKind::UnexpectedResponse, true)).is_some(), "a redirect");
        assert!(refusal(&with(FailureKind::UnexpectedResponse, false)).is_none());
        assert!(
            refusal(&with(FailureKind::TokenTooLong, true)).is_none(),
            "the column is mended, not the row"
        );
        let mut refusals = Refusals::default();
        refusals.left(&with(FailureKind::BadUrl, true));
        assert!(refusals.returned(&CustomerId::new("a")).is_none());
    }

    #[test]
    fn of_one_who_has_left_the_latest_record_is_kept_until_it_returns() {
        let mut refusals = Refusals::default();
        for at in [10, 30, 20, 30] {
            refusals.left(&record("a", u32::try_from(at).unwrap(), at));
        }
        refusals.index([].into_iter());
        assert_eq!(found(&refusals, &[]).as_deref(), Some("a"));
        assert_eq!(refusals.returned(&CustomerId::new("a")), Some(record("a", 30, 30)));
        refusals.left(&record("a", 1, 40));
        refusals.forget_absent();
        assert_eq!(refusals.returned(&CustomerId::new("a")), None);
    }

    #[test]
    fn p02_what_is_accepted_after_all_is_forgotten_for_all() {
        let mut refusals = Refusals::default();
        refusals.left(&record("gone", 1, 10));
        refusals.index([record("here", 1, 10)].iter());
        let f = Fingerprint::from_text("f".to_owned());
        refusals.add(&CustomerId::new("new"), &f);
        let (ids, absent) = refusals.accepted(&f);
        assert_eq!(ids.iter().map(CustomerId::as_str).collect::<Vec<_>>(), ["gone", "here", "new"]);
        assert_eq!((absent, refusals.is_empty()), (vec![record("gone", 1, 10)], true));
        assert_eq!(refusals.returned(&CustomerId::new("gone")), None);
    }
}
