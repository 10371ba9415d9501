//! Tells people of troubles, by mail and webhook. It runs as a task of its own, reads snapshots, and sends within its own
//! time-outs, so that nothing here holds up a renewal.

pub mod mail;
pub mod message;
mod queue;
#[cfg(test)]
mod tests;
mod timing;
pub mod webhook;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::message::Frame;
use self::queue::{Queue, Sending, Tried, TryResult};
use self::timing::{Event, Message, Timing};
pub use self::timing::{Filter, Times};
use self::webhook::Webhook;
use crate::clock::Clock;
use crate::engine::handle::Handle;
use crate::engine::view::{Severity, Trouble};
use crate::model::{NoticeChange, StoredNotice};
use crate::store::{Store, StoreError};
use crate::text::short;

/// The time limit of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(15);

/// The time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two looks at the snapshot: each goes through all rows, and a trouble may last for weeks.
const LOOK: Duration = Duration::from_secs(5);

/// The time between two looks at the messages that wait for their next try.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// The time until the store is tried again.
const STORE_RETRY: Duration = Duration::from_secs(30);

/// The same after an error that a person must end, because each try costs the store its connection.
const LONG_STORE_RETRY: Duration = Duration::from_secs(600);

/// The time for the last messages at the end of the process, and for storing what was told.
pub const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// The part of it for the messages.
const LAST_TRIES: Duration = Duration::from_millis(600);

/// The settings: there is at least one receiver.
#[derive(Clone)]
pub struct Settings {
    /// The times between messages.
    pub times: Times,
    /// How long before the first token of a server ends people are told.
    pub lead: TimeDelta,
    /// What all messages have in common.
    pub frame: Frame,
    /// The receivers.
    pub receivers: Vec<Receiver>,
}

/// One receiver.
#[derive(Clone)]
pub struct Receiver {
    /// Its name, a label of metrics.
    pub name: String,
    /// What it is told.
    pub filter: Filter,
    /// How it is told.
    pub channel: Channel,
}

impl Receiver {
    /// Connects to it without sending a message, and says what was accepted.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub async fn probe(&self, frame: &Frame) -> Result<String, String> {
        let place = self.channel.place();
        let probed = async {
            match &self.channel {
                Channel::Mail(mail) => mail.probe(frame).await,
                Channel::Webhook(webhook) => webhook.probe().await,
            }
        };
        let too_late = |_| Err(format!("no answer within {} s", TRY_TIMEOUT.as_secs()));
        let probed = timeout(TRY_TIMEOUT, probed).await.unwrap_or_else(too_late);
        probed.map(|found| format!("{place} {found}")).map_err(|error| format!("{place}: {}", short(&error)))
    }
}

/// How a receiver is told.
#[derive(Clone)]
pub enum Channel {
    /// By mail.
    Mail(Box<mail::Settings>),
    /// By webhook.
    Webhook(Box<Webhook>),
}

impl Channel {
    fn kind(&self) -> &'static str {
        match self {
            Self::Mail(_) => "email",
            Self::Webhook(_) => "webhook",
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Mail(mail) => mail.place(),
            Self::Webhook(webhook) => webhook.place(),
        }
    }
}

impl std::fmt::Debug for Settings {
    /// Only the names: the rest holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.receivers.iter().map(|receiver| &receiver.name)).finish()
    }
}

/// How a receiver stands, for metrics and operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: String,
    /// `email` or `webhook`.
    pub kind: &'static str,
    /// The server, without secrets.
    pub place: String,
    /// Messages that wait.
    pub queued: usize,
    /// Messages by what came of them: delivered, tries that failed, given up.
    pub outcomes: [(&'static str, u64); 3],
    /// When the last message was delivered.
    pub last_sent: Option<DateTime<Utc>>,
    /// Why the last try failed, if it did.
    pub last_error: Option<String>,
    /// Whether it gets messages: it has taken the last one, and has not refused all.
    pub is_up: bool,
}

/// How all receivers stand: counted in the whole process, like the lines that the log drops.
static RECEIVERS: RwLock<Vec<ReceiverStatus>> = RwLock::new(Vec::new());

/// How all receivers stand.
pub fn receivers() -> Vec<ReceiverStatus> {
    RECEIVERS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The receivers that did not take the last message, or want none.
pub fn failing() -> Vec<String> {
    receivers().into_iter().filter(|receiver| !receiver.is_up).map(|receiver| receiver.name).collect()
}

/// An order to the task.
#[derive(Debug)]
pub enum Order {
    /// Tests the receiver of that name, or all. The answer names each with what it said, and whether it took the message; none
    /// if there is no such receiver.
    Test(Option<String>, oneshot::Sender<TestResults>),
    /// Takes over how receivers of the same names are reached, with their secrets.
    Reload(Settings),
}

/// The receivers that were tested, each with what it said.
pub type TestResults = Vec<(String, Result<String, String>)>;

impl Channel {
    async fn send(self, (message, recipients): Sending, frame: Arc<Frame>, now: DateTime<Utc>) -> Tried {
        attempt(async {
            match &self {
                Self::Mail(mail) => mail.send(&message, &frame, &recipients).await,
                Self::Webhook(webhook) => webhook.send(&message, &frame, now).await,
            }
        })
        .await
    }
}

/// Awaits a try for a limited time, and shortens what was said. One that panics has failed like any other: else the receiver
/// would wait for its end for ever.
async fn attempt(sent: impl Future<Output = Tried>) -> Tried {
    let again = |said| Tried { said, result: TryResult::Again(None, Vec::new()) };
    let mut tried = match timeout(TRY_TIMEOUT, AssertUnwindSafe(sent).catch_unwind()).await {
        Ok(Ok(tried)) => tried,
        Ok(Err(_)) => again("a fault in tbtokend ended the try".to_owned()),
        Err(_) => again(format!("no answer within {} s", TRY_TIMEOUT.as_secs())),
    };
    tried.said = short(&tried.said);
    if let TryResult::Sent(Some(refusals)) = &mut tried.result {
        *refusals = short(refusals);
    }
    tried
}

/// Tells people until `shutdown`, and then for a moment more what still waits.
pub async fn run<S: Store>(
    settings: Settings,
    store: Arc<S>,
    handle: Handle,
    clock: Clock,
    mut orders: mpsc::Receiver<Order>,
    shutdown: CancellationToken,
) {
    let mut notifier = Notifier::new(&settings, clock);
    let mut next_look = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(order) = orders.recv() => match order {
                Order::Test(receiver, reply) => notifier.test(receiver.as_deref(), reply),
                Order::Reload(settings) => notifier.reload(&settings),
            },
            Some(Ok((receiver, tried))) = notifier.tries.join_next() => notifier.tried(receiver, tried),
            Some(Ok(tested)) = notifier.tested.join_next() => notifier.note_test(tested),
            Some(Ok(done)) = notifier.storing.join_next() => notifier.stored(done),
            () = sleep_until(next_look) => {
                notifier.look(&handle);
                next_look = Instant::now() + LOOK;
            }
            () = sleep(NEXT_TRY), if notifier.queues.iter().any(|queue| !queue.is_empty()) => {}
        }
        notifier.send();
        notifier.store(&store);
        notifier.publish();
    }
    let _ = timeout(LAST_MESSAGES, notifier.finish(&store)).await;
}

/// The changes to store, by receiver and cause.
type Unstored = BTreeMap<(String, String), NoticeChange>;

/// What came of a call of the store: what it had to write, and what it read or why it failed.
type StoreDone = (Unstored, Result<Option<Vec<StoredNotice>>, StoreError>);

/// What came of a test of receivers, and where the results go.
type Tested = (Vec<(usize, Tried)>, oneshot::Sender<TestResults>);

/// The state of the task.
struct Notifier {
    clock: Clock,
    lead: TimeDelta,
    frame: Arc<Frame>,
    channels: Vec<Channel>,
    timing: Timing,
    queues: Vec<Queue>,
    tries: JoinSet<(usize, Tried)>,
    tested: JoinSet<Tested>,
    storing: JoinSet<StoreDone>,
    /// Whether the store was read; none if it keeps nothing.
    is_restored: Option<bool>,
    unstored: Unstored,
    store_at: Instant,
    said_why: bool,
}

impl Notifier {
    fn new(settings: &Settings, clock: Clock) -> Self {
        let receivers = || settings.receivers.iter();
        let filters = receivers().map(|receiver| receiver.filter.clone()).collect();
        Self {
            clock,
            lead: settings.lead,
            channels: receivers().map(|receiver| receiver.channel.clone()).collect(),
            frame: Arc::new(settings.frame.clone()),
            timing: Timing::new(settings.times.clone(), filters),
            queues: receivers()
                .map(|receiver| Queue::new(receiver.name.clone(), receiver.filter.send_resolved))
                .collect(),
            tries: JoinSet::new(),
            tested: JoinSet::new(),
            storing: JoinSet::new(),
            is_restored: Some(false),
            unstored: Unstored::new(),
            store_at: Instant::now(),
            said_why: false,
        }
    }

    /// Looks at the snapshot, once it is known what an earlier process has told, or that the store cannot say it.
    fn look(&mut self, handle: &Handle) {
        if self.is_restored == Some(false) && !self.said_why {
            return;
        }
        let (snapshot, now) = (handle.snapshot(), self.clock.now());
        let (troubles, evidence) = snapshot.troubles(now, self.lead, &self.timing.known());
        let queues = &mut self.queues;
        self.timing.observe(
            now,
            troubles,
            |cause, is_seen| evidence.proves_end(cause, is_seen),
            |receiver, message| queues.get_mut(receiver).is_some_and(|queue| queue.push(message)),
        );
    }

    fn send(&mut self) {
        let now = self.clock.now();
        for (receiver, (queue, channel)) in self.queues.iter_mut().zip(&self.channels).enumerate() {
            if let Some(sending) = queue.take(now) {
                let send = channel.clone().send(sending, Arc::clone(&self.frame), now);
                self.tries.spawn(async move { (receiver, send.await) });
            }
        }
    }

    fn tried(&mut self, receiver: usize, tried: Tried) {
        let now = self.clock.now();
        let Some(queue) = self.queues.get_mut(receiver) else { return };
        match &tried.result {
            TryResult::Sent(None) => debug!("The receiver {} has a message", queue.name),
            TryResult::Sent(Some(why)) => {
                warn!("The receiver {} has a message, but not all of its recipients: {why}", queue.name);
            }
            _ => warn!("The receiver {} does not take a message: {}", queue.name, tried.said),
        }
        queue.tried(tried, now, rand::random());
    }

    /// Tests receivers at once, whatever waits for them.
    fn test(&mut self, receiver: Option<&str>, reply: oneshot::Sender<TestResults>) {
        let now = self.clock.now();
        let trouble = Trouble::of("test".to_owned(), Severity::Warning);
        let number = rand::random();
        let message = Message { event: Event::Test, trouble, since: now, over_since: None, at: now, number };
        let mut tries = JoinSet::new();
        for (at, (queue, channel)) in self.queues.iter().zip(&self.channels).enumerate() {
            if receiver.is_none_or(|name| name == queue.name) {
                let (channel, frame) = (channel.clone(), Arc::clone(&self.frame));
                let sending = (message.clone(), Vec::new());
                tries.spawn(async move { (at, channel.send(sending, frame, now).await) });
            }
        }
        self.tested.spawn(async move {
            let mut tried = tries.join_all().await;
            tried.sort_by_key(|(at, _)| *at);
            (tried, reply)
        });
    }

    fn reload(&mut self, settings: &Settings) {
        for (queue, channel) in self.queues.iter_mut().zip(&mut self.channels) {
            if let Some(new) = settings.receivers.iter().find(|receiver| receiver.name == queue.name) {
                *channel = new.channel.clone();
                queue.hurry();
            }
        }
    }

    fn note_test(&mut self, (tested, reply): Tested) {
        let now = self.clock.now();
        let mut results = TestResults::new();
        for (receiver, tried) in tested {
            let Some(queue) = self.queues.get_mut(receiver) else { continue };
            let outcome = match &tried.result {
                TryResult::Sent(None) => Ok(tried.said.clone()),
                TryResult::Sent(Some(why)) => Err(why.clone()),
                _ => Err(tried.said.clone()),
            };
            results.push((queue.name.clone(), outcome));
            queue.tested(tried, now);
        }
        // The next request may be for the list. The client may have gone.
        self.publish();
        let _ = reply.send(results);
    }

    fn collect_changes(&mut self) {
        for change in self.queues.iter_mut().flat_map(|queue| queue.changes.drain(..)) {
            let (receiver, cause) = change.key();
            self.unstored.insert((receiver.to_owned(), cause.to_owned()), change);
        }
    }

    /// Reads what an earlier process has told, then writes what this one has. One call at a time.
    fn store<S: Store>(&mut self, store: &Arc<S>) {
        self.collect_changes();
        let Some(is_restored) = self.is_restored else { return self.unstored.clear() };
        if !self.storing.is_empty() || Instant::now() < self.store_at {
            return;
        }
        let store = Arc::clone(store);
        if !is_restored {
            self.storing.spawn(async move { (Unstored::new(), store.read_notices().await) });
        } else if !self.unstored.is_empty() {
            let batch = std::mem::take(&mut self.unstored);
            self.storing.spawn(async move {
                let written = store.write_notices(batch.values().cloned().collect()).await;
                (batch, written.map(|()| Some(Vec::new())))
            });
        }
    }

    fn stored(&mut self, (batch, result): StoreDone) {
        match result {
            Ok(Some(notices)) => {
                // The next failure is said again.
                (self.is_restored, self.said_why) = (Some(true), false);
                for notice in notices {
                    let at = self.queues.iter().position(|queue| queue.name == notice.receiver);
                    if let Some((at, queue)) = at.and_then(|at| Some((at, self.queues.get_mut(at)?))) {
                        queue.restore(&notice);
                        self.timing.restore(at, &notice);
                    } else {
                        // The configuration no longer names this receiver.
                        let StoredNotice { receiver, cause, .. } = notice;
                        let change = NoticeChange::Over { receiver: receiver.clone(), cause: cause.clone() };
                        self.unstored.insert((receiver, cause), change);
                    }
                }
            }
            Ok(None) => {
                warn!(
                    "A restart repeats messages about troubles, because what receivers were told is not stored: there is no \
                     table tbtokend_notice; tbtokend schema prints it"
                );
                (self.is_restored, self.said_why) = (None, true);
            }
            Err(error) => {
                if !self.said_why {
                    warn!("What receivers were told cannot be stored for now: {}", error.with_remedy());
                }
                let needs_person = matches!(error.class(), "permission" | "schema");
                let wait = if needs_person { LONG_STORE_RETRY } else { STORE_RETRY };
                (self.store_at, self.said_why) = (Instant::now() + wait, true);
                for (key, change) in batch {
                    self.unstored.entry(key).or_insert(change);
                }
            }
        }
    }

    fn publish(&self) {
        let status = |(queue, channel): (&Queue, &Channel)| ReceiverStatus {
            name: queue.name.clone(),
            kind: channel.kind(),
            place: channel.place(),
            queued: queue.len(),
            outcomes: [("sent", queue.sent), ("failed", queue.failed), ("dropped", queue.dropped)],
            last_sent: queue.last_sent,
            last_error: queue.last_error.clone(),
            is_up: !queue.is_stopped && queue.last_error.is_none(),
        };
        let all = self.queues.iter().zip(&self.channels).map(status).collect();
        *RECEIVERS.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Sends what waits, and stores what was told, even if a receiver does not answer.
    async fn finish<S: Store>(mut self, store: &Arc<S>) {
        if timeout(LAST_TRIES, self.last_tries()).await.is_err() {
            self.tries.abort_all();
        }
        while let Some(done) = self.storing.join_next().await {
            done.into_iter().for_each(|done| self.stored(done));
        }
        self.collect_changes();
        if self.is_restored == Some(true) && !self.unstored.is_empty() {
            // The next process repeats what could not be stored.
            let _ = store.write_notices(self.unstored.into_values().collect()).await;
        }
    }

    async fn last_tries(&mut self) {
        self.queues.iter_mut().for_each(Queue::hurry);
        loop {
            self.send();
            let Some(done) = self.tries.join_next().await else { break };
            if let Ok((receiver, tried)) = done {
                self.tried(receiver, tried);
            }
        }
    }
}
