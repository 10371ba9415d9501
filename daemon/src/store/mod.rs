//! Where the customers' rows and the daemon's records are: the seam between the engine and a database.

pub mod facts;
mod ledger;
pub mod mssql;
pub mod schema;
pub mod sqlite;
mod timestamp;

use std::future::Future;
use std::sync::Arc;

pub use ledger::{AccountRow, Forget, LedgerPlace, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

use crate::model::{Customer, FingerprintKey, IneligibleRow, LoopState, Record, Renewal};

/// A database that holds the customers' table.
///
/// A store never hangs: each method ends within the store's own time-outs.
pub trait Store: Send + Sync + 'static {
    /// The kind and the place, for people: `sqlite customers.db`.
    fn describe(&self) -> String;

    /// Reads every row, without the text of its token, and the records.
    fn read(&self, records: Records) -> impl Future<Output = Result<Table, StoreError>> + Send;

    /// Writes tokens, each guarded: only to a row that still has the URL and the user that the token was obtained
    /// for, and never over a token with a later expiry. Says for each what became of it, in order.
    fn save(&self, batch: Arc<Vec<Renewal>>) -> impl Future<Output = Result<Vec<Saved>, StoreError>> + Send;

    /// Keeps records, each in place of the one before. Where the side table may not be made this does nothing.
    fn record(&self, batch: Vec<Record>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads the accounts of the ledger that have changed since `since`; all of them without it, or if the ledger is another
    /// one or an older state of the one that it names. Makes the ledger where there is none.
    fn read_ledger(
        &self,
        since: Option<Stamp>,
    ) -> impl Future<Output = Result<LedgerRead, StoreError>> + Send;

    /// Writes accounts of the ledger in one transaction that is durable when this returns: each only over the version that it
    /// names, and all of them only to the ledger of the stamp. After an error it may have been written or not.
    fn write_ledger(
        &self,
        write: LedgerWrite,
    ) -> impl Future<Output = Result<LedgerWritten, StoreError>> + Send;

    /// The state of the loop that was kept last beside the ledger, which was read before; none if there was none yet.
    fn loop_state(&self) -> impl Future<Output = Result<Option<LoopState>, StoreError>> + Send;

    /// Keeps the state of the loop beside the ledger. It is durable when this returns.
    fn keep_loop_state(&self, state: LoopState) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Which records [`Store::read`] should bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// All of them, at the start.
    All,
    /// Those with a failure, later: another daemon on the same table may have parked someone.
    Failing,
}

/// What a store holds at one moment.
#[derive(Debug)]
pub struct Table {
    /// The eligible rows.
    pub customers: Vec<Customer>,
    /// The other rows, as far as they have an id that can be read; none has the id of a customer.
    pub ineligible: Vec<IneligibleRow>,
    /// What is wrong with single rows.
    pub problems: Vec<RowProblem>,
    /// The records asked for.
    pub records: Vec<Record>,
    /// The key of the records' fingerprints. It changes only when records become possible that were not before.
    pub key: FingerprintKey,
    /// Why the records cannot be kept over a restart, if they cannot.
    pub records_lost: Option<String>,
}

/// Something that is wrong with one row, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowProblem {
    /// The row's id, as far as it can be read.
    pub row: String,
    /// A sentence. Never the value of a secret column.
    pub what: String,
}

impl RowProblem {
    /// Its record holds something that is no time. Whether it is parked is known all the same.
    fn record_without_time(row: &str) -> Self {
        let what = "a time in its record in tbtokend_state cannot be read; it counts as unknown";
        Self { row: row.to_owned(), what: what.to_owned() }
    }

    /// Its record says nothing at all.
    fn unreadable_record(row: &str) -> Self {
        let what = "its record in tbtokend_state cannot be read; it counts as never tried";
        Self { row: row.to_owned(), what: what.to_owned() }
    }
}

/// What became of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is in the row.
    Written,
    /// The row is gone, says another URL or user, or holds a token that lives longer: look again.
    Superseded,
    /// The database does not accept it for this row: a constraint or a trigger.
    Refused {
        /// The number of the database's error.
        number: i64,
    },
    /// It has more characters than the column holds; not sent.
    TooLong {
        /// What the column holds.
        capacity: usize,
    },
    /// The table does not hold it, though the database has reported no error; or it was not sent, because the row cannot be
    /// told from another.
    NotKept {
        /// Why: a fragment for people.
        why: &'static str,
    },
}

impl Saved {
    /// The write was swallowed, cleared or redirected.
    const NOT_HELD: Self = Self::NotKept {
        why: "the table took it without an error and does not hold it; a trigger, a rule or a view of it undoes the write",
    };
}

/// Why a store cannot be used. The text names what is wrong; [`StoreError::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file is something else.
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
    /// It cannot be opened.
    #[error("{place} cannot be opened: {why}")]
    CannotOpen {
        /// The file or server.
        place: String,
        /// The cause.
        why: String,
    },
    /// Root would trust what another user may have put beside the file.
    #[error("{place} is not opened as root: users other than root can change {folder}")]
    NotAsRoot {
        /// The file.
        place: String,
        /// The folder that is not root's alone.
        folder: String,
    },
    /// The table is not there.
    #[error("{place} has no table {table}")]
    MissingTable {
        /// The file or database.
        place: String,
        /// The table.
        table: String,
    },
    /// A column is not there.
    #[error("the table {table} has no column {column}")]
    MissingColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// It can be read but not written.
    #[error("{place} is read-only")]
    ReadOnly {
        /// The file or database.
        place: String,
    },
    /// There is no room.
    #[error("the disk that holds {place} is full")]
    DiskFull {
        /// The file.
        place: String,
    },
    /// Someone else keeps it locked.
    #[error("{place} is locked by another program")]
    Locked {
        /// The file.
        place: String,
    },
    /// What SQL Server can have, and a column of the wrong type anywhere.
    #[error(transparent)]
    Server(mssql::Problem),
    /// Anything else.
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
            | Self::Server(P::WrongType { .. }) => "schema",
            Self::NotAsRoot { .. }
            | Self::ReadOnly { .. }
            | Self::CannotOpen { .. }
            | Self::Server(P::NoPermission { .. } | P::ReadOnly { .. } | P::NoLedger { .. }) => "permission",
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

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotADatabase { .. } => {
                "Point store.path to the SQLite file that holds the customers.".to_owned()
            }
            Self::Gone { place } => format!(
                "Put the file back; it is used again by itself. To begin with an empty {place}, restart tbtokend."
            ),
            Self::CannotOpen { place, .. } => {
                format!(
                    "Check that {place} and its folder exist and belong to the daemon's user, for others cannot look into it; under systemd it may write in /var/lib/tbtokend, and elsewhere where a drop-in with ReadWritePaths= says so."
                )
            }
            Self::NotAsRoot { place, folder } => format!(
                "Run the daemon as the user that owns {place} (systemctl start tbtokend does), and give the file to that user; or make {folder} writable for root alone."
            ),
            Self::MissingTable { table, .. } => {
                format!("Create {table}, or point the configuration to the right database.")
            }
            Self::MissingColumn { table, column } => {
                format!("Add the column {column} to {table}, or point store.table to the right table.")
            }
            Self::ReadOnly { place } => {
                format!("Make {place}, its folder and its file system writable for the daemon's user.")
            }
            Self::DiskFull { .. } => "Free some room on that disk.".to_owned(),
            Self::Locked { .. } => "End the program that holds a long write transaction on it.".to_owned(),
            Self::Server(problem) => problem.remedy(),
            Self::Failed { .. } => {
                "It is tried again by itself; if this stays, check the database.".to_owned()
            }
        }
    }
}
