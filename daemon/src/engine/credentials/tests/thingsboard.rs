//! The reference: a ThingsBoard that counts wrong passwords before it answers, and a proxy that loses answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::Verdict;
use crate::model::{Failure, UnexpectedAnswer};

/// What a server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Answers.
    Well,
    /// Counts, and its answer is lost: 504, a closed connection, 403, 429, a page of HTML.
    Deaf,
    /// Accepts requests and works them off when it is thawed.
    Frozen,
    /// Refuses connections.
    Dead,
    /// Its database is dead: 500 for a wrong password, no answer to a right one, and nothing is counted.
    WithoutDatabase,
    /// Something else answers.
    Portal,
}

impl Mode {
    pub(super) const ALL: [Self; 6] =
        [Self::Well, Self::Deaf, Self::Frozen, Self::Dead, Self::WithoutDatabase, Self::Portal];
}

/// A user, and what ThingsBoard knows of it.
#[derive(Debug, Clone, Default)]
pub(super) struct User {
    pub(super) password: String,
    /// Wrong passwords since the last right one.
    pub(super) counter: u32,
    /// Sends that an operator forced since then: each may add one to the counter.
    pub(super) forced: u32,
    pub(super) is_disabled: bool,
    pub(super) has_second_factor: bool,
    /// Rises with each change of the password.
    generation: u32,
    /// Refresh tokens of earlier generations are outdated; a restarted server forgets it.
    outdated_before: u32,
}

impl User {
    pub(super) fn change_password(&mut self, password: &str) {
        password.clone_into(&mut self.password);
        self.generation += 1;
        self.outdated_before = self.generation;
    }
}

/// A refresh token.
#[derive(Debug, Clone)]
pub(super) struct RefreshToken {
    username: String,
    generation: u32,
    signing_key: u32,
}

/// What a server says to a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewed {
    Works,
    Outdated,
    Refused,
    Unanswered,
}

/// What a server says to a password.
pub(super) type Answer = Result<RefreshToken, Failure>;

/// How an answer is lost.
fn lost_answer(number: usize) -> Failure {
    let why = || "reset".to_owned();
    match number % 8 {
        0 | 3 | 6 => Failure::ServerError { status: 504, retry_after: None },
        1 | 4 => Failure::Interrupted { why: why() },
        2 => Failure::Timeout { after: Duration::from_secs(10) },
        5 => Failure::RateLimited { retry_after: None },
        _ => Failure::UnexpectedResponse(UnexpectedAnswer::ProxyLogin),
    }
}

#[derive(Debug, Clone)]
struct Login {
    username: String,
    password: String,
    is_forced: bool,
}

/// One ThingsBoard.
#[derive(Debug)]
pub(super) struct ThingsBoard {
    pub(super) mode: Mode,
    is_case_sensitive: bool,
    pub(super) users: BTreeMap<String, User>,
    queue: Vec<Login>,
    signing_key: u32,
    lost_answers: usize,
    /// Since when no login is answered.
    bad_since: Option<Instant>,
}

impl ThingsBoard {
    pub(super) fn new(is_case_sensitive: bool) -> Self {
        Self {
            mode: Mode::Well,
            is_case_sensitive,
            users: BTreeMap::new(),
            queue: Vec::new(),
            signing_key: 0,
            lost_answers: 0,
            bad_since: None,
        }
    }

    pub(super) fn key(&self, username: &str) -> String {
        if self.is_case_sensitive { username.to_owned() } else { username.trim().to_lowercase() }
    }

    pub(super) fn user(&mut self, username: &str) -> &mut User {
        let key = self.key(username);
        self.users.entry(key).or_default()
    }

    pub(super) fn set_mode(&mut self, mode: Mode, now: Instant) {
        self.mode = mode;
        self.bad_since = match mode {
            Mode::Well | Mode::Portal => None,
            Mode::Deaf | Mode::Frozen | Mode::Dead | Mode::WithoutDatabase => self.bad_since.or(Some(now)),
        };
        if mode != Mode::Frozen {
            for login in std::mem::take(&mut self.queue) {
                let _late = self.check(&login);
            }
        }
    }

    /// It forgets which refresh tokens are outdated, and perhaps signs with a new key.
    pub(super) fn restart(&mut self, has_new_key: bool) {
        self.users.values_mut().for_each(|user| user.outdated_before = 0);
        self.signing_key += u32::from(has_new_key);
    }

    /// Whether it has answered no login for so long.
    pub(super) fn is_bad_for(&self, time: Duration, now: Instant) -> bool {
        self.bad_since.is_some_and(|since| now.duration_since(since) > time)
    }

    pub(super) fn probe(&self) -> Verdict {
        match self.mode {
            Mode::Well => Verdict::Good,
            Mode::Portal => Verdict::None,
            Mode::Deaf | Mode::Frozen | Mode::Dead | Mode::WithoutDatabase => Verdict::Bad,
        }
    }

    /// A password arrives. Brings what the daemon hears; none if it hears nothing before its time-out.
    pub(super) fn log_in(&mut self, username: &str, password: &str, is_forced: bool) -> Option<Answer> {
        let login = Login { username: username.to_owned(), password: password.to_owned(), is_forced };
        let is_right = self.user(username).password == password;
        match self.mode {
            Mode::Well => Some(self.check(&login)),
            Mode::Deaf => {
                let _lost = self.check(&login);
                self.lost_answers += 1;
                Some(Err(lost_answer(self.lost_answers - 1)))
            }
            Mode::Frozen => {
                self.queue.push(login);
                None
            }
            Mode::Dead => Some(Err(Failure::Unreachable { why: "refused".to_owned() })),
            Mode::WithoutDatabase if is_right => None,
            Mode::WithoutDatabase => Some(Err(Failure::ServerError { status: 500, retry_after: None })),
            Mode::Portal => Some(Err(Failure::UnexpectedResponse(UnexpectedAnswer::NotJson))),
        }
    }

    fn check(&mut self, login: &Login) -> Answer {
        let signing_key = self.signing_key;
        let username = self.key(&login.username);
        let user = self.user(&login.username);
        if user.is_disabled {
            return Err(Failure::AccountDisabled);
        }
        if user.password == login.password {
            (user.counter, user.forced) = (0, 0);
            if user.has_second_factor {
                return Err(Failure::SecondFactorRequired);
            }
            return Ok(RefreshToken { username, generation: user.generation, signing_key });
        }
        user.counter += 1;
        user.forced += u32::from(login.is_forced);
        Err(Failure::CredentialsRejected)
    }

    /// A refresh token arrives.
    pub(super) fn renew(&mut self, token: &RefreshToken) -> Renewed {
        if self.mode != Mode::Well {
            return Renewed::Unanswered;
        }
        let signing_key = self.signing_key;
        let user = self.user(&token.username);
        if token.signing_key != signing_key || user.is_disabled {
            Renewed::Refused
        } else if token.generation < user.outdated_before {
            Renewed::Outdated
        } else {
            Renewed::Works
        }
    }
}
