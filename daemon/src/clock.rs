//! The only reader of the wall clock, and the detector of backward clock steps. All other code gets a time or a [`Clock`].

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// The first second of 2026: no earlier time is credible.
const EARLIEST: i64 = 1_767_225_600;

/// The source of the time: the system, or in tests a fake.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system() -> Self {
        Self(Arc::new(Utc::now))
    }

    /// Creates a clock from a function.
    pub fn from_fn(read: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Whether the time may be right. A time before this program was written is wrong: a machine without a battery starts in
    /// 1970, until a time server corrects it.
    pub fn is_credible(now: DateTime<Utc>) -> bool {
        now.timestamp() >= EARLIEST
    }

    /// Returns the current time.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Detects backward clock steps. The wall clock normally advances like the monotonic clock, and more during a sleep of
/// the machine. If it advances less, it stepped backward.
#[derive(Debug, Default)]
pub struct StepDetector {
    /// Both clocks when the wall clock was furthest ahead.
    seen: Option<(DateTime<Utc>, Instant)>,
}

impl StepDetector {
    /// The smallest step that counts: a smaller one is a measuring error or harmless.
    pub const LEAST: TimeDelta = TimeDelta::seconds(5);

    /// Compares both clocks. Returns the length of a backward step since the last call.
    pub fn observe(&mut self, now: DateTime<Utc>, own: Instant) -> Option<TimeDelta> {
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
    fn p21_only_backward_steps_are_detected() {
        let (own, now) = (Instant::now(), DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        let mut clock = StepDetector::default();
        // The monotonic and the wall clock in seconds, and the expected step.
        for (own_seconds, seconds, lost) in [
            (0, 0, None),
            (60, 60, None),
            // A sleep of the machine, and a step forward.
            (70, 30_070, None),
            (80, 30_080, None),
            (90, 26_490, Some(3_600)),
            (90, 26_490, None),
            // Small steps, then normal operation.
            (100, 26_498, None),
            (110, 26_506, None),
            (120, 26_515, Some(5)),
            (180, 26_575, None),
        ] {
            let found =
                clock.observe(now + TimeDelta::seconds(seconds), own + Duration::from_secs(own_seconds));
            assert_eq!(found.map(|lost| lost.num_seconds()), lost, "{own_seconds} s");
        }
    }

    #[test]
    fn a_time_before_this_program_is_not_credible() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert!(!Clock::is_credible(DateTime::UNIX_EPOCH));
        assert!(!Clock::is_credible(at("2025-12-31T23:59:59Z")));
        assert!(Clock::is_credible(at("2026-01-01T00:00:00Z")));
    }
}
