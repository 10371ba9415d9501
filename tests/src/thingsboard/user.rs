//! The users of a fake ThingsBoard: as a test defines them, and as the fake remembers them.

use std::collections::VecDeque;
use std::time::Duration;

use super::UserStats;
use crate::canary;

/// How many ended sessions are remembered for each user.
const ENDED_SESSIONS: usize = 64;

/// A user to [add](super::ThingsBoard::add).
#[derive(Debug, Clone)]
pub struct User {
    pub(super) name: String,
    pub(super) password: String,
    pub(super) enabled: bool,
    pub(super) activated: bool,
    pub(super) failed_logins: u32,
    pub(super) max_failed_logins: Option<u32>,
    pub(super) second_factor: Option<SecondFactor>,
    pub(super) password_expired: bool,
    pub(super) access_life: Option<Duration>,
    pub(super) refresh_life: Option<Duration>,
}

/// Why a right password alone is not enough for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondFactor {
    /// The user has set up a second factor: `PRE_VERIFICATION_TOKEN`.
    Enabled,
    /// The administrator demands one that the user has not set up: `MFA_CONFIGURATION_TOKEN`.
    Enforced,
}

/// The values of a row of `customer_settings` for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The URL of the server, for `tb_url`.
    pub url: String,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl User {
    /// Makes an enabled user with its own password.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let password = canary::password(&name);
        Self {
            name,
            password,
            enabled: true,
            activated: true,
            failed_logins: 0,
            max_failed_logins: None,
            second_factor: None,
            password_expired: false,
            access_life: None,
            refresh_life: None,
        }
    }

    /// Sets the password.
    ///
    /// # Panics
    /// If the password does not contain [`canary::PASSWORD`]: a leak would not be noticed.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        assert!(
            self.password.contains(canary::PASSWORD),
            "a password without a canary cannot be found in a log"
        );
        self
    }

    /// Disables the user, as an administrator.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// Marks the user as not activated: the activation link was not used, so no administrator can enable the user.
    #[must_use]
    pub fn never_activated(mut self) -> Self {
        self.activated = false;
        self
    }

    /// Marks the user as activated.
    #[must_use]
    pub fn activated(mut self) -> Self {
        self.activated = true;
        self
    }

    /// Whether ThingsBoard calls the account active.
    pub(super) fn is_active(&self) -> bool {
        self.enabled && self.activated
    }

    /// Sets the counter of wrong passwords.
    #[must_use]
    pub fn failed_logins(mut self, failed: u32) -> Self {
        self.failed_logins = failed;
        self
    }

    /// Sets how many wrong passwords are allowed, in place of the server's [`Settings`](super::Settings).
    #[must_use]
    pub fn max_failed_logins(mut self, max: u32) -> Self {
        self.max_failed_logins = Some(max);
        self
    }

    /// Sets whether a second factor is required; `None` means that it is not.
    #[must_use]
    pub fn second_factor(mut self, second_factor: impl Into<Option<SecondFactor>>) -> Self {
        self.second_factor = second_factor.into();
        self
    }

    /// Marks the password as expired, until [another one is set](super::ThingsBoard::set_password).
    #[must_use]
    pub fn password_expired(mut self) -> Self {
        self.password_expired = true;
        self
    }

    /// Sets the life of its access tokens in whole seconds, in place of the server's settings. Real servers allow at least
    /// 60 seconds; tests use less.
    #[must_use]
    pub fn access_life(mut self, life: Duration) -> Self {
        self.access_life = Some(life);
        self
    }

    /// Sets the life of its refresh tokens, in place of the server's settings.
    #[must_use]
    pub fn refresh_life(mut self, life: Duration) -> Self {
        self.refresh_life = Some(life);
        self
    }
}

/// A user as the server remembers it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) user: User,
    pub(super) id: String,
    pub(super) stats: UserStats,
    /// Tokens that were issued before this second are outdated.
    outdated_before: i64,
    /// The ended sessions, and when they ended.
    ended: VecDeque<(String, i64)>,
}

impl Record {
    pub(super) fn new(user: User) -> Self {
        let id = super::jwt::uuid(&user.name);
        Self { user, id, stats: UserStats::default(), outdated_before: 0, ended: VecDeque::new() }
    }

    /// Forgets which tokens are outdated, as ThingsBoard does at a restart, because it keeps them in memory only.
    pub(super) fn forget_what_is_outdated(&mut self) {
        self.outdated_before = 0;
        self.ended.clear();
    }

    /// Counts a wrong password. Returns whether it was one too many, which disables the user.
    pub(super) fn count_wrong_password(&mut self, max: Option<u32>) -> bool {
        self.user.failed_logins += 1;
        self.stats.wrong_passwords += 1;
        self.stats.failed_login_attempts_peak =
            self.stats.failed_login_attempts_peak.max(self.user.failed_logins);
        let max = self.user.max_failed_logins.or(max).filter(|&max| max > 0);
        let is_too_many = max.is_some_and(|max| self.user.failed_logins > max);
        self.user.enabled &= !is_too_many;
        is_too_many
    }

    /// Outdates every token that was issued before this second.
    pub(super) fn outdate(&mut self, now: i64) {
        self.outdated_before = now;
    }

    /// Ends one session.
    pub(super) fn end_session(&mut self, session: &str, now: i64) {
        self.ended.truncate(ENDED_SESSIONS - 1);
        self.ended.push_front((session.to_owned(), now));
    }

    /// Whether a token is outdated. As in `DefaultTokenOutdatingService`, whole seconds are compared, so a token of the same
    /// second stays valid.
    pub(super) fn is_outdated(&self, session: &str, issued: i64) -> bool {
        issued < self.outdated_before || self.ended.iter().any(|(ended, at)| ended == session && issued < *at)
    }
}
