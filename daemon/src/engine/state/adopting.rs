//! What the store's records change: those of another life or of another daemon are taken over, and what belongs to other
//! credentials than the row's is dropped.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use super::refusals::{LeftBehind, refusal};
use crate::model::{CustomerId, Failure, FailureKind, FailureNote, Fingerprint, FingerprintKey, Record};

impl State {
    /// Takes over what the store remembers and we do not know better: all of it at the start, and later what another
    /// daemon on the same table has learned.
    pub(super) fn adopt_records(&mut self, records: Vec<Record>, key: &FingerprintKey, at: DateTime<Utc>) {
        for mut record in records {
            bring_to_our_time(&mut record, at);
            let id = &record.id;
            let Some(entry) = self.entries.get_mut(id) else {
                if !self.unwritten.may_be_newer(id) {
                    self.refusals.left(&record);
                }
                continue;
            };
            // Most likely it was no answer to a password, which we do not need.
            let is_silence = record.failure.as_ref().is_some_and(|note| note.kind == FailureKind::Timeout);
            if is_silence && entry.usable_refresh_token().is_some() {
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
        let mut left = Refused::new();
        for (id, entry) in &mut self.entries {
            let Some(failure) = &entry.record.failure else { continue };
            let is_allowed = failure.kind == FailureKind::InsecureUrl && !self.policy.require_https;
            if !is_allowed && failure.fingerprint == key.fingerprint(&entry.customer.credentials) {
                continue;
            }
            if let Some(refused) = refusal(&entry.record) {
                left.insert(refused.fingerprint.clone(), (id.clone(), refused.clone()));
            }
            if failure.permanent {
                let why =
                    if is_allowed { "http is allowed now" } else { "its URL, user or password has changed" };
                unparked.push((id.clone(), why));
            }
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
        self.drop_refusals_that_nobody_says(key);
        self.park_who_still_says(left, key, at);
    }

    /// Whoever was told that these credentials are refused does not say them any more. Who still does must not be the next
    /// to be told: it is parked, or, if it lives on refresh tokens, when it needs the password.
    fn park_who_still_says(&mut self, refused: Refused, key: &FingerprintKey, at: DateTime<Utc>) {
        if refused.is_empty() {
            return;
        }
        let mut parked = Vec::new();
        let mut others = HashMap::<Fingerprint, BTreeSet<CustomerId>>::new();
        for (id, entry) in self.entries.iter().filter(|(_, entry)| refusal(&entry.record).is_none()) {
            let fingerprint = key.fingerprint(&entry.customer.credentials);
            let Some((told, note)) = refused.get(&fingerprint) else { continue };
            if entry.unsaved.is_none() && entry.usable_refresh_token().is_none() {
                parked.push((id.clone(), Failure::shared(told, note)));
            } else {
                others.entry(fingerprint).or_default().insert(id.clone());
            }
        }
        for (id, failure) in parked {
            // Nothing is rolled for what does not end.
            self.failed(&id, &failure, at, 0.5);
        }
        for (fingerprint, (id, note)) in refused {
            if let Some(others) = others.remove(&fingerprint) {
                self.refusals.leave_behind(LeftBehind { id, note, others });
            }
        }
    }

    fn drop_refusals_that_nobody_says(&mut self, key: &FingerprintKey) {
        let entries = &self.entries;
        self.refusals.retain_left_behind(|id, fingerprint| {
            entries.get(id).is_some_and(|entry| key.fingerprint(&entry.customer.credentials) == *fingerprint)
        });
    }
}

/// Refused credentials, with who was told and what.
type Refused = HashMap<Fingerprint, (CustomerId, FailureNote)>;

/// How far the clocks of two daemons may be apart; a failure that is further ahead of us was noted by another clock.
const CLOCKS_AGREE: TimeDelta = TimeDelta::seconds(5);

/// A wait is as long as it was meant, whatever clock it was reckoned by.
fn bring_to_our_time(record: &mut Record, at: DateTime<Utc>) {
    let Some(failure) = &mut record.failure else { return };
    let ahead = failure.at - at;
    if ahead > CLOCKS_AGREE {
        failure.at -= ahead;
        failure.next_attempt_at = failure.next_attempt_at.map(|until| until - ahead);
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
