//! What clients see: turns the state into the types of the protocol. Pure.

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
pub use self::replies::{refresh_refusal, refresh_reply, shutting_down, unknown};
use self::row::Row;
pub use self::troubles::{Evidence, Severity, Trouble, title};
use super::counters::{Counters, Operation};
use super::history::NoticeChunks;
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
    /// The next poll.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last pass.
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
    /// Its counts.
    pub counts: PassCounts,
}

/// The facts about the process, which the loop does not decide.
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

/// The immutable view that clients read, as of one moment. Readers share it without locks.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The loop.
    pub cron: proto::Cron,
    /// The daemon.
    pub daemon: proto::Daemon,
    /// The counts over all customers, and the last poll. It lists no customers.
    pub tokens: proto::Tokens,
    /// The customers, in the order of their ids.
    rows: Vec<Arc<Row>>,
    ineligible: IneligibleRows,
    /// The servers, in the order of their names.
    servers: Vec<Arc<ServerRow>>,
    removed: Arc<VecDeque<(u64, CustomerId)>>,
    removed_floor: u64,
    history: NoticeChunks,
    /// The counters since the start.
    pub counters: Arc<Counters>,
    /// Whether each operation of the store works.
    pub store_up: Vec<(Operation, bool)>,
    /// The number of tokens that are not in the table yet.
    pub unsaved: usize,
    /// The class of the worst failure of the store.
    store_class: Option<&'static str>,
    conditions: Conditions,
    clock_stepped_at: Option<DateTime<Utc>>,
}

/// A server as clients see it.
#[derive(Debug)]
struct ServerRow {
    revision: u64,
    server: proto::Server,
    /// Whether it has answered this process.
    has_answered: bool,
    /// Since when it answers, as in [`Server`](super::state::Server).
    answers_since: Option<DateTime<Utc>>,
}

impl Snapshot {
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
