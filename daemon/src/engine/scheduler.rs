//! The one loop: it owns the state, decides when to look at the table, and is the only one who hears everything.

mod display;
mod job;
mod manual;
mod recorder;
mod wakes;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::display::Display;
use self::job::{Job, JobEnd};
use self::manual::Requests;
use self::recorder::Recorder;
use self::wakes::Wakes;
use super::event::Event;
use super::handle::{Command, Ends, Handle, NotRefreshed, Steered};
use super::pass::{Gates, Limits};
use super::plan::{Policy, Selection, Trigger, next_due, plan};
use super::state::State;
use super::view::{Identity, LastRun, Loop, Snapshot};
use crate::clock::Clock;
use crate::store::{Records, Store, StoreError, Table};
use crate::telemetry;
use crate::thingsboard::Logins;

/// Everything under one deadline after the order to shut down.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(4500);

/// The shortest time between two looks at the clock for the sake of a status that changes by itself.
const TIME_GAP: Duration = Duration::from_secs(1);

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
    commands: mpsc::Receiver<Command>,
    state: State,
    /// The gates of the servers, while no pass has them.
    gates: Gates,
    running: bool,
    job: Job,
    /// When something was last heard of the job.
    heard_at: Instant,
    requests: Requests,
    stop_pass: CancellationToken,
    /// The pass under way, or the last one, has left customers over: the next begins at once.
    has_left_over: bool,
    /// When servers that rest or were given up were last asked again.
    woke_gates_at: Option<Instant>,
    recorder: Recorder,
    wakes: Wakes,
    display: Display,
    last_run: Option<LastRun>,
    /// When a status changes by itself.
    status_change: Option<Instant>,
    /// The time of the last plan that was about whoever is due.
    planned_at: Option<DateTime<Utc>>,
    /// Set once the process is to end; the loop ends then at the latest.
    deadline: Option<Instant>,
}

/// Everything that can happen to the loop.
enum Input {
    Order(Command),
    Fact(Event),
    JobEnded(JobEnd),
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
        let (handle, Ends { commands, snapshots }) = Handle::new(first);
        let interval = interval(&parts.policy);
        let scheduler = Self {
            store: Arc::new(parts.store),
            logins: Arc::new(parts.logins),
            clock: parts.clock,
            policy: parts.policy,
            limits: parts.limits,
            rng: StdRng::seed_from_u64(parts.seed),
            commands,
            state,
            gates: Gates::new(),
            running: parts.autostart,
            job: Job::Idle,
            heard_at: Instant::now(),
            requests: Requests::default(),
            stop_pass: CancellationToken::new(),
            has_left_over: false,
            woke_gates_at: None,
            recorder: Recorder::default(),
            wakes: Wakes::new(interval),
            display: Display::new(identity, snapshots),
            last_run: None,
            status_change: None,
            planned_at: None,
            deadline: None,
        };
        (scheduler, handle)
    }

    /// Runs until `shutdown`, and then until what was begun is safe or the deadline is over.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.wakes.begin_interval();
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
        let show_at = self.display.due(self.state.len());
        tokio::select! {
            // In this order, so that a run follows from its seed alone. What comes rarely is first: facts of a pass
            // may come without end, and starve nobody.
            biased;
            () = shutdown.cancelled(), if !shutting_down => Input::Shutdown,
            () = sleep_until_some(self.deadline) => Input::Deadline,
            () = sleep_until(self.wakes.next_tick()), if !shutting_down => Input::Tick,
            () = sleep_until_some(self.wakes.early()), if self.job.is_idle() && !shutting_down => Input::Early,
            () = sleep_until_some(self.status_change) => Input::StatusChange,
            () = sleep_until_some(show_at) => Input::Show,
            Some(order) = self.commands.recv() => Input::Order(order),
            fact = self.recorder.next() => Input::Fact(fact),
            input = self.job.next() => match input {
                Ok(event) => Input::Fact(event),
                Err(end) => Input::JobEnded(end),
            },
        }
    }

    /// What happens is worked in at once; nothing here waits.
    fn handle(&mut self, input: Input) {
        match input {
            // These are not of the job.
            Input::Fact(Event::Recorded | Event::RecordsFailed { .. }) => {}
            Input::Fact(_) | Input::JobEnded(_) => self.heard_at = Instant::now(),
            _ => {}
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
        self.wakes.set_interval(interval(&self.policy));
        if self.running {
            // Other customers may be due now.
            self.wakes.at_once();
        }
        self.look_at_the_clock();
        self.show();
    }

    /// For how long nothing has been heard of what is under way.
    fn silence(&self) -> Duration {
        let job = (!self.job.is_idle()).then_some(self.heard_at);
        job.into_iter().chain(self.recorder.since()).map(|since| since.elapsed()).max().unwrap_or_default()
    }

    fn steer(&mut self, run: bool) -> bool {
        if self.running == run {
            return true;
        }
        self.running = run;
        self.learn(if run { Event::LoopStarted } else { Event::LoopStopped });
        self.wakes.not_early();
        if run {
            self.wakes.begin_interval();
            // If something is under way, right after it.
            self.wakes.at_once();
            self.begin(Trigger::Start);
        }
        false
    }

    fn tick(&mut self) {
        self.wakes.tick();
        match (self.running, self.job.is_idle()) {
            (true, true) => telemetry::scheduled(self.clock.now()),
            (true, false) => telemetry::skipped(self.clock.now()),
            // A stopped loop still looks at the table, so that the status is true, but renews nobody.
            (false, _) => {}
        }
        self.begin(Trigger::Schedule);
        self.display.outdate();
    }

    /// Reads the table, unless a pass is under way; then this waits for its end.
    fn begin(&mut self, trigger: Trigger) {
        if !self.job.is_idle() || self.deadline.is_some() {
            return;
        }
        self.wakes.looking();
        self.learn(Event::Reading);
        let records = match self.state.table_read_at() {
            None => Records::All,
            Some(_) => Records::Failing,
        };
        let store = Arc::clone(&self.store);
        let task = tokio::spawn(async move { store.read(records).await });
        self.job = Job::Reading { trigger, task };
        self.heard_at = Instant::now();
        self.requests.begin();
        self.display.outdate();
    }

    /// The table is here: who is due is renewed.
    fn table_read(&mut self, trigger: Trigger, result: Result<Result<Table, StoreError>, JoinError>) {
        // Only a look at the table that brings a pass goes on with the one before: nothing spins when it fails.
        let goes_on = std::mem::take(&mut self.has_left_over);
        let table = match result {
            Ok(Ok(table)) => table,
            Ok(Err(error)) => return self.cannot_read(error),
            Err(error) => return self.cannot_read(internal(&error)),
        };
        self.wakes.store_worked();
        self.recorder.release();
        self.learn(Event::TableRead(table));
        self.gates.retain(|host, _| self.state.hosts().contains(host));
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
            is_new_wake: self.is_new_wake(goes_on),
            stop: self.stop_pass.clone(),
        };
        self.job = Job::pass(trigger, now, tools, plan, std::mem::take(&mut self.gates));
        self.look_at_the_clock();
    }

    /// Whether a pass that begins now may ask servers again that rest or were given up: not when it only goes on with
    /// the one before, unless that has been so for an interval.
    fn is_new_wake(&mut self, goes_on: bool) -> bool {
        let is_new = !goes_on || self.woke_gates_at.is_none_or(|at| at.elapsed() >= self.wakes.interval());
        if is_new {
            self.woke_gates_at = Some(Instant::now());
        }
        is_new
    }

    fn cannot_read(&mut self, error: StoreError) {
        let message = error.to_string();
        self.learn(Event::TableUnreadable(error));
        self.requests.refuse(&NotRefreshed::StoreUnavailable(message));
        self.wakes.store_failed();
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
            self.wakes.store_failed();
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
        if self.running && self.has_left_over {
            self.begin(Trigger::Early);
            return;
        }
        if self.running && self.wakes.early().is_none() {
            // Seen from the last plan: who has become due since, during the pass, must not wait for the next tick.
            let planned_at = self.planned_at.unwrap_or_else(|| self.clock.now());
            if let Some(due) = next_due(&self.state, planned_at, &self.policy) {
                self.wakes.in_time_for((due - self.clock.now()).to_std().unwrap_or_default());
            }
        }
        self.display.outdate();
    }

    /// Works a fact in.
    fn learn(&mut self, event: Event) {
        if matches!(event, Event::SaveFailed { .. } | Event::RecordsFailed { .. }) {
            self.recorder.hold();
        }
        self.has_left_over |= matches!(event, Event::LeftOver(_));
        if matches!(event, Event::Saved(_)) {
            self.recorder.release();
        }
        self.requests.note(&event, &self.state);
        self.state.apply(event, self.clock.now(), self.rng.random());
        self.display.outdate();
    }

    fn look_at_the_clock(&mut self) {
        let revision = self.state.revision();
        let next = self.state.advance(self.clock.now());
        self.status_change = next.map(|next| self.instant_of(next));
        if self.state.revision() != revision {
            self.display.outdate();
        }
    }

    /// Writes the records that have changed.
    fn record(&mut self) {
        if self.recorder.is_idle() && !self.recorder.is_held() && self.state.has_unrecorded() {
            self.recorder.write(&self.store, self.state.take_unrecorded());
        }
    }

    fn shut_down(&mut self) {
        self.deadline = Some(Instant::now() + SHUTDOWN_DEADLINE);
        self.stop_pass.cancel();
        // One last try, under the deadline.
        self.recorder.release();
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
        let nothing_to_record = self.recorder.is_held() || !self.state.has_unrecorded();
        self.job.is_idle() && self.recorder.is_idle() && nothing_to_record
    }

    fn show(&mut self) -> Arc<Snapshot> {
        let now = self.clock.now();
        let until_next = self.wakes.next() - Instant::now();
        let cycle = Loop {
            running: self.running,
            refreshing: matches!(self.job, Job::Passing { .. }),
            next_run_at: self.running.then(|| now + TimeDelta::from_std(until_next).unwrap_or_default()),
            last_run: self.last_run,
        };
        self.display.show(&self.state, &cycle, &self.policy, now)
    }

    fn log(&mut self) {
        for notice in self.state.history_mut().take_unlogged() {
            telemetry::log(notice);
        }
    }

    /// The instant of a time of day, not sooner than a moment from now. The clock may be set meanwhile; the next wake
    /// looks at it again.
    fn instant_of(&self, at: DateTime<Utc>) -> Instant {
        let wait = (at - self.clock.now()).to_std().unwrap_or_default();
        // A day at most: nobody needs it longer, and an expiry in the year 9999 would overflow.
        Instant::now() + wait.clamp(TIME_GAP, Duration::from_secs(86_400))
    }
}

fn internal(error: &JoinError) -> StoreError {
    telemetry::bug("a call of the store ended unexpectedly", error);
    StoreError::Failed { place: "the store".to_owned(), why: "a bug in tbtokend, see its log".to_owned() }
}

fn interval(policy: &Policy) -> Duration {
    policy.interval.to_std().unwrap_or(Duration::from_secs(60))
}

async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
