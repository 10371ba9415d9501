//! Whether records can be kept: their tables, and the key of their fingerprints.

use tiberius::{ColumnData, Query};

use super::quoted::beside;
use super::session::{Session, batch, rows, strange};
use super::statements;
use super::trouble::{Meaning, ServerError, Trouble};
use crate::model::FingerprintKey;

/// Whether records can be kept, and the key of their fingerprints.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    key: FingerprintKey,
    lost: Option<String>,
}

impl Keeping {
    /// The key.
    pub(super) fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Why records cannot be kept, if they cannot.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// From now on they cannot be kept, for that error.
    pub(super) fn lose(&mut self, table: &str, error: ServerError) {
        self.lost = Some(why_lost(table, error));
    }
}

/// Makes the tables if need be and brings the key: the one in the database; where there is none, the key in use or a new one
/// is put there. If the tables may not be made, says why and goes on with that key.
///
/// Trouble that passes is an error instead: to go on without the records then would be to forget who is parked.
pub(super) async fn prepare(
    session: &mut Session,
    table: &str,
    in_use: Option<&FingerprintKey>,
    may_make: bool,
) -> Result<Keeping, Trouble> {
    let ours = in_use.map_or_else(rand::random, FingerprintKey::bytes);
    match stored_key(session, table, ours, may_make).await {
        Ok(stored) => Ok(Keeping { key: FingerprintKey::new(&stored), lost: None }),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => {
            Ok(Keeping { key: FingerprintKey::new(&ours), lost: Some(why_lost(table, error)) })
        }
        Err(trouble) => Err(trouble),
    }
}

fn why_lost(table: &str, error: ServerError) -> String {
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
    may_make: bool,
) -> Result<[u8; FingerprintKey::BYTES], Trouble> {
    match probe(session, table).await {
        Err(Trouble::Server(ServerError { number: 208, .. })) if may_make => {
            make_tables(session, table).await?;
            probe(session, table).await?;
        }
        probed => probed?,
    }
    if let Some(key) = read_key(session, table).await? {
        return Ok(key);
    }
    if !may_make {
        return Ok(ours);
    }
    let mut query = Query::new(statements::keep_key(table));
    query.bind(ours.as_slice());
    match rows(session, query).await {
        // Another daemon was quicker; its key is the one.
        Ok(_) | Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => {}
        Err(trouble) => return Err(trouble),
    }
    read_key(session, table).await?.ok_or_else(strange)
}

async fn probe(session: &mut Session, table: &str) -> Result<(), Trouble> {
    rows(session, Query::new(statements::probe_records(table))).await.map(|_| ())
}

pub(super) async fn make_tables(session: &mut Session, table: &str) -> Result<(), Trouble> {
    match batch(session, &statements::make_tables(table)).await {
        // Another daemon was quicker.
        Err(Trouble::Server(ServerError { number: 2714, .. })) => Ok(()),
        result => result,
    }
}

/// The key in the database.
async fn read_key(
    session: &mut Session,
    table: &str,
) -> Result<Option<[u8; FingerprintKey::BYTES]>, Trouble> {
    let found = rows(session, Query::new(statements::key(table))).await?;
    match found.first().map(|row| row.get_column_data(0)) {
        None => Ok(None),
        Some(Ok(ColumnData::Binary(Some(bytes)))) => {
            <[u8; FingerprintKey::BYTES]>::try_from(bytes.as_ref()).map(Some).map_err(|_| strange())
        }
        Some(_) => Err(strange()),
    }
}
