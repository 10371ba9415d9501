//! A database that can be read and takes records, but refuses every token. That is reported once, no customer logs in again
//! for a token that waits, the database gets few requests, and new rejections are not lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tbtoken_proto::EventKind;
use tbtokend::engine::handle::Handle;
use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{CustomerId, LoopState, Record, Renewal, RowToken};
use tbtokend::store::{
    LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store, StoreError, Table,
};
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Shared, World};

const CUSTOMERS: usize = 6;

/// The number of saves, and whether they succeed.
#[derive(Debug, Default)]
struct Saves {
    tried: AtomicUsize,
    work: AtomicBool,
}

/// A store whose table cannot be updated; everything else works.
struct Refusing {
    memory: Memory,
    saves: Arc<Saves>,
}

impl Store for Refusing {
    fn describe(&self) -> String {
        self.memory.describe()
    }

    async fn read(&self, records: Records) -> Result<Table, StoreError> {
        self.memory.read(records).await
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        self.saves.tried.fetch_add(1, Ordering::Relaxed);
        if self.saves.work.load(Ordering::Relaxed) {
            return self.memory.save(batch).await;
        }
        let why = "the UPDATE permission was denied".to_owned();
        Err(StoreError::Failed { place: "customer_settings".to_owned(), why })
    }

    async fn tokens(&self, ids: Vec<CustomerId>) -> Result<Vec<RowToken>, StoreError> {
        self.memory.tokens(ids).await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        self.memory.record(batch).await
    }

    async fn read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        self.memory.read_ledger(since).await
    }

    async fn write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        self.memory.write_ledger(write).await
    }

    async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        self.memory.keep_loop_state(state).await
    }
}

/// Starts a daemon with such a store. It ends after `shutdown`, when the task ends.
fn start(world: &Shared, saves: &Arc<Saves>, shutdown: &CancellationToken) -> (Handle, JoinHandle<()>) {
    let killed = CancellationToken::new();
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let (scheduler, handle) = Scheduler::new(stage::parts(
        world,
        Refusing { memory, saves: Arc::clone(saves) },
        Servers { world: world.clone(), daemon: 1, killed },
    ));
    (handle, tokio::spawn(scheduler.run(shutdown.clone())))
}

fn world() -> Shared {
    let setup = Setup { customers: CUSTOMERS, servers: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    world.lock().servers.iter_mut().for_each(|server| server.life = 9_000);
    world
}

fn events(handle: &Handle, kind: EventKind) -> usize {
    handle.snapshot().events(None, 500).events.iter().filter(|event| event.kind == kind).count()
}

async fn ten_minutes() {
    let (world, saves, shutdown) = (world(), Arc::new(Saves::default()), CancellationToken::new());
    let (handle, task) = start(&world, &saves, &shutdown);
    sleep(Duration::from_secs(2)).await;
    for second in 2..600 {
        assert!(!handle.snapshot().daemon.store_ok, "said to be well after {second} s");
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(events(&handle, EventKind::StoreLost), 1);
    assert_eq!(events(&handle, EventKind::StoreBack), 0);
    let tried = saves.tried.load(Ordering::Relaxed);
    assert!((8..=16).contains(&tried), "{tried} times in ten minutes");
    // After the first refusal, no token is requested that could not be saved.
    let logins = world.lock().audit.logins;
    assert!(logins <= CUSTOMERS as u64, "{logins} logins: a second one for a token that is here");

    saves.work.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(70)).await;
    assert!(handle.snapshot().daemon.store_ok);
    assert_eq!(events(&handle, EventKind::StoreBack), 1);
    assert!(world.lock().rows.values().all(|row| row.token.is_some()));
    assert_eq!(world.lock().audit.logins, CUSTOMERS as u64);
    shutdown.cancel();
    task.await.unwrap();
}

/// The daemon must end. Then one server answers with a token, which cannot be saved, and the other one rejects a password.
async fn an_end_in_the_middle() {
    let (world, saves, shutdown) = (world(), Arc::new(Saves::default()), CancellationToken::new());
    let wrong = {
        let mut world = world.lock();
        world.servers[1].behaviour = Behaviour::Slow;
        let (user, row) = world.rows.iter_mut().find(|(_, row)| row.server == 1).unwrap();
        row.password = "wrong".to_owned();
        row.said = row.credentials();
        *user
    };
    let (_handle, task) = start(&world, &saves, &shutdown);
    // Both passwords have just been sent.
    sleep(Duration::from_millis(45)).await;
    assert_eq!(saves.tried.load(Ordering::Relaxed), 0);
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(saves.tried.load(Ordering::Relaxed), 1);
    let world = world.lock();
    assert!(world.db.records.get(&wrong).is_some_and(|record| record.failure.is_some()), "it is sent again");
    let known = world.db.ledger_of(world.rows[&wrong].credentials().account()).unwrap();
    assert_eq!((known.rejected.len(), known.is_in_flight), (1, false));
}

#[test]
fn p07_and_p11_a_database_that_refuses_tokens_is_said_once_and_costs_no_second_login() {
    stage::on_a_paused_clock(ten_minutes());
}

#[test]
fn p02_a_refusal_that_comes_after_the_order_to_end_and_a_failed_save_is_remembered() {
    stage::on_a_paused_clock(an_end_in_the_middle());
}
