//! One seed: a world, the daemons that live in it one after the other, and a day of trouble.

use std::fmt;

use chrono::TimeDelta;
use tbtokend::engine::handle::Handle;
use tbtokend::engine::pass::Limits;
use tbtokend::engine::plan::{Policy, Selection};
use tbtokend::engine::scheduler::{Parts, Scheduler};
use tbtokend::model::Lifetime;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, SHORT};
use super::store::Memory;
use super::thingsboard::Servers;
use super::world::{Shared, World};

/// What a day is made of.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) customers: usize,
    pub(crate) hosts: usize,
}

const DAY: Duration = Duration::from_secs(86_400);

/// A daemon that runs.
struct Daemon {
    handle: Handle,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    killed: CancellationToken,
}

impl Daemon {
    fn start(world: &Shared) -> Self {
        let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let (seed, declared_life) = {
            let mut world = world.lock();
            world.daemon += 1;
            let users: Vec<usize> = world.rows.keys().copied().collect();
            users.into_iter().for_each(|user| world.excuse_for(user, SHORT));
            (world.dice.roll(), world.declared_life)
        };
        let (scheduler, handle) = Scheduler::new(Parts {
            store: Memory { world: world.clone(), killed: killed.clone() },
            logins: Servers { world: world.clone(), killed: killed.clone() },
            clock: world.clock(),
            policy: Policy {
                interval: TimeDelta::seconds(60),
                window: TimeDelta::minutes(5),
                lifetime: declared_life.map_or(Lifetime::Jwt, |s| Lifetime::AtMost(TimeDelta::seconds(s))),
                require_https: false,
            },
            limits: Limits { in_flight: 512, per_host: 64 },
            autostart: true,
            seed,
        });
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        Self { handle, task, shutdown, killed }
    }

    /// Ends as with `kill -9`, or as with SIGTERM.
    async fn end(self, world: &Shared, gracefully: bool) {
        if gracefully {
            self.shutdown.cancel();
            self.task.await.unwrap();
        } else {
            self.task.abort();
        }
        self.killed.cancel();
        world.lock().forget_unrecorded();
    }
}

/// Runs one seed.
pub(crate) fn run(setup: &Setup) -> Sum {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(day(setup.clone()))
}

async fn day(setup: Setup) -> Sum {
    let world = Shared::new(World::new(setup));
    let mut daemon = Daemon::start(&world);
    let began = Instant::now();
    while began.elapsed() < DAY {
        let step = world.lock().dice.between(1, 20_000);
        sleep(Duration::from_millis(step.unsigned_abs())).await;
        let (ends, gracefully, asks, selection) = {
            let mut world = world.lock();
            world.look();
            world.mend(false);
            world.stir();
            let selection = world.dice.pick(&[0, 1]);
            (world.dice.chance(120), world.dice.chance(50_000), world.dice.chance(300), selection)
        };
        if asks {
            // Nobody waits for the answer; the pass takes place all the same.
            let selection = if selection == 0 { Selection::All } else { Selection::DueNow };
            let _ = daemon.handle.refresh(selection).await;
        }
        if ends {
            daemon.end(&world, gracefully).await;
            let away = world.lock().dice.between(0, 60_000);
            sleep(Duration::from_millis(away.unsigned_abs())).await;
            daemon = Daemon::start(&world);
        }
    }
    // An hour without trouble: everyone must recover.
    world.lock().mend(true);
    for _ in 0..360 {
        sleep(Duration::from_secs(10)).await;
        world.lock().look();
    }
    daemon.end(&world, true).await;
    let mut world = world.lock();
    let hours = world.began.elapsed().as_secs_f64() / 3600.0;
    Sum::of(std::mem::take(&mut world.audit), hours + world.slept.as_seconds_f64() / 3600.0)
}

/// What the seeds came to.
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
        self.counts.forgiven += other.counts.forgiven;
        self.counts.refused_most = self.counts.refused_most.max(other.counts.refused_most);
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit { logins, renewals, saved, limited, lapses, refused_most, forgiven, bad_rows, .. } =
            &self.counts;
        write!(
            f,
            "{} seeds, {:.1} virtual days, {saved} tokens saved, {logins} logins, {renewals} renewals by refresh token, {limited} answers 429, {bad_rows} bad rows, refusals per bad row {refused_most} at most ({forgiven} more after a kill before the record), {lapses} lapses, {} violations",
            self.seeds,
            self.hours / 24.0,
            self.violations.len()
        )
    }
}
