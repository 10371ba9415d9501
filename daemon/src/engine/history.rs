//! The latest notices for operators, and which of them are worth a line in the log. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use crate::model::NoticeKind;
use crate::model::{CustomerId, FailureKind};

/// How many notices are kept at least.
const CAPACITY: usize = 10_240;

/// How many of them share one allocation.
const CHUNK: usize = 128;

/// One event, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number, which rises from notice to notice.
    pub seq: u64,
    /// The time.
    pub at: DateTime<Utc>,
    /// The kind.
    pub kind: NoticeKind,
    /// The customer; none if it concerns all customers.
    pub customer: Option<CustomerId>,
    /// A sentence for people.
    pub message: String,
    /// The details of a failure.
    pub failure: Option<FailureDetail>,
    /// The details of a renewal.
    pub renewal: Option<RenewalDetail>,
    /// Whether the log can do without it: the same trouble again.
    pub quiet: bool,
}

impl Notice {
    /// Makes a notice that concerns all customers. The history numbers it.
    pub(super) fn new(at: DateTime<Utc>, kind: NoticeKind, message: String) -> Self {
        Self { seq: 0, at, kind, customer: None, message, failure: None, renewal: None, quiet: false }
    }

    /// It concerns this customer.
    pub(super) fn of(self, id: &CustomerId) -> Self {
        Self { customer: Some(id.clone()), ..self }
    }

    /// Whether the log can do without it.
    pub(super) fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }
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
    /// The time until the answer; none if the token is from an earlier pass.
    pub latency: Option<Duration>,
}

/// The latest notices, oldest first.
#[derive(Debug)]
pub struct History {
    kept: NoticeChunks,
    next_seq: u64,
    /// How many of them are not logged yet.
    unlogged: usize,
}

/// Notices in chunks: a reader that takes all notices shares the full chunks and copies only the last.
#[derive(Debug, Clone, Default)]
pub struct NoticeChunks {
    full: VecDeque<Arc<[Arc<Notice>]>>,
    last: Vec<Arc<Notice>>,
}

impl NoticeChunks {
    /// All notices, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Notice>> {
        self.full.iter().flat_map(|chunk| chunk.iter()).chain(&self.last)
    }

    fn push(&mut self, notice: Notice) {
        self.last.push(Arc::new(notice));
        if self.last.len() == CHUNK {
            self.full.push_back(std::mem::take(&mut self.last).into());
        }
        if self.full.len() > CAPACITY / CHUNK {
            self.full.pop_front();
        }
    }
}

impl History {
    /// An empty history whose first notice has this number.
    pub fn starting_at(seq: u64) -> Self {
        Self { kept: NoticeChunks::default(), next_seq: seq, unlogged: 0 }
    }

    /// Adds a notice and gives it its number.
    pub(super) fn push(&mut self, mut notice: Notice) {
        notice.seq = self.next_seq;
        self.next_seq += 1;
        self.kept.push(notice);
        self.unlogged = (self.unlogged + 1).min(CAPACITY);
    }

    /// The notices that are not logged yet; from now on they count as logged.
    pub fn take_unlogged(&mut self) -> impl Iterator<Item = &Arc<Notice>> {
        let mut unlogged: Vec<_> = self.kept.iter().rev().take(std::mem::take(&mut self.unlogged)).collect();
        unlogged.reverse();
        unlogged.into_iter()
    }

    /// Shares all notices.
    pub fn share(&self) -> NoticeChunks {
        self.kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_are_kept() {
        const { assert!(CAPACITY >= 10_000) }
    }

    #[test]
    fn the_latest_are_kept_in_order_and_logged_once() {
        let mut history = History::starting_at(7);
        let notice = || Notice::new(DateTime::UNIX_EPOCH, NoticeKind::Warning, String::new());
        for _ in 0..10 {
            history.push(notice());
        }
        assert_eq!(history.take_unlogged().map(|n| n.seq).collect::<Vec<_>>(), (7..17).collect::<Vec<_>>());
        assert_eq!(history.take_unlogged().count(), 0);
        for _ in 0..3 * CAPACITY {
            history.push(notice());
        }
        assert_eq!(history.take_unlogged().count(), CAPACITY);
        let kept: Vec<u64> = history.share().iter().map(|n| n.seq).collect();
        assert!((CAPACITY..CAPACITY + CHUNK).contains(&kept.len()), "{}", kept.len());
        let last = 7 + 10 + 3 * CAPACITY as u64 - 1;
        assert_eq!(kept, (last + 1 - kept.len() as u64..=last).collect::<Vec<_>>());
    }
}
