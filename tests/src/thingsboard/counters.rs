//! The counters of a fake server.

use std::collections::VecDeque;
use std::time::Instant;

/// How many arrival times are kept; the oldest are dropped.
const TIMES: usize = 100_000;

/// The counters of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Requests that were read completely, answered or not.
    pub requests: u64,
    /// Logins of users that do not exist here, without probes.
    pub unknown_users: u64,
    /// Probes: logins of a user name that only a daemon uses for them. ThingsBoard counts no failure for them.
    pub probes: u64,
    /// Questions which user a token belongs to.
    pub checks: u64,
    /// Connections that are open now.
    pub connections: usize,
    /// The most connections that were open at once.
    pub connections_peak: usize,
    /// Connections since the start.
    pub connections_total: u64,
    /// Requests in flight now.
    pub in_flight: usize,
    /// The most requests that were in flight at once.
    pub in_flight_peak: usize,
}

/// The counters of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserStats {
    /// Logins of the user, whatever their outcome.
    pub attempts: u64,
    /// Logins that were answered with a pair of tokens.
    pub logins: u64,
    /// Passwords that were checked and wrong.
    pub wrong_passwords: u64,
    /// ThingsBoard's own counter of wrong passwords since the last right one: `failedLoginAttempts`.
    pub failed_login_attempts: u32,
    /// The highest value of this counter so far.
    pub failed_login_attempts_peak: u32,
    /// Renewals by refresh token that were answered with a pair of tokens.
    pub renewals: u64,
    /// Renewals by refresh token that were refused.
    pub renewals_refused: u64,
}

/// The counters of a server and the times of its requests.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) stats: ServerStats,
    pub(super) times: VecDeque<Instant>,
    /// Method and path of the latest request.
    pub(super) latest: String,
}

impl Counters {
    pub(super) fn connected(&mut self) {
        self.stats.connections += 1;
        self.stats.connections_total += 1;
        self.stats.connections_peak = self.stats.connections_peak.max(self.stats.connections);
    }

    pub(super) fn disconnected(&mut self) {
        self.stats.connections -= 1;
    }

    pub(super) fn request_began(&mut self, now: Instant) {
        self.stats.requests += 1;
        self.stats.in_flight += 1;
        self.stats.in_flight_peak = self.stats.in_flight_peak.max(self.stats.in_flight);
        if self.times.len() == TIMES {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    pub(super) fn request_ended(&mut self) {
        self.stats.in_flight -= 1;
    }
}
