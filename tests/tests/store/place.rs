//! A new table on a ground, an application that fills and changes it, and a store on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_tests::canary;
use tbtoken_tests::mssql::{SqlServer, Value};
use tbtokend::model::{Lifetime, Renewal, Token};
use tbtokend::store::mssql::{Address, Encryption, ExpiryClock, Settings, Trust};
use tbtokend::store::sqlite::SqliteStore;
use tempfile::TempDir;

use crate::ground::Ground;
use crate::real;
use crate::stores::{AnyStore, fixed, mssql};

/// Parses a time.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The types of the columns that differ between installations. SQLite ignores them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Types {
    pub(crate) id: &'static str,
    pub(crate) text: &'static str,
    pub(crate) token: &'static str,
    pub(crate) expiry: &'static str,
}

/// The types of the known installation.
pub(crate) const USUAL: Types =
    Types { id: "uniqueidentifier", text: "nvarchar(255)", token: "varchar(max)", expiry: "datetime" };

/// A table with a store on it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) ground: Ground,
    pub(crate) store: AnyStore,
    /// The folder for SQLite and for the fake's certificates.
    pub(crate) folder: TempDir,
    fake: Option<SqlServer>,
    /// The schema of this place on a real server.
    schema: String,
    types: Types,
    clock: ExpiryClock,
}

/// A row of an application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) id: u32,
    pub(crate) url: Option<&'a str>,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    /// The expiry as SQL text: `2026-11-23T14:00:00.000`.
    pub(crate) expiry: Option<&'a str>,
}

/// Makes an eligible row without a token.
pub(crate) const fn line(id: u32) -> Line<'static> {
    let (url, username, password) = (Some("https://tb"), Some("u"), Some("canary-pw-1"));
    Line { id, url, username, password, token: None, expiry: None }
}

impl Place {
    pub(crate) async fn new(ground: Ground) -> Self {
        Self::with(ground, USUAL, ExpiryClock::Utc).await
    }

    /// Makes a table with these types and this clock of expiries.
    pub(crate) async fn with(ground: Ground, types: Types, clock: ExpiryClock) -> Self {
        let fake = (ground == Ground::Fake).then(SqlServer::start);
        Self::made(ground, fake, types, clock).await
    }

    /// Makes the usual table on this fake.
    pub(crate) async fn on(fake: SqlServer) -> Self {
        Self::made(Ground::Fake, Some(fake), USUAL, ExpiryClock::Utc).await
    }

    async fn made(ground: Ground, fake: Option<SqlServer>, types: Types, clock: ExpiryClock) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = TempDir::new().unwrap();
        if let Some(fake) = &fake {
            fake.write_authority(folder.path());
            fake.create("dbo.customer_settings", &columns(types));
        }
        let schema = format!("tbtoken_test_{}_{number}", std::process::id());
        if ground == Ground::Real {
            let columns = columns(types).map(|(name, of)| format!("{name} {of}"));
            let columns =
                columns.join(", ").replacen(types.id, &format!("{} NOT NULL PRIMARY KEY", types.id), 1);
            real::execute(&format!("CREATE SCHEMA {schema}")).await;
            real::execute(&format!("CREATE TABLE {schema}.customer_settings ({columns})")).await;
        }
        let mut place = Self { ground, store: AnyStore::none(), folder, fake, schema, types, clock };
        place.store = place.another_store();
        if ground == Ground::Sqlite {
            // The SQLite store makes its table itself.
            place.store.read().await;
        }
        place
    }

    /// Makes another store on the same table, as after a restart.
    pub(crate) fn another_store(&self) -> AnyStore {
        match self.ground {
            Ground::Sqlite => {
                AnyStore::Sqlite(SqliteStore::new(&self.path(), "customer_settings", None).unwrap())
            }
            Ground::Fake | Ground::Real => mssql(self.settings()),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("customers.db")
    }

    /// Returns the settings of a store on this table of a SQL Server.
    pub(crate) fn settings(&self) -> Settings {
        let Some(fake) = &self.fake else {
            let table = format!("{}.customer_settings", self.schema);
            return Settings {
                expiry_clock: self.clock,
                state_folder: Some(self.state_folder()),
                ..real::settings(&table)
            };
        };
        let server = fake.place();
        Settings {
            address: Address::parse(&server).unwrap(),
            server,
            database: fake.settings().database,
            user: fake.settings().user,
            password: fixed(&fake.settings().password),
            encryption: Encryption::Required,
            trust: Trust::Authorities { ca_file: Some(self.folder.path().join("authority.pem")) },
            multi_subnet_failover: false,
            table: "customer_settings".to_owned(),
            expiry_clock: self.clock,
            fallback_url: None,
            state_folder: Some(self.state_folder()),
        }
    }

    /// Returns the folder of the ledger while the server has no table for it.
    pub(crate) fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Returns the fake, which has switches for faults.
    pub(crate) fn fake(&self) -> &SqlServer {
        self.fake.as_ref().expect("this case runs on the fake")
    }

    /// Returns the id of a row as the store prints it.
    pub(crate) fn id(&self, number: u32) -> String {
        match self.types.id {
            "uniqueidentifier" => format!("6F9619FF-8B86-D011-B42D-{number:012X}"),
            "int" | "bigint" => number.to_string(),
            _ => format!("Customer-{number}"),
        }
    }

    /// Returns the name of a side table for a statement.
    pub(crate) fn beside(&self, table: &str) -> String {
        match self.ground {
            Ground::Real => format!("{}.{table}", self.schema),
            Ground::Sqlite | Ground::Fake => table.to_owned(),
        }
    }

    /// Returns the name of the customers' table for a statement.
    fn table(&self) -> String {
        match self.ground {
            Ground::Real => format!("{}.customer_settings", self.schema),
            Ground::Sqlite | Ground::Fake => "customer_settings".to_owned(),
        }
    }

    /// Adds a constraint to the customers' table, or to `tbtokend_state`, which must exist.
    pub(crate) async fn check(&self, table: &str, column: &str, condition: &str) {
        match &self.fake {
            Some(fake) => fake.check(table, column, condition),
            None => {
                let schema = &self.schema;
                real::execute(&format!("ALTER TABLE {schema}.{table} ADD CHECK ({condition})")).await;
            }
        }
    }

    /// Runs a statement as an application; `{table}` is the table. Returns the rows of the last result as texts.
    pub(crate) async fn execute(&self, text: &str) -> Vec<Vec<Option<String>>> {
        let text = text.replace("{table}", &self.table());
        match self.ground {
            Ground::Sqlite => execute_sqlite(&self.path(), &text),
            Ground::Fake => {
                let cell = |value: Value| (value != Value::Null).then(|| value.to_string());
                let rows = self.fake().execute(&text);
                rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
            }
            Ground::Real => real::execute(&text).await,
        }
    }

    /// Whether the server is Babelfish, which differs from SQL Server in details.
    pub(crate) async fn is_babelfish(&self) -> bool {
        if self.ground != Ground::Real {
            return false;
        }
        let version = self.execute("SELECT CAST(@@VERSION AS nvarchar(300))").await;
        version.into_iter().flatten().flatten().any(|version| version.contains("Babelfish"))
    }

    /// Adds rows.
    pub(crate) async fn insert(&self, lines: &[Line<'_>]) {
        for lines in lines.chunks(500) {
            let rows: Vec<String> = lines.iter().map(|line| self.row(line)).collect();
            let columns = "customer_id, tb_url, tb_username, tb_password, tbtoken, tbtokenexpiry";
            self.execute(&format!("INSERT INTO {{table}} ({columns}) VALUES {}", rows.join(", "))).await;
        }
    }

    fn row(&self, line: &Line<'_>) -> String {
        let quote = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| self.quote(text));
        // SQLite's applications write times in this form; in some languages SQL Server would read another day.
        let expiry = line
            .expiry
            .map(|expiry| if self.ground.is_mssql() { expiry.to_owned() } else { expiry.replace('T', " ") });
        let [url, username, password, token, expiry] =
            [line.url, line.username, line.password, line.token, expiry.as_deref()].map(quote);
        // Babelfish gives a column of literals the type text, and does not convert that to datetimeoffset.
        let expiry = match self.ground {
            Ground::Real => format!("CAST({expiry} AS {})", self.types.expiry),
            Ground::Fake | Ground::Sqlite => expiry,
        };
        format!("('{}', {url}, {username}, {password}, {token}, {expiry})", self.id(line.id))
    }

    /// Quotes a text as a literal.
    fn quote(&self, text: &str) -> String {
        let wide = if self.ground.is_mssql() { "N" } else { "" };
        format!("{wide}'{}'", text.replace('\'', "''"))
    }

    /// Sets a column of a row.
    pub(crate) async fn set(&self, id: u32, column: &str, value: Option<&str>) {
        let value = value.map_or("NULL".to_owned(), |value| self.quote(value));
        let id = self.id(id);
        self.execute(&format!("UPDATE {{table}} SET {column} = {value} WHERE customer_id = '{id}'")).await;
    }

    /// Deletes a row.
    pub(crate) async fn remove(&self, id: u32) {
        let id = self.id(id);
        self.execute(&format!("DELETE FROM {{table}} WHERE customer_id = '{id}'")).await;
    }

    /// Reads the token of a row.
    pub(crate) async fn token(&self, id: u32) -> Option<String> {
        self.column(id, "tbtoken").await
    }

    /// Reads the expiry of a row as text.
    pub(crate) async fn expiry(&self, id: u32) -> Option<String> {
        let as_text = "CAST(CAST(tbtokenexpiry AS datetime2(7)) AS varchar(40))";
        let as_text = match (self.ground, self.types.expiry.starts_with("datetimeoffset")) {
            (Ground::Sqlite, _) => "tbtokenexpiry",
            (_, true) => "CAST(tbtokenexpiry AS varchar(40))",
            (_, false) => as_text,
        };
        self.column(id, as_text).await
    }

    /// Reads a column of a row as text.
    pub(crate) async fn column(&self, id: u32, column: &str) -> Option<String> {
        let id = self.id(id);
        let rows = self.execute(&format!("SELECT {column} FROM {{table}} WHERE customer_id = '{id}'")).await;
        rows.into_iter().next().unwrap_or_else(|| panic!("there is no row {id}")).remove(0)
    }

    /// Makes a renewal for a row as it is read now, with a token that contains a canary.
    pub(crate) async fn renewal(&self, id: u32, now: &str) -> Renewal {
        self.renewals([id], now).await.remove(0)
    }

    /// Makes renewals for several rows from one read.
    pub(crate) async fn renewals(&self, ids: impl IntoIterator<Item = u32>, now: &str) -> Vec<Renewal> {
        let table = self.store.read().await;
        let renewal = |id: u32| {
            let name = self.id(id);
            let customer = table.customers.iter().find(|customer| customer.id.as_str() == name);
            let customer = customer.unwrap_or_else(|| panic!("no customer {name} in {:?}", table.customers));
            Renewal::new(customer, token(&format!("{id}")), at(now), Lifetime::AtMost(TimeDelta::minutes(15)))
        };
        ids.into_iter().map(renewal).collect()
    }
}

impl AnyStore {
    /// Makes an empty description, until the place is complete.
    fn none() -> Self {
        let path = std::env::temp_dir().join("tbtoken-never-used");
        Self::Sqlite(SqliteStore::new(&path, "none", None).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.ground != Ground::Real {
            return;
        }
        let schema = self.schema.clone();
        // A separate runtime, because the drop may happen inside another one.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for table in ["customer_settings", "tbtokend_state", "tbtokend_key", "tbtokend_account"] {
                    real::execute(&format!("DROP TABLE IF EXISTS {schema}.{table}")).await;
                }
                real::execute(&format!("DROP SCHEMA IF EXISTS {schema}")).await;
            });
        });
        if cleaner.join().is_err() {
            eprintln!("the schema {} could not be taken away", self.schema);
        }
    }
}

/// Makes a token with a life of 9,000 s, with a canary and this name in its signature.
pub(crate) fn token(name: &str) -> Token {
    let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"exp":10000}"#);
    Token::parse(&format!("eyJhbGciOiJIUzUxMiJ9.{claims}.{}-{name}", canary::TOKEN)).unwrap()
}

fn columns(types: Types) -> [(&'static str, &'static str); 7] {
    [
        ("customer_id", types.id),
        ("tb_username", types.text),
        ("tb_password", types.text),
        ("tb_url", types.text),
        ("tbtoken", types.token),
        ("tbtokenexpiry", types.expiry),
        ("updatedttm", "datetime"),
    ]
}

pub(crate) fn execute_sqlite(path: &std::path::Path, text: &str) -> Vec<Vec<Option<String>>> {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let mut statement = connection.prepare(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let width = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        found.push((0..width).map(|cell| row.get::<_, Option<String>>(cell).unwrap()).collect());
    }
    found
}
