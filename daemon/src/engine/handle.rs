//! How the rest of the program talks to the scheduler: orders go in, snapshots come out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::outcome::{NotRefreshed, Refreshed};
use super::pass::Limits;
use super::plan::Selection;
use super::policy::Policy;
use super::view::{HttpListener, Snapshot};

/// How many orders may wait.
const QUEUE: usize = 128;

/// Something that an operator wants.
#[derive(Debug)]
pub(super) enum Command {
    /// Let the loop run, or not.
    Steer { run: bool, reply: oneshot::Sender<Steered> },
    /// A pass now.
    Refresh(RefreshRequest),
    /// Other settings from now on.
    Reconfigure(Policy, Limits, oneshot::Sender<()>),
    /// How the HTTP listener stands.
    Http(HttpListener),
    /// Does it get on?
    Silence(oneshot::Sender<Duration>),
}

/// A manual refresh.
#[derive(Debug)]
pub(super) struct RefreshRequest {
    pub(super) selection: Selection,
    /// Whether the answer is what came of it; else the first poll answers whether the names are those of customers.
    pub(super) wait: bool,
    /// None when it was answered.
    pub(super) reply: Option<oneshot::Sender<Result<Refreshed, NotRefreshed>>>,
}

impl RefreshRequest {
    /// Whether no client waits for an answer.
    pub(super) fn is_unattended(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// What `start` and `stop` did.
#[derive(Debug, Clone)]
pub struct Steered {
    /// Whether it was so already.
    pub already: bool,
    /// Why the store does not know it, so that a restart forgets it, if so.
    pub not_kept: Option<String>,
    /// What is known now.
    pub snapshot: Arc<Snapshot>,
}

/// The scheduler is gone: the daemon is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// The way to the scheduler. Cheap to clone.
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

    /// What is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// What is known, whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Sets when to renew and how many logins at a time; in force when this is answered. A pass under way keeps
    /// what it began with.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn reconfigure(&self, policy: Policy, limits: Limits) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Reconfigure(policy, limits, reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Says how the HTTP listener stands, for `status`. A loop that is gone shows nothing more.
    pub async fn show_http(&self, listener: HttpListener) {
        let _ = self.commands.send(Command::Http(listener)).await;
    }

    /// For how long nothing has been heard of what is under way: a call of the store, or a pass. Zero when nothing is
    /// under way, be the loop running or stopped. No answer means that the loop itself is stuck.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn silence(&self) -> Result<Duration, Gone> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Silence(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Lets the loop run (`true`), or lets a running pass finish and begins no other.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn steer(&self, run: bool) -> Result<Steered, Gone> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Steer { run, reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Asks for a manual pass. With `wait` the answer comes when it is over; else it is empty, and comes when the table was
    /// polled and all names are those of customers.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn refresh(
        &self,
        selection: Selection,
        wait: bool,
    ) -> Result<oneshot::Receiver<Result<Refreshed, NotRefreshed>>, Gone> {
        let (reply, answer) = oneshot::channel();
        let request = RefreshRequest { selection, wait, reply: Some(reply) };
        self.commands.send(Command::Refresh(request)).await.map_err(|_| Gone)?;
        Ok(answer)
    }
}
