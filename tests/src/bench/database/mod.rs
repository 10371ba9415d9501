//! The database of the customers: fills it, and measures its own time.

mod fake;
mod server;
mod sqlite;

use std::str::FromStr;
use std::time::Duration;

use fake::Fake;
pub(super) use fake::serve;
use server::{Address, Server};

use super::report::{Report, Unit};
use crate::harness::{Installation, Row};

/// How many batches are measured for the bound; the middle one counts.
const BATCHES: usize = 15;

/// The store that the options choose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum StoreChoice {
    /// A SQLite file.
    #[default]
    Sqlite,
    /// A fake SQL Server.
    FakeMssql,
    /// A real SQL Server.
    Server(Address),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "fake-mssql" => Ok(Self::FakeMssql),
            text if text.contains('=') => text.parse().map(Self::Server),
            _ => Err("it is sqlite, fake-mssql or a connection string".to_owned()),
        }
    }
}

/// The environment variable that says which store, for connection strings that hold a password.
const VARIABLE: &str = "TBTOKEN_BENCH_STORE";

impl StoreChoice {
    /// Returns the choice of the command line, else of the environment, else the default.
    pub(super) fn or_environment(choice: Option<&Self>) -> Self {
        match (choice, std::env::var(VARIABLE)) {
            (Some(choice), _) => choice.clone(),
            (None, Ok(text)) => text.parse().unwrap_or_else(|why| panic!("{VARIABLE}: {why}")),
            (None, Err(_)) => Self::default(),
        }
    }
}

/// A database with the customers in it.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite,
    Fake(Fake),
    Server(Server),
}

impl Database {
    /// Inserts the rows, and names the database in the configuration of the daemon.
    pub(super) fn fill(
        choice: &StoreChoice,
        installation: Installation,
        rows: &[Row],
    ) -> (Self, Installation) {
        match choice {
            StoreChoice::Sqlite => (Self::Sqlite, installation.with_rows(rows)),
            StoreChoice::FakeMssql => {
                let fake = Fake::fill(installation.folder(), rows);
                let installation = fake.place().configure(installation, "customer_settings");
                (Self::Fake(fake), installation)
            }
            StoreChoice::Server(address) => {
                let server = Server::fill(address, rows);
                let installation = address.configure(installation, &server.table());
                (Self::Server(server), installation)
            }
        }
    }

    /// Its kind, for the report.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Fake(_) => "a fake SQL Server",
            Self::Server(_) => "a SQL Server",
        }
    }

    /// Reports its counters.
    pub(super) fn count(&mut self, report: &mut Report) {
        if let Self::Fake(fake) = self {
            let (statements, cpu) = fake.count();
            report.count("database_round_trips", "statements that the database saw", statements);
            report.add("database_cpu", "CPU time of the fake SQL Server", Unit::Seconds, cpu.as_secs_f64());
        }
    }

    /// Measures how long one full batch of tokens takes in a table without other users.
    pub(super) fn batch(&mut self, installation: &Installation) -> Duration {
        match self {
            Self::Sqlite => sqlite::batch(installation),
            Self::Fake(fake) => fake.place().batch("dbo.scratch"),
            Self::Server(server) => server.batch(),
        }
    }
}

/// Quotes a text for SQL Server.
fn quote(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// Returns the statements that insert the rows, some hundred in each.
fn inserts<'r>(table: &'r str, rows: &'r [Row]) -> impl Iterator<Item = String> + 'r {
    rows.chunks(500).map(move |rows| {
        let value = |text: &Option<String>| text.as_deref().map_or_else(|| "NULL".to_owned(), quote);
        // `datetime` takes no zone.
        let expiry = |row: &Row| value(&row.tbtokenexpiry.as_ref().map(|text| text.trim_end_matches('Z').to_owned()));
        let line = |row: &Row| {
            let [user, password, url, token] =
                [&row.tb_username, &row.tb_password, &row.tb_url, &row.tbtoken].map(value);
            format!("({}, {user}, {password}, {url}, {token}, {})", quote(&row.customer_id), expiry(row))
        };
        let lines: Vec<String> = rows.iter().map(line).collect();
        format!(
            "INSERT INTO {table} (customer_id, tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry) VALUES {}",
            lines.join(", ")
        )
    })
}
