//! What a backward clock step changes: times that were calculated before it are too late.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::NoticeKind;
use super::State;
use crate::text::length;

impl State {
    /// The clock stepped backward by this much. The times in rows and failures are too late by it.
    pub(super) fn clock_stepped(&mut self, by: TimeDelta, at: DateTime<Utc>) {
        self.customers.counters_mut().clock_steps += 1;
        self.clock_stepped_at = Some(at);
        let mut misdated = 0_usize;
        let window = self.policy.window;
        self.customers.edit_all(at, |edit| {
            edit.clock_stepped(by);
            misdated += usize::from(edit.is_misdated(window));
            if edit.record().failure.is_some() {
                edit.record_mut();
            }
        });
        for end in self.former.values_mut().filter_map(|former| former.ends_at.as_mut()) {
            *end -= by;
        }
        self.servers.values_mut().for_each(|server| server.checks.clock_stepped(by));
        for since in self.recovered.values_mut() {
            *since -= by;
        }
        let message = format!(
            "the clock of this machine stepped backward by {}; check it with timedatectl. The expiries of {misdated} rows are too late, and these rows are renewed at the next poll",
            length(by)
        );
        self.note(at, NoticeKind::ClockSetBack, None, message);
    }
}
