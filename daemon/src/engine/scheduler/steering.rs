//! Whether the loop runs, and whether the store knows it: what an operator said must outlive this process.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::job::internal;
use super::sleep_until_some;
use crate::engine::handle::Steered;
use crate::engine::view::Snapshot;
use crate::model::{LoopState, whole_seconds};
use crate::store::{Store, StoreError};

/// How long an operator waits for the store; then the answer says that the order may not survive a restart.
const PATIENCE: Duration = Duration::from_secs(3);

/// The state of the loop.
#[derive(Debug)]
pub(super) struct Steering {
    state: LoopState,
    /// Whether an operator or the store has said so: until then it is what `schedule.autostart` says.
    is_settled: bool,
    is_kept: bool,
    /// The store has failed to keep it: not again before it has shown that it works.
    is_held: bool,
    /// The call under way.
    call: Option<Call>,
    /// The operators that wait for its end, and whether the loop was as each wanted it already.
    waiting: Vec<(oneshot::Sender<Steered>, bool)>,
    /// When they do not wait longer.
    answer_at: Option<Instant>,
}

#[derive(Debug)]
struct Call {
    since: Instant,
    state: LoopState,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Steering {
    /// Nothing was said yet.
    pub(super) fn new(autostart: bool) -> Self {
        let state = if autostart { LoopState::Running } else { LoopState::NotStarted };
        Self {
            state,
            is_settled: false,
            is_kept: false,
            is_held: false,
            call: None,
            waiting: Vec::new(),
            answer_at: None,
        }
    }

    /// How the loop is to be.
    pub(super) fn state(&self) -> LoopState {
        self.state
    }

    /// Whether the loop starts passes.
    pub(super) fn runs(&self) -> bool {
        self.state.runs()
    }

    /// An operator wants it so. Says whether it was so already.
    pub(super) fn order(&mut self, run: bool, now: DateTime<Utc>) -> bool {
        let state = match (run, self.state) {
            (true, _) => LoopState::Running,
            (false, LoopState::Stopped { since }) => LoopState::Stopped { since },
            (false, _) => LoopState::Stopped { since: whole_seconds(now) },
        };
        let already = self.runs() == run;
        self.is_kept &= self.state == state;
        self.state = state;
        self.is_settled = true;
        self.is_held = false;
        already
    }

    /// This operator is answered when the store knows the order.
    pub(super) fn wait(&mut self, reply: oneshot::Sender<Steered>, already: bool) {
        self.waiting.push((reply, already));
        self.answer_at.get_or_insert_with(|| Instant::now() + PATIENCE);
    }

    /// The store had this as the state of the loop, before or after it was replaced. Says whether the loop stays stopped since
    /// an earlier start.
    pub(super) fn recall(&mut self, found: Option<LoopState>) -> bool {
        let is_first = !std::mem::replace(&mut self.is_settled, true);
        if let Some(found) = found.filter(|_| is_first) {
            self.state = found;
        }
        // Another daemon's operator may have stopped it since: only an order from here undoes that.
        let is_stop_of_another = self.is_kept && found.is_some_and(|found| found.stopped_since().is_some());
        self.is_kept = found == Some(self.state) || (is_stop_of_another && self.runs());
        is_first && !self.runs()
    }

    /// The store has shown that it works, or there is no better time to come.
    pub(super) fn release(&mut self) {
        self.is_held = false;
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.call.is_none()
    }

    /// Since when the call under way is, if there is one.
    pub(super) fn since(&self) -> Option<Instant> {
        self.call.as_ref().map(|call| call.since)
    }

    /// Has the store keep the state, unless it does or nothing was said yet.
    pub(super) fn keep<S: Store>(&mut self, store: &Arc<S>) {
        if self.is_kept || self.is_held || !self.is_settled || self.call.is_some() {
            return;
        }
        let (store, state) = (Arc::clone(store), self.state);
        let task = tokio::spawn(async move { store.keep_loop_state(state).await });
        self.call = Some(Call { since: Instant::now(), state, task });
    }

    /// Whether an operator waits for what the store knows already.
    pub(super) fn may_answer(&self) -> bool {
        self.is_kept && self.is_waited_for()
    }

    /// How the call under way ended, or that an operator has waited long enough for it; never, if there is none.
    pub(super) async fn next(&mut self) -> Result<(), String> {
        let Some(call) = &mut self.call else { return std::future::pending().await };
        let result = tokio::select! {
            result = &mut call.task => result.unwrap_or_else(|error| Err(internal(&error))),
            () = sleep_until_some(self.answer_at) => {
                return Err(format!("the database has not answered for {} s", PATIENCE.as_secs()));
            }
        };
        // An order that came meanwhile is not in it.
        let is_current = self.call.take().is_some_and(|call| call.state == self.state);
        self.is_kept = result.is_ok() && is_current;
        self.is_held = result.is_err();
        result.map_err(|error| error.to_string())
    }

    /// Whether an operator waits.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Answers the operators that wait. `not_kept` says why the store does not know, if so.
    pub(super) fn answer(&mut self, not_kept: Option<&str>, snapshot: &Arc<Snapshot>) {
        self.answer_at = None;
        for (reply, already) in self.waiting.drain(..) {
            let (snapshot, not_kept) = (Arc::clone(snapshot), not_kept.map(ToOwned::to_owned));
            // The client may have gone; the loop is steered all the same.
            let _ = reply.send(Steered { already, not_kept, snapshot });
        }
    }
}
