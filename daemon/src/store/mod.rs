//! The stores of the customers' rows and of the daemon's records: the interface between the engine and a database.

pub mod facts;
mod ledger;
pub mod mssql;
pub mod schema;
pub mod sqlite;
mod timestamp;

use std::future::Future;
use std::sync::Arc;

pub use ledger::{AccountRow, Forget, LedgerPlace, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

use crate::model::{
    Customer, CustomerId, FingerprintKey, IneligibleRow, LoopState, Record, Renewal, RowToken,
};

/// A database that holds the customers' table.
///
/// A store never hangs: each method ends within the store's own time-outs.
pub trait Store: Send + Sync + 'static {
    /// Names the kind and the place, for people: `sqlite customers.db`.
    fn describe(&self) -> String;

    /// Reads all rows, without the texts of their tokens, and the records.
    fn read(&self, records: Records) -> impl Future<Output = Result<Table, StoreError>> + Send;

    /// Writes tokens under guard, and returns the outcome of each, in order. The row must still have the URL and the user
    /// that the token was obtained for, and its token must not have a later expiry.
    fn save(&self, batch: Arc<Vec<Renewal>>) -> impl Future<Output = Result<Vec<Saved>, StoreError>> + Send;

    /// Reads the tokens of these customers, as far as they have one, each with what its row says beside it.
    fn tokens(&self, ids: Vec<CustomerId>) -> impl Future<Output = Result<Vec<RowToken>, StoreError>> + Send;

    /// Stores records, each in place of the earlier one. Does nothing if the side table may not be made.
    fn record(&self, batch: Vec<Record>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads the accounts of the ledger that changed since `since`, and makes the ledger if there is none. Reads all accounts
    /// and the state of the loop without `since`, or if the ledger is another one or an older state.
    fn read_ledger(
        &self,
        since: Option<Stamp>,
    ) -> impl Future<Output = Result<LedgerRead, StoreError>> + Send;

    /// Writes accounts of the ledger in one transaction, which is durable when this returns. Each account is written only over
    /// the version that it names, and only to the ledger of the stamp. After an error it is unknown whether they were written.
    fn write_ledger(
        &self,
        write: LedgerWrite,
    ) -> impl Future<Output = Result<LedgerWritten, StoreError>> + Send;

    /// Stores the state of the loop beside the ledger. It is durable when this returns.
    fn keep_loop_state(&self, state: LoopState) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The records that [`Store::read`] should read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// All records, at the start.
    All,
    /// The records with a failure, at later polls: another daemon on the same table may have parked a customer.
    Failing,
}

/// The content of a store at one moment.
#[derive(Debug)]
pub struct Table {
    /// The eligible rows.
    pub customers: Vec<Customer>,
    /// The other rows whose id can be read. None of them has the id of a customer.
    pub ineligible: Vec<IneligibleRow>,
    /// The problems of single rows.
    pub problems: Vec<RowProblem>,
    /// The records that were requested.
    pub records: Vec<Record>,
    /// The key of the records' fingerprints. It changes only when records become possible.
    pub key: FingerprintKey,
    /// Why records cannot be stored, if so.
    pub records_lost: Option<String>,
}

/// A problem of one row, and what the daemon does about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowProblem {
    /// The row's id, if it can be read.
    pub row: String,
    /// A sentence. Never the value of a secret column.
    pub what: String,
}

impl RowProblem {
    /// The record holds a value that is not a time. Whether the customer is parked is still known.
    fn record_without_time(row: &str) -> Self {
        let what = "a time in its record in tbtokend_state cannot be read; it counts as unknown";
        Self { row: row.to_owned(), what: what.to_owned() }
    }

    /// The record cannot be read at all.
    fn unreadable_record(row: &str) -> Self {
        let what = "its record in tbtokend_state cannot be read; it counts as never tried";
        Self { row: row.to_owned(), what: what.to_owned() }
    }
}

/// The outcome of writing one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The token is in the row.
    Written,
    /// The row is gone, has another URL or user, or holds a token with a later expiry. The next poll reads it again.
    Superseded,
    /// A constraint or a trigger of the database rejected the token for this row.
    Refused {
        /// The number of the database's error.
        number: i64,
    },
    /// The token is longer than the column allows. It was not sent.
    TooLong {
        /// The most characters that the column holds.
        capacity: usize,
    },
    /// The table does not hold the token although the database reported no error. Or the token was not sent, because the row
    /// cannot be distinguished from another.
    NotKept {
        /// Why: a fragment for people.
        why: &'static str,
    },
}

impl Saved {
    /// The write was ignored, cleared or redirected.
    const NOT_HELD: Self = Self::NotKept {
        why: "the table took it without an error and does not hold it; a trigger, a rule or a view undoes the write",
    };
}

/// The reason why a store cannot be used. The text names the cause; [`StoreError::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file is not a SQLite database.
    #[error("{place} is not a SQLite database")]
    NotADatabase {
        /// The file.
        place: String,
    },
    /// The file was there and is gone.
    #[error("{place} is gone")]
    Gone {
        /// The file.
        place: String,
    },
    /// The file or server cannot be opened.
    #[error("{place} cannot be opened: {why}")]
    CannotOpen {
        /// The file or server.
        place: String,
        /// The cause.
        why: String,
    },
    /// The daemon runs as root, and another user can put files beside this one, which SQLite would trust.
    #[error("{place} is not opened as root: users other than root can change {folder}")]
    NotAsRoot {
        /// The file.
        place: String,
        /// The folder in which users other than root can write.
        folder: String,
    },
    /// The table does not exist.
    #[error("{place} has no table {table}")]
    MissingTable {
        /// The file or database.
        place: String,
        /// The table.
        table: String,
    },
    /// A column does not exist.
    #[error("the table {table} has no column {column}")]
    MissingColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The database can be read but not written.
    #[error("{place} is read-only")]
    ReadOnly {
        /// The file or database.
        place: String,
    },
    /// The disk is full.
    #[error("the disk that holds {place} is full")]
    DiskFull {
        /// The file.
        place: String,
    },
    /// Another program keeps the database locked.
    #[error("{place} is locked by another program")]
    Locked {
        /// The file.
        place: String,
    },
    /// A problem of SQL Server, or a column of the wrong type in any store.
    #[error(transparent)]
    Server(mssql::Problem),
    /// Any other failure.
    #[error("{place} failed: {why}")]
    Failed {
        /// The file or server.
        place: String,
        /// The cause, without data.
        why: String,
    },
}

impl StoreError {
    /// The classes of errors, for metrics.
    pub const CLASSES: [&str; 5] = ["login", "transient", "schema", "permission", "other"];

    /// The class of the error.
    pub fn class(&self) -> &'static str {
        use mssql::Problem as P;
        match self {
            Self::Server(P::LoginFailed { .. } | P::NoPassword { .. } | P::NoDatabase { .. }) => "login",
            Self::Locked { .. }
            | Self::Server(P::Unreachable { .. } | P::NoInstance { .. } | P::Lost { .. }) => "transient",
            Self::MissingTable { .. }
            | Self::MissingColumn { .. }
            | Self::NotADatabase { .. }
            | Self::Server(P::WrongType { .. } | P::OtherColumns { .. }) => "schema",
            Self::NotAsRoot { .. }
            | Self::ReadOnly { .. }
            | Self::CannotOpen { .. }
            | Self::Server(
                P::NoPermission { .. }
                | P::ReadOnly { .. }
                | P::NoLedger { .. }
                | P::LedgerFileUnusable { .. },
            ) => "permission",
            Self::Gone { .. }
            | Self::DiskFull { .. }
            | Self::Failed { .. }
            | Self::Server(
                P::NotTds { .. } | P::NotTrusted { .. } | P::NotEncrypted { .. } | P::Server { .. },
            ) => "other",
        }
    }

    /// What is wrong and what to do about it, in whole sentences.
    pub fn with_remedy(&self) -> String {
        format!("{self}. {}", self.remedy())
    }

    /// Says what to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotADatabase { .. } => {
                "Set store.path to the SQLite file that holds the customers.".to_owned()
            }
            Self::Gone { place } => format!(
                "Put the file back; tbtokend uses it at the next poll. To begin with an empty {place}, restart tbtokend."
            ),
            Self::CannotOpen { place, .. } => {
                format!(
                    "Check that {place} and its folder exist and belong to the daemon's user. Under systemd the daemon may write in /var/lib/tbtokend only, unless a drop-in with ReadWritePaths= names another folder."
                )
            }
            Self::NotAsRoot { place, folder } => format!(
                "Run the daemon as its own user (systemctl start tbtokend does that) and give {place} to that user, or make {folder} writable for root only."
            ),
            Self::MissingTable { table, .. } => {
                format!("Create {table}, or set the right database in the configuration.")
            }
            Self::MissingColumn { table, column } => {
                format!("Add the column {column} to {table}, or set store.table to the right table.")
            }
            Self::ReadOnly { place } => {
                format!("Make {place}, its folder and its file system writable for the daemon's user.")
            }
            Self::DiskFull { .. } => "Free some space on that disk.".to_owned(),
            Self::Locked { .. } => "End the program that holds a long write transaction on it.".to_owned(),
            Self::Server(problem) => problem.remedy(),
            Self::Failed { .. } => {
                "It is tried again by itself; if this stays, check the database.".to_owned()
            }
        }
    }
}
