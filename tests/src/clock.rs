//! The only place in the fakes and the harness that reads the wall clock.

use chrono::{DateTime, Utc};

/// Returns the current time.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "real sockets and real processes live in real time")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
