//! Where each token is and what it is worth: obtained, held by a daemon, in a row, at its true end. Promises 1 and 7 are
//! about these, and that nobody asks for a token that nobody needs.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tbtokend::model::Renewal;
use tokio::time::{Duration, Instant};

use super::world::{Row, World};

/// `schedule.refresh_window`, as the daemons here have it.
const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// A row that was just changed by someone else may be renewed by what was read of it before: a look at the table, a pass
/// and its last request.
const LAST_READ: Duration = Duration::from_secs(60);

/// How much later than its true end a token may be declared to end: its server and we count whole seconds, and its answer
/// takes a moment.
const ROUNDING: TimeDelta = TimeDelta::seconds(2);

/// The token in a row.
#[derive(Debug, Clone)]
pub(crate) struct InRow {
    /// Its true end.
    pub(crate) ends_at: DateTime<Utc>,
    /// The end of the life that was declared, by the true time; none if an application wrote it.
    declared_end: Option<DateTime<Utc>>,
    /// By how much the clock had been set back in all when it was written.
    set_back_by: TimeDelta,
    /// The life that was declared; none if an application wrote it and the daemon cannot know.
    life: Option<TimeDelta>,
    /// Whether the clock moved between its issue and its write.
    is_of_another_clock: bool,
    /// Which daemon wrote it, and when.
    pub(crate) daemon: Option<u32>,
    pub(crate) written_at: Instant,
}

/// A token that a daemon got and no row has yet.
#[derive(Debug)]
pub(crate) struct Held {
    daemon: u32,
    jwt: String,
    /// Until when it is worth saving.
    worth_until: Instant,
}

/// Those of each account, by server and login: which of several rows one is for cannot be seen from outside.
pub(crate) type AllHeld = BTreeMap<(usize, usize), Vec<Held>>;

impl World {
    /// Nobody asks for a token that no row needs, nor while holding one that only waits to be saved (promise 7): there are
    /// never more tokens on their way than rows that want one.
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
        // One that has just moved may have been read before.
        let may_be_here = |row: &Row| row.server == server || row.changed_at.elapsed() <= LAST_READ;
        let rows = self.rows_of(login).filter(|(_, row)| may_be_here(row));
        let users: Vec<usize> = rows.map(|(user, _)| user).collect();
        self.log(login, || format!("daemon {daemon} gets a token"));
        let wanting = users.iter().filter(|user| self.wants(**user, daemon)).count();
        let held = self.held.entry((server, login)).or_default();
        held.retain(|held| now < held.worth_until);
        let mine = held.iter().filter(|held| held.daemon == daemon).count();
        held.push(Held { daemon, jwt, worth_until });
        // One whose row has left or moved meanwhile: that the request was on its way could not be helped.
        let Some(user) = users.first().filter(|_| mine + 1 > wanting) else { return };
        let (promise, what) = if mine == 0 {
            ("1", "a token was asked for that nobody needs")
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

    /// Whether the row may want a token: it is due by what the daemon knows of it, an operator has asked, or it was changed
    /// so lately that the daemon may not know.
    fn wants(&self, user: usize, daemon: u32) -> bool {
        let row = &self.rows[&user];
        if row.asked || row.changed_at.elapsed() <= LAST_READ {
            return true;
        }
        if !row.present {
            return false;
        }
        let (Some(in_row), Some(expiry)) = (&row.in_row, row.expiry) else { return true };
        // By another clock it was due, or is not what it seems.
        if in_row.written_at <= self.clock_moved_at || in_row.is_of_another_clock || self.is_misdated(user) {
            return true;
        }
        // Of two daemons one may write what the other one is getting too.
        if in_row.daemon != Some(daemon) && in_row.written_at.elapsed() <= LAST_READ {
            return true;
        }
        let life = in_row.life.filter(|_| in_row.daemon == Some(daemon));
        // Written down here again, and not the engine's own.
        let window = life.map_or(WINDOW, |life| WINDOW.min(life / 2));
        expiry - self.machine_time() < window
    }

    /// What becomes of a token on its way is known.
    pub(crate) fn note_token_settled(&mut self, jwt: &str) {
        for held in self.held.values_mut() {
            held.retain(|held| held.jwt != jwt);
        }
    }

    /// A daemon has ended.
    pub(crate) fn drop_held_by(&mut self, daemon: u32) {
        for held in self.held.values_mut() {
            held.retain(|held| held.daemon != daemon);
        }
    }

    /// A daemon writes a token: it is declared to end no later than it does.
    pub(crate) fn note_token_written(&mut self, user: usize, daemon: u32, renewal: &Renewal) {
        let server = self.rows[&user].server;
        let skew = TimeDelta::seconds(self.servers[server].skew);
        let issued_at = renewal.token.issued_at() - skew;
        let ends_at = issued_at + renewal.token.life();
        let declared = renewal.expiry - self.jump;
        // While it waited the clock was set: it was declared by another one.
        let is_of_another_clock = issued_at < self.jumped_at;
        if !is_of_another_clock && declared > ends_at + ROUNDING {
            let what = format!("its token ends {ends_at} and was declared to end {declared}");
            self.violation("1", user, &what);
        }
        let in_row = InRow {
            ends_at,
            declared_end: Some(issued_at + renewal.life),
            life: Some(renewal.life),
            daemon: Some(daemon),
            set_back_by: self.set_back_by,
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
        row.is_tried_daily = false;
        self.audit.saved += 1;
    }

    /// An application that got a token by itself writes it to the row.
    pub(crate) fn write_as_application(&mut self, user: usize) {
        let row = &self.rows[&user];
        let life = TimeDelta::seconds(self.servers[row.server].life);
        let (ends_at, expiry) = (self.true_time() + life, self.machine_time() + life);
        // Whoever waits has chosen its time without knowing of this token.
        self.excuse_for(user, super::audit::LONG);
        let row = self.rows.get_mut(&user).unwrap();
        row.token = Some(format!("an application's own {user}"));
        row.expiry = Some(expiry);
        row.in_row = Some(InRow {
            ends_at,
            declared_end: None,
            life: None,
            daemon: None,
            set_back_by: self.set_back_by,
            is_of_another_clock: false,
            written_at: Instant::now(),
        });
        row.changed_at = Instant::now();
    }

    /// How long its token lives, as a daemon may take it: at least, and at most.
    pub(crate) fn remaining(&self, user: usize) -> Option<[TimeDelta; 2]> {
        let row = &self.rows[&user];
        let declared = row.expiry.filter(|_| row.token.is_some())? - self.machine_time();
        let Some(token) = &row.in_row else { return Some([declared; 2]) };
        let lives = token.declared_end.map_or(declared, |end| end - self.true_time());
        // A daemon that saw it set back more than once, and ahead in between, takes it for shorter than it is.
        let seen = declared - (self.set_back_by - token.set_back_by);
        Some([lives.min(declared).min(seen), lives.max(declared)])
    }

    /// Whether a daemon takes its token for a living one.
    pub(crate) fn is_taken_for_alive(&self, user: usize) -> bool {
        self.is_alive(user) && self.remaining(user).is_some_and(|[least, _]| least > TimeDelta::zero())
    }

    /// Whether applications find a token in the row that its server takes, and that the row does not say is over.
    pub(crate) fn is_alive(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        let lives = row.in_row.as_ref().is_some_and(|token| token.ends_at >= self.true_time());
        lives && row.expiry.is_some_and(|expiry| expiry >= self.machine_time())
    }
}
