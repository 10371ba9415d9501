//! The one place that reads the wall clock, and what tells when that was set back. Everything else is handed a time, or this.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// The first second of 2026.
const WRITTEN: i64 = 1_767_225_600;

/// Where the time of day comes from: the system, or in tests a clock of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system() -> Self {
        Self(Arc::new(Utc::now))
    }

    /// A clock that shows what `read` says.
    pub fn from_fn(read: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Whether the time may be the time of day. Nothing can be right that is before this program was written: a machine
    /// without a battery begins in 1970, until something tells it better.
    pub fn is_credible(now: DateTime<Utc>) -> bool {
        now.timestamp() >= WRITTEN
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Tells when the clock was set back. The time of day goes on with the machine's own time, which nobody can set; where the
/// machine slept, it gains. When it loses, it was set.
#[derive(Debug, Default)]
pub struct SetBack {
    /// Both at the look at which the time of day was furthest ahead.
    seen: Option<(DateTime<Utc>, Instant)>,
}

impl SetBack {
    /// The least that counts: less is the time between the two looks at the two clocks, or does no harm.
    pub const LEAST: TimeDelta = TimeDelta::seconds(5);

    /// Looks at both. Brings by how much the time of day was set back since the last look.
    pub fn look(&mut self, now: DateTime<Utc>, own: Instant) -> Option<TimeDelta> {
        let lost = self.seen.map_or(TimeDelta::zero(), |(seen, at)| {
            let passed = TimeDelta::from_std(own.saturating_duration_since(at)).unwrap_or_default();
            seen + passed - now
        });
        if self.seen.is_none() || lost < TimeDelta::zero() || lost >= Self::LEAST {
            self.seen = Some((now, own));
        }
        (lost >= Self::LEAST).then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn p21_a_clock_that_was_set_back_is_found_and_nothing_else_is() {
        let (own, now) = (Instant::now(), DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        let mut clock = SetBack::default();
        // Own time and time of day in seconds, and what is to be found.
        for (own_seconds, seconds, lost) in [
            (0, 0, None),
            (60, 60, None),
            // A night's sleep, and a clock that was set ahead.
            (70, 30_070, None),
            (80, 30_080, None),
            (90, 26_490, Some(3_600)),
            (90, 26_490, None),
            // Bit by bit, and it runs on.
            (100, 26_498, None),
            (110, 26_506, None),
            (120, 26_515, Some(5)),
            (180, 26_575, None),
        ] {
            let found = clock.look(now + TimeDelta::seconds(seconds), own + Duration::from_secs(own_seconds));
            assert_eq!(found.map(|lost| lost.num_seconds()), lost, "{own_seconds} s");
        }
    }

    #[test]
    fn what_was_before_this_program_cannot_be_now() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert!(!Clock::is_credible(DateTime::UNIX_EPOCH));
        assert!(!Clock::is_credible(at("2025-12-31T23:59:59Z")));
        assert!(Clock::is_credible(at("2026-01-01T00:00:00Z")));
    }
}
