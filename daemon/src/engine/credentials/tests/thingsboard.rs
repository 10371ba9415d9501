//! The reference: a ThingsBoard that counts wrong passwords before it answers, and a proxy that loses answers.

use std::collections::BTreeMap;

use super::super::{Outcome, Verdict};

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
    /// Its database is dead: 500, nothing is counted.
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
}

impl ThingsBoard {
    pub(super) fn new(is_case_sensitive: bool) -> Self {
        Self { mode: Mode::Well, is_case_sensitive, users: BTreeMap::new(), queue: Vec::new() }
    }

    pub(super) fn key(&self, username: &str) -> String {
        if self.is_case_sensitive { username.to_owned() } else { username.trim().to_lowercase() }
    }

    pub(super) fn user(&mut self, username: &str) -> &mut User {
        let key = self.key(username);
        self.users.entry(key).or_default()
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        if mode != Mode::Frozen {
            for login in std::mem::take(&mut self.queue) {
                self.check(&login);
            }
        }
    }

    pub(super) fn probe(&self) -> Verdict {
        match self.mode {
            Mode::Well => Verdict::Good,
            Mode::Portal => Verdict::None,
            Mode::Deaf | Mode::Frozen | Mode::Dead | Mode::WithoutDatabase => Verdict::Bad,
        }
    }

    /// A password arrives. Brings what the daemon hears; none if it hears nothing before its time-out.
    pub(super) fn log_in(&mut self, username: &str, password: &str, is_forced: bool) -> Option<Outcome> {
        let login = Login { username: username.to_owned(), password: password.to_owned(), is_forced };
        match self.mode {
            Mode::Well => Some(self.check(&login)),
            Mode::Deaf => {
                self.check(&login);
                Some(Outcome::Unanswered)
            }
            Mode::Frozen => {
                self.queue.push(login);
                None
            }
            Mode::Dead => Some(Outcome::NotSent),
            Mode::WithoutDatabase | Mode::Portal => Some(Outcome::Unanswered),
        }
    }

    fn check(&mut self, login: &Login) -> Outcome {
        let user = self.user(&login.username);
        if user.is_disabled {
            return Outcome::NotCounted;
        }
        if user.password == login.password {
            (user.counter, user.forced) = (0, 0);
            return Outcome::Accepted;
        }
        user.counter += 1;
        user.forced += u32::from(login.is_forced);
        Outcome::Rejected
    }
}
