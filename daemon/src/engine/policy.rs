//! The settings that decide when to renew, and what began a pass.

use chrono::TimeDelta;
use strum::{EnumIter, IntoStaticStr};

use super::backoff::Backoff;
use crate::model::{Lifetime, VerifyTokens};

/// What began a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Trigger {
    /// The daemon or its loop was started.
    Start,
    /// The interval passed.
    Schedule,
    /// A token or a retry could not wait for the interval.
    Early,
    /// An operator requested it.
    Manual,
}

/// The settings that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How often the table is polled.
    pub interval: TimeDelta,
    /// A token that ends within this is renewed.
    pub window: TimeDelta,
    /// The longest life to declare for a token.
    pub lifetime: Lifetime,
    /// Whether `http` is refused.
    pub require_https: bool,
    /// The most open charges of an account: passwords that ThingsBoard may have counted as wrong.
    pub wrong_password_budget: u8,
    /// Which tokens are checked.
    pub verify_tokens: VerifyTokens,
}

impl Policy {
    /// The back-off after transient failures.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.interval)
    }
}

#[cfg(test)]
impl Policy {
    /// The policy of most unit tests.
    pub(crate) fn of_a_minute() -> Self {
        Self {
            interval: TimeDelta::minutes(1),
            window: TimeDelta::minutes(5),
            lifetime: Lifetime::Jwt,
            require_https: false,
            wrong_password_budget: 3,
            verify_tokens: VerifyTokens::Sample,
        }
    }
}
