//! What the daemons of a world do: read, charge, write, send, and hear.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::super::super::{Answer, HeldCredentials, Leave, LoginQuery, Outcome, Reason};
use super::super::daemon::{Login, REQUEST_TIMEOUT, Renewal, Writing};
use super::super::thingsboard::Renewed;
use super::World;
use super::rows::Row;
use crate::model::{AccountKey, Failure, Fingerprint};
use crate::store::LedgerWritten;

impl World {
    /// Reads the ledger, and charges what may be sent.
    pub(super) fn poll(&mut self, place: usize) {
        if self.daemons[place].is_paused || self.is_store_locked {
            return;
        }
        let daemon = &mut self.daemons[place];
        // The scheduler reads between two passes only.
        if daemon.logins.is_empty() && daemon.renewals.is_empty() && daemon.writing.is_none() {
            let day = self.day();
            self.read(place);
            let daemon = &mut self.daemons[place];
            daemon.ledger.see(self.rows.iter().map(|row| &row.account), day);
            let found = daemon.ledger.take_found_in_flight();
            for row in self.rows.iter().filter(|row| found.contains(&row.account)) {
                daemon.ledger.doubt(&row.server_key, self.now);
            }
        }
        let mut rows: Vec<usize> = (0..self.rows.len()).collect();
        for place in (1..rows.len()).rev() {
            rows.swap(place, self.rng.random_range(0..=place));
        }
        for row in rows {
            let is_over = |until: Option<Instant>| until.is_none_or(|until| until <= self.now);
            if !is_over(self.rows[row].token_until) {
                continue;
            }
            if self.rows[row].refresh_token.is_some() {
                self.renew(place, row);
            } else if is_over(self.rows[row].not_before) {
                self.try_row(place, row, Leave::None);
            }
        }
    }

    pub(super) fn renew(&mut self, place: usize, row_place: usize) {
        let row = &self.rows[row_place];
        let daemon = &mut self.daemons[place];
        let is_under_way = daemon.renewals.iter().any(|renewal| renewal.row == row_place);
        let Some(token) = row.refresh_token.as_ref().filter(|_| !is_under_way) else { return };
        let answer = self.servers[row.server].renew(token);
        let (account, username) = (row.account, row.username);
        daemon.renewals.push(Renewal { row: row_place, account, username, answer });
    }

    /// The answer to a refresh token arrives.
    pub(super) fn hear_renewal(&mut self, place: usize) {
        let daemon = &mut self.daemons[place];
        if daemon.renewals.is_empty() {
            return;
        }
        let Renewal { row, account, username, answer } = daemon.renewals.remove(0);
        match answer {
            Renewed::Works => daemon.ledger.refresh_worked(&account, username),
            Renewed::Outdated => daemon.ledger.refresh_outdated(&account, username),
            Renewed::Refused | Renewed::Unanswered => {}
        }
        let known = &mut self.rows[row];
        match answer {
            _ if known.account != account || known.username != username => {}
            Renewed::Works => known.token_until = Some(self.now + Duration::from_secs(30)),
            Renewed::Outdated | Renewed::Refused => known.refresh_token = None,
            Renewed::Unanswered => {}
        }
        self.tell(format!("daemon {place} hears {answer:?} for the refresh token of {username:?}"));
    }

    pub(super) fn held(&self, account: AccountKey) -> HeldCredentials {
        let mut held: Vec<Fingerprint> =
            self.rows.iter().filter(|row| row.account == account).map(|row| row.credentials).collect();
        held.sort_unstable();
        held.dedup();
        HeldCredentials::new(&held)
    }

    pub(super) fn try_row(&mut self, place: usize, row_place: usize, leave: Leave) {
        let row = self.rows[row_place].clone();
        let (account, server, held) = (row.account, row.server_key.clone(), self.held(row.account));
        let query = LoginQuery {
            account,
            server: &server,
            username: row.username,
            credentials: row.credentials,
            held: &held,
            leave,
        };
        let mut answer = self.daemons[place].ledger.may_send(&query, self.now);
        if answer == Answer::Wait(Reason::Probe) {
            let verdict = self.servers[row.server].probe();
            self.daemons[place].ledger.probed(&server, verdict, self.now);
            answer = self.daemons[place].ledger.may_send(&query, self.now);
        }
        if answer != Answer::Send {
            return;
        }
        let daemon = &self.daemons[place];
        if daemon.doubted.contains(&server)
            && self.servers[row.server].is_bad_for(Duration::from_secs(5), self.now)
        {
            self.violation(format!("{:?} is sent to {}, which does not answer", row.username, row.url));
        }
        let number = self.rng.random();
        let daemon = &mut self.daemons[place];
        // Only a send that the budget did not allow adds to what the counter may reach.
        let is_forced = leave == Leave::Forced;
        if is_forced {
            self.rejections.remove(&query.credentials);
            let noted =
                daemon.writing.iter_mut().map(|writing| &mut writing.noted).chain([&mut daemon.noted]);
            noted.for_each(|noted| noted.retain(|(_, credentials)| *credentials != query.credentials));
        }
        let charge = daemon.ledger.charge(&query, number, self.now);
        daemon.logins.push(Login {
            row: row_place,
            server: row.server,
            username: row.username.to_owned(),
            password: row.password.to_owned(),
            charge,
            charged_at: self.now,
            is_forced,
            sent_at: None,
            answer: None,
        });
        self.tell(format!(
            "daemon {place} charges {} {:?} {} {leave:?}",
            row.url, row.username, row.password
        ));
    }

    /// A call for the ledger: one that hangs goes on while other things happen, and ends at a later step.
    pub(super) fn write(&mut self, place: usize) {
        if self.daemons[place].is_paused {
            return;
        }
        if self.daemons[place].writing.is_none() {
            self.begin_write(place, false);
            if !self.is_healed && self.rng.random_bool(0.4) {
                return;
            }
        }
        let fate = if self.is_healed { 20 } else { self.rng.random_range(0..20) };
        self.end_write(place, fate);
    }

    pub(super) fn read(&mut self, place: usize) {
        if !self.is_store_locked {
            let daemon = &mut self.daemons[place];
            let read = self.store.read(daemon.ledger.stamp());
            let step = daemon.ledger.take_in(&read, self.now);
            self.tell(format!("daemon {place} reads: {step:?}"));
        }
    }

    /// The store does a write at once, or when its daemon hears of it, or later than that.
    pub(super) fn begin_write(&mut self, place: usize, must_check: bool) {
        if self.daemons[place].ledger.must_be_read() {
            return self.read(place);
        }
        if !self.late_writes.is_empty() && !self.is_store_locked && self.rng.random_bool(0.3) {
            let late = self.late_writes.remove(0);
            let written = self.store.write(&late);
            self.tell(format!("a late write is done: {written:?}"));
        }
        let day = self.day();
        let daemon = &mut self.daemons[place];
        let Some(write) = daemon.ledger.next_write(day, must_check) else { return };
        let is_done = !self.is_store_locked && self.rng.random_bool(0.5);
        let written = is_done.then(|| self.store.write(&write));
        let noted = std::mem::take(&mut daemon.noted);
        self.tell(format!("daemon {place} begins to write {} accounts: {written:?}", write.accounts.len()));
        self.daemons[place].writing = Some(Writing { write, written, noted });
    }

    /// The write under way ends; what is charged in it is sent.
    pub(super) fn end_write(&mut self, place: usize, fate: u32) {
        let Some(Writing { write, written, mut noted }) = self.daemons[place].writing.take() else { return };
        self.tell(format!("daemon {place} ends its write, fate {fate}"));
        let is_lost = fate < 3;
        let written = match written {
            None if is_lost || self.is_store_locked => {
                if fate == 1 {
                    self.late_writes.push(write);
                }
                None
            }
            None => Some(self.store.write(&write)),
            // It was written, and its answer is lost.
            Some(written) => (!is_lost).then_some(written),
        };
        let daemon = &mut self.daemons[place];
        if let Some(LedgerWritten::Written { conflicts, .. }) = &written {
            // What another daemon has changed meanwhile is written with the next write.
            let is_stored = |account: &AccountKey| !conflicts.iter().any(|(other, _)| other == account);
            let stored = noted.extract_if(.., |(account, _)| is_stored(account));
            self.rejections.extend(stored.map(|(account, credentials)| (credentials, account)));
        }
        daemon.noted.extend(noted);
        let has_failed = written.is_none();
        let unmade = match written {
            Some(written) => daemon.ledger.written(written, self.now),
            None => daemon.ledger.write_failed(),
        };
        if has_failed {
            // The pass gives back what was charged since the write began.
            let is_meant =
                |login: &mut Login| login.sent_at.is_none() && !unmade.contains(&login.charge.number);
            for login in daemon.logins.extract_if(.., is_meant) {
                daemon.ledger.give_back(login.charge);
            }
        }
        if !self.is_healed && self.rng.random_range(0..30) == 0 && self.kill(place) {
            return;
        }
        let has_paused = !self.is_healed && self.rng.random_range(0..30) == 0;
        if has_paused {
            // The whole process stands still between the charge and the send.
            let seconds = [5.0, 15.0, 100.0][self.rng.random_range(0..3)];
            self.now += Duration::from_secs_f64(seconds);
        }
        self.send_charged(place, &unmade);
    }

    pub(super) fn send_charged(&mut self, place: usize, unmade: &[u64]) {
        let mut again = 0;
        while again < self.daemons[place].logins.len() {
            let login = self.daemons[place].logins[again].clone();
            if login.sent_at.is_some() {
                again += 1;
                continue;
            }
            let daemon = &mut self.daemons[place];
            if unmade.contains(&login.charge.number) {
                daemon.ledger.cancel(&login.charge.send.server);
                daemon.logins.remove(again);
            } else if daemon.ledger.has_pending_charge(&login.charge.account, login.charge.number) {
                // It is not in the store yet.
                again += 1;
            } else if self.now.duration_since(login.charged_at) >= REQUEST_TIMEOUT {
                daemon.settle(again, Some(&Failure::Unreachable { why: "too late".to_owned() }), self.now);
            } else {
                self.passwords_sent += 1;
                if !login.is_forced && self.rejections.contains_key(&login.charge.send.credentials) {
                    self.violation(format!(
                        "{:?} {} is sent though it was rejected",
                        login.username, login.password
                    ));
                }
                let user = self.servers[login.server].key(&login.username);
                let is_double = self.under_way.values().any(|(server, other, until)| {
                    *server == login.server && *other == user && *until > self.now
                });
                if is_double {
                    self.violation(format!("two passwords of {:?} are under way", login.username));
                }
                self.under_way.insert(login.charge.number, (login.server, user, login.ends_at()));
                let server = &mut self.servers[login.server];
                let answer = server.log_in(&login.username, &login.password, login.is_forced);
                let counter = server.user(&login.username).counter;
                self.tell(format!(
                    "daemon {place} sends {:?} {}: {answer:?}, the counter is {counter}",
                    login.username, login.password,
                ));
                let known = &mut self.daemons[place].logins[again];
                (known.sent_at, known.answer) = (Some(self.now), answer);
                again += 1;
            }
        }
    }

    /// An answer arrives.
    pub(super) fn hear(&mut self, place: usize) {
        if self.daemons[place].is_paused {
            return;
        }
        if self.rng.random_bool(0.5) {
            self.hear_renewal(place);
        }
        let daemon = &mut self.daemons[place];
        let answered = daemon.logins.iter().position(|login| login.answer.is_some());
        let Some(at) = answered else { return };
        let answer = daemon.logins[at].answer.clone().unwrap();
        let failure = answer.as_ref().err();
        let login = daemon.settle(at, failure, self.now);
        self.under_way.remove(&login.charge.number);
        let outcome = Outcome::of(failure);
        if outcome == Outcome::Accepted {
            self.rejections.remove(&login.charge.send.credentials);
        }
        // Tokens of different lives; most rows get no refresh token, so that passwords are sent often.
        let life = if self.is_healed { 3600 } else { [30, 300, 3600][self.rng.random_range(0..3)] };
        let has_refresh_token = self.rng.random_bool(0.4);
        let is_asked = |row: &&mut Row| row.credentials == login.charge.send.credentials;
        if let Some(row) = self.rows.get_mut(login.row).filter(is_asked) {
            match &answer {
                Ok(token) => {
                    row.token_until = Some(self.now + Duration::from_secs(life));
                    row.refresh_token = has_refresh_token.then(|| token.clone());
                }
                Err(Failure::AccountDisabled | Failure::SecondFactorRequired) => {
                    row.not_before = Some(self.now + Duration::from_secs(86_400));
                }
                Err(_) => {}
            }
        }
        self.tell(format!("daemon {place} hears {outcome:?} for {:?} {}", login.username, login.password));
    }
}
