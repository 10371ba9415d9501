//! The end of a world: everything works again, and no customer is starved.

use std::collections::HashMap;
use std::time::Duration;

use super::super::super::{Leave, LoginQuery};
use super::super::daemon::INTERVAL;
use super::super::thingsboard::Mode;
use super::World;

impl World {
    /// Everything works again: right credentials get a token within two intervals, or within ten minutes and two intervals
    /// if only the last charge of their account is left.
    pub(super) fn heal(&mut self) {
        self.tell("everything is healed".to_owned());
        self.is_store_locked = false;
        self.is_healed = true;
        for server in &mut self.servers {
            server.set_mode(Mode::Well, self.now);
        }
        for daemon in &mut self.daemons {
            daemon.is_paused = false;
        }
        // What is under way ends, and the back-off of servers in doubt.
        for _ in 0..2 {
            self.pass_time(Duration::from_secs(601));
            (0..self.daemons.len()).for_each(|place| self.settle_all(place));
        }
        for row in &mut self.rows {
            (row.token_until, row.refresh_token, row.not_before) = (None, None, None);
        }
        let mut polls = 0;
        while polls < 14 {
            for place in 0..self.daemons.len() {
                for _ in 0..3 {
                    self.poll(place);
                    self.settle_all(place);
                    self.judge();
                }
            }
            self.pass_time(INTERVAL);
            polls += 1;
        }
        let starved: Vec<String> = (0..self.rows.len()).filter_map(|row| self.is_starved(row)).collect();
        for what in starved {
            self.violation(what);
        }
    }

    pub(super) fn settle_all(&mut self, place: usize) {
        for _ in 0..4 {
            self.write(place);
            self.hear(place);
            self.hear_renewal(place);
        }
    }

    pub(super) fn is_starved(&mut self, place: usize) -> Option<String> {
        let row = self.rows[place].clone();
        let user = self.servers[row.server].user(row.username).clone();
        if row.token_until.is_some()
            || user.password != row.password
            || user.is_disabled
            || user.has_second_factor
        {
            return None;
        }
        let (server, held) = (row.server_key.clone(), self.held(row.account));
        let query = LoginQuery {
            account: row.account,
            server: &server,
            username: row.username,
            credentials: row.credentials,
            held: &held,
            leave: Leave::None,
        };
        let refusals: HashMap<usize, _> = self
            .daemons
            .iter()
            .enumerate()
            .filter_map(|(daemon, known)| Some((daemon, known.ledger.refusal(&query)?)))
            .collect();
        let why = self.daemons[0].ledger.may_send(&query, self.now);
        (refusals.is_empty()).then(|| {
            format!("row {place} ({} {:?} {}) has no token: {why:?}", row.url, row.username, row.password)
        })
    }
}
