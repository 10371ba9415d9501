//! A pass that panics: a bug, but no leave to send the passwords again that it had sent.

use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{BaseUrl, Credentials, Failure, FailureKind, Grant, Secret};
use tbtokend::thingsboard::{Logins, NotRenewed, Probe};
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::stage;
use super::store::Memory;
use super::servers::Servers;
use super::world::{Mood, Shared, World};

/// Breaks at the first answer of a server that answers.
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

    async fn renew(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, NotRenewed> {
        self.servers.renew(base, refresh_token).await
    }

    async fn probe(&self, base: &BaseUrl) -> Probe {
        self.servers.probe(base).await
    }
}

async fn story() {
    let setup = Setup { customers: 6, hosts: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    // Its password is on its way when the other one's token comes.
    let silent = {
        let mut world = world.lock();
        world.hosts[1].mood = Mood::Silent;
        *world.rows.iter().find(|(_, row)| row.host == 1).unwrap().0
    };
    let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let servers = Servers { world: world.clone(), daemon: 1, killed };
    let (scheduler, _handle) = Scheduler::new(stage::parts(&world, memory, Breaking { servers }));
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    sleep(Duration::from_secs(2)).await;
    let failure =
        |world: &Shared| world.lock().db.records.get(&silent).and_then(|record| record.failure.clone());
    let noted = failure(&world).expect("the password that was on its way is noted");
    assert_eq!((noted.kind, noted.consecutive), (FailureKind::Timeout, 1));
    assert!(noted.next_attempt_at.is_some_and(|at| at > noted.at), "and waits");
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn p02_a_pass_that_panics_sends_no_password_again_at_once() {
    stage::on_a_paused_clock(story());
}
