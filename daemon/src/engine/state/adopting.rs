//! What the store's records change: those of another life or of another daemon are taken over, and what belongs to other
//! credentials than the row's is dropped.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::super::history::NoticeKind;
use super::State;
use super::refusals::refusal;
use crate::model::{Failure, FailureKind, Fingerprint, FingerprintKey, Record};

impl State {
    /// Takes over what the store remembers and we do not know better: all of it at the start, and later what another
    /// daemon on the same table has learned.
    pub(super) fn adopt_records(&mut self, records: Vec<Record>, key: &FingerprintKey, at: DateTime<Utc>) {
        for record in records {
            let id = &record.id;
            let Some(entry) = self.entries.get_mut(id) else {
                if !self.unwritten.may_be_newer(id) {
                    self.refusals.left(&record);
                }
                continue;
            };
            // No answer to a password that we do not need.
            let is_of_a_password =
                record.failure.as_ref().is_some_and(|note| note.kind == FailureKind::Timeout);
            if is_of_a_password && entry.usable_refresh_token().is_some() {
                continue;
            }
            // What we have written since, or are about to, is newer. But that we could not ask is no answer to a refusal.
            let could_not_ask = entry.record.failure.as_ref().is_some_and(|note| !note.permanent);
            if self.unwritten.may_be_newer(id) && !(could_not_ask && refusal(&record).is_some()) {
                continue;
            }
            match preference(&entry.record, &record, || key.fingerprint(&entry.customer.credentials)) {
                Preference::Ours => {}
                Preference::OursForBoth => {
                    entry.record.updated_at = at;
                    self.unwritten.changed(id);
                }
                Preference::Theirs => {
                    self.revision += 1;
                    entry.revision = self.revision;
                    self.unwritten.given_up(id);
                    entry.record = record;
                }
            }
        }
    }

    /// A failure belongs to the credentials that failed. Others are a new story: the customer is tried again. So it is when
    /// the configuration allows what it forbade.
    pub(super) fn forgive_what_has_changed(&mut self, key: &FingerprintKey, at: DateTime<Utc>) {
        let mut unparked = Vec::new();
        let mut left = HashMap::new();
        for (id, entry) in &mut self.entries {
            let Some(failure) = &entry.record.failure else { continue };
            let is_allowed = failure.kind == FailureKind::InsecureUrl && !self.policy.require_https;
            if !is_allowed && failure.fingerprint == key.fingerprint(&entry.customer.credentials) {
                continue;
            }
            if let Some(refused) = refusal(&entry.record) {
                left.insert(refused.fingerprint.clone(), Failure::shared(id, refused));
            }
            if failure.permanent {
                let why =
                    if is_allowed { "http is allowed now" } else { "its URL, user or password has changed" };
                unparked.push((id.clone(), why));
            }
            self.unheard.heard(&failure.fingerprint);
            entry.record.failure = None;
            entry.record.updated_at = at;
            self.revision += 1;
            entry.revision = self.revision;
            self.unwritten.changed(id);
        }
        for (id, why) in unparked {
            let message = format!("{why}; it is tried again");
            self.note(at, NoticeKind::Unparked, Some(&id), message);
        }
        self.park_who_still_says(&left, key, at);
    }

    /// Whoever was told that these credentials are refused does not say them any more. Who still does must not be the next
    /// to be told.
    fn park_who_still_says(
        &mut self,
        refused: &HashMap<Fingerprint, Failure>,
        key: &FingerprintKey,
        at: DateTime<Utc>,
    ) {
        if refused.is_empty() {
            return;
        }
        let others = self.entries.iter().filter(|(_, entry)| refusal(&entry.record).is_none());
        let others = others.filter_map(|(id, entry)| {
            let failure = refused.get(&key.fingerprint(&entry.customer.credentials))?;
            Some((id.clone(), failure.clone()))
        });
        for (id, failure) in others.collect::<Vec<_>>() {
            // Nothing is rolled for what does not end.
            self.failed(&id, &failure, at, 0.5);
        }
    }
}

/// Which of two records of one customer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    Ours,
    /// Ours, and the store is to say so.
    OursForBoth,
    Theirs,
}

/// Whether our record or the store's, which another daemon may have written, counts. A refusal of the present
/// credentials does, whatever the clocks say: the other one was told, or we were, and nobody else needs to be. What the
/// store holds was written after anything that we have written.
pub(super) fn preference(
    ours: &Record,
    theirs: &Record,
    credentials: impl FnOnce() -> Fingerprint,
) -> Preference {
    match (refusal(ours), refusal(theirs)) {
        (Some(our), Some(their)) if our.fingerprint == their.fingerprint => Preference::Ours,
        (None, Some(their)) if their.fingerprint == credentials() => Preference::Theirs,
        // The other one could not even ask, unless it has had a token since.
        (Some(our), None) if theirs.last_success_at.is_none_or(|at| at <= our.at) => Preference::OursForBoth,
        _ if ours.updated_at < theirs.updated_at => Preference::Theirs,
        _ => Preference::Ours,
    }
}
