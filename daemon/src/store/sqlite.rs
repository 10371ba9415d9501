//! The embedded store: a SQLite file, which one thread uses.

pub mod customers;
mod examine;
mod files;
mod ledger;
mod ledger_file;
mod notices;
mod records;
mod root;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

pub use self::ledger_file::LEDGER_FILE;
pub(super) use self::ledger_file::LedgerFile;
pub use self::root::become_owner;
pub(super) use self::schema::statements as schema_statements;

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tokio::sync::oneshot;

use self::files::Files;
use super::{LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store, StoreError, Table};
use crate::model::{
    CustomerId, FingerprintKey, LoopState, NoticeChange, Record, Renewal, RowToken, StoredNotice,
};

/// How long a statement waits for another program's write transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQLite file that holds the customers' table.
#[derive(Debug)]
pub struct SqliteStore {
    description: String,
    /// Present until the store is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    /// Disconnects when the thread has closed the file.
    closed: Mutex<mpsc::Receiver<()>>,
}

/// How long the drop waits until the file is closed. A disk that does not answer must not delay the shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// A piece of work for the thread.
type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// The state of the thread.
struct Worker {
    path: PathBuf,
    place: String,
    table: String,
    fallback_url: Option<String>,
    /// The open file; `None` if it must be opened again.
    open: Option<Open>,
    /// Whether the file was ever opened. Only before that it may be created.
    was_open: bool,
    /// Made or read at the first opening, then kept.
    key: Option<FingerprintKey>,
}

struct Open {
    connection: Connection,
    path: PathBuf,
    /// Compared at each use, to notice that a file was replaced or removed.
    files: Files,
    layout: schema::Layout,
    /// Compared at each use, to notice that a table was changed.
    schema_version: i64,
    /// Why there is no side table for the records, if so.
    records_lost: Option<String>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.files.before_closing(&self.path, &self.connection);
    }
}

impl SqliteStore {
    /// Makes a store on the file at `path`, which is opened, and created if necessary, at the first use.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(path: &Path, table: &str, fallback_url: Option<String>) -> std::io::Result<Self> {
        let place = path.display().to_string();
        let worker = Worker {
            path: path.to_owned(),
            place: place.clone(),
            table: table.to_owned(),
            fallback_url,
            open: None,
            was_open: false,
            key: None,
        };
        let (jobs, queue) = mpsc::channel::<Job>();
        let (closing, closed) = mpsc::channel();
        thread::Builder::new().name("sqlite".to_owned()).spawn(move || {
            let _closing = closing;
            // Declared last, so that it is dropped, and the file closed, before `_closing` reports the end.
            let mut worker = worker;
            for job in queue {
                job(&mut worker);
            }
        })?;
        let (jobs, closed) = (Some(jobs), Mutex::new(closed));
        Ok(Self { description: format!("sqlite {place}"), jobs, closed })
    }

    /// Does `work` on the thread and waits for the result.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |worker: &mut Worker| {
            // The caller may have stopped waiting; the work is done anyway.
            let _ = reply.send(work(worker));
        };
        let stopped = || StoreError::Failed {
            place: self.description.clone(),
            why: "its thread has ended; this is a bug, please report it and restart tbtokend".to_owned(),
        };
        self.jobs.as_ref().ok_or_else(stopped)?.send(Box::new(job)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for SqliteStore {
    /// Waits until the file is closed. Only then a copy of the file is complete after the daemon has ended.
    fn drop(&mut self) {
        self.jobs = None;
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = closed.recv_timeout(CLOSE_TIMEOUT);
    }
}

impl Store for SqliteStore {
    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn read(&self, records: Records) -> Result<Table, StoreError> {
        self.run(move |worker| worker.with_open(|open, context| rows::read(open, context, records))).await
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        self.run(move |worker| worker.with_open(|open, _| rows::save(open, &batch))).await
    }

    async fn tokens(&self, ids: Vec<CustomerId>) -> Result<Vec<RowToken>, StoreError> {
        self.run(move |worker| worker.with_open(|open, _| rows::read_tokens(open, ids))).await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        self.run(move |worker| worker.with_open(|open, _| records::keep(open, &batch))).await
    }

    async fn read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        self.run(move |worker| worker.with_open(|open, _| ledger::read(&mut open.connection, since))).await
    }

    async fn write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        self.run(move |worker| worker.with_open(|open, _| ledger::write(&mut open.connection, &write))).await
    }

    async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        self.run(move |worker| worker.with_open(|open, _| ledger::keep_loop_state(&open.connection, state)))
            .await
    }

    async fn read_notices(&self) -> Result<Option<Vec<StoredNotice>>, StoreError> {
        self.run(|worker| worker.with_open(|open, _| notices::read(&open.connection))).await
    }

    async fn write_notices(&self, changes: Vec<NoticeChange>) -> Result<(), StoreError> {
        self.run(move |worker| worker.with_open(|open, _| notices::write(&mut open.connection, &changes)))
            .await
    }
}

/// The values that reading needs besides the connection.
struct Context<'a> {
    fallback_url: Option<&'a str>,
    key: &'a FingerprintKey,
}

impl Worker {
    /// Does `work` on the open file. After any error the file is closed, so that the next use opens it as it is then.
    fn with_open<T>(
        &mut self,
        work: impl FnOnce(&mut Open, &Context<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let place = self.place.clone();
        let result = self
            .ensure_open()
            .and_then(|(open, context)| work(open, &context).map_err(|error| translate(&place, &error)));
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn ensure_open(&mut self) -> Result<(&mut Open, Context<'_>), StoreError> {
        let files = Files::at(&self.path);
        if !files.exist() && self.was_open {
            return Err(StoreError::Gone { place: self.place.clone() });
        }
        if let Some(change) = self.open.as_ref().and_then(|open| open.files.change(files)) {
            self.open = None;
            tracing::warn!(
                "{} {change} while tbtokend had it open; it was opened again as it is now. Stop tbtokend before you restore a database.",
                self.place
            );
        }
        let is_current = |open: &Open| {
            schema::version(&open.connection).is_ok_and(|version| version == open.schema_version)
        };
        if !self.open.as_ref().is_some_and(is_current) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.open_file()?);
            self.was_open = true;
        }
        match (&mut self.open, &self.key) {
            (Some(open), Some(key)) => {
                Ok((open, Context { fallback_url: self.fallback_url.as_deref(), key }))
            }
            _ => Err(StoreError::Failed { place: self.place.clone(), why: "it is not open".to_owned() }),
        }
    }

    fn open_file(&mut self) -> Result<Open, StoreError> {
        let failed = |error: &rusqlite::Error| translate(&self.place, error);
        let cannot_open = |error: std::io::Error| StoreError::CannotOpen {
            place: self.place.clone(),
            why: error.to_string(),
        };
        root::refuse_planted(&self.path)?;
        if !self.was_open {
            create_file(&self.path).map_err(cannot_open)?;
        }
        let mut connection = connect(&self.path).map_err(|e| failed(&e))?;
        // Taken at once: a later replacement is noticed at the next use.
        let files = Files::at(&self.path);
        if !self.was_open {
            schema::create_if_empty(&mut connection, &self.table).map_err(|e| failed(&e))?;
        }
        let layout = schema::inspect(&connection, &self.place, &self.table)
            .map_err(|e| failed(&e))
            .and_then(|layout| layout)?;
        let (key, records_lost) =
            records::prepare(&mut connection, self.key.as_ref()).map_err(|e| failed(&e))?;
        self.key = Some(key);
        // Made before the version of the schema is read. An error is ignored here: tokens are renewed without a ledger, and
        // reading the ledger reports the reason.
        let _ = ledger::make(&connection);
        let schema_version = schema::version(&connection).map_err(|e| translate(&self.place, &e))?;
        let (path, files) = (self.path.clone(), files.with_beside(Files::at(&self.path)));
        Ok(Open { connection, path, files, layout, schema_version, records_lost })
    }
}

/// Makes the file if there is none. Only its owner can read it, because it will hold passwords.
fn create_file(path: &Path) -> std::io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::configure(&connection)?;
    Ok(connection)
}

/// Returns SQLite's message, which names tables and columns but never values. The statement is left out, because it means
/// nothing to an operator.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::FromSqlConversionFailure(_, _, why) => why.to_string(),
        error => error.to_string(),
    }
}

/// Turns SQLite's error into a [`StoreError`].
fn translate(place: &str, error: &rusqlite::Error) -> StoreError {
    let place = place.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotADatabase { place },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { place },
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { place },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { place },
        // The -shm file, which all readers share, cannot grow.
        Some(ErrorCode::SystemIoFailure) if is_no_room(error) => StoreError::DiskFull { place },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            StoreError::CannotOpen { place, why: words(error) }
        }
        _ => StoreError::Failed { place, why: words(error) },
    }
}

fn is_no_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}
