//! Carries out the orders of operators and of the process.

use std::time::Duration;

use tokio::time::Instant;

use super::job::Job;
use super::{SHUTDOWN_DEADLINE, Scheduler, interval};
use crate::engine::event::Event;
use crate::engine::outcome::RefreshRefusal;
use crate::engine::pass::Limits;
use crate::engine::policy::{Policy, Trigger};
use crate::model::LoopState;
use crate::store::Store;
use crate::thingsboard::Logins;

impl<S: Store, L: Logins> Scheduler<S, L> {
    pub(super) fn reconfigure(&mut self, policy: Policy, limits: Limits) {
        // The HTTP client keeps its time-out until a restart, and the budget follows from that time-out.
        self.limits =
            Limits { budget: self.limits.budget, request_timeout: self.limits.request_timeout, ..limits };
        self.policy = policy.clone();
        self.state.set_policy(policy, self.clock.now());
        self.wakes.set_interval(interval(&self.policy));
        if self.steering.runs() {
            // Other customers may be due now.
            self.wakes.wake_at_once();
        }
        self.update_statuses();
        self.show();
    }

    /// For how long the work under way has made no progress.
    pub(super) fn silence(&self) -> Duration {
        let job = (!self.job.is_idle()).then_some(self.progress_at);
        job.into_iter()
            .chain(self.recorder.since())
            .chain(self.steering.since())
            .map(|since| since.elapsed())
            .max()
            .unwrap_or_default()
    }

    pub(super) fn steer(&mut self, run: bool) -> bool {
        if self.steering.order(run, self.clock.now()) {
            return true;
        }
        self.apply(if run { Event::LoopStarted } else { Event::LoopStopped });
        self.wakes.cancel_early();
        if run {
            self.wakes.begin_interval();
            // If a job is under way, right after it.
            self.wakes.wake_at_once();
            self.begin_poll(Trigger::Start);
        }
        false
    }

    /// Has the store keep the state of the loop, and answers the operators whose orders it has kept.
    pub(super) fn keep_loop_state(&mut self) {
        self.steering.keep(&self.store);
        if self.steering.may_answer() {
            let snapshot = self.show();
            self.steering.answer(None, &snapshot);
        }
    }

    pub(super) fn loop_not_kept(&mut self, why: String) {
        if self.steering.is_waited_for() {
            self.apply(Event::LoopStateNotKept(why.clone()));
            let snapshot = self.show();
            self.steering.answer(Some(&why), &snapshot);
        }
    }

    /// Takes over the state of the loop that the store has kept.
    pub(super) fn recall_loop_state(&mut self, found: Option<LoopState>) {
        if self.steering.recall(found) {
            self.apply(Event::LoopStaysStopped(self.steering.state));
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.deadline = Some(Instant::now() + SHUTDOWN_DEADLINE);
        self.stop_pass.cancel();
        // One last try, under the deadline.
        self.recorder.is_held = false;
        self.steering.is_held = false;
        self.requests.refuse_waiting();
        if matches!(self.job, Job::Reading { .. }) {
            // No pass has begun yet.
            self.job = Job::Idle;
            self.requests.refuse(&RefreshRefusal::ShuttingDown);
            self.requests.answer(&self.state);
        }
    }
}
