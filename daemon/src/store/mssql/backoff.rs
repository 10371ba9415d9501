//! The back-off between connections to the server. Pure.

use std::time::{Duration, Instant};

/// The longest wait after a transient failure.
const LONGEST: Duration = Duration::from_secs(15);

/// The wait after a rejected login. Many servers lock a login that fails too often.
const AFTER_REJECTION: Duration = Duration::from_secs(60);

/// The failures since the last success, and the time of the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    /// Whether an attempt may be made now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }

    /// Forgets the failures after a success.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Notes a transient failure. The next attempts come at once, then after 1, 2, 4, … seconds.
    pub(super) fn note_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let wait = match self.failures {
            0 | 1 => Duration::ZERO,
            failures => Duration::from_secs(1).saturating_mul(1 << (failures - 2).min(10)).min(LONGEST),
        };
        self.not_before = Some(now + wait);
    }

    /// Notes a rejected login. The next attempt comes after a minute.
    pub(super) fn note_rejection(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + AFTER_REJECTION);
    }

    /// Permits an attempt, because the password is another one.
    pub(super) fn forget_rejection(&mut self) {
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the attempts in so many seconds of a caller that tries ten times a second.
    fn attempts(seconds: u64, fail: impl Fn(&mut Backoff, Instant)) -> usize {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        (0..seconds * 10)
            .map(|tenth| start + Duration::from_millis(tenth * 100))
            .filter(|now| {
                let allowed = backoff.allows(*now);
                if allowed {
                    fail(&mut backoff, *now);
                }
                allowed
            })
            .count()
    }

    /// Promise 11.
    #[test]
    fn p11_no_server_is_hammered() {
        assert_eq!(attempts(60, Backoff::note_rejection), 1);
        assert_eq!(attempts(600, Backoff::note_rejection), 10);
        assert!(attempts(60, Backoff::note_failure) <= 9, "{}", attempts(60, Backoff::note_failure));
        assert!(attempts(600, Backoff::note_failure) <= 45, "{}", attempts(600, Backoff::note_failure));
    }

    #[test]
    fn the_first_failure_is_retried_at_once_and_a_success_forgets_the_failures() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.note_failure(now);
        assert!(backoff.allows(now));
        backoff.note_failure(now);
        assert!(!backoff.allows(now));
        backoff.reset();
        assert!(backoff.allows(now));
    }
}
