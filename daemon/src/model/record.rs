//! What the daemon remembers of a customer over restarts.

use chrono::{DateTime, Utc};

use super::{Changes, CustomerId, FailureKind, Fingerprint};

/// One line of `tbtokend_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub id: CustomerId,
    /// The failure of the last attempt; none when it succeeded. Boxed, because few have one.
    pub failure: Option<Box<FailureNote>>,
    /// The last renewal that was written.
    pub last_success_at: Option<DateTime<Utc>>,
    /// How many renewals were written.
    pub renewals: u64,
    /// Its last changes.
    pub changes: Changes,
    /// When this record last changed.
    pub updated_at: DateTime<Utc>,
}

/// A failure as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureNote {
    /// Its kind, from which the remedy follows.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// Whether it parks the customer.
    pub permanent: bool,
    /// Failed attempts since the last success; none if the password was never sent for it.
    pub consecutive: u32,
    /// When the last of them failed.
    pub at: DateTime<Utc>,
    /// Not to be tried before this; none for a customer that is parked until something changes.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The credentials that failed. Other credentials are a new story.
    pub fingerprint: Fingerprint,
}
