//! Whether ThingsBoard still takes a token that is in a row.

use chrono::TimeDelta;
use strum::{EnumIter, IntoStaticStr};

use super::{CustomerId, Secret};

/// Which tokens are checked (`thingsboard.verify_tokens`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyTokens {
    /// None.
    Off,
    /// One of each server at each poll.
    Sample,
    /// Each, when its last proof is that old.
    Every(TimeDelta),
}

/// Why a token died before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DeadCause {
    /// `Token is outdated`: the password was changed after it was issued.
    Outdated,
    /// `Token has expired` before its end: the signing key was changed, or the user deleted.
    ExpiredEarly,
}

/// What the answer to a check says about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAnswer {
    /// ThingsBoard takes it.
    Works,
    /// ThingsBoard refuses it, in its own words.
    Dead(DeadCause),
    /// Nothing: a proxy, a rate limit, another error.
    Unclear,
    /// Nothing: the server cannot be reached, or is in trouble.
    NoAnswer,
}

/// A token as its row holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowToken {
    /// Whose.
    pub id: CustomerId,
    /// `tb_url` of the row, to the letter, empty for NULL.
    pub row_url: String,
    /// `tb_username`, likewise.
    pub username: String,
    /// `tbtoken`.
    pub token: Secret,
}
