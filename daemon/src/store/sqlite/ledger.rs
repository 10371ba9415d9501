//! The table `tbtokend_account`: the ledger of password charges in a SQLite file.

use chrono::{DateTime, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::super::{AccountRow, Forget, LedgerRead, LedgerWrite, LedgerWritten, Stamp, timestamp};
use crate::model::{AccountKey, LoopState};

pub(super) const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS tbtokend_account (
        account_key BLOB PRIMARY KEY NOT NULL,
        charges     INTEGER NOT NULL,
        in_flight   TEXT,
        details     TEXT NOT NULL,
        seen_at     TEXT NOT NULL,
        version     INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// The columns, in the order of [`account`] and of the statements that write.
const COLUMNS: &str = "account_key, charges, in_flight, details, seen_at, version";

/// Returns the statement that adds an account. SQLite refuses to compile it if `account_key` is not a key, because then every
/// charge would be one more row.
fn insert() -> String {
    format!(
        "INSERT INTO tbtokend_account ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (account_key) DO NOTHING"
    )
}

/// Makes the table, if there is none.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(CREATE)
}

/// Compiles the statements of the ledger, to learn whether the table can be used. Nothing is written.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare(&insert())?;
    read_accounts(connection, 0).map(|_| ())
}

/// Reads the accounts that have changed since `since`, or all of them. Makes the table and its stamp, if there are none.
///
/// An older state of the ledger gets a new id. Otherwise other daemons would not notice that it is older once this daemon
/// has written as often as the lost state was written.
pub(super) fn read(connection: &mut Connection, since: Option<Stamp>) -> rusqlite::Result<LedgerRead> {
    // A ledger that cannot be written must not be used. The immediate transaction and the compiled statement check that.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make(&transaction)?;
    transaction.prepare_cached(&insert())?;
    let found = read_stamp(&transaction)?;
    let stamp = match (found, since) {
        (None, _) => set_stamp(&transaction, 0)?,
        (Some(found), Some(since)) if since.is_later_than(found) => set_stamp(&transaction, found.number)?,
        (Some(found), _) => found,
    };
    let known = since.filter(|since| since.goes_on_as(stamp));
    let accounts = match known {
        Some(since) if since == stamp => Vec::new(),
        known => read_accounts(&transaction, known.map_or(0, |since| since.number))?,
    };
    let is_whole = known.is_none();
    let loop_state = if is_whole { loop_state(&transaction)? } else { None };
    transaction.commit()?;
    Ok(LedgerRead { stamp, is_whole, accounts, loop_state, ..LedgerRead::default() })
}

/// Writes accounts in one transaction, if the ledger is the one of the stamp.
pub(super) fn write(connection: &mut Connection, write: &LedgerWrite) -> rusqlite::Result<LedgerWritten> {
    // Immediate, so that no other daemon writes between reading the stamp and setting it.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make(&transaction)?;
    let found = read_stamp(&transaction)?.filter(|found| write.stamp.goes_on_as(*found));
    let Some(found) = found else { return Ok(LedgerWritten::Replaced) };
    let number = found.number + 1;
    let mut conflicts = Vec::new();
    for account in &write.accounts {
        if !write_account(&transaction, account, number)? {
            conflicts.push((account.key, read_account(&transaction, account.key)?));
        }
    }
    if let Some(forget) = write.forget {
        delete_unseen_accounts(&transaction, forget)?;
    }
    let sql = "UPDATE tbtokend_account SET version = ?2 WHERE account_key = ?1";
    transaction.prepare_cached(sql)?.execute(params![AccountKey::STAMP.as_bytes(), number])?;
    transaction.commit()?;
    Ok(LedgerWritten::Written { number, conflicts })
}

fn loop_state(connection: &Connection) -> rusqlite::Result<Option<LoopState>> {
    let sql = "SELECT details FROM tbtokend_account WHERE account_key = ?1";
    let found = connection.query_row(sql, [AccountKey::LOOP.as_bytes()], |row| {
        row.get_ref(0)?.as_str().ok().and_then(LoopState::from_text).ok_or_else(unreadable)
    });
    found.optional()
}

/// Stores the state of the loop, in a row that no account changes and that is never deleted.
pub(super) fn keep_loop_state(connection: &Connection, state: LoopState) -> rusqlite::Result<()> {
    make(connection)?;
    let sql = format!(
        "INSERT INTO tbtokend_account ({COLUMNS}) VALUES (?1, 0, NULL, ?2, '9999-12-31T00:00:00Z', 0)
         ON CONFLICT (account_key) DO UPDATE SET details = excluded.details"
    );
    connection.execute(&sql, params![AccountKey::LOOP.as_bytes(), state.to_text()])?;
    Ok(())
}

/// Deletes rows. Says whether there are other accounts.
pub(super) fn forget(connection: &mut Connection, keys: &[AccountKey]) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for key in keys {
        transaction
            .prepare_cached("DELETE FROM tbtokend_account WHERE account_key = ?1")?
            .execute([key.as_bytes()])?;
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM tbtokend_account WHERE account_key NOT IN (?1, ?2))";
    let special = params![AccountKey::STAMP.as_bytes(), AccountKey::LOOP.as_bytes()];
    let has_more = transaction.query_row(sql, special, |row| row.get(0))?;
    transaction.commit()?;
    Ok(has_more)
}

fn read_stamp(connection: &Connection) -> rusqlite::Result<Option<Stamp>> {
    let sql = "SELECT details, version FROM tbtokend_account WHERE account_key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let stamp = |row: &Row<'_>| {
        let id = row.get_ref(0)?.as_str().ok().and_then(|id| id.parse().ok());
        Ok(Stamp { id: id.ok_or_else(unreadable)?, number: row.get(1)? })
    };
    statement.query_row([AccountKey::STAMP.as_bytes()], stamp).optional()
}

/// Gives the ledger a new id, which makes it another ledger for all daemons.
fn set_stamp(transaction: &Transaction<'_>, number: i64) -> rusqlite::Result<Stamp> {
    let stamp = Stamp { id: rand::random(), number };
    let sql = format!(
        "INSERT INTO tbtokend_account ({COLUMNS}) VALUES (?1, 0, NULL, ?2, '1970-01-01T00:00:00Z', ?3)
         ON CONFLICT (account_key) DO UPDATE SET details = excluded.details"
    );
    transaction.execute(&sql, params![AccountKey::STAMP.as_bytes(), stamp.id.to_string(), stamp.number])?;
    Ok(stamp)
}

fn read_accounts(connection: &Connection, after: i64) -> rusqlite::Result<Vec<AccountRow>> {
    let sql = format!("SELECT {COLUMNS} FROM tbtokend_account WHERE version > ?2 AND account_key <> ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![AccountKey::STAMP.as_bytes(), after], account)?.collect()
}

fn read_account(connection: &Connection, key: AccountKey) -> rusqlite::Result<Option<AccountRow>> {
    let sql = format!("SELECT {COLUMNS} FROM tbtokend_account WHERE account_key = ?1");
    connection.prepare_cached(&sql)?.query_row([key.as_bytes()], account).optional()
}

fn account(row: &Row<'_>) -> rusqlite::Result<AccountRow> {
    let key = row.get_ref(0)?.as_blob().ok().and_then(AccountKey::from_bytes);
    let seen_at = row.get_ref(4)?.as_str().ok().and_then(timestamp::parse);
    Ok(AccountRow {
        key: key.ok_or_else(unreadable)?,
        // Every count above the budget means the same.
        charges: u8::try_from(row.get::<_, i64>(1)?).unwrap_or(u8::MAX),
        in_flight: row.get(2)?,
        details: row.get(3)?,
        seen_at: seen_at.ok_or_else(unreadable)?,
        version: row.get(5)?,
    })
}

/// The error for a row that cannot be read. The row must not be skipped, because its charges would be lost.
fn unreadable() -> Error {
    Error::FromSqlConversionFailure(0, Type::Blob, "a row in tbtokend_account cannot be read".into())
}

/// Writes one account over the version that it names. Returns false if the table has another version.
fn write_account(transaction: &Transaction<'_>, account: &AccountRow, number: i64) -> rusqlite::Result<bool> {
    let update =
        "UPDATE tbtokend_account SET charges = ?2, in_flight = ?3, details = ?4, seen_at = ?5, version = ?6
         WHERE account_key = ?1 AND version = ?7";
    let AccountRow { key, charges, in_flight, details, seen_at, version } = account;
    let (key, seen_at) = (key.as_bytes(), timestamp::format(*seen_at));
    let changed = match version {
        0 => transaction
            .prepare_cached(&insert())?
            .execute(params![key, charges, in_flight, details, seen_at, number])?,
        version => transaction
            .prepare_cached(update)?
            .execute(params![key, charges, in_flight, details, seen_at, number, version])?,
    };
    Ok(changed == 1)
}

/// Deletes the accounts that were not seen for long. Times are compared as texts, because the daemon writes all of them in
/// one form.
fn delete_unseen_accounts(transaction: &Transaction<'_>, forget: Forget) -> rusqlite::Result<()> {
    let sql = "DELETE FROM tbtokend_account
         WHERE account_key <> ?1 AND (charges = 0 AND seen_at < ?2 OR charges <> 0 AND seen_at < ?3)";
    let time = |time: DateTime<Utc>| timestamp::format(time);
    let [uncharged, charged] = [forget.uncharged_before, forget.charged_before].map(time);
    transaction.prepare_cached(sql)?.execute(params![AccountKey::STAMP.as_bytes(), uncharged, charged])?;
    Ok(())
}
