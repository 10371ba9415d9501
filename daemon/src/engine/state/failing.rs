//! What a failure changes.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::backoff::Backoff;
use super::super::history::{FailureDetail, Notice, NoticeKind};
use super::verdict::{DAILY, Verdict};
use super::{Entry, State};
use crate::model::{CustomerId, Failure, FailureKind, FailureNote};

impl State {
    pub(super) fn failed(&mut self, id: &CustomerId, failure: &Failure, at: DateTime<Utc>, roll: f64) {
        let kind = failure.kind();
        let was_sent = !matches!(
            failure,
            Failure::RejectedBefore { .. }
                | Failure::RejectionUnknown { .. }
                | Failure::AttemptsExhausted { .. }
        );
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        // Only an operator has a customer tried before its time, and that is not to put off the time.
        let verdict = edit.verdict(at, &self.policy);
        let early = verdict.until().filter(|until| *until > at);
        let consecutive = edit.count_failure(was_sent, early.is_some());
        let stays_parked = edit.stays_parked(kind);
        let goes_on = early.is_some() && (stays_parked || edit.waits_alike(kind));
        edit.count_waits(goes_on || stays_parked);
        drop(edit);
        let Some(entry) = self.customers.get(id) else { return };
        let before = entry.record().failure.as_deref();
        let remaining = entry.ends_at().filter(|_| entry.customer.has_token).map(|end| end - at);
        let delay = self.policy.backoff().delay(consecutive, remaining, roll);
        let delay = match verdict {
            Verdict::Rest { until } => delay.min(until - at),
            _ => early.map_or(delay, |until| until - at),
        };
        if let Some(parked) = before.filter(|_| stays_parked) {
            let mut parked = parked.clone();
            parked.consecutive = consecutive;
            parked.next_attempt_at = next_attempt_of_parked(entry, parked.kind, at, delay, goes_on);
            let message = format!("{failure}; it stays parked ({})", parked.message);
            return self.take_note(id, NoticeKind::Parked, message, parked, at, false);
        }
        // What the store as a whole refused waits for the store, not for a time; what the row refused is tried again later.
        let next_attempt_at = match kind {
            FailureKind::Database if self.health.refuses_tokens() => None,
            kind if kind.is_permanent() => next_attempt_of_parked(entry, kind, at, delay, goes_on),
            _ => Some(at + retry_after(failure, delay)),
        };
        let note = FailureNote {
            kind,
            message: failure.to_string(),
            permanent: kind.is_permanent(),
            consecutive,
            at,
            next_attempt_at,
            fingerprint: entry.credentials,
        };
        let is_news = before.is_none_or(|before| before.kind != kind);
        let is_quiet = !is_news && !note.permanent && (early.is_some() || !consecutive.is_power_of_two());
        let told = if note.permanent { NoticeKind::Parked } else { NoticeKind::Failed };
        self.take_note(id, told, note.message.clone(), note, at, is_quiet);
    }

    /// The customer has failed, and this is to be remembered of it.
    fn take_note(
        &mut self,
        id: &CustomerId,
        kind: NoticeKind,
        message: String,
        note: FailureNote,
        at: DateTime<Utc>,
        is_quiet: bool,
    ) {
        self.pass.errors += 1;
        if let Some(mut edit) = self.customers.edit(id, at) {
            edit.attempting = false;
            edit.deferred = None;
            if note.kind != FailureKind::Database {
                edit.unsaved = None;
            }
            edit.record_mut().failure = Some(Box::new(note.clone()));
        }
        let entry = self.customers.get(id);
        let url = entry.map_or("", |entry| &entry.customer.credentials.url);
        // A customer whose token is good for long is not tried again before it is due, though an operator had it tried now.
        let next_at = match entry.map(|entry| entry.verdict(at, &self.policy)) {
            Some(Verdict::Due | Verdict::Save) | None => note.next_attempt_at,
            Some(verdict) => verdict.until(),
        };
        let detail =
            FailureDetail { kind: note.kind, attempt: note.consecutive, next_at, url: crate::text::url(url) };
        self.tell(Notice::new(at, kind, message).of(id).failed(detail).quiet(is_quiet));
    }
}

impl Entry {
    /// Whether a failure that passes leaves the customer parked: it could not be asked, and that is no answer to what parked
    /// it.
    fn stays_parked(&self, kind: FailureKind) -> bool {
        let parked =
            self.record().failure.as_deref().filter(|failure| failure.permanent && !kind.is_permanent());
        parked.is_some_and(|parked| {
            parked.fingerprint == self.credentials
                && kind != FailureKind::Database
                && (parked.kind.is_the_ledgers() || parked.kind.is_tried_daily())
        })
    }

    /// Whether the next attempt after a failure of this kind comes by the same rule as after the one before.
    fn waits_alike(&self, kind: FailureKind) -> bool {
        self.record().failure.as_deref().is_some_and(|before| {
            (before.permanent, before.kind.is_tried_daily()) == (kind.is_permanent(), kind.is_tried_daily())
        })
    }
}

/// When a parked customer is tried next: once a day where ThingsBoard counts nothing, and with ordinary back-off where it has
/// a refresh token, which costs nothing. A day that `goes_on` ends with the delay.
fn next_attempt_of_parked(
    entry: &Entry,
    kind: FailureKind,
    at: DateTime<Utc>,
    delay: TimeDelta,
    goes_on: bool,
) -> Option<DateTime<Utc>> {
    let daily = kind.is_tried_daily().then(|| at + if goes_on { delay } else { DAILY });
    let can_refresh = entry.refresh_token.is_some() && (kind.is_the_ledgers() || kind.is_tried_daily());
    let refresh = can_refresh.then(|| at + delay);
    [daily, refresh].into_iter().flatten().min()
}

/// The wait that the server asked for, if it asked for a longer one.
fn retry_after(failure: &Failure, delay: TimeDelta) -> TimeDelta {
    let asked = failure.retry_after().map(|asked| TimeDelta::from_std(asked).unwrap_or(Backoff::MAX));
    asked.map_or(delay, |asked| delay.max(asked.min(Backoff::MAX)))
}
