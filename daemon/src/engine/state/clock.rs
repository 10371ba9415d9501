//! What a clock that was set back changes: whatever was reckoned by it before lies too late by the clock of today.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::text::length;

impl State {
    /// The clock was set back by this much while we looked at it. What the rows and the failures say is too late by that.
    pub(super) fn clock_set_back(&mut self, by: TimeDelta, at: DateTime<Utc>) {
        self.customers.counters_mut().clock_steps += 1;
        self.clock_stepped_at = Some(at);
        let mut misdated = 0_usize;
        let window = self.policy.window;
        self.customers.edit_all(at, |edit| {
            edit.clock_set_back(by);
            misdated += usize::from(edit.is_misdated(window));
            if edit.record().failure.is_some() {
                edit.record_mut();
            }
        });
        for end in self.former.values_mut().filter_map(|former| former.ends_at.as_mut()) {
            *end -= by;
        }
        self.hosts.checks().for_each(|(_, checks)| checks.clock_set_back(by));
        for since in self.recovered.values_mut() {
            *since -= by;
        }
        let message = format!(
            "the clock of this machine stepped backward by {} (timedatectl shows whether it is right now); {misdated} rows declare their tokens to end too late, and are renewed at the next poll",
            length(by)
        );
        self.note(at, NoticeKind::ClockSetBack, None, message);
    }
}
