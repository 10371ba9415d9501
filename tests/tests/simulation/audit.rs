//! What is watched: each promise as a check that names the customer and the moment when it is broken.

use tbtokend::model::{Failure, Record};
use tokio::time::{Duration, Instant};

use super::world::{Mood, World};

/// How long after something was amiss (the daemon not running, the clock set, the row changed, the database away,
/// the server in trouble) a token may still be stale: the wake that is under way, the next one, and a pass that waits
/// for a silent server.
pub(crate) const SHORT: Duration = Duration::from_secs(180);

/// The same for a token that ended during the trouble: the longest back-off (30 minutes and 20 %), and `SHORT`.
pub(crate) const LONG: Duration = Duration::from_secs(36 * 60 + 180);

/// The most requests for one customer in a minute.
const MOST_REQUESTS_A_MINUTE: u32 = 20;

/// What was counted, and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) logins: u64,
    pub(crate) renewals: u64,
    pub(crate) saved: u64,
    pub(crate) limited: u64,
    pub(crate) lapses: u64,
    /// The most refusals that one bad row got without an excuse for the second.
    pub(crate) refused_most: u32,
    /// Second refusals that could not be helped: the daemon was killed before the first was durable.
    pub(crate) forgiven: u64,
    pub(crate) bad_rows: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) digest: u64,
}

impl World {
    fn violation(&mut self, promise: &str, user: usize, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let row = &self.rows[&user];
        let (host, mood) = (row.host, self.hosts[row.host].mood);
        let life = self.hosts[host].life;
        self.audit.violations.push(format!(
            "seed {}: promise {promise}: customer {user} (host {host}, {mood:?}, tokens of {life} s) at {at:.3} s: {what}; rerun with TBTOKEN_SIM_SEED={} TBTOKEN_SIM_CUSTOMERS={}",
            self.setup.seed, self.setup.seed, self.setup.customers
        ));
    }

    fn db_is_well(&self) -> bool {
        !self.db.read_fails && !self.db.write_fails && !self.db.half_fails
    }

    /// Promises 1 and 21, and that everyone recovers (13): who need not be excused has a token that lives.
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

    fn is_alive(&self, user: usize) -> bool {
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
        row.refused = 0;
        row.forgiven = 0;
        row.unrecorded = None;
        row.held = None;
    }

    /// Nothing storms (21), and one second of requests at one server stays within its gate (13).
    pub(crate) fn count_request(&mut self, _host: usize, user: usize) {
        let elapsed = self.began.elapsed();
        self.audit.digest = self
            .audit
            .digest
            .wrapping_mul(0x0100_0000_01B3)
            .wrapping_add(u64::try_from(elapsed.as_millis()).unwrap() ^ (user as u64) << 40);
        let minute = elapsed.as_secs() / 60;
        let row = self.rows.get_mut(&user).unwrap();
        let count = if row.minute.0 == minute { row.minute.1 + 1 } else { 1 };
        row.minute = (minute, count);
        if count == MOST_REQUESTS_A_MINUTE {
            self.violation("21", user, &format!("{count} requests within a minute"));
        }
    }

    /// Promises 2 and 3: a row that is refused for good is refused once for as long as it says the same.
    pub(crate) fn refused(&mut self, host: usize, user: usize, password: &str, failure: &Failure) {
        let row = self.rows.get_mut(&user).unwrap();
        if !row.present || row.host != host || row.password != password {
            // The row was changed while the request was on its way.
            return;
        }
        row.refused += 1;
        row.unrecorded = Some(Instant::now());
        let (refused, forgiven) = (row.refused, row.forgiven);
        if refused == 1 {
            self.audit.bad_rows += 1;
        } else if refused <= 1 + forgiven {
            self.audit.forgiven += 1;
        }
        self.audit.refused_most = self.audit.refused_most.max(refused - forgiven.min(refused - 1));
        if refused > 1 + forgiven {
            let what = format!("was refused {refused} times ({failure}) while its row said the same");
            self.violation("2 and 3", user, &what);
        }
    }

    /// A record is durable.
    pub(crate) fn recorded(&mut self, user: usize, record: &Record) {
        if record.failure.as_ref().is_some_and(|failure| failure.permanent) {
            self.rows.get_mut(&user).unwrap().unrecorded = None;
        }
    }

    /// The daemon ends: a refusal that is not durable yet is sent a second time, and that cannot be helped.
    pub(crate) fn forget_unrecorded(&mut self) {
        for row in self.rows.values_mut() {
            if row.unrecorded.take().is_some() {
                row.forgiven += 1;
            }
            row.held = None;
        }
    }

    /// Promise 7: nobody asks for a token while holding one that only waits to be saved.
    pub(crate) fn granted(
        &mut self,
        user: usize,
        host: usize,
        password: &str,
        jwt: String,
        worth_until: Instant,
    ) {
        let daemon = self.daemon;
        let now = Instant::now();
        let row = self.rows.get_mut(&user).unwrap();
        if !row.present || row.host != host || row.password != password {
            return;
        }
        let held = row.held.replace((daemon, jwt, worth_until));
        if held.is_some_and(|(holder, _, worth_until)| holder == daemon && now < worth_until) {
            self.violation("7", user, "asked for a token while it held one that was not saved yet");
        }
    }

    /// A refresh token goes only to the server, and stands only for the credentials, that the row still says.
    pub(crate) fn check_refresh_token(&mut self, host: usize, user: usize, refresh_token: &str) {
        let Some(session) = self.sessions.get(refresh_token) else { return };
        let row = &self.rows[&user];
        let is_elsewhere = session.host != host;
        let is_stale = (row.host != session.host || row.password != session.password)
            && row.changed_at.elapsed() > SHORT;
        if row.present && (is_elsewhere || is_stale) {
            self.violation("3", user, "renewed with a refresh token that other credentials brought");
        }
    }

    /// Looks at everyone.
    pub(crate) fn look(&mut self) {
        let users: Vec<usize> = self.rows.keys().copied().collect();
        for user in users {
            self.check_fresh(user, "as applications see it");
            let waits = self.rows[&user].unrecorded;
            if self.db_is_well() && waits.is_some_and(|since| since.elapsed() > SHORT) {
                let row = self.rows.get_mut(&user).unwrap();
                row.unrecorded = None;
                if row.present && row.excused_until < Instant::now() {
                    self.violation("2", user, "its refusal is not durable after three minutes");
                }
            }
        }
    }
}
