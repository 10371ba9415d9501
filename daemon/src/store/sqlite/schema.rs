//! The tables in the file: makes them in an empty file, and checks them in any other.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

use super::super::StoreError;
use super::{BUSY_TIMEOUT, rows};

/// The columns that the table must have.
const REQUIRED: [&str; 6] =
    ["customer_id", "tb_username", "tb_password", "tb_url", "tbtoken", "tbtokenexpiry"];

/// The layout of the customers' table.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The name as a quoted identifier.
    pub(super) table: String,
    /// The columns that identify a row, quoted: the rowid, or the primary key of a table without rowid.
    pub(super) key: Vec<String>,
    /// Whether the columns in `key` identify a row. A view has only the id, which need not be unique.
    pub(super) is_keyed: bool,
    /// Whether the table has a column `updatedttm` for texts, which is set with every token.
    pub(super) has_updatedttm: bool,
}

/// A column as SQLite describes it.
struct Column {
    name: String,
    /// The declared type; empty if there is none.
    declared: String,
    is_generated: bool,
    /// The position in the primary key, from 1 on; 0 if the column is not part of it.
    in_key: i64,
}

impl Column {
    /// Whether the declared type turns stored values into numbers, so that programs compare them with numbers. `DATETIME` and
    /// similar types hold texts as well.
    fn is_number(&self) -> bool {
        let declared = self.declared.to_uppercase();
        let is_text = ["CHAR", "CLOB", "TEXT"].iter().any(|kind| declared.contains(kind));
        let numbers = ["INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL"];
        !is_text && numbers.iter().any(|kind| declared.contains(kind))
    }
}

/// Reads the version of the schema, which changes with each change of a table.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0))
}

/// Returns the statements that make all tables, for an operator to run by hand.
pub(in crate::store) fn statements(table: &str) -> String {
    format!(
        "-- The tables of tbtokend {} in SQLite. tbtokend makes them itself in a file that it creates.\n{};\n{}{}{}{}\n",
        env!("CARGO_PKG_VERSION"),
        create_customers(table).replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1),
        super::records::CREATE.trim_start(),
        super::records::CREATE_KEY,
        super::ledger::CREATE,
        super::notices::CREATE,
    )
}

/// Returns the statement that makes the customers' table.
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

/// Quotes a name as an identifier.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Configures a connection.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // With WAL, readers and the daemon do not wait for each other. A file that cannot be switched now still works.
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

/// Makes the customers' table, if the file has no table at all.
pub(super) fn create_if_empty(connection: &mut Connection, table: &str) -> rusqlite::Result<()> {
    let is_empty = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
    };
    if is_empty(connection)? > 0 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another program may have made it in the meantime.
    if is_empty(&transaction)? == 0 {
        transaction.execute_batch(&create_customers(table))?;
    }
    transaction.commit()
}

/// Reads the layout of the table, and checks that the daemon can use it.
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
    let columns = columns(connection, &name)?;
    let find = |wanted: &str| columns.iter().find(|column| column.name.eq_ignore_ascii_case(wanted));
    if let Some(column) = REQUIRED.into_iter().find(|column| find(column).is_none()) {
        return Ok(Err(StoreError::MissingColumn { table: name, column: column.to_owned() }));
    }
    for column in ["tbtoken", "tbtokenexpiry"] {
        if let Some((found, wanted)) = find(column).and_then(|found| not_writable(column, found)) {
            return Ok(Err(StoreError::WrongType { table: name, column, found, wanted }));
        }
    }
    let has_updatedttm = find("updatedttm").is_some_and(|found| !found.is_generated && !found.is_number());
    let key = key(connection, &name, &columns)?;
    let (key, is_keyed) = if key.is_empty() { (vec![quote("customer_id")], false) } else { (key, true) };
    let layout = Layout { table: quote(&name), key, is_keyed, has_updatedttm };
    // Compiled here, so that a view that cannot be written is reported before the first login.
    connection.prepare(&rows::update(&layout))?;
    Ok(Ok(layout))
}

/// Reads the columns, generated ones included.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut statement = connection.prepare("SELECT name, type, hidden, pk FROM pragma_table_xinfo(?1)")?;
    let column = |row: &Row<'_>| {
        let is_generated = matches!(row.get(2)?, 2_i64 | 3);
        Ok(Column { name: row.get(0)?, declared: row.get(1)?, is_generated, in_key: row.get(3)? })
    };
    statement.query_map([table], column)?.collect()
}

/// Says why a column cannot be written: its type, and the type that it must have.
fn not_writable(name: &str, column: &Column) -> Option<(String, &'static str)> {
    if column.is_generated {
        let found = format!("{} GENERATED", column.declared);
        return Some((found.trim_start().to_owned(), "a column that can be written, of the type TEXT"));
    }
    let is_wrong = name == "tbtokenexpiry" && column.is_number();
    is_wrong.then(|| (column.declared.clone(), "TEXT, for dates such as 2026-11-23T14:03:00Z"))
}

/// Returns the columns that identify a row; none if the table has no such columns.
fn key(connection: &Connection, table: &str, columns: &[Column]) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT type, wr FROM pragma_table_list(?1) WHERE schema = 'main'";
    let (kind, without_rowid): (String, bool) =
        connection.query_row(sql, [table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if kind != "table" {
        return Ok(Vec::new());
    }
    if without_rowid {
        let mut key: Vec<&Column> = columns.iter().filter(|column| column.in_key > 0).collect();
        key.sort_by_key(|column| column.in_key);
        return Ok(key.into_iter().map(|column| quote(&column.name)).collect());
    }
    // A column with one of these names hides the rowid under that name.
    let is_free = |name: &&str| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    Ok(["rowid", "_rowid_", "oid"].into_iter().find(is_free).map(ToOwned::to_owned).into_iter().collect())
}
