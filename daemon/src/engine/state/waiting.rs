//! Who waits for its server, until it answers again; and passwords that were sent so often that nobody hurries with them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::State;
use crate::model::{FailureKind, Fingerprint, HostKey};

/// How often each password was sent in a row without an answer. Each may have been counted as a wrong one, whichever of
/// the rows that have it sent it.
#[derive(Debug, Default)]
pub(super) struct Unheard(HashMap<Fingerprint, u32>);

impl Unheard {
    /// So often a password is sent, at most, to save a token that ends soon. After that it waits as if there were none to
    /// lose, and for all rows that have it.
    pub(super) const MOST_IN_A_HURRY: u32 = 3;

    /// Once more. Brings how often that was.
    pub(super) fn again(&mut self, fingerprint: &Fingerprint) -> u32 {
        let times = self.0.entry(fingerprint.clone()).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// An answer came.
    pub(super) fn heard(&mut self, fingerprint: &Fingerprint) {
        self.0.remove(fingerprint);
    }

    /// Whether nobody hurries with it any more.
    pub(super) fn is_held_back(&self, fingerprint: &Fingerprint) -> bool {
        self.0.get(fingerprint).is_some_and(|times| *times >= Self::MOST_IN_A_HURRY)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Servers that answer again, and since when; who waits for them is looked for once, at the end of the pass.
pub(super) type Back = BTreeMap<HostKey, DateTime<Utc>>;

impl State {
    /// Whether these credentials were sent so often without an answer that no row hurries with them any more.
    pub fn is_held_back(&self, fingerprint: &Fingerprint) -> bool {
        self.unheard.is_held_back(fingerprint)
    }

    /// Servers answer again: who failed before that and waits only for its server need not wait longer. A password that may
    /// be wrong, and may have been counted, does.
    pub(super) fn end_waits(&mut self, at: DateTime<Utc>) {
        let back = std::mem::take(&mut self.back);
        if back.is_empty() {
            return;
        }
        for (id, entry) in &mut self.entries {
            let is_in_doubt = entry.doubt().is_some();
            let Some(failure) = &mut entry.record.failure else { continue };
            let waits_for_its_server = failure.next_attempt_at.is_some()
                && matches!(failure.kind, FailureKind::Unreachable | FailureKind::Timeout);
            let since = entry.host.as_ref().and_then(|host| back.get(host));
            if waits_for_its_server && !is_in_doubt && since.is_some_and(|since| failure.at <= *since) {
                failure.next_attempt_at = None;
                entry.record.updated_at = at;
                self.revision += 1;
                entry.revision = self.revision;
                self.unwritten.changed(id);
            }
        }
    }
}
