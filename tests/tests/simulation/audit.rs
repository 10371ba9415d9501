//! What is watched: each promise as a check that names the customer and the moment when it is broken.

use tokio::time::{Duration, Instant};

use super::world::{Mood, Trouble, World};

/// How long after something was amiss (the daemon not running, the clock set, the row changed, the database away,
/// the server in trouble) a token may still be stale: the wake that is under way, the next one, and a pass that waits
/// for a silent server.
pub(crate) const SHORT: Duration = Duration::from_secs(180);

/// The same for a token that ended during the trouble: the longest back-off (30 minutes and 20 %), and `SHORT`.
pub(crate) const LONG: Duration = Duration::from_secs(36 * 60 + 180);

/// The most requests for one login in a minute, for each row that has it and each daemon.
const MOST_REQUESTS_A_MINUTE: u32 = 20;

/// The most requests in a minute that one daemon sends to a server in trouble: a probe or two for each wake, some more for
/// an operator who asks again and after a restart, when the daemon must learn anew.
const MOST_IN_TROUBLE_A_MINUTE: u32 = 30;

/// How many more it may send in the whole time of that trouble: those of a fully grown gate that is halved again and again,
/// 64 + 32 + … + 1.
const MOST_UNTIL_IT_IS_KNOWN: u32 = 127;

/// What was counted, and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) logins: u64,
    pub(crate) renewals: u64,
    pub(crate) saved: u64,
    pub(crate) limited: u64,
    pub(crate) lapses: u64,
    /// The most refusals that one bad password got without an excuse for the second.
    pub(crate) refused_most: u32,
    /// Second refusals that could not be helped: the daemon was killed before the first was durable, or two daemons asked
    /// within the same second.
    pub(crate) forgiven: u64,
    /// Wrong passwords that a server counted and whose answer came too late: by the contract a time-out is tried again.
    pub(crate) unheard: u64,
    pub(crate) bad_rows: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) digest: u64,
}

impl World {
    pub(crate) fn violation(&mut self, promise: &str, user: usize, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let about = self.rows.get(&user).map_or_else(String::new, |row| {
            let host = &self.hosts[row.host];
            format!("customer {user} (host {}, {:?}, tokens of {} s)", row.host, host.mood, host.life)
        });
        let Self { setup, .. } = self;
        self.audit.violations.push(format!(
            "seed {0} ({2} daemons): promise {promise}: {about} at {at:.3} s: {what}; rerun with {1}",
            setup.seed,
            setup.rerun(),
            setup.daemons
        ));
    }

    pub(crate) fn db_is_well(&self) -> bool {
        !self.db.read_fails && !self.db.write_fails && !self.db.half_fails
    }

    /// Promises 1, 12 and 21, and that everyone recovers (13): who need not be excused has a token that lives. Others'
    /// servers are no excuse.
    pub(crate) fn check_fresh(&mut self, user: usize, when: &str) {
        let now = Instant::now();
        let row = &self.rows[&user];
        if self.is_alive(user)
            || now < row.excused_until
            || self.hosts[row.host].mood != Mood::Well
            || !self.db_is_well()
            || !self.is_right(user)
        {
            return;
        }
        self.audit.lapses += 1;
        let expiry = self.rows[&user].expiry;
        let what = format!("has no valid token {when}: it ended {expiry:?}, it is {}", self.machine_time());
        self.violation("1", user, &what);
        // Said once.
        self.rows.get_mut(&user).unwrap().excused_until = now + LONG;
    }

    pub(crate) fn is_alive(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        row.token.is_some() && row.expiry.is_some_and(|expiry| expiry >= self.machine_time())
    }

    /// Something was amiss that ends now.
    pub(crate) fn excuse(&mut self, user: usize) {
        let grace = if self.is_alive(user) { SHORT } else { LONG };
        self.excuse_for(user, grace);
    }

    pub(crate) fn excuse_for(&mut self, user: usize, grace: Duration) {
        let row = self.rows.get_mut(&user).unwrap();
        row.excused_until = row.excused_until.max(Instant::now() + grace);
    }

    /// The row says something else: a new story.
    pub(crate) fn row_changed(&mut self, user: usize) {
        self.excuse_for(user, SHORT);
        let row = self.rows.get_mut(&user).unwrap();
        row.changed_at = Instant::now();
        row.held = None;
        let says = row.says();
        let before = std::mem::replace(&mut row.said, says.clone());
        if before != says {
            self.forgive(&before);
        }
    }

    /// Nothing storms (21).
    pub(crate) fn count_request(&mut self, host: usize, login: usize) {
        let elapsed = self.began.elapsed();
        self.audit.digest = self
            .audit
            .digest
            .wrapping_mul(0x0100_0000_01B3)
            .wrapping_add(u64::try_from(elapsed.as_millis()).unwrap() ^ (login as u64) << 40);
        let minute = elapsed.as_secs() / 60;
        let counted = self.requests.entry((host, login)).or_default();
        let count = if counted.0 == minute { counted.1 + 1 } else { 1 };
        *counted = (minute, count);
        let rows = self.rows.values().filter(|row| row.login == login).count().max(1);
        let most = MOST_REQUESTS_A_MINUTE * u32::try_from(rows).unwrap() * self.setup.daemons;
        if count == most {
            let user = *self.rows.iter().find(|(_, row)| row.login == login).map_or(&login, |(user, _)| user);
            self.violation("21", user, &format!("{count} requests within a minute"));
        }
    }

    /// A server that is in trouble is asked less (13).
    pub(crate) fn count_trouble(&mut self, host: usize) {
        let daemons = self.setup.daemons;
        let minute = self.began.elapsed().as_secs() / 60;
        let trouble = &mut self.hosts[host].trouble;
        trouble.count = if trouble.minute == minute { trouble.count + 1 } else { 1 };
        trouble.minute = minute;
        if trouble.count > MOST_IN_TROUBLE_A_MINUTE * daemons {
            trouble.beyond += 1;
        }
        let Trouble { count, beyond, .. } = *trouble;
        let rows = self.rows.values().filter(|row| row.host == host).count();
        // A gate has not grown beyond the customers that its server has.
        let most = MOST_UNTIL_IT_IS_KNOWN.min(u32::try_from(rows).unwrap()) * daemons;
        if count > MOST_IN_TROUBLE_A_MINUTE * daemons && beyond == most + 1 {
            let user = self.rows.iter().find(|(_, row)| row.host == host).map_or(0, |(user, _)| *user);
            let what = format!("its server, known to be in trouble, was asked {count} times within a minute");
            self.violation("13", user, &what);
        }
    }

    /// Promise 7: nobody asks for a token while holding one that only waits to be saved.
    pub(crate) fn granted(
        &mut self,
        daemon: u32,
        login: usize,
        host: usize,
        jwt: String,
        worth_until: Instant,
    ) {
        let now = Instant::now();
        let mut rows = self.rows.iter_mut().filter(|(_, row)| row.login == login);
        let (Some((user, row)), None) = (rows.next(), rows.next()) else {
            // Which of several rows it is for cannot be known from outside.
            return;
        };
        if !row.present || row.host != host {
            return;
        }
        let user = *user;
        let held = row.held.replace((daemon, jwt, worth_until));
        if held.is_some_and(|(holder, _, worth_until)| holder == daemon && now < worth_until) {
            self.violation("7", user, "asked for a token while it held one that was not saved yet");
        }
    }

    /// A refresh token goes only to the server, and stands only for the credentials, that some row still says.
    pub(crate) fn check_refresh_token(&mut self, host: usize, refresh_token: &str) {
        let Some(session) = self.sessions.get(refresh_token).cloned() else { return };
        let mut rows = self.rows.iter().filter(|(_, row)| row.login == session.user && row.present);
        let is_elsewhere = session.host != host;
        let is_said = |row: &super::world::Row| {
            (row.host == session.host && row.password == session.password)
                || row.changed_at.elapsed() <= SHORT
        };
        let user = rows.clone().next().map(|(user, _)| *user);
        let is_fine = !is_elsewhere && rows.any(|(_, row)| is_said(row));
        if let Some(user) = user.filter(|_| !is_fine) {
            self.violation("3", user, "renewed with a refresh token that other credentials brought");
        }
    }

    /// Looks at everyone.
    pub(crate) fn look(&mut self) {
        let users: Vec<usize> = self.rows.keys().copied().collect();
        for user in users {
            self.check_fresh(user, "as applications see it");
        }
        self.check_durable();
    }
}
