//! Promise 2, for each user of ThingsBoard: limits of the wrong passwords that are counted and of repeated rejections. One
//! password of an account is in flight at a time.

use std::collections::{BTreeMap, BTreeSet};

use tbtokend::model::{BaseUrl, Credentials, Failure, Fingerprint, FingerprintKey, Secret};
use tokio::time::{Duration, Instant};

use super::audit::SHORT;
use super::ledger::Known;
use super::world::{Behaviour, REQUEST_TIMEOUT, Row, World, url, username};

/// The credentials in a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowCredentials {
    pub(crate) server: usize,
    /// Whether the URL has the other port, which is another server for the daemon, but not another account.
    pub(crate) port: bool,
    pub(crate) login: usize,
    /// The number of the spelling of the user name.
    pub(crate) name: usize,
    pub(crate) password: String,
}

/// An account, and a user of ThingsBoard: server and login.
pub(crate) type AccountId = (usize, usize);

impl RowCredentials {
    pub(crate) fn account(&self) -> AccountId {
        (self.server, self.login)
    }

    /// Returns the user with the exact user name.
    fn user(&self) -> (usize, bool, usize, usize) {
        (self.server, self.port, self.login, self.name)
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let url = url(self.server, if self.port { 3 } else { 0 }).into();
        let password = Secret::new(self.password.clone());
        key().fingerprint(&Credentials { url, username: username(self.login, self.name), password })
    }
}

/// Returns the key of the simulated store.
pub(crate) fn key() -> FingerprintKey {
    FingerprintKey::new(&[7; FingerprintKey::BYTES])
}

/// The rejection of credentials, as far as daemons know it.
#[derive(Debug, Default)]
struct Rejection {
    learned_at: u64,
    /// The daemons that know it.
    by: BTreeSet<u32>,
    /// When the store's ledger first had it.
    stored_at: Option<u64>,
    /// How many more sends an operator has allowed.
    leave: u32,
}

/// The history of all passwords.
#[derive(Debug, Default)]
pub(crate) struct Passwords {
    rejections: BTreeMap<RowCredentials, Rejection>,
    /// Refused without being counted: the daemons, and how often each.
    uncounted: BTreeMap<RowCredentials, BTreeMap<u32, usize>>,
    /// The passwords in flight, and when each ends at the latest.
    flights: BTreeMap<AccountId, Vec<(u64, Instant)>>,
    /// When the latest charge of each account was stored in the ledger.
    charged_at: BTreeMap<AccountId, u64>,
    /// The accounts with a charge in the store's ledger whose password was not sent yet.
    charged: BTreeSet<AccountId>,
    /// When credentials last worked, and when a refresh token of the user last did.
    worked_at: BTreeMap<RowCredentials, u64>,
    refreshed_at: BTreeMap<(usize, bool, usize, usize), u64>,
    /// How often an operator has forced a send since the counter was zero.
    forced: BTreeMap<AccountId, u32>,
    /// The number of passwords sent to each account.
    pub(crate) sent: BTreeMap<AccountId, u32>,
}

impl World {
    /// Notes that a daemon begins to send a password. Returns the number of the flight.
    pub(crate) fn begin_send(&mut self, daemon: u32, credentials: &RowCredentials, within: Duration) -> u64 {
        let (number, now) = (self.serial(), Instant::now());
        self.log(credentials.login, || format!("daemon {daemon} sends {credentials:?}"));
        self.audit.passwords += 1;
        *self.passwords.sent.entry(credentials.account()).or_default() += 1;
        let flights = self.passwords.flights.entry(credentials.account()).or_default();
        flights.retain(|(_, until)| now < *until);
        let others = flights.len();
        flights.push((number, now + within.min(REQUEST_TIMEOUT)));
        if others > 0 {
            self.violation("2", credentials.login, "two passwords of one account are in flight");
        }
        if !self.passwords.charged.remove(&credentials.account()) {
            self.violation("2", credentials.login, "a password is sent whose charge is not in the store");
        }
        let charged_at = self.passwords.charged_at.get(&credentials.account()).copied();
        let Some(rejection) = self.passwords.rejections.get(credentials) else { return number };
        let is_known = rejection.by.contains(&daemon)
            || rejection.stored_at.is_some_and(|stored| charged_at.is_none_or(|charged| stored < charged));
        if rejection.leave > 0 {
            // An operator's send starts a new count.
            self.passwords.rejections.remove(credentials);
        } else if is_known {
            let by = format!("{:?}", rejection.by);
            let what =
                format!("daemon {daemon} sends rejected credentials again; known to {by}: {credentials:?}");
            self.violation("2 and 3", credentials.login, &what);
        }
        number
    }

    /// Notes that a daemon no longer waits for the answer.
    pub(crate) fn end_flight(&mut self, account: AccountId, number: u64) {
        if let Some(flights) = self.passwords.flights.get_mut(&account) {
            flights.retain(|(known, _)| *known != number);
        }
    }

    /// Notes that ThingsBoard has counted a wrong password, and checks the budget.
    pub(crate) fn count_wrong_password(&mut self, credentials: &RowCredentials) {
        let failures = self.accounts[&credentials.account()].failures;
        let forced = self.passwords.forced.get(&credentials.account()).copied().unwrap_or(0);
        self.log(credentials.login, || {
            format!("server {} counts {failures} wrong passwords: {credentials:?}", credentials.server)
        });
        self.audit.counted_most = self.audit.counted_most.max(failures.saturating_sub(forced));
        if failures > u32::from(self.budget) + forced {
            let what = format!(
                "ThingsBoard has counted {failures} wrong passwords, {forced} of them forced; the budget is {}",
                self.budget
            );
            self.violation("2", credentials.login, &what);
        }
        // Credentials that worked before prove that the password was changed.
        if let Some(worked_at) = self.passwords.worked_at.remove(credentials) {
            self.forgive_before(credentials, worked_at);
        }
    }

    /// Notes that a right password has reset ThingsBoard's counter.
    pub(crate) fn reset_counter(&mut self, credentials: &RowCredentials) {
        self.log(credentials.login, || format!("server {} accepts {credentials:?}", credentials.server));
        let serial = self.serial();
        self.passwords.worked_at.insert(credentials.clone(), serial);
        self.passwords.rejections.remove(credentials);
        if !self.is_asking {
            self.passwords.forced.remove(&credentials.account());
        }
    }

    pub(crate) fn note_refresh_token_worked(&mut self, credentials: &RowCredentials) {
        let serial = self.serial();
        self.passwords.refreshed_at.insert(credentials.user(), serial);
    }

    pub(crate) fn note_refresh_token_outdated(&mut self, credentials: &RowCredentials) {
        if let Some(refreshed_at) = self.passwords.refreshed_at.remove(&credentials.user()) {
            self.forgive_before(credentials, refreshed_at);
        }
    }

    /// Forgets the rejections before `serial`, because the password of this user was changed since.
    fn forgive_before(&mut self, credentials: &RowCredentials, serial: u64) {
        let user = (credentials.server, credentials.login, credentials.name);
        self.passwords.rejections.retain(|known, rejection| {
            (known.server, known.login, known.name) != user || rejection.learned_at > serial
        });
    }

    /// Notes the outcome of a password that a daemon gets.
    pub(crate) fn note_password_outcome(
        &mut self,
        daemon: u32,
        credentials: &RowCredentials,
        failure: Option<&Failure>,
    ) {
        self.log(credentials.login, || format!("daemon {daemon} hears {failure:?}"));
        let serial = self.serial();
        match failure {
            None => {
                self.passwords.uncounted.remove(credentials);
                self.end_doubt_of_server(credentials.server);
            }
            Some(Failure::CredentialsRejected | Failure::AccountLocked) => {
                self.end_doubt_of_server(credentials.server);
                if self.rows_with(credentials).is_empty() {
                    // The row was changed in the meantime. Rejections that no row has are remembered for a while only.
                    return;
                }
                let bad_rows = &mut self.audit.bad_rows;
                let rejection = self.passwords.rejections.entry(credentials.clone()).or_insert_with(|| {
                    *bad_rows += 1;
                    Rejection::default()
                });
                rejection.learned_at = serial;
                rejection.by.insert(daemon);
            }
            Some(failure) if failure.is_permanent() => {
                if matches!(failure, Failure::PasswordExpired | Failure::SecondFactorRequired) {
                    self.end_doubt_of_server(credentials.server);
                }
                self.note_uncounted_failure(daemon, credentials, failure);
            }
            Some(Failure::Unreachable { .. }) => {}
            Some(_) => self.put_server_in_doubt(credentials.server),
        }
    }

    /// Notes a failure that ThingsBoard does not count. The customers are parked (3), and each row is tried once a day.
    fn note_uncounted_failure(&mut self, daemon: u32, credentials: &RowCredentials, failure: &Failure) {
        let rows = self.rows_with(credentials);
        for row in &rows {
            self.rows.get_mut(row).unwrap().is_parked = true;
        }
        let times =
            self.passwords.uncounted.entry(credentials.clone()).or_default().entry(daemon).or_default();
        *times += 1;
        let times = *times;
        // With two daemons, one may overwrite the record of the other.
        if times > rows.len().max(1) && self.setup.daemons == 1 {
            let what = format!("sent {times} times for {} rows by daemon {daemon}: {failure}", rows.len());
            self.violation("3", credentials.login, &what);
        }
    }

    /// Allows one attempt, because a row has these credentials from now on.
    pub(crate) fn allow_first_attempt(&mut self, credentials: &RowCredentials) {
        self.passwords.uncounted.remove(credentials);
    }

    /// Notes that a daemon got a token of this account, which ends its failures.
    pub(crate) fn note_renewal(&mut self, account: AccountId) {
        self.passwords.uncounted.retain(|credentials, _| credentials.account() != account);
    }

    /// Allows another daily attempt, because a day may have passed by the daemon's clock.
    pub(crate) fn forget_uncounted_failures(&mut self) {
        self.passwords.uncounted.clear();
    }

    /// Notes that an operator names a row, with or without force.
    pub(crate) fn note_named_row(&mut self, user: usize, with_force: bool) {
        let credentials = self.rows[&user].credentials();
        self.rows.get_mut(&user).unwrap().asked = true;
        self.passwords.uncounted.remove(&credentials);
        if with_force {
            self.audit.forced += 1;
            *self.passwords.forced.entry(credentials.account()).or_default() += 1;
            if let Some(rejection) = self.passwords.rejections.get_mut(&credentials) {
                rejection.leave += 1;
            }
        }
    }

    /// Ends the permissions of operators that were not used.
    pub(crate) fn end_leaves(&mut self) {
        self.passwords.rejections.values_mut().for_each(|rejection| rejection.leave = 0);
    }

    /// Clears ThingsBoard's counter, because an administrator enabled the user or it is a new one.
    pub(crate) fn clear_counter(&mut self, account: AccountId) {
        self.accounts.get_mut(&account).unwrap().failures = 0;
    }

    /// Notes the new content of the store's ledger for an account.
    pub(crate) fn note_ledger(&mut self, account: AccountId, known: &Known, is_new_charge: bool) {
        let serial = self.serial();
        self.log(account.1, || format!("the ledger says {known:?}"));
        if is_new_charge {
            self.passwords.charged_at.insert(account, serial);
            self.passwords.charged.insert(account);
        }
        let mut gone = Vec::new();
        for (credentials, rejection) in &mut self.passwords.rejections {
            if credentials.account() == account
                && known.rejected.contains(&credentials.fingerprint().to_text())
            {
                rejection.stored_at.get_or_insert(serial);
            } else if credentials.account() == account
                && rejection.stored_at.is_some()
                && rejection.leave == 0
            {
                gone.push(credentials.clone());
            }
        }
        // Of the rejections that no row has, the ledger remembers the latest eight.
        for credentials in gone {
            if self.rows_with(&credentials).is_empty() {
                self.passwords.rejections.remove(&credentials);
            }
        }
    }

    /// Notes that the store has lost its ledger, or parts of it.
    pub(crate) fn note_ledger_loss(&mut self) {
        self.passwords.rejections.values_mut().for_each(|rejection| rejection.stored_at = None);
    }

    /// Returns the rows with these credentials.
    pub(crate) fn rows_with(&self, credentials: &RowCredentials) -> Vec<usize> {
        let is_same = |row: &Row| row.present && row.credentials() == *credentials;
        self.rows_of(credentials.login).filter(|(_, row)| is_same(row)).map(|(user, _)| user).collect()
    }

    /// Notes that a server left a password unanswered, so it gets the next one later each time.
    fn put_server_in_doubt(&mut self, server: usize) {
        let now = Instant::now();
        let it = &mut self.servers[server];
        let wait = Duration::from_secs(60 << it.unanswered.min(4)).min(Duration::from_secs(600));
        it.unanswered += 1;
        let until = now + wait + SHORT;
        self.excuse_server(server, until);
    }

    fn end_doubt_of_server(&mut self, server: usize) {
        self.servers[server].unanswered = 0;
    }

    /// Notes the rows that are parked when the ledger is lost: the failures in their records stay.
    pub(crate) fn keep_parked_rows(&mut self) {
        let users: Vec<usize> = self.rows.keys().copied().collect();
        for user in users {
            let credentials = self.rows[&user].credentials();
            let fingerprint = credentials.fingerprint().to_text();
            let (server, name) = (self.server_key(user), username(credentials.login, credentials.name));
            let is_forbidden = self.db.ledger_of(credentials.account()).is_some_and(|known| {
                known.rejected.contains(&fingerprint) || known.charges_against(&server, &name) >= self.budget
            });
            self.rows.get_mut(&user).unwrap().is_parked |= is_forbidden;
        }
    }

    fn server_key(&self, user: usize) -> String {
        BaseUrl::parse(&self.rows[&user].url()).unwrap().server_key().as_str().to_owned()
    }

    /// Allows a stale token if the ledger does not allow the row's password, or only after ten minutes of good probes.
    pub(crate) fn check_ledger(&mut self, user: usize) {
        let now = Instant::now();
        // Its server is probed only from the time when the row is due. From then on the ledger may make it wait, and when it
        // ends that wait, the row's turn comes in the next pass.
        let row = &self.rows[&user];
        let written_at = row.in_row.as_ref().map(|token| token.written_at);
        let is_told = row.dead_at.is_some_and(|at| written_at.is_none_or(|written_at| at >= written_at));
        let is_taken_for_alive = self.is_alive(user) || (self.has_died(user) && !is_told);
        if is_taken_for_alive && self.remaining(user).is_some_and(|[least, _]| least > self.window(user)) {
            self.rows.get_mut(&user).unwrap().last_charge_since = None;
            return;
        }
        let row = &self.rows[&user];
        let credentials = row.credentials();
        let Some(known) = self.db.ledger_of(credentials.account()) else {
            self.rows.get_mut(&user).unwrap().last_charge_since = None;
            return;
        };
        let charges =
            known.charges_against(&self.server_key(user), &username(credentials.login, credentials.name));
        if charges == 0 && known.rejected.is_empty() {
            self.rows.get_mut(&user).unwrap().last_charge_since = None;
            return;
        }
        let fingerprint = credentials.fingerprint().to_text();
        let is_rejected = known.rejected.contains(&fingerprint);
        let is_accepted = known.accepted.contains(&fingerprint);
        let is_last = charges > 0 && charges + 1 == self.budget;
        // Whether another row holds accepted credentials is not checked, which allows a little too much.
        let is_kept = is_last && !is_accepted && !known.accepted.is_empty();
        if is_rejected || charges >= self.budget || is_kept {
            self.excuse_for(user, SHORT);
        }
        let is_well = self.servers[credentials.server].behaviour == Behaviour::Well && self.db_is_well();
        let row = self.rows.get_mut(&user).unwrap();
        if !is_last {
            row.last_charge_since = None;
        } else if !is_well || row.last_charge_since.is_none() {
            row.last_charge_since = Some(now);
        }
        if let Some(since) = row.last_charge_since {
            row.excused_until = row.excused_until.max(since + Duration::from_secs(600) + SHORT);
        }
    }

    /// Notes that a new daemon does not know earlier probes.
    pub(crate) fn forget_probes(&mut self) {
        let now = Instant::now();
        for row in self.rows.values_mut() {
            row.last_charge_since = row.last_charge_since.map(|_| now);
        }
    }
}
