//! A clock that falls back to 1970, as on a machine without a battery: the daemon does not use its time (21).

use chrono::TimeDelta;
use tbtokend::engine::scheduler::Scheduler;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Shared, World};

async fn story() {
    let world = Shared::new(World::new(Setup { customers: 6, servers: 2, daemons: 1, ..Setup::of(1) }));
    world.lock().servers.iter_mut().for_each(|server| server.life = 604_800);
    let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let servers = Servers { world: world.clone(), daemon: 1, killed };
    let (scheduler, _handle) = Scheduler::new(stage::parts(&world, memory, servers));
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    sleep(Duration::from_secs(70)).await;
    assert_eq!(world.lock().audit.saved, 6, "all customers have a token");
    world.lock().jump = -TimeDelta::days(20_000);
    sleep(Duration::from_secs(130)).await;
    world.lock().jump = TimeDelta::zero();
    sleep(Duration::from_secs(130)).await;
    assert_eq!(world.lock().audit.saved, 6, "a right expiry was replaced by one of 1970");
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn p21_a_clock_that_cannot_be_right_renews_no_customer() {
    stage::on_a_paused_clock(story());
}
