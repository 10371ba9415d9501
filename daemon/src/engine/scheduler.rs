//! The one loop: it owns the state, decides when to look at the table, and is the only one who hears everything.

mod job;
mod manual;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::job::{Job, JobEnd};
use self::manual::Requests;
use super::event::Event;
use super::handle::{Command, Ends, Handle, NotRefreshed, Steered};
use super::pass::{Gates, Limits};
use super::plan::{Policy, Selection, Trigger, next_due, plan};
use super::state::State;
use super::view::{Identity, LastRun, Loop, Snapshot};
use crate::clock::Clock;
use crate::model::Record;
use crate::store::{Records, Store, StoreError, Table};
use crate::telemetry;
use crate::thingsboard::Logins;

/// Everything under one deadline after the order to shut down.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(4500);

/// The shortest time between two snapshots, so that a pass over many customers does not spend itself on being shown.
const PUBLISH_GAP: Duration = Duration::from_millis(50);

/// Per so many customers another gap.
const CUSTOMERS_PER_GAP: usize = 20_000;

/// The shortest time between two looks at the clock for the sake of a status that changes by itself.
const TIME_GAP: Duration = Duration::from_secs(1);

/// The first wait before a store that failed is tried again; it doubles up to the interval.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// What a scheduler is made of.
#[derive(Debug)]
pub struct Parts<S, L> {
    /// Where the customers are.
    pub store: S,
    /// Where the tokens come from.
    pub logins: L,
    /// What time it is.
    pub clock: Clock,
    /// When to renew.
    pub policy: Policy,
    /// How many logins at a time.
    pub limits: Limits,
    /// Whether the loop runs from the start.
    pub autostart: bool,
    /// The seed of the dice.
    pub seed: u64,
}

/// The loop.
#[derive(Debug)]
pub struct Scheduler<S, L> {
    store: Arc<S>,
    logins: Arc<L>,
    clock: Clock,
    policy: Policy,
    limits: Limits,
    rng: StdRng,
    identity: Identity,
    ends: Ends,
    state: State,
    /// The gates of the servers, while no pass has them.
    gates: Gates,
    running: bool,
    job: Job,
    /// When something was last heard of the job.
    heard_at: Instant,
    requests: Requests,
    stop_pass: CancellationToken,
    recording: Option<Recording>,
    /// Records could not be written: not again before the store has shown that it works.
    recording_held: bool,
    last_run: Option<LastRun>,
    next_tick: Instant,
    early: Option<Instant>,
    status_change: Option<Instant>,
    store_failures: u32,
    /// The time of the last plan that was about whoever is due.
    planned_at: Option<DateTime<Utc>>,
    shown_at: Instant,
    stale: bool,
    /// Set once the process is to end; the loop ends then at the latest.
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Recording {
    records: Vec<Record>,
    since: Instant,
    task: JoinHandle<Result<(), StoreError>>,
}

/// Everything that can happen to the loop.
enum Input {
    Order(Command),
    Fact(Event),
    JobEnded(JobEnd),
    Recorded(Result<Result<(), StoreError>, JoinError>),
    Tick,
    Early,
    StatusChange,
    Show,
    Shutdown,
    Deadline,
}

impl<S: Store, L: Logins> Scheduler<S, L> {
    /// A scheduler that has not begun, and the handle to it.
    pub fn new(parts: Parts<S, L>) -> (Self, Handle) {
        let now = parts.clock.now();
        let identity = Identity { pid: std::process::id(), started_at: now, store: parts.store.describe() };
        // Above every number of the process before, which counted from its own start and much slower than this.
        let start = u64::try_from(now.timestamp_millis()).unwrap_or(0) * 1000;
        let state = State::new(parts.policy.clone(), start);
        let cycle = Loop { running: parts.autostart, refreshing: false, next_run_at: None, last_run: None };
        let first = Snapshot::new(&state, &cycle, &identity, &parts.policy, None, now);
        let (handle, ends) = Handle::new(first);
        let scheduler = Self {
            store: Arc::new(parts.store),
            logins: Arc::new(parts.logins),
            clock: parts.clock,
            policy: parts.policy,
            limits: parts.limits,
            rng: StdRng::seed_from_u64(parts.seed),
            identity,
            ends,
            state,
            gates: Gates::new(),
            running: parts.autostart,
            job: Job::Idle,
            heard_at: Instant::now(),
            requests: Requests::default(),
            stop_pass: CancellationToken::new(),
            recording: None,
            recording_held: false,
            last_run: None,
            next_tick: Instant::now(),
            early: None,
            status_change: None,
            store_failures: 0,
            planned_at: None,
            shown_at: Instant::now(),
            stale: false,
            deadline: None,
        };
        (scheduler, handle)
    }

    /// Runs until `shutdown`, and then until what was begun is safe or the deadline is over.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.next_tick = Instant::now() + self.interval();
        // Also when the loop is stopped: status should know the table.
        self.begin(Trigger::Start);
        loop {
            let input = self.next_input(&shutdown).await;
            if matches!(input, Input::Deadline) {
                telemetry::gave_up_waiting();
                break;
            }
            self.handle(input);
            if self.deadline.is_some() && self.is_at_rest() {
                break;
            }
        }
    }

    async fn next_input(&mut self, shutdown: &CancellationToken) -> Input {
        let shutting_down = self.deadline.is_some();
        let show_at = self.shown_at + self.publish_gap();
        tokio::select! {
            // In this order, so that a run follows from its seed alone. What comes rarely is first: facts of a pass
            // may come without end, and starve nobody.
            biased;
            () = shutdown.cancelled(), if !shutting_down => Input::Shutdown,
            () = sleep_until_some(self.deadline) => Input::Deadline,
            () = sleep_until(self.next_tick), if !shutting_down => Input::Tick,
            () = sleep_until_some(self.early), if self.job.is_idle() && !shutting_down => Input::Early,
            () = sleep_until_some(self.status_change) => Input::StatusChange,
            () = sleep_until(show_at), if self.stale => Input::Show,
            Some(order) = self.ends.commands.recv() => Input::Order(order),
            result = recorded(&mut self.recording) => Input::Recorded(result),
            input = self.job.next() => match input {
                Ok(event) => Input::Fact(event),
                Err(end) => Input::JobEnded(end),
            },
        }
    }

    /// What happens is worked in at once; nothing here waits.
    fn handle(&mut self, input: Input) {
        if matches!(input, Input::Fact(_) | Input::JobEnded(_)) {
            self.heard_at = Instant::now();
        }
        match input {
            Input::Order(Command::Steer { run, reply }) => {
                let already = self.steer(run);
                // The client may have gone; the loop is steered all the same.
                let _ = reply.send(Steered { already, snapshot: self.show() });
            }
            Input::Order(Command::Refresh(request)) if self.deadline.is_some() => {
                let _ = request.reply.send(Err(NotRefreshed::ShuttingDown));
            }
            Input::Order(Command::Refresh(request)) => {
                self.requests.wait(request);
                self.begin(Trigger::Manual);
            }
            Input::Order(Command::Reconfigure(policy, limits, reply)) => {
                self.reconfigure(policy, limits);
                let _ = reply.send(());
            }
            Input::Order(Command::Silence(reply)) => {
                let _ = reply.send(self.silence());
            }
            Input::Fact(event) => self.learn(event),
            Input::JobEnded(JobEnd::Read(trigger, result)) => self.table_read(trigger, result),
            Input::JobEnded(JobEnd::Pass(trigger, started_at, result)) => {
                self.pass_ended(trigger, started_at, result);
            }
            Input::Recorded(result) => self.recorded(result),
            Input::Tick => self.tick(),
            Input::Early => {
                self.begin(Trigger::Early);
            }
            Input::StatusChange => self.look_at_the_clock(),
            Input::Show => {
                self.show();
            }
            Input::Shutdown => self.shut_down(),
            Input::Deadline => {}
        }
        self.record();
        self.log();
    }

    fn reconfigure(&mut self, policy: Policy, limits: Limits) {
        self.limits = limits;
        self.policy = policy.clone();
        self.state.set_policy(policy);
        self.next_tick = self.next_tick.min(Instant::now() + self.interval());
        // Other customers may be due now.
        self.early = Some(Instant::now()).filter(|_| self.running);
        self.look_at_the_clock();
        self.show();
    }

    /// For how long nothing has been heard of what is under way.
    fn silence(&self) -> Duration {
        let job = (!self.job.is_idle()).then_some(self.heard_at);
        let recording = self.recording.as_ref().map(|recording| recording.since);
        job.into_iter().chain(recording).map(|since| since.elapsed()).max().unwrap_or_default()
    }

    fn steer(&mut self, run: bool) -> bool {
        if self.running == run {
            return true;
        }
        self.running = run;
        self.learn(if run { Event::LoopStarted } else { Event::LoopStopped });
        self.early = None;
        if run {
            self.next_tick = Instant::now() + self.interval();
            // If something is under way, right after it.
            self.early = Some(Instant::now()).filter(|_| !self.job.is_idle());
            self.begin(Trigger::Start);
        }
        false
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.next_tick += self.interval();
        if self.next_tick <= now {
            self.next_tick = now + self.interval();
        }
        match (self.running, self.job.is_idle()) {
            (true, true) => telemetry::scheduled(self.clock.now()),
            (true, false) => telemetry::skipped(self.clock.now()),
            // A stopped loop still looks at the table, so that the status is true, but renews nobody.
            (false, _) => {}
        }
        self.begin(Trigger::Schedule);
        self.stale = true;
    }

    /// Reads the table, unless a pass is under way; then this waits for its end.
    fn begin(&mut self, trigger: Trigger) {
        if !self.job.is_idle() || self.deadline.is_some() {
            return;
        }
        self.early = None;
        let records = match self.state.table_read_at() {
            None => Records::All,
            Some(_) => Records::Failing,
        };
        let store = Arc::clone(&self.store);
        let task = tokio::spawn(async move { store.read(records).await });
        self.job = Job::Reading { trigger, task };
        self.heard_at = Instant::now();
        self.requests.begin();
        self.stale = true;
    }

    /// The table is here: who is due is renewed.
    fn table_read(&mut self, trigger: Trigger, result: Result<Result<Table, StoreError>, JoinError>) {
        let table = match result {
            Ok(Ok(table)) => table,
            Ok(Err(error)) => return self.cannot_read(error),
            Err(error) => return self.cannot_read(internal(&error)),
        };
        self.store_failures = 0;
        self.recording_held = false;
        self.learn(Event::TableRead(table));
        let now = self.clock.now();
        let mut selections = self.requests.selections();
        // Also when an operator began it: however often somebody asks for one customer, the others get their turn.
        if self.running {
            selections.push(Selection::Due);
            self.planned_at = Some(now);
        }
        let plan = plan(&self.state, now, &self.policy, &selections);
        self.requests.planned(&plan, &self.state);
        if plan.is_empty() || self.deadline.is_some() {
            self.rest();
            return;
        }
        self.learn(Event::PassStarted { trigger, attempts: plan.size() });
        let tools = super::pass::Tools {
            store: Arc::clone(&self.store),
            logins: Arc::clone(&self.logins),
            clock: self.clock.clone(),
            lifetime: self.policy.lifetime,
            limits: self.limits,
            stop: self.stop_pass.clone(),
        };
        self.job = Job::pass(trigger, now, tools, plan, std::mem::take(&mut self.gates));
        self.look_at_the_clock();
    }

    fn cannot_read(&mut self, error: StoreError) {
        let message = error.to_string();
        self.learn(Event::TableUnreadable(error));
        self.requests.refuse(&NotRefreshed::StoreUnavailable(message));
        self.retry_the_store();
        self.rest();
    }

    fn pass_ended(&mut self, trigger: Trigger, started_at: DateTime<Utc>, result: Result<Gates, JoinError>) {
        match result {
            Ok(gates) => self.gates = gates,
            Err(error) => telemetry::bug("a pass ended unexpectedly", &error),
        }
        self.learn(Event::PassFinished);
        let finished_at = self.clock.now();
        self.last_run = Some(LastRun { trigger, started_at, finished_at, counts: self.state.pass() });
        if self.state.store_error().is_some() {
            self.retry_the_store();
        }
        self.rest();
    }

    /// Nothing is under way any more: answers who waited, and sets the next early wake.
    fn rest(&mut self) {
        self.job = Job::Idle;
        self.look_at_the_clock();
        // Whoever asks for the status after the answer should see what the answer says.
        self.show();
        self.requests.answer();
        if self.requests.is_waiting() {
            self.begin(Trigger::Manual);
            return;
        }
        if self.running && self.early.is_none() {
            // Seen from the last plan: who has become due since, during the pass, must not wait for the next tick.
            let planned_at = self.planned_at.unwrap_or_else(|| self.clock.now());
            let due = next_due(&self.state, planned_at, &self.policy);
            self.early = due.map(|due| self.instant_of(due, self.early_gap()));
            self.early.take_if(|early| *early >= self.next_tick);
        }
        self.stale = true;
    }

    fn retry_the_store(&mut self) {
        self.store_failures = self.store_failures.saturating_add(1);
        let doublings = (self.store_failures - 1).min(16);
        let wait = STORE_RETRY.saturating_mul(1 << doublings).min(self.interval());
        self.early = Some(Instant::now() + wait);
    }

    /// Works a fact in.
    fn learn(&mut self, event: Event) {
        if matches!(event, Event::SaveFailed { .. } | Event::RecordsFailed { .. }) {
            self.recording_held = true;
        }
        if matches!(event, Event::Saved(_)) {
            self.recording_held = false;
        }
        self.requests.note(&event, &self.state);
        self.state.apply(event, self.clock.now(), self.rng.random());
        self.stale = true;
    }

    fn look_at_the_clock(&mut self) {
        let revision = self.state.revision();
        let next = self.state.advance(self.clock.now());
        self.status_change = next.map(|next| self.instant_of(next, TIME_GAP));
        self.stale |= self.state.revision() != revision;
    }

    /// Writes the records that have changed: one call at a time, so that what comes meanwhile goes together.
    fn record(&mut self) {
        if self.recording.is_some() || self.recording_held || !self.state.has_unrecorded() {
            return;
        }
        let records = self.state.take_unrecorded();
        let (store, batch) = (Arc::clone(&self.store), records.clone());
        let task = tokio::spawn(async move { store.record(batch).await });
        self.recording = Some(Recording { records, since: Instant::now(), task });
    }

    fn recorded(&mut self, result: Result<Result<(), StoreError>, JoinError>) {
        let Some(Recording { records, .. }) = self.recording.take() else { return };
        match result {
            Ok(Ok(())) => self.learn(Event::Recorded),
            Ok(Err(error)) => self.learn(Event::RecordsFailed { records, error }),
            Err(error) => self.learn(Event::RecordsFailed { records, error: internal(&error) }),
        }
    }

    fn shut_down(&mut self) {
        self.deadline = Some(Instant::now() + SHUTDOWN_DEADLINE);
        self.stop_pass.cancel();
        // One last try, under the deadline.
        self.recording_held = false;
        self.requests.refuse_waiting();
        if matches!(self.job, Job::Reading { .. }) {
            // Nothing has begun yet.
            self.job = Job::Idle;
            self.requests.refuse(&NotRefreshed::ShuttingDown);
            self.requests.answer();
        }
    }

    /// Whether nothing is left that would be lost.
    fn is_at_rest(&self) -> bool {
        let nothing_to_record = self.recording_held || !self.state.has_unrecorded();
        self.job.is_idle() && self.recording.is_none() && nothing_to_record
    }

    fn show(&mut self) -> Arc<Snapshot> {
        let next_run_at = self.running.then(|| {
            let next = self.early.map_or(self.next_tick, |early| early.min(self.next_tick));
            self.clock.now() + TimeDelta::from_std(next - Instant::now()).unwrap_or_default()
        });
        let cycle = Loop {
            running: self.running,
            refreshing: matches!(self.job, Job::Passing { .. }),
            next_run_at,
            last_run: self.last_run,
        };
        let before = Arc::clone(&self.ends.snapshots.borrow());
        let now = self.clock.now();
        let snapshot = Snapshot::new(&self.state, &cycle, &self.identity, &self.policy, Some(&before), now);
        let snapshot = Arc::new(snapshot);
        self.ends.snapshots.send_replace(Arc::clone(&snapshot));
        self.shown_at = Instant::now();
        self.stale = false;
        snapshot
    }

    fn log(&mut self) {
        for notice in self.state.history_mut().take_unlogged() {
            telemetry::log(notice);
        }
    }

    fn interval(&self) -> Duration {
        self.policy.interval.to_std().unwrap_or(Duration::from_secs(60))
    }

    /// The shortest time between two early wakes: a twelfth of the interval, but neither less than a second nor so much
    /// that a token of a minute could lapse.
    fn early_gap(&self) -> Duration {
        (self.interval() / 12).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }

    fn publish_gap(&self) -> Duration {
        let many = u32::try_from(self.state.len() / CUSTOMERS_PER_GAP).unwrap_or(u32::MAX);
        PUBLISH_GAP.saturating_mul(many.saturating_add(1))
    }

    /// The instant of a time of day, not sooner than `gap` from now. The clock may be set meanwhile; the next wake
    /// looks at it again.
    fn instant_of(&self, at: DateTime<Utc>, gap: Duration) -> Instant {
        let wait = (at - self.clock.now()).to_std().unwrap_or_default();
        // A day at most: nobody needs it longer, and an expiry in the year 9999 would overflow.
        Instant::now() + wait.clamp(gap, Duration::from_secs(86_400))
    }
}

fn internal(error: &JoinError) -> StoreError {
    telemetry::bug("a call of the store ended unexpectedly", error);
    StoreError::Failed { place: "the store".to_owned(), why: "a bug in tbtokend, see its log".to_owned() }
}

async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn recorded(recording: &mut Option<Recording>) -> Result<Result<(), StoreError>, JoinError> {
    match recording {
        Some(recording) => (&mut recording.task).await,
        None => std::future::pending().await,
    }
}
