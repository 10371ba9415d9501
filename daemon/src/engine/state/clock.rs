//! What a clock that was set back changes: whatever was reckoned by it before lies too late by the clock of today.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::text::length;

impl State {
    /// The clock was set back by this much while we looked at it. What the rows and the failures say is too late by that.
    pub(super) fn clock_set_back(&mut self, by: TimeDelta, at: DateTime<Utc>) {
        for (id, entry) in &mut self.entries {
            entry.clock_set_back(by);
            self.revision += 1;
            entry.revision = self.revision;
            if entry.record.failure.is_some() {
                self.unwritten.changed(id);
            }
        }
        let what_follows = if by > self.policy.window {
            "tokens that were written before that are renewed now, because their rows declare them to end too late"
        } else {
            "tokens that were written before that are renewed so much earlier"
        };
        let message = format!("the clock was set back by {}; {what_follows}", length(by));
        self.note(at, NoticeKind::Warning, None, message);
    }
}
