//! What befalls a world: rows and passwords change, daemons are killed, the ledger is lost.

use chrono::TimeDelta;
use rand::RngExt as _;

use super::super::daemon::{Daemon, Store};
use super::World;
use super::rows::{PASSWORDS, Row, URLS, USERNAMES};
use crate::model::{AccountKey, BaseUrl};
use crate::store::Stamp;

impl World {
    pub(super) fn change_server(&mut self) {
        let server = self.rng.random_range(0..URLS.len());
        let username = USERNAMES[self.rng.random_range(0..USERNAMES.len())];
        match self.rng.random_range(0..4) {
            0 => self.servers[server].user(username).is_disabled ^= true,
            1 => self.servers[server].user(username).has_second_factor ^= true,
            2 => {
                let has_new_key = self.rng.random_bool(0.5);
                self.tell(format!("server {server} restarts, with a new key: {has_new_key}"));
                self.servers[server].restart(has_new_key);
            }
            // In all less than the year after which charges of accounts without rows are forgotten.
            _ => self.clock_step = TimeDelta::days(self.rng.random_range(-60..300)),
        }
    }

    pub(super) fn change_row(&mut self) {
        let row = self.random_row();
        match self.rng.random_range(0..4) {
            0 => self.rows.push(row),
            1 if self.rows.len() > 1 => {
                let place = self.rng.random_range(0..self.rows.len());
                self.tell(format!("row {place} goes"));
                // Logins under way name rows by their place: the last one takes this one's.
                self.rows[place] = row;
            }
            _ => {
                let place = self.rng.random_range(0..self.rows.len());
                let known = &self.rows[place];
                let username = if self.rng.random_bool(0.3) { row.username } else { known.username };
                // Another password is no reason to give up a refresh token.
                let refresh_token = known.refresh_token.clone().filter(|_| username == known.username);
                let changed = Row::new(&self.key, known.server, known.url, username, row.password);
                self.rows[place] = Row { refresh_token, ..changed };
                self.tell(format!("row {place} is {username:?} {}", row.password));
            }
        }
        // What no row holds may be forgotten.
        let rows = &self.rows;
        self.rejections.retain(|credentials, _| rows.iter().any(|row| row.credentials == *credentials));
    }

    /// A daemon that starts after the ledger was lost, and before another one has written back, knows nothing of what was
    /// lost: a stated limit.
    pub(super) fn kill(&mut self, place: usize) -> bool {
        let stored = self.store.stamp;
        let is_written_back = |daemon: &Daemon| {
            let goes_on = |known: Stamp| known.id == stored.id && known.number <= stored.number;
            daemon.ledger.stamp().is_none_or(|known| goes_on(known) && daemon.ledger.is_trusted())
        };
        let is_killed = self.daemons.iter().all(is_written_back);
        if is_killed {
            self.tell(format!("daemon {place} is killed"));
            let hanging = self.daemons[place].writing.take().filter(|writing| writing.written.is_none());
            self.late_writes.extend(hanging.map(|writing| writing.write));
            self.daemons[place] = Daemon::new(&format!("daemon{place}-{}", self.story.len()));
        }
        is_killed
    }

    /// The database is locked or freed, its ledger dropped, or replaced by a backup. What one daemon alone knows is lost if it
    /// does not write before another one charges: a stated limit.
    pub(super) fn break_store(&mut self) {
        let stamp = self.store.stamp;
        let knows_all = |daemon: &Daemon| daemon.ledger.is_trusted() && daemon.known() == Some(stamp);
        let do_all_know = self.daemons.iter().all(knows_all);
        let does_one_know = self.daemons.iter().any(knows_all);
        let is_awake = |daemon: &Daemon| !daemon.is_paused;
        let is_written_back = does_one_know && !self.is_store_locked && self.daemons.iter().all(is_awake);
        match self.rng.random_range(0..6) {
            0 | 1 => self.is_store_locked ^= true,
            2 => self.backup = Some(self.store.clone()),
            _ if !do_all_know && !is_written_back => return,
            3 | 4 => {
                if let Some(backup) = self.backup.clone() {
                    self.tell("an older ledger is restored".to_owned());
                    self.store = backup;
                }
            }
            _ => {
                self.tell("the ledger is dropped".to_owned());
                self.store = Store::new(self.rng.random_range(0..1_000_000));
            }
        }
        if self.store.stamp != stamp && !do_all_know {
            self.write_back();
        }
    }

    /// All daemons write back, in any order; none charges meanwhile. The one that knows most sees the loss first.
    fn write_back(&mut self) {
        let id = self.store.stamp.id;
        let number = |daemon: &Daemon| daemon.known().map(|stamp| (stamp.id == id, stamp.number));
        let most = (0..self.daemons.len()).max_by_key(|place| number(&self.daemons[*place])).unwrap();
        let known = self.daemons[most].ledger.stamp();
        self.end_write(most, 20);
        // A daemon that was killed as its write ended knows nothing that is not in the store.
        if self.daemons[most].ledger.stamp().is_some() && known.is_some() {
            self.begin_write(most, true);
            self.end_write(most, 20);
            self.begin_write(most, true);
        }
        for _ in 0..200 {
            let store = self.store.stamp;
            let is_behind = |daemon: &Daemon| {
                let is_aware = daemon.ledger.stamp().is_some_and(|known| known.id == store.id);
                !is_aware
                    || !daemon.ledger.is_trusted()
                    || daemon.ledger.is_unwritten()
                    || daemon.writing.is_some()
            };
            let behind: Vec<usize> =
                (0..self.daemons.len()).filter(|place| is_behind(&self.daemons[*place])).collect();
            if behind.is_empty() {
                return;
            }
            let place = behind[self.rng.random_range(0..behind.len())];
            let daemon = &self.daemons[place];
            if daemon.writing.is_some() {
                let fate = self.rng.random_range(0..20);
                self.end_write(place, fate);
            } else if daemon.logins.is_empty() && self.rng.random_bool(0.3) || daemon.ledger.stamp().is_none()
            {
                self.read(place);
            } else {
                self.begin_write(place, true);
            }
        }
    }

    pub(super) fn change_password_in_thingsboard(&mut self) {
        let server = self.rng.random_range(0..URLS.len());
        let username = USERNAMES[self.rng.random_range(0..USERNAMES.len())];
        let password = PASSWORDS[self.rng.random_range(0..PASSWORDS.len())];
        self.tell(format!("the password of {username:?} on server {server} is now {password}"));
        self.servers[server].user(username).change_password(password);
        // What was rejected may be right now, and what worked since may prove it.
        let account = AccountKey::of(&BaseUrl::parse(URLS[server][0]).unwrap(), username);
        self.rejections.retain(|_, other| *other != account);
    }
}
