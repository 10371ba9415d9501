//! Promise 1: who need not be excused has a token that lives. What excuses is counted from its end, and kept as short as
//! the engine's own rules allow; other customers' servers are no excuse (12).

use tokio::time::{Duration, Instant};

use super::audit::{LONG, SHORT};
use super::world::{Behaviour, World};

/// The longest latency of a slow server, and of one that crawls.
const SLOW: Duration = Duration::from_secs(6);
const CRAWLING: Duration = Duration::from_millis(9_500);

/// Until a wake looks at who is due, with a pass under way.
const WAKE: Duration = Duration::from_secs(60);

/// A token that lives shorter than this may lapse while its server is slow.
const SHORTEST: i64 = 300;

impl World {
    /// Looks at everyone.
    pub(crate) fn check_all(&mut self) {
        let users: Vec<usize> = self.rows.keys().copied().collect();
        for user in users {
            self.check_ledger(user);
            self.check_fresh(user, "as applications see it");
        }
    }

    /// Promises 1, 12 and 21, and that everyone recovers (13).
    pub(crate) fn check_fresh(&mut self, user: usize, when: &str) {
        let now = Instant::now();
        let row = &self.rows[&user];
        if self.is_alive(user)
            || now < row.excused_until.max(row.trouble_until)
            || self.stopped_at.is_some()
            || !self.db_is_well()
            || !self.is_right(user)
            || row.is_tried_daily
            || !self.keeps_up(row.server)
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
        // Said once.
        self.rows.get_mut(&user).unwrap().excused_until = now + LONG;
    }

    /// Whether this server answers everyone in time. One that is slow does, if all of its customers, due at once, are
    /// served within their windows by a gate that begins with one at a time and grows by one a round, each asked twice (the
    /// refresh token, then the password). One that takes so many a second serves at least those in each wake.
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
            // It says itself how long it is not to be asked, which may be longer than a token lives.
            Behaviour::Limited(_, Some(_)) => false,
            // A row that was limited waits for a minute, and then takes another's place.
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

    /// A server's trouble is over, or is less. Who waits for a dead one is tried at the wake after its first answer, see
    /// `note_server_back`; others wait as long as they wait.
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
            let is_told = matches!(was, Behaviour::Limited(_, Some(_)));
            let waits = is_told || self.is_shared(user);
            let grace = if self.is_taken_for_alive(user) && !waits { SHORT } else { LONG };
            let row = self.rows.get_mut(&user).unwrap();
            row.last_charge_since = None;
            row.trouble_until = row.trouble_until.max(now + grace);
        }
    }

    /// A server that was dead has answered a daemon. Whoever waited for that need not wait longer. If a password
    /// was left unanswered, the server waits for the next one: see `put_server_in_doubt`.
    pub(crate) fn note_server_back(&mut self, server: usize) {
        if !std::mem::take(&mut self.servers[server].was_dead) || self.servers[server].unanswered > 0 {
            return;
        }
        let soon = Instant::now() + SHORT;
        let users: Vec<usize> =
            self.rows.keys().copied().filter(|user| self.rows[user].server == server).collect();
        for user in users {
            // Of two daemons each has a count of its own, and either may be the one that is left.
            if self.setup.daemons == 1 && self.waits_for_its_server_alone(user) {
                let until = soon + self.remaining_wait(user);
                let row = self.rows.get_mut(&user).unwrap();
                row.trouble_until = row.trouble_until.min(until);
            }
        }
    }
}
