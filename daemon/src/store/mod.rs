//! The stores of the customers' rows and of the daemon's records: the interface between the engine and a database.

mod error;
pub mod facts;
mod ledger;
pub mod mssql;
pub mod schema;
pub mod sqlite;
mod timestamp;

use std::future::Future;
use std::sync::Arc;

pub use error::StoreError;
pub use ledger::{AccountRow, Forget, LedgerPlace, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

use crate::model::{
    Customer, CustomerId, FingerprintKey, IneligibleRow, LoopState, NoticeChange, Record, Renewal, RowToken,
    StoredNotice,
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

    /// Reads what receivers of messages were told. None if there is no table for it and none may be made, as in a store that
    /// has none.
    fn read_notices(&self) -> impl Future<Output = Result<Option<Vec<StoredNotice>>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// Stores what receivers were told. Called only after [`read_notices`](Self::read_notices) has found the table.
    fn write_notices(
        &self,
        changes: Vec<NoticeChange>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        drop(changes);
        async { Ok(()) }
    }
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
#[allow(missing_docs, reason = "the sentence of each variant explains its fields")]
pub enum Saved {
    /// The token is in the row.
    Written,
    /// The row is gone, has another URL or user, or holds a token with a later expiry. The next poll reads it again.
    Superseded,
    /// A constraint or a trigger of the database rejected the token for this row, with this number of its
    /// error.
    Refused { number: i64 },
    /// The token has more characters than the column holds. It was not sent.
    TooLong { capacity: usize },
    /// The table does not hold the token although the database reported no error. Or the token was not sent, because the row
    /// cannot be distinguished from another. The reason is a fragment for people.
    NotKept { why: &'static str },
}

impl Saved {
    /// The write was ignored, cleared or redirected.
    const NOT_HELD: Self = Self::NotKept {
        why: "the table took it without an error and does not hold it; a trigger, a rule or a view undoes the write",
    };
}
