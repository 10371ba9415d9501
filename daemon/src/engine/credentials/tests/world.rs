//! One random world: rows that share accounts, servers, daemons, faults, operators, and what must hold.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::{Answer, Ask, Held, Leave, Outcome, Reason};
use super::daemon::{BUDGET, Daemon, INTERVAL, Login, REQUEST_TIMEOUT, Store, day};
use super::thingsboard::{Mode, ThingsBoard};
use crate::model::{AccountKey, BaseUrl, Credentials, Fingerprint, FingerprintKey, HostKey, Secret};
use crate::store::LedgerWritten;

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
    rejections: BTreeSet<Fingerprint>,
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
        let mut world = Self {
            key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
            rng,
            now: Instant::now(),
            servers,
            rows: Vec::new(),
            store: Store::new(1),
            backup: None,
            is_store_locked: false,
            is_healed: false,
            daemons,
            rejections: BTreeSet::new(),
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
            0..=29 => self.poll(daemon),
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
                self.servers[server].set_mode(mode);
            }
            89..=91 => self.kill(daemon),
            92..=93 => self.break_store(),
            94 => self.daemons[daemon].is_paused ^= true,
            95..=96 => self.change_password_in_thingsboard(),
            97 => self.operate(daemon, Leave::Asked),
            98 => self.operate(daemon, Leave::Forced),
            _ => {
                let server = self.rng.random_range(0..2);
                let username = USERNAMES[self.rng.random_range(0..USERNAMES.len())];
                self.servers[server].user(username).is_disabled ^= true;
            }
        }
    }

    fn pass_time(&mut self, by: Duration) {
        self.now += by;
        for daemon in self.daemons.iter_mut().filter(|daemon| !daemon.is_paused) {
            while let Some(place) = daemon.logins.iter().position(|login| {
                login.sent_at.is_some_and(|at| self.now.duration_since(at) >= REQUEST_TIMEOUT)
            }) {
                let outcome = daemon.logins[place].answer.unwrap_or(Outcome::Unanswered);
                daemon.settle(place, outcome, self.now);
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
        if daemon.logins.is_empty() {
            let read = self.store.read(daemon.ledger.stamp());
            daemon.ledger.take_in(&read, self.now);
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
            if is_over(self.rows[row].token_until) && is_over(self.rows[row].not_before) {
                self.try_row(place, row, Leave::None);
            }
        }
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
        let number = self.rng.random();
        let daemon = &mut self.daemons[place];
        // Only a send that the budget did not allow adds to what the counter may reach.
        let is_forced = leave == Leave::Forced;
        if is_forced {
            self.rejections.remove(&ask.credentials);
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
                daemon.ledger.take_in(&read, self.now);
            }
            return;
        }
        let Some(write) = daemon.ledger.next_write(day(), false) else { return };
        let fate = if self.is_healed { 20 } else { self.rng.random_range(0..20) };
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
                    self.rejections.extend(stored.map(|(_, credentials)| credentials));
                }
                daemon.ledger.written(written, self.now)
            }
        };
        if !self.is_healed && self.rng.random_range(0..30) == 0 {
            return self.kill(place);
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
                daemon.settle(again, Outcome::NotSent, self.now);
            } else {
                self.passwords_sent += 1;
                if !login.is_forced && self.rejections.contains(&login.send.credentials) {
                    self.violation(format!(
                        "{:?} {} is sent though it was rejected",
                        login.username, login.password
                    ));
                }
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
        let daemon = &mut self.daemons[place];
        if daemon.is_paused {
            return;
        }
        let answered = daemon.logins.iter().position(|login| login.answer.is_some());
        let Some(at) = answered else { return };
        let outcome = daemon.logins[at].answer.unwrap();
        let login = daemon.settle(at, outcome, self.now);
        if outcome == Outcome::NotCounted
            && let Some(row) = self.rows.get_mut(login.row)
        {
            row.not_before = Some(self.now + Duration::from_secs(86_400));
        }
        if outcome == Outcome::Accepted {
            self.rejections.remove(&login.send.credentials);
            // Tokens of different lives; there are no refresh tokens here, so that passwords are sent often.
            let life = [30, 300, 3600][self.rng.random_range(0..3)];
            if let Some(row) = self.rows.get_mut(login.row) {
                row.token_until = Some(self.now + Duration::from_secs(life));
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
                self.rows[place] = Row::new(&self.key, known.server, known.url, username, row.password);
                self.tell(format!("row {place} is {username:?} {}", row.password));
            }
        }
        // What no row holds may be forgotten.
        let rows = &self.rows;
        self.rejections.retain(|credentials| rows.iter().any(|row| row.credentials == *credentials));
    }

    fn kill(&mut self, place: usize) {
        self.tell(format!("daemon {place} is killed"));
        self.daemons[place] = Daemon::new(&format!("daemon{place}-{}", self.story.len()));
    }

    /// The database is locked or freed, its ledger dropped, or replaced by a backup, while a daemon runs that knows it.
    fn break_store(&mut self) {
        let knows_all = |daemon: &Daemon| daemon.ledger.is_trusted() && daemon.logins.is_empty();
        match self.rng.random_range(0..6) {
            0 | 1 => self.is_store_locked ^= true,
            2 => self.backup = Some(self.store.clone()),
            _ if !self.daemons.iter().all(knows_all) || self.is_store_locked => {}
            3 | 4 => {
                if let Some(backup) = self.backup.clone() {
                    self.tell("an older ledger is restored".to_owned());
                    self.store = backup;
                    self.all_daemons_look();
                }
            }
            _ => {
                self.tell("the ledger is dropped".to_owned());
                self.store = Store::new(self.rng.random_range(0..1_000_000));
                self.all_daemons_look();
            }
        }
    }

    /// A daemon that starts after the loss and before another one has written back knows nothing of it: a stated limit.
    fn all_daemons_look(&mut self) {
        for place in 0..self.daemons.len() {
            let daemon = &mut self.daemons[place];
            let read = self.store.read(daemon.ledger.stamp());
            daemon.ledger.take_in(&read, self.now);
            while let Some(write) = daemon.ledger.next_write(day(), false) {
                let written = self.store.write(&write);
                daemon.ledger.written(written, self.now);
            }
        }
    }

    fn change_password_in_thingsboard(&mut self) {
        let server = self.rng.random_range(0..2);
        let username = USERNAMES[self.rng.random_range(0..USERNAMES.len())];
        let password = PASSWORDS[self.rng.random_range(0..PASSWORDS.len())];
        self.tell(format!("the password of {username:?} on server {server} is now {password}"));
        self.servers[server].user(username).password = password.to_owned();
        // What was rejected may be right now, and what worked since may prove it.
        self.rejections.clear();
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
            server.set_mode(Mode::Well);
        }
        for daemon in &mut self.daemons {
            daemon.is_paused = false;
        }
        // What is under way ends, and the back-off of servers in doubt.
        for _ in 0..2 {
            self.pass_time(Duration::from_secs(601));
            (0..self.daemons.len()).for_each(|place| self.settle_all(place));
        }
        self.rows.iter_mut().for_each(|row| (row.token_until, row.not_before) = (None, None));
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
        }
    }

    fn is_starved(&mut self, place: usize) -> Option<String> {
        let row = self.rows[place].clone();
        let user = self.servers[row.server].user(row.username).clone();
        if row.token_until.is_some() || user.password != row.password || user.is_disabled {
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
