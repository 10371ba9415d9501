//! The settings of a fake server.

use std::time::Duration;

use chrono::TimeDelta;

/// The settings of a server, which its administrator would change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long access tokens live; ThingsBoard's default is 2.5 hours.
    pub access_life: Duration,
    /// How long refresh tokens live; ThingsBoard's default is 7 days.
    pub refresh_life: Duration,
    /// How many wrong passwords in a row are allowed. One more disables the user until an administrator enables it.
    pub max_failed_logins: Option<u32>,
    /// Whether `U` and `u` are two users: `security.user_login_case_sensitive`. Blanks around a name always matter.
    pub is_case_sensitive: bool,
    /// Whether a disabled user's password is checked and counted before the answer that the account is not active, as
    /// before 4.2.2 and 4.3.1.
    pub checks_passwords_of_the_disabled: bool,
    /// The password policy.
    pub password_policy: PasswordPolicy,
    /// How far the server's clock is ahead of this machine's.
    pub skew: TimeDelta,
    /// The path under which a reverse proxy serves ThingsBoard, such as `/tb`; empty for none.
    pub prefix: String,
    /// How long a connection may be idle before the server closes it; `None` means without limit.
    pub idle_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_life: Duration::from_secs(9_000),
            refresh_life: Duration::from_secs(604_800),
            max_failed_logins: None,
            is_case_sensitive: true,
            checks_passwords_of_the_disabled: false,
            password_policy: PasswordPolicy::default(),
            skew: TimeDelta::zero(),
            prefix: String::new(),
            idle_timeout: None,
        }
    }
}

/// The parts of ThingsBoard's `UserPasswordPolicy` that can refuse a password at login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Whether a login with a password that violates the policy is refused; off by default.
    pub force_reset: bool,
    /// The minimum number of characters.
    pub minimum_length: usize,
    /// The maximum number of characters.
    pub maximum_length: Option<usize>,
    /// The minimum number of digits.
    pub minimum_digits: Option<usize>,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { force_reset: false, minimum_length: 6, maximum_length: Some(72), minimum_digits: None }
    }
}

impl PasswordPolicy {
    pub(super) fn allows(&self, password: &str) -> bool {
        let length = password.chars().count();
        length >= self.minimum_length
            && self.maximum_length.is_none_or(|maximum| length <= maximum)
            && self
                .minimum_digits
                .is_none_or(|digits| password.chars().filter(char::is_ascii_digit).count() >= digits)
    }
}
