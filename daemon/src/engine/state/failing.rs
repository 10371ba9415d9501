//! What a failure changes.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::backoff::Backoff;
use super::super::history::{FailureDetail, Notice, NoticeKind};
use super::verdict::{DAILY, Verdict};
use super::{CustomerState, State};
use crate::engine::counters::Operation;
use crate::model::{CustomerId, Failure, FailureKind, FailureNote};

impl State {
    pub(super) fn failed(&mut self, id: &CustomerId, failure: &Failure, at: DateTime<Utc>, random: f64) {
        let kind = failure.kind();
        let was_sent = !matches!(
            failure,
            Failure::RejectedBefore { .. }
                | Failure::RejectionUnknown { .. }
                | Failure::AttemptsExhausted { .. }
        );
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        // Only an operator has a customer tried before its time, and this must not delay its next attempt.
        let verdict = edit.verdict(at, &self.policy);
        let early = verdict.until().filter(|until| *until > at);
        let consecutive = edit.count_failure(was_sent, early.is_some());
        let stays_parked = edit.stays_parked(kind);
        let goes_on = early.is_some() && (stays_parked || edit.waits_alike(kind));
        edit.count_waits(goes_on || stays_parked);
        drop(edit);
        let Some(customer) = self.customers.get(id) else { return };
        let before = customer.record().failure.as_deref();
        let remaining = customer.ends_at().filter(|_| customer.row.has_token).map(|end| end - at);
        let delay = self.policy.backoff().delay(consecutive, remaining, random);
        let delay = match verdict {
            Verdict::Rest { until } => delay.min(until - at),
            _ => early.map_or(delay, |until| until - at),
        };
        if let Some(parked) = before.filter(|_| stays_parked) {
            let mut parked = parked.clone();
            parked.consecutive = consecutive;
            parked.next_attempt_at = next_attempt_of_parked(customer, parked.kind, at, delay, goes_on);
            let message = format!("{failure}; it stays parked ({})", parked.message);
            return self.take_note(id, NoticeKind::Parked, message, parked, at, false);
        }
        // If the store refuses all tokens, the customer waits for the store. If it refuses this row alone, a time is set.
        let next_attempt_at = match kind {
            FailureKind::Database if self.error_of(Operation::Write).is_some() => None,
            kind if kind.is_permanent() => next_attempt_of_parked(customer, kind, at, delay, goes_on),
            _ => Some(at + retry_after(failure, delay)),
        };
        let note = FailureNote {
            kind,
            message: failure.to_string(),
            permanent: kind.is_permanent(),
            consecutive,
            at,
            next_attempt_at,
            fingerprint: customer.credentials,
        };
        let is_new_kind = before.is_none_or(|before| before.kind != kind);
        let is_quiet = !is_new_kind && !note.permanent && (early.is_some() || !consecutive.is_power_of_two());
        let notice_kind = if note.permanent { NoticeKind::Parked } else { NoticeKind::Failed };
        self.take_note(id, notice_kind, note.message.clone(), note, at, is_quiet);
    }

    /// Stores a failure of the customer, and reports it.
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
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        edit.attempting = false;
        edit.deferred = None;
        if note.kind != FailureKind::Database {
            edit.unsaved = None;
        }
        edit.record_mut().failure = Some(Box::new(note.clone()));
        // A customer with a valid token is not tried again before it is due, even if an operator had it tried now.
        let next_at = match edit.verdict(at, &self.policy) {
            Verdict::Due | Verdict::Save => note.next_attempt_at,
            verdict => verdict.until(),
        };
        let url = crate::text::url(&edit.row.credentials.url);
        drop(edit);
        let failure = Some(FailureDetail { kind: note.kind, attempt: note.consecutive, next_at, url });
        self.add_notice(Notice { failure, ..Notice::new(at, kind, message).of(id).quiet(is_quiet) });
    }
}

impl CustomerState {
    /// Whether a transient failure leaves the customer parked: the cause of its parking was not checked.
    fn stays_parked(&self, kind: FailureKind) -> bool {
        let parked =
            self.record().failure.as_deref().filter(|failure| failure.permanent && !kind.is_permanent());
        parked.is_some_and(|parked| {
            parked.fingerprint == self.credentials
                && kind != FailureKind::Database
                && (parked.kind.is_the_ledgers() || parked.kind.is_tried_daily())
        })
    }

    /// Whether a failure of this kind continues the back-off of the failure before it.
    fn waits_alike(&self, kind: FailureKind) -> bool {
        self.record().failure.as_deref().is_some_and(|before| {
            (before.permanent, before.kind.is_tried_daily()) == (kind.is_permanent(), kind.is_tried_daily())
        })
    }
}

/// When a parked customer is tried next: once a day if ThingsBoard does not count the failure. With a refresh token it is
/// tried after an ordinary back-off. A day that `goes_on` ends with the delay.
fn next_attempt_of_parked(
    customer: &CustomerState,
    kind: FailureKind,
    at: DateTime<Utc>,
    delay: TimeDelta,
    goes_on: bool,
) -> Option<DateTime<Utc>> {
    let daily = kind.is_tried_daily().then(|| at + if goes_on { delay } else { DAILY });
    let can_refresh = customer.refresh_token.is_some() && (kind.is_the_ledgers() || kind.is_tried_daily());
    let refresh = can_refresh.then(|| at + delay);
    [daily, refresh].into_iter().flatten().min()
}

/// The delay, or the server's `Retry-After` if that is longer.
fn retry_after(failure: &Failure, delay: TimeDelta) -> TimeDelta {
    let asked = failure.retry_after().map(|asked| TimeDelta::from_std(asked).unwrap_or(Backoff::MAX));
    asked.map_or(delay, |asked| delay.max(asked.min(Backoff::MAX)))
}
