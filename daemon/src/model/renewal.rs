//! A token that was obtained and is to be written to its row.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Customer, CustomerId, Lifetime, Token};

/// A new token with everything that guards its way into the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Whose.
    pub id: CustomerId,
    /// `tb_url` of the row that it was obtained for, to the letter; it is written only if the row still says so.
    pub row_url: String,
    /// `tb_username`, likewise.
    pub username: String,
    /// The token.
    pub token: Token,
    /// The life that the row will declare: the token's own, or the configured cap.
    pub life: TimeDelta,
    /// The end of that life by our clock.
    pub expiry: DateTime<Utc>,
    /// An expiry that was reckoned by a clock that has been set back since. If the row still says it, the new one takes its
    /// place, though it is earlier.
    pub replaces: Option<DateTime<Utc>>,
}

/// This time without what is more than whole seconds: every column type can hold it, and none rounds it up.
pub fn whole_seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}

impl Renewal {
    /// The renewal for a customer whose token arrived at `now`.
    pub fn new(customer: &Customer, token: Token, now: DateTime<Utc>, lifetime: Lifetime) -> Self {
        let life = lifetime.of(&token);
        let expiry = whole_seconds(now + life);
        Self {
            id: customer.id.clone(),
            row_url: customer.row_url.clone(),
            username: customer.credentials.username.clone(),
            token,
            life,
            expiry,
            replaces: None,
        }
    }

    /// Whether it may be written over this expiry of a token.
    pub fn may_replace(&self, expiry: DateTime<Utc>) -> bool {
        expiry <= self.expiry || self.replaces == Some(expiry)
    }
}
