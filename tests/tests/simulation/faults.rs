//! What goes wrong, when, and for how long.

use chrono::TimeDelta;
use tokio::time::{Duration, Instant};

use super::audit::SHORT;
use super::world::{Mood, World};

impl World {
    fn seconds(&mut self, low: i64, high: i64) -> Duration {
        Duration::from_secs(self.dice.between(low, high).unsigned_abs())
    }

    fn users(&self) -> Vec<usize> {
        self.rows.keys().copied().collect()
    }

    /// Ends what is over.
    pub(crate) fn mend(&mut self, everything: bool) {
        let now = Instant::now();
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            if host.mood != Mood::Well && (everything || host.until <= now) {
                host.mood = Mood::Well;
                for user in self.users() {
                    if self.rows[&user].host == index {
                        self.excuse(user);
                    }
                }
            }
        }
        let db = &mut self.db;
        if (db.read_fails || db.write_fails || db.half_fails) && (everything || db.until <= now) {
            (db.read_fails, db.write_fails, db.half_fails) = (false, false, false);
            for user in self.users() {
                self.excuse_for(user, SHORT);
                let row = self.rows.get_mut(&user).unwrap();
                row.unrecorded = row.unrecorded.map(|_| now);
            }
        }
    }

    /// Rolls the dice for each kind of fault, once for every ten seconds or so.
    pub(crate) fn stir(&mut self) {
        if self.dice.chance(600) {
            self.trouble_a_host();
        }
        if self.dice.chance(200) {
            let host = self.dice.index(self.hosts.len());
            self.sessions.retain(|_, session| session.host != host);
        }
        // As many in a small table as in a large one, so that small ones see all of it.
        if self.dice.chance(1_500) {
            self.change_a_customer();
        }
        if self.dice.chance(100) {
            self.trouble_the_database();
        }
        if self.dice.chance(40) {
            let by = TimeDelta::seconds(self.dice.between(-3_600, 3_600));
            self.jump += by;
            self.clock_moved();
        }
        if self.dice.chance(12) {
            let hours = self.dice.between(1, 8);
            self.slept += TimeDelta::hours(hours);
            self.clock_moved();
        }
    }

    fn clock_moved(&mut self) {
        for user in self.users() {
            let row = self.rows.get_mut(&user).unwrap();
            // Its worth ended by the clock, perhaps; an application may ask for another.
            row.held = None;
            let was_excused = row.excused_until > Instant::now();
            if was_excused {
                self.excuse(user);
            } else {
                self.excuse_for(user, SHORT);
            }
        }
    }

    fn trouble_a_host(&mut self) {
        let index = self.dice.index(self.hosts.len());
        let mood = match self.dice.below(5) {
            0 => Mood::Refusing,
            1 => Mood::Silent,
            2 => Mood::Slow,
            3 => Mood::Limited(u32::try_from(self.dice.between(1, 10)).unwrap()),
            _ => Mood::Broken,
        };
        let lasts = if self.dice.chance(50_000) { self.seconds(5, 120) } else { self.seconds(120, 5_400) };
        let now = Instant::now();
        let host = &mut self.hosts[index];
        if host.mood == Mood::Well {
            (host.mood, host.since, host.until) = (mood, now, now + lasts);
        }
    }

    fn trouble_the_database(&mut self) {
        let lasts = self.seconds(5, 900);
        let kind = self.dice.below(4);
        self.db.until = Instant::now() + lasts;
        self.db.read_fails = matches!(kind, 0 | 1);
        self.db.write_fails = matches!(kind, 0 | 2);
        self.db.half_fails = kind == 3;
    }

    /// Someone changes something in ThingsBoard, in the table, or in both.
    fn change_a_customer(&mut self) {
        let user = self.dice.index(self.rows.len());
        let row = &self.rows[&user];
        let (host, is_right) = (row.host, self.is_right(user));
        let password = format!("password-{user}-{}", self.serial());
        match self.dice.below(if is_right { 10 } else { 4 }) {
            // Wrong ones are put right more often than not, so that there is always someone to go wrong.
            0..3 if !is_right => {
                let row = self.rows.get_mut(&user).unwrap();
                row.present = true;
                row.password.clone_from(&password);
                self.set_password(host, user, &password);
                let account = self.accounts.get_mut(&(host, user)).unwrap();
                (account.active, account.second_factor, account.failures) = (true, false, 0);
                self.row_changed(user);
            }
            3 if !is_right => {
                // From one wrong password to the next.
                self.rows.get_mut(&user).unwrap().password = password;
                self.row_changed(user);
            }
            0 | 1 => self.set_password(host, user, &password),
            2 | 3 => {
                self.rows.get_mut(&user).unwrap().password = password;
                self.row_changed(user);
            }
            4 => {
                self.set_password(host, user, &password);
                self.rows.get_mut(&user).unwrap().password = password;
                self.row_changed(user);
            }
            5 => {
                self.rows.get_mut(&user).unwrap().present = false;
                self.row_changed(user);
            }
            6 => {
                let password = self.rows[&user].password.clone();
                let others = self.hosts.len() - 1;
                let to = self.dice.index(others);
                self.accounts.remove(&(to, user));
                self.ensure_account(to, user, &password);
                self.rows.get_mut(&user).unwrap().host = to;
                self.row_changed(user);
            }
            7 => self.accounts.get_mut(&(host, user)).unwrap().active = false,
            8 => self.accounts.get_mut(&(host, user)).unwrap().second_factor = true,
            _ => {
                // Gone and back again, the same: no new story for someone who was refused.
                let row = self.rows.get_mut(&user).unwrap();
                (row.token, row.expiry) = (None, None);
                self.excuse(user);
            }
        }
    }

    fn set_password(&mut self, host: usize, user: usize, password: &str) {
        let now = self.host_time(host);
        let account = self.accounts.get_mut(&(host, user)).unwrap();
        password.clone_into(&mut account.password);
        account.changed_at = now;
    }
}
