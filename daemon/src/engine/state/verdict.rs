//! What a customer needs: nothing, a renewal, a wait, an operator, or only the write of its token.

use chrono::{DateTime, TimeDelta, Utc};

use super::CustomerState;
use crate::engine::policy::Policy;
use crate::model::{FailureKind, FailureNote, TokenStatus};

/// What a customer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentence of each variant explains its fields")]
pub enum Verdict {
    /// Nothing: its token is valid, until just after the beginning of its window.
    Rest { until: DateTime<Utc> },
    /// A renewal now.
    Due,
    /// A renewal, but not before its next attempt.
    Wait { until: DateTime<Utc> },
    /// A change or an operator: its password is not sent automatically. A customer that is tried
    /// once a day, or has a refresh token, has a next attempt.
    Parked { until: Option<DateTime<Utc>> },
    /// The write of the token that is here.
    Save,
}

impl Verdict {
    /// Until when it is not tried automatically, if that is known.
    pub fn until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Rest { until } | Self::Wait { until } => Some(until),
            Self::Parked { until } => until,
            Self::Due | Self::Save => None,
        }
    }
}

/// The time between two attempts of a parked customer whose failures ThingsBoard does not count.
pub const DAILY: TimeDelta = TimeDelta::days(1);

impl CustomerState {
    /// What the customer needs at `now`.
    pub fn verdict(&self, now: DateTime<Utc>, policy: &Policy) -> Verdict {
        if self.unsaved.is_some() {
            let refused =
                self.record().failure.as_deref().filter(|failure| failure.kind == FailureKind::Database);
            return match refused.and_then(|failure| failure.next_attempt_at) {
                Some(until) if is_ahead(until, now, policy) => Verdict::Wait { until },
                _ => Verdict::Save,
            };
        }
        let window = self.window(policy.window);
        let status = TokenStatus::at(now, self.row.has_token, self.ends_at(), window);
        let is_fine = status == TokenStatus::Valid && !self.is_misdated(policy.window);
        // The token is still valid at the first instant of its window.
        let rest = self.ends_at().filter(|_| is_fine).map(|end| end - window + TimeDelta::milliseconds(1));
        match self.record().failure.as_deref() {
            Some(failure) if failure.permanent => self.parked(failure, rest, now),
            Some(failure) if !is_fine => match failure.next_attempt_at {
                Some(until) if is_ahead(until, now, policy) => Verdict::Wait { until },
                _ => Verdict::Due,
            },
            _ => rest.map_or(Verdict::Due, |until| Verdict::Rest { until }),
        }
    }

    /// What a parked customer needs; `rest` is the beginning of its window if its token is valid.
    fn parked(&self, failure: &FailureNote, rest: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Verdict {
        let daily = failure.kind.is_tried_daily().then(|| failure.at + DAILY);
        let until = match self.refresh_token {
            Some(_) => failure.next_attempt_at,
            // An earlier time was for a refresh token that was rejected, or was lost with an earlier process.
            None => daily.map(|daily| failure.next_attempt_at.map_or(daily, |until| until.max(daily))),
        };
        match until {
            Some(until) if rest.is_none() && (until <= now || until - now > DAILY) => Verdict::Due,
            until => Verdict::Parked { until: until.map(|until| rest.map_or(until, |rest| until.max(rest))) },
        }
    }
}

/// Whether a wait is not over. A wait that is longer than any back-off was calculated by another clock, and does not count.
fn is_ahead(until: DateTime<Utc>, now: DateTime<Utc>, policy: &Policy) -> bool {
    until > now && until - now <= policy.backoff().longest()
}
