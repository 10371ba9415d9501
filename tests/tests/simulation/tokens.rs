//! The tokens of the simulation: held by a daemon, in a row, or ended. They are the subject of promises 1 and 7, and of the
//! rule that no daemon requests a token that no row needs.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tbtokend::model::Renewal;
use tokio::time::{Duration, Instant};

use super::world::{Row, World};

/// The `schedule.refresh_window` of the daemons here.
const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// How long a daemon may use what it read before a change of the row: a poll, a pass and its last request.
const LAST_READ: Duration = Duration::from_secs(60);

/// How much later than its true end the expiry of a token may be. Server and daemon use whole seconds, and the answer takes
/// some time.
const ROUNDING: TimeDelta = TimeDelta::seconds(2);

/// The token in a row.
#[derive(Debug, Clone)]
pub(crate) struct InRow {
    /// When it was issued, by the true time.
    pub(crate) issued_at: DateTime<Utc>,
    /// A daemon knows that its server no longer accepts it.
    pub(crate) is_dead: bool,
    /// The true end of the token.
    pub(crate) ends_at: DateTime<Utc>,
    /// The end of the declared life, by the true time; `None` if an application wrote the token.
    declared_end: Option<DateTime<Utc>>,
    /// The sum of all steps back of the clock at the time of the write.
    stepped_back_by: TimeDelta,
    /// The declared life; `None` if an application wrote the token and the daemon cannot know it.
    life: Option<TimeDelta>,
    /// Whether the clock stepped between its issue and its write.
    is_of_another_clock: bool,
    /// The daemon that wrote it, and the time.
    pub(crate) daemon: Option<u32>,
    pub(crate) written_at: Instant,
}

/// A token that a daemon has obtained and no row has yet.
#[derive(Debug)]
pub(crate) struct Held {
    daemon: u32,
    jwt: String,
    /// The time until which it is worth saving.
    worth_until: Instant,
}

/// The held tokens of each account, by server and login. The row of a token is not visible from outside.
pub(crate) type AllHeld = BTreeMap<(usize, usize), Vec<Held>>;

impl World {
    /// Checks that no daemon requests a token that no row needs, or while it holds one that waits to be saved (promise 7).
    /// There must never be more held tokens than rows that want one.
    pub(crate) fn note_token(
        &mut self,
        daemon: u32,
        server: usize,
        login: usize,
        jwt: String,
        worth_until: Instant,
    ) {
        let now = Instant::now();
        if self.stopped_at.is_some_and(|at| at.elapsed() > LAST_READ) && !self.is_asking {
            self.violation("1", login, "a token was asked for though the loop was stopped");
        }
        // A row that has just moved may have been read before.
        let may_be_here = |row: &Row| row.server == server || row.changed_at.elapsed() <= LAST_READ;
        let rows = self.rows_of(login).filter(|(_, row)| may_be_here(row));
        let users: Vec<usize> = rows.map(|(user, _)| user).collect();
        self.log(login, || format!("daemon {daemon} gets a token"));
        let wanting = users.iter().filter(|user| self.wants(**user, daemon)).count();
        let held = self.held.entry((server, login)).or_default();
        held.retain(|held| now < held.worth_until);
        let mine = held.iter().filter(|held| held.daemon == daemon).count();
        held.push(Held { daemon, jwt, worth_until });
        // The row was removed or moved while the request was in flight.
        let Some(user) = users.first().filter(|_| mine + 1 > wanting) else { return };
        let (promise, what) = if mine == 0 {
            ("1", "a token was requested that no row needs")
        } else {
            ("7", "asked for a token while it held one that was not saved yet")
        };
        let in_row = self.rows[user].in_row.clone();
        let what = format!(
            "{what}: {mine} on their way for {wanting} of {} rows with login {login}; the row has {in_row:?} until {:?}, it is {}",
            users.len(),
            self.rows[user].expiry,
            self.machine_time()
        );
        self.violation(promise, *user, &what);
    }

    /// Whether the row may need a token: it is due as far as the daemon knows, or an operator has requested it. A recently
    /// changed row may need one too, because the daemon may not know the change.
    fn wants(&self, user: usize, daemon: u32) -> bool {
        let row = &self.rows[&user];
        if row.asked || row.changed_at.elapsed() <= LAST_READ {
            return true;
        }
        if !row.present {
            return false;
        }
        let (Some(in_row), Some(expiry)) = (&row.in_row, row.expiry) else { return true };
        if in_row.is_dead {
            return true;
        }
        // With the clock before the step it was due.
        if in_row.written_at <= self.clock_moved_at || in_row.is_of_another_clock || self.is_misdated(user) {
            return true;
        }
        // With two daemons, one may write while the other requests a token as well.
        if in_row.daemon != Some(daemon) && in_row.written_at.elapsed() <= LAST_READ {
            return true;
        }
        let is_ours = in_row.daemon == Some(daemon);
        expiry - self.machine_time() < if is_ours { self.window(user) } else { WINDOW }
    }

    /// How long before its end the row's token is due, for a daemon that wrote it. This repeats the engine's rule on purpose,
    /// as an independent check.
    pub(crate) fn window(&self, user: usize) -> TimeDelta {
        let life = self.rows[&user].in_row.as_ref().and_then(|token| token.life);
        life.map_or(WINDOW, |life| WINDOW.min(life / 2))
    }

    /// Notes that a held token is saved or superseded.
    pub(crate) fn note_token_settled(&mut self, jwt: &str) {
        for held in self.held.values_mut() {
            held.retain(|held| held.jwt != jwt);
        }
    }

    /// Drops the tokens of a daemon that has ended.
    pub(crate) fn drop_held_by(&mut self, daemon: u32) {
        for held in self.held.values_mut() {
            held.retain(|held| held.daemon != daemon);
        }
    }

    /// Notes that a daemon wrote a token, and checks that its expiry is not later than its true end.
    pub(crate) fn note_token_written(&mut self, user: usize, daemon: u32, renewal: &Renewal) {
        let server = self.rows[&user].server;
        let skew = TimeDelta::seconds(self.servers[server].skew);
        let issued_at = renewal.token.issued_at() - skew;
        let ends_at = issued_at + renewal.token.life();
        let declared = renewal.expiry - self.jump;
        // The clock stepped while the token waited, so its expiry was calculated by another clock.
        let is_of_another_clock = issued_at < self.jumped_at;
        if !is_of_another_clock && declared > ends_at + ROUNDING {
            let what = format!("its token ends {ends_at} and was declared to end {declared}");
            self.violation("1", user, &what);
        }
        let in_row = InRow {
            issued_at,
            is_dead: false,
            ends_at,
            declared_end: Some(issued_at + renewal.life),
            life: Some(renewal.life),
            daemon: Some(daemon),
            stepped_back_by: self.stepped_back_by,
            is_of_another_clock,
            written_at: Instant::now(),
        };
        self.log(self.rows[&user].login, || {
            format!("daemon {daemon} writes a token until {}", renewal.expiry)
        });
        let row = self.rows.get_mut(&user).unwrap();
        row.token = Some(renewal.token.jwt().expose().to_owned());
        row.expiry = Some(renewal.expiry);
        row.in_row = Some(in_row);
        row.is_parked = false;
        self.audit.saved += 1;
        self.is_of_an_old_key(user);
    }

    /// Writes a token that an application has obtained by itself to the row.
    pub(crate) fn write_as_application(&mut self, user: usize) {
        let row = &self.rows[&user];
        let life = TimeDelta::seconds(self.servers[row.server].life);
        let (ends_at, expiry) = (self.true_time() + life, self.machine_time() + life);
        // The daemon chose the time of the next attempt without knowing this token.
        self.excuse_for(user, super::audit::LONG);
        let row = self.rows.get_mut(&user).unwrap();
        row.token = Some(format!("an application's own {user}"));
        row.expiry = Some(expiry);
        row.in_row = Some(InRow {
            issued_at: ends_at - life,
            is_dead: false,
            ends_at,
            declared_end: None,
            life: None,
            daemon: None,
            stepped_back_by: self.stepped_back_by,
            is_of_another_clock: false,
            written_at: Instant::now(),
        });
        row.changed_at = Instant::now();
    }

    /// Returns the remaining life of the row's token as a daemon may see it, at least and at most.
    pub(crate) fn remaining(&self, user: usize) -> Option<[TimeDelta; 2]> {
        let row = &self.rows[&user];
        let declared = row.expiry.filter(|_| row.token.is_some())? - self.machine_time();
        let Some(token) = &row.in_row else { return Some([declared; 2]) };
        let lives = token.declared_end.map_or(declared, |end| end - self.true_time());
        // A daemon that saw several clock steps, back and forward, assumes a shorter life than the true one.
        let seen = declared - (self.stepped_back_by - token.stepped_back_by);
        Some([lives.min(declared).min(seen), lives.max(declared)])
    }

    /// Whether a daemon assumes that its token is valid.
    pub(crate) fn is_taken_for_alive(&self, user: usize) -> bool {
        self.is_alive(user) && self.remaining(user).is_some_and(|[least, _]| least > TimeDelta::zero())
    }

    /// Whether the row has a token that its server accepts, with an expiry in the future.
    pub(crate) fn is_alive(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let lives = row.in_row.as_ref().is_some_and(|token| token.ends_at >= self.true_time());
        lives && row.expiry.is_some_and(|expiry| expiry >= self.machine_time())
    }
}
