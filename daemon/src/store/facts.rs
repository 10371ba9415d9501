//! The facts that `tbtokend doctor` collects about a store. Pure: nothing here judges them.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{RowProblem, StoreError};
use crate::model::{Customer, IneligibleRow};

/// The most examples that are shown for each kind of ineligible row.
pub const MOST_EXAMPLES: usize = 5;

/// How many rows are read to find the clock of their expiries. Of their tokens only the claims
/// are kept.
pub const SAMPLE: usize = 200;

/// The facts about a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// How the connection is protected; `None` for a file.
    pub protection: Option<String>,
    /// The clock of the server; `None` for a file.
    pub clock: Option<ServerClock>,
    /// The types of `customer_id`, `tbtoken` and `tbtokenexpiry`, if they matter.
    pub types: Vec<(String, String)>,
    /// The most characters that `tbtoken` holds, if there is a limit.
    pub capacity: Option<usize>,
    /// The statement that removes the limit.
    pub widen: String,
    /// Each permission that the daemon needs, and the statement that grants it.
    pub permissions: Vec<Permission>,
    /// Why records cannot be stored, if so.
    pub records: Option<String>,
    /// Why the ledger of sent passwords in the database cannot be used, if so.
    pub no_ledger: Option<NoLedger>,
    /// The readers of the key of the records' fingerprints; `None` for a file, which has no users.
    pub key_readers: Option<KeyReaders>,
    /// The number of all rows; `None` if the daemon may not read them.
    pub rows: Option<u64>,
    /// The rows that are not renewed, by reason.
    pub ineligible: Vec<Ineligible>,
    /// Some rows with a token and an expiry.
    pub sample: Vec<Sample>,
}

/// Why the database has no ledger that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoLedger {
    /// There is no table for it.
    Missing(String),
    /// The table cannot be used.
    Unusable(String),
}

/// The readers of the key of the fingerprints, without the daemon and the owner of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReaders {
    /// The names of the readers.
    pub others: Vec<String>,
    /// The statement for each reader that takes the permission away.
    pub deny: Vec<String>,
    /// Whether the server shows all readers to the daemon's login.
    pub complete: bool,
}

/// The clock of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerClock {
    /// The time of the server.
    pub utc: DateTime<Utc>,
    /// How far its local time is ahead of UTC, in minutes.
    pub offset_minutes: i32,
}

/// A permission that the login has or lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// What it allows.
    pub what: String,
    /// Whether the login has it; `None` if the server does not say.
    pub granted: Option<bool>,
    /// The statement that grants it.
    pub grant: String,
}

/// The rows that lack the same columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ineligible {
    /// The columns that are blank, as `tb_username and tb_password`.
    pub blank: String,
    /// The number of rows.
    pub count: u64,
    /// The ids of the first rows.
    pub examples: Vec<String>,
}

/// The expiry of a row and the claims of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The expiry in the row, for types without a zone.
    pub shown: NaiveDateTime,
    /// The claim `iat`.
    pub issued_at: DateTime<Utc>,
    /// `exp − iat` in seconds.
    pub life: i64,
}

/// The facts about a store, and its customers.
#[derive(Debug)]
pub struct Examined {
    /// The facts.
    pub facts: Facts,
    /// The eligible rows.
    pub customers: Vec<Customer>,
    /// The problems of single rows.
    pub problems: Vec<RowProblem>,
}

/// A store that can be examined without a change.
pub trait Examine {
    /// Collects the facts and reads the customers.
    fn examine(&self) -> impl Future<Output = Result<Examined, StoreError>> + Send;
}

/// Counts rows by the columns that are blank.
pub(crate) fn count_blank(rows: &[IneligibleRow]) -> Vec<Ineligible> {
    let mut kinds: Vec<Ineligible> = Vec::new();
    for (row, blank) in rows.iter().filter_map(|row| Some((row, row.why.blank()?))) {
        let at = kinds.iter().position(|kind| kind.blank == blank).unwrap_or_else(|| {
            kinds.push(Ineligible { blank, count: 0, examples: Vec::new() });
            kinds.len() - 1
        });
        if let Some(kind) = kinds.get_mut(at) {
            kind.count += 1;
            if kind.examples.len() < MOST_EXAMPLES {
                kind.examples.push(row.id.to_string());
            }
        }
    }
    kinds
}
