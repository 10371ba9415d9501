//! The table `tbtokend_account`: the ledger of password charges in SQL Server.

use std::vec::IntoIter;

use chrono::{DateTime, Utc};
use tiberius::{ColumnData, Query, Row};

use super::super::facts::NoLedger;
use super::super::{AccountRow, LedgerRead, LedgerWrite, LedgerWritten, Stamp, StoreError};
use super::connection::Connection;
use super::quoted::beside;
use super::row_source::Cell;
use super::session::unreadable_answer;
use super::statements::{self, ACCOUNT_COLUMNS, NO_TIME, WRITE_PARAMETERS};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{self, UnreadableValue};
use crate::model::{AccountKey, LoopState};

/// The result of reading the ledger.
pub(super) enum ReadOutcome {
    Ledger(LedgerRead),
    /// The database has no table for the ledger, and this login cannot create one; with the reason.
    NoTable(String),
}

/// Reads the accounts that have changed since `since`, or all of them. Creates the table and its stamp, if there are none.
///
/// A table that exists and cannot be used is an error, because it may hold charges.
pub(super) async fn read(
    connection: &mut Connection,
    table: &str,
    since: Option<Stamp>,
) -> Result<ReadOutcome, Trouble> {
    if connection.state.has_ledger {
        match read_since(connection, table, since).await {
            Err(Trouble::Server(ServerError { number: 208, .. })) => connection.state.has_ledger = false,
            read => return read.map(ReadOutcome::Ledger),
        }
    }
    if !is_there(connection, table).await? {
        match connection.create_tables(table).await {
            Err(Trouble::Server(ServerError { number: 262 | 2760, .. })) => {
                return Ok(ReadOutcome::NoTable(no_table(table)));
            }
            made => made?,
        }
        probe(connection, table).await?;
    }
    connection.state.has_ledger = true;
    read_since(connection, table, since).await.map(ReadOutcome::Ledger)
}

fn no_table(table: &str) -> String {
    format!("there is no table {}, and the login may not make it", beside(table, "tbtokend_account"))
}

/// Returns the reason why this login cannot use the database's ledger, if so. Creates nothing.
pub(super) async fn examine(connection: &mut Connection, table: &str) -> Result<Option<NoLedger>, Trouble> {
    let account = beside(table, "tbtokend_account");
    Ok(match is_there(connection, table).await {
        Ok(true) => None,
        Ok(false) => Some(NoLedger::Missing(no_table(table))),
        Err(Trouble::Server(error)) => match error.meaning() {
            Meaning::NoPermission => {
                Some(NoLedger::Unusable(format!("the login lacks permissions on {account}")))
            }
            Meaning::NoColumn => Some(NoLedger::Unusable(format!("the table {account} has other columns"))),
            _ => return Err(Trouble::Server(error)),
        },
        Err(trouble) => return Err(trouble),
    })
}

/// Whether the table exists. A table that cannot be used is an error.
async fn is_there(connection: &mut Connection, table: &str) -> Result<bool, Trouble> {
    match probe(connection, table).await {
        Err(Trouble::Server(ServerError { number: 208, .. })) => Ok(false),
        probed => probed.map(|()| true),
    }
}

async fn probe(connection: &mut Connection, table: &str) -> Result<(), Trouble> {
    connection.rows(Query::new(statements::probe_ledger(table))).await.map(|_| ())
}

/// Reads the stamp and then the accounts, so that no account is older than the stamp says.
///
/// An older state of the ledger gets a new id. Otherwise other daemons would not notice that it is older once this daemon has
/// written as often as the lost state was written.
async fn read_since(
    connection: &mut Connection,
    table: &str,
    since: Option<Stamp>,
) -> Result<LedgerRead, Trouble> {
    let mut found = read_stamp(connection, table).await?;
    if found.is_none_or(|found| since.is_some_and(|since| since.is_later_than(found))) {
        keep_stamp(connection, table, found).await?;
        found = read_stamp(connection, table).await?;
    }
    let stamp = found.ok_or_else(unreadable_answer)?;
    let known = since.filter(|since| since.goes_on_as(stamp));
    let accounts = match known {
        Some(since) if since == stamp => Vec::new(),
        known => read_accounts(connection, table, known.map_or(0, |since| since.number)).await?,
    };
    let is_whole = known.is_none();
    let loop_state = if is_whole { loop_state(connection, table).await? } else { None };
    Ok(LedgerRead { stamp, is_whole, accounts, loop_state, ..LedgerRead::default() })
}

async fn read_stamp(connection: &mut Connection, table: &str) -> Result<Option<Stamp>, Trouble> {
    let found = connection.rows(Query::new(statements::stamp(table))).await?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    let mut cells = row.into_iter();
    let id = cells.next().and_then(|id| types::text(id).ok()?).and_then(|id| id.parse().ok());
    let number = cells.next().and_then(|number| types::number(&number).ok()?);
    match (id, number) {
        (Some(id), Some(number)) => Ok(Some(Stamp { id, number })),
        _ => Err(unreadable()),
    }
}

async fn keep_stamp(connection: &mut Connection, table: &str, old: Option<Stamp>) -> Result<(), Trouble> {
    let id: i64 = rand::random();
    let mut query = Query::new(statements::keep_stamp(table));
    query.bind(id.to_string());
    query.bind(old.map(|old| old.id.to_string()).unwrap_or_default());
    match connection.rows(query).await {
        // Another daemon was quicker, and its stamp counts.
        Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => Ok(()),
        kept => kept.map(|_| ()),
    }
}

async fn loop_state(connection: &mut Connection, table: &str) -> Result<Option<LoopState>, Trouble> {
    let found = connection.rows(Query::new(statements::loop_state(table))).await?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    let text = row.into_iter().next().and_then(|text| types::text(text).ok()?);
    text.and_then(|text| LoopState::from_text(&text)).map(Some).ok_or_else(unreadable)
}

/// Stores the state of the loop, in a row that no account changes and that is never deleted.
pub(super) async fn keep_loop_state(
    connection: &mut Connection,
    table: &str,
    state: LoopState,
) -> Result<(), Trouble> {
    let mut query = Query::new(statements::keep_loop_state(table));
    query.bind(state.to_text());
    connection.rows(query).await.map(|_| ())
}

async fn read_accounts(
    connection: &mut Connection,
    table: &str,
    after: i64,
) -> Result<Vec<AccountRow>, Trouble> {
    let mut query = Query::new(statements::accounts(table));
    query.bind(after);
    let mut accounts = Vec::new();
    connection.each_row(query, |cells| accounts.push(account(cells))).await?;
    accounts
        .into_iter()
        .map(|account| account.and_then(|(_, account)| account.ok_or(UnreadableValue)))
        .collect::<Result<_, UnreadableValue>>()
        .map_err(|UnreadableValue| unreadable())
}

/// Reads an account with its key; `None` if there is only the key.
fn account(
    mut cells: IntoIter<ColumnData<'static>>,
) -> Result<(AccountKey, Option<AccountRow>), UnreadableValue> {
    let mut next = || cells.next().ok_or(UnreadableValue);
    let ColumnData::Binary(Some(key)) = next()? else { return Err(UnreadableValue) };
    let key = AccountKey::from_bytes(&key).ok_or(UnreadableValue)?;
    let Some(charges) = types::number(&next()?)? else { return Ok((key, None)) };
    let account = AccountRow {
        key,
        // Every count above the budget means the same.
        charges: u8::try_from(charges).unwrap_or(u8::MAX),
        in_flight: types::text(next()?)?,
        details: types::text(next()?)?.ok_or(UnreadableValue)?,
        seen_at: types::naive(&next()?)?.ok_or(UnreadableValue)?.and_utc(),
        version: types::number(&next()?)?.ok_or(UnreadableValue)?,
    };
    Ok((key, Some(account)))
}

/// The error for a row that cannot be read. The row must not be skipped, because its charges would be lost.
fn unreadable() -> Trouble {
    let why = "a row in tbtokend_account cannot be read".to_owned();
    Trouble::Table(Box::new(StoreError::Failed { place: "the ledger of passwords".to_owned(), why }))
}

/// Writes accounts in one transaction, if the ledger is the one of the stamp. `is_repeated` says that the same write was sent
/// before, with an unknown outcome.
pub(super) async fn write(
    connection: &mut Connection,
    table: &str,
    write: &LedgerWrite,
    is_repeated: bool,
) -> Result<LedgerWritten, Trouble> {
    let source = connection.state.row_source;
    let most = source.most_rows(&ACCOUNT_COLUMNS, WRITE_PARAMETERS);
    debug_assert!(write.accounts.len() <= most, "a write of at most {} accounts", LedgerWrite::MOST_ACCOUNTS);
    let (rows, forgets) = (write.accounts.len(), write.forget.is_some());
    let mut query = Query::new(statements::write_accounts(table, source, rows, forgets));
    query.bind(write.stamp.id.to_string());
    query.bind(write.stamp.number);
    let before = |time: Option<DateTime<Utc>>| time.map_or(NO_TIME, |time| time.naive_utc());
    query.bind(before(write.forget.map(|forget| forget.uncharged_before)));
    query.bind(before(write.forget.map(|forget| forget.charged_before)));
    query.bind(i32::from(is_repeated));
    if !write.accounts.is_empty() {
        source.bind(&mut query, write.accounts.iter().map(cells));
    }
    match connection.rows(query).await {
        Ok(rows) => written(rows),
        // The table was dropped.
        Err(Trouble::Server(error)) if error.meaning() == Meaning::NoTable => Ok(LedgerWritten::Replaced),
        Err(trouble) => Err(trouble),
    }
}

/// Returns an account as a row of a batch.
fn cells(account: &AccountRow) -> Vec<Cell<'_>> {
    let key: String = account.key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        Cell::Text(key.into()),
        Cell::Number(account.charges.into()),
        Cell::Text(account.in_flight.as_deref().unwrap_or_default().into()),
        Cell::Text(account.details.as_str().into()),
        Cell::Time(account.seen_at.naive_utc()),
        Cell::Number(account.version),
    ]
}

/// Reads the number of the write, and the accounts in conflict.
fn written(rows: Vec<Row>) -> Result<LedgerWritten, Trouble> {
    let mut rows = rows.into_iter();
    let Some(number) = rows.next() else { return Ok(LedgerWritten::Replaced) };
    let number = number.into_iter().next().and_then(|number| types::number(&number).ok()?);
    let number = number.ok_or_else(unreadable_answer)?;
    let conflicts = rows.map(|row| account(row.into_iter())).collect::<Result<_, UnreadableValue>>();
    Ok(LedgerWritten::Written { number, conflicts: conflicts.map_err(|UnreadableValue| unreadable())? })
}
