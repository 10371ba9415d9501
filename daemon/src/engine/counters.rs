//! The counters since the start, for the metrics. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use super::event::RenewalMethod;
use super::policy::Trigger;
use crate::model::{DeadCause, FailureKind};

/// Upper bounds of the durations of requests to ThingsBoard, in seconds; the last is the longest `request_timeout`.
const REQUEST_BOUNDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// Upper bounds of the durations of calls of the store, in seconds.
const STORE_BOUNDS: &[f64] = &[0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// Upper bounds of the durations of passes, in seconds.
const PASS_BOUNDS: &[f64] = &[0.05, 0.25, 1.0, 5.0, 12.0, 22.0, 60.0];

/// The operations of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Operation {
    /// Poll the table.
    Read,
    /// Write tokens.
    Write,
    /// Write records of customers.
    Records,
    /// Read or write the ledger.
    Ledger,
}

/// The cause of a customer's lapse: the first that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The row or its user in ThingsBoard: the customer is parked.
    Row,
    /// The database cannot be read, or does not take the token.
    Store,
    /// An operator has stopped the loop.
    Operator,
    /// The customer's server.
    Server,
    /// The clock stepped, or the machine slept.
    Clock,
    /// The token had ended before the daemon first saw it.
    Down,
    /// None of these: the daemon itself. It must stay 0.
    Daemon,
}

/// The distribution of durations.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One count for each bound, and one for longer durations.
    counts: Vec<u64>,
    /// The sum of all, in seconds.
    pub sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// The number of all durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound with the number of durations between the bound before and it; the last bound is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

/// Durations by a label.
pub type Durations<K> = BTreeMap<K, Histogram>;

/// All counters. Each label is there from the start, with 0: a rate needs the value before the first event.
#[derive(Debug, Clone, PartialEq)]
pub struct Counters {
    /// Attempts that ended, by method and outcome: `renewed`, `superseded`, or a kind of failure.
    pub renewals: BTreeMap<(RenewalMethod, &'static str), u64>,
    /// How long ThingsBoard took to answer a renewal.
    pub requests: Durations<RenewalMethod>,
    /// Refresh tokens that a server rejected.
    pub refresh_tokens_refused: u64,
    /// Tokens that were found dead, by cause.
    pub dead_tokens: BTreeMap<DeadCause, u64>,
    /// Customers parked, by kind.
    pub parked: BTreeMap<FailureKind, u64>,
    /// Customers that work again after failures.
    pub recovered: u64,
    /// Tokens that ended without a new one, by cause.
    pub lapses: BTreeMap<Cause, u64>,
    /// The time for which customers were watched, as a sum over all customers.
    pub watched: TimeDelta,
    /// The part of it in which they had no valid token.
    pub lapsed: BTreeMap<Cause, TimeDelta>,
    /// Passes, by trigger.
    pub passes: BTreeMap<Trigger, u64>,
    /// How long passes took.
    pub pass_durations: Histogram,
    /// Intervals that passed during a pass.
    pub ticks_skipped: u64,
    /// Backward clock steps.
    pub clock_steps: u64,
    /// How long the store took.
    pub store: Durations<Operation>,
    /// Failures of the store, by operation and class.
    pub store_errors: BTreeMap<(Operation, &'static str), u64>,
}

impl Default for Counters {
    fn default() -> Self {
        let outcomes = || ["renewed", "superseded"].into_iter().chain(FailureKind::iter().map(Into::into));
        let classes = crate::store::StoreError::CLASSES;
        Self {
            renewals: RenewalMethod::iter()
                .flat_map(|method| outcomes().map(move |outcome| ((method, outcome), 0)))
                .collect(),
            requests: by(|| Histogram::new(REQUEST_BOUNDS)),
            refresh_tokens_refused: 0,
            dead_tokens: by(|| 0),
            parked: FailureKind::iter().filter(|kind| kind.is_permanent()).map(|kind| (kind, 0)).collect(),
            recovered: 0,
            lapses: by(|| 0),
            watched: TimeDelta::zero(),
            lapsed: by(TimeDelta::zero),
            passes: by(|| 0),
            pass_durations: Histogram::new(PASS_BOUNDS),
            ticks_skipped: 0,
            clock_steps: 0,
            store: by(|| Histogram::new(STORE_BOUNDS)),
            store_errors: Operation::iter()
                .flat_map(|operation| classes.map(|class| ((operation, class), 0)))
                .collect(),
        }
    }
}

/// Makes a value for each key.
fn by<K: IntoEnumIterator + Ord, V>(value: impl Fn() -> V) -> BTreeMap<K, V> {
    K::iter().map(|key| (key, value())).collect()
}

impl Counters {
    /// Tokens written that were obtained in this way.
    pub fn renewals_by(&self, method: RenewalMethod) -> u64 {
        self.renewals.get(&(method, "renewed")).copied().unwrap_or(0)
    }

    /// An attempt has ended in this way.
    pub(super) fn renewal(&mut self, method: RenewalMethod, outcome: &'static str) {
        *self.renewals.entry((method, outcome)).or_default() += 1;
    }

    /// ThingsBoard has answered a request for a token, or not in time.
    pub(super) fn request(&mut self, method: RenewalMethod, took: Duration, failure: Option<FailureKind>) {
        if let Some(histogram) = self.requests.get_mut(&method) {
            histogram.observe(took);
        }
        if let Some(kind) = failure {
            self.renewal(method, kind.as_str());
        }
    }

    /// The store has answered, or not in time.
    pub(super) fn store_called(&mut self, operation: Operation, took: Duration) {
        if let Some(histogram) = self.store.get_mut(&operation) {
            histogram.observe(took);
        }
    }

    /// A pass has ended.
    pub(super) fn pass(&mut self, trigger: Trigger, took: Duration) {
        *self.passes.entry(trigger).or_default() += 1;
        self.pass_durations.observe(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(PASS_BOUNDS);
        for milliseconds in [0, 50, 51, 60_000, 60_001] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let counts: Vec<u64> = histogram.buckets().into_iter().map(|(_, count)| count).collect();
        assert_eq!((counts, histogram.count()), (vec![2, 1, 0, 0, 0, 0, 1, 1], 5));
        assert!((histogram.sum - 120.102).abs() < 1e-6, "{}", histogram.sum);
    }
}
