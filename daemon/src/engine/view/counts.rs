//! The gauges for the metrics, counted over all customers and servers.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use strum::IntoEnumIterator as _;
use tbtoken_proto as proto;

use super::{Snapshot, words};
use crate::model::{FailureKind, ServerKey};
use crate::thingsboard::gate::Breaker;

/// The number of items with each label. Every label is there, with 0.
pub type Tally = BTreeMap<String, usize>;

/// A skew beyond this counts as a wrong clock.
const CLOCK_OFF: TimeDelta = TimeDelta::seconds(30);

/// Up to this many servers, each has series of its own.
const MAX_SERVERS: usize = 200;

/// The lengths of an outage of ThingsBoard, in seconds, for which the metrics count the tokens that outlast it.
pub const OUTLASTING: [i64; 8] = [0, 60, 300, 900, 3_600, 7_200, 21_600, 86_400];

/// Gauges at one moment.
#[derive(Debug)]
pub struct Counts {
    /// Customers, by the status of their tokens.
    pub tokens: Tally,
    /// Customers, by the state of their renewal.
    pub states: Tally,
    /// Customers whose last attempt failed, by kind.
    pub failing: Tally,
    /// Customers whose token lasts longer than each of [`OUTLASTING`].
    pub outlasting: [usize; OUTLASTING.len()],
    /// The earliest end of a token that is alive.
    pub next_expiry: Option<DateTime<Utc>>,
    /// Since when the customer that has waited longest has no valid token.
    pub longest_lapse: Option<DateTime<Utc>>,
    /// Servers, by circuit breaker.
    pub breakers: Tally,
    /// Servers whose clock is wrong.
    pub clocks_off: usize,
    /// Each server, if there are not more than 200.
    pub servers: Vec<ServerCounts>,
    /// How many servers have no series of their own: all or none.
    pub servers_omitted: usize,
}

/// Gauges of one server.
#[derive(Debug)]
pub struct ServerCounts {
    /// The server.
    pub server: proto::Server,
    /// Its customers.
    pub customers: usize,
    /// Those without a valid token.
    pub lapsed: usize,
}

impl Snapshot {
    /// Counts all customers and servers, as of `now`.
    pub fn counts(&self, now: DateTime<Utc>) -> Counts {
        use proto::{Phase, TokenStatus};
        let rows = || self.rows.iter().map(Arc::as_ref);
        let alive = || rows().filter_map(|row| row.expiry).filter(|expiry| *expiry > now);
        let lapsed = || rows().filter_map(|row| row.expiry).filter(|expiry| *expiry <= now);
        let statuses =
            [TokenStatus::Valid, TokenStatus::ExpiringSoon, TokenStatus::Expired, TokenStatus::Missing];
        let phases = [Phase::Ok, Phase::Due, Phase::Refreshing, Phase::Retrying, Phase::Parked];
        let breakers = Breaker::iter().map(words::breaker_state);
        let kinds = FailureKind::iter().map(words::failure_kind);
        let omits = self.servers.len() > MAX_SERVERS;
        let is_off = |skew: i64| TimeDelta::milliseconds(skew).abs() > CLOCK_OFF;
        Counts {
            tokens: tally(statuses, rows().map(|row| row.token_status)),
            states: tally(phases, rows().map(|row| row.state)),
            failing: tally(kinds, rows().filter_map(|row| Some(row.failure.as_ref()?.kind))),
            outlasting: OUTLASTING.map(|seconds| {
                alive().filter(|expiry| (*expiry - now).num_milliseconds() > seconds * 1_000).count()
            }),
            next_expiry: alive().min(),
            longest_lapse: lapsed().min(),
            breakers: tally(breakers, self.servers.iter().map(|row| row.server.breaker)),
            clocks_off: self.servers.iter().filter(|row| row.server.skew_ms.is_some_and(is_off)).count(),
            servers: if omits { Vec::new() } else { self.count_servers(now) },
            servers_omitted: if omits { self.servers.len() } else { 0 },
        }
    }

    fn count_servers(&self, now: DateTime<Utc>) -> Vec<ServerCounts> {
        let mut by_server: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for row in &self.rows {
            let counts = by_server.entry(row.server.as_ref().map_or("", ServerKey::as_str)).or_default();
            *counts = (counts.0 + 1, counts.1 + usize::from(row.has_lapsed(now)));
        }
        let counts = |server: &proto::Server| {
            let (customers, lapsed) = by_server.get(server.name.as_str()).copied().unwrap_or_default();
            ServerCounts { server: server.clone(), customers, lapsed }
        };
        self.servers.iter().map(|row| counts(&row.server)).collect()
    }
}

/// Counts the items of each kind, by its name on the wire.
fn tally<K: Serialize + Hash + Eq>(
    kinds: impl IntoIterator<Item = K>,
    items: impl Iterator<Item = K>,
) -> Tally {
    let mut counts: std::collections::HashMap<K, usize> = kinds.into_iter().map(|kind| (kind, 0)).collect();
    for item in items {
        // An item of another kind has no name for a label.
        if let Some(count) = counts.get_mut(&item) {
            *count += 1;
        }
    }
    let name = |kind: K| serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned));
    counts.into_iter().filter_map(|(kind, count)| Some((name(kind)?, count))).collect()
}
