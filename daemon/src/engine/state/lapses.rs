//! Counts the time in which a customer has no valid token, and attributes it to a cause.

use chrono::{DateTime, TimeDelta, Utc};

use super::CustomerState;
use crate::engine::counters::{Cause, Counters};
use crate::model::FailureKind;

/// A renewal takes no longer, once nothing holds it up.
const LONGEST_RENEWAL: TimeDelta = TimeDelta::minutes(5);

/// The conditions that make all customers lapse together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the table cannot be read, or takes no token.
    pub(super) is_store_down: bool,
    /// Whether an operator has stopped the loop.
    pub(in crate::engine) is_stopped: bool,
    /// Whether the table is being read.
    pub(super) is_reading: bool,
    /// The longest time between two counts, of which an interval has one at least. A longer gap is a clock step, or sleep of
    /// the machine.
    pub(super) longest_gap: TimeDelta,
}

impl Conditions {
    /// The conditions of a healthy daemon that polls at this interval.
    pub(super) fn healthy(interval: TimeDelta) -> Self {
        let longest_gap = TimeDelta::minutes(2).max(interval + interval);
        Self { is_store_down: false, is_stopped: false, is_reading: false, longest_gap }
    }

    /// Attributes a lapse whose cause is `own` if nothing makes all customers lapse.
    pub(in crate::engine) fn attribute(self, own: Cause) -> Cause {
        match own {
            Cause::Row => Cause::Row,
            _ if self.is_store_down => Cause::Store,
            Cause::Store => Cause::Store,
            _ if self.is_stopped => Cause::Operator,
            own => own,
        }
    }
}

impl CustomerState {
    /// Counts the time since the last count. It comes before every change of the customer, so that the time is attributed to the
    /// state before the change.
    ///
    /// A row without a token or a failure waits for its first renewal and is not counted.
    pub(super) fn count_time(&mut self, now: DateTime<Utc>, conditions: Conditions, counters: &mut Counters) {
        let from = std::mem::replace(&mut self.counted_until, now);
        let token_ends_at = self.ends_at().filter(|_| self.row.has_token);
        if now <= from || (token_ends_at.is_none() && self.record().failure.is_none()) {
            return;
        }
        counters.watched += now - from;
        let lapsed = now - token_ends_at.map_or(from, |end| end.clamp(from, now));
        if lapsed > TimeDelta::zero() {
            let is_gap = now - from > conditions.longest_gap;
            let cause = if is_gap { Cause::Clock } else { self.lapse_cause(conditions) };
            // What is over has the time until the renewal, too, if that does not take long.
            let is_recent = |(_, until): &(Cause, DateTime<Utc>)| now - *until <= LONGEST_RENEWAL;
            let cause = match self.held_up_by.filter(is_recent) {
                Some((earlier, _)) if cause == Cause::Daemon => earlier,
                _ => {
                    self.held_up_by = Some((cause, now));
                    cause
                }
            };
            let counted = counters.lapsed.entry(cause).or_insert(TimeDelta::zero());
            *counted += lapsed;
        }
    }

    /// Why it has no valid token: the first cause that fits, in the order of the causes.
    pub(super) fn lapse_cause(&self, conditions: Conditions) -> Cause {
        match conditions.attribute(self.own_lapse_cause()) {
            Cause::Daemon if conditions.is_reading => Cause::Store,
            cause => cause,
        }
    }

    /// The cause if nothing makes all customers lapse. Messages about troubles use the same list.
    pub(in crate::engine) fn own_lapse_cause(&self) -> Cause {
        let failure = self.record().failure.as_deref();
        let kind =
            failure.map(|failure| failure.kind).or_else(|| self.deferred.as_ref().and_then(|why| why.kind()));
        if failure.is_some_and(|failure| failure.permanent) {
            Cause::Row
        } else if self.unsaved.is_some() || kind == Some(FailureKind::Database) {
            Cause::Store
        } else if kind.is_some() || self.is_dead() || self.is_in_pass {
            // A pass waits for servers that have not answered yet.
            Cause::Server
        } else if self.replaceable().is_some() {
            Cause::Clock
        } else if self.ends_at().is_none_or(|end| end <= self.token_seen_at) {
            Cause::Down
        } else {
            Cause::Daemon
        }
    }
}
