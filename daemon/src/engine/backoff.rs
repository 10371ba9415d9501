//! When to try again after a transient failure. Pure: the caller passes the random number.

use chrono::TimeDelta;

/// Exponential back-off from `base` to `max`, spread by ±20 %. A wait is at most a third of the token's remaining life.
/// After the token's end it is at most the time since then, so that many attempts before the end do not cause a wait of
/// half an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: TimeDelta,
    max: TimeDelta,
}

impl Backoff {
    /// The longest wait before it is spread.
    pub const MAX: TimeDelta = TimeDelta::minutes(30);

    /// The shortest wait, so that the last seconds of a token do not bring a flood of attempts.
    pub const MIN: TimeDelta = TimeDelta::seconds(1);

    /// A back-off that begins with `base`, one interval of the schedule.
    pub fn new(base: TimeDelta) -> Self {
        Self { base: base.max(Self::MIN), max: Self::MAX.max(base) }
    }

    /// The wait after the `consecutive`-th failure in a row (1, 2, …). `remaining` is the remaining life of the customer's
    /// token, negative after its end. `random` is in 0..1.
    pub fn delay(&self, consecutive: u32, remaining: Option<TimeDelta>, random: f64) -> TimeDelta {
        let doublings = consecutive.saturating_sub(1).min(20);
        let plain = self.base.checked_mul(1 << doublings).unwrap_or(self.max).min(self.max);
        let spread = 0.8 + 0.4 * random.clamp(0.0, 1.0);
        let spread = |delay: TimeDelta| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "at most hours in ms"
            )]
            TimeDelta::milliseconds((delay.num_milliseconds() as f64 * spread) as i64)
        };
        match remaining {
            Some(remaining) if remaining > TimeDelta::zero() => spread(plain).min(remaining / 3),
            Some(remaining) => spread(plain.min(self.base.max(-remaining))),
            None => spread(plain),
        }
        .max(Self::MIN)
    }

    /// The longest wait that [`delay`](Self::delay) returns: a longer one is the sign of a clock step.
    pub fn longest(&self) -> TimeDelta {
        self.max + self.max / 5
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    const MINUTE: Backoff = Backoff { base: TimeDelta::seconds(60), max: Backoff::MAX };

    #[test]
    fn doubles_from_one_interval_to_half_an_hour() {
        let delays: Vec<i64> = (1..=7).map(|n| MINUTE.delay(n, None, 0.5).num_seconds()).collect();
        assert_eq!(delays, [60, 120, 240, 480, 960, 1800, 1800]);
    }

    #[test]
    fn a_token_that_lives_five_minutes_more_gets_three_attempts_before_it_ends() {
        for roll in [0.0, 0.5, 1.0] {
            let mut remaining = TimeDelta::minutes(5);
            for failed in 1..=3 {
                remaining -= MINUTE.delay(failed, Some(remaining), roll);
                assert!(remaining > TimeDelta::seconds(30), "attempt {failed}: {remaining}");
            }
        }
    }

    /// Once in its last second and once after: the tenth failure in a row.
    #[test]
    fn a_token_that_has_just_ended_is_not_left_alone_for_half_an_hour() {
        let ended_for =
            |seconds: i64| MINUTE.delay(10, Some(TimeDelta::seconds(-seconds)), 0.5).num_seconds();
        assert_eq!([0, 30, 61, 600, 100_000].map(ended_for), [60, 60, 61, 600, 1800]);
        assert_eq!(MINUTE.delay(2, Some(TimeDelta::days(-1)), 0.5).num_seconds(), 120);
        assert_eq!(
            MINUTE.delay(10, Some(TimeDelta::seconds(-600)), 0.0).num_seconds(),
            480,
            "spread as well"
        );
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(
            base in 1_i64..100_000, consecutive in 0_u32..u32::MAX, remaining in -1_000_000_i64..1_000_000, roll in 0.0..1.0,
        ) {
            let backoff = Backoff::new(TimeDelta::seconds(base));
            let delay = backoff.delay(consecutive, Some(TimeDelta::seconds(remaining)), roll);
            prop_assert!(delay >= Backoff::MIN && delay <= backoff.longest());
            let free = backoff.delay(consecutive, None, roll);
            prop_assert!(free >= backoff.base * 4 / 5 || free >= Backoff::MAX);
            prop_assert!(delay <= free);
        }
    }
}
