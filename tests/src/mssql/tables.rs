//! The tables of a fake SQL Server, as the owner of the database changes them.

use super::server::SqlServer;
use super::sql::{Outcome, Session, SqlType, Table, Value, parse_guid, run};
use super::wire::rpc::Request;
use crate::harness::Row;

impl SqlServer {
    /// Makes a table. Each column has its type in SQL, with `COLLATE` if it is not the database's. The first column is the
    /// key.
    ///
    /// # Panics
    /// If a type is not known.
    pub fn create(&self, name: &str, columns: &[(&str, &str)]) {
        let (mut typed, mut collations) = (Vec::new(), Vec::new());
        for (name, of) in columns {
            let (of, collation) = match of.split_once(" COLLATE ") {
                Some((of, collation)) => (of, Some(collation.to_owned())),
                None => (*of, None),
            };
            let of = SqlType::parse(of).unwrap_or_else(|| panic!("the fake does not know the type {of}"));
            typed.push((*name, of));
            collations.push(collation);
        }
        let mut table = Table::plain(name, &typed);
        for (column, collation) in table.columns.iter_mut().zip(collations) {
            column.collation = collation;
        }
        self.shared.update(|state| state.database.add(table));
    }

    /// Makes `dbo.customer_settings` as in the known installation.
    pub fn create_customers(&self) {
        self.create("dbo.customer_settings", &customers("uniqueidentifier", "varchar(max)", "datetime"));
    }

    /// Makes `dbo.customer_settings` with other types.
    pub fn create_customers_with(&self, id: &str, token: &str, expiry: &str) {
        self.create("dbo.customer_settings", &customers(id, token, expiry));
    }

    /// Drops a table.
    pub fn drop_table(&self, name: &str) {
        self.shared.update(|state| state.database.remove(name));
    }

    /// Renames a table.
    ///
    /// # Panics
    /// If there is no such table.
    pub fn rename_table(&self, from: &str, to: &str) {
        self.shared.update(|state| {
            let mut table = state.database.remove(from).unwrap_or_else(|| panic!("there is no table {from}"));
            table.name = to.to_owned();
            state.database.add(table);
        });
    }

    /// Renames a column.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn rename_column(&self, table: &str, from: &str, to: &str) {
        self.with_table(table, |table| {
            let column = table.column(from).unwrap_or_else(|| panic!("there is no column {from}"));
            table.columns[column].name = to.to_owned();
        });
    }

    /// Changes the type of a column; its values stay.
    ///
    /// # Panics
    /// If there is no such column, or the type is unknown.
    pub fn retype_column(&self, table: &str, column: &str, of: &str) {
        let of = SqlType::parse(of).unwrap_or_else(|| panic!("the fake does not know the type {of}"));
        self.with_table(table, |table| {
            let column = table.column(column).unwrap_or_else(|| panic!("there is no column {column}"));
            table.columns[column].of = of;
        });
    }

    /// Adds a constraint: the table refuses every row for which the condition does not hold (error 547).
    ///
    /// # Panics
    /// If there is no such column, or the condition cannot be read.
    pub fn check(&self, table: &str, column: &str, condition: &str) {
        self.with_table(table, |table| {
            table.check(column, condition).unwrap_or_else(|said| panic!("{condition}: {}", said.text));
        });
    }

    /// Adds a trigger, so that `OUTPUT` must go into a table.
    pub fn add_trigger(&self, table: &str) {
        self.with_table(table, |table| table.has_trigger = true);
    }

    /// Adds a trigger that refuses every change of the row with this key.
    ///
    /// # Panics
    /// If the key cannot be one of that table.
    pub fn guard_row(&self, table: &str, key: &str) {
        self.with_table(table, |table| {
            table.has_trigger = true;
            table.guarded = Some(key_of(table, key));
        });
    }

    /// Adds a trigger that silently restores these columns of the row with this key after every change.
    ///
    /// # Panics
    /// If the key cannot be one of that table, or there is no such column.
    pub fn undo_writes(&self, table: &str, key: &str, columns: &[&str]) {
        self.with_table(table, |table| {
            let places = columns.iter().map(|name| table.column(name).expect("a column of that name"));
            let places = places.collect();
            table.has_trigger = true;
            table.undone = Some((key_of(table, key), places));
        });
    }

    /// Drops the key, so that two rows may have the same id.
    pub fn drop_key(&self, table: &str) {
        self.with_table(table, |table| table.columns[0].key = false);
    }

    fn with_table(&self, name: &str, change: impl FnOnce(&mut Table)) {
        self.shared.update(|state| {
            let table = state.database.table_mut(name);
            change(table.unwrap_or_else(|| panic!("there is no table {name}")));
        });
    }

    /// Adds rows to `customer_settings`, as another application would.
    pub fn insert<'r>(&self, rows: impl IntoIterator<Item = &'r Row>) {
        let quote = |text: &Option<String>| match text {
            None => "NULL".to_owned(),
            Some(text) => format!("N'{}'", text.replace('\'', "''")),
        };
        for row in rows {
            let id = Some(row.customer_id.clone());
            let texts =
                [&id, &row.tb_username, &row.tb_password, &row.tb_url, &row.tbtoken, &row.tbtokenexpiry];
            let columns = "customer_id, tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry";
            let values = texts.map(quote).join(", ");
            self.execute(&format!("INSERT INTO customer_settings ({columns}) VALUES ({values})"));
        }
    }

    /// Reads a column of a row of `customer_settings` as text; `None` for NULL.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn column(&self, id: &str, column: &str) -> Option<String> {
        let rows =
            self.execute(&format!("SELECT {column} FROM customer_settings WHERE customer_id = '{id}'"));
        let value = rows.into_iter().next().unwrap_or_else(|| panic!("no customer {id}")).remove(0);
        (value != Value::Null).then(|| value.to_string())
    }

    /// Runs statements as the owner of the database, without the socket. Returns the rows of the last one that has a result.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn execute(&self, text: &str) -> Vec<Vec<Value>> {
        self.try_execute(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Runs statements like [`execute`](Self::execute).
    ///
    /// # Errors
    /// The number and the text of the server's error.
    pub fn try_execute(&self, text: &str) -> Result<Vec<Vec<Value>>, String> {
        let request = Request { text: text.to_owned(), parameters: Vec::new(), is_call: false };
        let outcomes = self.shared.update(|state| {
            let now = state.now();
            let denied = std::mem::take(&mut state.database.denied);
            let read_only = std::mem::take(&mut state.database.read_only);
            let mut session = Session::of_the_owner();
            let outcomes = run(&mut state.database, &mut session, &request, now);
            session.end(&mut state.database);
            (state.database.denied, state.database.read_only) = (denied, read_only);
            outcomes
        });
        let mut rows = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Rows(found) => rows = found.rows,
                Outcome::Count(_) => {}
                Outcome::Error(said) => return Err(format!("{}: {}", said.number, said.text)),
            }
        }
        Ok(rows)
    }
}

/// Converts a key to the type of the table's key.
fn key_of(table: &Table, key: &str) -> Value {
    match table.columns[0].of {
        SqlType::Guid => Value::Guid(parse_guid(key).expect("a GUID")),
        SqlType::Int | SqlType::BigInt => Value::Int(key.parse().expect("a number")),
        _ => Value::text(key),
    }
}

/// Returns the columns of the customers' table.
fn customers<'a>(id: &'a str, token: &'a str, expiry: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("customer_id", id),
        ("tb_username", "nvarchar(255)"),
        ("tb_password", "nvarchar(255)"),
        ("tb_url", "nvarchar(500)"),
        ("tbtoken", token),
        ("tbtokenexpiry", expiry),
        ("updatedttm", "datetime"),
    ]
}
