//! The audit: checks of the promises, which name the customer and the moment of a violation.

use tokio::time::{Duration, Instant};

use super::world::{Row, World};

/// How long a token may be stale after a fault: no daemon, a clock step, a changed row, a fault of the database or the
/// server. It is the current wake, the next one, and a pass that waits for a silent server.
pub(crate) const SHORT: Duration = Duration::from_secs(180);

/// The same for a token that ended during the fault: the longest back-off (30 minutes and 20 %), and `SHORT`.
pub(crate) const LONG: Duration = Duration::from_secs(36 * 60 + 180);

/// The counters and the violations of a run.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) logins: u64,
    /// The passwords that were sent, whether or not they arrived.
    pub(crate) passwords: u64,
    pub(crate) probes: u64,
    pub(crate) polls: u64,
    pub(crate) checks: u64,
    /// Checks that found a dead token.
    pub(crate) dead: u64,
    pub(crate) renewals: u64,
    pub(crate) saved: u64,
    pub(crate) limited: u64,
    pub(crate) lapses: u64,
    /// The most wrong passwords that ThingsBoard has counted for a user, without those that an operator forced.
    pub(crate) counted_most: u32,
    /// Sends that an operator forced.
    pub(crate) forced: u64,
    pub(crate) ledger_losses: u64,
    /// Accounts that were locked, each by wrong passwords that were allowed.
    pub(crate) locked: u64,
    pub(crate) bad_rows: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) digest: u64,
}

impl World {
    pub(crate) fn violation(&mut self, promise: &str, user: usize, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let about = self.rows.get(&user).map_or_else(String::new, |row| {
            let server = &self.servers[row.server];
            format!(
                "customer {user} (login {}, server {}, {:?}, tokens of {} s)",
                row.login, row.server, server.behaviour, server.life
            )
        });
        let Self { setup, .. } = self;
        self.audit.violations.push(format!(
            "seed {0} ({2} daemons): promise {promise}: {about} at {at:.3} s: {what}; rerun with {1}",
            setup.seed,
            setup.rerun(),
            setup.daemons
        ));
    }

    /// Prints an event of the login that `TBTOKEN_SIM_STORY=N` names, to find the cause of a violation.
    pub(crate) fn log(&self, login: usize, what: impl FnOnce() -> String) {
        if self.setup.story == Some(login as u64) {
            let at = self.began.elapsed().as_secs_f64();
            println!("{at:>12.3} s, {}, login {login}: {}", self.machine_time().format("%F %T%.3f"), what());
        }
    }

    /// Prints an event of a server.
    pub(crate) fn log_for_server(&self, server: usize, what: impl FnOnce() -> String) {
        let login = self.setup.story.and_then(|login| usize::try_from(login).ok());
        if let Some(login) = login.filter(|login| self.accounts.contains_key(&(server, *login))) {
            self.log(login, || format!("server {server} {}", what()));
        }
    }

    /// Prints an event of the whole world.
    pub(crate) fn log_for_all(&self, what: &str) {
        if let Some(login) = self.setup.story {
            self.log(usize::try_from(login).unwrap(), || what.to_owned());
        }
    }

    pub(crate) fn db_is_well(&self) -> bool {
        !self.db.read_fails && !self.db.write_fails && !self.db.half_fails
    }

    /// Allows a stale token for a while, because a fault ends now.
    pub(crate) fn excuse(&mut self, user: usize) {
        let grace = if self.is_taken_for_alive(user) { SHORT } else { LONG };
        self.excuse_for(user, grace);
    }

    pub(crate) fn excuse_for(&mut self, user: usize, grace: Duration) {
        let row = self.rows.get_mut(&user).unwrap();
        row.excused_until = row.excused_until.max(Instant::now() + grace);
    }

    /// A daemon ends while the database is in trouble: perhaps a wait that was over is still in the records.
    pub(crate) fn excuse_waits_that_ended_unrecorded(&mut self) {
        if self.db_is_well() {
            return;
        }
        let waiting: Vec<usize> = self.rows.keys().copied().filter(|user| !self.is_alive(*user)).collect();
        waiting.into_iter().for_each(|user| self.excuse_for(user, LONG));
    }

    /// Notes a change of the row.
    pub(crate) fn note_row_change(&mut self, user: usize) {
        self.excuse_for(user, SHORT);
        self.forget_row(user);
        let row = self.rows.get_mut(&user).unwrap();
        row.changed_at = Instant::now();
        if row.present && !std::mem::replace(&mut row.was_there, true) {
            row.came_at = row.changed_at;
        }
        row.was_there = row.present;
        row.last_charge_since = None;
        let credentials = row.credentials();
        self.log(self.rows[&user].login, || format!("row {user} changes: {:?}", self.rows[&user]));
        let row = self.rows.get_mut(&user).unwrap();
        if std::mem::replace(&mut row.said, credentials.clone()) != credentials {
            row.is_parked = false;
        }
        // Earlier requests do not matter, because other rows may have these credentials, or the row may return.
        self.allow_first_attempt(&credentials);
    }

    /// Allows stale tokens for all rows of this server until then.
    pub(crate) fn excuse_server(&mut self, server: usize, until: Instant) {
        for row in self.rows.values_mut().filter(|row| row.server == server) {
            row.trouble_until = row.trouble_until.max(until);
        }
    }

    /// Checks that a refresh token is sent only to the server, and only for the user name, of some row.
    pub(crate) fn check_refresh_token(&mut self, server: usize, refresh_token: &str) {
        let Some(session) = self.sessions.get(refresh_token).cloned() else { return };
        let is_new = |row: &Row| row.changed_at.elapsed() <= SHORT;
        let is_said = |row: &Row| {
            let credentials = row.credentials();
            (credentials.server, credentials.port, credentials.name)
                == (session.credentials.server, session.credentials.port, session.credentials.name)
        };
        let rows = self.rows_of(session.credentials.login).filter(|(_, row)| row.present || is_new(row));
        let is_fine =
            session.credentials.server == server && rows.clone().any(|(_, row)| is_said(row) || is_new(row));
        let user = { rows }.next().map(|(user, _)| user);
        if let Some(user) = user.filter(|_| !is_fine) {
            self.violation("3", user, "renewed with a refresh token of another server or user name");
        }
    }
}
