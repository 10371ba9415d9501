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
        let (Some(entry), Some(key)) = (self.entries.get(id), &self.key) else { return };
        let fingerprint = key.fingerprint(&entry.customer.credentials);
        let before = entry.record.failure.as_deref();
        // What only the store refused is here, and waits for the store, not for a time, unless it is the row that refuses it.
        let waits = !failure.is_permanent() && failure.kind() != FailureKind::Database;
        let is_refused_by_its_row = failure.kind() == FailureKind::Database && !self.health.refuses_tokens();
        if let Some(parked) = refusal(&entry.record).filter(|note| note.fingerprint == fingerprint)
            && waits
        {
            // An operator named it, and it could not be asked: that is no leave to try again unasked.
            let parked = parked.clone();
            return self.stays_parked(id, &parked, failure, at);
        }
        let consecutive = match failure {
            // It was not tried itself.
            Failure::SharedAccount { .. } => 0,
            _ => before.map_or(0, |before| before.consecutive).saturating_add(1),
        };
        let unheard = entry.sent_unheard(failure).then(|| self.unheard.again(&fingerprint, before));
        let may_hurry = unheard.is_none_or(|times| times < Unheard::MOST_IN_A_HURRY);
        let remaining = entry.ends_at().filter(|_| entry.customer.has_token && may_hurry).map(|end| end - at);
        let delay = self.policy.backoff().delay(unheard.unwrap_or(consecutive), remaining, roll);
        let note = FailureNote {
            kind: failure.kind(),
            message: failure.to_string(),
            permanent: failure.is_permanent(),
            consecutive,
            at,
            next_attempt_at: (waits || is_refused_by_its_row).then(|| at + retry_after(failure, delay)),
            fingerprint,
        };
        let is_news = before.is_none_or(|before| before.kind != note.kind);
        self.take_note(id, note, is_news);
    }

    /// The customer has failed, and this is to be remembered of it.
    fn take_note(&mut self, id: &CustomerId, note: FailureNote, is_news: bool) {
        if note.permanent && note.kind.is_about_the_account() {
            self.refusals.add(id, &note.fingerprint);
            self.unheard.heard(&note.fingerprint);
        }
        self.pass.errors += 1;
        self.unwritten.changed(id);
        let kind = if note.permanent { NoticeKind::Parked } else { NoticeKind::Failed };
        let is_quiet = !is_news && !note.permanent && !note.consecutive.is_power_of_two();
        self.touch(id, |entry| {
            entry.attempting = false;
            entry.deferred = None;
            if note.kind != FailureKind::Database {
                entry.unsaved = None;
            }
            entry.record.updated_at = note.at;
            entry.record.failure = Some(Box::new(note.clone()));
        });
        let notice = self.notice_of(id, kind, note.message.clone(), &note);
        self.history.push(notice.quiet(is_quiet));
    }

    fn stays_parked(&mut self, id: &CustomerId, parked: &FailureNote, failure: &Failure, at: DateTime<Utc>) {
        self.pass.errors += 1;
        self.touch(id, |entry| {
            entry.attempting = false;
            entry.deferred = None;
        });
        let message = format!("{failure}; it stays parked ({})", parked.message);
        let notice = self.notice_of(id, NoticeKind::Parked, message, &FailureNote { at, ..parked.clone() });
        self.history.push(notice);
    }

    fn notice_of(&self, id: &CustomerId, kind: NoticeKind, message: String, note: &FailureNote) -> Notice {
        let entry = self.entries.get(id);
        let url = entry.map_or("", |entry| &entry.customer.credentials.url);
        // Whose token is good for long is not tried again before it is due, though an operator had it tried now.
        let next_at = match entry.map(|entry| verdict(entry, note.at, &self.policy)) {
            Some(Verdict::Rest { until } | Verdict::Wait { until }) => Some(until),
            Some(Verdict::Due | Verdict::Parked | Verdict::Save) | None => note.next_attempt_at,
        };
        let detail =
            FailureDetail { kind: note.kind, attempt: note.consecutive, next_at, url: crate::text::url(url) };
        Notice::new(note.at, kind, message).of(id).failed(detail)
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
