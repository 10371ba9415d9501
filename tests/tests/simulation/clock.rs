//! The clock of the daemon's machine is set, and what a daemon can know of that (21).

use chrono::TimeDelta;
use tokio::time::{Duration, Instant};

use super::audit::SHORT;
use super::world::World;

/// So much of a wrong expiry does no harm: the token is renewed within the five minutes before it, of which a wake takes one.
const COVERED_BY_THE_WINDOW: TimeDelta = TimeDelta::minutes(4);

/// How often a daemon looks at the table, with a pass under way.
const LOOK: Duration = SHORT;

/// Less than this is no step.
const LEAST: TimeDelta = TimeDelta::seconds(5);

impl World {
    /// Somebody sets the clock.
    pub(crate) fn set_clock(&mut self, by: TimeDelta) {
        self.jump += by;
        self.jumped_at = self.true_time();
        if by < TimeDelta::zero() {
            self.set_back_at = Instant::now();
            self.set_back_by -= by;
        }
    }

    /// Whether the row declares its token to end too late, because the clock was set back, and no daemon can know it: who saw
    /// the step has ended, or the row was not there, was written between two looks, or holds a fraction of a
    /// second, which no daemon writes.
    pub(crate) fn is_misdated_past_knowing(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let (Some(token), Some(expiry)) = (&row.in_row, row.expiry) else { return false };
        let wrong_by = expiry - self.jump - token.ends_at;
        let was_seen = token.daemon.is_some() || token.written_at + LOOK < self.set_back_at;
        let may_be_ours = expiry.timestamp_subsec_nanos() == 0;
        let is_known = may_be_ours && was_seen && self.started_at.max(row.came_at) < self.set_back_at;
        token.written_at <= self.set_back_at && !is_known && wrong_by > COVERED_BY_THE_WINDOW
    }

    /// Whether the row declares its token to end later than it does.
    pub(crate) fn is_misdated(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let ends_at = row.in_row.as_ref().map(|token| token.ends_at);
        ends_at.zip(row.expiry).is_some_and(|(end, expiry)| expiry - self.jump > end + LEAST)
    }
}
