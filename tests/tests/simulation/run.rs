//! The run of one seed: a world, its daemons, and a day of faults.

use std::fmt;

use chrono::TimeDelta;
use tbtokend::engine::counters::Cause;
use tbtokend::engine::credentials::Leave;
use tbtokend::engine::handle::Handle;
use tbtokend::engine::outcome::{Outcomes, RefreshRefusal};
use tbtokend::engine::plan::Selection;
use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{CustomerId, Lifetime};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, SHORT};
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Shared, World};
use tbtoken_tests::rng::Rng;

/// The parameters of a run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) customers: usize,
    pub(crate) servers: usize,
    /// How many daemons share the table.
    pub(crate) daemons: u32,
    pub(crate) is_usual: bool,
    /// The login whose events are printed.
    pub(crate) story: Option<u64>,
}

impl Setup {
    /// Makes the usual setup of a seed: some servers, and few customers, so that many seeds take little time. In a quarter
    /// of the cases a second daemon uses the same table.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5EED);
        let servers = rng.pick(&[2, 3, 5, 8]);
        let daemons = if rng.chance(25_000) { 2 } else { 1 };
        Self {
            seed,
            customers: 36,
            servers,
            daemons,
            is_usual: true,
            story: super::number("TBTOKEN_SIM_STORY"),
        }
    }

    /// Makes a setup with more customers.
    pub(crate) fn large(seed: u64, customers: usize) -> Self {
        Self { customers, servers: (customers / 50).max(2), daemons: 1, is_usual: false, ..Self::of(seed) }
    }

    /// Returns the variables that repeat this run.
    pub(crate) fn rerun(&self) -> String {
        if self.is_usual {
            format!("TBTOKEN_SIM_SEED={}", self.seed)
        } else {
            format!("TBTOKEN_SIM_SEED={} TBTOKEN_SIM_CUSTOMERS={}", self.seed, self.customers)
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// How long an operator waits for the answer to a refresh.
const TIMEOUT: Duration = Duration::from_secs(1_800);

/// A running daemon.
struct Daemon {
    number: u32,
    /// Refreshes without an answer yet.
    asked: Vec<(Instant, Answer)>,
    handle: Handle,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    killed: CancellationToken,
}

type Answer = oneshot::Receiver<Result<Outcomes, RefreshRefusal>>;

impl Daemon {
    fn start(world: &Shared) -> Self {
        let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let (number, seed, (declared_life, budget)) = {
            let mut world = world.lock();
            world.daemon += 1;
            world.log_for_all("a daemon starts");
            world.forget_probes();
            // Neither a kill nor a restart undoes the operator, if the order was stored.
            let is_stopped = world.db.loop_state.is_some_and(|state| !state.runs());
            (world.started_at, world.stopped_at) = (Instant::now(), is_stopped.then(Instant::now));
            let users: Vec<usize> = world.rows.keys().copied().collect();
            for user in users {
                // It does not know yet which tokens are dead. A sample comes upon one in a round.
                let round = if world.has_died(user) { 60 * world.rows_beside(user) } else { 0 };
                world.excuse_for(user, SHORT + Duration::from_secs(round));
            }
            (world.daemon, world.rng.next_u64(), (world.declared_life, world.budget))
        };
        let store = Memory { world: world.clone(), daemon: number, killed: killed.clone() };
        let logins = Servers { world: world.clone(), daemon: number, killed: killed.clone() };
        let mut parts = stage::parts(world, store, logins);
        parts.seed = seed;
        parts.policy.wrong_password_budget = budget;
        parts.name = format!("daemon {number}").into();
        if let Some(seconds) = declared_life {
            parts.policy.lifetime = Lifetime::AtMost(TimeDelta::seconds(seconds));
        }
        let (scheduler, handle) = Scheduler::new(parts);
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        Self { number, asked: Vec::new(), handle, task, shutdown, killed }
    }

    /// Ends the daemon as `kill -9` or SIGTERM does.
    async fn end(self, world: &Shared, gracefully: bool) {
        world.lock().log_for_all(if gracefully { "a daemon is stopped" } else { "a daemon is killed" });
        world.lock().excuse_waits_that_ended_unrecorded();
        if gracefully {
            self.shutdown.cancel();
            self.task.await.unwrap();
            let mut world = world.lock();
            if !world.db_is_well() || world.db.has_no_records {
                world.forget_failing_of(self.number);
            }
        } else {
            let mut world = world.lock();
            world.forget_failing_of(self.number);
            self.task.abort();
        }
        self.killed.cancel();
        let snapshot = self.handle.snapshot();
        let unexplained = snapshot.counters.lapsed.get(&Cause::Daemon).filter(|lapsed| !lapsed.is_zero());
        let mut world = world.lock();
        // A daemon sees the tokens of another one only at its next poll.
        if let Some(lapsed) = unexplained.filter(|_| world.setup.daemons == 1) {
            let what = format!("the daemon counts a lapse of {lapsed} that has no cause but itself");
            world.violation("1", 0, &what);
        }
        world.drop_held_by(self.number);
    }

    /// Requests a refresh, as an operator.
    async fn refresh(&mut self, selection: Selection) {
        if let Ok(answer) = self.handle.refresh(selection, true).await {
            self.asked.push((Instant::now(), answer));
        }
    }

    /// Checks that each refresh is answered in time.
    fn check_answers(&mut self, world: &Shared) {
        self.asked.retain_mut(|(_, answer)| answer.try_recv() == Err(TryRecvError::Empty));
        if self.asked.iter().any(|(at, _)| at.elapsed() > TIMEOUT) {
            self.asked.clear();
            world.lock().violation("3", 0, "a manual refresh was not answered within half an hour");
        }
    }
}

/// Runs one seed.
pub(crate) fn run(setup: &Setup) -> Sum {
    stage::on_a_paused_clock(day(setup.clone()))
}

async fn day(setup: Setup) -> Sum {
    let world = Shared::new(World::new(setup.clone()));
    let mut daemons: Vec<Daemon> = (0..setup.daemons).map(|_| Daemon::start(&world)).collect();
    let began = Instant::now();
    while began.elapsed() < DAY {
        let step = world.lock().rng.between(1, 20_000);
        sleep(Duration::from_millis(step.unsigned_abs())).await;
        daemons.iter_mut().for_each(|daemon| daemon.check_answers(&world));
        world.lock().note_waiting_operator(daemons.iter().any(|daemon| !daemon.asked.is_empty()));
        let (asks, ends, gracefully) = {
            let mut world = world.lock();
            world.check_all();
            world.end_faults(false);
            world.begin_faults();
            let is_safe = world.db.lost_at.is_none_or(|at| at.elapsed() > SHORT);
            (world.choose_refresh(), world.choose_end(), world.rng.chance(50_000) || !is_safe)
        };
        let which = world.lock().rng.index(daemons.len());
        if let Some(selection) = asks {
            daemons[which].refresh(selection).await;
        }
        let steers = world.lock().choose_steering();
        if let Some(runs) = steers {
            daemons[which].handle.steer(runs).await.unwrap();
        }
        if ends {
            daemons.swap_remove(which).end(&world, gracefully).await;
            let away = world.lock().rng.between(0, 60_000);
            sleep(Duration::from_millis(away.unsigned_abs())).await;
            daemons.push(Daemon::start(&world));
        }
    }
    // In an hour without faults all customers must recover.
    for daemon in &daemons {
        daemon.handle.steer(true).await.unwrap();
    }
    world.lock().start_loop();
    world.lock().end_faults(true);
    for _ in 0..360 {
        sleep(Duration::from_secs(10)).await;
        world.lock().check_all();
    }
    for daemon in daemons {
        daemon.end(&world, true).await;
    }
    let mut world = world.lock();
    let hours = world.began.elapsed().as_secs_f64() / 3600.0;
    Sum::of(std::mem::take(&mut world.audit), hours + world.slept.as_seconds_f64() / 3600.0)
}

impl World {
    /// Decides by chance whether a daemon ends.
    fn choose_end(&mut self) -> bool {
        let chance = if self.siege_until > Instant::now() { 8_000 } else { 120 };
        self.rng.chance(chance)
    }

    /// Notes whether an operator still waits for an answer. If not, all named customers have been tried.
    fn note_waiting_operator(&mut self, is_waiting: bool) {
        if self.is_asking && !is_waiting {
            self.rows.values_mut().for_each(|row| row.asked = false);
            self.end_leaves();
        }
        self.is_asking = is_waiting;
    }

    /// Decides by chance whether an operator stops or starts the loop.
    fn choose_steering(&mut self) -> Option<bool> {
        let now = Instant::now();
        match self.stopped_at {
            None if self.setup.daemons == 1 && self.rng.chance(15) => {
                self.log_for_all("the loop is stopped");
                self.stopped_at = Some(now);
                Some(false)
            }
            Some(_) if self.rng.chance(1_500) => {
                self.start_loop();
                Some(true)
            }
            _ => None,
        }
    }

    /// Starts the loop again.
    fn start_loop(&mut self) {
        if self.stopped_at.take().is_some() {
            self.log_for_all("the loop is started");
            let users: Vec<usize> = self.rows.keys().copied().collect();
            users.into_iter().for_each(|user| self.excuse(user));
        }
    }

    /// Decides by chance whether an operator requests a refresh, and of which customers.
    fn choose_refresh(&mut self) -> Option<Selection> {
        if !self.rng.chance(400) {
            return None;
        }
        self.log_for_all("an operator asks");
        self.is_asking = true;
        self.end_all_waits();
        Some(match self.rng.below(4) {
            0 => {
                self.rows.values_mut().for_each(|row| row.asked = true);
                Selection::All
            }
            1 | 2 => Selection::DueNow,
            _ => {
                let present: Vec<usize> =
                    self.rows.iter().filter(|(_, row)| row.present).map(|(user, _)| *user).collect();
                // Mostly customers without a valid token.
                let stuck: Vec<usize> =
                    present.iter().copied().filter(|user| !self.is_alive(*user)).collect();
                let from = if stuck.is_empty() || self.rng.chance(30_000) { present } else { stuck };
                let user = self.rng.pick(&from);
                let with_force = self.rng.chance(50_000);
                self.note_named_row(user, with_force);
                Selection::Ids {
                    ids: [CustomerId::new(user.to_string())].into(),
                    leave: if with_force { Leave::Forced } else { Leave::Requested },
                    even_parked: true,
                }
            }
        })
    }
}

/// The sum of the results of runs.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    seeds: u64,
    hours: f64,
    counts: Audit,
    pub(crate) digest: u64,
    pub(crate) violations: Vec<String>,
}

impl Sum {
    fn of(mut counts: Audit, hours: f64) -> Self {
        let violations = std::mem::take(&mut counts.violations);
        Self { seeds: 1, hours, digest: counts.digest, counts, violations }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.hours += other.hours;
        self.counts.logins += other.counts.logins;
        self.counts.renewals += other.counts.renewals;
        self.counts.saved += other.counts.saved;
        self.counts.limited += other.counts.limited;
        self.counts.lapses += other.counts.lapses;
        self.counts.bad_rows += other.counts.bad_rows;
        self.counts.passwords += other.counts.passwords;
        self.counts.probes += other.counts.probes;
        self.counts.checks += other.counts.checks;
        self.counts.dead += other.counts.dead;
        self.counts.forced += other.counts.forced;
        self.counts.ledger_losses += other.counts.ledger_losses;
        self.counts.locked += other.counts.locked;
        self.counts.counted_most = self.counts.counted_most.max(other.counts.counted_most);
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit {
            logins,
            renewals,
            saved,
            limited,
            lapses,
            passwords,
            probes,
            checks,
            dead,
            counted_most,
            forced,
            ledger_losses,
            locked,
            bad_rows,
            ..
        } = &self.counts;
        write!(
            f,
            "{} seeds, {:.1} virtual days, {saved} tokens saved, {passwords} passwords sent ({forced} of them forced at most), {logins} arrived, {renewals} renewals by refresh token, {probes} probes, {checks} tokens checked and {dead} found dead, {limited} answers 429, {bad_rows} rejected credentials, {counted_most} counted at most for a user, {locked} accounts locked, {ledger_losses} ledgers lost, {lapses} lapses, {} violations",
            self.seeds,
            self.hours / 24.0,
            self.violations.len()
        )
    }
}
