//! What a clock that was set back changes: whatever was reckoned by it before lies too late by the clock of today.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::text::length;

impl State {
    /// The clock was set back by this much while we looked at it. What the rows and the failures say is too late by that.
    pub(super) fn clock_set_back(&mut self, by: TimeDelta, at: DateTime<Utc>) {
        let mut misdated = 0_usize;
        for (id, entry) in &mut self.entries {
            entry.clock_set_back(by);
            misdated += usize::from(entry.is_misdated(self.policy.window));
            self.revision += 1;
            entry.revision = self.revision;
            if entry.record.failure.is_some() {
                self.unwritten.changed(id);
            }
        }
        for since in self.back.values_mut() {
            *since -= by;
        }
        let message = format!(
            "the clock of this machine was set back by {} (timedatectl shows whether it is right now); {misdated} rows declare their tokens to end too late, and are renewed at the next look at the table",
            length(by)
        );
        self.note(at, NoticeKind::ClockSetBack, None, message);
    }
}
