//! The side tables `tbtokend_state` and `tbtokend_key`: what the daemon remembers over restarts.

use std::collections::HashMap;
use std::vec::IntoIter;

use chrono::{DateTime, Utc};
use tiberius::{ColumnData, IntoSql, Query};

use super::super::{Records, RowProblem};
use super::connect::Session;
use super::connection::{Connection, batch, rows, strange};
use super::row_source::Cell;
use super::statements::{self, NO_TIME};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{Strange, naive, number, text};
use crate::model::{CustomerId, FailureKind, FailureNote, Fingerprint, FingerprintKey, Record};

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
}

/// Makes the tables if need be and brings the key: the one in the database, which is made if need be. If the tables may
/// not be made, says why and goes on with the key in use, or a new one.
///
/// Trouble that passes is an error instead: to go on without the records then would be to forget who is parked.
pub(super) async fn prepare(
    session: &mut Session,
    table: &str,
    in_use: Option<&FingerprintKey>,
    may_make: bool,
) -> Result<Keeping, Trouble> {
    let fresh: [u8; FingerprintKey::BYTES] = rand::random();
    match stored_key(session, table, fresh, may_make).await {
        Ok(stored) => Ok(Keeping { key: FingerprintKey::new(&stored), lost: None }),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => {
            let key = in_use.cloned().unwrap_or_else(|| FingerprintKey::new(&fresh));
            Ok(Keeping { key, lost: Some(why_lost(table, error)) })
        }
        Err(trouble) => Err(trouble),
    }
}

fn why_lost(table: &str, error: ServerError) -> String {
    let state = statements::beside(table, "tbtokend_state");
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
    fresh: [u8; FingerprintKey::BYTES],
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
        return Ok(fresh);
    }
    let mut query = Query::new(statements::keep_key(table));
    query.bind(fresh.as_slice());
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

/// Reads the records asked for, and what is wrong with single ones; none if they cannot be kept. If the tables have gone or may not be read any more, they
/// cannot be kept from now on.
pub(super) async fn read(
    connection: &mut Connection,
    table: &str,
    which: Records,
) -> Result<(Vec<Record>, Vec<RowProblem>), Trouble> {
    let (mut records, mut problems) = (Vec::new(), Vec::new());
    if connection.records.lost.is_some() {
        return Ok((records, problems));
    }
    let sql = statements::records(table, which == Records::Failing);
    let result = connection
        .each_row(Query::new(sql), |mut cells| {
            let Some(id) = cells.next().and_then(|id| text(id).ok().flatten()) else {
                return problems.push(RowProblem::unreadable_record("(no id)"));
            };
            match record(CustomerId::new(&*id), cells) {
                Ok((record, times)) => {
                    records.push(record);
                    if times == Times::SomeUnreadable {
                        problems.push(RowProblem::record_without_time(&id));
                    }
                }
                Err(Strange) => problems.push(RowProblem::unreadable_record(&id)),
            }
        })
        .await;
    match result {
        Ok(()) => Ok((records, problems)),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => {
            connection.records.lost = Some(why_lost(table, error));
            Ok((Vec::new(), Vec::new()))
        }
        Err(trouble) => Err(trouble),
    }
}

/// Whether the times of a record are times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    AllRead,
    SomeUnreadable,
}

fn record(id: CustomerId, mut cells: IntoIter<ColumnData<'static>>) -> Result<(Record, Times), Strange> {
    let mut next = || cells.next().ok_or(Strange);
    let mut times = Times::AllRead;
    // A column that is no time counts as none: who is parked is worth more than since when.
    let mut time = |value: ColumnData<'static>| {
        naive(&value).map(|naive| naive.map(|naive| naive.and_utc())).unwrap_or_else(|Strange| {
            times = Times::SomeUnreadable;
            None
        })
    };
    let fingerprint = text(next()?)?.and_then(|text| Fingerprint::from_text(&text));
    let consecutive = number(&next()?)?.unwrap_or(0);
    let kind = text(next()?)?;
    let message = text(next()?)?.unwrap_or_default();
    let permanent = number(&next()?)?.unwrap_or(0) != 0;
    let failed_at = time(next()?);
    let next_attempt_at = time(next()?);
    let last_success_at = time(next()?);
    let renewals = number(&next()?)?.unwrap_or(0);
    let updated_at = time(next()?).unwrap_or_default();
    let failure = fingerprint.zip(kind).map(|(fingerprint, kind)| FailureNote {
        // A kind of a newer version: whether it parks is what matters, and that has a column of its own.
        kind: FailureKind::from_name(&kind).unwrap_or(FailureKind::UnexpectedResponse),
        message,
        permanent,
        consecutive: u32::try_from(consecutive).unwrap_or(0),
        at: failed_at.unwrap_or(updated_at),
        next_attempt_at,
        fingerprint,
    });
    let renewals = u64::try_from(renewals).unwrap_or(0);
    let failure = failure.map(Box::new);
    Ok((Record { id, failure, last_success_at, renewals, updated_at }, times))
}

/// The batch without those that a later one of the same customer replaces, and without ids too long for a key, which
/// `read` does not bring.
pub(super) fn latest(batch: Vec<Record>) -> Vec<Record> {
    let mut latest: HashMap<CustomerId, Record> = HashMap::with_capacity(batch.len());
    for record in batch {
        if record.id.as_str().encode_utf16().count() <= statements::LONGEST_RECORDED_ID {
            latest.insert(record.id.clone(), record);
        }
    }
    latest.into_values().collect()
}

/// Writes records, each in place of the one before. Twice does no harm.
pub(super) async fn keep(connection: &mut Connection, table: &str, batch: &[Record]) -> Result<(), Trouble> {
    if connection.records.lost.is_some() || batch.is_empty() {
        return Ok(());
    }
    match keep_once(connection, table, batch).await {
        // Another daemon inserted one of them in between; now it is there to be updated.
        Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => {
            keep_once(connection, table, batch).await
        }
        result => result,
    }
}

async fn keep_once(connection: &mut Connection, table: &str, batch: &[Record]) -> Result<(), Trouble> {
    let source = connection.row_source;
    let mut query = Query::new(statements::record(table, source, batch.len()));
    source.bind(&mut query, batch.iter().map(cells));
    connection.rows(query).await.map(|_| ())
}

/// A record as a row of a batch.
fn cells(record: &Record) -> Vec<Cell<'_>> {
    let failure = record.failure.as_ref();
    let text = |text: Option<&str>| Cell::Text(text.unwrap_or_default().to_owned().into());
    let fingerprint = failure.map(|failure| failure.fingerprint.to_text());
    let time = |time: Option<DateTime<Utc>>| Cell::Time(time.map_or(NO_TIME, |time| time.naive_utc()));
    vec![
        Cell::Text(record.id.as_str().into()),
        Cell::Text(fingerprint.unwrap_or_default().into()),
        Cell::Number(failure.map_or(0, |failure| failure.consecutive.into())),
        text(failure.map(|failure| failure.kind.as_str())),
        text(failure.map(|failure| short(&failure.message))),
        Cell::Number(failure.is_some_and(|failure| failure.permanent).into()),
        time(failure.map(|failure| failure.at)),
        time(failure.and_then(|failure| failure.next_attempt_at)),
        time(record.last_success_at),
        Cell::Number(i64::try_from(record.renewals).unwrap_or(i64::MAX)),
        time(Some(record.updated_at)),
    ]
}

/// A value that is ready to be sent.
pub(super) struct Raw<'a>(pub(super) ColumnData<'a>);

impl<'a> IntoSql<'a> for Raw<'a> {
    fn into_sql(self) -> ColumnData<'a> {
        self.0
    }
}

/// As much of a message as its column holds.
fn short(message: &str) -> &str {
    let mut units = 0;
    let end = message.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > statements::LONGEST_MESSAGE
    });
    end.and_then(|(end, _)| message.get(..end)).unwrap_or(message)
}

#[cfg(test)]
mod tests;
