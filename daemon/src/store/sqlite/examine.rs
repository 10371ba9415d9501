//! The facts about a SQLite file for the doctor. The file is opened, but not written.

use rusqlite::{Connection, OpenFlags};

use super::super::facts::{Examine, Examined, Facts, Permission, count_blank};
use super::super::{RowProblem, StoreError};
use super::schema::Layout;
use super::{SqliteStore, Worker, records, rows, schema, translate};
use crate::model::Customer;

impl Examine for SqliteStore {
    async fn examine(&self) -> Result<Examined, StoreError> {
        self.run(|worker| examine(worker)).await
    }
}

fn examine(worker: &Worker) -> Result<Examined, StoreError> {
    let failed = |error: rusqlite::Error| translate(&worker.place, &error);
    super::root::refuse_planted(&worker.path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&worker.path, flags).map_err(failed)?;
    connection.busy_timeout(super::BUSY_TIMEOUT).map_err(failed)?;
    let layout = schema::inspect(&connection, &worker.place, &worker.table).map_err(failed)??;
    let (facts, customers, problems) = look(&connection, &layout, worker).map_err(failed)?;
    Ok(Examined { facts, customers, problems })
}

fn look(
    connection: &Connection,
    layout: &Layout,
    worker: &Worker,
) -> rusqlite::Result<(Facts, Vec<Customer>, Vec<RowProblem>)> {
    let fallback_url = worker.fallback_url.as_deref();
    let (customers, ineligible, mut problems) = rows::read_customers(connection, layout, fallback_url)?;
    let (lost, unreadable) = records::examine(connection)?;
    let no_ledger = records::examine_ledger(connection)?;
    problems.extend(unreadable);
    let count: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {}", layout.table), [], |row| row.get(0))?;
    let facts = Facts {
        permissions: vec![Permission {
            what: format!("writing to {}", worker.place),
            granted: Some(!connection.is_readonly("main")?),
            grant: format!("chown {} and its folder to the daemon's user", worker.place),
        }],
        rows: u64::try_from(count).ok(),
        ineligible: count_blank(&ineligible),
        records: lost,
        no_ledger,
        ..Facts::default()
    };
    Ok((facts, customers, problems))
}
