//! The store in SQL Server: a customers' table that exists and is not altered.

mod address;
#[cfg(test)]
mod any_cell_tests;
mod backoff;
mod connect;
mod connection;
mod connections;
mod encrypted;
mod examine;
mod grants;
mod key_readers;
mod layout;
mod ledger;
mod notices;
mod own_writes;
mod problem;
mod quoted;
mod record_storage;
mod records;
mod row_source;
mod rows;
mod session;
mod settings;
mod statements;
mod tokens;
mod trouble;
mod types;
mod zone;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::address::{Address, AddressError, PortSource};
pub(super) use self::grants::schema;
pub use self::settings::{Encryption, Password, PasswordError, Settings, Trust};
pub use self::zone::ExpiryClock;

use self::connection::Connection;
use self::connections::Connections;
use self::grants::Operation;
use self::trouble::Trouble;
use super::sqlite::LedgerFile;
use super::{
    LedgerPlace, LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store, StoreError, Table,
};
use crate::model::{
    AccountKey, CustomerId, LoopState, NoticeChange, Record, Renewal, RowToken, StoredNotice,
};

/// A customers' table in SQL Server. The store connects at the first use, and again after a lost connection.
#[derive(Debug)]
pub struct MssqlStore {
    description: String,
    connections: Connections,
    /// The ledger file, for a database without a ledger.
    ledger_file: Option<LedgerFile>,
    /// Whether the ledger was last read from the file.
    ledger_is_in_file: AtomicBool,
    /// Whether the file holds accounts that the table does not have yet.
    has_unmoved_accounts: AtomicBool,
}

impl MssqlStore {
    /// Makes a store on that table.
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, true)
    }

    /// Makes a store that is only read: it does not even create its own tables.
    pub fn for_examination(settings: Settings) -> Self {
        Self::with(settings, false)
    }

    fn with(settings: Settings, may_create_tables: bool) -> Self {
        Self {
            description: settings.describe(),
            ledger_file: settings.state_folder.as_deref().map(LedgerFile::in_folder),
            ledger_is_in_file: AtomicBool::new(false),
            has_unmoved_accounts: AtomicBool::new(false),
            connections: Connections::new(settings, may_create_tables),
        }
    }

    /// Returns the file if the ledger was last read from it.
    fn ledger_file_in_use(&self) -> Option<&LedgerFile> {
        self.ledger_file.as_ref().filter(|_| self.ledger_is_in_file.load(Ordering::Relaxed))
    }

    /// Reads the ledger from the file, because the database has none.
    async fn read_ledger_file(&self, since: Option<Stamp>, why: String) -> Result<LedgerRead, StoreError> {
        let unusable = |file: String, error: String| StoreError::NoLedger { why: why.clone(), file, error };
        let Some(file) = &self.ledger_file else {
            let file = "the folder that STATE_DIRECTORY names".to_owned();
            return Err(unusable(file, "STATE_DIRECTORY, XDG_STATE_HOME and HOME name no folder".to_owned()));
        };
        let read = file.read(since).await.map_err(|error| unusable(file.place(), error.to_string()))?;
        self.ledger_is_in_file.store(true, Ordering::Relaxed);
        Ok(LedgerRead { place: LedgerPlace::File { path: file.place(), why }, ..read })
    }

    /// Adds the accounts and the loop's state that the file still holds from the time when the database had no table.
    async fn add_unmoved_accounts(&self, mut read: LedgerRead) -> Result<LedgerRead, StoreError> {
        let Some(file) = self.ledger_file.as_ref().filter(|file| read.is_whole && file.exists()) else {
            return Ok(read);
        };
        let left = file.read(None).await.map_err(|error| unusable(file, &error))?;
        if let Some(state) = left.loop_state {
            if read.loop_state.is_none() {
                self.keep_loop_state_in_table(state).await?;
                read.loop_state = Some(state);
            }
            file.forget(vec![AccountKey::LOOP]).await.map_err(|error| unusable(file, &error))?;
        }
        self.has_unmoved_accounts.store(!left.accounts.is_empty(), Ordering::Relaxed);
        Ok(LedgerRead { unmoved_accounts: left.accounts, ..read })
    }

    /// Deletes the written accounts from the file, which no longer needs them.
    async fn forget_moved_accounts(
        &self,
        mut keys: Vec<AccountKey>,
        written: &LedgerWritten,
    ) -> Result<(), StoreError> {
        if let (LedgerWritten::Written { conflicts, .. }, Some(file)) = (written, &self.ledger_file)
            && self.has_unmoved_accounts.load(Ordering::Relaxed)
        {
            keys.retain(|key| conflicts.iter().all(|(conflict, _)| conflict != key));
            let has_more = file.forget(keys).await.map_err(|error| unusable(file, &error))?;
            self.has_unmoved_accounts.store(has_more, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn keep_loop_state_in_table(&self, state: LoopState) -> Result<(), StoreError> {
        self.connections
            .run(Operation::KeepingTheLedger, move |connection| {
                Box::pin(ledger::keep_loop_state(connection, state))
            })
            .await
    }
}

/// Makes the error for the file that held the ledger earlier.
fn unusable(file: &LedgerFile, error: &StoreError) -> StoreError {
    StoreError::LedgerFileUnusable { file: file.place(), error: error.to_string() }
}

/// Reads the customers' table and the records.
async fn read_table(connection: &mut Connection, which: Records) -> Result<Table, Trouble> {
    let rows::Rows { customers, ineligible, mut problems } = rows::read(connection).await?;
    let which = match connection.prepare_records().await? {
        // The earlier records were not read yet.
        true => Records::All,
        false => which,
    };
    let (records, unreadable) = records::read(connection, which).await?;
    problems.extend(unreadable);
    let (key, records_lost) = (connection.records.key.clone(), connection.records.problem.clone());
    Ok(Table { customers, ineligible, problems, records, key, records_lost })
}

/// Stores the records from number `start` on, as far as one statement takes them. Returns the number of the next one.
async fn keep_part(connection: &mut Connection, records: &[Record], start: usize) -> Result<usize, Trouble> {
    let end = records.len().min(start + connection.row_source.rows_at_once());
    records::keep(connection, records.get(start..end).unwrap_or_default()).await?;
    Ok(end)
}

impl Store for MssqlStore {
    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn read(&self, which: Records) -> Result<Table, StoreError> {
        if let Some(file) = self.ledger_file.as_ref().filter(|file| which == Records::All && file.exists())
            // If the file cannot be used, reading the ledger reports why.
            && let Ok(key) = file.key().await
        {
            // A new table takes over the key of the file, so that the fingerprints in the file stay valid.
            self.connections.offer_key(key).await;
        }
        let mut table = self
            .connections
            .run(Operation::Reading, move |connection| Box::pin(read_table(connection, which)))
            .await?;
        if let Some(file) = self.ledger_file.as_ref().filter(|_| table.records_lost.is_some())
            // Without a file either, reading the ledger reports why.
            && let Ok(key) = file.key().await
        {
            table.key = key;
        }
        Ok(table)
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        self.connections
            .run(Operation::Saving, move |connection| {
                let batch = Arc::clone(&batch);
                Box::pin(async move { rows::save(connection, &batch).await })
            })
            .await
    }

    async fn tokens(&self, ids: Vec<CustomerId>) -> Result<Vec<RowToken>, StoreError> {
        let ids = Arc::new(ids);
        self.connections
            .run(Operation::Reading, move |connection| {
                let ids = Arc::clone(&ids);
                Box::pin(async move { tokens::read(connection, &ids).await })
            })
            .await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        let latest = Arc::new(records::latest(batch));
        // Tokens can be saved between two statements.
        let mut start = 0;
        while start < latest.len() {
            start = self
                .connections
                .run(Operation::Recording, |connection| {
                    let latest = Arc::clone(&latest);
                    Box::pin(async move { keep_part(connection, &latest, start).await })
                })
                .await?;
        }
        Ok(())
    }

    async fn read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        let read = self
            .connections
            .run(Operation::KeepingTheLedger, move |connection| Box::pin(ledger::read(connection, since)))
            .await?;
        match read {
            ledger::ReadOutcome::Ledger(read) => {
                self.ledger_is_in_file.store(false, Ordering::Relaxed);
                self.add_unmoved_accounts(read).await
            }
            ledger::ReadOutcome::NoTable(why) => self.read_ledger_file(since, why).await,
        }
    }

    async fn write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        if let Some(file) = self.ledger_file_in_use() {
            return file.write(write).await;
        }
        let keys = write.accounts.iter().map(|account| account.key).collect();
        let write = Arc::new(write);
        let was_sent = AtomicBool::new(false);
        let written = self
            .connections
            .run(Operation::KeepingTheLedger, move |connection| {
                let write = Arc::clone(&write);
                let is_repeated = was_sent.swap(true, Ordering::Relaxed);
                Box::pin(async move { ledger::write(connection, &write, is_repeated).await })
            })
            .await?;
        self.forget_moved_accounts(keys, &written).await?;
        Ok(written)
    }

    async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        if let Some(file) = self.ledger_file_in_use() {
            return file.keep_loop_state(state).await;
        }
        self.keep_loop_state_in_table(state).await
    }

    async fn read_notices(&self) -> Result<Option<Vec<StoredNotice>>, StoreError> {
        self.connections
            .run(Operation::KeepingNotices, |connection| Box::pin(notices::read(connection)))
            .await
    }

    async fn write_notices(&self, changes: Vec<NoticeChange>) -> Result<(), StoreError> {
        // Tokens can be saved between two of them.
        for change in changes.into_iter().map(Arc::new) {
            self.connections
                .run(Operation::KeepingNotices, |connection| {
                    let change = Arc::clone(&change);
                    Box::pin(async move { notices::write(connection, &change).await })
                })
                .await?;
        }
        Ok(())
    }
}
