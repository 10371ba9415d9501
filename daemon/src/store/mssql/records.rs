//! The side table `tbtokend_state`: the records, which survive a restart.

use std::collections::HashMap;
use std::vec::IntoIter;

use chrono::{DateTime, Utc};
use tiberius::{ColumnData, Query};

use super::super::{Records, RowProblem};
use super::connection::Connection;
use super::row_source::Cell;
use super::statements::{self, NO_TIME};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{UnreadableValue, naive, number, text};
use crate::model::{Changes, CustomerId, FailureKind, FailureNote, Fingerprint, Record};

/// Reads the requested records, and the problems of single ones; none if records cannot be stored. If the tables are gone or can
/// no longer be read, records cannot be stored from now on.
pub(super) async fn read(
    connection: &mut Connection,
    table: &str,
    which: Records,
) -> Result<(Vec<Record>, Vec<RowProblem>), Trouble> {
    let (mut records, mut problems) = (Vec::new(), Vec::new());
    if connection.state.records.problem().is_some() {
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
                Err(UnreadableValue) => problems.push(RowProblem::unreadable_record(&id)),
            }
        })
        .await;
    match result {
        Ok(()) => Ok((records, problems)),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => {
            connection.state.records.disable(table, error);
            Ok((Vec::new(), Vec::new()))
        }
        Err(trouble) => Err(trouble),
    }
}

/// Whether all times of a record can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    AllRead,
    SomeUnreadable,
}

fn record(
    id: CustomerId,
    mut cells: IntoIter<ColumnData<'static>>,
) -> Result<(Record, Times), UnreadableValue> {
    let mut next = || cells.next().ok_or(UnreadableValue);
    let mut times = Times::AllRead;
    // A value that is not a time counts as none. The record still says whether the customer is parked.
    let mut time = |value: ColumnData<'static>| {
        naive(&value).map(|naive| naive.map(|naive| naive.and_utc())).unwrap_or_else(|UnreadableValue| {
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
    let changes = Changes::from_text(&text(next()?)?.unwrap_or_default());
    let failure = fingerprint.zip(kind).map(|(fingerprint, kind)| FailureNote {
        // The kind may be that of a newer version. Whether it parks the customer has its own column.
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
    Ok((Record { id, failure, last_success_at, renewals, changes, updated_at }, times))
}

/// Drops the records that a later one of the same customer replaces, and those with an id too long for a key, which `read`
/// never returns.
pub(super) fn latest(batch: Vec<Record>) -> Vec<Record> {
    let mut latest: HashMap<CustomerId, Record> = HashMap::with_capacity(batch.len());
    for record in batch {
        if record.id.as_str().encode_utf16().count() <= statements::LONGEST_RECORDED_ID {
            latest.insert(record.id.clone(), record);
        }
    }
    latest.into_values().collect()
}

/// Writes records, each in place of the earlier one. Writing twice is harmless.
pub(super) async fn keep(connection: &mut Connection, table: &str, batch: &[Record]) -> Result<(), Trouble> {
    if connection.state.records.problem().is_some() || batch.is_empty() {
        return Ok(());
    }
    match keep_once(connection, table, batch).await {
        // Another daemon has inserted one of them, so this one can be updated now.
        Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => {
            keep_once(connection, table, batch).await
        }
        result => result,
    }
}

async fn keep_once(connection: &mut Connection, table: &str, batch: &[Record]) -> Result<(), Trouble> {
    let source = connection.state.row_source;
    let mut query = Query::new(statements::record(table, source, batch.len()));
    source.bind(&mut query, batch.iter().map(cells));
    connection.rows(query).await.map(|_| ())
}

/// Returns a record as a row of a batch.
fn cells(record: &Record) -> Vec<Cell<'_>> {
    let failure = record.failure.as_ref();
    let text = |text: Option<&str>| Cell::Text(text.unwrap_or_default().to_owned().into());
    let fingerprint = failure.map(|failure| failure.fingerprint.to_text());
    let time = |time: Option<DateTime<Utc>>| Cell::Time(time.map_or(NO_TIME, |time| time.naive_utc()));
    vec![
        Cell::Text(record.id.as_str().into()),
        time(Some(record.updated_at)),
        time(record.last_success_at),
        Cell::Number(i64::try_from(record.renewals).unwrap_or(i64::MAX)),
        Cell::Number(failure.map_or(0, |failure| failure.consecutive.into())),
        Cell::Number(failure.is_some_and(|failure| failure.permanent).into()),
        Cell::Text(record.changes.to_text().into()),
        Cell::Text(fingerprint.unwrap_or_default().into()),
        text(failure.map(|failure| failure.kind.as_str())),
        text(failure.map(|failure| short(&failure.message))),
        time(failure.map(|failure| failure.at)),
        time(failure.and_then(|failure| failure.next_attempt_at)),
    ]
}

/// Shortens a message to the length of its column.
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
