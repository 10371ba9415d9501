//! The record of a customer: the data that the daemon stores about it.

use chrono::{DateTime, Utc};

use super::{Changes, CustomerId, FailureKind, Fingerprint};

/// One row of `tbtokend_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The customer.
    pub id: CustomerId,
    /// The failure of the last attempt; none if it succeeded. Boxed, because few customers have one.
    pub failure: Option<Box<FailureNote>>,
    /// When the last new token was written.
    pub last_success_at: Option<DateTime<Utc>>,
    /// How many new tokens were written.
    pub renewals: u64,
    /// Its last changes.
    pub changes: Changes,
    /// When this record last changed.
    pub updated_at: DateTime<Utc>,
}

/// A failure in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureNote {
    /// Its kind, from which the remedy follows.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// Whether it parks the customer.
    pub permanent: bool,
    /// Failed attempts since the last success; 0 if the failure is that of its server or of another row.
    pub consecutive: u32,
    /// When the last attempt failed.
    pub at: DateTime<Utc>,
    /// When the next attempt is allowed; none for a customer that is parked until something changes.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The credentials that failed. The failure does not apply to other credentials.
    pub fingerprint: Fingerprint,
}
