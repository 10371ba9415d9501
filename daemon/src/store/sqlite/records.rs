//! The side table `tbtokend_state`: what the daemon remembers over restarts.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use super::super::{Records, timestamp};
use super::Open;
use crate::model::{CustomerId, FailureKind, FailureNote, Fingerprint, FingerprintKey, Record};

pub(super) const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS tbtokend_state (
        customer_id             TEXT PRIMARY KEY NOT NULL,
        credentials_fingerprint TEXT,
        failures                INTEGER NOT NULL,
        kind                    TEXT,
        message                 TEXT,
        parked                  INTEGER NOT NULL,
        failed_at               TEXT,
        next_attempt_at         TEXT,
        last_success_at         TEXT,
        renewals                INTEGER NOT NULL,
        updated_at              TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tbtokend_key (
        fingerprint_key BLOB NOT NULL
    );";

/// Makes the side tables if need be and brings the key of the fingerprints: the one in the file, which is made if need
/// be. If the tables may not be made, says why and goes on with the key in use, or a new one.
///
/// A file that is locked or full for the moment is an error instead: to go on without the records then would be to
/// forget who is parked.
pub(super) fn prepare(
    connection: &mut Connection,
    in_use: Option<&FingerprintKey>,
) -> rusqlite::Result<(FingerprintKey, Option<String>)> {
    use ErrorCode::{AuthorizationForStatementDenied, PermissionDenied, ReadOnly, TypeMismatch, Unknown};
    let fresh: [u8; FingerprintKey::BYTES] = rand::random();
    match stored_key(connection, &fresh) {
        Ok(stored) => Ok((FingerprintKey::new(&stored), None)),
        Err(error) => match error.sqlite_error_code() {
            None
            | Some(AuthorizationForStatementDenied | PermissionDenied | ReadOnly | TypeMismatch | Unknown) => {
                let key = in_use.cloned().unwrap_or_else(|| FingerprintKey::new(&fresh));
                Ok((key, Some(error.to_string())))
            }
            Some(_) => Err(error),
        },
    }
}

fn stored_key(
    connection: &mut Connection,
    fresh: &[u8; FingerprintKey::BYTES],
) -> rusqlite::Result<[u8; FingerprintKey::BYTES]> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(CREATE)?;
    let stored: Option<[u8; FingerprintKey::BYTES]> = transaction
        .query_row("SELECT fingerprint_key FROM tbtokend_key LIMIT 1", [], |row| row.get(0))
        .optional()?;
    let key = match stored {
        Some(key) => key,
        None => {
            transaction.execute("INSERT INTO tbtokend_key (fingerprint_key) VALUES (?1)", [fresh])?;
            *fresh
        }
    };
    transaction.commit()?;
    Ok(key)
}

/// Reads the records asked for.
pub(super) fn read(connection: &Connection, which: Records) -> rusqlite::Result<Vec<Record>> {
    let only = match which {
        Records::All => "",
        Records::Failing => "WHERE kind IS NOT NULL",
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT customer_id, credentials_fingerprint, failures, kind, message, parked, failed_at,
                next_attempt_at, last_success_at, renewals, updated_at
         FROM tbtokend_state {only}"
    ))?;
    statement.query_map([], record)?.collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let id: String = row.get(0)?;
    Ok(Record {
        id: CustomerId::new(id),
        failure: failure(row)?.map(Box::new),
        last_success_at: time(row, 8)?,
        renewals: u64::try_from(row.get::<_, i64>(9)?).unwrap_or(0),
        updated_at: time(row, 10)?.unwrap_or_default(),
    })
}

fn failure(row: &Row<'_>) -> rusqlite::Result<Option<FailureNote>> {
    let (Some(fingerprint), Some(kind)) =
        (row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(3)?)
    else {
        return Ok(None);
    };
    // A kind of a newer version: whether it parks is what matters, and that has a column of its own.
    let kind = FailureKind::from_name(&kind).unwrap_or(FailureKind::UnexpectedResponse);
    Ok(Some(FailureNote {
        kind,
        message: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        permanent: row.get(5)?,
        consecutive: row.get(2)?,
        at: time(row, 6)?.or(time(row, 10)?).unwrap_or_default(),
        next_attempt_at: time(row, 7)?,
        fingerprint: Fingerprint::from_text(fingerprint),
    }))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DateTime<Utc>>> {
    match row.get::<_, Option<String>>(column)? {
        None => Ok(None),
        Some(text) => timestamp::parse(&text).map(Some).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "it is no RFC 3339 time".into())
        }),
    }
}

/// Writes records, each in place of the one before.
pub(super) fn keep(open: &mut Open, batch: &[Record]) -> rusqlite::Result<()> {
    if open.records_lost.is_some() {
        return Ok(());
    }
    // The last of several records of one customer is the one that counts.
    let latest: HashMap<_, _> = batch.iter().map(|record| (&record.id, record)).collect();
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT OR REPLACE INTO tbtokend_state
                 (customer_id, credentials_fingerprint, failures, kind, message, parked, failed_at,
                  next_attempt_at, last_success_at, renewals, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        for record in latest.into_values() {
            let failure = record.failure.as_ref();
            statement.execute(params![
                record.id.as_str(),
                failure.map(|failure| failure.fingerprint.as_str()),
                failure.map_or(0, |failure| failure.consecutive),
                failure.map(|failure| failure.kind.as_str()),
                failure.map(|failure| &failure.message),
                failure.is_some_and(|failure| failure.permanent),
                failure.map(|failure| timestamp::format(failure.at)),
                failure.and_then(|failure| failure.next_attempt_at).map(timestamp::format),
                record.last_success_at.map(timestamp::format),
                i64::try_from(record.renewals).unwrap_or(i64::MAX),
                timestamp::format(record.updated_at),
            ])?;
        }
    }
    transaction.commit()
}
