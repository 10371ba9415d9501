//! Everything outside the daemon: time, servers, accounts, the table, and whether they work at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, TimeDelta, Utc};
use tbtokend::clock::Clock;
use tbtokend::model::Record;
use tokio::time::{Duration, Instant};

use super::audit::Audit;
use super::dice::Dice;
use super::patience::AllFailing;
use super::run::Setup;
use super::stories::{Says, Stories};
use super::tokens::{AllHeld, InRow};
use super::unheard::AllUnheard;

/// How long a client of ThingsBoard waits for an answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Nobody listens there.
    Refusing,
    /// It takes the request and never answers.
    Silent,
    /// It takes seconds.
    Slow,
    /// It takes nearly as long as a client waits.
    Crawling,
    /// It does what it is asked, and answers too late.
    Late,
    /// Only passwords: what it does for a refresh token is answered in time.
    LatePasswords,
    /// More requests than so many a second are answered with 429, and perhaps with a `Retry-After` in seconds.
    Limited(u32, Option<u64>),
    /// Something before it answers in its place.
    Odd(Oddity),
    /// HTTP 503.
    Broken,
}

/// What a proxy or a portal answers to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// HTTP 404.
    NotFound,
    /// A page for people, with HTTP 200.
    Page,
    /// JSON without a token.
    NoToken,
    /// A redirect, which is permanent: somebody must correct the row.
    Redirect,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) mood: Mood,
    /// Until when it is in that mood.
    pub(crate) until: Instant,
    /// How long its tokens live, in seconds.
    pub(crate) life: i64,
    /// How long its refresh tokens live, in seconds.
    pub(crate) refresh_life: i64,
    /// `maxFailedLoginAttempts`.
    pub(crate) lockout: Option<u32>,
    /// By how many seconds its clock is ahead.
    pub(crate) skew: i64,
    /// The second that is counted for the rate limit, and the requests in it.
    pub(crate) second: (i64, u32),
    pub(crate) trouble: Trouble,
    /// It did not answer for a while, and nobody has heard of it since.
    pub(crate) was_dead: bool,
}

impl Host {
    /// From now on it behaves so.
    pub(crate) fn turns(&mut self, mood: Mood, until: Instant) {
        (self.mood, self.until, self.trouble) = (mood, until, Trouble::default());
    }
}

/// What a server in trouble was asked since it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// The minute that is counted, and the requests in it.
    pub(crate) minute: u64,
    pub(crate) count: u32,
    /// Those that were more than a minute may have, in all.
    pub(crate) beyond: u32,
}

/// A user of one server.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) password: String,
    pub(crate) active: bool,
    pub(crate) second_factor: bool,
    /// The password is right, but too old.
    pub(crate) is_expired: bool,
    /// The password violates a policy.
    pub(crate) is_refused_by_policy: bool,
    pub(crate) failures: u32,
    /// Second in which the password was changed, by the server's clock.
    pub(crate) changed_at: i64,
}

/// What a refresh token stands for.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) host: usize,
    pub(crate) user: usize,
    /// The password that it was obtained with, however many renewals ago.
    pub(crate) password: String,
    pub(crate) issued_at: i64,
    pub(crate) ends_at: i64,
}

/// A row, with what its auditor keeps of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) host: usize,
    /// The number of its ThingsBoard user; several rows may have the same.
    pub(crate) login: usize,
    pub(crate) password: String,
    /// What it said when that was last looked at.
    pub(crate) said: Says,
    pub(crate) present: bool,
    /// Which of several spellings of its server's URL it has.
    pub(crate) spelling: usize,
    pub(crate) token: Option<String>,
    pub(crate) expiry: Option<DateTime<Utc>>,
    /// Until then it need not be fresh: something else was amiss.
    pub(crate) excused_until: Instant,
    /// Until then it need not be fresh, because its server was in trouble.
    pub(crate) trouble_until: Instant,
    /// It was in the table when that was last looked at, and since when.
    pub(crate) was_there: bool,
    /// When it came into the table, or came back.
    pub(crate) came_at: Instant,
    /// When somebody other than the daemon last changed the row.
    pub(crate) changed_at: Instant,
    /// What is known of the token.
    pub(crate) in_row: Option<InRow>,
    /// An operator wants it to be renewed, due or not.
    pub(crate) asked: bool,
    /// A daemon has renewed it once.
    pub(crate) has_succeeded: bool,
}

impl Row {
    /// `tb_url`, to the letter.
    pub(crate) fn url(&self) -> String {
        url(self.host, self.spelling)
    }

    /// `tb_username`.
    pub(crate) fn username(&self) -> String {
        format!("user{}", self.login)
    }

    pub(crate) fn says(&self) -> Says {
        (self.host, self.login, self.password.clone())
    }
}

/// How the database behaves.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) read_fails: bool,
    pub(crate) write_fails: bool,
    /// Every other write takes effect and is reported as failed.
    pub(crate) half_fails: bool,
    /// Everything takes seconds.
    pub(crate) is_slow: bool,
    pub(crate) until: Instant,
    /// There are no side tables: nothing is remembered.
    pub(crate) has_no_records: bool,
    pub(crate) records: BTreeMap<usize, Record>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) dice: Dice,
    pub(crate) began: Instant,
    /// How long the machine was suspended: time that no timer saw.
    pub(crate) slept: TimeDelta,
    /// By how much the machine's clock is wrong.
    pub(crate) jump: TimeDelta,
    pub(crate) hosts: Vec<Host>,
    pub(crate) accounts: BTreeMap<(usize, usize), Account>,
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) rows: BTreeMap<usize, Row>,
    /// The rows of each login, which they keep.
    rows_of: BTreeMap<usize, Vec<usize>>,
    pub(crate) db: Database,
    /// The number of the daemon that was started last.
    pub(crate) daemon: u32,
    pub(crate) started_at: Instant,
    /// An operator stopped the loop.
    pub(crate) stopped_at: Option<Instant>,
    /// An operator waits for an answer.
    pub(crate) is_asking: bool,
    pub(crate) held: AllHeld,
    pub(crate) failing: AllFailing,
    pub(crate) unheard: AllUnheard,
    /// What has brought a token once, while some row says it.
    pub(crate) accepted: BTreeSet<Says>,
    pub(crate) stories: Stories,
    /// The minute that is counted for each login, and the requests in it.
    pub(crate) requests: BTreeMap<(usize, usize), (u64, u32)>,
    pub(crate) clock_moved_at: Instant,
    /// When the clock was last set back.
    pub(crate) set_back_at: Instant,
    /// By how much it was set back, in all.
    pub(crate) set_back_by: TimeDelta,
    /// When the clock was last set, by the true time.
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

/// A host's URL, in the spelling of a row.
pub(crate) fn url(host: usize, spelling: usize) -> String {
    match spelling {
        0 => format!("http://host{host}.example"),
        1 => format!("http://host{host}.example:80/"),
        _ => format!(" HTTP://Host{host}.Example// "),
    }
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut dice = Dice::new(setup.seed);
        let now = Instant::now();
        // Half the worlds cap the life at 15 minutes, as is the default; the others take it as it is.
        let declared_life = dice.chance(50_000).then_some(900);
        let lives = [60, 300, 900, 9_000, 9_000, 86_400, 604_800];
        let hosts = (0..setup.hosts)
            .map(|index| Host {
                mood: Mood::Well,
                until: now,
                // The last host has the short-lived tokens, and few customers.
                life: if index + 1 == setup.hosts { 60 } else { dice.pick(&lives[1..]) },
                refresh_life: dice.pick(&[3_600, 604_800, 604_800]),
                lockout: dice.pick(&[None, Some(1), Some(2), Some(5)]),
                skew: dice.pick(&[0, 0, 0, 40, -7_200]),
                second: (0, 0),
                trouble: Trouble::default(),
                was_dead: false,
            })
            .collect();
        let has_no_records = dice.chance(6_000);
        let mut world = Self {
            dice,
            began: now,
            slept: TimeDelta::zero(),
            jump: TimeDelta::zero(),
            hosts,
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
            },
            daemon: 0,
            started_at: now,
            stopped_at: None,
            is_asking: false,
            held: AllHeld::new(),
            failing: AllFailing::new(),
            unheard: AllUnheard::new(),
            accepted: BTreeSet::new(),
            stories: Stories::default(),
            requests: BTreeMap::new(),
            clock_moved_at: now,
            set_back_at: now,
            set_back_by: TimeDelta::zero(),
            jumped_at: DateTime::UNIX_EPOCH,
            serial: 0,
            declared_life,
            audit: Audit::default(),
            setup,
        };
        for user in 0..world.setup.customers {
            let host = if user < 3 { world.setup.hosts - 1 } else { user % (world.setup.hosts - 1) };
            // Every tenth or so has the account of another one: they differ in what they do with the token.
            let others: Vec<usize> =
                world.rows.iter().filter(|(_, row)| row.host == host).map(|(user, _)| *user).collect();
            let shares = !others.is_empty() && world.dice.chance(15_000);
            let login = if shares { world.rows[&world.dice.pick(&others)].login } else { user };
            world.add(user, host, login, &format!("right-{login}"));
        }
        world
    }

    pub(crate) fn add(&mut self, user: usize, host: usize, login: usize, password: &str) {
        self.ensure_account(host, login, password);
        let now = Instant::now();
        let row = Row {
            host,
            login,
            password: password.to_owned(),
            said: (host, login, password.to_owned()),
            present: true,
            spelling: 0,
            token: None,
            expiry: None,
            excused_until: now + super::audit::SHORT,
            trouble_until: now,
            was_there: true,
            came_at: now,
            changed_at: now,
            in_row: None,
            asked: false,
            has_succeeded: false,
        };
        self.rows.insert(user, row);
        self.rows_of.entry(login).or_default().push(user);
    }

    /// The rows with this login, in the table or not, on whatever server.
    pub(crate) fn rows_of(&self, login: usize) -> impl Iterator<Item = (usize, &Row)> + Clone {
        self.rows_of.get(&login).into_iter().flatten().map(|user| (*user, &self.rows[user]))
    }

    pub(crate) fn ensure_account(&mut self, host: usize, user: usize, password: &str) {
        self.accounts.entry((host, user)).or_insert_with(|| Account {
            password: password.to_owned(),
            active: true,
            second_factor: false,
            is_expired: false,
            is_refused_by_policy: false,
            failures: 0,
            changed_at: 0,
        });
    }

    /// What time it really is.
    pub(crate) fn true_time(&self) -> DateTime<Utc> {
        let origin = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        origin + TimeDelta::from_std(self.began.elapsed()).unwrap() + self.slept
    }

    /// What the daemon's machine thinks.
    pub(crate) fn machine_time(&self) -> DateTime<Utc> {
        self.true_time() + self.jump
    }

    /// What a server thinks, in seconds.
    pub(crate) fn host_time(&self, host: usize) -> i64 {
        self.true_time().timestamp() + self.hosts[host].skew
    }

    /// Whether a login with what the row says brings a token, its server permitting.
    pub(crate) fn is_right(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let account = self.accounts.get(&(row.host, row.login));
        row.present
            && account.is_some_and(|account| {
                account.active
                    && !account.second_factor
                    && !account.is_expired
                    && !account.is_refused_by_policy
                    && account.password == row.password
            })
            // A redirect is believed until the row is corrected.
            && !self.was_refused(&row.said)
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
