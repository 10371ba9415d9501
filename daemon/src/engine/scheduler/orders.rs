//! What operators and the process ask of the loop.

use std::time::Duration;

use tokio::time::Instant;

use super::job::Job;
use super::{SHUTDOWN_DEADLINE, Scheduler, interval};
use crate::engine::event::Event;
use crate::engine::outcome::NotRefreshed;
use crate::engine::pass::Limits;
use crate::engine::policy::{Policy, Trigger};
use crate::model::LoopState;
use crate::store::Store;
use crate::thingsboard::Logins;

impl<S: Store, L: Logins> Scheduler<S, L> {
    pub(super) fn reconfigure(&mut self, policy: Policy, limits: Limits) {
        // The time-out that the budget follows from is that of the HTTP client, which stays.
        self.limits =
            Limits { budget: self.limits.budget, request_timeout: self.limits.request_timeout, ..limits };
        self.policy = policy.clone();
        self.state.set_policy(policy, self.clock.now());
        self.wakes.set_interval(interval(&self.policy));
        if self.steering.runs() {
            // Other customers may be due now.
            self.wakes.at_once();
        }
        self.look_at_the_clock();
        self.show();
    }

    /// For how long nothing has been heard of what is under way.
    pub(super) fn silence(&self) -> Duration {
        let job = (!self.job.is_idle()).then_some(self.heard_at);
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
        self.learn(if run { Event::LoopStarted } else { Event::LoopStopped });
        self.wakes.not_early();
        if run {
            self.wakes.begin_interval();
            // If something is under way, right after it.
            self.wakes.at_once();
            self.begin(Trigger::Start);
        }
        false
    }

    /// Has the store keep how the loop is to be, and answers the operators whose orders it knows.
    pub(super) fn keep_loop_state(&mut self) {
        self.steering.keep(&self.store);
        if self.steering.may_answer() {
            let snapshot = self.show();
            self.steering.answer(None, &snapshot);
        }
    }

    pub(super) fn loop_not_kept(&mut self, why: String) {
        if self.steering.is_waited_for() {
            self.learn(Event::LoopStateNotKept(why.clone()));
            let snapshot = self.show();
            self.steering.answer(Some(&why), &snapshot);
        }
    }

    /// The store had this as the state of the loop.
    pub(super) fn recall_loop_state(&mut self, found: Option<LoopState>) {
        if self.steering.recall(found) {
            self.learn(Event::LoopStaysStopped(self.steering.state()));
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.deadline = Some(Instant::now() + SHUTDOWN_DEADLINE);
        self.stop_pass.cancel();
        // One last try, under the deadline.
        self.recorder.release();
        self.steering.release();
        self.requests.refuse_waiting();
        if matches!(self.job, Job::Reading { .. }) {
            // Nothing has begun yet.
            self.job = Job::Idle;
            self.requests.refuse(&NotRefreshed::ShuttingDown);
            self.requests.answer(&self.state);
        }
    }
}
