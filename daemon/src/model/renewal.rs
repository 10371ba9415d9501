//! A new token that must be written to its row.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Customer, CustomerId, Lifetime, Token};

/// A new token, with the values that the row must still have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The customer.
    pub id: CustomerId,
    /// `tb_url` exactly as in the row; the token is written only if the row still has this value.
    pub row_url: Arc<str>,
    /// `tb_username`, with the same condition.
    pub username: String,
    /// The token.
    pub token: Token,
    /// The life to declare in the row: the token's own, or the configured limit.
    pub life: TimeDelta,
    /// The end of that life by the daemon's clock.
    pub expiry: DateTime<Utc>,
    /// An expiry that was calculated before the clock stepped backward. If the row still has it, the new expiry replaces it,
    /// although it is earlier.
    pub replaces: Option<DateTime<Utc>>,
}

/// Truncates a time to whole seconds: every column type can hold it, and none rounds it up.
pub fn whole_seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}

impl Renewal {
    /// Makes the renewal of a customer whose token arrived at `now`.
    pub fn new(customer: &Customer, token: Token, now: DateTime<Utc>, lifetime: Lifetime) -> Self {
        let life = lifetime.of(&token);
        let expiry = whole_seconds(now + life);
        Self {
            id: customer.id.clone(),
            row_url: Arc::clone(&customer.row_url),
            username: customer.credentials.username.clone(),
            token,
            life,
            expiry,
            replaces: None,
        }
    }

    /// Whether it may replace a token with this expiry.
    pub fn may_replace(&self, expiry: DateTime<Utc>) -> bool {
        expiry <= self.expiry || self.replaces == Some(expiry)
    }
}
