//! Where the customers are: what it takes to put them there, and what the database itself takes.

use std::str::FromStr;
use std::time::{Duration, Instant};

use rusqlite::params;

use super::bound::BATCH;
use crate::harness::{Installation, Row, Table};

/// The store that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Wish {
    /// A SQLite file.
    #[default]
    Sqlite,
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            _ => Err("it is sqlite, fake-mssql or a connection string".to_owned()),
        }
    }
}

/// The environment variable that says which store, for connection strings that hold a password.
const VARIABLE: &str = "TBTOKEN_BENCH_STORE";

impl Wish {
    /// What was asked for on the command line, in the environment, or not at all.
    pub(super) fn or_environment(wish: Option<&Self>) -> Self {
        match (wish, std::env::var(VARIABLE)) {
            (Some(wish), _) => wish.clone(),
            (None, Ok(text)) => text.parse().unwrap_or_else(|why| panic!("{VARIABLE}: {why}")),
            (None, Err(_)) => Self::default(),
        }
    }
}

/// A database with the customers in it.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite,
}

impl Database {
    /// Puts the rows there and says so in the configuration of the daemon.
    pub(super) fn fill(wish: &Wish, installation: Installation, rows: &[Row]) -> (Self, Installation) {
        match wish {
            Wish::Sqlite => (Self::Sqlite, installation.with_rows(rows)),
        }
    }

    /// Its kind, for the report.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
        }
    }

    /// Statements that it was sent so far, if it counts them.
    pub(super) fn round_trips(&mut self) -> Option<u64> {
        match self {
            Self::Sqlite => None,
        }
    }

    /// How long it takes to write one full batch of tokens: measured on a table of the same kind that nobody else uses.
    pub(super) fn batch(&mut self, installation: &Installation) -> Duration {
        match self {
            Self::Sqlite => sqlite_batch(installation),
        }
    }
}

/// How many batches are measured; the middle one counts.
const BATCHES: usize = 15;

fn sqlite_batch(installation: &Installation) -> Duration {
    let table = Table::at(&installation.folder().join("scratch.db"));
    table.create();
    let id = |batch: usize, row: usize| format!("{batch:018}{row:018}");
    let rows: Vec<Row> = (0..BATCHES * BATCH)
        .map(|n| Row { customer_id: id(n / BATCH, n % BATCH), ..Row::default() })
        .collect();
    table.insert(&rows);
    let mut connection = table.connect();
    // As the daemon does: its tokens survive a power cut.
    connection.pragma_update(None, "journal_mode", "WAL").expect("a journal");
    connection.pragma_update(None, "synchronous", "FULL").expect("safety");
    let token = "x".repeat(700);
    let mut taken: Vec<Duration> = (0..BATCHES)
        .map(|batch| {
            let began = Instant::now();
            let transaction = connection.transaction().expect("a transaction");
            {
                let mut update = transaction
                    .prepare_cached(
                        "UPDATE customer_settings SET tbtoken = ?2, tbtokenexpiry = ?3 WHERE customer_id = ?1",
                    )
                    .expect("a statement");
                for row in 0..BATCH {
                    update
                        .execute(params![id(batch, row), token, "2026-11-23T14:15:00.000Z"])
                        .expect("a row can be updated");
                }
            }
            transaction.commit().expect("a commit");
            began.elapsed()
        })
        .collect();
    taken.sort_unstable();
    taken[BATCHES / 2]
}
