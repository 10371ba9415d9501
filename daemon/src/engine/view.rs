//! What clients are shown: state in, the protocol's words out. Pure.

mod answers;
mod build;
mod counts;
mod replies;
mod row;
mod sentence;
mod troubles;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tbtoken_proto as proto;
pub use tbtoken_proto::HttpListener;

pub use self::counts::{Counts, OUTLASTING, ServerCounts, Tally};
pub use self::replies::{not_refreshed, refreshed, shutting_down, unknown};
use self::row::Row;
pub use self::troubles::{Severity, Trouble, title};
use super::counters::{Counters, Operation};
use super::history::Kept;
use super::policy::Trigger;
use super::state::{Conditions, IneligibleRows, PassCounts};
use crate::model::{CustomerId, LoopState};

/// What the scheduler knows besides the [`State`](super::state::State).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// Whether it starts passes by itself, and why not.
    pub state: LoopState,
    /// Whether a pass is under way.
    pub refreshing: bool,
    /// The next look at the table.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last pass that ended.
    pub last_run: Option<LastRun>,
}

/// A pass that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// What began it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// What it came to.
    pub counts: PassCounts,
}

/// What the loop does not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Which store it uses.
    pub store: String,
    /// The configuration file that was read, if there was one.
    pub config_file: Option<String>,
    /// The HTTP listener, as it stands.
    pub http: Option<HttpListener>,
}

/// Everything that a client may be shown, as of one moment. Readers share it; nobody locks anything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    cron: proto::Cron,
    daemon: proto::Daemon,
    tokens: proto::Tokens,
    /// In the order of their ids.
    rows: Vec<Arc<Row>>,
    ineligible: IneligibleRows,
    /// In the order of their names.
    hosts: Vec<Arc<HostRow>>,
    removed: Arc<VecDeque<(u64, CustomerId)>>,
    removed_floor: u64,
    history: Kept,
    counters: Arc<Counters>,
    /// Whether the store can be used in each way, as far as is known.
    store_up: Vec<(Operation, bool)>,
    /// The class of the worst failure of the store.
    store_class: Option<&'static str>,
    /// Tokens that are not in the table yet.
    unsaved: usize,
    conditions: Conditions,
    clock_stepped_at: Option<DateTime<Utc>>,
}

/// A server as it is shown.
#[derive(Debug)]
struct HostRow {
    revision: u64,
    host: proto::Host,
}

impl Snapshot {
    /// The loop.
    pub fn cron(&self) -> &proto::Cron {
        &self.cron
    }

    /// The daemon.
    pub fn daemon(&self) -> &proto::Daemon {
        &self.daemon
    }

    /// The counts over all customers.
    pub fn summary(&self) -> proto::Summary {
        self.tokens.summary
    }

    /// When the table was last read.
    pub fn table_read_at(&self) -> Option<DateTime<Utc>> {
        self.tokens.as_of
    }

    /// Whether the table could be read the last time.
    pub fn is_readable(&self) -> bool {
        self.tokens.success
    }

    /// How many customers there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no customer.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether that customer is in the table.
    pub fn contains(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: &str) -> Option<&Row> {
        let found = self.rows.binary_search_by(|row| row.id().cmp(id)).ok()?;
        self.rows.get(found).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests;
