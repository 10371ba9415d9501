//! The side table `tbtokend_state`: the records, which survive a restart.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::super::{Records, RowProblem};
use super::connection::Connection;
use super::record_storage::explain_problem;
use super::row_source::Cell;
use super::statements::{self, NO_TIME};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{Cells, UnreadableValue, read_number, read_text, read_time};
use crate::model::{Changes, CustomerId, FailureKind, FailureNote, Fingerprint, Record};

/// Reads the requested records, and the problems of single ones; none if records cannot be stored. If the tables are gone or can
/// no longer be read, records cannot be stored from now on.
pub(super) async fn read(
    connection: &mut Connection,
    which: Records,
) -> Result<(Vec<Record>, Vec<RowProblem>), Trouble> {
    let (mut records, mut problems) = (Vec::new(), Vec::new());
    if connection.records.problem.is_some() {
        return Ok((records, problems));
    }
    let query = connection.on_side_tables(match which {
        Records::All => statements::RECORDS,
        Records::Failing => statements::FAILING_RECORDS,
    });
    let take = |mut cells: Cells| {
        let Ok(id) = cells.require(read_text) else {
            return problems.push(RowProblem::unreadable_record("(no id)"));
        };
        match read_record(CustomerId::new(&*id), cells) {
            Ok((record, problem)) => {
                records.push(record);
                problems.extend(problem);
            }
            Err(UnreadableValue) => problems.push(RowProblem::unreadable_record(&id)),
        }
    };
    match connection.session.each_row(query, take).await {
        Ok(()) => Ok((records, problems)),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => {
            connection.records.problem = Some(explain_problem(&connection.settings().table, error));
            Ok((Vec::new(), Vec::new()))
        }
        Err(trouble) => Err(trouble),
    }
}

/// Reads a record, and its problem if a time of it cannot be read.
fn read_record(id: CustomerId, mut cells: Cells) -> Result<(Record, Option<RowProblem>), UnreadableValue> {
    let mut problem = None;
    // A value that is not a time counts as none. The record still says whether the customer is parked.
    let mut time = |cell: Result<Option<NaiveDateTime>, UnreadableValue>| {
        cell.map(|time| time.map(|time| time.and_utc())).unwrap_or_else(|UnreadableValue| {
            problem = Some(RowProblem::record_without_time(id.as_str()));
            None
        })
    };
    let fingerprint = cells.next(read_text)?.and_then(|text| Fingerprint::from_text(&text));
    let consecutive = cells.next(read_number)?.unwrap_or(0);
    let kind = cells.next(read_text)?;
    let message = cells.next(read_text)?.unwrap_or_default();
    let permanent = cells.next(read_number)?.unwrap_or(0) != 0;
    let failed_at = time(cells.next(read_time));
    let next_attempt_at = time(cells.next(read_time));
    let last_success_at = time(cells.next(read_time));
    let renewals = u64::try_from(cells.next(read_number)?.unwrap_or(0)).unwrap_or(0);
    let updated_at = time(cells.next(read_time)).unwrap_or_default();
    let changes = Changes::from_text(&cells.next(read_text)?.unwrap_or_default());
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
    Ok((
        Record { id, failure: failure.map(Box::new), last_success_at, renewals, changes, updated_at },
        problem,
    ))
}

/// Drops records that a later record of the same customer replaces, and records with ids too long for a key. `read` never
/// returns such an id.
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
pub(super) async fn keep(connection: &mut Connection, batch: &[Record]) -> Result<(), Trouble> {
    if connection.records.problem.is_some() || batch.is_empty() {
        return Ok(());
    }
    match keep_once(connection, batch).await {
        // Another daemon has inserted one of them, so this one can be updated now.
        Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => keep_once(connection, batch).await,
        result => result,
    }
}

async fn keep_once(connection: &mut Connection, batch: &[Record]) -> Result<(), Trouble> {
    let source = connection.row_source;
    let mut query = connection.on_side_tables(&statements::record(source, batch.len()));
    source.bind(&mut query, batch.iter().map(make_cells));
    connection.session.execute(query).await
}

/// Returns a record as a row of a batch.
fn make_cells(record: &Record) -> Vec<Cell<'_>> {
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
        text(failure.map(|failure| shorten(&failure.message))),
        time(failure.map(|failure| failure.at)),
        time(failure.and_then(|failure| failure.next_attempt_at)),
    ]
}

/// Shortens a message to the length of its column.
fn shorten(message: &str) -> &str {
    let mut units = 0;
    let end = message.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > statements::LONGEST_MESSAGE
    });
    end.and_then(|(end, _)| message.get(..end)).unwrap_or(message)
}

#[cfg(test)]
mod tests;
