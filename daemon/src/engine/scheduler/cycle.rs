//! Polls the table, begins the pass that a poll needs, and ends it.

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
use crate::engine::outcome::RefreshRefusal;
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
        self.state.count_time(self.clock.now());
        match (self.steering.runs(), self.job.is_idle()) {
            (true, true) => telemetry::log_scheduled_pass(self.clock.now()),
            (true, false) => {
                telemetry::log_skipped_pass(self.clock.now());
                self.apply(Event::TickSkipped);
            }
            // A stopped loop still polls, so that the status is right, but renews no customer.
            (false, _) => {}
        }
        self.begin_poll(Trigger::Schedule);
        self.display.outdate();
    }

    /// Begins a poll, unless a job is under way; its end begins the next poll if one is needed.
    pub(super) fn begin_poll(&mut self, trigger: Trigger) {
        if !self.job.is_idle() || self.deadline.is_some() {
            return;
        }
        self.wakes.poll_began();
        self.apply(Event::Reading);
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
        self.progress_at = Instant::now();
        self.requests.begin();
        self.display.outdate();
    }

    /// The poll has ended: begins a pass for the customers that are due or requested.
    pub(super) fn table_read(&mut self, trigger: Trigger, result: Result<Poll, JoinError>) {
        // A poll that fails carries no customer over, so that polls do not spin.
        let goes_on = std::mem::take(&mut self.needs_next_pass);
        let polled = result.map_err(|error| internal(&error)).and_then(|(took, polled)| {
            self.apply(Event::StoreCalled { operation: Operation::Read, took });
            polled
        });
        let (table, ledger) = match polled {
            Ok(polled) => polled,
            Err(error) => return self.cannot_read(error),
        };
        self.recorder.is_held = false;
        self.apply(Event::TableRead(table));
        match ledger {
            Ok(read) => {
                // If the ledger was replaced, the state of the loop may be lost with it.
                let loop_state = read.is_whole.then_some(read.loop_state);
                self.apply(Event::LedgerRead { read, seen: Instant::now().into_std() });
                self.steering.is_held = false;
                if let Some(found) = loop_state {
                    self.recall_loop_state(found);
                }
            }
            Err(error) => self.apply(Event::LedgerFailed(error)),
        }
        if self.state.store_error().is_none() {
            self.wakes.store_worked();
        }
        self.gates.retain(|server, _| self.state.servers().contains_key(server));
        let now = self.clock.now();
        let mut selections = self.requests.selections();
        // A manual pass takes the customers that are due too, so that frequent manual passes cannot delay them.
        if self.steering.runs() {
            selections.push(Selection::Due);
            self.planned_at = Some(now);
        }
        let plan = plan(&self.state, now, &self.policy, &selections);
        self.requests.plan_made(&plan, &self.state);
        if plan.is_empty() || self.deadline.is_some() {
            self.finish_job();
            return;
        }
        self.apply(Event::PassStarted { trigger, attempts: plan.size() });
        self.begin_pass(trigger, now, goes_on, plan);
        self.update_statuses();
    }

    fn begin_pass(&mut self, trigger: Trigger, now: DateTime<Utc>, goes_on: bool, plan: Plan) {
        // Checks end before the next customer is due and before the next poll.
        let due = (!plan.checks.is_empty()).then(|| next_due(&self.state, now, &self.policy)).flatten();
        let checks_until = self.wakes.end_of_checks(due.map(|due| (due - now).to_std().unwrap_or_default()));
        self.abandon_checks = CancellationToken::new();
        let tools = Tools {
            store: Arc::clone(&self.store),
            logins: Arc::clone(&self.logins),
            clock: self.clock.clone(),
            lifetime: self.policy.lifetime,
            limits: self.limits,
            is_new_wake: self.is_new_wake(goes_on),
            seed: self.rng.random(),
            stop: self.stop_pass.clone(),
            abandon_checks: self.abandon_checks.clone(),
            checks_until,
        };
        self.state.take_into_pass(plan.attempts.iter().map(|attempt| &attempt.customer.id), now);
        let ledger = self.state.lend_ledger();
        let started_at = (!plan.only_checks()).then_some(now);
        self.job = Job::pass(trigger, started_at, tools, plan, std::mem::take(&mut self.gates), ledger);
    }

    /// Begins the last write of the ledger before the process ends. It also restores a ledger that was dropped or replaced since
    /// the last poll.
    pub(super) fn check_ledger(&mut self) {
        self.has_checked_ledger = true;
        if self.state.ledger().stamp().is_some() || self.state.ledger().must_be_read() {
            let plan = Plan { checks_ledger: true, ..Plan::default() };
            self.begin_pass(Trigger::Schedule, self.clock.now(), true, plan);
        }
    }

    /// Whether a pass that begins now may try paused servers and servers that are down. A pass that continues the one before may
    /// do so once an interval.
    fn is_new_wake(&mut self, goes_on: bool) -> bool {
        let is_new = !goes_on || self.woke_gates_at.is_none_or(|at| at.elapsed() >= self.wakes.interval);
        if is_new {
            self.woke_gates_at = Some(Instant::now());
        }
        is_new
    }

    fn cannot_read(&mut self, error: StoreError) {
        let message = error.with_remedy();
        self.apply(Event::TableUnreadable(error));
        self.requests.refuse(&RefreshRefusal::StoreUnavailable(message));
        self.wakes.store_failed();
        self.finish_job();
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
            // The outcomes of its charges are unknown. The next read of the ledger finds them in flight.
            Err(error) => telemetry::log_bug("a pass ended unexpectedly", &error),
        }
        if self.deadline.is_some() {
            // Records that changed since the order to shut down get one more try.
            self.recorder.is_held = false;
        }
        self.apply(Event::PassFinished);
        if let Some(started_at) = started_at {
            let (finished_at, counts) = (self.clock.now(), self.state.pass);
            self.last_run = Some(LastRun { trigger, started_at, finished_at, counts });
        }
        if self.state.store_error().is_some() {
            self.wakes.store_failed();
        }
        self.finish_job();
    }

    /// Ends the job: answers the requests, and begins the next poll or sets the time of the next early one.
    pub(super) fn finish_job(&mut self) {
        self.job = Job::Idle;
        self.update_statuses();
        // A `status` after the answer must agree with the answer.
        self.show();
        self.requests.answer(&self.state);
        if self.requests.is_waiting() {
            self.begin_poll(Trigger::Manual);
            return;
        }
        if self.steering.runs() && self.needs_next_pass {
            self.begin_poll(Trigger::Early);
            return;
        }
        // While the table cannot be read, only the waits of the store count.
        if self.steering.runs() && self.state.error_of(Operation::Read).is_none() {
            // Counted from the last plan, so that a customer that became due during the pass does not wait for the next tick.
            // A clock step may have put the plan into the future.
            let now = self.clock.now();
            let planned_at = self.planned_at.map_or(now, |at| at.min(now));
            if let Some(due) = next_due(&self.state, planned_at, &self.policy) {
                self.wakes.wake_in_time_for((due - now).to_std().unwrap_or_default());
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
