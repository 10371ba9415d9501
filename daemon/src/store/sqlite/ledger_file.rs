//! A ledger in a SQLite file of its own, for a store whose database has no table for it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::super::{LedgerRead, LedgerWrite, LedgerWritten, Stamp, StoreError};
use super::files::Files;
use super::{connect, create_file, ledger, records, translate};
use crate::model::{AccountKey, FingerprintKey, LoopState};

/// The name of the file.
pub const LEDGER_FILE: &str = "ledger.db";

/// A ledger in the file [`LEDGER_FILE`] of a folder. The file is made at the first use.
#[derive(Debug)]
pub(in crate::store) struct LedgerFile {
    path: PathBuf,
    open: Arc<Mutex<Option<Open>>>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    path: PathBuf,
    /// Compared at each use, to notice that the file is gone or was replaced.
    files: Files,
}

impl LedgerFile {
    /// Names the file in `folder`.
    pub(in crate::store) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(LEDGER_FILE), open: Arc::default() }
    }

    /// Returns the path of the file, for people.
    pub(in crate::store) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Does the same as [`Store::read_ledger`](super::super::Store::read_ledger).
    pub(in crate::store) async fn read(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        self.run(move |connection| ledger::read(connection, since)).await
    }

    /// Does the same as [`Store::write_ledger`](super::super::Store::write_ledger).
    pub(in crate::store) async fn write(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        self.run(move |connection| ledger::write(connection, &write)).await
    }

    /// Reads the key of the fingerprints, or makes it. The file holds it while the database has no table for it, so that
    /// the rejections in the ledger are still known after a restart.
    pub(in crate::store) async fn key(&self) -> Result<FingerprintKey, StoreError> {
        self.run(records::key_alone).await
    }

    /// Whether there is one.
    pub(in crate::store) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Forgets rows that another ledger has. Says whether it holds other accounts.
    pub(in crate::store) async fn forget(&self, keys: Vec<AccountKey>) -> Result<bool, StoreError> {
        self.run(move |connection| ledger::forget(connection, &keys)).await
    }

    /// Does the same as [`Store::keep_loop_state`](super::super::Store::keep_loop_state).
    pub(in crate::store) async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        self.run(move |connection| ledger::keep_loop_state(connection, state)).await
    }

    /// Does `work` on the open file, on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (path, open, place) = (self.path.clone(), Arc::clone(&self.open), self.place());
        let failed = StoreError::Failed { place: place.clone(), why: "its thread has ended".to_owned() };
        let done = tokio::task::spawn_blocking(move || {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            // The file is taken out, so that it is opened again after an error.
            let mut file = match open.take() {
                Some(file) if file.files.change(Files::at(&path)).is_none() => file,
                _ => Open::new(&path)?,
            };
            let result = work(&mut file.connection).map_err(|error| translate(&place, &error))?;
            *open = Some(file);
            Ok(result)
        });
        done.await.unwrap_or(Err(failed))
    }
}

impl Open {
    /// Opens the file, or makes it if it is gone. Its new stamp shows that it is another ledger.
    fn new(path: &Path) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        let cannot_open =
            |error: std::io::Error| StoreError::CannotOpen { place: place.clone(), why: error.to_string() };
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot_open)?;
        }
        create_file(path).map_err(cannot_open)?;
        let connection = connect(path).map_err(|error| translate(&place, &error))?;
        Ok(Self { connection, path: path.to_owned(), files: Files::at(path) })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.files.before_closing(&self.path, &self.connection);
    }
}
