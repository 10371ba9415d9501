//! The expiries that this daemon has written, because a time without a zone can be ambiguous. Pure.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::zone::Zone;
use crate::model::CustomerId;

/// The value in the column of an expiry, and the instant that it stands for.
type Written = (NaiveDateTime, DateTime<Utc>);

/// The expiries that this daemon wrote. Reading and saving share them.
#[derive(Debug, Default)]
pub(super) struct OwnWrites(Mutex<HashMap<CustomerId, Written>>);

impl OwnWrites {
    /// Notes a written expiry.
    pub(super) fn note(&self, id: CustomerId, shown: NaiveDateTime, expiry: DateTime<Utc>) {
        self.lock().insert(id, (shown, expiry));
    }

    /// Returns the value last written for this customer.
    pub(super) fn last_written(&self, id: &CustomerId) -> Option<NaiveDateTime> {
        self.lock().get(id).map(|(shown, _)| *shown)
    }

    /// Returns the expiry for the value in a column: as the applications see it now, but never later than the written expiry.
    pub(super) fn expiry(&self, id: &CustomerId, shown: NaiveDateTime, zone: Zone) -> DateTime<Utc> {
        let seen = zone.instant(shown);
        match self.lock().get(id) {
            Some((ours, expiry)) if *ours == shown => seen.min(*expiry),
            _ => seen,
        }
    }

    /// Forgets the customers that the table no longer holds.
    pub(super) fn keep_only(&self, is_there: impl Fn(&CustomerId) -> bool) {
        self.lock().retain(|id, _| is_there(id));
    }

    /// A panic leaves no change half done, because each change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<CustomerId, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// Promise 8, in Berlin: a night in October has 03:00 twice, and one in March jumps from 02:00 to 03:00.
    #[test]
    fn p08_a_change_of_the_clock_neither_hides_an_end_nor_invents_life() {
        let id = CustomerId::new("c");
        let (winter, summer) = (Zone::ahead(60), Zone::ahead(120));

        // Written at 02:50 in summer time, ends at 03:05, which will be 02:05.
        let expiry = utc("2026-10-25T01:05:00Z");
        let own_writes = OwnWrites::default();
        let shown = summer.shown(expiry);
        own_writes.note(id.clone(), shown, expiry);
        assert_eq!(own_writes.expiry(&id, shown, summer), expiry);
        assert_eq!(own_writes.expiry(&id, shown, winter), expiry, "not an hour later");
        assert_eq!(
            OwnWrites::default().expiry(&id, shown, winter),
            utc("2026-10-25T02:05:00Z"),
            "another program's value has its face value"
        );

        // Written at 01:55 in winter time, ends at 02:10, an hour that does not come.
        let expiry = utc("2026-03-29T01:10:00Z");
        let shown = winter.shown(expiry);
        own_writes.note(id.clone(), shown, expiry);
        assert_eq!(own_writes.expiry(&id, shown, winter), expiry);
        assert_eq!(
            own_writes.expiry(&id, shown, summer),
            utc("2026-03-29T00:10:00Z"),
            "as the applications see it: over"
        );

        own_writes.keep_only(|_| false);
        assert_eq!(own_writes.last_written(&id), None);
    }
}
