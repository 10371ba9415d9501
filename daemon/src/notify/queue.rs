//! The messages that wait for one receiver, and when the next try is. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::timing::{Event, Message};
use crate::model::{NoticeChange, StoredNotice};

/// The most messages that wait.
pub(super) const CAPACITY: usize = 64;

/// The times between tries; the last one repeats.
const RETRIES: [u64; 6] = [5, 30, 120, 300, 900, 1_800];

/// The longest `Retry-After` that is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// A receiver is told for so long that a trouble is over. The other messages are tried for as long as their trouble lasts.
const RESOLVED_LASTS: TimeDelta = TimeDelta::hours(24);

/// A message that a receiver rejects is tried so often.
const REJECTED_TRIES: u32 = 2;

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// What the receiver or the network said, for people.
    pub(super) said: String,
    /// What follows.
    pub(super) result: TryResult,
}

/// What follows from a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TryResult {
    /// The receiver has the message; perhaps some recipients have refused it, for people.
    Sent(Option<String>),
    /// It is tried again, not before this time if the receiver said one. Only the recipients that are named still lack it;
    /// if none is named, all do.
    Again(Option<Duration>, Vec<String>),
    /// The receiver rejects it.
    Rejected,
    /// The receiver wants no message at all.
    Gone,
}

/// A message on its way: the message, and the recipients if not all of them.
pub(super) type Sending = (Message, Vec<String>);

/// The queue of one receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The name of the receiver.
    pub(super) name: String,
    waiting: VecDeque<Sending>,
    /// The troubles that the receiver was told of, and not yet that they are over.
    known: BTreeSet<String>,
    on_its_way: Option<Sending>,
    tries: u32,
    next_try: Option<DateTime<Utc>>,
    is_stopped: bool,
    /// Messages delivered.
    pub(super) sent: u64,
    /// Tries that failed.
    pub(super) failed: u64,
    /// Messages that were given up, or for which there was no room.
    pub(super) dropped: u64,
    /// When the last message was delivered.
    pub(super) last_sent: Option<DateTime<Utc>>,
    /// Why the last try failed, if it did.
    pub(super) last_error: Option<String>,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// The receiver was told of a trouble by an earlier process.
    pub(super) fn restore(&mut self, notice: &StoredNotice) {
        self.known.insert(notice.cause.clone());
        self.last_sent = self.last_sent.max(Some(notice.last_sent));
    }

    /// How many messages wait, the one on its way included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.on_its_way.is_some())
    }

    /// Whether no message waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message in place of the one that waits about the same trouble. Without room the oldest repeat gives way. Says
    /// whether the message was taken: one about a trouble's beginning or end is never lost, but offered again later.
    pub(super) fn push(&mut self, message: Message) -> bool {
        let cause = &message.trouble.cause;
        if let Some(older) = self.waiting.iter_mut().find(|(older, _)| older.trouble.cause == *cause) {
            *older = (message, Vec::new());
            return true;
        }
        if self.len() >= CAPACITY {
            let Some(repeat) = self.waiting.iter().position(|(older, _)| older.event == Event::Repeat) else {
                return false;
            };
            self.waiting.remove(repeat);
            self.dropped += 1;
        }
        self.waiting.push_back((message, Vec::new()));
        true
    }

    /// The next message to send, if it is time. Of a trouble that the receiver was not told of, it is told now that it began,
    /// and never that it is over.
    pub(super) fn take(&mut self, now: DateTime<Utc>) -> Option<Sending> {
        if self.is_stopped || self.on_its_way.is_some() || self.next_try.is_some_and(|at| at > now) {
            return None;
        }
        while let Some((mut message, recipients)) = self.waiting.pop_front() {
            let is_known = self.known.contains(&message.trouble.cause);
            match message.event {
                Event::Resolved if !is_known => continue,
                Event::Resolved if now - message.at > RESOLVED_LASTS => {
                    self.known.remove(&message.trouble.cause);
                    self.dropped += 1;
                    continue;
                }
                Event::Grown | Event::Repeat if !is_known => message.event = Event::Firing,
                _ => {}
            }
            self.on_its_way = Some((message, recipients));
            return self.on_its_way.clone();
        }
        None
    }

    /// The message on its way was tried. `roll` is random in 0..1. Returns what to store.
    pub(super) fn tried(&mut self, tried: Tried, now: DateTime<Utc>, roll: f64) -> Option<NoticeChange> {
        let (message, mut recipients) = self.on_its_way.take()?;
        self.tries += 1;
        if let TryResult::Sent(refusals) = tried.result {
            (self.tries, self.next_try, self.last_error, self.last_sent) = (0, None, refusals, Some(now));
            self.sent += 1;
            return Some(self.delivered(message, now));
        }
        self.failed += 1;
        self.last_error = Some(tried.said);
        let mut wait = retry_after(self.tries, roll);
        let mut stored = None;
        match tried.result {
            TryResult::Rejected if self.tries >= REJECTED_TRIES => {
                (self.tries, self.next_try) = (0, None);
                self.dropped += 1;
                return None;
            }
            TryResult::Again(said, left) => {
                wait = wait.max(said.unwrap_or_default().min(LONGEST_RETRY_AFTER));
                // The others know of it.
                stored = (!left.is_empty()).then(|| self.delivered(message.clone(), now));
                recipients = left;
            }
            TryResult::Gone => self.is_stopped = true,
            TryResult::Rejected | TryResult::Sent(_) => {}
        }
        self.next_try = Some(now + TimeDelta::from_std(wait).unwrap_or_default());
        if !self.waiting.iter().any(|(newer, _)| newer.trouble.cause == message.trouble.cause) {
            self.waiting.push_front((message, recipients));
        }
        stored
    }

    /// An operator has tested the receiver: it is tried again at once, even if it wanted no message.
    pub(super) fn tested(&mut self, tried: Tried, now: DateTime<Utc>) {
        if let TryResult::Sent(refusals) = tried.result {
            (self.is_stopped, self.tries, self.next_try) = (false, 0, None);
            (self.last_sent, self.last_error) = (Some(now), refusals);
            self.sent += 1;
        } else {
            self.last_error = Some(tried.said);
            self.failed += 1;
        }
    }

    fn delivered(&mut self, message: Message, now: DateTime<Utc>) -> NoticeChange {
        let trouble = message.trouble;
        if message.event == Event::Resolved {
            self.known.remove(&trouble.cause);
            return NoticeChange::Over { receiver: self.name.clone(), cause: trouble.cause };
        }
        self.known.insert(trouble.cause.clone());
        NoticeChange::Known(StoredNotice {
            receiver: self.name.clone(),
            cause: trouble.cause,
            began: message.since,
            last_sent: now,
            severity: <&str>::from(trouble.severity).to_owned(),
            customers: trouble.customers,
            lapsed: trouble.lapsed,
        })
    }
}

/// The time until the next try, after so many that failed; `roll` in 0..1 spreads it by a fifth.
fn retry_after(tries: u32, roll: f64) -> Duration {
    let at = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX).min(RETRIES.len() - 1);
    let seconds = RETRIES.get(at).copied().unwrap_or_default();
    Duration::from_secs(seconds).mul_f64(0.8 + 0.4 * roll)
}
