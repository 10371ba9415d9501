//! Steps of the clock of the daemon's machine, and what a daemon can know of them (21).

use chrono::TimeDelta;
use tokio::time::{Duration, Instant};

use super::audit::SHORT;
use super::world::World;

/// A smaller error of an expiry does no harm: the token is renewed within the five minutes before it, of which a wake takes
/// one.
const COVERED_BY_THE_WINDOW: TimeDelta = TimeDelta::minutes(4);

/// The time between two polls while a pass is running.
const LOOK: Duration = SHORT;

/// A smaller change of the clock is not a step.
const LEAST: TimeDelta = TimeDelta::seconds(5);

impl World {
    /// Sets the clock.
    pub(crate) fn set_clock(&mut self, by: TimeDelta) {
        self.jump += by;
        self.jumped_at = self.true_time();
        if by < TimeDelta::zero() {
            self.stepped_back_at = Instant::now();
            self.stepped_back_by -= by;
        }
    }

    /// Whether the row's expiry is too late because of a clock step back, and no daemon can know it. The daemon that saw
    /// the step has ended, or the row did not exist then, or it was written between two polls. Or the expiry has a fraction
    /// of a second, which no daemon writes.
    pub(crate) fn is_misdated_past_knowing(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let (Some(token), Some(expiry)) = (&row.in_row, row.expiry) else { return false };
        let wrong_by = expiry - self.jump - token.ends_at;
        let was_seen = token.daemon.is_some() || token.written_at + LOOK < self.stepped_back_at;
        let may_be_ours = expiry.timestamp_subsec_nanos() == 0;
        let is_known = may_be_ours && was_seen && self.started_at.max(row.came_at) < self.stepped_back_at;
        token.written_at <= self.stepped_back_at && !is_known && wrong_by > COVERED_BY_THE_WINDOW
    }

    /// Whether the row's expiry is later than the end of its token.
    pub(crate) fn is_misdated(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let ends_at = row.in_row.as_ref().map(|token| token.ends_at);
        ends_at.zip(row.expiry).is_some_and(|(end, expiry)| expiry - self.jump > end + LEAST)
    }
}
