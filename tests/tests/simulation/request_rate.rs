//! How often servers are asked: nothing storms (21), a server in trouble is asked less (13), and who fails waits, each time
//! twice as long.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tbtokend::model::Failure;
use tokio::time::{Duration, Instant};

use super::world::{REQUEST_TIMEOUT, Trouble, World};

/// The most requests for one login in a minute, for each row that has it and each daemon.
const MOST_REQUESTS_A_MINUTE: u32 = 20;

/// The most polls of the table in a minute, of one daemon: one in five seconds, and some for operators.
const MOST_POLLS_A_MINUTE: u32 = 60;

/// The most requests in a minute that one daemon sends to a server in trouble: a probe or two for each wake, some more for
/// an operator who asks again and after a restart, when the daemon must learn anew.
const MOST_IN_TROUBLE_A_MINUTE: u32 = 30;

/// How many more it may send in the whole time of that trouble: those of a fully grown gate that is halved again and again,
/// 64 + 32 + … + 1.
const MOST_UNTIL_IT_IS_KNOWN: u32 = 127;

/// The shortest wait after a first failure: a minute, less 20 %.
const FIRST_WAIT: Duration = Duration::from_secs(48);

/// The shortest of the longest waits: half an hour, less 20 %.
const LAST_WAIT: Duration = Duration::from_secs(24 * 60);

/// A customer whose request got no answer, or a bad one, waits so long for each time, though its server is back.
const MINUTE: Duration = Duration::from_secs(60);

/// Timers are about milliseconds, and so are the answers of the store.
const ROUNDING: Duration = Duration::from_millis(100);

/// A login that fails.
#[derive(Debug)]
pub(crate) struct Failing {
    daemon: u32,
    /// How often in a row: so often at least, as far as a daemon knows.
    times: u32,
    /// And so often at most.
    most_times: u32,
    at: Instant,
    /// It is not tried again before this.
    wait: Duration,
    /// It could not be reached, which is no reason to wait when it can be.
    is_unreachable: bool,
    /// It did not answer in time; for a refresh token that is no reason either.
    is_timeout: bool,
    /// It is asked for less, and decides itself when it is enough.
    is_limited: bool,
}

/// All of them, by server and login.
pub(crate) type AllFailing = BTreeMap<(usize, usize), Failing>;

impl Failing {
    /// A daemon may know nothing of it any more.
    fn forget(&mut self) {
        (self.wait, self.times) = (Duration::ZERO, 0);
    }

    /// How long it waits though its server is back, at least and at most.
    fn remaining_wait(&self) -> [Duration; 2] {
        let least = if self.is_unreachable || self.is_timeout { 0 } else { self.times };
        let most = if self.is_unreachable { 0 } else { self.most_times };
        [MINUTE * least, MINUTE * most]
    }
}

impl World {
    /// The one row that has this login; none if several have it, for which of them fails is not seen from outside.
    fn only_row(&self, server: usize, login: usize) -> Option<usize> {
        let mut rows = self.rows_of(login).filter(|(_, row)| row.server == server);
        let user = rows.next().map(|(user, _)| user);
        user.filter(|_| rows.next().is_none())
    }

    /// A request is sent.
    pub(crate) fn count_request(&mut self, server: usize, login: usize) {
        let elapsed = self.began.elapsed();
        self.audit.digest = self
            .audit
            .digest
            .wrapping_mul(0x0100_0000_01B3)
            .wrapping_add(u64::try_from(elapsed.as_millis()).unwrap() ^ (login as u64) << 40);
        let minute = elapsed.as_secs() / 60;
        let counted = self.requests.entry((server, login)).or_default();
        let count = if counted.0 == minute { counted.1 + 1 } else { 1 };
        *counted = (minute, count);
        let rows = self.rows_of(login).count().max(1);
        let most = MOST_REQUESTS_A_MINUTE * u32::try_from(rows).unwrap() * self.setup.daemons;
        if count == most {
            let user = self.rows_of(login).next().map_or(login, |(user, _)| user);
            self.violation("21", user, &format!("{count} requests within a minute"));
        }
        self.log(login, || format!("server {server} ({:?}) is asked", self.servers[server].behaviour));
        self.check_wait(server, login);
    }

    /// A daemon polls the table.
    pub(crate) fn count_poll(&mut self, daemon: u32) {
        self.audit.polls += 1;
        let minute = self.began.elapsed().as_secs() / 60;
        let counted = self.polls.entry(daemon).or_default();
        let count = if counted.0 == minute { counted.1 + 1 } else { 1 };
        *counted = (minute, count);
        if count == MOST_POLLS_A_MINUTE {
            self.violation(
                "21",
                0,
                &format!("daemon {daemon} polls the table {count} times within a minute"),
            );
        }
    }

    fn check_wait(&mut self, server: usize, login: usize) {
        // Two daemons wait each for itself; who is asked for need not wait.
        let may_ask = self.setup.daemons > 1 || self.is_asking;
        let Some(failing) = self.failing.get(&(server, login)).filter(|_| !may_ask) else {
            return;
        };
        let (waited, wait, times) = (failing.at.elapsed(), failing.wait, failing.times);
        if waited + ROUNDING < wait
            && let Some(user) = self.only_row(server, login)
        {
            let what =
                format!("tried again {waited:?} after {times} failures in a row, and not after {wait:?}");
            self.violation("13", user, &what);
        }
    }

    /// A daemon was told that a request failed, and may try again.
    pub(crate) fn note_failure(&mut self, daemon: u32, server: usize, login: usize, failure: &Failure) {
        let user = self.only_row(server, login).filter(|_| !failure.is_permanent());
        // What was sent before the row changed says nothing of what it says now.
        let Some(user) = user.filter(|user| self.rows[user].changed_at.elapsed() > REQUEST_TIMEOUT) else {
            self.failing.remove(&(server, login));
            return;
        };
        let before = self.failing.get(&(server, login)).map_or(0, |failing| failing.times);
        // What an operator asks for does not count, and puts off nothing.
        let times = before + u32::from(!self.is_asking);
        let doubled = FIRST_WAIT.saturating_mul(1 << times.saturating_sub(1).min(10)).min(LAST_WAIT);
        // A third of the life that it has, or no longer than it has been without one.
        let hurried = |remaining: TimeDelta| match remaining.to_std() {
            Ok(remaining) => remaining / 3,
            Err(_) => FIRST_WAIT.max(remaining.abs().to_std().unwrap().mul_f64(0.8)),
        };
        let remaining = self.remaining(user).map(|[least, most]| {
            // It may think of any time in between, and that the token is about to end.
            let between = TimeDelta::zero().clamp(least, most);
            [least, between, most]
        });
        let remaining = remaining.into_iter().flatten();
        let wait = remaining.map(hurried).chain([doubled]).min().unwrap_or(doubled);
        let wait = if self.is_asking { Duration::ZERO } else { wait.max(Duration::from_secs(1)) };
        let asked = match failure {
            Failure::RateLimited { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        self.log(login, || {
            let lives = self.remaining(user).map(|lives| lives.map(|lives| lives.num_seconds()));
            format!("server {server}: {failure} ({times} in a row; row {user} lives for {lives:?} s)")
        });
        let failing = Failing {
            daemon,
            times,
            most_times: self.failing.get(&(server, login)).map_or(0, |failing| failing.most_times) + 1,
            at: Instant::now(),
            wait: wait.max(asked),
            is_unreachable: matches!(failure, Failure::Unreachable { .. } | Failure::Interrupted { .. }),
            is_timeout: matches!(failure, Failure::Timeout { .. }),
            is_limited: matches!(failure, Failure::RateLimited { .. }),
        };
        self.failing.insert((server, login), failing);
    }

    /// A daemon has got an answer: who waited only for that need not wait longer.
    pub(crate) fn note_server_answer(&mut self, server: usize) {
        let waiting = self.failing.range((server, 0)..(server + 1, 0));
        let waiting =
            waiting.filter(|(_, failing)| failing.wait > Duration::ZERO).map(|((_, login), _)| *login);
        for login in waiting.collect::<Vec<_>>() {
            if let Some(user) = self.only_row(server, login)
                && self.recovers_with_server(user)
                && let Some(failing) = self.failing.get_mut(&(server, login))
            {
                failing.wait = failing.wait.min(failing.remaining_wait()[0]);
            }
        }
        self.note_server_back(server);
    }

    /// It was asked for, or the clock was set: nobody need wait.
    pub(crate) fn end_all_waits(&mut self) {
        self.failing.keys().for_each(|(_, login)| self.log(*login, || "nobody waits".to_owned()));
        self.failing.values_mut().for_each(|failing| failing.wait = Duration::ZERO);
    }

    /// How long this row waits though its server is back.
    pub(crate) fn remaining_wait(&self, user: usize) -> Duration {
        let row = &self.rows[&user];
        let Some(failing) = self.failing.get(&(row.server, row.login)) else { return Duration::ZERO };
        let [_, most] = failing.remaining_wait();
        most.saturating_sub(failing.at.elapsed())
    }

    /// A daemon has ended. The next one knows who waits only if that was written.
    pub(crate) fn forget_failing_of(&mut self, daemon: u32) {
        for failing in self.failing.values_mut().filter(|failing| failing.daemon == daemon) {
            failing.forget();
        }
    }

    /// Whether one of several rows with its login, or of two daemons, may be the reason why another one waits.
    pub(crate) fn is_shared(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        self.setup.daemons > 1 || self.only_row(row.server, row.login).is_none()
    }

    /// Whether nothing but its server's silence keeps this row waiting.
    pub(crate) fn waits_for_its_server_alone(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        self.only_row(row.server, row.login).is_some()
            && (!self.failing.contains_key(&(row.server, row.login)) || self.recovers_with_server(user))
    }

    /// Whether it is reason enough to try again that its server answers.
    fn recovers_with_server(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        self.failing.get(&(row.server, row.login)).is_some_and(|failing| !failing.is_limited)
    }

    /// The row is another than a daemon may know: what was seen of it means nothing any more.
    pub(crate) fn forget_row(&mut self, user: usize) {
        let row = &self.rows[&user];
        let said = row.said.account();
        for key in [(row.server, row.login), said] {
            self.held.remove(&key);
            if let Some(failing) = self.failing.get_mut(&key) {
                failing.forget();
            }
        }
    }

    /// A server that is in trouble is asked less (13).
    pub(crate) fn count_trouble(&mut self, server: usize) {
        let daemons = self.setup.daemons;
        let minute = self.began.elapsed().as_secs() / 60;
        let trouble = &mut self.servers[server].trouble;
        trouble.count = if trouble.minute == minute { trouble.count + 1 } else { 1 };
        trouble.minute = minute;
        if trouble.count > MOST_IN_TROUBLE_A_MINUTE * daemons {
            trouble.beyond += 1;
        }
        let Trouble { count, beyond, .. } = *trouble;
        let rows = self.rows.values().filter(|row| row.server == server).count();
        // A gate has not grown beyond the customers that its server has.
        let most = MOST_UNTIL_IT_IS_KNOWN.min(u32::try_from(rows).unwrap()) * daemons;
        if count > MOST_IN_TROUBLE_A_MINUTE * daemons && beyond == most + 1 {
            let user = self.rows.iter().find(|(_, row)| row.server == server).map_or(0, |(user, _)| *user);
            let what = format!("its server, known to be in trouble, was asked {count} times within a minute");
            self.violation("13", user, &what);
        }
    }
}
