//! The one place that reads the wall clock. Everything else is handed a time, or this.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_this_program_cannot_be_now() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert!(!Clock::is_credible(DateTime::UNIX_EPOCH));
        assert!(!Clock::is_credible(at("2025-12-31T23:59:59Z")));
        assert!(Clock::is_credible(at("2026-01-01T00:00:00Z")));
    }
}
