//! Whether records can be stored: their tables, and the key of their fingerprints.

use super::quoted::beside;
use super::session::Session;
use super::statements::{self, on_side_tables};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{UnreadableValue, read_bytes};
use crate::model::FingerprintKey;

/// Whether records can be stored, and the key of their fingerprints.
#[derive(Debug, Clone)]
pub(super) struct RecordStorage {
    pub(super) key: FingerprintKey,
    /// The reason why records cannot be stored, if so.
    pub(super) problem: Option<String>,
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
    let (key, problem) = match stored_key(session, table, ours, may_create).await {
        Ok(stored) => (stored, None),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => {
            (ours, Some(explain_problem(table, error)))
        }
        Err(trouble) => return Err(trouble),
    };
    Ok(RecordStorage { key: FingerprintKey::new(&key), problem })
}

/// Says why records cannot be stored.
pub(super) fn explain_problem(table: &str, error: ServerError) -> String {
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
    let probe = || on_side_tables(statements::PROBE_RECORDS, table);
    match session.execute(probe()).await {
        Err(Trouble::Server(ServerError { number: 208, .. })) if may_create => {
            create_tables(session, table).await?;
            session.execute(probe()).await?;
        }
        probed => probed?,
    }
    if let Some(key) = read_key(session, table).await? {
        return Ok(key);
    }
    if !may_create {
        return Ok(ours);
    }
    let mut query = on_side_tables(statements::KEEP_KEY, table);
    query.bind(ours.as_slice());
    match session.execute(query).await {
        // Another daemon was quicker, and its key counts.
        Ok(()) | Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => {}
        Err(trouble) => return Err(trouble),
    }
    Ok(read_key(session, table).await?.ok_or(UnreadableValue)?)
}

/// Creates the side tables that are missing.
pub(super) async fn create_tables(session: &mut Session, table: &str) -> Result<(), Trouble> {
    match session.batch(&statements::create_tables(table)).await {
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
    let row = session.first_row(on_side_tables(statements::KEY, table)).await?;
    let Some(mut cells) = row else { return Ok(None) };
    let key = cells.require(read_bytes)?.try_into();
    Ok(Some(key.map_err(|_| UnreadableValue)?))
}
