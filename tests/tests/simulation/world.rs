//! The world outside the daemon: time, servers, accounts, the table, and their current faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, TimeDelta, Utc};
use tbtokend::clock::Clock;
use tbtokend::model::{AccountKey, BaseUrl, LoopState, Record};
use tokio::time::{Duration, Instant};

use super::audit::Audit;
use super::checks::AllChecks;
use super::ledger::Ledger;
use super::passwords::{AccountId, Passwords, RowCredentials};
use super::request_rate::AllFailing;
use super::run::Setup;
use super::thingsboard::Queued;
use super::tokens::{AllHeld, InRow};
use tbtoken_tests::rng::Rng;

/// How long a client of ThingsBoard waits for an answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The port through which some rows reach their server.
pub(crate) const OTHER_PORT: u16 = 8080;

/// The spellings of a user name, before its number.
pub(crate) const NAMES: [&str; 2] = ["user", "USER"];

/// The behaviour of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Well,
    /// Its port is closed.
    Refusing,
    /// All requests are lost.
    Silent,
    /// Its kernel accepts requests and nothing answers. The server processes them when it is thawed.
    Frozen,
    /// It answers after seconds.
    Slow,
    /// It answers shortly before the client's time-out.
    Crawling,
    /// It answers requests above this number per second with 429, and perhaps with a `Retry-After` in seconds.
    Limited(u32, Option<u64>),
    /// A proxy answers in its place.
    Before(Loss),
    /// It processes requests, and the answer is lost.
    Lost(Loss, Reach),
    /// Its database is dead.
    WithoutDatabase,
}

/// What a client gets in place of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// No answer in time.
    TimedOut,
    /// The connection is closed.
    Closed,
    /// HTTP 5xx.
    Status(u16),
    /// HTTP 429.
    Limited,
    /// HTTP 403.
    Forbidden,
    /// HTTP 404.
    NotFound,
    /// A page for people, with HTTP 200.
    Page,
    /// JSON without a token.
    NoToken,
    /// A longer answer than the client reads.
    TooLong,
    /// A 401 that is not in ThingsBoard's form.
    ProxyLogin,
    /// A redirect.
    Redirect,
}

/// Which answers are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of them.
    All,
    /// The answers to logins: refresh tokens work.
    Logins,
    /// The answers to logins of existing users, for which ThingsBoard calculates a hash: probes work.
    Passwords,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) behaviour: Behaviour,
    /// The end of that behaviour.
    pub(crate) until: Instant,
    /// The life of its tokens in seconds.
    pub(crate) life: i64,
    /// The life of its refresh tokens in seconds.
    pub(crate) refresh_life: i64,
    /// `maxFailedLoginAttempts`.
    pub(crate) lockout: Option<u32>,
    /// Whether the case of user names does not matter.
    pub(crate) ignores_case: bool,
    /// Whether it checks the password before it checks that the user is active.
    pub(crate) is_old: bool,
    /// The requests that arrived while it is frozen.
    pub(crate) frozen: Vec<Queued>,
    /// The number of unanswered passwords since the last answer.
    pub(crate) unanswered: u32,
    /// How many seconds its clock is ahead.
    pub(crate) skew: i64,
    /// The current second of the rate limit, and the requests in it.
    pub(crate) second: (i64, u32),
    pub(crate) trouble: Trouble,
    /// It did not answer for a while, and no daemon has had an answer since.
    pub(crate) was_dead: bool,
    /// When it got another signing key.
    pub(crate) new_key_at: Option<DateTime<Utc>>,
}

impl Server {
    /// Sets its behaviour from now on.
    pub(crate) fn set_behaviour(&mut self, behaviour: Behaviour, until: Instant) {
        (self.behaviour, self.until, self.trouble) = (behaviour, until, Trouble::default());
    }
}

/// The requests to a server in trouble.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// The current minute, and the requests in it.
    pub(crate) minute: u64,
    pub(crate) count: u32,
    /// The requests above the limit of each minute, in all.
    pub(crate) beyond: u32,
}

/// A user of one server.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) password: String,
    pub(crate) active: bool,
    pub(crate) second_factor: bool,
    /// Whether the password is right, but expired.
    pub(crate) is_expired: bool,
    /// Whether the password violates a policy.
    pub(crate) is_refused_by_policy: bool,
    pub(crate) failures: u32,
    /// The second of the last change of the password, by the server's clock.
    pub(crate) changed_at: i64,
}

/// The session of a refresh token.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The credentials of its login, however many renewals ago.
    pub(crate) credentials: RowCredentials,
    pub(crate) issued_at: i64,
    pub(crate) ends_at: i64,
}

/// A row, with the notes of the audit.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) server: usize,
    /// The number of its ThingsBoard user; several rows may have the same user.
    pub(crate) login: usize,
    pub(crate) password: String,
    /// Its credentials at the last check.
    pub(crate) said: RowCredentials,
    pub(crate) present: bool,
    /// The number of the spelling of its server's URL.
    pub(crate) spelling: usize,
    /// The number of the spelling of its user name.
    pub(crate) name: usize,
    pub(crate) token: Option<String>,
    pub(crate) expiry: Option<DateTime<Utc>>,
    /// Until then its token may be stale, because of another fault.
    pub(crate) excused_until: Instant,
    /// Until then its token may be stale, because its server was in trouble.
    pub(crate) trouble_until: Instant,
    /// Whether it was in the table at the last check.
    pub(crate) was_there: bool,
    /// When it was added to the table, or added again.
    pub(crate) came_at: Instant,
    /// When a person or an application last changed the row.
    pub(crate) changed_at: Instant,
    /// The facts about its token.
    pub(crate) in_row: Option<InRow>,
    /// Whether an operator has requested its renewal, due or not.
    pub(crate) asked: bool,
    /// Whether its failure lets it wait for a day or for an operator.
    pub(crate) is_parked: bool,
    /// When a daemon was told that a token of it is dead, if it may have been renewed for that.
    pub(crate) dead_at: Option<Instant>,
    /// Since when its account has one charge left and its server works.
    pub(crate) last_charge_since: Option<Instant>,
}

impl Row {
    /// Returns `tb_url` exactly.
    pub(crate) fn url(&self) -> String {
        url(self.server, self.spelling)
    }

    /// Returns `tb_username`.
    pub(crate) fn username(&self) -> String {
        username(self.login, self.name)
    }

    pub(crate) fn credentials(&self) -> RowCredentials {
        let Self { server, login, name, .. } = *self;
        RowCredentials { server, port: self.spelling == 3, login, name, password: self.password.clone() }
    }
}

/// The database and its faults.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) read_fails: bool,
    pub(crate) write_fails: bool,
    /// Half of the writes take effect and are reported as failed.
    pub(crate) half_fails: bool,
    /// Every call takes seconds.
    pub(crate) is_slow: bool,
    /// The answer to a write of the ledger takes so many milliseconds longer.
    pub(crate) ledger_takes: u64,
    pub(crate) until: Instant,
    /// There are no side tables, so nothing is remembered.
    pub(crate) has_no_records: bool,
    pub(crate) records: BTreeMap<usize, Record>,
    /// The stored state of the loop.
    pub(crate) loop_state: Option<LoopState>,
    /// The table `tbtokend_account`, or the file in its place.
    pub(crate) ledger: Option<Ledger>,
    /// An earlier copy of the ledger.
    pub(crate) copy: Option<Ledger>,
    /// When the ledger was lost. A daemon writes back its own knowledge somewhat later.
    pub(crate) lost_at: Option<Instant>,
    /// The accounts of the ledger's keys.
    pub(crate) keys: BTreeMap<AccountKey, AccountId>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) rng: Rng,
    pub(crate) began: Instant,
    /// How long the machine was suspended; timers do not see this time.
    pub(crate) slept: TimeDelta,
    /// The error of the machine's clock.
    pub(crate) jump: TimeDelta,
    pub(crate) servers: Vec<Server>,
    pub(crate) accounts: BTreeMap<(usize, usize), Account>,
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) rows: BTreeMap<usize, Row>,
    /// The rows of each login; a row never changes its login.
    rows_of: BTreeMap<usize, Vec<usize>>,
    pub(crate) db: Database,
    /// The number of the daemon that was started last.
    pub(crate) daemon: u32,
    pub(crate) started_at: Instant,
    /// Until then daemons are killed very often.
    pub(crate) siege_until: Instant,
    /// When an operator stopped the loop.
    pub(crate) stopped_at: Option<Instant>,
    /// Whether an operator waits for an answer.
    pub(crate) is_asking: bool,
    pub(crate) held: AllHeld,
    pub(crate) failing: AllFailing,
    pub(crate) passwords: Passwords,
    /// `thingsboard.wrong_password_budget`.
    pub(crate) budget: u8,
    /// The current minute of each login, and the requests in it.
    pub(crate) requests: BTreeMap<(usize, usize), (u64, u32)>,
    /// The current minute of each daemon, and its polls in it.
    pub(crate) polls: BTreeMap<u32, (u64, u32)>,
    pub(crate) checks: AllChecks,
    pub(crate) clock_moved_at: Instant,
    /// The time of the last step back of the clock.
    pub(crate) stepped_back_at: Instant,
    /// The sum of all steps back.
    pub(crate) stepped_back_by: TimeDelta,
    /// The true time of the last clock step.
    pub(crate) jumped_at: DateTime<Utc>,
    pub(crate) serial: u64,
    pub(crate) declared_life: Option<i64>,
    pub(crate) audit: Audit,
}

#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn clock(&self) -> Clock {
        let shared = self.clone();
        Clock::from_fn(move || shared.lock().machine_time())
    }
}

/// Returns a server's URL in one of its spellings.
pub(crate) fn url(server: usize, spelling: usize) -> String {
    match spelling {
        0 => format!("http://server{server}.example"),
        1 => format!("http://server{server}.example:80/"),
        3 => format!("http://server{server}.example:{OTHER_PORT}"),
        _ => format!(" HTTP://Server{server}.Example// "),
    }
}

/// Returns a user name in one of its spellings.
pub(crate) fn username(login: usize, name: usize) -> String {
    format!("{}{login}", NAMES[name])
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut rng = Rng::new(setup.seed);
        let now = Instant::now();
        // Half of the worlds limit the life to 15 minutes, the default; the others use the token's own life.
        let declared_life = rng.chance(50_000).then_some(900);
        let lives = [60, 300, 900, 9_000, 9_000, 86_400, 604_800];
        let servers = (0..setup.servers)
            .map(|index| Server {
                behaviour: Behaviour::Well,
                until: now,
                // The last server has the short-lived tokens, and few customers.
                life: if index + 1 == setup.servers { 60 } else { rng.pick(&lives[1..]) },
                refresh_life: rng.pick(&[3_600, 604_800, 604_800]),
                lockout: rng.pick(&[None, None, Some(3), Some(5)]),
                ignores_case: rng.chance(30_000),
                is_old: rng.chance(20_000),
                frozen: Vec::new(),
                unanswered: 0,
                skew: rng.pick(&[0, 0, 0, 40, -7_200]),
                second: (0, 0),
                trouble: Trouble::default(),
                was_dead: false,
                new_key_at: None,
            })
            .collect();
        let has_no_records = rng.chance(6_000);
        let budget = rng.pick(&[3, 3, 3, 3, 1, 2, 5]);
        let mut world = Self {
            rng,
            began: now,
            slept: TimeDelta::zero(),
            jump: TimeDelta::zero(),
            servers,
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            rows: BTreeMap::new(),
            rows_of: BTreeMap::new(),
            db: Database {
                read_fails: false,
                write_fails: false,
                half_fails: false,
                is_slow: false,
                until: now,
                has_no_records,
                records: BTreeMap::new(),
                loop_state: None,
                ledger_takes: 0,
                ledger: None,
                copy: None,
                lost_at: None,
                keys: BTreeMap::new(),
            },
            daemon: 0,
            started_at: now,
            siege_until: now,
            stopped_at: None,
            is_asking: false,
            held: AllHeld::new(),
            failing: AllFailing::new(),
            passwords: Passwords::default(),
            budget,
            requests: BTreeMap::new(),
            polls: BTreeMap::new(),
            checks: AllChecks::new(),
            clock_moved_at: now,
            stepped_back_at: now,
            stepped_back_by: TimeDelta::zero(),
            jumped_at: DateTime::UNIX_EPOCH,
            serial: 0,
            declared_life,
            audit: Audit::default(),
            setup,
        };
        for user in 0..world.setup.customers {
            let server = if user < 3 { world.setup.servers - 1 } else { user % (world.setup.servers - 1) };
            // About one row in seven shares the account of another row.
            let others: Vec<usize> =
                world.rows.iter().filter(|(_, row)| row.server == server).map(|(user, _)| *user).collect();
            let shares = !others.is_empty() && world.rng.chance(15_000);
            let login = if shares { world.rows[&world.rng.pick(&others)].login } else { user };
            world.add(user, server, login, &format!("right-{login}"));
        }
        world
    }

    pub(crate) fn add(&mut self, user: usize, server: usize, login: usize, password: &str) {
        self.ensure_account(server, login, password);
        let now = Instant::now();
        let row = Row {
            server,
            login,
            password: password.to_owned(),
            said: RowCredentials { server, port: false, login, name: 0, password: password.to_owned() },
            present: true,
            spelling: 0,
            name: 0,
            token: None,
            expiry: None,
            excused_until: now + super::audit::SHORT,
            trouble_until: now,
            was_there: true,
            came_at: now,
            changed_at: now,
            in_row: None,
            asked: false,
            is_parked: false,
            dead_at: None,
            last_charge_since: None,
        };
        self.rows.insert(user, row);
        self.rows_of.entry(login).or_default().push(user);
    }

    /// Returns the rows with this login, in the table or not, on any server.
    pub(crate) fn rows_of(&self, login: usize) -> impl Iterator<Item = (usize, &Row)> + Clone {
        self.rows_of.get(&login).into_iter().flatten().map(|user| (*user, &self.rows[user]))
    }

    pub(crate) fn ensure_account(&mut self, server: usize, user: usize, password: &str) {
        let base = BaseUrl::parse(&url(server, 0)).unwrap();
        self.db.keys.insert(AccountKey::of(&base, &username(user, 0)), (server, user));
        self.accounts.entry((server, user)).or_insert_with(|| Account {
            password: password.to_owned(),
            active: true,
            second_factor: false,
            is_expired: false,
            is_refused_by_policy: false,
            failures: 0,
            changed_at: 0,
        });
    }

    /// Returns the true time.
    pub(crate) fn true_time(&self) -> DateTime<Utc> {
        let origin = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        origin + TimeDelta::from_std(self.began.elapsed()).unwrap() + self.slept
    }

    /// Returns the time of the clock of the daemon's machine.
    pub(crate) fn machine_time(&self) -> DateTime<Utc> {
        self.true_time() + self.jump
    }

    /// Returns the time of a server's clock, in seconds.
    pub(crate) fn server_time(&self, server: usize) -> i64 {
        self.true_time().timestamp() + self.servers[server].skew
    }

    /// Whether a login with the row's credentials gets a token, if its server works.
    pub(crate) fn is_right(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let account = self.accounts.get(&(row.server, row.login));
        row.present
            && self.is_user(row.server, row.login, row.name)
            && account.is_some_and(|account| {
                account.active
                    && !account.second_factor
                    && !account.is_expired
                    && !account.is_refused_by_policy
                    && account.password == row.password
            })
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
