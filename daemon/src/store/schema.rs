//! The text that `tbtokend schema` prints: the statements that a DBA runs. They run as they are.

use super::{mssql, sqlite};

/// The kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Dialect {
    /// SQL Server.
    Mssql,
    /// SQLite.
    Sqlite,
}

/// Returns the statements that make the daemon's tables beside `table`. For SQL Server they include the permissions of
/// `user`, if one is given; SQLite has no users.
pub fn statements(dialect: Dialect, table: &str, user: Option<&str>) -> String {
    match dialect {
        Dialect::Mssql => mssql::schema(table, user),
        Dialect::Sqlite => sqlite::schema_statements(table),
    }
}
