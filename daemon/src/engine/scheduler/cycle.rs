//! One look at the table after the other, and the pass that follows from each.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Scheduler;
use super::job::{Job, Poll, Polled, internal};
use crate::engine::counters::Operation;
use crate::engine::credentials::Ledger;
use crate::engine::event::Event;
use crate::engine::outcome::NotRefreshed;
use crate::engine::pass::{Gates, Tools};
use crate::engine::plan::{Plan, Selection, next_due, plan};
use crate::engine::policy::Trigger;
use crate::engine::view::LastRun;
use crate::store::{Records, Stamp, Store, StoreError};
use crate::telemetry;
use crate::thingsboard::Logins;

impl<S: Store, L: Logins> Scheduler<S, L> {
    pub(super) fn tick(&mut self) {
        self.wakes.tick();
        match (self.steering.runs(), self.job.is_idle()) {
            (true, true) => telemetry::log_scheduled_pass(self.clock.now()),
            (true, false) => {
                telemetry::log_skipped_pass(self.clock.now());
                self.learn(Event::TickSkipped);
            }
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
        let records = match self.state.table_read_at {
            None => Records::All,
            Some(_) => Records::Failing,
        };
        let store = Arc::clone(&self.store);
        let since = self.state.ledger().stamp();
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let polled = poll(&*store, records, since).await;
            (began.elapsed(), polled)
        });
        self.job = Job::Reading { trigger, task };
        self.heard_at = Instant::now();
        self.requests.begin();
        self.display.outdate();
    }

    /// The table is here: who is due is renewed.
    pub(super) fn table_read(&mut self, trigger: Trigger, result: Result<Poll, JoinError>) {
        // Only a look at the table that brings a pass goes on with the one before: nothing spins when it fails.
        let goes_on = std::mem::take(&mut self.has_left_over);
        let polled = result.map_err(|error| internal(&error)).and_then(|(took, polled)| {
            self.learn(Event::StoreCalled { operation: Operation::Read, took });
            polled
        });
        let (table, ledger) = match polled {
            Ok(polled) => polled,
            Err(error) => return self.cannot_read(error),
        };
        self.recorder.release();
        self.learn(Event::TableRead(table));
        match ledger {
            Ok(read) => {
                // Also where the ledger was replaced: the state of the loop may have been lost with it.
                let loop_state = read.is_whole.then_some(read.loop_state);
                self.learn(Event::LedgerRead { read, seen: Instant::now().into_std() });
                self.steering.release();
                if let Some(found) = loop_state {
                    self.recall_loop_state(found);
                }
            }
            Err(error) => self.learn(Event::LedgerFailed(error)),
        }
        if self.state.store_error().is_none() {
            self.wakes.store_worked();
        }
        self.gates.retain(|server, _| self.state.servers().contains_key(server));
        let now = self.clock.now();
        let mut selections = self.requests.selections();
        // Also when an operator began it: however often somebody asks for one customer, the others get their turn.
        if self.steering.runs() {
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
        self.begin_pass(trigger, now, goes_on, plan);
        self.look_at_the_clock();
    }

    fn begin_pass(&mut self, trigger: Trigger, now: DateTime<Utc>, goes_on: bool, plan: Plan) {
        // No customer waits for a check: neither one that becomes due meanwhile, nor the next poll.
        let due = (!plan.checks.is_empty()).then(|| next_due(&self.state, now, &self.policy)).flatten();
        let checks_until = self.wakes.end_of_checks(due.map(|due| (due - now).to_std().unwrap_or_default()));
        self.leave_checks = CancellationToken::new();
        let tools = Tools {
            store: Arc::clone(&self.store),
            logins: Arc::clone(&self.logins),
            clock: self.clock.clone(),
            lifetime: self.policy.lifetime,
            limits: self.limits,
            is_new_wake: self.is_new_wake(goes_on),
            seed: self.rng.random(),
            stop: self.stop_pass.clone(),
            leave_checks: self.leave_checks.clone(),
            checks_until,
        };
        let ledger = self.state.lend_ledger();
        let started_at = (!plan.only_checks()).then_some(now);
        self.job = Job::pass(trigger, started_at, tools, plan, std::mem::take(&mut self.gates), ledger);
    }

    /// The process is about to end: what is known of sent passwords is in the store then, also if its ledger was dropped or
    /// replaced since the last poll.
    pub(super) fn check_ledger(&mut self) {
        self.has_checked_ledger = true;
        if self.state.ledger().stamp().is_some() || self.state.ledger().must_be_read() {
            let plan = Plan { checks_ledger: true, ..Plan::default() };
            self.begin_pass(Trigger::Schedule, self.clock.now(), true, plan);
        }
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
        started_at: Option<DateTime<Utc>>,
        result: Result<(Gates, Ledger), JoinError>,
    ) {
        match result {
            Ok((gates, ledger)) => {
                self.gates = gates;
                self.state.return_ledger(ledger);
            }
            // What its charges came to is not known; they are found in flight when the ledger is read again.
            Err(error) => telemetry::log_bug("a pass ended unexpectedly", &error),
        }
        if self.deadline.is_some() {
            // What was learned since the order to end is tried once more, too.
            self.recorder.release();
        }
        self.learn(Event::PassFinished);
        if let Some(started_at) = started_at {
            let (finished_at, counts) = (self.clock.now(), self.state.pass);
            self.last_run = Some(LastRun { trigger, started_at, finished_at, counts });
        }
        if self.state.store_error().is_some() {
            self.wakes.store_failed();
        }
        self.rest();
    }

    /// Nothing is under way any more: answers who waited, and sets the next early wake.
    pub(super) fn rest(&mut self) {
        self.job = Job::Idle;
        self.look_at_the_clock();
        // Whoever asks for the status after the answer should see what the answer says.
        self.show();
        self.requests.answer(&self.state);
        if self.requests.is_waiting() {
            self.begin(Trigger::Manual);
            return;
        }
        if self.steering.runs() && self.has_left_over {
            self.begin(Trigger::Early);
            return;
        }
        if self.steering.runs() && self.wakes.early().is_none() {
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

/// Reads the table and the ledger.
async fn poll<S: Store>(store: &S, records: Records, since: Option<Stamp>) -> Result<Polled, StoreError> {
    let table = store.read(records).await?;
    Ok((table, store.read_ledger(since).await))
}
