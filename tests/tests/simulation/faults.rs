//! The random faults: which, when, and for how long.

use chrono::TimeDelta;
use tokio::time::{Duration, Instant};

use super::audit::SHORT;
use super::world::{Behaviour, Loss, Reach, World};

impl World {
    fn seconds(&mut self, low: i64, high: i64) -> Duration {
        Duration::from_secs(self.rng.between(low, high).unsigned_abs())
    }

    fn users(&self) -> Vec<usize> {
        self.rows.keys().copied().collect()
    }

    /// Ends the faults whose time is over.
    pub(crate) fn end_faults(&mut self, everything: bool) {
        let now = Instant::now();
        for index in 0..self.servers.len() {
            let server = &mut self.servers[index];
            if server.behaviour != Behaviour::Well && (everything || server.until <= now) {
                // Some servers are slow for a while after a worse fault, with few and long logins.
                let crawls =
                    server.behaviour != Behaviour::Crawling && !everything && self.rng.chance(30_000);
                self.log_for_all(&format!("server {index} recovers"));
                self.end_trouble(index);
                if crawls {
                    let lasts = self.seconds(60, 900);
                    let server = &mut self.servers[index];
                    server.set_behaviour(Behaviour::Crawling, now + lasts);
                    self.thaw(index);
                    continue;
                }
                self.servers[index].behaviour = Behaviour::Well;
                self.thaw(index);
            }
        }
        let db = &mut self.db;
        if db.is_slow && (everything || db.until <= now) {
            db.is_slow = false;
            for user in self.users() {
                self.excuse_for(user, SHORT);
            }
        }
        let db = &mut self.db;
        if (db.read_fails || db.write_fails || db.half_fails) && (everything || db.until <= now) {
            (db.read_fails, db.write_fails, db.half_fails) = (false, false, false);
            for user in self.users() {
                self.excuse_for(user, SHORT);
            }
        }
    }

    /// Decides by chance, about every ten seconds, which kinds of faults begin.
    pub(crate) fn begin_faults(&mut self) {
        if self.rng.chance(600) {
            self.begin_server_fault();
        }
        if self.rng.chance(200) {
            let server = self.rng.index(self.servers.len());
            self.sessions.retain(|_, session| session.credentials.server != server);
        }
        // The chance does not depend on the size of the table, so that small tables see all changes.
        if self.rng.chance(1_500) {
            self.change_customer();
        }
        if self.rng.chance(100) {
            self.begin_database_fault();
        }
        if self.rng.chance(300) {
            self.back_up_ledger();
        }
        // A restore just before the daemons are killed equals one without a running daemon, which is not allowed.
        if self.rng.chance(60) && self.db_is_well() && !self.db.is_slow {
            self.lose_ledger();
            self.db.lost_at = Some(Instant::now());
        }
        if self.rng.chance(60) {
            self.restart_server();
        }
        if self.rng.chance(60) {
            let server = self.rng.index(self.servers.len());
            self.change_signing_key(server);
        }
        if self.rng.chance(60) && self.siege_until < Instant::now() {
            self.attack_account();
        }
        if self.rng.chance(40) {
            let by = TimeDelta::seconds(self.rng.between(-3_600, 3_600));
            self.set_clock(by);
            self.note_clock_step();
        }
        if self.rng.chance(12) {
            let hours = self.rng.between(1, 8);
            self.slept += TimeDelta::hours(hours);
            self.note_clock_step();
        }
    }

    fn note_clock_step(&mut self) {
        self.log_for_all(&format!("the clock moves: set by {}, slept {}", self.jump, self.slept));
        self.clock_moved_at = Instant::now();
        // By the new clock these tokens may have ended, so a daemon may request others.
        self.held.clear();
        self.end_all_waits();
        self.forget_uncounted_failures();
        for user in self.users() {
            let row = &self.rows[&user];
            let was_excused = row.excused_until.max(row.trouble_until) > Instant::now();
            if was_excused {
                self.excuse(user);
            } else {
                self.excuse_for(user, SHORT);
            }
        }
    }

    fn begin_server_fault(&mut self) {
        let index = self.rng.index(self.servers.len());
        let seconds = self.rng.between(5, 600).unsigned_abs();
        let behaviour = match self.rng.below(14) {
            0 => Behaviour::Refusing,
            1 => Behaviour::Silent,
            2 => Behaviour::Slow,
            3 => {
                let most = u32::try_from(self.rng.between(1, 10)).unwrap();
                Behaviour::Limited(most, self.rng.chance(30_000).then_some(seconds))
            }
            4 | 5 => Behaviour::Frozen,
            6 => Behaviour::Crawling,
            7 => Behaviour::WithoutDatabase,
            8..11 => {
                let reach = self.rng.pick(&[Reach::All, Reach::Logins, Reach::Passwords]);
                Behaviour::Lost(self.loss(), reach)
            }
            _ => Behaviour::Before(self.loss()),
        };
        let lasts = if self.rng.chance(50_000) { self.seconds(5, 120) } else { self.seconds(120, 5_400) };
        let now = Instant::now();
        let server = &mut self.servers[index];
        if server.behaviour == Behaviour::Well {
            server.set_behaviour(behaviour, now + lasts);
            self.log_for_all(&format!("server {index} turns {behaviour:?} for {lasts:?}"));
        }
    }

    fn loss(&mut self) -> Loss {
        match self.rng.below(12) {
            0..2 => Loss::TimedOut,
            2 => Loss::Closed,
            3..6 => Loss::Status(self.rng.pick(&[500, 502, 503, 504])),
            6 => Loss::Limited,
            7 => Loss::Forbidden,
            8 => Loss::NotFound,
            9 => self.rng.pick(&[Loss::Page, Loss::NoToken, Loss::TooLong]),
            10 => Loss::ProxyLogin,
            _ => Loss::Redirect,
        }
    }

    /// Begins all faults at once that can cost charges of one account: wrong rows, a faulty server, and daemons that are
    /// killed very often.
    fn attack_account(&mut self) {
        let user = self.rng.pick(&self.users());
        let row = &self.rows[&user];
        let (server, login, is_right) = (row.server, row.login, self.is_right(user));
        if !is_right || self.servers[server].behaviour != Behaviour::Well {
            return;
        }
        let password = format!("password-{user}-{}", self.serial());
        if self.rng.chance(50_000) {
            self.set_password(server, login, &password);
        } else {
            self.rows.get_mut(&user).unwrap().password = password;
        }
        for _ in 0..self.rng.index(4) {
            self.add_row_of_same_account(user);
        }
        self.sessions.retain(|_, session| session.credentials.account() != (server, login));
        for user in self.users() {
            let row = self.rows.get_mut(&user).unwrap();
            if (row.server, row.login) == (server, login) {
                (row.token, row.expiry, row.in_row) = (None, None, None);
                self.note_row_change(user);
            }
        }
        let behaviour = match self.rng.below(6) {
            0 => Behaviour::Crawling,
            1 => Behaviour::Frozen,
            2 => Behaviour::Before(Loss::Status(504)),
            _ => Behaviour::Lost(self.loss(), self.rng.pick(&[Reach::All, Reach::Logins, Reach::Passwords])),
        };
        let until = Instant::now() + self.seconds(300, 2_400);
        self.servers[server].set_behaviour(behaviour, until);
        self.siege_until = until + Duration::from_secs(300);
        self.log_for_all(&format!("login {login} is attacked: {behaviour:?}"));
    }

    /// Restarts a ThingsBoard, which forgets which refresh tokens are outdated.
    fn restart_server(&mut self) {
        let index = self.rng.index(self.servers.len());
        self.log_for_all(&format!("server {index} restarts"));
        for (_, account) in self.accounts.range_mut((index, 0)..(index + 1, 0)) {
            account.changed_at = 0;
        }
    }

    fn begin_database_fault(&mut self) {
        let lasts = self.seconds(5, 900);
        let kind = self.rng.below(5);
        if !self.db_is_well() || self.db.is_slow || self.db.lost_at.is_some_and(|at| at.elapsed() < SHORT) {
            return;
        }
        self.db.until = Instant::now() + lasts;
        self.db.read_fails = matches!(kind, 0 | 1);
        self.db.write_fails = matches!(kind, 0 | 2);
        self.db.half_fails = kind == 3;
        self.db.is_slow = kind == 4;
        self.log_for_all(&format!("the database is in trouble of kind {kind} for {lasts:?}"));
    }

    /// Changes a customer in ThingsBoard, in the table, or in both.
    fn change_customer(&mut self) {
        let user = self.rng.pick(&self.users());
        let row = &self.rows[&user];
        let (server, login, is_right) = (row.server, row.login, self.is_right(user));
        let password = format!("password-{user}-{}", self.serial());
        match self.rng.below(if is_right { 17 } else { 5 }) {
            // Wrong customers are mostly corrected, so that there are always right ones left.
            0..3 if !is_right => self.correct_customer(user, &password),
            3 if !is_right => {
                // One wrong password replaces another.
                self.rows.get_mut(&user).unwrap().password = password;
                self.note_row_change(user);
            }
            4 if !is_right => self.bring_row_back(user),
            0 | 1 => self.set_password(server, login, &password),
            2 | 3 => {
                self.rows.get_mut(&user).unwrap().password = password;
                self.note_row_change(user);
            }
            4 => {
                self.set_password(server, login, &password);
                self.rows.get_mut(&user).unwrap().password = password;
                self.note_row_change(user);
            }
            5 | 6 => {
                self.rows.get_mut(&user).unwrap().present = false;
                self.note_row_change(user);
            }
            7 => {
                let password = self.rows[&user].password.clone();
                let others = self.servers.len() - 1;
                let to = self.rng.index(others);
                if to != server {
                    self.accounts.remove(&(to, login));
                    self.ensure_account(to, login, &password);
                    self.rows.get_mut(&user).unwrap().server = to;
                    self.note_row_change(user);
                }
            }
            8 => self.accounts.get_mut(&(server, login)).unwrap().active = false,
            9 => self.accounts.get_mut(&(server, login)).unwrap().second_factor = true,
            10 => self.accounts.get_mut(&(server, login)).unwrap().is_expired = true,
            11 => self.accounts.get_mut(&(server, login)).unwrap().is_refused_by_policy = true,
            12 => {
                // The account is the same, but a token for the other spelling must not be written.
                let spelling = self.rng.index(4);
                self.rows.get_mut(&user).unwrap().spelling = spelling;
                self.note_row_change(user);
            }
            13 => {
                let name = self.rng.index(super::world::NAMES.len());
                self.rows.get_mut(&user).unwrap().name = name;
                self.note_row_change(user);
            }
            14 => self.add_row_of_same_account(user),
            15 => {
                self.forget_row(user);
                self.write_as_application(user);
            }
            _ => {
                let row = self.rows.get_mut(&user).unwrap();
                (row.token, row.expiry, row.in_row) = (None, None, None);
                row.changed_at = Instant::now();
                self.forget_row(user);
                self.excuse(user);
            }
        }
    }

    /// Corrects the account and the row, and mostly also the other rows of the account.
    fn correct_customer(&mut self, user: usize, password: &str) {
        let (server, login) = (self.rows[&user].server, self.rows[&user].login);
        self.set_password(server, login, password);
        let account = self.accounts.get_mut(&(server, login)).unwrap();
        (account.active, account.second_factor) = (true, false);
        (account.is_expired, account.is_refused_by_policy) = (false, false);
        self.clear_counter((server, login));
        let all = self.rng.chance(70_000);
        for other in self.users() {
            let row = self.rows.get_mut(&other).unwrap();
            if other == user || (all && row.present && (row.server, row.login) == (server, login)) {
                (row.present, row.name) = (true, 0);
                password.clone_into(&mut row.password);
                self.note_row_change(other);
            }
        }
    }

    /// Adds a removed row again with the same credentials, under its own id or another. A rejection still counts.
    fn bring_row_back(&mut self, user: usize) {
        if self.rows[&user].present {
            return;
        }
        if self.rng.chance(50_000) {
            self.rows.get_mut(&user).unwrap().present = true;
            self.note_row_change(user);
            return;
        }
        let row = &self.rows[&user];
        let (server, login, password) = (row.server, row.login, row.password.clone());
        let (spelling, name) = (row.spelling, row.name);
        let id = self.rows.keys().next_back().map_or(0, |last| last + 1);
        self.add(id, server, login, &password);
        let row = self.rows.get_mut(&id).unwrap();
        (row.spelling, row.name) = (spelling, name);
        row.said = row.credentials();
    }

    /// Adds another row of the same account, perhaps with another password, spelling or port.
    fn add_row_of_same_account(&mut self, user: usize) {
        let row = &self.rows[&user];
        let (server, login, password) = (row.server, row.login, row.password.clone());
        if self.rows_of(login).count() >= 6 {
            return;
        }
        let id = self.rows.keys().next_back().map_or(0, |last| last + 1);
        self.add(id, server, login, &password);
        let is_wrong = self.rng.chance(70_000);
        let (spelling, name) = (self.rng.index(4), self.rng.index(super::world::NAMES.len()));
        let password = format!("password-{id}-{}", self.serial());
        let row = self.rows.get_mut(&id).unwrap();
        (row.spelling, row.name) = (spelling, name);
        if is_wrong {
            row.password = password;
        }
        row.said = row.credentials();
    }

    fn set_password(&mut self, server: usize, login: usize, password: &str) {
        let now = self.server_time(server);
        let account = self.accounts.get_mut(&(server, login)).unwrap();
        password.clone_into(&mut account.password);
        account.changed_at = now;
    }
}
