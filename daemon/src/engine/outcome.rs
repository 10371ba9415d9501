//! The result of a manual refresh.

use chrono::{DateTime, Utc};

use crate::model::{CustomerId, FailureKind, Ineligibility};

/// The result of a manual refresh: each customer with its outcome.
pub type Outcomes = Vec<(CustomerId, Outcome)>;

/// The outcome of a manual refresh for one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The new token is in the table; with its expiry.
    Renewed(DateTime<Utc>),
    /// It failed.
    Failed(FailureKind, String),
    /// It was not tried, or nothing had to be written.
    Skipped(String),
}

/// Why a manual refresh did not take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshRefusal {
    /// The rows of these are in the table and not eligible.
    Ineligible(Vec<(CustomerId, Ineligibility)>),
    /// These are not in the table.
    Unknown(Vec<CustomerId>),
    /// The table cannot be read.
    StoreUnavailable(String),
    /// The daemon is about to end.
    ShuttingDown,
}
