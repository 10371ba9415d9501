//! Checks of tokens come last. No renewal and no operator waits for checks, even if many tokens of a server are in
//! question. A server gets one check at a time.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tbtokend::engine::credentials::Leave;
use tbtokend::engine::plan::Selection;
use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{CustomerId, TokenAnswer};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit::LONG;
use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Shared, World};

/// How many checks of one server a daemon may begin in a minute besides two for each row: samples, and one after each trouble.
const MOST_BESIDES: usize = 10;

/// The checks of each daemon: by server, and whether through its other port.
pub(crate) type AllChecks = BTreeMap<(u32, usize, bool), Checks>;

/// The checks of one server by one daemon.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    minute: u64,
    count: usize,
    in_flight: u32,
    /// Whether the last answer said nothing, so that the next check comes up to four intervals later.
    is_unclear: bool,
}

/// A check in flight.
pub(crate) struct CheckInFlight {
    world: Shared,
    key: (u32, usize, bool),
}

impl CheckInFlight {
    /// Counts a check, and checks the rate and that it is the only one of its server.
    pub(crate) fn begin(world: &Shared, key: (u32, usize, bool)) -> Self {
        world.lock().count_check(key);
        Self { world: world.clone(), key }
    }
}

impl Drop for CheckInFlight {
    fn drop(&mut self) {
        self.world.lock().checks.entry(self.key).or_default().in_flight -= 1;
    }
}

impl World {
    /// Notes the answer to a check.
    pub(crate) fn note_check(&mut self, key: (u32, usize, bool), answer: TokenAnswer) {
        self.checks.entry(key).or_default().is_unclear = answer == TokenAnswer::Unclear;
    }

    /// Whether a daemon checks tokens of this server rarely.
    pub(crate) fn is_checked_rarely(&self, server: usize) -> bool {
        self.checks.iter().any(|((_, of, _), checks)| *of == server && checks.is_unclear)
    }

    fn count_check(&mut self, key: (u32, usize, bool)) {
        let minute = self.began.elapsed().as_secs() / 60;
        let rows = self.rows.values().filter(|row| row.server == key.1).count();
        let checks = self.checks.entry(key).or_default();
        checks.count = if checks.minute == minute { checks.count + 1 } else { 1 };
        checks.minute = minute;
        checks.in_flight += 1;
        let (count, in_flight) = (checks.count, checks.in_flight);
        let user = self.rows.iter().find(|(_, row)| row.server == key.1).map_or(0, |(user, _)| *user);
        if in_flight > 1 {
            self.violation("35", user, &format!("{in_flight} checks of its server at a time"));
        }
        if count == 2 * rows + MOST_BESIDES {
            self.violation("35", user, &format!("{count} checks of its server within a minute"));
        }
    }
}

/// The customers of the server with dead tokens, of which each of this number has one.
const CUSTOMERS: usize = 300;
const ONE_IN: usize = 15;

/// The customers of the server with one-minute tokens: see `World::new`.
const SHORT_LIVED: usize = 3;

/// The life that a one-minute token has left at least: half of it, less the gap between two polls and a renewal.
const LEFT: TimeDelta = TimeDelta::seconds(30 - 5 - 2);

fn least_left(world: &Shared) -> TimeDelta {
    let world = world.lock();
    let left = world.rows.range(..SHORT_LIVED).map(|(_, row)| row.expiry.unwrap() - world.machine_time());
    left.min().unwrap()
}

async fn story() {
    let setup = Setup { customers: CUSTOMERS + SHORT_LIVED, servers: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    world.lock().servers[0].life = 9_000;
    let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let servers = Servers { world: world.clone(), daemon: 1, killed };
    let (scheduler, handle) = Scheduler::new(stage::parts(&world, memory, servers));
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    sleep(Duration::from_secs(300)).await;
    let dead: Vec<usize> = {
        let mut world = world.lock();
        let now = world.true_time();
        let rows = world.rows.iter_mut().filter(|(_, row)| row.server == 0).step_by(ONE_IN);
        let dead: Vec<usize> = rows
            .map(|(user, row)| {
                row.in_row.as_mut().unwrap().ends_at = now - TimeDelta::milliseconds(1);
                *user
            })
            .collect();
        // A sample comes upon one of them in time.
        dead.iter().for_each(|user| world.excuse_for(*user, LONG));
        world.rows.get_mut(&0).unwrap().asked = true;
        dead
    };
    let began = Instant::now();
    while world.lock().audit.dead == 0 {
        sleep(Duration::from_millis(100)).await;
        assert!(began.elapsed() < Duration::from_secs(1_800), "no sample comes upon a dead token");
    }
    let (began, polls, checks) = {
        let world = world.lock();
        (Instant::now(), world.audit.polls, world.audit.checks)
    };
    sleep(Duration::from_secs(1)).await;
    assert!(world.lock().audit.checks > checks, "the others are being checked");
    let named =
        Selection::Ids { ids: [CustomerId::new("0")].into(), leave: Leave::Requested, even_parked: true };
    let answer = handle.refresh(named, true).await.unwrap();
    answer.await.unwrap().unwrap();
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(3), "the operator waited for checks: {waited:?}");
    while began.elapsed() < Duration::from_secs(300) {
        sleep(Duration::from_millis(100)).await;
        let left = least_left(&world);
        assert!(left > LEFT, "after {:?}, a one-minute token has {left} left", began.elapsed());
    }
    shutdown.cancel();
    task.await.unwrap();
    let world = world.lock();
    assert!(dead.iter().all(|user| world.is_alive(*user)), "each dead token is replaced");
    let (checks, polls) = (world.audit.checks - checks, world.audit.polls - polls);
    assert!(checks as usize >= CUSTOMERS - 1 && checks as usize <= CUSTOMERS + 30, "each once: {checks}");
    // Every half minute for the short tokens, a few for the slow checks, and at once for the dead.
    assert!(polls <= 30 + dead.len() as u64, "{polls} polls in five minutes");
    assert!(world.audit.violations.is_empty(), "{:?}", world.audit.violations);
}

#[test]
fn p35_no_renewal_and_no_operator_waits_for_the_checks_of_a_suspect_server() {
    stage::on_a_paused_clock(story());
}
