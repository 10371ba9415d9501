//! Which clock the times without a zone are of. Pure.
//!
//! T-SQL that was written against `GETDATE()` compares `tbtokenexpiry` with the local time of the server *as it is then*.
//! So that is what a value means, and how it is read and written: with the offset in force now. Twice a year that offset
//! changes under values that are already in the table:
//!
//! - Forward: what was written before looks ended an hour early, to the applications and to us alike. It is renewed at
//!   the next wake.
//! - Back: what was written before looks good for an hour longer than it is. So the store remembers what it wrote and
//!   believes its own knowledge where that is earlier, and its guard lets a new value replace its own old one, although
//!   that looks later.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

/// Which clock the times without a zone are of (`store.expiry_clock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryClock {
    /// UTC, as the Node driver writes them.
    Utc,
    /// The local time of the server, as `GETDATE()` shows it.
    ServerLocal,
}

/// How far the clock of the table is from UTC at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zone(TimeDelta);

impl Zone {
    /// UTC.
    pub(super) const UTC: Self = Self(TimeDelta::zero());

    /// So many minutes ahead of UTC.
    pub(super) fn ahead(minutes: i32) -> Self {
        Self(TimeDelta::minutes(i64::from(minutes)))
    }

    /// The instant at which that clock shows this.
    pub(super) fn instant(self, shown: NaiveDateTime) -> DateTime<Utc> {
        // At the ends of time there is nothing to shift.
        shown.checked_sub_signed(self.0).unwrap_or(shown).and_utc()
    }

    /// What that clock shows at this instant.
    pub(super) fn shown(self, instant: DateTime<Utc>) -> NaiveDateTime {
        let utc = instant.naive_utc();
        utc.checked_add_signed(self.0).unwrap_or(utc)
    }
}
