//! What is known about each ThingsBoard server that a customer uses.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::Checks;
use crate::model::{HostKey, Skew};
use crate::text::length;
use crate::thingsboard::gate::{Breaker, Gate};

/// A clock that is wrong by more than this is worth a warning.
const WARN_BEYOND: TimeDelta = TimeDelta::seconds(30);

/// A clock after a warning is right again within this. The distance prevents repeated warnings for a clock at the edge.
const RIGHT_WITHIN: TimeDelta = TimeDelta::seconds(25);

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The error of its clock; none before its first token.
    pub skew: Option<Skew>,
    /// Its limit of logins.
    pub limit: u32,
    /// Its circuit breaker.
    pub breaker: Breaker,
    /// How the checks of its tokens stand.
    pub checks: Checks,
    /// The revision of its latest change.
    pub revision: u64,
    warned: bool,
}

/// All servers.
#[derive(Debug, Default)]
pub struct Hosts(BTreeMap<HostKey, Host>);

impl Hosts {
    /// All servers, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&HostKey, &Host)> {
        self.0.iter()
    }

    /// One server.
    pub fn get(&self, key: &HostKey) -> Option<&Host> {
        self.0.get(key)
    }

    /// How the checks of each server's tokens stand, to be changed.
    pub(super) fn checks(&mut self) -> impl Iterator<Item = (&HostKey, &mut Checks)> {
        self.0.iter_mut().map(|(key, host)| (key, &mut host.checks))
    }

    /// How the checks of one server's tokens stand, to be changed.
    pub(super) fn checks_of(&mut self, key: &HostKey) -> Option<&mut Checks> {
        self.0.get_mut(key).map(|host| &mut host.checks)
    }

    /// Whether some customer uses it.
    pub fn contains(&self, key: &HostKey) -> bool {
        self.0.contains_key(key)
    }

    /// Takes over the servers of the table. New servers get this revision, others are forgotten. Returns whether anything
    /// changed.
    pub(super) fn used_by(&mut self, used: &BTreeSet<&HostKey>, revision: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|key, _| used.contains(key));
        let mut has_changed = self.0.len() != before;
        for key in used {
            self.0.entry((*key).clone()).or_insert_with(|| {
                has_changed = true;
                Host {
                    skew: None,
                    limit: Gate::INITIAL_LIMIT,
                    breaker: Breaker::Closed,
                    checks: Checks::default(),
                    revision,
                    warned: false,
                }
            });
        }
        has_changed
    }

    /// Sets the limit and the circuit breaker of a server. Returns whether they changed.
    pub(super) fn gate(&mut self, key: &HostKey, limit: u32, breaker: Breaker, revision: u64) -> bool {
        let Some(host) = self.0.get_mut(key) else { return false };
        if (host.limit, host.breaker) == (limit, breaker) {
            return false;
        }
        (host.limit, host.breaker, host.revision) = (limit, breaker, revision);
        true
    }

    /// Takes over a measurement of its clock. Returns whether clients see another value, and a warning if one is due.
    pub(super) fn measured(&mut self, key: &HostKey, skew: Skew, revision: u64) -> (bool, Option<String>) {
        let Some(host) = self.0.get_mut(key) else { return (false, None) };
        // A token has whole seconds only. A measurement that agrees with the known one, and is no better, changes nothing.
        let is_better = host.skew.is_none_or(|known| {
            !known.agrees_with(skew) || skew.uncertain < known.uncertain - TimeDelta::milliseconds(500)
        });
        if !is_better {
            return (false, None);
        }
        (host.skew, host.revision) = (Some(skew), revision);
        let off = skew.ahead.abs();
        if !host.warned && off > WARN_BEYOND {
            host.warned = true;
            return (true, Some(warning(key, skew.ahead)));
        }
        if host.warned && off <= RIGHT_WITHIN {
            host.warned = false;
            return (true, Some(format!("the clock of {key} agrees with ours again")));
        }
        (true, None)
    }
}

fn warning(key: &HostKey, ahead: TimeDelta) -> String {
    let direction = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
    format!(
        "the clock of {key} is {} {direction} ours; its tokens are timed by their length, so they stay right, but set one of the two clocks (NTP)",
        length(ahead.abs())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BaseUrl;

    fn key(url: &str) -> HostKey {
        BaseUrl::parse(url).unwrap().host_key()
    }

    fn skew(seconds: i64) -> Skew {
        Skew { ahead: TimeDelta::seconds(seconds), uncertain: TimeDelta::milliseconds(550) }
    }

    #[test]
    fn a_wrong_clock_is_told_once_and_its_return_once() {
        let key = key("https://tb.example");
        let mut hosts = Hosts::default();
        hosts.used_by(&BTreeSet::from([&key]), 1);
        let mut told = Vec::new();
        for seconds in [0, 29, 31, 40, 31, 29, 40, 24, 0, -7_200, -7_200] {
            told.extend(hosts.measured(&key, skew(seconds), 2).1);
        }
        assert_eq!(
            told,
            [
                "the clock of https://tb.example is 31 s ahead of ours; its tokens are timed by their length, so they stay right, but set one of the two clocks (NTP)",
                "the clock of https://tb.example agrees with ours again",
                "the clock of https://tb.example is 2 h 0 min behind ours; its tokens are timed by their length, so they stay right, but set one of the two clocks (NTP)",
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
        let told = |skews: &[i64]| {
            let mut hosts = Hosts::default();
            hosts.used_by(&BTreeSet::from([&key]), 1);
            skews.iter().filter(|skew| hosts.measured(&key, exact(**skew), 2).1.is_some()).count()
        };
        assert_eq!((told(&[30_000]), told(&[30_001]), told(&[-30_001])), (0, 1, 1));
        assert_eq!((told(&[31_000, 25_001]), told(&[31_000, 25_000])), (1, 2));
    }

    #[test]
    fn a_measurement_that_says_nothing_new_changes_nothing() {
        let key = key("https://tb.example");
        let mut hosts = Hosts::default();
        assert!(hosts.used_by(&BTreeSet::from([&key]), 1));
        assert!(!hosts.used_by(&BTreeSet::from([&key, &key]), 2));
        let slow = Skew { ahead: TimeDelta::seconds(2), uncertain: TimeDelta::seconds(5) };
        assert!(hosts.measured(&key, slow, 3).0, "the first");
        assert!(!hosts.measured(&key, slow, 4).0);
        assert!(hosts.measured(&key, skew(1), 5).0, "it agrees, but knows better");
        assert!(!hosts.measured(&key, slow, 6).0, "it agrees, and knows less");
        let hardly_better = Skew { uncertain: TimeDelta::milliseconds(50), ..skew(1) };
        assert!(!hosts.measured(&key, hardly_better, 7).0, "it agrees, and knows hardly better");
        assert_eq!(hosts.iter().map(|(_, host)| host.revision).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_server_without_customers_is_forgotten() {
        let (a, b) = (key("https://a.example"), key("https://b.example:8080"));
        let mut hosts = Hosts::default();
        hosts.used_by(&BTreeSet::from([&a, &b, &a]), 1);
        assert!(hosts.gate(&b, 1, Breaker::Open, 2));
        assert!(!hosts.gate(&b, 1, Breaker::Open, 3));
        assert!(hosts.used_by(&BTreeSet::from([&a]), 4));
        assert!(!hosts.contains(&b) && !hosts.gate(&b, 2, Breaker::Closed, 5));
        hosts.used_by(&BTreeSet::from([&b]), 6);
        assert_eq!(
            hosts.iter().map(|(_, host)| (host.limit, host.breaker)).collect::<Vec<_>>(),
            [(4, Breaker::Closed)]
        );
    }
}
