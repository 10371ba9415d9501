//! The one loop: it owns the state, decides when to poll, and receives all facts and orders.

mod cycle;
mod display;
mod job;
mod manual;
mod orders;
mod recorder;
mod steering;
mod wakes;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::display::Display;
use self::job::{Job, JobEnd};
use self::manual::Requests;
use self::recorder::Recorder;
use self::steering::Steering;
use self::wakes::Wakes;
use super::counters::Operation;
use super::credentials;
use super::event::Event;
use super::handle::{Command, Ends, Handle};
use super::pass::{Gates, Limits, sleep_until_some};
use super::policy::{Policy, Trigger};
use super::state::State;
use super::view::{Identity, LastRun, Loop, Snapshot};
use crate::clock::{Clock, StepDetector};
use crate::store::{Records, Store};
use crate::telemetry;
use crate::thingsboard::Logins;

/// How long the work under way may take after the order to shut down.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(4500);

/// The shortest wait for a status that changes with time.
const TIME_GAP: Duration = Duration::from_secs(1);

/// The most records in one call of the store. A longer call could look like one that is stuck.
const RECORDS_AT_ONCE: usize = 1000;

/// The parts of a scheduler.
#[derive(Debug)]
pub struct Parts<S, L> {
    /// The customers, and the daemon's own tables.
    pub store: S,
    /// The source of tokens.
    pub logins: L,
    /// The time.
    pub clock: Clock,
    /// When to renew.
    pub policy: Policy,
    /// The limits of logins.
    pub limits: Limits,
    /// Whether the loop runs before the first order of an operator.
    pub autostart: bool,
    /// The configuration file that was read, if there was one, for people.
    pub config_file: Option<String>,
    /// The seed of all randomness.
    pub seed: u64,
    /// The name of this daemon for its charges in the ledger.
    pub name: Arc<str>,
}

/// The loop.
#[derive(Debug)]
pub struct Scheduler<S, L> {
    store: Arc<S>,
    logins: Arc<L>,
    clock: Clock,
    step_detector: StepDetector,
    policy: Policy,
    limits: Limits,
    rng: StdRng,
    commands: mpsc::Receiver<Command>,
    state: State,
    /// The gates of the servers, while no pass has them.
    gates: Gates,
    steering: Steering,
    job: Job,
    /// When the job last made progress.
    progress_at: Instant,
    requests: Requests,
    stop_pass: CancellationToken,
    /// The order to the pass under way to wait for no check.
    abandon_checks: CancellationToken,
    /// Whether the next pass must begin at once: it has customers carried over, or a token was found dead.
    needs_next_pass: bool,
    /// When paused servers and servers that are down were last tried again.
    woke_gates_at: Option<Instant>,
    recorder: Recorder,
    wakes: Wakes,
    display: Display,
    last_run: Option<LastRun>,
    /// When a status changes by itself.
    status_change: Option<Instant>,
    /// The time of the last plan for customers that are due.
    planned_at: Option<DateTime<Utc>>,
    /// When the loop ends at the latest; none before the order to shut down.
    deadline: Option<Instant>,
    /// Whether the check of the store's ledger at shutdown has begun.
    has_checked_ledger: bool,
}

/// The inputs of the loop.
enum Input {
    Order(Command),
    Fact(Event),
    JobEnded(JobEnd),
    Tick,
    EarlyWake,
    StatusChange,
    Show,
    /// The store has kept the state of the loop, or could not.
    LoopKept(Result<(), String>),
    Shutdown,
    Deadline,
}

impl<S: Store, L: Logins> Scheduler<S, L> {
    /// Makes a scheduler and the handle to it.
    pub fn new(parts: Parts<S, L>) -> (Self, Handle) {
        let now = parts.clock.now();
        let identity = Identity {
            pid: std::process::id(),
            started_at: now,
            store: parts.store.describe(),
            config_file: parts.config_file,
            http: None,
        };
        // Higher than every number of an earlier process, which counted from its own start and much slower than the clock.
        let start = u64::try_from(now.timestamp_millis()).unwrap_or(0) * 1000;
        let ledger = credentials::Settings {
            budget: parts.policy.wrong_password_budget,
            interval: interval(&parts.policy),
            daemon: parts.name,
        };
        let state = State::new(parts.policy.clone(), start, ledger);
        let steering = Steering::new(parts.autostart);
        let cycle = Loop { state: steering.state, refreshing: false, next_run_at: None, last_run: None };
        let first = Snapshot::new(&state, &cycle, &identity, &parts.policy, None, now);
        let (handle, Ends { commands, snapshots }) = Handle::new(first);
        let interval = interval(&parts.policy);
        let scheduler = Self {
            store: Arc::new(parts.store),
            logins: Arc::new(parts.logins),
            clock: parts.clock,
            step_detector: StepDetector::default(),
            policy: parts.policy,
            limits: parts.limits,
            rng: StdRng::seed_from_u64(parts.seed),
            commands,
            state,
            gates: Gates::new(),
            steering,
            job: Job::Idle,
            progress_at: Instant::now(),
            requests: Requests::default(),
            stop_pass: CancellationToken::new(),
            abandon_checks: CancellationToken::new(),
            needs_next_pass: false,
            woke_gates_at: None,
            recorder: Recorder::default(),
            wakes: Wakes::new(interval),
            display: Display::new(identity, snapshots),
            last_run: None,
            status_change: None,
            planned_at: None,
            deadline: None,
            has_checked_ledger: false,
        };
        (scheduler, handle)
    }

    /// The store, for the tables that the scheduler does not use.
    pub fn store(&self) -> Arc<S> {
        Arc::clone(&self.store)
    }

    /// Runs until `shutdown`, and then until all work under way is stored or the deadline is over.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.wakes.begin_interval();
        // A stopped loop polls too, because `status` shows the table.
        self.begin_poll(Trigger::Start);
        loop {
            let input = self.next_input(&shutdown).await;
            if matches!(input, Input::Deadline) {
                telemetry::log_shutdown_timeout();
                break;
            }
            self.handle(input);
            if self.deadline.is_some() && self.is_all_stored() {
                break;
            }
        }
    }

    async fn next_input(&mut self, shutdown: &CancellationToken) -> Input {
        let shutting_down = self.deadline.is_some();
        let show_at = self.display.due(self.state.customers().len());
        tokio::select! {
            // A fixed order, so that a run follows from its seed alone. Rare inputs come first, so that the many facts of a
            // pass cannot delay them.
            biased;
            () = shutdown.cancelled(), if !shutting_down => Input::Shutdown,
            () = sleep_until_some(self.deadline) => Input::Deadline,
            () = sleep_until(self.wakes.next_tick), if !shutting_down => Input::Tick,
            () = sleep_until_some(self.wakes.early), if self.job.is_idle() && !shutting_down => Input::EarlyWake,
            () = sleep_until_some(self.status_change) => Input::StatusChange,
            () = sleep_until(show_at) => Input::Show,
            Some(order) = self.commands.recv() => Input::Order(order),
            fact = self.recorder.next() => Input::Fact(fact),
            kept = self.steering.next() => Input::LoopKept(kept),
            input = self.job.next() => match input {
                Ok(event) => Input::Fact(event),
                Err(end) => Input::JobEnded(end),
            },
        }
    }

    /// Handles an input. Nothing here waits.
    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        // A time before this program was written is wrong. Such a step says nothing about the times before it.
        if let Some(by) = self.step_detector.observe(now, Instant::now()).filter(|_| Clock::is_credible(now))
        {
            self.apply(Event::ClockStepped(by));
        }
        match input {
            // These are no progress of the job.
            Input::Fact(Event::Recorded | Event::RecordsFailed { .. }) => {}
            Input::Fact(_) | Input::JobEnded(_) => self.progress_at = Instant::now(),
            _ => {}
        }
        match input {
            Input::Order(Command::Steer { run, reply }) => {
                let already = self.steer(run);
                self.steering.wait(reply, already);
            }
            Input::LoopKept(Ok(())) | Input::Deadline => {}
            Input::LoopKept(Err(why)) => self.loop_not_kept(why),
            Input::Order(Command::Refresh(request)) => {
                self.requests.add(request);
                self.abandon_checks.cancel();
                self.begin_poll(Trigger::Manual);
                if self.deadline.is_some() {
                    self.requests.refuse_waiting();
                }
            }
            Input::Order(Command::Reconfigure(policy, limits, reply)) => {
                self.reconfigure(policy, limits);
                let _ = reply.send(());
            }
            Input::Order(Command::Http(listener)) => self.display.show_http(listener),
            Input::Order(Command::Silence(reply)) => {
                let _ = reply.send(self.silence());
            }
            Input::Fact(event) => self.apply(event),
            Input::JobEnded(JobEnd::Read(trigger, result)) => self.table_read(trigger, result),
            Input::JobEnded(JobEnd::Pass(trigger, started_at, result)) => {
                self.pass_ended(trigger, started_at, result);
            }
            Input::Tick => self.tick(),
            Input::EarlyWake => self.begin_poll(Trigger::Early),
            Input::StatusChange => self.update_statuses(),
            Input::Show => {
                self.show();
            }
            Input::Shutdown => self.shut_down(),
        }
        self.record();
        self.keep_loop_state();
        if self.deadline.is_some() && self.job.is_idle() && !self.has_checked_ledger {
            self.check_ledger();
        }
        self.log();
    }

    /// Applies a fact to the state, and to the parts of the loop that depend on it.
    fn apply(&mut self, event: Event) {
        if matches!(event, Event::RecordsFailed { .. }) {
            self.recorder.is_held = true;
        }
        self.needs_next_pass |= matches!(event, Event::CarriedOver { .. });
        if matches!(event, Event::Saved { .. }) {
            self.recorder.is_held = false;
            self.wakes.store_worked();
        }
        if matches!(event, Event::Recorded | Event::RecordsFailed { .. }) {
            let (operation, took) = (Operation::Records, self.recorder.took);
            self.state.apply(Event::StoreCalled { operation, took }, self.clock.now(), 0.0);
        }
        self.requests.note(&event);
        self.state.apply(event, self.clock.now(), self.rng.random());
        // The next pass renews the dead token and checks the others of its server.
        self.needs_next_pass |= self.state.take_new_death();
        self.display.outdate();
    }

    fn update_statuses(&mut self) {
        let revision = self.state.revision();
        let next = self.state.advance(self.clock.now());
        self.status_change = next.map(|next| self.instant_of(next));
        if self.state.revision() != revision {
            self.display.outdate();
        }
    }

    /// Writes the records that have changed. During a pass only those of failures, so that tokens are saved sooner.
    fn record(&mut self) {
        let which = if matches!(self.job, Job::Passing { .. }) { Records::Failing } else { Records::All };
        if self.recorder.is_idle() && !self.recorder.is_held && self.state.has_unrecorded(which) {
            self.recorder.write(&self.store, self.state.take_unrecorded(which, RECORDS_AT_ONCE));
        }
    }

    /// Whether all work is done and stored, so that the process can end.
    fn is_all_stored(&self) -> bool {
        let nothing_to_record = self.recorder.is_held || !self.state.has_unrecorded(Records::All);
        self.job.is_idle()
            && self.has_checked_ledger
            && self.recorder.is_idle()
            && self.steering.is_idle()
            && nothing_to_record
    }

    fn show(&mut self) -> Arc<Snapshot> {
        let now = self.clock.now();
        self.state.count_time(now);
        let until_next = self.wakes.next() - Instant::now();
        let cycle = Loop {
            state: self.steering.state,
            refreshing: matches!(self.job, Job::Passing { started_at: Some(_), .. }),
            next_run_at: self
                .steering
                .runs()
                .then(|| now + TimeDelta::from_std(until_next).unwrap_or_default()),
            last_run: self.last_run,
        };
        self.display.show(&self.state, &cycle, &self.policy, now)
    }

    fn log(&mut self) {
        for notice in self.state.history.take_unlogged() {
            telemetry::log(notice);
        }
    }

    /// Returns the instant of a time, at least [`TIME_GAP`] from now. If the clock is set meanwhile, the next input corrects it.
    fn instant_of(&self, at: DateTime<Utc>) -> Instant {
        let wait = (at - self.clock.now()).to_std().unwrap_or_default();
        // At most a day, because an expiry in the year 9999 would overflow.
        Instant::now() + wait.clamp(TIME_GAP, Duration::from_secs(86_400))
    }
}

fn interval(policy: &Policy) -> Duration {
    policy.interval.to_std().unwrap_or(Duration::from_secs(60))
}
