//! What `tbtokend doctor` wants to know of a store, as it was found. Pure: nothing here judges.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{RowProblem, StoreError};
use crate::model::{Customer, IneligibleRow};

/// How many rows each kind of ineligible row is shown with.
pub const MOST_EXAMPLES: usize = 5;

/// How many rows are looked at for the clock of their expiries. Only here is the text of a token read, and only its
/// claims are kept.
pub const SAMPLE: usize = 200;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// How the connection is protected; none for a file.
    pub protection: Option<String>,
    /// The time there, and how many minutes its local time is ahead of UTC.
    pub clock: Option<ServerClock>,
    /// The types of `customer_id`, `tbtoken` and `tbtokenexpiry`, where they matter.
    pub types: Vec<(String, String)>,
    /// The most characters that `tbtoken` holds, if there is a limit.
    pub capacity: Option<usize>,
    /// The statement that takes the limit away.
    pub widen: String,
    /// What may be done, and the statement that would allow it.
    pub permissions: Vec<Permission>,
    /// Why records cannot be kept, if they cannot.
    pub records: Option<String>,
    /// Why the database has no ledger of sent passwords that can be used, if so.
    pub no_ledger: Option<String>,
    /// The readers of the key of the records' fingerprints; `None` for a file, which has no users.
    pub key_readers: Option<KeyReaders>,
    /// Rows in all; `None` if they may not be read, and then nothing else is known of them.
    pub rows: Option<u64>,
    /// Rows that are left alone.
    pub ineligible: Vec<Ineligible>,
    /// Rows with a token and an expiry.
    pub sample: Vec<Sample>,
}

/// The readers of the key of the fingerprints, without the daemon and the owner of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReaders {
    /// Their names.
    pub others: Vec<String>,
    /// For each the statement that takes the permission away.
    pub deny: Vec<String>,
    /// Whether the server shows the daemon's login all of them.
    pub complete: bool,
}

/// The clock of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerClock {
    /// Its time.
    pub utc: DateTime<Utc>,
    /// How far its local time is ahead of that, in minutes.
    pub offset_minutes: i32,
}

/// Something that the login may or may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// What.
    pub what: String,
    /// Whether; `None` where the server does not say.
    pub granted: Option<bool>,
    /// The statement that gives it.
    pub grant: String,
}

/// Rows that lack something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ineligible {
    /// The columns that are blank, as `tb_username and tb_password`.
    pub blank: String,
    /// How many rows.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// A row's expiry and what its token says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// `tbtokenexpiry`, where its type names no zone.
    pub shown: NaiveDateTime,
    /// `iat`.
    pub issued_at: DateTime<Utc>,
    /// `exp − iat` in seconds.
    pub life: i64,
}

/// What was found, and whom the daemon would work for.
#[derive(Debug)]
pub struct Examined {
    /// What was found.
    pub facts: Facts,
    /// The eligible rows.
    pub customers: Vec<Customer>,
    /// What is wrong with single rows.
    pub problems: Vec<RowProblem>,
}

/// A store that can be looked at without being changed.
pub trait Examine {
    /// Looks.
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
