//! Tokens that die before their end: a server gets another signing key, a password is changed, a user goes. They are noticed
//! and replaced.

use chrono::TimeDelta;
use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::whole_seconds;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit::{LONG, SHORT};
use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Shared, World};

/// Within this time after a dead token no other one of its row is renewed for being dead.
const ONE_RENEWAL_IN: Duration = Duration::from_secs(600);

/// A server whose answers said nothing of a token gets the next check up to four intervals later.
const RARELY: Duration = Duration::from_secs(4 * 60);

/// A server gets no other key before customers whose token died may be renewed for that again.
const BETWEEN_KEYS: TimeDelta = TimeDelta::minutes(20);

impl World {
    /// The administrator changes the signing key: no token and no refresh token that is out there is worth anything.
    pub(crate) fn change_signing_key(&mut self, server: usize) {
        let now = self.true_time();
        if self.servers[server].new_key_at.is_some_and(|at| now - at < BETWEEN_KEYS) {
            return;
        }
        self.log_for_all(&format!("server {server} gets another signing key"));
        self.servers[server].new_key_at = Some(now);
        self.sessions.retain(|_, session| session.credentials.server != server);
        let users: Vec<usize> =
            self.rows.iter().filter(|(_, row)| row.server == server).map(|(user, _)| *user).collect();
        for user in users {
            self.is_of_an_old_key(user);
        }
    }

    /// If the row's token is of a key that its server has no more, it is dead, and is noticed in time.
    pub(crate) fn is_of_an_old_key(&mut self, user: usize) {
        let row = &self.rows[&user];
        let (server, login, now) = (row.server, row.login, self.true_time());
        // A token tells the second of its issue, and may be of the new key if it was made in the same one.
        let Some(key_at) = self.servers[server].new_key_at.map(whole_seconds) else { return };
        if !row.in_row.as_ref().is_some_and(|token| token.issued_at < key_at && token.ends_at > now) {
            return;
        }
        // What waits after a failure waits on.
        let waits =
            self.servers[server].behaviour != Behaviour::Well || self.failing.contains_key(&(server, login));
        let within = if self.is_checked_rarely(server) { SHORT + RARELY } else { SHORT };
        self.excuse_for(user, if waits { LONG } else { within });
        // Another one that was found dead a short time ago has been renewed for that, and this one is left until then.
        if let Some(dead_at) = self.rows[&user].dead_at {
            let until = (dead_at + ONE_RENEWAL_IN).saturating_duration_since(Instant::now());
            self.excuse_for(user, until + SHORT);
        }
        if let Some(token) = &mut self.rows.get_mut(&user).unwrap().in_row {
            token.ends_at = now - TimeDelta::milliseconds(1);
        }
    }

    /// A token goes to no server but that of its row.
    pub(crate) fn asked_about(&mut self, server: usize, token: &str) {
        self.audit.checks += 1;
        let found = self.rows.iter().find(|(_, row)| row.token.as_deref() == Some(token));
        if let Some((user, row)) = found
            && row.server != server
            && row.changed_at.elapsed() > SHORT
        {
            let user = *user;
            self.violation("35", user, "its token was sent to another server");
        }
    }

    /// Whether ThingsBoard no longer accepts the token. One that is in no row any more does not matter.
    pub(crate) fn is_dead(&mut self, token: &str) -> bool {
        let found = self.rows.iter().find(|(_, row)| row.token.as_deref() == Some(token));
        let Some((user, row)) = found else { return false };
        let Some(in_row) = &row.in_row else { return false };
        let (user, skew) = (*user, TimeDelta::seconds(self.servers[row.server].skew));
        let account = self.accounts.get(&(row.server, row.login));
        let is_outdated =
            account.is_none_or(|account| (in_row.issued_at + skew).timestamp() < account.changed_at);
        let is_dead = is_outdated || in_row.ends_at < self.true_time();
        if is_dead {
            let row = self.rows.get_mut(&user).unwrap();
            row.in_row.as_mut().unwrap().is_dead = true;
            row.dead_at =
                row.dead_at.filter(|at| at.elapsed() < ONE_RENEWAL_IN).or_else(|| Some(Instant::now()));
            self.audit.dead += 1;
        }
        is_dead
    }
}

/// The customers of the server whose key changes.
const CUSTOMERS: usize = 300;

/// The time of their logins one after the other, and an interval.
const BOUND: Duration = Duration::from_secs(60 + 300 / 5);

async fn story() {
    let setup = Setup { customers: CUSTOMERS + 3, servers: 2, daemons: 1, ..Setup::of(1) };
    let world = Shared::new(World::new(setup));
    world.lock().servers[0].life = 9_000;
    world.lock().servers[0].lockout = Some(3);
    let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
    let servers = Servers { world: world.clone(), daemon: 1, killed };
    let (scheduler, _handle) = Scheduler::new(stage::parts(&world, memory, servers));
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    let of_the_server = |world: &World| -> Vec<usize> {
        world.rows.iter().filter(|(_, row)| row.server == 0).map(|(user, _)| *user).collect()
    };
    sleep(Duration::from_secs(1_000)).await;
    let users = of_the_server(&world.lock());
    assert!(users.len() == CUSTOMERS && users.iter().all(|user| world.lock().is_alive(*user)));
    let sent_before = world.lock().audit.passwords;
    let checks = world.lock().audit.checks;
    assert!((16..40).contains(&checks), "at most one a minute of each of two servers: {checks}");

    world.lock().change_signing_key(0);
    assert!(!users.iter().any(|user| world.lock().is_alive(*user)));
    let began = Instant::now();
    while !users.iter().all(|user| world.lock().is_alive(*user)) {
        sleep(Duration::from_millis(100)).await;
        assert!(began.elapsed() < BOUND, "some have no working token");
    }
    sleep(Duration::from_secs(600)).await;
    shutdown.cancel();
    task.await.unwrap();
    let world = world.lock();
    let sent = world.audit.passwords - sent_before;
    assert!(sent <= CUSTOMERS as u64, "{sent} passwords for {CUSTOMERS} customers");
    assert_eq!((world.audit.counted_most, world.audit.locked), (0, 0));
    assert!(world.audit.violations.is_empty(), "{:?}", world.audit.violations);
}

#[test]
fn a_new_signing_key_costs_an_interval_and_the_time_of_the_logins() {
    stage::on_a_paused_clock(story());
}
