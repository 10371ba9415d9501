//! Customers whose server returns (2). They have tokens soon after it is back, and at most one password was spent to find
//! that out. This file also has the cases in which earlier versions locked accounts.

use tbtokend::engine::scheduler::Scheduler;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Loss, Reach, Shared, World};

const INTERVAL: Duration = Duration::from_secs(60);

/// A running daemon.
struct Daemon {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    killed: CancellationToken,
}

impl Daemon {
    fn start(world: &Shared, number: u32) -> Self {
        let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let store = Memory { world: world.clone(), daemon: number, killed: killed.clone() };
        let logins = Servers { world: world.clone(), daemon: number, killed: killed.clone() };
        let mut parts = stage::parts(world, store, logins);
        parts.seed = u64::from(number);
        let (scheduler, _) = Scheduler::new(parts);
        Self { task: tokio::spawn(scheduler.run(shutdown.clone())), shutdown, killed }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.killed.cancel();
    }

    fn kill(self) {
        self.killed.cancel();
        self.task.abort();
    }
}

/// Makes a server with this many customers, and another one with a few.
fn world(customers: usize) -> Shared {
    let setup = Setup { customers: customers + 3, servers: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    let mut now = world.lock();
    now.servers.iter_mut().for_each(|server| (server.life, server.lockout) = (9_000, Some(3)));
    (now.budget, now.db.has_no_records) = (3, false);
    drop(now);
    world
}

fn set_behaviour(world: &Shared, behaviour: Behaviour) {
    let mut world = world.lock();
    if behaviour == Behaviour::Well {
        world.end_trouble(0);
    }
    world.servers[0].behaviour = behaviour;
    if behaviour == Behaviour::Well {
        world.thaw(0);
    }
}

/// Counts the passwords that were sent to the first server.
fn passwords_sent(world: &Shared) -> u32 {
    world.lock().passwords.sent.iter().filter(|((server, _), _)| *server == 0).map(|(_, sent)| sent).sum()
}

/// Returns the highest counter of wrong passwords of any user.
fn most_counted(world: &Shared) -> u32 {
    world.lock().accounts.values().map(|account| account.failures).max().unwrap()
}

fn without_token(world: &Shared) -> Vec<usize> {
    let world = world.lock();
    world.rows.keys().copied().filter(|user| !world.is_alive(*user)).collect()
}

/// Sets a wrong password in every row of the first server.
fn make_wrong(world: &Shared) {
    let mut world = world.lock();
    for row in world.rows.values_mut().filter(|row| row.server == 0) {
        "wrong".clone_into(&mut row.password);
        row.said = row.credentials();
    }
}

fn check(world: &Shared) {
    let world = world.lock();
    assert!(world.audit.violations.is_empty(), "{}", world.audit.violations.join("\n"));
}

async fn an_hour_of(behaviour: Behaviour) {
    let world = world(20);
    set_behaviour(&world, behaviour);
    let daemon = Daemon::start(&world, 1);
    sleep(60 * INTERVAL).await;
    let spent = passwords_sent(&world);
    assert!(spent <= 1, "{spent} passwords were spent to find out that {behaviour:?}");
    assert_eq!(without_token(&world).len(), 20);
    set_behaviour(&world, Behaviour::Well);
    sleep(2 * INTERVAL).await;
    assert_eq!(without_token(&world), [0; 0], "two intervals after its return");
    daemon.stop().await;
    check(&world);
}

#[test]
fn p02_twenty_customers_behind_a_proxy_whose_thingsboard_was_dead_for_an_hour() {
    stage::on_a_paused_clock(an_hour_of(Behaviour::Before(Loss::Status(504))));
}

#[test]
fn p02_twenty_customers_of_a_thingsboard_whose_database_was_dead_for_an_hour() {
    stage::on_a_paused_clock(an_hour_of(Behaviour::WithoutDatabase));
}

/// Whatever happens to the answers to wrong passwords, each row sends at most three, and none after a rejection arrived.
async fn answers_are_lost(behaviour: Behaviour) {
    let world = world(3);
    make_wrong(&world);
    set_behaviour(&world, behaviour);
    let mut daemon = Daemon::start(&world, 1);
    for number in 2..=12 {
        sleep(10 * INTERVAL).await;
        // Killed and stopped in turn.
        if number % 2 == 0 {
            daemon.kill();
        } else {
            daemon.stop().await;
        }
        daemon = Daemon::start(&world, number);
    }
    set_behaviour(&world, Behaviour::Well);
    sleep(60 * INTERVAL).await;
    assert!(most_counted(&world) <= 3, "{behaviour:?}: {} counted", most_counted(&world));
    daemon.stop().await;
    check(&world);
}

#[test]
fn p02_no_lost_answer_locks_an_account() {
    use Loss::{Closed, Forbidden, Limited, NotFound, Page, ProxyLogin, Redirect, Status, TimedOut, TooLong};
    let losses =
        [Status(504), Closed, Forbidden, Limited, Page, TooLong, NotFound, ProxyLogin, Redirect, TimedOut];
    for loss in losses {
        for reach in [Reach::All, Reach::Logins, Reach::Passwords] {
            stage::on_a_paused_clock(answers_are_lost(Behaviour::Lost(loss, reach)));
        }
    }
    stage::on_a_paused_clock(answers_are_lost(Behaviour::Frozen));
}

/// The daemon is killed repeatedly while the password is in flight.
async fn killed_during_the_login() {
    let world = world(1);
    make_wrong(&world);
    set_behaviour(&world, Behaviour::Crawling);
    for number in 1..=20 {
        let before = passwords_sent(&world);
        let daemon = Daemon::start(&world, number);
        for _ in 0..100 {
            sleep(Duration::from_secs(1)).await;
            if passwords_sent(&world) > before {
                break;
            }
        }
        daemon.kill();
        sleep(Duration::from_secs(10)).await;
    }
    assert!(passwords_sent(&world) >= 2, "a kill alone must not park a customer");
    assert!(most_counted(&world) <= 3, "{} counted", most_counted(&world));
}

#[test]
fn p02_kills_during_the_login_lock_no_account() {
    stage::on_a_paused_clock(killed_during_the_login());
}

/// The ledger is dropped while a daemon runs, which then ends in good order.
async fn ledger_dropped() {
    let world = world(3);
    make_wrong(&world);
    for number in 1..=10 {
        let daemon = Daemon::start(&world, number);
        sleep(2 * INTERVAL).await;
        world.lock().db.ledger = None;
        world.lock().note_ledger_loss();
        daemon.stop().await;
    }
    let accounts = world.lock().passwords.sent.keys().filter(|(server, _)| *server == 0).count();
    let accounts = u32::try_from(accounts).unwrap();
    assert_eq!(
        (passwords_sent(&world), most_counted(&world)),
        (accounts, 1),
        "a rejected password was sent again"
    );
    check(&world);
}

#[test]
fn p02_a_dropped_ledger_and_an_orderly_restart_forget_nothing() {
    stage::on_a_paused_clock(ledger_dropped());
}

/// A customer is parked without a charge while it holds a refresh token, which then ends.
async fn parked_without_refresh_token() {
    let world = world(3);
    let daemon = Daemon::start(&world, 1);
    sleep(2 * INTERVAL).await;
    let parked = {
        let mut world = world.lock();
        let account = *world.passwords.sent.keys().find(|(server, _)| *server == 0).unwrap();
        world.accounts.get_mut(&account).unwrap().is_refused_by_policy = true;
        for row in world.rows.values_mut().filter(|row| row.credentials().account() == account) {
            (row.token, row.expiry, row.in_row) = (None, None, None);
        }
        account
    };
    // A proxy answers the refresh token, so the password is tried next.
    set_behaviour(&world, Behaviour::Before(Loss::ProxyLogin));
    sleep(2 * INTERVAL).await;
    world.lock().sessions.retain(|_, session| session.credentials.account() != parked);
    set_behaviour(&world, Behaviour::Well);
    sleep(30 * INTERVAL).await;
    let sent = |world: &Shared| world.lock().passwords.sent[&parked];
    let (before, polls) = (sent(&world), world.lock().audit.polls);
    sleep(60 * INTERVAL).await;
    assert_eq!(sent(&world), before, "not before a day is over");
    let polls = world.lock().audit.polls - polls;
    assert!(polls <= 3 * 60 + 20, "{polls} polls in an hour");
    daemon.stop().await;
}

#[test]
fn p03_and_p21_a_parked_customer_whose_refresh_token_is_over_costs_nothing() {
    stage::on_a_paused_clock(parked_without_refresh_token());
}
