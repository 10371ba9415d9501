//! One look at the table after the other, and the pass that follows from each.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::Scheduler;
use super::job::{Job, internal};
use crate::engine::event::Event;
use crate::engine::handle::NotRefreshed;
use crate::engine::pass::{Gates, Tools};
use crate::engine::plan::{Selection, Trigger, next_due, plan};
use crate::engine::view::LastRun;
use crate::model::{CustomerId, Failure};
use crate::store::{Records, Store, StoreError, Table};
use crate::telemetry;
use crate::thingsboard::Logins;

impl<S: Store, L: Logins> Scheduler<S, L> {
    pub(super) fn tick(&mut self) {
        self.wakes.tick();
        match (self.running, self.job.is_idle()) {
            (true, true) => telemetry::scheduled(self.clock.now()),
            (true, false) => telemetry::skipped(self.clock.now()),
            // A stopped loop still looks at the table, so that the status is true, but renews nobody.
            (false, _) => {}
        }
        self.begin(Trigger::Schedule);
        self.display.outdate();
    }

    /// Reads the table, unless a pass is under way; then this waits for its end.
    pub(super) fn begin(&mut self, trigger: Trigger) {
        if !self.job.is_idle() || self.deadline.is_some() {
            return;
        }
        self.wakes.looking();
        self.learn(Event::Reading);
        let records = match self.state.table_read_at() {
            None => Records::All,
            Some(_) => Records::Failing,
        };
        let store = Arc::clone(&self.store);
        let task = tokio::spawn(async move { store.read(records).await });
        self.job = Job::Reading { trigger, task };
        self.heard_at = Instant::now();
        self.requests.begin();
        self.display.outdate();
    }

    /// The table is here: who is due is renewed.
    pub(super) fn table_read(
        &mut self,
        trigger: Trigger,
        result: Result<Result<Table, StoreError>, JoinError>,
    ) {
        // Only a look at the table that brings a pass goes on with the one before: nothing spins when it fails.
        let goes_on = std::mem::take(&mut self.has_left_over);
        let table = match result {
            Ok(Ok(table)) => table,
            Ok(Err(error)) => return self.cannot_read(error),
            Err(error) => return self.cannot_read(internal(&error)),
        };
        self.recorder.release();
        self.learn(Event::TableRead(table));
        if self.state.store_error().is_none() {
            self.wakes.store_worked();
        }
        self.gates.retain(|host, _| self.state.hosts().contains(host));
        let now = self.clock.now();
        let mut selections = self.requests.selections();
        // Also when an operator began it: however often somebody asks for one customer, the others get their turn.
        if self.running {
            selections.push(Selection::Due);
            self.planned_at = Some(now);
        }
        let plan = plan(&self.state, now, &self.policy, &selections);
        self.requests.planned(&plan, &self.state);
        if plan.is_empty() || self.deadline.is_some() {
            self.rest();
            return;
        }
        self.learn(Event::PassStarted { trigger, attempts: plan.size() });
        let tools = Tools {
            store: Arc::clone(&self.store),
            logins: Arc::clone(&self.logins),
            clock: self.clock.clone(),
            lifetime: self.policy.lifetime,
            limits: self.limits,
            is_new_wake: self.is_new_wake(goes_on),
            stop: self.stop_pass.clone(),
        };
        self.job = Job::pass(trigger, now, tools, plan, std::mem::take(&mut self.gates));
        self.look_at_the_clock();
    }

    /// Whether a pass that begins now may ask servers again that rest or were given up: not when it only goes on with
    /// the one before, unless that has been so for an interval.
    fn is_new_wake(&mut self, goes_on: bool) -> bool {
        let is_new = !goes_on || self.woke_gates_at.is_none_or(|at| at.elapsed() >= self.wakes.interval());
        if is_new {
            self.woke_gates_at = Some(Instant::now());
        }
        is_new
    }

    fn cannot_read(&mut self, error: StoreError) {
        let message = error.with_remedy();
        self.learn(Event::TableUnreadable(error));
        self.requests.refuse(&NotRefreshed::StoreUnavailable(message));
        self.wakes.store_failed();
        self.rest();
    }

    pub(super) fn pass_ended(
        &mut self,
        trigger: Trigger,
        started_at: DateTime<Utc>,
        result: Result<Gates, JoinError>,
    ) {
        match result {
            Ok(gates) => self.gates = gates,
            Err(error) => self.pass_was_lost(started_at, &error),
        }
        if self.deadline.is_some() {
            // What was learned since the order to end is tried once more, too.
            self.recorder.release();
        }
        self.learn(Event::PassFinished);
        let finished_at = self.clock.now();
        self.last_run = Some(LastRun { trigger, started_at, finished_at, counts: self.state.pass() });
        if self.state.store_error().is_some() {
            self.wakes.store_failed();
        }
        self.rest();
    }

    /// A pass panicked. What the servers made of the passwords that it had sent is not known: they are not sent again at
    /// once.
    fn pass_was_lost(&mut self, started_at: DateTime<Utc>, error: &JoinError) {
        telemetry::bug("a pass ended unexpectedly", error);
        let after = (self.clock.now() - started_at).to_std().unwrap_or_default();
        let ids: Vec<CustomerId> = self.state.sending_passwords().cloned().collect();
        for id in ids {
            self.learn(Event::Failed { id, failure: Failure::Timeout { after } });
        }
    }

    /// Nothing is under way any more: answers who waited, and sets the next early wake.
    pub(super) fn rest(&mut self) {
        self.job = Job::Idle;
        self.look_at_the_clock();
        // Whoever asks for the status after the answer should see what the answer says.
        self.show();
        self.requests.answer();
        if self.requests.is_waiting() {
            self.begin(Trigger::Manual);
            return;
        }
        if self.running && self.has_left_over {
            self.begin(Trigger::Early);
            return;
        }
        if self.running && self.wakes.early().is_none() {
            // Seen from the last plan, which the clock may have been set back since: who has become due during the pass must
            // not wait for the next tick.
            let now = self.clock.now();
            let planned_at = self.planned_at.map_or(now, |at| at.min(now));
            if let Some(due) = next_due(&self.state, planned_at, &self.policy) {
                self.wakes.in_time_for((due - now).to_std().unwrap_or_default());
            }
        }
        self.display.outdate();
    }
}
