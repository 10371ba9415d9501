//! One random world: rows that share accounts, servers, daemons, faults, operators, and what must hold.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::{Answer, Ask, Held, Leave, Outcome, Reason};
use super::daemon::{BUDGET, Daemon, INTERVAL, Login, REQUEST_TIMEOUT, Renewal, Store, day};
use super::thingsboard::{Mode, RefreshToken, Renewed, ThingsBoard};
use crate::model::{AccountKey, BaseUrl, Credentials, Failure, Fingerprint, FingerprintKey, HostKey, Secret};
use crate::store::{LedgerWritten, Stamp};

/// Spellings of the address of each server.
const URLS: [[&str; 3]; 2] = [
    ["https://tb0.example", "http://TB0.example:8080/", "https://tb0.example//"],
    ["https://tb1.example/iot", "https://tb1.example:443/%69ot/", "http://tb1.example/iot"],
];
const USERNAMES: [&str; 4] =
    ["ops@acme.example", "OPS@acme.example", " ops@acme.example", "lab@acme.example"];
const PASSWORDS: [&str; 5] = ["alpha", "bravo", "charlie", "delta", "echo"];

/// The steps of a world.
const STEPS: usize = 160;

/// A row, and what follows from it.
#[derive(Debug, Clone)]
struct Row {
    server: usize,
    url: &'static str,
    username: &'static str,
    password: &'static str,
    token_until: Option<Instant>,
    refresh_token: Option<RefreshToken>,
    /// ThingsBoard did not look at its password; it is tried again a day later.
    not_before: Option<Instant>,
    account: AccountKey,
    host: HostKey,
    credentials: Fingerprint,
}

impl Row {
    fn new(
        key: &FingerprintKey,
        server: usize,
        url: &'static str,
        username: &'static str,
        password: &'static str,
    ) -> Self {
        let base = BaseUrl::parse(url).unwrap();
        let credentials = Credentials {
            url: url.to_owned(),
            username: username.to_owned(),
            password: Secret::new(password),
        };
        Self {
            server,
            url,
            username,
            password,
            token_until: None,
            refresh_token: None,
            not_before: None,
            account: AccountKey::of(&base, username),
            host: base.host_key(),
            credentials: key.fingerprint(&credentials),
        }
    }
}

pub(super) struct World {
    key: FingerprintKey,
    rng: StdRng,
    now: Instant,
    /// How far the clock of the daemons is ahead of what it was at first, besides the time that has passed.
    clock_step: TimeDelta,
    began_at: Instant,
    servers: Vec<ThingsBoard>,
    rows: Vec<Row>,
    store: Store,
    /// An earlier state of the store's ledger, as a backup has it.
    backup: Option<Store>,
    is_store_locked: bool,
    /// No more faults.
    is_healed: bool,
    daemons: Vec<Daemon>,
    /// Credentials that some row holds and whose rejection was heard and stored.
    rejections: BTreeMap<Fingerprint, AccountKey>,
    /// Passwords that their client still waits for: the server, the user there, and until when.
    under_way: BTreeMap<u64, (usize, String, Instant)>,
    story: Vec<String>,
    pub(super) violations: Vec<String>,
    pub(super) passwords_sent: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let is_case_sensitive = rng.random_bool(0.5);
        let mut servers = vec![ThingsBoard::new(is_case_sensitive), ThingsBoard::new(is_case_sensitive)];
        for server in &mut servers {
            for username in USERNAMES {
                server.user(username).password = PASSWORDS[rng.random_range(0..2)].to_owned();
            }
        }
        let daemons =
            (0..rng.random_range(1..=2)).map(|number| Daemon::new(&format!("daemon{number}"))).collect();
        let now = Instant::now();
        let mut world = Self {
            key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
            rng,
            now,
            clock_step: TimeDelta::zero(),
            began_at: now,
            servers,
            rows: Vec::new(),
            store: Store::new(1),
            backup: None,
            is_store_locked: false,
            is_healed: false,
            daemons,
            rejections: BTreeMap::new(),
            under_way: BTreeMap::new(),
            story: Vec::new(),
            violations: Vec::new(),
            passwords_sent: 0,
        };
        for _ in 0..world.rng.random_range(1..=7) {
            let row = world.random_row();
            world.rows.push(row);
        }
        world
    }

    fn random_row(&mut self) -> Row {
        let server = self.rng.random_range(0..URLS.len());
        let url = URLS[server][self.rng.random_range(0..3)];
        let username = USERNAMES[self.rng.random_range(0..USERNAMES.len())];
        let password = PASSWORDS[self.rng.random_range(0..PASSWORDS.len())];
        Row::new(&self.key, server, url, username, password)
    }

    pub(super) fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
            self.judge();
            if !self.violations.is_empty() {
                return;
            }
        }
        self.heal();
    }

    fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    fn violation(&mut self, what: String) {
        if std::env::var("TBTOKEN_LEDGER_SEED").is_ok() {
            println!("{}", self.story.join("\n"));
        }
        self.violations.push(what);
    }

    fn step(&mut self) {
        let daemon = self.rng.random_range(0..self.daemons.len());
        match self.rng.random_range(0..100) {
            0..=28 => self.poll(daemon),
            30..=54 => self.write(daemon),
            55..=69 => self.hear(daemon),
            70..=77 => {
                let seconds = [0.2, 3.0, 12.0, 70.0, 700.0][self.rng.random_range(0..5)];
                self.pass_time(Duration::from_secs_f64(seconds));
            }
            78..=83 => self.change_row(),
            84..=88 => {
                let (server, mode) = (self.rng.random_range(0..2), Mode::ALL[self.rng.random_range(0..6)]);
                self.tell(format!("server {server} is {mode:?}"));
                self.servers[server].set_mode(mode, self.now);
            }
            89..=91 => {
                self.kill(daemon);
            }
            92..=93 => self.break_store(),
            29 | 94 => self.daemons[daemon].is_paused ^= true,
            95..=96 => self.change_password_in_thingsboard(),
            97 => self.operate(daemon, Leave::Asked),
            98 => self.operate(daemon, Leave::Forced),
            _ => self.change_server(),
        }
    }

    fn change_server(&mut self) {
        let server = self.rng.random_range(0..2);
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

    fn day(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.now.duration_since(self.began_at)).unwrap();
        day() + passed + self.clock_step
    }

    fn pass_time(&mut self, by: Duration) {
        self.now += by;
        for daemon in self.daemons.iter_mut().filter(|daemon| !daemon.is_paused) {
            while let Some(place) =
                daemon.logins.iter().position(|login| login.sent_at.is_some() && self.now >= login.ends_at())
            {
                let login =
                    daemon.settle(place, Some(&Failure::Timeout { after: REQUEST_TIMEOUT }), self.now);
                self.under_way.remove(&login.number);
            }
        }
    }

    /// Reads the ledger, and charges what may be sent.
    fn poll(&mut self, place: usize) {
        if self.daemons[place].is_paused || self.is_store_locked {
            return;
        }
        let daemon = &mut self.daemons[place];
        // The scheduler reads between two passes only.
        if daemon.logins.is_empty() && daemon.renewals.is_empty() {
            let day = self.day();
            let daemon = &mut self.daemons[place];
            let read = self.store.read(daemon.ledger.stamp());
            let step = daemon.ledger.take_in(&read, self.now);
            self.tell(format!("daemon {place} reads: {step:?}"));
            let daemon = &mut self.daemons[place];
            daemon.ledger.see(self.rows.iter().map(|row| &row.account), day);
            let found = daemon.ledger.take_found_in_flight();
            for row in self.rows.iter().filter(|row| found.contains(&row.account)) {
                daemon.ledger.doubt(&row.host, self.now);
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

    fn renew(&mut self, place: usize, row_place: usize) {
        let row = &self.rows[row_place];
        let daemon = &mut self.daemons[place];
        let is_under_way = daemon.renewals.iter().any(|renewal| renewal.row == row_place);
        let Some(token) = row.refresh_token.as_ref().filter(|_| !is_under_way) else { return };
        let answer = self.servers[row.server].renew(token);
        let (account, username) = (row.account, row.username);
        daemon.renewals.push(Renewal { row: row_place, account, username, answer });
    }

    /// The answer to a refresh token arrives.
    fn hear_renewal(&mut self, place: usize) {
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

    fn held(&self, account: AccountKey) -> Held {
        let mut held: Vec<Fingerprint> =
            self.rows.iter().filter(|row| row.account == account).map(|row| row.credentials).collect();
        held.sort_unstable();
        held.dedup();
        Held::new(&held)
    }

    fn try_row(&mut self, place: usize, row_place: usize, leave: Leave) {
        let row = self.rows[row_place].clone();
        let (account, host, held) = (row.account, row.host.clone(), self.held(row.account));
        let ask = Ask {
            account,
            server: &host,
            username: row.username,
            credentials: row.credentials,
            held: &held,
            leave,
        };
        let mut answer = self.daemons[place].ledger.may_send(&ask, self.now);
        if answer == Answer::Wait(Reason::Probe) {
            let verdict = self.servers[row.server].probe();
            self.daemons[place].ledger.probed(&host, verdict, self.now);
            answer = self.daemons[place].ledger.may_send(&ask, self.now);
        }
        if answer != Answer::Send {
            return;
        }
        let daemon = &self.daemons[place];
        if daemon.doubted.contains(&host)
            && self.servers[row.server].is_bad_for(Duration::from_secs(5), self.now)
        {
            self.violation(format!("{:?} is sent to {}, which answers nobody", row.username, row.url));
        }
        let number = self.rng.random();
        let daemon = &mut self.daemons[place];
        // Only a send that the budget did not allow adds to what the counter may reach.
        let is_forced = leave == Leave::Forced;
        if is_forced {
            self.rejections.remove(&ask.credentials);
            daemon.heard.retain(|(_, credentials)| *credentials != ask.credentials);
        }
        let send = daemon.ledger.charge(&ask, number, self.now);
        daemon.logins.push(Login {
            row: row_place,
            account,
            host: host.clone(),
            server: row.server,
            username: row.username.to_owned(),
            password: row.password.to_owned(),
            send,
            number,
            is_forced,
            charged_at: self.now,
            sent_at: None,
            answer: None,
        });
        self.tell(format!(
            "daemon {place} charges {} {:?} {} {leave:?}",
            row.url, row.username, row.password
        ));
    }

    /// Writes the ledger; what is charged in it is sent.
    fn write(&mut self, place: usize) {
        let daemon = &mut self.daemons[place];
        if daemon.is_paused {
            return;
        }
        if daemon.ledger.must_be_read() {
            if !self.is_store_locked {
                let read = self.store.read(daemon.ledger.stamp());
                let step = daemon.ledger.take_in(&read, self.now);
                self.tell(format!("daemon {place} reads: {step:?}"));
            }
            return;
        }
        let day = self.day();
        let daemon = &mut self.daemons[place];
        let Some(write) = daemon.ledger.next_write(day, false) else { return };
        let fate = if self.is_healed { 20 } else { self.rng.random_range(0..20) };
        self.tell(format!("daemon {place} writes {} accounts, fate {fate}", write.accounts.len()));
        let daemon = &mut self.daemons[place];
        let unmade = if self.is_store_locked || fate == 0 {
            daemon.ledger.write_failed()
        } else {
            let written = self.store.write(&write);
            if fate == 1 {
                // It was written, and its answer was lost.
                daemon.ledger.write_failed()
            } else {
                if let LedgerWritten::Written { conflicts, .. } = &written {
                    // What another daemon has changed meanwhile is written with the next write.
                    let is_stored =
                        |account: &AccountKey| !conflicts.iter().any(|(other, _)| other == account);
                    let stored = daemon.heard.extract_if(.., |(account, _)| is_stored(account));
                    self.rejections.extend(stored.map(|(account, credentials)| (credentials, account)));
                }
                daemon.ledger.written(written, self.now)
            }
        };
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

    fn send_charged(&mut self, place: usize, unmade: &[u64]) {
        let mut again = 0;
        while again < self.daemons[place].logins.len() {
            let login = self.daemons[place].logins[again].clone();
            if login.sent_at.is_some() {
                again += 1;
                continue;
            }
            let daemon = &mut self.daemons[place];
            if unmade.contains(&login.number) {
                daemon.ledger.cancel(&login.host);
                daemon.logins.remove(again);
            } else if daemon.ledger.has_pending_charge(&login.account, login.number) {
                // It is not in the store yet.
                again += 1;
            } else if self.now.duration_since(login.charged_at) >= REQUEST_TIMEOUT {
                daemon.settle(again, Some(&Failure::Unreachable { why: "too late".to_owned() }), self.now);
            } else {
                self.passwords_sent += 1;
                if !login.is_forced && self.rejections.contains_key(&login.send.credentials) {
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
                self.under_way.insert(login.number, (login.server, user, login.ends_at()));
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
    fn hear(&mut self, place: usize) {
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
        self.under_way.remove(&login.number);
        let outcome = Outcome::of(failure);
        if outcome == Outcome::Accepted {
            self.rejections.remove(&login.send.credentials);
        }
        // Tokens of different lives; most rows get no refresh token, so that passwords are sent often.
        let life = if self.is_healed { 3600 } else { [30, 300, 3600][self.rng.random_range(0..3)] };
        let has_refresh_token = self.rng.random_bool(0.4);
        let is_asked = |row: &&mut Row| row.credentials == login.send.credentials;
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

    fn change_row(&mut self) {
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
    fn kill(&mut self, place: usize) -> bool {
        let stored = self.store.stamp;
        let is_written_back = |daemon: &Daemon| {
            let goes_on = |known: Stamp| known.id == stored.id && known.number <= stored.number;
            daemon.ledger.stamp().is_none_or(|known| goes_on(known) && daemon.ledger.is_trusted())
        };
        let is_killed = self.daemons.iter().all(is_written_back);
        if is_killed {
            self.tell(format!("daemon {place} is killed"));
            self.daemons[place] = Daemon::new(&format!("daemon{place}-{}", self.story.len()));
        }
        is_killed
    }

    /// The database is locked or freed, its ledger dropped, or replaced by a backup. That is seen at the next poll or write;
    /// what one daemon wrote since the last poll of another one is not known to that: a stated limit.
    fn break_store(&mut self) {
        let stamp = self.store.stamp;
        let knows_all = |daemon: &Daemon| daemon.ledger.is_trusted() && daemon.ledger.stamp() == Some(stamp);
        match self.rng.random_range(0..6) {
            0 | 1 => self.is_store_locked ^= true,
            2 => self.backup = Some(self.store.clone()),
            _ if !self.daemons.iter().all(knows_all) => {}
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
    }

    fn change_password_in_thingsboard(&mut self) {
        let server = self.rng.random_range(0..2);
        let username = USERNAMES[self.rng.random_range(0..USERNAMES.len())];
        let password = PASSWORDS[self.rng.random_range(0..PASSWORDS.len())];
        self.tell(format!("the password of {username:?} on server {server} is now {password}"));
        self.servers[server].user(username).change_password(password);
        // What was rejected may be right now, and what worked since may prove it.
        let account = AccountKey::of(&BaseUrl::parse(URLS[server][0]).unwrap(), username);
        self.rejections.retain(|_, other| *other != account);
    }

    fn operate(&mut self, place: usize, leave: Leave) {
        if !self.daemons[place].is_paused {
            let row = self.rng.random_range(0..self.rows.len());
            self.try_row(place, row, leave);
        }
    }

    fn judge(&mut self) {
        let mut found = Vec::new();
        for (place, server) in self.servers.iter().enumerate() {
            for (username, user) in &server.users {
                if user.counter > u32::from(BUDGET) + user.forced {
                    found.push(format!(
                        "ThingsBoard {place} counts {} for {username:?}, {} of them forced",
                        user.counter, user.forced
                    ));
                }
            }
        }
        for what in found {
            self.violation(what);
        }
    }

    /// Everything works again: right credentials get a token within two intervals, or within ten minutes and two intervals
    /// if only the last charge of their account is left.
    fn heal(&mut self) {
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

    fn settle_all(&mut self, place: usize) {
        for _ in 0..4 {
            self.write(place);
            self.hear(place);
            self.hear_renewal(place);
        }
    }

    fn is_starved(&mut self, place: usize) -> Option<String> {
        let row = self.rows[place].clone();
        let user = self.servers[row.server].user(row.username).clone();
        if row.token_until.is_some()
            || user.password != row.password
            || user.is_disabled
            || user.has_second_factor
        {
            return None;
        }
        let (host, held) = (row.host.clone(), self.held(row.account));
        let ask = Ask {
            account: row.account,
            server: &host,
            username: row.username,
            credentials: row.credentials,
            held: &held,
            leave: Leave::None,
        };
        let refusals: HashMap<usize, _> = self
            .daemons
            .iter()
            .enumerate()
            .filter_map(|(daemon, known)| Some((daemon, known.ledger.refusal(&ask)?)))
            .collect();
        let why = self.daemons[0].ledger.may_send(&ask, self.now);
        (refusals.is_empty()).then(|| {
            format!("row {place} ({} {:?} {}) has no token: {why:?}", row.url, row.username, row.password)
        })
    }
}
