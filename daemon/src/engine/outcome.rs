//! What a manual refresh did.

use chrono::{DateTime, Utc};

use crate::model::{CustomerId, FailureKind, Ineligibility};

/// What a manual refresh did: each customer that it was about.
pub type Refreshed = Vec<(CustomerId, Outcome)>;

/// What became of one customer in a manual refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The new token is in the table and ends then.
    Renewed(DateTime<Utc>),
    /// It failed.
    Failed(FailureKind, String),
    /// It was not tried, or nothing had to be written.
    Skipped(String),
}

/// Why a manual refresh did not take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRefreshed {
    /// The rows of these are in the table and not eligible.
    Ineligible(Vec<(CustomerId, Ineligibility)>),
    /// These are not in the table.
    Unknown(Vec<CustomerId>),
    /// The table cannot be read.
    StoreUnavailable(String),
    /// The daemon is about to end.
    ShuttingDown,
}
