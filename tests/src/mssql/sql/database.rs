//! The tables of a database, the permissions on them, and the clock of its server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ast::{ColumnDefinition, Expr};
use super::time;
use super::value::{SqlType, Value};
use super::{errors, statements};
use crate::mssql::wire::tokens::Said;

/// A database in memory.
#[derive(Debug, Clone)]
pub(in crate::mssql) struct Database {
    pub(in crate::mssql) name: String,
    /// By `schema.table` in lower case.
    tables: BTreeMap<String, Table>,
    /// The permissions that the login lacks.
    pub(in crate::mssql) denied: Vec<Permission>,
    pub(in crate::mssql) read_only: bool,
    /// Users with SELECT on `tbtokend_key`, besides the login's.
    pub(in crate::mssql) key_readers: Vec<String>,
    /// Whether the login sees the permissions of others.
    pub(in crate::mssql) shows_permissions: bool,
    /// The time zone of the server.
    pub(in crate::mssql) zone: Zone,
    /// Whether the server is older than SQL Server 2019, which does not repeat a value that does not fit (8152 in place of 2628).
    pub(in crate::mssql) is_old: bool,
    /// The session with a transaction that outlives its request. It holds its locks until the transaction ends.
    pub(super) holder: Option<u64>,
}

/// One table.
#[derive(Debug, Clone)]
pub(in crate::mssql) struct Table {
    /// The name `schema.table` as it was written.
    pub(in crate::mssql) name: String,
    pub(in crate::mssql) columns: Vec<Column>,
    pub(in crate::mssql) rows: Vec<Vec<Value>>,
    /// Whether it has a trigger: `OUTPUT` without `INTO` is refused then.
    pub(in crate::mssql) has_trigger: bool,
    /// The key of the row that a trigger protects from every change.
    pub(in crate::mssql) guarded: Option<Value>,
    /// The key of the row, and the columns, that a trigger silently restores after every change.
    pub(in crate::mssql) undone: Option<(Value, Vec<usize>)>,
}

/// One column of a table.
#[derive(Debug, Clone)]
pub(in crate::mssql) struct Column {
    pub(in crate::mssql) name: String,
    pub(in crate::mssql) of: SqlType,
    pub(in crate::mssql) nullable: bool,
    pub(in crate::mssql) key: bool,
    /// Its collation, if it is not the database's.
    pub(in crate::mssql) collation: Option<String>,
    pub(super) check: Option<Expr>,
}

/// A permission that the login lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// `SELECT`, `INSERT`, `UPDATE` or `DELETE` on a table.
    On(&'static str, String),
    /// The same on one of its columns.
    OnColumn(&'static str, String, String),
    /// Anything on a table: it cannot even be seen.
    Everything(String),
    /// `CREATE TABLE`.
    CreateTable,
}

/// The time zone of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Always this many minutes ahead of UTC.
    Fixed(i16),
    /// Europe/Berlin: an hour ahead, two from the last Sunday of March to the last of October.
    Berlin,
}

impl Zone {
    /// Minutes ahead of UTC at this time, in ticks since 0001-01-01.
    pub(in crate::mssql) fn offset_at(self, utc: i64) -> i16 {
        match self {
            Self::Fixed(minutes) => minutes,
            Self::Berlin => {
                let year = &time::format(utc, 0)[..4];
                let switch = |month: &str| last_sunday(&format!("{year}-{month}-31 01:00:00"));
                if (switch("03")..switch("10")).contains(&utc) { 120 } else { 60 }
            }
        }
    }
}

/// The last Sunday up to that day. 0001-01-01 was a Monday.
fn last_sunday(text: &str) -> i64 {
    let ticks = time::parse(text).expect("a date").0;
    ticks - (ticks.div_euclid(time::DAY) + 1).rem_euclid(7) * time::DAY
}

/// The settings and the transaction of a connection.
#[derive(Debug)]
pub(in crate::mssql) struct Session {
    /// The unique number of the session.
    id: u64,
    pub(in crate::mssql) xact_abort: bool,
    pub(in crate::mssql) nocount: bool,
    /// Every statement that writes begins a transaction, which stays open until COMMIT.
    pub(in crate::mssql) implicit_transactions: bool,
    /// The tables as they were when the transaction began.
    pub(super) before: Option<BTreeMap<String, Table>>,
}

impl Session {
    /// Makes the session of a client: XACT_ABORT is off until the client sets it.
    pub(in crate::mssql) fn new(implicit_transactions: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, xact_abort: false, nocount: false, implicit_transactions, before: None }
    }

    /// Makes the session of the owner of the database, without the socket.
    pub(in crate::mssql) fn of_the_owner() -> Self {
        Self { xact_abort: true, ..Self::new(false) }
    }

    /// Undoes an open transaction, as the server does when a session ends.
    pub(in crate::mssql) fn end(&mut self, database: &mut Database) {
        if let Some(before) = self.before.take() {
            database.restore(before);
        }
        if database.holder == Some(self.id) {
            database.holder = None;
        }
    }
}

impl Database {
    pub(in crate::mssql) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tables: BTreeMap::new(),
            denied: Vec::new(),
            read_only: false,
            key_readers: Vec::new(),
            shows_permissions: false,
            zone: Zone::Fixed(0),
            is_old: false,
            holder: None,
        }
    }

    /// The key of a table's name: without brackets, with its schema, in lower case.
    pub(in crate::mssql) fn key(name: &str) -> String {
        let plain = name.replace(['[', ']', '"'], "").to_lowercase();
        if plain.starts_with('@') || plain.contains('.') { plain } else { format!("dbo.{plain}") }
    }

    pub(in crate::mssql) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(&Self::key(name))
    }

    pub(in crate::mssql) fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.get_mut(&Self::key(name))
    }

    pub(in crate::mssql) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    pub(super) fn all(&self) -> BTreeMap<String, Table> {
        self.tables.clone()
    }

    pub(super) fn restore(&mut self, tables: BTreeMap<String, Table>) {
        self.tables = tables;
    }

    pub(in crate::mssql) fn add(&mut self, table: Table) {
        self.tables.insert(Self::key(&table.name), table);
    }

    pub(in crate::mssql) fn remove(&mut self, name: &str) -> Option<Table> {
        self.tables.remove(&Self::key(name))
    }

    /// The number by which the server knows a table.
    pub(super) fn object_id(&self, name: &str) -> Option<i64> {
        let key = Self::key(name);
        let position = self.tables.keys().position(|name| *name == key)?;
        self.visible(&key).then(|| i64::try_from(position).expect("few tables") + 245_575_913)
    }

    pub(super) fn by_id(&self, id: i64) -> Option<&Table> {
        self.tables.values().nth(usize::try_from(id - 245_575_913).ok()?)
    }

    /// Whether the login sees that the table exists.
    pub(super) fn visible(&self, key: &str) -> bool {
        !self
            .denied
            .iter()
            .any(|denied| matches!(denied, Permission::Everything(on) if Self::key(on) == *key))
    }

    /// Whether a session would wait for the locks of another one's open transaction. There is one lock for everything.
    pub(super) fn is_locked_for(&self, session: &Session) -> bool {
        self.holder.is_some_and(|holder| holder != session.id)
    }

    /// Remembers whether a session has an open transaction after its request.
    pub(super) fn held(&mut self, session: &Session) {
        self.holder = session.before.is_some().then_some(session.id);
    }

    /// Whether `action` on these columns of a table is allowed.
    pub(super) fn allows(&self, action: &str, table: &Table, columns: &[&str]) -> Result<(), Said> {
        let key = Self::key(&table.name);
        for denied in &self.denied {
            match denied {
                Permission::On(what, on) if *what == action && Self::key(on) == key => {
                    return Err(errors::denied(action, &table.name, &self.name));
                }
                Permission::Everything(on) if Self::key(on) == key => {
                    return Err(errors::denied(action, &table.name, &self.name));
                }
                Permission::OnColumn(what, on, column)
                    if *what == action
                        && Self::key(on) == key
                        && columns.iter().any(|name| name.eq_ignore_ascii_case(column)) =>
                {
                    return Err(errors::column_denied(action, column, &table.name, &self.name));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Table {
    pub(super) fn new(name: &str, columns: &[ColumnDefinition]) -> Self {
        let columns = columns.iter().map(|column| Column {
            name: column.name.clone(),
            of: column.of,
            nullable: column.nullable,
            key: column.key,
            collation: column.collation.clone(),
            check: column.check.clone(),
        });
        let name =
            if name.starts_with('@') || name.contains('.') { name.to_owned() } else { format!("dbo.{name}") };
        Self {
            name,
            columns: columns.collect(),
            rows: Vec::new(),
            has_trigger: false,
            guarded: None,
            undone: None,
        }
    }

    /// A table with columns of these types, all of which may be NULL but the first, which is its key.
    pub(in crate::mssql) fn plain(name: &str, columns: &[(&str, SqlType)]) -> Self {
        let columns = columns.iter().enumerate().map(|(number, (name, of))| ColumnDefinition {
            name: (*name).to_owned(),
            of: *of,
            nullable: number > 0,
            key: number == 0,
            collation: None,
            check: None,
        });
        Self::new(name, &columns.collect::<Vec<_>>())
    }

    pub(in crate::mssql) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Adds a condition of a column; rows for which it does not hold are refused.
    pub(in crate::mssql) fn check(&mut self, column: &str, condition: &str) -> Result<(), Said> {
        let condition = statements::condition(condition)?;
        let column = self.column(column).ok_or_else(|| errors::no_such_column(column))?;
        self.columns[column].check = Some(condition);
        Ok(())
    }

    /// Its name without the schema.
    pub(super) fn short_name(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(_, name)| name)
    }

    /// Its schema.
    pub(super) fn schema(&self) -> &str {
        self.name.rsplit_once('.').map_or("dbo", |(schema, _)| schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn berlin_changes_its_clocks() {
        let offset = |text: &str| Zone::Berlin.offset_at(time::parse(text).unwrap().0);
        assert_eq!(offset("2026-03-29 00:59:59"), 60);
        assert_eq!(offset("2026-03-29 01:00:00"), 120);
        assert_eq!(offset("2026-10-25 00:59:59"), 120);
        assert_eq!(offset("2026-10-25 01:00:00"), 60);
        assert_eq!(offset("2027-03-28 01:00:00"), 120);
        assert_eq!(offset("2026-01-01 00:00:00"), 60);
    }
}
