//! The least time that the work itself needs, however good the daemon is. Pure.

use std::time::Duration;

/// The first limit of logins to one server; the daemon doubles it with every good round.
const FIRST: usize = 4;

/// The daemon's default limits of logins in flight: to one server, and in all.
const PER_SERVER: usize = 64;
const IN_ALL: usize = 512;

/// The tokens that the daemon writes with one call of the store.
pub(super) const BATCH: usize = 100;

/// Calculates the least time of these logins, spread evenly over servers that answer after `latency`. Each round sends all
/// logins that the limits allow.
pub(super) fn logins(customers: usize, servers: usize, latency: Duration) -> Duration {
    let servers = servers.max(1);
    let (mut left, mut rounds, mut limit) = (customers, 0_u32, FIRST);
    while left > 0 {
        left = left.saturating_sub(IN_ALL.min(servers.saturating_mul(limit)));
        limit = PER_SERVER.min(limit * 2);
        rounds += 1;
    }
    latency.saturating_mul(rounds)
}

/// Calculates the least time of the writing, one batch after the other.
pub(super) fn saves(customers: usize, batch: Duration) -> Duration {
    batch.saturating_mul(u32::try_from(customers.div_ceil(BATCH)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(100);

    #[test]
    fn a_single_server_is_asked_in_rounds_that_double() {
        for (customers, rounds) in
            [(0, 0), (1, 1), (4, 1), (5, 2), (12, 2), (60, 4), (124, 5), (188, 6), (189, 7)]
        {
            assert_eq!(logins(customers, 1, LATENCY), LATENCY * rounds, "{customers}");
        }
    }

    #[test]
    fn many_servers_share_the_limit_of_all() {
        // 40 + 80 + 160 + 320, then 512 a round.
        assert_eq!(logins(600, 10, LATENCY), LATENCY * 4);
        assert_eq!(logins(5_000, 10, LATENCY), LATENCY * 13);
        // 400, then 512 a round.
        assert_eq!(logins(100_000, 100, LATENCY), LATENCY * 196);
    }

    #[test]
    fn a_batch_that_is_not_full_is_a_batch() {
        assert_eq!(saves(201, Duration::from_millis(4)), Duration::from_millis(12));
    }
}
