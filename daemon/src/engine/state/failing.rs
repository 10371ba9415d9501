//! What a failure changes.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::backoff::Backoff;
use super::super::history::{FailureDetail, Notice, NoticeKind};
use super::super::plan::{Verdict, verdict};
use super::State;
use super::refusals::refusal;
use super::waiting::Unheard;
use crate::model::{CustomerId, Failure, FailureKind, FailureNote, Record};

impl State {
    pub(super) fn failed(&mut self, id: &CustomerId, failure: &Failure, at: DateTime<Utc>, roll: f64) {
        let (Some(entry), Some(key)) = (self.entries.get_mut(id), &self.key) else { return };
        let fingerprint = key.fingerprint(&entry.customer.credentials);
        let is_same = |note: &&FailureNote| note.fingerprint == fingerprint;
        if let Some(parked) = refusal(&entry.record).filter(is_same)
            && !failure.is_permanent()
            && failure.kind() != FailureKind::Database
        {
            // An operator named it, and it could not be asked: that is no leave to try again unasked.
            let parked = parked.clone();
            return self.stays_parked(id, &parked, failure, at);
        }
        let consecutive = match failure {
            // It was not tried itself.
            Failure::SharedAccount { .. } => 0,
            _ => entry.record.failure.as_ref().map_or(0, |f| f.consecutive).saturating_add(1),
        };
        let permanent = failure.is_permanent();
        let next_attempt_at = match failure {
            _ if permanent => None,
            // Its token is here; it waits for the store, not for a time.
            Failure::Database { .. } => None,
            failure => {
                let remaining = entry.ends_at().filter(|_| entry.customer.has_token).map(|end| end - at);
                let may_hurry = !entry.sent_unheard(failure)
                    || self.unheard.again(&fingerprint).max(consecutive) < Unheard::MOST_IN_A_HURRY;
                let remaining = remaining.filter(|_| may_hurry);
                Some(at + retry_after(failure, self.policy.backoff().delay(consecutive, remaining, roll)))
            }
        };
        let note = FailureNote {
            kind: failure.kind(),
            message: failure.to_string(),
            permanent,
            consecutive,
            at,
            next_attempt_at,
            fingerprint,
        };
        if permanent && note.kind.is_about_the_account() {
            self.refusals.add(id, &note.fingerprint);
            self.unheard.heard(&note.fingerprint);
        }
        let url = crate::text::url(&entry.customer.credentials.url);
        let is_news = entry.record.failure.as_ref().is_none_or(|before| before.kind != note.kind);
        let failed_with = note.kind;
        entry.attempting = false;
        entry.deferred = None;
        if failed_with != FailureKind::Database {
            entry.unsaved = None;
        }
        entry.record.failure = Some(Box::new(note));
        entry.record.updated_at = at;
        // Whose token is good for long is not tried again before it is due, though an operator had it tried now.
        let next_at = match verdict(entry, at, &self.policy) {
            Verdict::Rest { until } | Verdict::Wait { until } => Some(until),
            Verdict::Due | Verdict::Parked | Verdict::Save => next_attempt_at,
        };
        let detail = FailureDetail { kind: failed_with, attempt: consecutive, next_at, url };
        self.revision += 1;
        entry.revision = self.revision;
        self.unwritten.changed(id);
        self.pass.errors += 1;
        let kind = if permanent { NoticeKind::Parked } else { NoticeKind::Failed };
        let is_quiet = !is_news && !permanent && !consecutive.is_power_of_two();
        let notice = Notice::new(at, kind, failure.to_string()).of(id).failed(detail);
        self.history.push(notice.quiet(is_quiet));
    }

    fn stays_parked(&mut self, id: &CustomerId, parked: &FailureNote, failure: &Failure, at: DateTime<Utc>) {
        self.pass.errors += 1;
        let mut url = String::new();
        self.touch(id, |entry| {
            entry.attempting = false;
            entry.deferred = None;
            url = crate::text::url(&entry.customer.credentials.url);
        });
        let detail = FailureDetail { kind: parked.kind, attempt: parked.consecutive, next_at: None, url };
        let message = format!("{failure}; it stays parked ({})", parked.message);
        self.history.push(Notice::new(at, NoticeKind::Parked, message).of(id).failed(detail));
    }

    /// The password of `id` was accepted: whoever is parked with the same credentials need not be any longer.
    pub(super) fn accepted(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        if self.refusals.is_empty() && self.unheard.is_empty() {
            return;
        }
        let (Some(entry), Some(key)) = (self.entries.get(id), &self.key) else { return };
        let fingerprint = key.fingerprint(&entry.customer.credentials);
        self.unheard.heard(&fingerprint);
        let (present, absent) = self.refusals.accepted(&fingerprint);
        // So that the store does not bring them back.
        let cleared = absent.into_iter().map(|record| Record { failure: None, updated_at: at, ..record });
        self.unwritten.orphaned(cleared);
        for other in present.into_iter().filter(|other| other != id) {
            let Some(entry) = self.entries.get_mut(&other) else { continue };
            let is_same = |note: &mut Box<FailureNote>| note.permanent && note.fingerprint == fingerprint;
            if entry.record.failure.take_if(is_same).is_none() {
                continue;
            }
            entry.record.updated_at = at;
            self.revision += 1;
            entry.revision = self.revision;
            self.unwritten.changed(&other);
            let message = format!("its credentials were accepted for customer {id}; it is tried again");
            self.note(at, NoticeKind::Unparked, Some(&other), message);
        }
    }
}

/// The wait that the server asked for, if it asked for a longer one.
fn retry_after(failure: &Failure, delay: TimeDelta) -> TimeDelta {
    match failure {
        Failure::RateLimited { retry_after: Some(asked) } => {
            let asked = TimeDelta::from_std(*asked).unwrap_or(Backoff::MAX);
            delay.max(asked.min(Backoff::MAX))
        }
        _ => delay,
    }
}
