//! Who waits for its server, until it answers again; and passwords that were sent so often that nobody hurries with them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::State;
use crate::model::{FailureKind, FailureNote, Fingerprint, HostKey};

/// How often each password was sent in a row without an answer. Each may have been counted as a wrong one, whichever of
/// the rows that have it sent it.
#[derive(Debug, Default)]
pub(super) struct Unheard(HashMap<Fingerprint, u32>);

impl Unheard {
    /// So often a password is sent, at most, to save a token that ends soon. After that it waits as if there were none to
    /// lose, and for all rows that have it.
    pub(super) const MOST_IN_A_HURRY: u32 = 3;

    /// Once more, for a row that had failed like this before. Brings how often that was. What was sent before a restart is
    /// known from the row alone.
    pub(super) fn again(&mut self, fingerprint: &Fingerprint, before: Option<&FailureNote>) -> u32 {
        let known =
            before.filter(|note| note.kind == FailureKind::Timeout).map_or(0, |note| note.consecutive);
        let times = self.0.entry(fingerprint.clone()).or_insert(known);
        *times = times.saturating_add(1);
        *times
    }

    /// Forgets those of which no failure is left.
    pub(super) fn retain(&mut self, failures: impl Iterator<Item = Fingerprint>) {
        if !self.0.is_empty() {
            let failures: HashSet<Fingerprint> = failures.collect();
            self.0.retain(|fingerprint, _| failures.contains(fingerprint));
        }
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

    /// Servers are well again: who could not reach them before that, or waits with a refresh token, need not wait longer. A
    /// password that got no answer may have been counted, so it waits as many intervals as it has failed, and one that has
    /// never worked waits on: a server that answers now and then, or a daemon that is started again and again, makes that
    /// hardly more often than by waiting. So does a server that was overloaded, and is to stay well.
    pub(super) fn end_waits(&mut self, at: DateTime<Utc>) {
        let back = std::mem::take(&mut self.back);
        if back.is_empty() {
            return;
        }
        let interval = self.policy.interval;
        for (id, entry) in &mut self.entries {
            let is_in_doubt = entry.doubt().is_some();
            let needs_password = entry.usable_refresh_token().is_none();
            let since = entry.host.as_ref().and_then(|host| back.get(host));
            let Some(failure) = &mut entry.record.failure else { continue };
            let (Some(until), Some(since)) = (failure.next_attempt_at, since) else { continue };
            let next = match failure.kind {
                FailureKind::Unreachable => failure.at,
                FailureKind::Timeout if !needs_password => failure.at,
                FailureKind::Timeout if is_in_doubt => continue,
                FailureKind::Timeout | FailureKind::ServerError => {
                    failure.at + interval * i32::try_from(failure.consecutive).unwrap_or(i32::MAX)
                }
                _ => continue,
            };
            if failure.at <= *since && next < until {
                failure.next_attempt_at = Some(next).filter(|next| *next > at);
                entry.record.updated_at = at;
                self.revision += 1;
                entry.revision = self.revision;
                self.unwritten.changed(id);
            }
        }
    }
}
