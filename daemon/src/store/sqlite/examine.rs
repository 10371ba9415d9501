//! What the doctor wants to know of a SQLite file. It is opened, but nothing is written.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::super::facts::{Counting, Examine, Examined, Facts, Ineligible, Permission};
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
    let (customers, mut problems, _) = rows::customers(connection, layout, fallback_url)?;
    let (lost, unreadable) = records::examine(connection)?;
    problems.extend(unreadable);
    let count: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {}", layout.table), [], |row| row.get(0))?;
    let facts = Facts {
        permissions: vec![writing(connection.is_readonly("main")?, worker)],
        rows: u64::try_from(count).ok(),
        ineligible: ineligible(connection, layout, fallback_url.is_some())?,
        records: lost,
        ..Facts::default()
    };
    Ok((facts, customers, problems))
}

/// Whether the file can be written: by whoever asks, and by whom it belongs to.
fn writing(is_readonly: bool, worker: &Worker) -> Permission {
    let what = format!("writing to {}", worker.place);
    let folder = folder(&worker.path);
    match strangers(&worker.path, folder) {
        strangers if strangers.is_empty() => Permission {
            what,
            granted: Some(!is_readonly),
            grant: format!("chown {} and its folder to the daemon's user", worker.place),
        },
        strangers => Permission {
            what: format!("{what}, as the owner of its folder is another one"),
            granted: Some(false),
            grant: format!("chown --reference={} {}", folder.display(), strangers.join(" ")),
        },
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The files of the database that do not belong to the owner of their folder, where neither of the two lets anybody else
/// write: the owner of the one cannot write the other. Root, who often asks the doctor, can; and what root has made by hand
/// is root's.
fn strangers(path: &Path, folder: &Path) -> Vec<String> {
    let is_closed = |file: &Metadata| file.mode() & 0o022 == 0;
    let Ok(folder) = folder.metadata() else { return Vec::new() };
    ["", "-wal", "-shm"]
        .into_iter()
        .map(|ending| format!("{}{ending}", path.display()))
        .filter(|file| {
            let stranger = |file: Metadata| file.uid() != folder.uid() && is_closed(&file);
            is_closed(&folder) && std::fs::metadata(file).is_ok_and(stranger)
        })
        .collect()
}

fn ineligible(
    connection: &Connection,
    layout: &Layout,
    with_fallback: bool,
) -> rusqlite::Result<Vec<Ineligible>> {
    let url = if with_fallback { "0" } else { "trim(ifnull(tb_url, '')) = ''" };
    let mut statement = connection.prepare(&format!(
        "SELECT customer_id, trim(ifnull(tb_username, '')) = '' AS u,
                trim(ifnull(tb_password, '')) = '' AS p, {url} AS l
         FROM {} WHERE u OR p OR l",
        layout.table
    ))?;
    let mut counting = Counting::default();
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let id = rows::text(row.get_ref(0)?).ok().flatten();
        let blank = [row.get::<_, bool>(1)?, row.get(2)?, row.get(3)?];
        let names = ["tb_username", "tb_password", "tb_url"];
        let blank: Vec<&str> =
            names.into_iter().zip(blank).filter(|(_, is)| *is).map(|(name, _)| name).collect();
        counting.add(&blank, id.as_deref().unwrap_or("(no id)"));
    }
    Ok(counting.finish())
}
