//! The skew of a server's clock, measured by a token that it has issued.

use chrono::{DateTime, TimeDelta, Utc};

/// One measurement of a server's clock against the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// By how much the server's clock is ahead.
    pub ahead: TimeDelta,
    /// The largest error of that value.
    pub uncertain: TimeDelta,
}

impl Skew {
    /// Measures the skew by a token: issued at `issued_at` by the server's clock, arrived at `arrived` by the daemon's, after
    /// a request that took `took`. The server issued it during the request, so the middle of the request is wrong by at most
    /// half of `took`. ThingsBoard rounds `iat` down to whole seconds, which is half a second too early on average.
    pub fn measure(issued_at: DateTime<Utc>, arrived: DateTime<Utc>, took: TimeDelta) -> Self {
        let half_a_second = TimeDelta::milliseconds(500);
        Self { ahead: issued_at + half_a_second - (arrived - took / 2), uncertain: took / 2 + half_a_second }
    }

    /// Whether both may be measurements of the same clock.
    pub fn agrees_with(self, other: Self) -> bool {
        (self.ahead - other.ahead).abs() <= self.uncertain + other.uncertain
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn the_truth_is_within_the_uncertainty(
            sent in 1_000_000_000_000_i64..2_000_000_000_000, took in 0_i64..30_000, share in 0.0..1.0,
            ahead in -10_000_000_i64..10_000_000,
        ) {
            let time = |ms| DateTime::from_timestamp_millis(ms).unwrap();
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "seconds in ms")]
            let issued = sent + (took as f64 * share) as i64 + ahead;
            let iat = time(issued - issued.rem_euclid(1000));
            let skew = Skew::measure(iat, time(sent + took), TimeDelta::milliseconds(took));
            prop_assert!((skew.ahead.num_milliseconds() - ahead).abs() <= skew.uncertain.num_milliseconds() + 1);
        }
    }
}
