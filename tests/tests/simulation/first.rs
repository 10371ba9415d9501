//! The order of writes: only charges and failures are written before a token; records of successes follow after the pass.

use tbtokend::engine::scheduler::Scheduler;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Shared, World};

async fn a_pass_that_lasts() {
    let setup = Setup { customers: 6, servers: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    let wrong = {
        let mut world = world.lock();
        world.servers[1].behaviour = Behaviour::Slow;
        let (user, row) = world.rows.iter_mut().find(|(_, row)| row.server == 0).unwrap();
        row.password = "wrong".to_owned();
        row.said = row.credentials();
        *user
    };
    let killed = CancellationToken::new();
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let servers = Servers { world: world.clone(), daemon: 1, killed };
    let (scheduler, _handle) = Scheduler::new(stage::parts(&world, memory, servers));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    // The slow server takes a second and a half at least.
    sleep(Duration::from_millis(1_400)).await;
    {
        let world = world.lock();
        let rows = || world.rows.iter().filter(|(user, _)| **user != wrong);
        assert!(rows().all(|(_, row)| row.token.is_some() == (row.server == 0)), "the pass is half done");
        assert_eq!(world.db.records.keys().collect::<Vec<_>>(), [&wrong], "the failure alone is written");
    }
    sleep(Duration::from_secs(28)).await;
    {
        let world = world.lock();
        assert!(
            world.rows.keys().filter(|user| **user != wrong).all(|user| world.db.records[user].renewals == 1)
        );
    }
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn p19_a_failure_is_written_during_the_pass_and_a_success_after_it() {
    stage::on_a_paused_clock(a_pass_that_lasts());
}
