//! What is known about each ThingsBoard server that a customer uses.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::Checks;
use crate::model::{ServerKey, Skew};
use crate::text::length;
use crate::thingsboard::gate::{Breaker, Gate};

/// A clock that is wrong by more than this is worth a warning.
const WARN_BEYOND: TimeDelta = TimeDelta::seconds(30);

/// A clock after a warning is right again within this. The distance prevents repeated warnings for a clock at the edge.
const RIGHT_WITHIN: TimeDelta = TimeDelta::seconds(25);

/// All servers that a customer uses.
pub type Servers = BTreeMap<ServerKey, Server>;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The error of its clock; none before its first token.
    pub skew: Option<Skew>,
    /// Whether it has answered this process.
    pub has_answered: bool,
    /// Since when it answers; none before its first answer, and while its breaker is not closed.
    pub answers_since: Option<DateTime<Utc>>,
    /// Its limit of logins.
    pub limit: u32,
    /// Its circuit breaker.
    pub breaker: Breaker,
    /// The state of the checks of its tokens.
    pub checks: Checks,
    /// The revision of its latest change.
    pub revision: u64,
    warned: bool,
}

/// Takes over the servers of the table. New servers get this revision, others are forgotten. Returns whether anything changed.
pub(super) fn replace_servers(servers: &mut Servers, used: &BTreeSet<&ServerKey>, revision: u64) -> bool {
    let before = servers.len();
    servers.retain(|key, _| used.contains(key));
    let mut has_changed = servers.len() != before;
    for key in used {
        servers.entry((*key).clone()).or_insert_with(|| {
            has_changed = true;
            Server::new(revision)
        });
    }
    has_changed
}

impl Server {
    fn new(revision: u64) -> Self {
        let (limit, breaker) = (Gate::INITIAL_LIMIT, Breaker::Closed);
        let checks = Checks::default();
        let (skew, has_answered, answers_since) = (None, false, None);
        Self { skew, has_answered, answers_since, limit, breaker, checks, revision, warned: false }
    }

    /// Sets the limit and the circuit breaker. Returns whether they changed.
    pub(super) fn set_gate(&mut self, gate: (u32, Breaker), at: DateTime<Utc>, revision: u64) -> bool {
        let has_changed = (self.limit, self.breaker) != gate;
        if self.breaker != gate.1 {
            self.answers_since = (gate.1 == Breaker::Closed).then_some(at);
        }
        if has_changed {
            (self.limit, self.breaker, self.revision) = (gate.0, gate.1, revision);
        }
        has_changed
    }

    /// Notes that it has answered. Returns whether that is new.
    pub(super) fn answered(&mut self, at: DateTime<Utc>, revision: u64) -> bool {
        let is_new = !self.has_answered || self.answers_since.is_none();
        if is_new {
            (self.has_answered, self.answers_since, self.revision) = (true, Some(at), revision);
        }
        is_new
    }

    /// Takes over a measurement of its clock. Returns whether clients see another value, and a warning if one is due.
    pub(super) fn set_skew(&mut self, key: &ServerKey, skew: Skew, revision: u64) -> (bool, Option<String>) {
        // A token has whole seconds only. A measurement that agrees with the known one, and is no better, changes nothing.
        let is_better = self.skew.is_none_or(|known| {
            !known.agrees_with(skew) || skew.uncertain < known.uncertain - TimeDelta::milliseconds(500)
        });
        if !is_better {
            return (false, None);
        }
        (self.skew, self.has_answered, self.revision) = (Some(skew), true, revision);
        let off = skew.ahead.abs();
        if !self.warned && off > WARN_BEYOND {
            self.warned = true;
            return (true, Some(warning(key, skew.ahead)));
        }
        if self.warned && off <= RIGHT_WITHIN {
            self.warned = false;
            return (true, Some(format!("the clock of {key} agrees with ours again")));
        }
        (true, None)
    }
}

fn warning(key: &ServerKey, ahead: TimeDelta) -> String {
    let direction = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
    format!(
        "the clock of {key} is {} {direction} ours; this does no harm to its tokens, but synchronize both clocks (NTP)",
        length(ahead.abs())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BaseUrl;

    fn key(url: &str) -> ServerKey {
        BaseUrl::parse(url).unwrap().server_key()
    }

    fn server() -> Server {
        Server::new(1)
    }

    fn skew(seconds: i64) -> Skew {
        Skew { ahead: TimeDelta::seconds(seconds), uncertain: TimeDelta::milliseconds(550) }
    }

    #[test]
    fn a_wrong_clock_is_reported_once_and_its_return_once() {
        let (key, mut server) = (key("https://tb.example"), server());
        let mut messages = Vec::new();
        for seconds in [0, 29, 31, 40, 31, 29, 40, 24, 0, -7_200, -7_200] {
            messages.extend(server.set_skew(&key, skew(seconds), 2).1);
        }
        assert_eq!(
            messages,
            [
                "the clock of https://tb.example is 31 s ahead of ours; this does no harm to its tokens, but synchronize both clocks (NTP)",
                "the clock of https://tb.example agrees with ours again",
                "the clock of https://tb.example is 2 h 0 min behind ours; this does no harm to its tokens, but synchronize both clocks (NTP)",
            ]
        );
    }

    #[test]
    fn a_clock_is_warned_about_beyond_half_a_minute_and_right_again_within_25_s() {
        let key = key("https://tb.example");
        let exact = |milliseconds| Skew {
            ahead: TimeDelta::milliseconds(milliseconds),
            uncertain: TimeDelta::milliseconds(0),
        };
        let warnings = |skews: &[i64]| {
            let mut server = server();
            skews.iter().filter(|skew| server.set_skew(&key, exact(**skew), 2).1.is_some()).count()
        };
        assert_eq!((warnings(&[30_000]), warnings(&[30_001]), warnings(&[-30_001])), (0, 1, 1));
        assert_eq!((warnings(&[31_000, 25_001]), warnings(&[31_000, 25_000])), (1, 2));
    }

    #[test]
    fn a_measurement_that_says_nothing_new_changes_nothing() {
        let (key, mut server) = (key("https://tb.example"), server());
        let slow = Skew { ahead: TimeDelta::seconds(2), uncertain: TimeDelta::seconds(5) };
        assert!(server.set_skew(&key, slow, 3).0, "the first");
        assert!(!server.set_skew(&key, slow, 4).0);
        assert!(server.set_skew(&key, skew(1), 5).0, "it agrees, but knows better");
        assert!(!server.set_skew(&key, slow, 6).0, "it agrees, and knows less");
        let hardly_better = Skew { uncertain: TimeDelta::milliseconds(50), ..skew(1) };
        assert!(!server.set_skew(&key, hardly_better, 7).0, "it agrees, and knows hardly better");
        assert_eq!(server.revision, 5);
    }

    #[test]
    fn a_server_without_customers_is_forgotten() {
        let (a, b) = (key("https://a.example"), key("https://b.example:8080"));
        let mut servers = Servers::default();
        assert!(replace_servers(&mut servers, &BTreeSet::from([&a, &b]), 1));
        assert!(!replace_servers(&mut servers, &BTreeSet::from([&a, &b]), 2), "no server came or went");
        let changed = servers.get_mut(&b).unwrap();
        assert!(changed.set_gate((1, Breaker::Open), DateTime::UNIX_EPOCH, 3));
        assert!(!changed.set_gate((1, Breaker::Open), DateTime::UNIX_EPOCH, 4));
        assert_eq!(changed.revision, 3);
        assert!(replace_servers(&mut servers, &BTreeSet::from([&a]), 5));
        assert!(replace_servers(&mut servers, &BTreeSet::from([&b]), 6));
        assert_eq!(servers, [(b, Server::new(6))].into());
    }
}
