//! The customers' rows: reading them without their tokens, writing tokens under guard.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::super::{Records, RowProblem, Saved, Table, timestamp};
use super::schema::Layout;
use super::{Context, Open, records};
use crate::model::{Customer, CustomerId, Renewal, Row, Secret};

/// The ids that are not stored as text, as they are stored, so that a row is found through its index.
pub(super) type Ids = HashMap<CustomerId, Value>;

/// Reads all rows and the records. That the file can be written is checked as well: a token that could not be saved
/// should not be asked for.
pub(super) fn read(open: &mut Open, context: &Context<'_>, which: Records) -> rusqlite::Result<Table> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (customers, mut problems, ids) = customers(&transaction, &open.layout, context.fallback_url)?;
    let (records, unreadable) = records::read(&transaction, &mut open.records_lost, which)?;
    problems.extend(unreadable);
    transaction.commit()?;
    open.ids = ids;
    let records_lost = open.records_lost.clone();
    Ok(Table { customers, problems, records, key: context.key.clone(), records_lost })
}

/// The eligible rows, what is wrong with single ones, and the ids that are not stored as text.
pub(super) fn customers(
    connection: &Connection,
    layout: &Layout,
    fallback_url: Option<&str>,
) -> rusqlite::Result<(Vec<Customer>, Vec<RowProblem>, Ids)> {
    let mut reader = Reader { fallback_url, ids: Ids::new(), seen: HashSet::new(), problems: Vec::new() };
    let mut customers = Vec::new();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT customer_id, tb_url, tb_username, tb_password,
                tbtoken IS NOT NULL AND tbtoken <> '', tbtokenexpiry
         FROM {}",
        layout.table
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        customers.extend(reader.customer(row)?);
    }
    Ok((customers, reader.problems, reader.ids))
}

/// Turns rows into customers, and collects what is wrong with single ones.
struct Reader<'a> {
    fallback_url: Option<&'a str>,
    ids: Ids,
    seen: HashSet<CustomerId>,
    problems: Vec<RowProblem>,
}

impl Reader<'_> {
    fn customer(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Customer>> {
        let stored_id = row.get_ref(0)?;
        let Some(id) = text(stored_id).ok().flatten().filter(|id| !id.is_empty()) else {
            self.problem(
                "(no id)",
                "customer_id is NULL, empty, too long or not text; the row is left alone",
            );
            return Ok(None);
        };
        let id = CustomerId::new(id);
        if !self.seen.insert(id.clone()) {
            self.problem(id.as_str(), "customer_id occurs more than once; only the first row is used");
            return Ok(None);
        }
        if !matches!(stored_id, ValueRef::Text(_)) {
            self.ids.insert(id.clone(), row.get(0)?);
        }
        let (Ok(url), Ok(username), Ok(password)) =
            (text(row.get_ref(1)?), text(row.get_ref(2)?), text(row.get_ref(3)?))
        else {
            self.problem(
                id.as_str(),
                "tb_url, tb_username or tb_password is too long or not text in UTF-8; the row is left alone",
            );
            return Ok(None);
        };
        let password = password.map(Secret::new);
        let expiry = self.expiry(&id, row.get_ref(5)?);
        let row = Row { id, url, username, password, has_token: row.get(4)?, expiry };
        Ok(Customer::from_row(row, self.fallback_url))
    }

    fn expiry(&mut self, id: &CustomerId, value: ValueRef<'_>) -> Option<DateTime<Utc>> {
        let expiry = expiry_of(value);
        if expiry.is_none() && !matches!(value, ValueRef::Null | ValueRef::Text(b"")) {
            self.problem(
                id.as_str(),
                "tbtokenexpiry is no date (RFC 3339 or YYYY-MM-DD HH:MM:SS); it counts as no expiry",
            );
        }
        expiry
    }

    fn problem(&mut self, row: &str, what: &str) {
        self.problems.push(RowProblem { row: row.to_owned(), what: what.to_owned() });
    }
}

/// The expiry in that column, if it is a date.
fn expiry_of(value: ValueRef<'_>) -> Option<DateTime<Utc>> {
    match value {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(timestamp::parse),
        _ => None,
    }
}

/// The longest text that is read, in bytes. SQL Server's store reads 4,000 characters; nothing that a login needs is longer,
/// and a column here may hold a gigabyte.
const LONGEST_TEXT: usize = 16_000;

/// A column as text, whatever SQLite made of it. An error for what is not text, or longer than any.
pub(super) fn text(value: ValueRef<'_>) -> Result<Option<String>, NotText> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number.to_string())),
        ValueRef::Real(number) => Ok(Some(number.to_string())),
        ValueRef::Text(bytes) if bytes.len() > LONGEST_TEXT => Err(NotText),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(NotText),
        },
        ValueRef::Blob(_) => Err(NotText),
    }
}

/// Nothing that can be taken for a text.
pub(super) struct NotText;

/// Writes a batch in one transaction. Where one row ends the transaction of all, as a trigger with `RAISE(ROLLBACK)` does,
/// it is found by halves, so that nobody else pays for it.
pub(super) fn save(open: &mut Open, batch: &[Renewal]) -> rusqlite::Result<Vec<Saved>> {
    match (write_together(open, batch)?, batch) {
        (Together::Done(saved), _) => Ok(saved),
        (Together::Undone { number }, [_]) => Ok(vec![Saved::Refused { number }]),
        (Together::Undone { .. }, _) => {
            let (left, right) = batch.split_at(batch.len() / 2);
            let mut saved = save(open, left)?;
            saved.extend(save(open, right)?);
            Ok(saved)
        }
    }
}

/// What became of a transaction.
enum Together {
    /// It was committed.
    Done(Vec<Saved>),
    /// A row was refused in a way that ended it, and nothing of it is left.
    Undone { number: i64 },
}

fn write_together(open: &mut Open, batch: &[Renewal]) -> rusqlite::Result<Together> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut saved = Vec::with_capacity(batch.len());
    for renewal in batch {
        let one = match write(&transaction, &open.layout, &open.ids, renewal) {
            Ok(written) => written,
            Err(error) => {
                let number = refused(&error).ok_or(error)?;
                if transaction.is_autocommit() {
                    return Ok(Together::Undone { number });
                }
                Saved::Refused { number }
            }
        };
        saved.push(one);
    }
    match transaction.commit() {
        Ok(()) => Ok(Together::Done(saved)),
        // A constraint that is looked at only now.
        Err(error) => Ok(Together::Undone { number: refused(&error).ok_or(error)? }),
    }
}

/// The number of the error, if it is a constraint or a trigger of theirs: this row's problem alone.
fn refused(error: &rusqlite::Error) -> Option<i64> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) if error.code == ErrorCode::ConstraintViolation => {
            Some(i64::from(error.extended_code))
        }
        _ => None,
    }
}

/// Writes one token under guard.
fn write(connection: &Connection, layout: &Layout, ids: &Ids, renewal: &Renewal) -> rusqlite::Result<Saved> {
    let Layout { table, has_updatedttm } = layout;
    let id = match ids.get(&renewal.id) {
        Some(id) => id.clone(),
        None => Value::Text(renewal.id.as_str().to_owned()),
    };
    if !may_write(connection, table, &id, renewal)? {
        return Ok(Saved::Superseded);
    }
    let updatedttm = if *has_updatedttm { ", updatedttm = ?4" } else { "" };
    let mut statement = connection.prepare_cached(&format!(
        "UPDATE {table} SET tbtoken = ?2, tbtokenexpiry = ?3{updatedttm} WHERE customer_id = ?1"
    ))?;
    let (token, expiry) = (renewal.token.jwt().expose(), timestamp::format(renewal.expiry));
    if *has_updatedttm {
        let now = timestamp::format(renewal.expiry - renewal.life);
        statement.execute(params![id, token, expiry, now])?;
    } else {
        statement.execute(params![id, token, expiry])?;
    }
    Ok(Saved::Written)
}

/// Whether the row is still the one that the token was obtained for, and its token does not end later. The comparison is
/// made here and not in SQL, because SQLite cannot compare two ways of writing a time.
fn may_write(connection: &Connection, table: &str, id: &Value, renewal: &Renewal) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT tb_url, tb_username, tbtoken IS NOT NULL AND tbtoken <> '', tbtokenexpiry
         FROM {table} WHERE customer_id = ?1"
    ))?;
    let found = statement
        .query_row([id], |row| {
            let url = text(row.get_ref(0)?).ok().flatten().unwrap_or_default();
            let username = text(row.get_ref(1)?).ok().flatten().unwrap_or_default();
            let has_token: bool = row.get(2)?;
            let expiry = expiry_of(row.get_ref(3)?).filter(|_| has_token);
            Ok(url == renewal.row_url
                && username == renewal.username
                && expiry.is_none_or(|expiry| renewal.may_replace(expiry)))
        })
        .optional()?;
    Ok(found.unwrap_or(false))
}
