//! The rate of requests: no storms (21), fewer requests to a server in trouble (13), and a back-off that doubles with each
//! failure of a customer.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tbtokend::model::Failure;
use tokio::time::{Duration, Instant};

use super::world::{REQUEST_TIMEOUT, Trouble, World};

/// The most requests of one login in a minute, for each of its rows and each daemon.
const MOST_REQUESTS_A_MINUTE: u32 = 20;

/// The most polls of one daemon in a minute, including those for operators.
const MOST_POLLS_A_MINUTE: u32 = 60;

/// The most requests of one daemon to a server in trouble in a minute. These are a probe or two for each wake, some for an
/// operator, and some after a restart.
const MOST_IN_TROUBLE_A_MINUTE: u32 = 30;

/// The most further requests during the whole fault: the limit halves from its maximum, 64 + 32 + … + 1.
const MOST_UNTIL_IT_IS_KNOWN: u32 = 127;

/// The shortest wait after a first failure: a minute, less 20 %.
const FIRST_WAIT: Duration = Duration::from_secs(48);

/// The shortest wait after many failures: half an hour, less 20 %.
const LAST_WAIT: Duration = Duration::from_secs(24 * 60);

/// How long a customer waits for each request without a good answer, even if its server is back.
const MINUTE: Duration = Duration::from_secs(60);

/// The precision of timers and of the store's answers.
const ROUNDING: Duration = Duration::from_millis(100);

/// The failures of a login.
#[derive(Debug)]
pub(crate) struct Failing {
    daemon: u32,
    /// The least number of failures in a row that a daemon may know.
    times: u32,
    /// The greatest number of failures in a row that a daemon may know.
    most_times: u32,
    at: Instant,
    /// The time until the next attempt, at least.
    wait: Duration,
    /// Whether the server could not be reached, which is no reason to wait once it can be.
    is_unreachable: bool,
    /// Whether the server did not answer in time; for a refresh token that is no reason to wait either.
    is_timeout: bool,
    /// Whether the server limits the rate.
    is_limited: bool,
}

/// The failures of all logins, by server and login.
pub(crate) type AllFailing = BTreeMap<(usize, usize), Failing>;

impl Failing {
    /// Forgets the failures, because a daemon may not know them.
    fn forget(&mut self) {
        (self.wait, self.times) = (Duration::ZERO, 0);
    }

    /// Returns how long it waits after its server is back, at least and at most.
    fn remaining_wait(&self) -> [Duration; 2] {
        let least = if self.is_unreachable || self.is_timeout { 0 } else { self.times };
        let most = if self.is_unreachable { 0 } else { self.most_times };
        [MINUTE * least, MINUTE * most]
    }
}

impl World {
    /// Returns the row with this login; `None` if several have it, because it is not visible which of them fails.
    fn only_row(&self, server: usize, login: usize) -> Option<usize> {
        let mut rows = self.rows_of(login).filter(|(_, row)| row.server == server);
        let user = rows.next().map(|(user, _)| user);
        user.filter(|_| rows.next().is_none())
    }

    /// Counts a request, and checks its rate.
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
        self.log(login, || format!("server {server} ({:?}) gets a request", self.servers[server].behaviour));
        self.check_wait(server, login);
    }

    /// Counts a poll of a daemon, and checks its rate.
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
        // Two daemons have separate waits, and an operator's request ends a wait.
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

    /// Notes that a request failed, and calculates the wait.
    pub(crate) fn note_failure(&mut self, daemon: u32, server: usize, login: usize, failure: &Failure) {
        let user = self.only_row(server, login).filter(|_| !failure.is_permanent());
        // A request from before the change of the row does not count for its new credentials.
        let Some(user) = user.filter(|user| self.rows[user].changed_at.elapsed() > REQUEST_TIMEOUT) else {
            self.failing.remove(&(server, login));
            return;
        };
        let before = self.failing.get(&(server, login)).map_or(0, |failing| failing.times);
        // An operator's attempt does not count for the back-off.
        let times = before + u32::from(!self.is_asking);
        let doubled = FIRST_WAIT.saturating_mul(1 << times.saturating_sub(1).min(10)).min(LAST_WAIT);
        // At most a third of the remaining life, or the time since the token ended.
        let hurried = |remaining: TimeDelta| match remaining.to_std() {
            Ok(remaining) => remaining / 3,
            Err(_) => FIRST_WAIT.max(remaining.abs().to_std().unwrap().mul_f64(0.8)),
        };
        let remaining = self.remaining(user).map(|[least, most]| {
            // The daemon may assume any time in between, and that the token is about to end.
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

    /// Notes that a daemon got an answer, which ends the waits for the server alone.
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

    /// Ends all waits, because of an operator's request or a clock step.
    pub(crate) fn end_all_waits(&mut self) {
        self.failing.keys().for_each(|(_, login)| self.log(*login, || "all waits end".to_owned()));
        self.failing.values_mut().for_each(|failing| failing.wait = Duration::ZERO);
    }

    /// Returns how long this row waits after its server is back.
    pub(crate) fn remaining_wait(&self, user: usize) -> Duration {
        let row = &self.rows[&user];
        let Some(failing) = self.failing.get(&(row.server, row.login)) else { return Duration::ZERO };
        let [_, most] = failing.remaining_wait();
        most.saturating_sub(failing.at.elapsed())
    }

    /// Forgets the failures that an ended daemon has not stored.
    pub(crate) fn forget_failing_of(&mut self, daemon: u32) {
        for failing in self.failing.values_mut().filter(|failing| failing.daemon == daemon) {
            failing.forget();
        }
    }

    /// Whether another row with its login, or another daemon, may be the reason of its wait.
    pub(crate) fn is_shared(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        self.setup.daemons > 1 || self.only_row(row.server, row.login).is_none()
    }

    /// Whether this row waits only because its server does not answer.
    pub(crate) fn waits_for_its_server_alone(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        self.only_row(row.server, row.login).is_some()
            && (!self.failing.contains_key(&(row.server, row.login)) || self.recovers_with_server(user))
    }

    /// Whether an answer of its server ends its wait.
    fn recovers_with_server(&self, user: usize) -> bool {
        let row = &self.rows[&user];
        self.failing.get(&(row.server, row.login)).is_some_and(|failing| !failing.is_limited)
    }

    /// Forgets the failures and held tokens of a row that has changed.
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

    /// Counts a request to a server in trouble, and checks its rate (13).
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
        // The limit cannot have grown beyond the number of customers of the server.
        let most = MOST_UNTIL_IT_IS_KNOWN.min(u32::try_from(rows).unwrap()) * daemons;
        if count > MOST_IN_TROUBLE_A_MINUTE * daemons && beyond == most + 1 {
            let user = self.rows.iter().find(|(_, row)| row.server == server).map_or(0, |(user, _)| *user);
            let what = format!("its server, known to be in trouble, got {count} requests within a minute");
            self.violation("13", user, &what);
        }
    }
}
