//! How the rest of the program talks to the scheduler: orders go in, snapshots come out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::outcome::{Outcomes, RefreshRefusal};
use super::pass::Limits;
use super::plan::Selection;
use super::policy::Policy;
use super::view::{HttpListener, Snapshot};

/// How many orders may wait.
const QUEUE: usize = 128;

/// An order of an operator.
#[derive(Debug)]
pub(super) enum Command {
    /// Start or stop the loop.
    Steer { run: bool, reply: oneshot::Sender<SteerResult> },
    /// Begin a pass now.
    Refresh(RefreshRequest),
    /// Use other settings from now on.
    Reconfigure(Policy, Limits, oneshot::Sender<()>),
    /// Show this state of the HTTP listener.
    Http(HttpListener),
    /// Tell for how long the work under way has made no progress.
    Silence(oneshot::Sender<Duration>),
}

/// A manual refresh.
#[derive(Debug)]
pub(super) struct RefreshRequest {
    pub(super) selection: Selection,
    /// Whether the answer is the result of the pass. Otherwise it comes after the first poll, and says whether all names
    /// are customers.
    pub(super) wait: bool,
    /// None after the answer.
    pub(super) reply: Option<oneshot::Sender<Result<Outcomes, RefreshRefusal>>>,
}

impl RefreshRequest {
    /// Whether no client waits for an answer.
    pub(super) fn is_unattended(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// What `start` and `stop` did.
#[derive(Debug, Clone)]
pub struct SteerResult {
    /// Whether nothing changed.
    pub already: bool,
    /// Why the store could not keep the order, so that a restart forgets it.
    pub not_kept: Option<String>,
    /// The snapshot after it.
    pub snapshot: Arc<Snapshot>,
}

/// The scheduler has ended: the daemon is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerEnded;

/// Sends orders to the scheduler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// The scheduler's ends of the same channels.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Handle {
    pub(super) fn new(first: Snapshot) -> (Self, Ends) {
        let (commands, orders) = mpsc::channel(QUEUE);
        let (publish, snapshots) = watch::channel(Arc::new(first));
        (Self { commands, snapshots }, Ends { commands: orders, snapshots: publish })
    }

    /// Returns the latest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Returns a receiver of all later snapshots.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Changes the settings; they are in force after the answer. A pass under way keeps its own.
    ///
    /// # Errors
    /// [`SchedulerEnded`].
    pub async fn reconfigure(&self, policy: Policy, limits: Limits) -> Result<(), SchedulerEnded> {
        self.order(|reply| Command::Reconfigure(policy, limits, reply)).await
    }

    /// Sets the state of the HTTP listener for `status`. A scheduler that has ended shows nothing more.
    pub async fn show_http(&self, listener: HttpListener) {
        let _ = self.commands.send(Command::Http(listener)).await;
    }

    /// For how long the work under way, a call of the store or a pass, has made no progress. Zero if nothing is under way.
    /// Without an answer the scheduler itself is stuck.
    ///
    /// # Errors
    /// [`SchedulerEnded`].
    pub async fn silence(&self) -> Result<Duration, SchedulerEnded> {
        self.order(Command::Silence).await
    }

    /// Starts the loop, or stops it: then a running pass ends and no other begins.
    ///
    /// # Errors
    /// [`SchedulerEnded`].
    pub async fn steer(&self, run: bool) -> Result<SteerResult, SchedulerEnded> {
        self.order(|reply| Command::Steer { run, reply }).await
    }

    /// Requests a manual pass. With `wait` the answer comes after the pass. Otherwise it is empty, and comes after a poll that
    /// found all names.
    ///
    /// # Errors
    /// [`SchedulerEnded`].
    pub async fn refresh(
        &self,
        selection: Selection,
        wait: bool,
    ) -> Result<oneshot::Receiver<Result<Outcomes, RefreshRefusal>>, SchedulerEnded> {
        let (reply, answer) = oneshot::channel();
        let request = RefreshRequest { selection, wait, reply: Some(reply) };
        self.commands.send(Command::Refresh(request)).await.map_err(|_| SchedulerEnded)?;
        Ok(answer)
    }

    async fn order<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, SchedulerEnded> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| SchedulerEnded)?;
        answer.await.map_err(|_| SchedulerEnded)
    }
}
