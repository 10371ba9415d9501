//! How long a server that refuses us is left alone. Pure.

use std::time::{Duration, Instant};

/// The longest wait after trouble that passes.
const LONGEST: Duration = Duration::from_secs(15);

/// The wait after a refused login. Many servers lock a login that is refused too often.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// What is known of the last attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Patience {
    failures: u32,
    not_before: Option<Instant>,
}

impl Patience {
    /// Whether the server may be asked now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// It did not, but that passes: again at once, then after 1, 2, 4, … seconds.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let wait = match self.failures {
            0 | 1 => Duration::ZERO,
            failures => Duration::from_secs(1).saturating_mul(1 << (failures - 2).min(10)).min(LONGEST),
        };
        self.not_before = Some(now + wait);
    }

    /// The login was refused: not again for a minute.
    pub(super) fn refused(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + AFTER_REFUSAL);
    }

    /// What was refused is not what would be sent now.
    pub(super) fn forget_refusal(&mut self) {
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a server is asked in so many seconds by somebody who asks ten times a second.
    fn attempts(seconds: u64, fail: impl Fn(&mut Patience, Instant)) -> usize {
        let start = Instant::now();
        let mut patience = Patience::default();
        (0..seconds * 10)
            .map(|tenth| start + Duration::from_millis(tenth * 100))
            .filter(|now| {
                let allowed = patience.allows(*now);
                if allowed {
                    fail(&mut patience, *now);
                }
                allowed
            })
            .count()
    }

    /// Promise 11.
    #[test]
    fn p11_nobody_is_hammered() {
        assert_eq!(attempts(60, Patience::refused), 1);
        assert_eq!(attempts(600, Patience::refused), 10);
        assert!(attempts(60, Patience::failed) <= 9, "{}", attempts(60, Patience::failed));
        assert!(attempts(600, Patience::failed) <= 45, "{}", attempts(600, Patience::failed));
    }

    #[test]
    fn the_first_failure_may_be_mended_at_once_and_success_is_forgiven() {
        let now = Instant::now();
        let mut patience = Patience::default();
        patience.failed(now);
        assert!(patience.allows(now));
        patience.failed(now);
        assert!(!patience.allows(now));
        patience.worked();
        assert!(patience.allows(now));
    }
}
