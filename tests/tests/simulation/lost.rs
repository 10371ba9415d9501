//! A pass that panics. This is a bug, but its passwords must not be sent again: their charges are in the ledger.

use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{BaseUrl, Credentials, Failure, Grant, Secret, TokenAnswer};
use tbtokend::thingsboard::{Logins, Probe, RefreshError};
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Shared, World};

/// Panics at the first answer.
struct Breaking {
    servers: Servers,
}

impl Logins for Breaking {
    async fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> Result<Grant, Failure> {
        let answer = self.servers.login(base, credentials, within).await;
        assert!(answer.is_err(), "a bug that this test has planted");
        answer
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, RefreshError> {
        self.servers.refresh(base, refresh_token).await
    }

    async fn probe(&self, base: &BaseUrl) -> Probe {
        self.servers.probe(base).await
    }

    async fn check(&self, base: &BaseUrl, token: &Secret) -> TokenAnswer {
        self.servers.check(base, token).await
    }
}

async fn story() {
    let setup = Setup { customers: 6, servers: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    // Their passwords are in flight when the other server's token arrives.
    world.lock().servers[1].behaviour = Behaviour::Silent;
    let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let servers = Servers { world: world.clone(), daemon: 1, killed };
    let (scheduler, _handle) = Scheduler::new(stage::parts(&world, memory, Breaking { servers }));
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    sleep(Duration::from_secs(2)).await;
    let sent = world.lock().passwords.sent.clone();
    let silent: Vec<_> = sent.keys().copied().filter(|(server, _)| *server == 1).collect();
    assert!(!silent.is_empty() && sent.keys().any(|(server, _)| *server == 0), "{sent:?}");
    for account in &silent {
        let world = world.lock();
        let known = world.db.ledger_of(*account).unwrap();
        assert_eq!((known.charges, known.is_in_flight), (1, true), "{account:?}");
    }
    // The server does not answer probes either.
    sleep(Duration::from_secs(1_800)).await;
    let sent = world.lock().passwords.sent.clone();
    assert!(silent.iter().all(|account| sent[account] == 1), "{sent:?}");
    assert!(sent.values().all(|sent| *sent <= 3), "{sent:?}");
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn p02_a_pass_that_panics_sends_no_password_again_at_once() {
    stage::on_a_paused_clock(story());
}
