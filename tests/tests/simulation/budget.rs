//! The budget of a pass: it begins new requests for a limited time, and leaves the other customers to the next pass. So a slow
//! server with many customers does not delay one-minute tokens of another. A manual refresh goes on until all were tried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tbtokend::engine::outcome::Outcome;
use tbtokend::engine::plan::Selection;
use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{BaseUrl, Credentials, Failure, Grant, Secret, TokenAnswer};
use tbtokend::thingsboard::{Logins, Probe, RefreshError};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Shared, World};

const CUSTOMERS: usize = 1_500;

/// The customers of the server with one-minute tokens: see `World::new`.
const SHORT_LIVED: usize = 3;

/// Counts the requests to the slow server.
struct Counted {
    servers: Servers,
    requests: Arc<AtomicUsize>,
}

impl Counted {
    fn count(&self, base: &BaseUrl) {
        if base.endpoint("").host_str() == Some("server0.example") {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Logins for Counted {
    async fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> Result<Grant, Failure> {
        self.count(base);
        self.servers.login(base, credentials, within).await
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, RefreshError> {
        self.count(base);
        self.servers.refresh(base, refresh_token).await
    }

    async fn probe(&self, base: &BaseUrl) -> Probe {
        self.servers.probe(base).await
    }

    async fn check(&self, base: &BaseUrl, token: &Secret) -> TokenAnswer {
        self.servers.check(base, token).await
    }
}

/// Checks that every one-minute token is still valid.
fn check_the_short_lived(world: &Shared, at: Duration) {
    let world = world.lock();
    for (user, row) in world.rows.range(..SHORT_LIVED) {
        let expiry = row.expiry.unwrap();
        assert!(
            expiry > world.machine_time(),
            "after {at:?}, the token of customer {user} ended at {expiry}"
        );
    }
}

async fn story() {
    let world =
        Shared::new(World::new(Setup { customers: CUSTOMERS, servers: 2, daemons: 1, ..Setup::of(1) }));
    world.lock().servers[0].life = 604_800;
    let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let requests = Arc::new(AtomicUsize::new(0));
    let servers = Servers { world: world.clone(), daemon: 1, killed: killed.clone() };
    let (scheduler, handle) = Scheduler::new(stage::parts(
        &world,
        Memory { world: world.clone(), daemon: 1, killed: killed.clone() },
        Counted { servers, requests: Arc::clone(&requests) },
    ));
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    sleep(Duration::from_secs(70)).await;
    assert_eq!(requests.swap(0, Ordering::Relaxed), CUSTOMERS - SHORT_LIVED, "all customers have a token");

    // Now each answer takes nearly as long as the time-out, and an operator refreshes all customers.
    world.lock().servers[0].behaviour = Behaviour::Crawling;
    let began = Instant::now();
    let mut answer = handle.refresh(Selection::All, true).await.unwrap();
    let details = loop {
        sleep(Duration::from_secs(1)).await;
        check_the_short_lived(&world, began.elapsed());
        if let Ok(answer) = answer.try_recv() {
            break answer.unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(3_600), "the operator gets no answer");
    };
    assert!(began.elapsed() > Duration::from_secs(120), "it took one pass: {:?}", began.elapsed());

    // The answer names every customer once, and each was tried once.
    let named: BTreeSet<_> = details.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((named.len(), details.len()), (CUSTOMERS, CUSTOMERS));
    assert!(details.iter().all(|(_, outcome)| matches!(outcome, Outcome::Renewed(_))), "{details:?}");
    assert_eq!(requests.load(Ordering::Relaxed), CUSTOMERS - SHORT_LIVED);
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn p12_a_slow_server_with_many_customers_holds_up_no_short_token_and_no_answer() {
    stage::on_a_paused_clock(story());
}
