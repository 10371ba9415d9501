//! The ledger of password charges as stores keep it. A row is written only over the version that this daemon knows.
//! `engine/credentials` decides what the rows mean; a store compares versions and never reads `details`.

use chrono::{DateTime, Utc};

use crate::model::{AccountKey, LoopState};

/// The stamp of a ledger: its identity, and how often it was written.
///
/// The first row of the table, under [`AccountKey::STAMP`], holds both. A table that was dropped, emptied or replaced by a
/// backup has another id or a lower number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// A random id that is chosen when the row is made.
    pub id: i64,
    /// The number of writes. It is the version of every row that the last write changed.
    pub number: i64,
}

impl Stamp {
    /// Whether a ledger with the stamp `now` is the same ledger in the same or a later state.
    pub(super) fn goes_on_as(self, now: Self) -> bool {
        self.id == now.id && self.number <= now.number
    }

    /// Whether a ledger with the stamp `now` is an earlier state of the same ledger.
    pub(super) fn is_later_than(self, now: Self) -> bool {
        self.id == now.id && self.number > now.number
    }
}

/// One row of the table `tbtokend_account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub key: AccountKey,
    /// The open charges, for people that read the table.
    pub charges: u8,
    /// The charge whose password is in flight: its number and the daemon's name. `None` when nothing is in flight.
    pub in_flight: Option<String>,
    /// All other facts, as JSON.
    pub details: String,
    /// When a row of the customers' table last named the account, to about a day.
    pub seen_at: DateTime<Utc>,
    /// The [`Stamp::number`] of the write that changed the row last. In a [`LedgerWrite`] it is the version that the row
    /// must still have, or zero if the row must not exist yet.
    pub version: i64,
}

/// The result of [`Store::read_ledger`](super::Store::read_ledger).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerRead {
    /// The stamp at the moment of reading.
    pub stamp: Stamp,
    /// Whether these are all accounts. Otherwise they are the accounts that changed since the given stamp.
    pub is_whole: bool,
    /// The accounts.
    pub accounts: Vec<AccountRow>,
    /// With a whole ledger: accounts of the file that was used before the database had a table. The file keeps each until it
    /// is written to the table.
    pub unmoved_accounts: Vec<AccountRow>,
    /// With a whole ledger: the state of the loop that was stored last; `None` if it was never stored.
    pub loop_state: Option<LoopState>,
    /// The place of the ledger.
    pub place: LedgerPlace,
}

/// The place of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LedgerPlace {
    /// The database of the customers.
    #[default]
    Database,
    /// A file on this machine, because the database has no table for the ledger. Other daemons do not see it.
    File {
        /// The path of the file.
        path: String,
        /// Why the ledger is not in the database.
        why: String,
    },
}

impl LedgerPlace {
    /// Says where the ledger is and why, if it is not in the database: `in FILE, because …`.
    pub fn outside(&self) -> Option<String> {
        match self {
            Self::Database => None,
            Self::File { path, why } => Some(format!("in {path}, because {why}")),
        }
    }
}

/// The argument of [`Store::write_ledger`](super::Store::write_ledger), which is written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerWrite {
    /// The ledger must have this id and at least this number; otherwise nothing is written.
    pub stamp: Stamp,
    /// The accounts, each with the version that it must still have.
    pub accounts: Vec<AccountRow>,
    /// Which accounts may be deleted.
    pub forget: Option<Forget>,
}

impl LedgerWrite {
    /// The most accounts in one write. Older servers take no more parameters in one statement.
    pub const MOST_ACCOUNTS: usize = 300;
}

/// The limits beyond which an account that no row of the customers' table names is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// Accounts without charges are deleted if they were last seen before this.
    pub uncharged_before: DateTime<Utc>,
    /// Accounts with charges are deleted if they were last seen before this.
    pub charged_before: DateTime<Utc>,
}

/// The outcome of a [`LedgerWrite`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerWritten {
    /// The accounts were written, except those that another daemon had changed.
    Written {
        /// The new number of the stamp, which is the version of every account that was written.
        number: i64,
        /// The accounts that were not written, with their rows in the table; `None` if there is no row.
        conflicts: Vec<(AccountKey, Option<AccountRow>)>,
    },
    /// Nothing was written: the table is another ledger, or an older state of this one. It must be read as a whole.
    Replaced,
}
