//! The ledger of password charges, as a store keeps it: rows that are written only over the version that this daemon knows.
//! What the rows mean is decided in `engine/credentials`; a store compares versions and never looks into `details`.

use chrono::{DateTime, Utc};

use crate::model::AccountKey;

/// Which ledger it is, and how often it was written.
///
/// The first row of the table, under [`AccountKey::STAMP`], holds both. A table that was dropped, emptied or replaced by a
/// backup is recognized by another id or a lower number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Random; chosen when the row is made.
    pub id: i64,
    /// Rises by one with every write. It is the version of every row that the write changed.
    pub number: i64,
}

impl Stamp {
    /// Whether a ledger with the stamp `now` is the one of this stamp, in the same or a later state.
    pub(super) fn goes_on_as(self, now: Self) -> bool {
        self.id == now.id && self.number <= now.number
    }

    /// Whether a ledger with the stamp `now` is an earlier state of the one of this stamp.
    pub(super) fn is_later_than(self, now: Self) -> bool {
        self.id == now.id && self.number > now.number
    }
}

/// One account, as it stands in the table `tbtokend_account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Which account.
    pub key: AccountKey,
    /// The open charges, for people who look into the table.
    pub charges: u8,
    /// The charge whose password is on its way: its number and the daemon's name. None when nothing is in flight.
    pub in_flight: Option<String>,
    /// Everything else, as JSON.
    pub details: String,
    /// When a row of the customers' table last named the account, to the day or so.
    pub seen_at: DateTime<Utc>,
    /// [`Stamp::number`] of the write that changed it last. In a [`LedgerWrite`]: the version that it must still have;
    /// zero when there must be no such row yet.
    pub version: i64,
}

/// What [`Store::read_ledger`](super::Store::read_ledger) brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRead {
    /// The stamp at the moment of reading.
    pub stamp: Stamp,
    /// Whether these are all accounts. Otherwise they are those that changed since the stamp that was asked for.
    pub is_whole: bool,
    /// The accounts.
    pub accounts: Vec<AccountRow>,
    /// Where the ledger is.
    pub place: LedgerPlace,
}

/// Where a ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerPlace {
    /// In the database of the customers.
    Database,
    /// In a file of this machine, because the database has no table for it. Other daemons do not see it.
    File {
        /// The file.
        path: String,
        /// Why it is not in the database.
        why: String,
    },
}

impl LedgerPlace {
    /// Where it is and why, if it is not in the database: `in FILE, because …`.
    pub fn outside(&self) -> Option<String> {
        match self {
            Self::Database => None,
            Self::File { path, why } => Some(format!("in {path}, because {why}")),
        }
    }
}

/// What [`Store::write_ledger`](super::Store::write_ledger) writes, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerWrite {
    /// The ledger must have this id and at least this number; else nothing is written.
    pub stamp: Stamp,
    /// The accounts, each with the version that it must still have.
    pub accounts: Vec<AccountRow>,
    /// Which accounts may be forgotten.
    pub forget: Option<Forget>,
}

impl LedgerWrite {
    /// The most accounts of one write. Older servers take no more parameters in one statement.
    pub const MOST_ACCOUNTS: usize = 300;
}

/// Accounts that no row of the customers' table has named for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// Those without charges that were last seen before this.
    pub uncharged_before: DateTime<Utc>,
    /// Those with charges that were last seen before this.
    pub charged_before: DateTime<Utc>,
}

/// What became of a [`LedgerWrite`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerWritten {
    /// It was written, except the accounts that another daemon has changed meanwhile.
    Written {
        /// The new number, and version of every account that was written.
        number: i64,
        /// The accounts that were not written, as they stand in the table; none for one that is not there.
        conflicts: Vec<(AccountKey, Option<AccountRow>)>,
    },
    /// Nothing was written: the table is another one, or an older state of this one. It must be read as a whole.
    Replaced,
}
