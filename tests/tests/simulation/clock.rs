//! The clock of the daemon's machine is set, and what a daemon can know of that (21).

use chrono::TimeDelta;
use tokio::time::{Duration, Instant};

use super::audit::SHORT;
use super::world::World;

/// So much of a wrong expiry does no harm: the token is renewed within the five minutes before it, of which a wake takes one.
const COVERED_BY_THE_WINDOW: TimeDelta = TimeDelta::minutes(4);

/// How often a daemon looks at the table, with a pass under way.
const LOOK: Duration = SHORT;

/// How far the clocks of two daemons may be apart; less is no sign.
const CLOCKS_AGREE: TimeDelta = TimeDelta::seconds(5);

impl World {
    /// Somebody sets the clock.
    pub(crate) fn set_clock(&mut self, by: TimeDelta) {
        self.jump += by;
        self.jumped_at = self.true_time();
        if by < TimeDelta::zero() {
            self.set_back_at = Instant::now();
        }
    }

    /// A daemon looks at the table for the first time: records of the future tell it that the clock was set back.
    pub(crate) fn starts_with(&mut self) {
        self.started_at = Instant::now();
        let records = self.db.records.values().filter(|_| !self.db.has_no_records);
        let newest = records.filter_map(|record| record.last_success_at.max(Some(record.updated_at))).max();
        let known = newest.map(|newest| newest - self.machine_time()).filter(|known| *known > CLOCKS_AGREE);
        self.known_at_start = known.unwrap_or_default();
    }

    /// Whether the row declares its token to end too late, because the clock was set back, and no daemon can know it: who saw
    /// the step has ended and the records do not tell all of it, or the row was not there, or was written between two looks.
    pub(crate) fn is_misdated_past_knowing(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let (Some(token), Some(expiry)) = (&row.in_row, row.expiry) else { return false };
        let wrong_by = expiry - self.jump - token.ends_at;
        let was_seen = token.daemon.is_some() || token.written_at + LOOK < self.set_back_at;
        let known = if self.started_at >= self.set_back_at {
            self.known_at_start
        } else if was_seen && row.came_at < self.set_back_at {
            wrong_by
        } else {
            TimeDelta::zero()
        };
        token.written_at <= self.set_back_at && wrong_by - known > COVERED_BY_THE_WINDOW
    }

    /// Whether the row declares its token to end later than it does.
    pub(crate) fn is_misdated(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let ends_at = row.in_row.as_ref().map(|token| token.ends_at);
        ends_at.zip(row.expiry).is_some_and(|(end, expiry)| expiry - self.jump > end + CLOCKS_AGREE)
    }
}
