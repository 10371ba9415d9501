//! The side tables `tbtokend_state` and `tbtokend_key`: the records of the customers, and the key of their fingerprints.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use super::super::facts::NoLedger;
use super::super::{Records, RowProblem, timestamp};
use super::{Open, ledger, words};
use crate::model::{Changes, CustomerId, FailureKind, FailureNote, Fingerprint, FingerprintKey, Record};

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
        updated_at              TEXT NOT NULL,
        changes                 TEXT
    ) WITHOUT ROWID;";

pub(super) const CREATE_KEY: &str = "
    CREATE TABLE IF NOT EXISTS tbtokend_key (
        fingerprint_key BLOB NOT NULL
    );";

/// The columns, in the order of [`read_record`] and [`keep`].
const COLUMNS: &str = "customer_id, credentials_fingerprint, failures, kind, message, parked, failed_at, \
     next_attempt_at, last_success_at, renewals, updated_at, changes";

/// Returns the statement that reads these records.
fn select(which: Records) -> String {
    let only = match which {
        Records::All => "",
        Records::Failing => " WHERE kind IS NOT NULL",
    };
    format!("SELECT {COLUMNS} FROM tbtokend_state{only}")
}

/// Returns the statement that writes one record in place of the earlier one. SQLite refuses to compile it if `customer_id` is
/// not a key, because then every record would be one more row.
fn upsert() -> String {
    let set: Vec<String> =
        COLUMNS.split(", ").skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO tbtokend_state ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (customer_id) DO UPDATE SET {}",
        set.join(", ")
    )
}

/// Makes the side tables if necessary, and returns the key of the fingerprints from the file. If the tables cannot be made or
/// used, returns the reason, and the key in use or a new one.
///
/// A file that is locked or full at the moment is an error instead. Without the records the daemon would forget which
/// customers are parked.
pub(super) fn prepare(
    connection: &mut Connection,
    in_use: Option<&FingerprintKey>,
) -> rusqlite::Result<(FingerprintKey, Option<String>)> {
    let fresh: [u8; FingerprintKey::BYTES] = rand::random();
    Ok(match unless_lost(stored_key(connection, &fresh, true))? {
        Ok(stored) => (FingerprintKey::new(&stored), None),
        Err(why) => (in_use.cloned().unwrap_or_else(|| FingerprintKey::new(&fresh)), Some(why)),
    })
}

/// Returns the reason why the side tables cannot be used as the inner error.
fn unless_lost<T>(result: rusqlite::Result<T>) -> rusqlite::Result<Result<T, String>> {
    match result {
        Err(error) if costs_only_the_records(&error) => Ok(Err(words(&error))),
        result => result.map(Ok),
    }
}

/// Whether the error means that the side tables cannot be used until an operator corrects them.
fn costs_only_the_records(error: &rusqlite::Error) -> bool {
    use ErrorCode::{AuthorizationForStatementDenied, PermissionDenied, ReadOnly, TypeMismatch, Unknown};
    matches!(
        error.sqlite_error_code(),
        None | Some(AuthorizationForStatementDenied | PermissionDenied | ReadOnly | TypeMismatch | Unknown)
    )
}

/// Returns the key in a file that holds no records, and makes it if there is none.
pub(super) fn key_alone(connection: &mut Connection) -> rusqlite::Result<FingerprintKey> {
    stored_key(connection, &rand::random(), false).map(|key| FingerprintKey::new(&key))
}

/// Returns the key in the file. If there is none, stores `fresh` and returns it. Makes and tries the table of the records too
/// if the file holds them.
fn stored_key(
    connection: &mut Connection,
    fresh: &[u8; FingerprintKey::BYTES],
    has_records: bool,
) -> rusqlite::Result<[u8; FingerprintKey::BYTES]> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if has_records {
        transaction.execute_batch(CREATE)?;
        probe(&transaction)?;
    }
    transaction.execute_batch(CREATE_KEY)?;
    let stored = read_key(&transaction)?;
    if stored.is_none() {
        transaction.execute("INSERT INTO tbtokend_key (fingerprint_key) VALUES (?1)", [fresh])?;
    }
    transaction.commit()?;
    Ok(stored.unwrap_or(*fresh))
}

fn read_key(connection: &Connection) -> rusqlite::Result<Option<[u8; FingerprintKey::BYTES]>> {
    let sql = "SELECT fingerprint_key FROM tbtokend_key LIMIT 1";
    let found = connection.query_row(sql, [], |row| {
        let key = row.get_ref(0)?.as_blob().ok().and_then(|bytes| bytes.try_into().ok());
        key.ok_or_else(|| {
            let why = format!("the row in tbtokend_key is no key of {} bytes", FingerprintKey::BYTES);
            rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, why.into())
        })
    });
    found.optional()
}

/// Compiles the statements, to learn whether the table has the expected columns and key.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare(&upsert())?;
    connection.prepare(&select(Records::All)).map(|_| ())
}

/// Reads the requested records, and the problems of single ones. Returns none if records cannot be stored. If the table cannot
/// be used any more, `lost` says so from now on.
pub(super) fn read(
    connection: &Connection,
    lost: &mut Option<String>,
    which: Records,
) -> rusqlite::Result<(Vec<Record>, Vec<RowProblem>)> {
    if lost.is_some() {
        return Ok((Vec::new(), Vec::new()));
    }
    unless_lost(read_all(connection, which)).map(|read| {
        read.unwrap_or_else(|why| {
            *lost = Some(why);
            (Vec::new(), Vec::new())
        })
    })
}

fn read_all(connection: &Connection, which: Records) -> rusqlite::Result<(Vec<Record>, Vec<RowProblem>)> {
    let (mut records, mut problems) = (Vec::new(), Vec::new());
    let mut statement = connection.prepare_cached(&select(which))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match read_record(row) {
            Ok((record, problem)) => {
                records.push(record);
                problems.extend(problem);
            }
            Err(_) => {
                let id = row.get_ref(0)?.as_str().unwrap_or("(no id)");
                problems.push(RowProblem::unreadable_record(id));
            }
        }
    }
    Ok((records, problems))
}

/// Says why records cannot be stored, if so, and finds the problems of single ones. Makes nothing: a missing table is made by
/// the daemon.
pub(super) fn examine(connection: &Connection) -> rusqlite::Result<(Option<String>, Vec<RowProblem>)> {
    let look = || -> rusqlite::Result<Vec<RowProblem>> {
        if exists(connection, "tbtokend_key")? {
            read_key(connection)?;
        }
        if !exists(connection, "tbtokend_state")? {
            return Ok(Vec::new());
        }
        probe(connection)?;
        read_all(connection, Records::All).map(|(_, problems)| problems)
    };
    Ok(match unless_lost(look())? {
        Ok(problems) => (None, problems),
        Err(why) => (Some(why), Vec::new()),
    })
}

/// Says why the ledger cannot be used, if so. A missing table is made at the first use.
pub(super) fn examine_ledger(connection: &Connection) -> rusqlite::Result<Option<NoLedger>> {
    if !exists(connection, "tbtokend_account")? {
        return Ok(None);
    }
    let unusable = |why| NoLedger::Unusable(format!("the table tbtokend_account cannot be used ({why})"));
    Ok(unless_lost(ledger::probe(connection))?.err().map(unusable))
}

fn exists(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    connection.query_row(sql, [name], |row| row.get(0))
}

/// Reads a record, and its problem if a time of it cannot be read.
fn read_record(row: &Row<'_>) -> rusqlite::Result<(Record, Option<RowProblem>)> {
    let id = CustomerId::new(row.get::<_, String>(0)?);
    let mut problem = None;
    // A value that is not a time counts as none: that a customer is parked matters more than since when.
    let mut time = |column: usize| {
        let value = row.get_ref(column)?;
        let time = value.as_str().ok().and_then(timestamp::parse);
        if time.is_none() && value != ValueRef::Null {
            problem = Some(RowProblem::record_without_time(id.as_str()));
        }
        Ok::<_, rusqlite::Error>(time)
    };
    let [failed_at, next_attempt_at, last_success_at, updated_at] = [time(6)?, time(7)?, time(8)?, time(10)?];
    let updated_at = updated_at.unwrap_or_default();
    let failure = read_failure(row, failed_at.unwrap_or(updated_at), next_attempt_at)?.map(Box::new);
    let renewals = u64::try_from(row.get::<_, i64>(9)?).unwrap_or(0);
    let changes = row.get_ref(11)?.as_str().map(Changes::from_text).unwrap_or_default();
    Ok((Record { id, failure, last_success_at, renewals, changes, updated_at }, problem))
}

fn read_failure(
    row: &Row<'_>,
    at: DateTime<Utc>,
    next_attempt_at: Option<DateTime<Utc>>,
) -> rusqlite::Result<Option<FailureNote>> {
    let (Some(fingerprint), Some(kind)) =
        (row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(3)?)
    else {
        return Ok(None);
    };
    let Some(fingerprint) = Fingerprint::from_text(&fingerprint) else { return Ok(None) };
    // A newer version may have written a kind that is unknown here. Whether it parks has a column of its own.
    let kind = FailureKind::from_name(&kind).unwrap_or(FailureKind::UnexpectedResponse);
    Ok(Some(FailureNote {
        kind,
        message: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        permanent: row.get(5)?,
        consecutive: row.get(2)?,
        at,
        next_attempt_at,
        fingerprint,
    }))
}

/// Writes records, each in place of the earlier one.
pub(super) fn keep(open: &mut Open, batch: &[Record]) -> rusqlite::Result<()> {
    if open.records_lost.is_some() {
        return Ok(());
    }
    // Of several records of one customer the last one counts.
    let latest: HashMap<_, _> = batch.iter().map(|record| (&record.id, record)).collect();
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached(&upsert())?;
        for record in latest.into_values() {
            let failure = record.failure.as_ref();
            statement.execute(params![
                record.id.as_str(),
                failure.map(|failure| failure.fingerprint.to_text()),
                failure.map_or(0, |failure| failure.consecutive),
                failure.map(|failure| failure.kind.as_str()),
                failure.map(|failure| &failure.message),
                failure.is_some_and(|failure| failure.permanent),
                failure.map(|failure| timestamp::format(failure.at)),
                failure.and_then(|failure| failure.next_attempt_at).map(timestamp::format),
                record.last_success_at.map(timestamp::format),
                i64::try_from(record.renewals).unwrap_or(i64::MAX),
                timestamp::format(record.updated_at),
                Some(record.changes.to_text()).filter(|text| !text.is_empty()),
            ])?;
        }
    }
    transaction.commit()
}
