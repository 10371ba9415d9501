//! What happened, for operators: a bounded list, and what of it is worth a line in the log. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::{CustomerId, FailureKind};

/// How many notices are kept.
const CAPACITY: usize = 4096;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number; it only grows.
    pub seq: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub kind: NoticeKind,
    /// Whom it concerns, unless everyone.
    pub customer: Option<CustomerId>,
    /// A sentence for people.
    pub message: String,
    /// What else is known, after a failure.
    pub failure: Option<FailureDetail>,
    /// What else is known, after a renewal.
    pub renewal: Option<RenewalDetail>,
    /// Whether the log can do without it: the same trouble again.
    pub quiet: bool,
}

/// What the log says about a failed attempt besides its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureDetail {
    /// The kind of failure.
    pub kind: FailureKind,
    /// Failures in a row.
    pub attempt: u32,
    /// When it is tried again; none if not by itself.
    pub next_at: Option<DateTime<Utc>>,
    /// The server.
    pub url: String,
}

/// What the log says about a renewal besides its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalDetail {
    /// The server.
    pub url: String,
    /// How long it took to answer; none when the token is of another time.
    pub latency: Option<Duration>,
}

/// The kinds of things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "as in the protocol")]
pub enum NoticeKind {
    Renewed,
    Failed,
    Parked,
    Unparked,
    Recovered,
    Expired,
    PassStarted,
    PassFinished,
    StoreLost,
    StoreBack,
    Started,
    Stopped,
    /// For the log alone: something is wrong with a row, or with what the daemon may do.
    Warning,
}

/// The latest notices, oldest first.
#[derive(Debug)]
pub struct History {
    notices: VecDeque<Arc<Notice>>,
    next_seq: u64,
    /// How many of them the log has not seen.
    unlogged: usize,
}

impl History {
    /// An empty history whose first notice has this number.
    pub fn starting_at(seq: u64) -> Self {
        Self { notices: VecDeque::new(), next_seq: seq, unlogged: 0 }
    }

    /// Adds a notice and gives it its number.
    pub(super) fn push(&mut self, mut notice: Notice) {
        notice.seq = self.next_seq;
        self.next_seq += 1;
        if self.notices.len() == CAPACITY {
            self.notices.pop_front();
        }
        self.notices.push_back(Arc::new(notice));
        self.unlogged = (self.unlogged + 1).min(CAPACITY);
    }

    /// The notices since this was last asked.
    pub fn take_unlogged(&mut self) -> impl Iterator<Item = &Arc<Notice>> {
        let first = self.notices.len() - std::mem::take(&mut self.unlogged);
        self.notices.range(first..)
    }

    /// All of them, shared.
    pub fn share(&self) -> Vec<Arc<Notice>> {
        self.notices.iter().cloned().collect()
    }
}
