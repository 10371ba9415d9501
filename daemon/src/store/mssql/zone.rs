//! The clock of times without a zone. Pure.
//!
//! T-SQL with `GETDATE()` compares `tbtokenexpiry` with the server's local time *at that moment*. So values are read and
//! written with the current offset. Twice a year the offset changes under values that are already in the table:
//!
//! - Forward: earlier values seem to end an hour too early, to the applications and to the daemon. Their tokens are renewed at
//!   the next wake.
//! - Back: earlier values seem to end an hour too late. So the store remembers the expiries that it wrote, and uses them where
//!   they are earlier. Its guard lets a new value replace the store's own old value, although that seems later.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

/// The clock of times without a zone (`store.expiry_clock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryClock {
    /// UTC, which the Node driver writes.
    Utc,
    /// The local time of the server, which `GETDATE()` returns.
    ServerLocal,
}

/// The current offset of the table's clock from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zone(TimeDelta);

impl Zone {
    /// UTC.
    pub(super) const UTC: Self = Self(TimeDelta::zero());

    /// Makes the zone so many minutes ahead of UTC.
    pub(super) fn ahead(minutes: i32) -> Self {
        Self(TimeDelta::minutes(i64::from(minutes)))
    }

    /// Returns the instant at which the clock shows this time.
    pub(super) fn instant(self, shown: NaiveDateTime) -> DateTime<Utc> {
        // A time at the ends of the range is not shifted.
        shown.checked_sub_signed(self.0).unwrap_or(shown).and_utc()
    }

    /// Returns the time that the clock shows at this instant.
    pub(super) fn shown(self, instant: DateTime<Utc>) -> NaiveDateTime {
        let utc = instant.naive_utc();
        utc.checked_add_signed(self.0).unwrap_or(utc)
    }
}
