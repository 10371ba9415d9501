//! `tbtokend schema`: the statements that a DBA runs, as text. They run as they are.

use super::{mssql, sqlite};

/// For which kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQL Server.
    Mssql,
    /// SQLite.
    Sqlite,
}

/// The statements that make our tables beside `table`; for SQL Server with the permissions of `user`, if one is given.
/// SQLite has no users.
pub fn statements(dialect: Dialect, table: &str, user: Option<&str>) -> String {
    match dialect {
        Dialect::Mssql => mssql::schema(table, user),
        Dialect::Sqlite => sqlite::schema_statements(table),
    }
}
