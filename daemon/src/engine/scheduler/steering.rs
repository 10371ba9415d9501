//! Whether the loop runs, and whether the store has kept it: the order of an operator must outlive this process.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::job::internal;
use crate::engine::handle::SteerResult;
use crate::engine::pass::sleep_until_some;
use crate::engine::view::Snapshot;
use crate::model::{LoopState, whole_seconds};
use crate::store::{Store, StoreError};

/// How long an operator waits for the store. Then the answer says that the order may not survive a restart.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The state of the loop.
#[derive(Debug)]
pub(super) struct Steering {
    pub(super) state: LoopState,
    /// Whether it comes from an operator or the store. Until then it is `schedule.autostart`.
    is_settled: bool,
    is_kept: bool,
    /// The store could not keep it; the next try waits until the store works again or the process ends.
    pub(super) is_held: bool,
    /// The call under way.
    call: Option<Call>,
    /// The operators that wait for its end, and whether each order changed nothing.
    waiting: Vec<(oneshot::Sender<SteerResult>, bool)>,
    /// When they are answered at the latest.
    answer_at: Option<Instant>,
}

#[derive(Debug)]
struct Call {
    since: Instant,
    state: LoopState,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Steering {
    /// Makes the state before any order.
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

    /// Whether the loop starts passes.
    pub(super) fn runs(&self) -> bool {
        self.state.runs()
    }

    /// Takes an operator's order. Returns whether it changes nothing.
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

    /// Adds an operator to be answered when the store has kept the order.
    pub(super) fn wait(&mut self, reply: oneshot::Sender<SteerResult>, already: bool) {
        self.waiting.push((reply, already));
        self.answer_at.get_or_insert_with(|| Instant::now() + ANSWER_TIMEOUT);
    }

    /// Takes over the state that the store has kept. Returns whether the loop stays stopped because of an earlier order or the
    /// configuration.
    pub(super) fn recall(&mut self, found: Option<LoopState>) -> bool {
        let is_first = !std::mem::replace(&mut self.is_settled, true);
        if let Some(found) = found.filter(|_| is_first) {
            self.state = found;
        }
        // An operator of another daemon may have stopped it since. Only a new order here undoes that.
        let is_stop_of_another = self.is_kept && found.is_some_and(|found| found.stopped_since().is_some());
        self.is_kept = found == Some(self.state) || (is_stop_of_another && self.runs());
        is_first && !self.runs()
    }

    /// Whether no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.call.is_none()
    }

    /// When the call under way began, if there is one.
    pub(super) fn since(&self) -> Option<Instant> {
        self.call.as_ref().map(|call| call.since)
    }

    /// Begins to store the state, unless it is stored already or no order was given yet.
    pub(super) fn keep<S: Store>(&mut self, store: &Arc<S>) {
        if self.is_kept || self.is_held || !self.is_settled || self.call.is_some() {
            return;
        }
        let (store, state) = (Arc::clone(store), self.state);
        let task = tokio::spawn(async move { store.keep_loop_state(state).await });
        self.call = Some(Call { since: Instant::now(), state, task });
    }

    /// Whether an operator waits for an order that the store has kept.
    pub(super) fn may_answer(&self) -> bool {
        self.is_kept && self.is_waited_for()
    }

    /// Waits for the end of the call under way, or until an operator must be answered. Without a call it never returns.
    pub(super) async fn next(&mut self) -> Result<(), String> {
        let Some(call) = &mut self.call else { return std::future::pending().await };
        let result = tokio::select! {
            result = &mut call.task => result.unwrap_or_else(|error| Err(internal(&error))),
            () = sleep_until_some(self.answer_at) => {
                return Err(format!("the database has not answered for {} s", ANSWER_TIMEOUT.as_secs()));
            }
        };
        // A later order is not in this call.
        let is_current = self.call.take().is_some_and(|call| call.state == self.state);
        self.is_kept = result.is_ok() && is_current;
        self.is_held = result.is_err();
        result.map_err(|error| error.to_string())
    }

    /// Whether an operator waits.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Answers the operators that wait. `not_kept` is the reason if the store has not kept the order.
    pub(super) fn answer(&mut self, not_kept: Option<&str>, snapshot: &Arc<Snapshot>) {
        self.answer_at = None;
        for (reply, already) in self.waiting.drain(..) {
            let (snapshot, not_kept) = (Arc::clone(snapshot), not_kept.map(ToOwned::to_owned));
            // The client may have disconnected; its order counts anyway.
            let _ = reply.send(SteerResult { already, not_kept, snapshot });
        }
    }
}
