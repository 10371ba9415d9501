//! The one loop: it owns the state, decides when to look at the table, and is the only one who hears everything.

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
use super::pass::{Gates, Limits};
use super::policy::{Policy, Trigger};
use super::state::State;
use super::view::{Identity, LastRun, Loop, Snapshot};
use crate::clock::{Clock, StepDetector};
use crate::store::{Records, Store};
use crate::telemetry;
use crate::thingsboard::Logins;

/// Everything under one deadline after the order to shut down.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(4500);

/// The shortest time between two looks at the clock for the sake of a status that changes by itself.
const TIME_GAP: Duration = Duration::from_secs(1);

/// The most records that one call of the store is given: whether it is stuck is judged by the time of a call.
const RECORDS_AT_ONCE: usize = 1000;

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
    /// Whether the loop runs from the very first start on, for as long as no operator has said anything.
    pub autostart: bool,
    /// The configuration file that was read, if there was one, for people.
    pub config_file: Option<String>,
    /// The seed of all randomness.
    pub seed: u64,
    /// The name of this daemon, which stands beside its charges in the ledger.
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
    /// When something was last heard of the job.
    heard_at: Instant,
    requests: Requests,
    stop_pass: CancellationToken,
    /// The pass under way does not wait for its checks any more.
    leave_checks: CancellationToken,
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
    /// Whether it was seen at the end of the process that the store's ledger knows all that is known here.
    has_checked_ledger: bool,
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
    /// The store knows the state of the loop, or why it does not.
    LoopKept(Result<(), String>),
    Shutdown,
    Deadline,
}

impl<S: Store, L: Logins> Scheduler<S, L> {
    /// A scheduler that has not begun, and the handle to it.
    pub fn new(parts: Parts<S, L>) -> (Self, Handle) {
        let now = parts.clock.now();
        let identity = Identity {
            pid: std::process::id(),
            started_at: now,
            store: parts.store.describe(),
            config_file: parts.config_file,
            http: None,
        };
        // Above every number of the process before, which counted from its own start and much slower than this.
        let start = u64::try_from(now.timestamp_millis()).unwrap_or(0) * 1000;
        let ledger = credentials::Settings {
            budget: parts.policy.wrong_password_budget,
            interval: interval(&parts.policy),
            daemon: parts.name,
        };
        let state = State::new(parts.policy.clone(), start, ledger);
        let steering = Steering::new(parts.autostart);
        let cycle = Loop { state: steering.state(), refreshing: false, next_run_at: None, last_run: None };
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
            heard_at: Instant::now(),
            requests: Requests::default(),
            stop_pass: CancellationToken::new(),
            leave_checks: CancellationToken::new(),
            has_left_over: false,
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

    /// Runs until `shutdown`, and then until what was begun is safe or the deadline is over.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.wakes.begin_interval();
        // Also when the loop is stopped: status should know the table.
        self.begin(Trigger::Start);
        loop {
            let input = self.next_input(&shutdown).await;
            if matches!(input, Input::Deadline) {
                telemetry::log_shutdown_timeout();
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

    /// What happens is worked in at once; nothing here waits.
    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        // One that shows a time before this program was written is wrong, and what was before it right.
        if let Some(by) = self.step_detector.observe(now, Instant::now()).filter(|_| Clock::is_credible(now))
        {
            self.learn(Event::ClockStepped(by));
        }
        match input {
            // These are not of the job.
            Input::Fact(Event::Recorded | Event::RecordsFailed { .. }) => {}
            Input::Fact(_) | Input::JobEnded(_) => self.heard_at = Instant::now(),
            _ => {}
        }
        match input {
            Input::Order(Command::Steer { run, reply }) => {
                let already = self.steer(run);
                self.steering.wait(reply, already);
            }
            Input::LoopKept(result) => {
                if let Err(why) = result {
                    self.loop_not_kept(why);
                }
            }
            Input::Order(Command::Refresh(request)) => {
                self.requests.wait(request);
                self.leave_checks.cancel();
                self.begin(Trigger::Manual);
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
        self.keep_loop_state();
        if self.deadline.is_some() && self.job.is_idle() && !self.has_checked_ledger {
            self.check_ledger();
        }
        self.log();
    }

    /// Works a fact in.
    fn learn(&mut self, event: Event) {
        if matches!(event, Event::RecordsFailed { .. }) {
            self.recorder.hold();
        }
        self.has_left_over |= matches!(event, Event::LeftOver { .. });
        if matches!(event, Event::Saved { .. }) {
            self.recorder.release();
            self.wakes.store_worked();
        }
        if matches!(event, Event::Recorded | Event::RecordsFailed { .. }) {
            let (operation, took) = (Operation::Records, self.recorder.took);
            self.state.apply(Event::StoreCalled { operation, took }, self.clock.now(), 0.0);
        }
        self.requests.note(&event);
        self.state.apply(event, self.clock.now(), self.rng.random());
        // It is renewed, and the others of its server are checked, in the next pass, at once.
        self.has_left_over |= self.state.take_new_death();
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

    /// Writes the records that have changed. During a pass nothing but failures stands between tokens and their rows.
    fn record(&mut self) {
        let which = if matches!(self.job, Job::Passing { .. }) { Records::Failing } else { Records::All };
        if self.recorder.is_idle() && !self.recorder.is_held() && self.state.has_unrecorded(which) {
            self.recorder.write(&self.store, self.state.take_unrecorded(which, RECORDS_AT_ONCE));
        }
    }

    /// Whether nothing is left that would be lost.
    fn is_at_rest(&self) -> bool {
        let nothing_to_record = self.recorder.is_held() || !self.state.has_unrecorded(Records::All);
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
            state: self.steering.state(),
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

    /// The instant of a time of day, not sooner than a moment from now. The clock may be set meanwhile; the next wake
    /// looks at it again.
    fn instant_of(&self, at: DateTime<Utc>) -> Instant {
        let wait = (at - self.clock.now()).to_std().unwrap_or_default();
        // A day at most: nobody needs it longer, and an expiry in the year 9999 would overflow.
        Instant::now() + wait.clamp(TIME_GAP, Duration::from_secs(86_400))
    }
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
