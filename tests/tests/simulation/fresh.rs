//! Promise 1: every customer without an excuse has a valid token. Excuses count from the end of a fault, and are as short as
//! the engine's own rules allow. Faults of other customers' servers are no excuse (12).

use tokio::time::{Duration, Instant};

use super::audit::{LONG, SHORT};
use super::world::{Behaviour, World};

/// The longest latency of a slow server, and of a crawling one.
const SLOW: Duration = Duration::from_secs(6);
const CRAWLING: Duration = Duration::from_millis(9_500);

/// The time until the next wake while a pass is running.
const WAKE: Duration = Duration::from_secs(60);

/// A token with a shorter life may lapse while its server is slow.
const SHORTEST: i64 = 300;

impl World {
    /// Checks all customers.
    pub(crate) fn check_all(&mut self) {
        let users: Vec<usize> = self.rows.keys().copied().collect();
        for user in users {
            self.check_ledger(user);
            self.check_fresh(user, "as applications see it");
        }
    }

    /// Checks promises 1, 12 and 21, and that the customer recovers (13).
    pub(crate) fn check_fresh(&mut self, user: usize, when: &str) {
        let now = Instant::now();
        let row = &self.rows[&user];
        if self.is_alive(user)
            || now < row.excused_until.max(row.trouble_until)
            || self.stopped_at.is_some()
            || !self.db_is_well()
            || !self.is_right(user)
            || row.is_parked
            || !self.keeps_up(row.server)
            // A check does not wait as long as such a server takes.
            || (self.servers[row.server].behaviour == Behaviour::Crawling && self.has_died(user))
            || self.is_misdated_past_knowing(user)
        {
            return;
        }
        self.audit.lapses += 1;
        let row = &self.rows[&user];
        let ends_at = row.in_row.as_ref().map(|token| token.ends_at);
        let what = format!(
            "has no valid token {when}: it says {:?}, which is {} (the clock moved {:?} ago); it ended {ends_at:?}, which is {}",
            row.expiry,
            self.machine_time(),
            self.clock_moved_at.elapsed(),
            self.true_time()
        );
        self.violation("1", user, &what);
        // Reported once.
        self.rows.get_mut(&user).unwrap().excused_until = now + LONG;
    }

    /// Whether its token died before its end.
    pub(crate) fn has_died(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        row.expiry.is_some_and(|expiry| expiry >= self.machine_time())
            && row.in_row.as_ref().is_some_and(|token| token.ends_at < self.true_time())
    }

    /// The number of rows of its server.
    pub(crate) fn rows_beside(&self, user: usize) -> u64 {
        let server = self.rows[&user].server;
        self.rows.values().filter(|row| row.server == server).count() as u64
    }

    /// Whether this server can answer all of its customers in time. A slow server must serve all customers, due at once, within
    /// their windows. The limit begins with one and grows by one each round, and each customer needs two requests (the refresh
    /// token, then the password). A server with a rate limit serves at least that many in each wake.
    fn keeps_up(&self, server: usize) -> bool {
        let it = &self.servers[server];
        let life = self.declared_life.map_or(it.life, |most| most.min(it.life));
        let is_long = life >= SHORTEST;
        let rows = self.rows.values().filter(|row| row.present && row.server == server).count();
        let customers = u32::try_from(rows).unwrap() * self.setup.daemons;
        let rounds = (1_u32..).find(|rounds| rounds * (rounds + 1) / 2 >= 2 * customers).unwrap_or(0);
        let window = Duration::from_secs(life.unsigned_abs() / 2).min(SHORT);
        match it.behaviour {
            Behaviour::Well => is_long || !self.db.is_slow,
            Behaviour::Slow | Behaviour::Crawling if self.db.is_slow => false,
            Behaviour::Slow => is_long && WAKE + SLOW * rounds <= window,
            Behaviour::Crawling => is_long && WAKE + CRAWLING * rounds <= window,
            // Its `Retry-After` may be longer than the life of a token.
            Behaviour::Limited(_, Some(_)) => false,
            // A limited row waits for a minute, and then takes the place of another.
            Behaviour::Limited(most, None) => {
                is_long && WAKE + WAKE * (2 * customers.div_ceil(most)) <= window
            }
            Behaviour::Refusing
            | Behaviour::Silent
            | Behaviour::Frozen
            | Behaviour::Before(_)
            | Behaviour::Lost(..)
            | Behaviour::WithoutDatabase => false,
        }
    }

    /// Notes that a server's fault is over or smaller. Customers that wait for a dead server are tried at the wake after its
    /// first answer, see `note_server_back`; other waits go on.
    pub(crate) fn end_trouble(&mut self, server: usize) {
        let was = self.servers[server].behaviour;
        let is_dead = match was {
            Behaviour::Refusing | Behaviour::Silent | Behaviour::Frozen | Behaviour::WithoutDatabase => true,
            Behaviour::Before(loss) => loss.is_trouble(),
            _ => false,
        };
        self.servers[server].was_dead = is_dead;
        let now = Instant::now();
        let users: Vec<usize> =
            self.rows.keys().copied().filter(|user| self.rows[user].server == server).collect();
        for user in users {
            let has_retry_after = matches!(was, Behaviour::Limited(_, Some(_)));
            let waits = has_retry_after || self.is_shared(user);
            let grace = if self.is_taken_for_alive(user) && !waits { SHORT } else { LONG };
            let row = self.rows.get_mut(&user).unwrap();
            row.last_charge_since = None;
            row.trouble_until = row.trouble_until.max(now + grace);
        }
    }

    /// Notes that a dead server has answered a daemon. Customers that waited for that need not wait longer. After an
    /// unanswered password the server waits for the next one: see `put_server_in_doubt`.
    pub(crate) fn note_server_back(&mut self, server: usize) {
        if !std::mem::take(&mut self.servers[server].was_dead) || self.servers[server].unanswered > 0 {
            return;
        }
        let soon = Instant::now() + SHORT;
        let users: Vec<usize> =
            self.rows.keys().copied().filter(|user| self.rows[user].server == server).collect();
        for user in users {
            // Two daemons have separate counts, and either may be the one that is left.
            if self.setup.daemons == 1 && self.waits_for_its_server_alone(user) {
                let until = soon + self.remaining_wait(user);
                let row = self.rows.get_mut(&user).unwrap();
                row.trouble_until = row.trouble_until.min(until);
            }
        }
    }
}
