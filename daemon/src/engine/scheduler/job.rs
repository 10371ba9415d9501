//! The job under way: nothing, a poll, or a pass. Never two at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::engine::credentials::Ledger;
use crate::engine::event::Event;
use crate::engine::pass::{self, Gates, Tools};
use crate::engine::plan::Plan;
use crate::engine::policy::Trigger;
use crate::store::{LedgerRead, Store, StoreError, Table};
use crate::telemetry;
use crate::thingsboard::Logins;

/// The most facts of a pass that wait for the loop.
const AHEAD: usize = 256;

/// The result of a poll: the table, and the ledger if it could be read.
pub(super) type Polled = (Table, Result<LedgerRead, StoreError>);

/// The end of a poll, and how long the store took.
pub(super) type Poll = (Duration, Result<Polled, StoreError>);

/// The job under way.
#[derive(Debug)]
pub(super) enum Job {
    Idle,
    Reading {
        trigger: Trigger,
        task: JoinHandle<Poll>,
    },
    Passing {
        trigger: Trigger,
        /// When it began; none if it is not shown, because it only checks tokens.
        started_at: Option<DateTime<Utc>>,
        events: mpsc::Receiver<Event>,
        task: JoinHandle<(Gates, Ledger)>,
    },
}

/// The end of a job. A [`JoinError`] means that it panicked.
pub(super) enum JobEnd {
    Read(Trigger, Result<Poll, JoinError>),
    Pass(Trigger, Option<DateTime<Utc>>, Result<(Gates, Ledger), JoinError>),
}

impl Job {
    /// Begins a pass.
    pub(super) fn pass<S: Store, L: Logins>(
        trigger: Trigger,
        started_at: Option<DateTime<Utc>>,
        tools: Tools<S, L>,
        plan: Plan,
        gates: Gates,
        ledger: Ledger,
    ) -> Self {
        let (report, events) = mpsc::channel(AHEAD);
        let task = tokio::spawn(pass::run(tools, report, plan, gates, ledger));
        Self::Passing { trigger, started_at, events, task }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// The next fact, or the end. All facts of a pass come before its end.
    pub(super) async fn next(&mut self) -> Result<Event, JobEnd> {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Reading { trigger, task } => Err(JobEnd::Read(*trigger, task.await)),
            Self::Passing { trigger, started_at, events, task } => match events.recv().await {
                Some(event) => Ok(event),
                None => Err(JobEnd::Pass(*trigger, *started_at, task.await)),
            },
        }
    }
}

/// Logs that a task panicked, and returns the error for it.
pub(super) fn internal(error: &JoinError) -> StoreError {
    telemetry::log_bug("a call of the store ended unexpectedly", error);
    StoreError::Failed { place: "the store".to_owned(), why: "a bug in tbtokend, see its log".to_owned() }
}
