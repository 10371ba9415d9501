//! The tables in the file: making them in an empty one, checking them in any other.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::super::StoreError;
use super::BUSY_TIMEOUT;

/// The columns that the table must have.
const REQUIRED: [&str; 6] =
    ["customer_id", "tb_username", "tb_password", "tb_url", "tbtoken", "tbtokenexpiry"];

/// What is known of the customers' table.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Its name as a quoted identifier.
    pub(super) table: String,
    /// Whether it has `updatedttm`, which is set with every token.
    pub(super) has_updatedttm: bool,
}

/// The version of the schema: another number after each change of a table.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0))
}

/// All tables, for whoever wants to make them by hand.
pub(in crate::store) fn statements(table: &str) -> String {
    format!(
        "-- The tables of tbtokend {} in SQLite. tbtokend makes them itself in a file that it creates.\n{};\n{}{}\n",
        env!("CARGO_PKG_VERSION"),
        create_customers(table).replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1),
        super::records::CREATE.trim_start(),
        super::ledger::CREATE,
    )
}

/// The statement that makes the customers' table.
fn create_customers(table: &str) -> String {
    format!(
        "CREATE TABLE {} (
             customer_id   TEXT PRIMARY KEY NOT NULL,
             tb_username   TEXT,
             tb_password   TEXT,
             tb_url        TEXT,
             tbtoken       TEXT,
             tbtokenexpiry TEXT,
             updatedttm    TEXT
         )",
        quote(table)
    )
}

/// The name as an identifier, whatever is in it.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Sets what holds for the connection.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Readers do not wait for us, nor we for them. A file that cannot be switched now works as it is.
    match connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
        Err(error) if !is_busy_or_read_only(&error) => return Err(error),
        _ => {}
    }
    // A token that was reported as saved survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")
}

fn is_busy_or_read_only(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, ReadOnly};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | ReadOnly))
}

/// Makes the customers' table in a file without any table.
pub(super) fn create_if_empty(connection: &mut Connection, table: &str) -> rusqlite::Result<()> {
    let is_empty = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
    };
    if is_empty(connection)? > 0 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Somebody else may have been quicker.
    if is_empty(&transaction)? == 0 {
        transaction.execute_batch(&create_customers(table))?;
    }
    transaction.commit()
}

/// Looks at the table as it is.
pub(super) fn inspect(
    connection: &Connection,
    place: &str,
    table: &str,
) -> rusqlite::Result<Result<Layout, StoreError>> {
    let name: Option<String> = connection
        .query_row(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE",
            [table],
            |row| row.get(0),
        )
        .optional()?;
    let Some(name) = name else {
        let (place, table) = (place.to_owned(), table.to_owned());
        return Ok(Err(StoreError::MissingTable { place, table }));
    };
    let mut statement = connection.prepare("SELECT lower(name) FROM pragma_table_info(?1)")?;
    let columns =
        statement.query_map([&name], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let has = |column: &str| columns.iter().any(|name| name == column);
    if let Some(column) = REQUIRED.into_iter().find(|column| !has(column)) {
        return Ok(Err(StoreError::MissingColumn { table: name, column: column.to_owned() }));
    }
    Ok(Ok(Layout { table: quote(&name), has_updatedttm: has("updatedttm") }))
}
