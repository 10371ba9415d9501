//! One random world: rows that share accounts, servers, daemons, faults, operators, and what must hold.

mod acts;
mod ending;
mod faults;
mod rows;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::rows::{PASSWORDS, Row, URLS, USERNAMES};
use super::super::Leave;
use super::daemon::{BUDGET, Daemon, REQUEST_TIMEOUT, Store, day};
use super::thingsboard::{Mode, ThingsBoard};
use crate::model::{AccountKey, Failure, Fingerprint, FingerprintKey};
use crate::store::LedgerWrite;

/// The steps of a world.
const STEPS: usize = 160;

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
    /// Writes whose daemon has given them up; the store may still do them.
    late_writes: Vec<LedgerWrite>,
    /// No more faults.
    is_healed: bool,
    daemons: Vec<Daemon>,
    /// Credentials that some row holds and whose rejection has come and is stored.
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
        let mut servers: Vec<_> = URLS.iter().map(|_| ThingsBoard::new(is_case_sensitive)).collect();
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
            late_writes: Vec::new(),
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
                let (server, mode) =
                    (self.rng.random_range(0..URLS.len()), Mode::ALL[self.rng.random_range(0..6)]);
                self.tell(format!("server {server} is {mode:?}"));
                self.servers[server].set_mode(mode, self.now);
            }
            89..=91 => {
                self.kill(daemon);
            }
            92..=93 => self.break_store(),
            29 | 94 => self.daemons[daemon].is_paused ^= true,
            95..=96 => self.change_password_in_thingsboard(),
            97 => self.operate(daemon, Leave::Requested),
            98 => self.operate(daemon, Leave::Forced),
            _ => self.change_server(),
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
                self.under_way.remove(&login.charge.number);
            }
        }
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
}
