//! What the store's records change: those of an earlier start or of another daemon are taken over, and a failure that belongs
//! to other credentials than the row's is dropped.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::model::{Failure, FailureKind, Record};

impl State {
    /// Takes over what the store remembers and we do not know better: all of it at the start, and later what another
    /// daemon on the same table has learned.
    pub(super) fn adopt_records(&mut self, records: Vec<Record>, at: DateTime<Utc>) {
        for mut record in records {
            bring_to_our_time(&mut record, at);
            // What we have written since, or are about to, is newer.
            if self.customers.unwritten.may_be_newer(&record.id) {
                continue;
            }
            let Some(mut edit) = self.customers.edit(&record.id, at) else { continue };
            // Another daemon's password without an answer says nothing about a refresh token.
            let is_silence = record.failure.as_ref().is_some_and(|note| note.kind == FailureKind::Timeout);
            if edit.record().updated_at < record.updated_at
                && !(is_silence && edit.usable_refresh_token().is_some())
            {
                edit.adopt(record);
            }
        }
    }

    /// A failure belongs to the credentials that failed. With others the customer is tried again, and so it is when the
    /// configuration allows what it forbade.
    pub(super) fn forget_failures_of_other_credentials(&mut self, at: DateTime<Utc>) {
        let mut unparked = Vec::new();
        let require_https = self.policy.require_https;
        self.customers.edit_all(at, |edit| {
            let Some(failure) = &edit.record().failure else { return };
            let is_allowed = failure.kind == FailureKind::InsecureUrl && !require_https;
            if !is_allowed && failure.fingerprint == edit.credentials {
                return;
            }
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
                unparked.push((edit.customer.id.clone(), why));
            }
            edit.record_mut().failure = None;
        });
        for (id, why) in unparked {
            let message = format!("{why}; it is tried again");
            self.note(at, NoticeKind::Unparked, Some(&id), message);
        }
    }
}

/// How far the clocks of two daemons may be apart; a failure that is further ahead of us was noted by another clock.
const CLOCKS_AGREE: TimeDelta = TimeDelta::seconds(5);

/// A wait is as long as it was meant, whatever clock it was calculated by.
fn bring_to_our_time(record: &mut Record, at: DateTime<Utc>) {
    let Some(failure) = &mut record.failure else { return };
    let ahead = failure.at - at;
    if ahead > CLOCKS_AGREE {
        failure.at -= ahead;
        failure.next_attempt_at = failure.next_attempt_at.map(|until| until - ahead);
    }
}
