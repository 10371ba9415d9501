//! The table `tbtokend_account`: the ledger of password charges in SQL Server.

use chrono::{DateTime, Utc};
use tiberius::Row;

use super::super::facts::NoLedger;
use super::super::{AccountRow, LedgerRead, LedgerWrite, LedgerWritten, Stamp, StoreError};
use super::connection::Connection;
use super::quoted::beside;
use super::record_storage::create_tables;
use super::row_source::Cell;
use super::statements::{self, NO_TIME};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{Cells, UnreadableValue, read_bytes, read_number, read_text, read_time};
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
pub(super) async fn read(connection: &mut Connection, since: Option<Stamp>) -> Result<ReadOutcome, Trouble> {
    if connection.has_ledger {
        match read_since(connection, since).await {
            Err(Trouble::Server(ServerError { number: 208, .. })) => connection.has_ledger = false,
            read => return read.map(ReadOutcome::Ledger),
        }
    }
    if !is_there(connection).await? {
        match create_tables(&mut connection.session, &connection.site.settings.table).await {
            Err(Trouble::Server(ServerError { number: 262 | 2760, .. })) => {
                return Ok(ReadOutcome::NoTable(no_table(connection)));
            }
            made => made?,
        }
        probe(connection).await?;
    }
    connection.has_ledger = true;
    read_since(connection, since).await.map(ReadOutcome::Ledger)
}

/// Returns the quoted name of the table.
fn table_name(connection: &Connection) -> String {
    beside(&connection.settings().table, "tbtokend_account")
}

fn no_table(connection: &Connection) -> String {
    format!("there is no table {}, and the login may not make it", table_name(connection))
}

/// Returns the reason why this login cannot use the database's ledger, if so. Creates nothing.
pub(super) async fn examine(connection: &mut Connection) -> Result<Option<NoLedger>, Trouble> {
    let unusable = match is_there(connection).await {
        Ok(true) => return Ok(None),
        Ok(false) => return Ok(Some(NoLedger::Missing(no_table(connection)))),
        Err(Trouble::Server(error)) if error.meaning() == Meaning::NoPermission => {
            format!("the login lacks permissions on {}", table_name(connection))
        }
        Err(Trouble::Server(error)) if error.meaning() == Meaning::NoColumn => {
            format!("the table {} has other columns", table_name(connection))
        }
        Err(trouble) => return Err(trouble),
    };
    Ok(Some(NoLedger::Unusable(unusable)))
}

/// Whether the table exists. A table that cannot be used is an error.
async fn is_there(connection: &mut Connection) -> Result<bool, Trouble> {
    match probe(connection).await {
        Err(Trouble::Server(ServerError { number: 208, .. })) => Ok(false),
        probed => probed.map(|()| true),
    }
}

async fn probe(connection: &mut Connection) -> Result<(), Trouble> {
    let query = connection.on_side_tables(statements::PROBE_LEDGER);
    connection.session.execute(query).await
}

/// Reads the stamp and then the accounts, so that no account is older than the stamp says.
///
/// An older state of the ledger gets a new id. Otherwise other daemons would not notice that it is older once this daemon has
/// written as often as the lost state was written.
async fn read_since(connection: &mut Connection, since: Option<Stamp>) -> Result<LedgerRead, Trouble> {
    let mut found = read_stamp(connection).await?;
    if found.is_none_or(|found| since.is_some_and(|since| since.is_later_than(found))) {
        keep_stamp(connection, found).await?;
        found = read_stamp(connection).await?;
    }
    let stamp = found.ok_or(UnreadableValue)?;
    let known = since.filter(|since| since.goes_on_as(stamp));
    let accounts = match known {
        Some(since) if since == stamp => Vec::new(),
        known => read_accounts(connection, known.map_or(0, |since| since.number)).await?,
    };
    let is_whole = known.is_none();
    let loop_state = if is_whole { read_loop_state(connection).await? } else { None };
    Ok(LedgerRead { stamp, is_whole, accounts, loop_state, ..LedgerRead::default() })
}

async fn read_stamp(connection: &mut Connection) -> Result<Option<Stamp>, Trouble> {
    let query = connection.on_side_tables(statements::STAMP);
    let Some(mut cells) = connection.session.first_row(query).await? else { return Ok(None) };
    let id = cells.require(read_text).ok().and_then(|id| id.parse().ok());
    let stamp = id.zip(cells.require(read_number).ok()).map(|(id, number)| Stamp { id, number });
    stamp.map(Some).ok_or_else(unreadable)
}

async fn keep_stamp(connection: &mut Connection, old: Option<Stamp>) -> Result<(), Trouble> {
    let id: i64 = rand::random();
    let mut query = connection.on_side_tables(statements::KEEP_STAMP);
    query.bind(id.to_string());
    query.bind(old.map(|old| old.id.to_string()).unwrap_or_default());
    match connection.session.execute(query).await {
        // Another daemon was quicker, and its stamp counts.
        Err(Trouble::Server(ServerError { number: 2601 | 2627, .. })) => Ok(()),
        kept => kept,
    }
}

async fn read_loop_state(connection: &mut Connection) -> Result<Option<LoopState>, Trouble> {
    let query = connection.on_side_tables(statements::LOOP_STATE);
    let Some(mut cells) = connection.session.first_row(query).await? else { return Ok(None) };
    let state = cells.require(read_text).ok().and_then(|text| LoopState::from_text(&text));
    state.map(Some).ok_or_else(unreadable)
}

/// Stores the state of the loop, in a row that no account changes and that is never deleted.
pub(super) async fn keep_loop_state(connection: &mut Connection, state: LoopState) -> Result<(), Trouble> {
    let mut query = connection.on_side_tables(statements::KEEP_LOOP_STATE);
    query.bind(state.to_text());
    connection.session.execute(query).await
}

async fn read_accounts(connection: &mut Connection, after: i64) -> Result<Vec<AccountRow>, Trouble> {
    let mut query = connection.on_side_tables(statements::ACCOUNTS);
    query.bind(after);
    let mut accounts = Vec::new();
    connection.session.each_row(query, |cells| accounts.push(read_account(cells))).await?;
    let accounts = accounts.into_iter().map(|account| account?.1.ok_or(UnreadableValue));
    accounts.collect::<Result<_, UnreadableValue>>().map_err(|UnreadableValue| unreadable())
}

/// Reads an account with its key; `None` if there is only the key.
fn read_account(mut cells: Cells) -> Result<(AccountKey, Option<AccountRow>), UnreadableValue> {
    let key = AccountKey::from_bytes(&cells.require(read_bytes)?).ok_or(UnreadableValue)?;
    let Some(charges) = cells.next(read_number)? else { return Ok((key, None)) };
    let account = AccountRow {
        key,
        // Every count above the budget means the same.
        charges: u8::try_from(charges).unwrap_or(u8::MAX),
        in_flight: cells.next(read_text)?,
        details: cells.require(read_text)?,
        seen_at: cells.require(read_time)?.and_utc(),
        version: cells.require(read_number)?,
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
    write: &LedgerWrite,
    is_repeated: bool,
) -> Result<LedgerWritten, Trouble> {
    let source = connection.row_source;
    let (rows, forgets) = (write.accounts.len(), write.forget.is_some());
    let mut query = connection.on_side_tables(&statements::write_accounts(source, rows, forgets));
    query.bind(write.stamp.id.to_string());
    query.bind(write.stamp.number);
    let before = |time: Option<DateTime<Utc>>| time.map_or(NO_TIME, |time| time.naive_utc());
    query.bind(before(write.forget.map(|forget| forget.uncharged_before)));
    query.bind(before(write.forget.map(|forget| forget.charged_before)));
    query.bind(i32::from(is_repeated));
    if !write.accounts.is_empty() {
        source.bind(&mut query, write.accounts.iter().map(make_cells));
    }
    match connection.session.rows(query).await {
        Ok(rows) => read_outcome(rows),
        // The table was dropped.
        Err(Trouble::Server(error)) if error.meaning() == Meaning::NoTable => Ok(LedgerWritten::Replaced),
        Err(trouble) => Err(trouble),
    }
}

/// Returns an account as a row of a batch.
fn make_cells(account: &AccountRow) -> Vec<Cell<'_>> {
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
fn read_outcome(rows: Vec<Row>) -> Result<LedgerWritten, Trouble> {
    let mut rows = rows.into_iter().map(Cells::from);
    let Some(mut number) = rows.next() else { return Ok(LedgerWritten::Replaced) };
    let number = number.require(read_number)?;
    let conflicts = rows.map(read_account).collect::<Result<_, UnreadableValue>>();
    Ok(LedgerWritten::Written { number, conflicts: conflicts.map_err(|UnreadableValue| unreadable())? })
}
