//! Passwords wait for their charges, also if the store is slow.

use tbtokend::engine::scheduler::Scheduler;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Shared, World};

/// Runs a daemon over a world, and a story beside it.
fn story<F: Future<Output = ()>>(customers: usize, servers: usize, story: impl FnOnce(Shared) -> F) {
    stage::on_a_paused_clock(async {
        let setup = Setup { customers, servers, daemons: 1, is_usual: false, ..Setup::of(1) };
        let world = Shared::new(World::new(setup));
        let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
        let daemon = Servers { world: world.clone(), daemon: 1, killed };
        let (scheduler, _handle) = Scheduler::new(stage::parts(&world, memory, daemon));
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        story(world.clone()).await;
        shutdown.cancel();
        task.await.unwrap();
        let violations = world.lock().audit.violations.clone();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
    });
}

#[test]
fn p02_a_password_whose_charge_took_too_long_is_not_sent_and_not_charged() {
    story(6, 2, |world| async move {
        world.lock().db.ledger_takes = 10_500;
        sleep(Duration::from_secs(40)).await;
        let sent = world.lock().passwords.sent.clone();
        assert!(sent.is_empty(), "{sent:?}");
        world.lock().db.ledger_takes = 0;
        sleep(Duration::from_secs(150)).await;
        let world = world.lock();
        assert!(!world.passwords.sent.is_empty());
        for account in world.passwords.sent.keys() {
            let known = world.db.ledger_of(*account).unwrap();
            assert!(u32::from(known.charges) <= world.passwords.sent[account], "{account:?} {known:?}");
        }
    });
}
