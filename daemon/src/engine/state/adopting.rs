//! Takes over the store's records of an earlier start or another daemon, and drops failures of other credentials.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::model::{Failure, FailureKind, Record};

impl State {
    /// Takes over the records of the store that are newer: all of them at the start, later those of another daemon on the same
    /// table.
    pub(super) fn adopt_records(&mut self, records: Vec<Record>, at: DateTime<Utc>) {
        for mut record in records {
            bring_to_our_time(&mut record, at);
            // A record that was written since, or is about to be, is newer.
            if self.customers.unwritten.may_be_newer(&record.id) {
                continue;
            }
            let Some(mut edit) = self.customers.edit(&record.id, at) else { continue };
            // An unanswered password of another daemon must not delay a customer that can renew with a refresh token.
            let is_unanswered = record.failure.as_ref().is_some_and(|note| note.kind == FailureKind::Timeout);
            if edit.record().updated_at < record.updated_at
                && !(is_unanswered && edit.usable_refresh_token().is_some())
            {
                edit.adopt(record);
            }
        }
    }

    /// Drops failures of other credentials than the row's, and failures that the configuration allows now. Then the
    /// customer is tried again.
    pub(super) fn drop_obsolete_failures(&mut self, at: DateTime<Utc>) {
        let mut unparked = Vec::new();
        let require_https = self.policy.require_https;
        self.customers.edit_all(at, |edit| {
            let Some(failure) = &edit.record().failure else { return };
            let is_allowed = failure.kind == FailureKind::InsecureUrl && !require_https;
            if !is_allowed && failure.fingerprint == edit.credentials {
                return;
            }
            // The rejection cannot be compared, so it stays until an operator forces the password.
            if edit.has_unknown_rejection() {
                let message = Failure::RejectionUnknown { kind: failure.kind }.to_string();
                if failure.message != message
                    && let Some(failure) = &mut edit.record_mut().failure
                {
                    failure.message = message;
                }
                return;
            }
            if failure.permanent {
                let why =
                    if is_allowed { "http is allowed now" } else { "its URL, user or password has changed" };
                unparked.push((edit.row.id.clone(), why));
            }
            edit.record_mut().failure = None;
        });
        for (id, why) in unparked {
            let message = format!("{why}; it is tried again");
            self.note(at, NoticeKind::Unparked, Some(&id), message);
        }
    }
}

/// How far the clocks of two daemons may be apart. A failure further in the future comes from another clock.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// Moves a failure in the future to the present, so that its wait keeps its length.
fn bring_to_our_time(record: &mut Record, at: DateTime<Utc>) {
    let Some(failure) = &mut record.failure else { return };
    let ahead = failure.at - at;
    if ahead > CLOCK_TOLERANCE {
        failure.at -= ahead;
        failure.next_attempt_at = failure.next_attempt_at.map(|until| until - ahead);
    }
}
