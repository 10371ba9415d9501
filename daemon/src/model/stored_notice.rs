//! What a receiver was told of a trouble, as the store keeps it.

use chrono::{DateTime, Utc};

/// One row of `tbtokend_notice`: a trouble that a receiver was told of and that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotice {
    /// The name of the receiver.
    pub receiver: String,
    /// The cause of the trouble.
    pub cause: String,
    /// When the trouble began.
    pub began: DateTime<Utc>,
    /// When the receiver was last told.
    pub last_sent: DateTime<Utc>,
    /// `warning` or `critical`.
    pub severity: String,
    /// How many customers the last message named.
    pub customers: usize,
    /// How many of them had no valid token.
    pub lapsed: usize,
}

/// A change of that table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeChange {
    /// The receiver knows of the trouble.
    Known(StoredNotice),
    /// The receiver knows that it is over.
    Over {
        /// The name of the receiver.
        receiver: String,
        /// The cause of the trouble.
        cause: String,
    },
}

impl NoticeChange {
    /// The receiver and the cause: the key of the row.
    pub fn key(&self) -> (&str, &str) {
        match self {
            Self::Known(StoredNotice { receiver, cause, .. }) | Self::Over { receiver, cause } => {
                (receiver, cause)
            }
        }
    }
}
