//! What a clock that was set back changes: whatever was reckoned by it before lies too late by the clock of today.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::model::Record;
use crate::text::length;

/// How far the clocks of two daemons on one table may be apart: what is that much ahead was written by the other one.
const CLOCKS_AGREE: TimeDelta = TimeDelta::seconds(5);

impl State {
    /// The clock was set back while we looked at it. What the rows and the failures say is known to be too late by that.
    pub(super) fn clock_set_back(&mut self, by: TimeDelta, at: DateTime<Utc>) {
        self.bring_forward(by);
        let message = format!("the clock was set back by {}; {}", length(by), self.what_follows(by));
        self.note(at, NoticeKind::Warning, None, message);
    }

    /// The records were read for the first time: what was written in the future was written before the clock was set back,
    /// and so was everything else.
    pub(super) fn was_set_back_before_the_start(&mut self, at: DateTime<Utc>) {
        let written = |record: &Record| record.last_success_at.max(Some(record.updated_at));
        let newest = self.entries.values().filter_map(|entry| written(&entry.record)).max();
        let Some(by) = newest.map(|newest| newest - at).filter(|by| *by > CLOCKS_AGREE) else { return };
        self.bring_forward(by);
        let message = format!(
            "records in the table are {} ahead of this clock, which was set back, or they are of another machine; {}",
            length(by),
            self.what_follows(by)
        );
        self.note(at, NoticeKind::Warning, None, message);
    }

    fn bring_forward(&mut self, by: TimeDelta) {
        for (id, entry) in &mut self.entries {
            entry.clock_set_back(by);
            self.revision += 1;
            entry.revision = self.revision;
            if entry.record.failure.is_some() {
                self.unwritten.changed(id);
            }
        }
    }

    fn what_follows(&self, by: TimeDelta) -> &'static str {
        if by > self.policy.window {
            "tokens that were written before that are renewed now, because their rows declare them to end too late"
        } else {
            "tokens that were written before that are renewed so much earlier"
        }
    }
}
