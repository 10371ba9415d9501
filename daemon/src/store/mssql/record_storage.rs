//! Whether records can be stored: their tables, and the key of their fingerprints.

use tiberius::{ColumnData, Query};

use super::quoted::beside;
use super::session::{Session, batch, rows, unreadable_answer};
use super::statements;
use super::trouble::{Meaning, ServerError, Trouble};
use crate::model::FingerprintKey;

/// Whether records can be stored, and the key of their fingerprints.
#[derive(Debug, Clone)]
pub(super) struct RecordStorage {
    key: FingerprintKey,
    problem: Option<String>,
}

impl RecordStorage {
    /// Returns the key.
    pub(super) fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Returns the reason why records cannot be stored, if so.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Stops storing records because of that error.
    pub(super) fn disable(&mut self, table: &str, error: ServerError) {
        self.problem = Some(explain_problem(table, error));
    }
}

/// Creates the tables if necessary and returns the key in the database. If there is none, stores the key in use or a new one. If
/// the login cannot create the tables, returns the reason, with that key.
///
/// Transient trouble is an error instead. Without the records the daemon would forget which customers are parked.
pub(super) async fn prepare(
    session: &mut Session,
    table: &str,
    in_use: Option<&FingerprintKey>,
    may_create: bool,
) -> Result<RecordStorage, Trouble> {
    let ours = in_use.map_or_else(rand::random, FingerprintKey::bytes);
    match stored_key(session, table, ours, may_create).await {
        Ok(stored) => Ok(RecordStorage { key: FingerprintKey::new(&stored), problem: None }),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => Ok(RecordStorage {
            key: FingerprintKey::new(&ours),
            problem: Some(explain_problem(table, error)),
        }),
        Err(trouble) => Err(trouble),
    }
}

fn explain_problem(table: &str, error: ServerError) -> String {
    let state = beside(table, "tbtokend_state");
    match error.number {
        229 | 230 => format!("the login lacks permissions on {state}"),
        208 | 262 | 2760 => format!("there is no table {state}, and the login may not make it"),
        207 => format!("the table {state} has other columns"),
        number => format!("error {number}{}", error.words()),
    }
}

async fn stored_key(
    session: &mut Session,
    table: &str,
    ours: [u8; FingerprintKey::BYTES],
    may_create: bool,
) -> Result<[u8; FingerprintKey::BYTES], Trouble> {
    match probe(session, table).await {
        Err(Trouble::Server(ServerError { number: 208, .. })) if may_create => {
            create_tables(session, table).await?;
            probe(session, table).await?;
        }
        probed => probed?,
    }
    if let Some(key) = read_key(session, table).await? {
        return Ok(key);
    }
    if !may_create {
        return Ok(ours);
    }
    let mut query = Query::new(statements::keep_key(table));
    query.bind(ours.as_slice());
    match rows(session, query).await {
        // Another daemon was quicker, and its key counts.
        Ok(_) | Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => {}
        Err(trouble) => return Err(trouble),
    }
    read_key(session, table).await?.ok_or_else(unreadable_answer)
}

async fn probe(session: &mut Session, table: &str) -> Result<(), Trouble> {
    rows(session, Query::new(statements::probe_records(table))).await.map(|_| ())
}

pub(super) async fn create_tables(session: &mut Session, table: &str) -> Result<(), Trouble> {
    match batch(session, &statements::create_tables(table)).await {
        // Another daemon has created them.
        Err(Trouble::Server(ServerError { number: 2714, .. })) => Ok(()),
        result => result,
    }
}

/// Reads the key in the database.
async fn read_key(
    session: &mut Session,
    table: &str,
) -> Result<Option<[u8; FingerprintKey::BYTES]>, Trouble> {
    let found = rows(session, Query::new(statements::key(table))).await?;
    match found.first().map(|row| row.get_column_data(0)) {
        None => Ok(None),
        Some(Ok(ColumnData::Binary(Some(bytes)))) => {
            <[u8; FingerprintKey::BYTES]>::try_from(bytes.as_ref()).map(Some).map_err(|_| unreadable_answer())
        }
        Some(_) => Err(unreadable_answer()),
    }
}
