//! The table `customer_settings` in its SQLite file, as another application uses it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::thingsboard::Account;

/// One row. `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// The key.
    pub customer_id: String,
    /// The ThingsBoard user.
    pub tb_username: Option<String>,
    /// Its password.
    pub tb_password: Option<String>,
    /// The ThingsBoard server.
    pub tb_url: Option<String>,
    /// The token.
    pub tbtoken: Option<String>,
    /// When the token ends.
    pub tbtokenexpiry: Option<String>,
    /// The time of the last write.
    pub updatedttm: Option<String>,
}

impl Row {
    /// Makes a customer with this account and no token.
    #[must_use]
    pub fn new(id: impl Into<String>, account: &Account) -> Self {
        Self {
            customer_id: id.into(),
            tb_username: Some(account.username.clone()),
            tb_password: Some(account.password.clone()),
            tb_url: Some(account.url.clone()),
            ..Self::default()
        }
    }

    /// Replaces the URL.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { tb_url: Some(url.into()), ..self }
    }

    /// Replaces the password.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { tb_password: Some(password.into()), ..self }
    }

    /// Sets token and expiry.
    #[must_use]
    pub fn token(self, token: impl Into<String>, expiry: impl Into<String>) -> Self {
        Self { tbtoken: Some(token.into()), tbtokenexpiry: Some(expiry.into()), ..self }
    }

    /// Parses the expiry; `None` for NULL and for texts that are not a time.
    #[must_use]
    pub fn expiry(&self) -> Option<DateTime<Utc>> {
        let text = self.tbtokenexpiry.as_deref()?;
        let naive = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok();
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .ok()
            .or_else(|| naive().map(|time| time.and_utc()))
    }
}

/// The table. Each call opens the file again, so that the daemon's connection never waits for one of the test.
#[derive(Debug, Clone)]
pub struct Table(PathBuf);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS customer_settings (
    customer_id TEXT PRIMARY KEY, tb_username TEXT, tb_password TEXT, tb_url TEXT,
    tbtoken TEXT, tbtokenexpiry TEXT, updatedttm TEXT
)";

impl Table {
    /// Names the table in this file. [`create`](Self::create) makes it.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the file, readable for its owner only, with an empty table.
    ///
    /// # Panics
    /// If the file cannot be made.
    pub fn create(&self) {
        self.execute(SCHEMA);
        std::fs::set_permissions(&self.0, Permissions::from_mode(0o600)).expect("one's own file");
    }

    /// Opens a connection, for statements that the other functions do not have.
    ///
    /// # Panics
    /// If the file cannot be opened.
    #[must_use]
    pub fn connect(&self) -> Connection {
        let connection = Connection::open(&self.0).expect("the file of the table opens");
        connection.busy_timeout(Duration::from_secs(10)).expect("a time-out can be set");
        connection
    }

    /// Runs a statement without parameters.
    ///
    /// # Panics
    /// If the database refuses it.
    pub fn execute(&self, sql: &str) -> usize {
        self.connect().execute(sql, []).unwrap_or_else(|error| panic!("failed to run {sql}: {error}"))
    }

    /// Inserts rows in one transaction.
    ///
    /// # Panics
    /// If one of them exists already.
    pub fn insert<'r>(&self, rows: impl IntoIterator<Item = &'r Row>) {
        let mut connection = self.connect();
        let transaction = connection.transaction().expect("a transaction");
        {
            let mut insert = transaction
                .prepare("INSERT INTO customer_settings VALUES (?, ?, ?, ?, ?, ?, ?)")
                .expect("the table has its seven columns");
            for row in rows {
                insert
                    .execute(params![
                        row.customer_id,
                        row.tb_username,
                        row.tb_password,
                        row.tb_url,
                        row.tbtoken,
                        row.tbtokenexpiry,
                        row.updatedttm
                    ])
                    .expect("a row can be inserted");
            }
        }
        transaction.commit().expect("rows can be committed");
    }

    /// Sets one column of a row; `None` is NULL.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn set(&self, id: &str, column: &str, value: Option<&str>) {
        let sql = format!("UPDATE customer_settings SET {column} = ? WHERE customer_id = ?");
        let changed = self.connect().execute(&sql, params![value, id]).expect("a row can be updated");
        assert_eq!(changed, 1, "no customer {id}");
    }

    /// Deletes a row.
    pub fn remove(&self, id: &str) {
        let sql = "DELETE FROM customer_settings WHERE customer_id = ?";
        self.connect().execute(sql, [id]).expect("a row can be deleted");
    }

    /// Reads a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, id: &str) -> Row {
        let columns = "tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry, updatedttm";
        let sql = format!("SELECT {columns} FROM customer_settings WHERE customer_id = ?");
        let row = self.connect().query_row(&sql, [id], |row| {
            Ok(Row {
                customer_id: id.to_owned(),
                tb_username: row.get(0)?,
                tb_password: row.get(1)?,
                tb_url: row.get(2)?,
                tbtoken: row.get(3)?,
                tbtokenexpiry: row.get(4)?,
                updatedttm: row.get(5)?,
            })
        });
        row.optional().expect("the table can be read").unwrap_or_else(|| panic!("no customer {id}"))
    }

    /// Counts the rows with a token.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let sql = "SELECT count(*) FROM customer_settings WHERE tbtoken <> ''";
        let count: i64 =
            self.connect().query_row(sql, [], |row| row.get(0)).expect("the table can be counted");
        usize::try_from(count).expect("a count")
    }
}
