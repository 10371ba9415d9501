//! The messages that wait for one receiver, and when the next try is. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::timing::{Event, Message};
use crate::clock::Clock;
use crate::model::{NoticeChange, StoredNotice};

/// The most messages that wait.
pub(super) const CAPACITY: usize = 64;

/// The times between tries; the last one repeats.
const RETRIES: [u64; 6] = [5, 30, 120, 300, 900, 1_800];

/// The longest `Retry-After` that is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// A receiver is told for so long that a trouble is over. The other messages are tried for as long as their trouble lasts.
const RESOLVED_LASTS: TimeDelta = TimeDelta::hours(24);

/// A message that a receiver rejects is tried so often. Then it waits until the receiver takes another one.
const REJECTED_TRIES: u32 = 2;

/// No next try is further away than this, unless the clock stepped backward.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(70);

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
    /// Some recipients have it; it is tried again for these.
    Partly(Vec<String>),
    /// No recipient has it. It is tried again for these, or if none is named for all that it was sent to; not before this time
    /// if the receiver said one.
    Again(Option<Duration>, Vec<String>),
    /// The receiver rejects it.
    Rejected,
    /// The receiver wants no message at all.
    Gone,
}

/// A message on its way: the message, and the recipients if not all of them.
pub(super) type Sending = (Message, Vec<String>);

/// A message with its tries.
#[derive(Debug)]
struct Waiting {
    sending: Sending,
    tries: u32,
    rejections: u32,
    next_try: Option<DateTime<Utc>>,
}

/// The queue of one receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The name of the receiver.
    pub(super) name: String,
    /// Whether the receiver is told that a trouble is over.
    sends_resolved: bool,
    waiting: VecDeque<Waiting>,
    /// The troubles that the receiver was told of, and not yet that they are over.
    known: BTreeSet<String>,
    /// What to store of that.
    pub(super) changes: Vec<NoticeChange>,
    on_its_way: Option<Waiting>,
    /// Until when the receiver wants no message.
    closed_until: Option<DateTime<Utc>>,
    /// Whether the receiver wants no message at all.
    pub(super) is_stopped: bool,
    /// Messages delivered.
    pub(super) sent: u64,
    /// Tries that failed.
    pub(super) failed: u64,
    /// Ends that were too old, and repeats for which there was no room.
    pub(super) dropped: u64,
    /// When the last message was delivered.
    pub(super) last_sent: Option<DateTime<Utc>>,
    /// Why the last try failed, if it did.
    pub(super) last_error: Option<String>,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new(name: String, sends_resolved: bool) -> Self {
        Self { name, sends_resolved, ..Self::default() }
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
        if let Some(older) = self.waiting_about(cause) {
            (older.sending, older.rejections) = ((message, Vec::new()), 0);
            return true;
        }
        if self.len() >= CAPACITY {
            let is_repeat = |waiting: &Waiting| {
                let message = &waiting.sending.0;
                message.event == Event::Repeat && self.known.contains(&message.trouble.cause)
            };
            let Some(repeat) = self.waiting.iter().position(is_repeat) else {
                return false;
            };
            self.waiting.remove(repeat);
            self.dropped += 1;
        }
        let sending = (message, Vec::new());
        self.waiting.push_back(Waiting { sending, tries: 0, rejections: 0, next_try: None });
        true
    }

    fn waiting_about(&mut self, cause: &str) -> Option<&mut Waiting> {
        self.waiting.iter_mut().find(|waiting| waiting.sending.0.trouble.cause == cause)
    }

    /// The next message to send, if it is time. Of a trouble that the receiver was not told of, it is told now that it began,
    /// and never that it is over.
    pub(super) fn take(&mut self, now: DateTime<Utc>) -> Option<Sending> {
        if self.is_stopped || self.on_its_way.is_some() || !is_due(self.closed_until, now) {
            return None;
        }
        let may_be_sent =
            |waiting: &Waiting| waiting.rejections < REJECTED_TRIES && is_due(waiting.next_try, now);
        while let Some(at) = self.waiting.iter().position(may_be_sent) {
            let mut waiting = self.waiting.remove(at)?;
            let (message, recipients) = &mut waiting.sending;
            let cause = &message.trouble.cause;
            let is_known = self.known.contains(cause);
            match message.event {
                Event::Resolved if !self.sends_resolved => {
                    self.forget(cause);
                    continue;
                }
                Event::Resolved if !is_known && recipients.is_empty() => continue,
                Event::Resolved if Clock::is_credible(message.at) && now - message.at > RESOLVED_LASTS => {
                    self.forget(cause);
                    self.dropped += 1;
                    continue;
                }
                Event::Grown | Event::Repeat if !is_known => {
                    (message.event, message.number) = (Event::Firing, 0);
                }
                _ => {}
            }
            let sending = waiting.sending.clone();
            self.on_its_way = Some(waiting);
            return Some(sending);
        }
        None
    }

    /// The message on its way was tried. `roll` is random in 0..1.
    pub(super) fn tried(&mut self, tried: Tried, now: DateTime<Utc>, roll: f64) {
        let Some(mut waiting) = self.on_its_way.take() else { return };
        let (message, recipients) = &mut waiting.sending;
        if let TryResult::Sent(refusals) = tried.result {
            (self.last_error, self.last_sent) = (refusals, Some(now));
            self.sent += 1;
            self.delivered(message, now);
            // It was repaired, perhaps.
            return self.hurry();
        }
        self.failed += 1;
        self.last_error = Some(tried.said);
        waiting.tries += 1;
        let later = |wait| Some(now + TimeDelta::from_std(wait).unwrap_or_default());
        match tried.result {
            TryResult::Rejected => waiting.rejections += 1,
            TryResult::Again(said, left) => {
                self.closed_until = said.and_then(|said| later(said.min(LONGEST_RETRY_AFTER)));
                if !left.is_empty() {
                    *recipients = left;
                }
            }
            TryResult::Partly(left) => {
                self.delivered(message, now);
                *recipients = left;
            }
            TryResult::Gone => {
                let remedy = "it gets no more messages until a restart, or until a test: tbctl notify test";
                self.last_error =
                    self.last_error.take().map(|error| format!("{error}; {remedy} {}", self.name));
                self.is_stopped = true;
            }
            TryResult::Sent(_) => {}
        }
        waiting.next_try = later(retry_after(waiting.tries, roll));
        match self.waiting_about(&message.trouble.cause) {
            Some(newer) => (newer.tries, newer.next_try) = (waiting.tries, waiting.next_try),
            // The others have their turn first.
            None => self.waiting.push_back(waiting),
        }
    }

    /// An operator has tested the receiver: it is tried again at once, even if it wanted no message.
    pub(super) fn tested(&mut self, tried: Tried, now: DateTime<Utc>) {
        if let TryResult::Sent(refusals) = tried.result {
            (self.is_stopped, self.closed_until) = (false, None);
            self.hurry();
            (self.last_sent, self.last_error) = (Some(now), refusals);
            self.sent += 1;
        } else {
            self.last_error = Some(tried.said);
            self.failed += 1;
        }
    }

    /// Tries each message again at once, unless the receiver wants none now.
    pub(super) fn hurry(&mut self) {
        for waiting in &mut self.waiting {
            (waiting.tries, waiting.rejections, waiting.next_try) = (0, 0, None);
        }
    }

    fn delivered(&mut self, message: &Message, now: DateTime<Utc>) {
        let trouble = &message.trouble;
        if message.event == Event::Resolved {
            return self.forget(&trouble.cause);
        }
        self.known.insert(trouble.cause.clone());
        self.changes.push(NoticeChange::Known(StoredNotice {
            receiver: self.name.clone(),
            cause: trouble.cause.clone(),
            began: message.since,
            last_sent: now,
            severity: <&str>::from(trouble.severity).to_owned(),
            customers: trouble.customers,
            lapsed: trouble.lapsed,
        }));
    }

    /// For the receiver the trouble is over.
    fn forget(&mut self, cause: &str) {
        if self.known.remove(cause) {
            self.changes.push(NoticeChange::Over { receiver: self.name.clone(), cause: cause.to_owned() });
        }
    }
}

/// Whether a next try is due. One too far away is due as well, so that a clock that stepped backward silences no receiver.
fn is_due(next_try: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    next_try.is_none_or(|at| at <= now || at > now + LONGEST_WAIT)
}

/// The time until the next try, after so many that failed; `roll` in 0..1 spreads it by a fifth.
fn retry_after(tries: u32, roll: f64) -> Duration {
    let at = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX).min(RETRIES.len() - 1);
    let seconds = RETRIES.get(at).copied().unwrap_or_default();
    Duration::from_secs(seconds).mul_f64(0.8 + 0.4 * roll)
}
