//! The store that the product is for: a customers' table in SQL Server, as it is.

mod address;
#[cfg(test)]
mod any_cell;
mod connect;
mod connection;
mod examine;
mod grants;
mod keeping;
mod key_readers;
mod known;
mod layout;
mod ledger;
mod own;
mod patience;
mod problem;
mod quoted;
mod records;
mod row_source;
mod rows;
mod secure;
mod session;
mod settings;
mod statements;
mod tokens;
mod trouble;
mod types;
mod zone;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::address::{Address, At, BadAddress};
pub(super) use self::grants::schema;
pub use self::problem::{NotLocated, Problem};
pub use self::settings::{Encryption, Password, Settings, Trust, Unreadable};
pub use self::zone::ExpiryClock;

use self::connection::{Connections, Shared};
use self::rows::SharedOwn;
use self::trouble::Doing;
use super::sqlite::LedgerFile;
use super::{
    LedgerPlace, LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store, StoreError, Table,
};
use crate::model::{AccountKey, CustomerId, LoopState, Record, Renewal, RowToken};

/// A customers' table in SQL Server. It is connected to at the first use, and again whenever the connection was lost.
#[derive(Debug)]
pub struct MssqlStore {
    description: String,
    connections: Shared,
    own: Arc<SharedOwn>,
    /// Where the ledger is while the database has none.
    ledger_file: Option<LedgerFile>,
    /// Whether the ledger was last read from there.
    ledger_is_in_file: AtomicBool,
    /// Whether accounts in it are still to be written to the table.
    has_left_behind: AtomicBool,
}

impl MssqlStore {
    /// A store on that table.
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, Connections::new)
    }

    /// A store that is only looked at: it does not even make its own tables.
    pub fn for_examination(settings: Settings) -> Self {
        Self::with(settings, Connections::for_examination)
    }

    fn with(settings: Settings, connections: fn(Settings) -> Connections) -> Self {
        Self {
            description: settings.describe(),
            ledger_file: settings.state_folder.as_deref().map(LedgerFile::in_folder),
            ledger_is_in_file: AtomicBool::new(false),
            has_left_behind: AtomicBool::new(false),
            connections: Arc::new(connections(settings)),
            own: Arc::default(),
        }
    }

    /// The file, if the ledger was last read from there.
    fn ledger_file_in_use(&self) -> Option<&LedgerFile> {
        self.ledger_file.as_ref().filter(|_| self.ledger_is_in_file.load(Ordering::Relaxed))
    }

    /// Reads the ledger from the file, because the database has none.
    async fn read_ledger_file(&self, since: Option<Stamp>, why: String) -> Result<LedgerRead, StoreError> {
        let unusable = |folder: Option<String>, error: String| {
            StoreError::from(Problem::NoLedger { why: why.clone(), folder, error })
        };
        let Some(file) = &self.ledger_file else {
            return Err(unusable(None, "STATE_DIRECTORY, XDG_STATE_HOME and HOME name no folder".to_owned()));
        };
        let read = file.read(since).await.map_err(|error| unusable(Some(file.place()), error.to_string()))?;
        self.ledger_is_in_file.store(true, Ordering::Relaxed);
        Ok(LedgerRead { place: LedgerPlace::File { path: file.place(), why }, ..read })
    }

    /// Adds what is left in the file from the time when the database had no table.
    async fn add_left_behind(&self, mut read: LedgerRead) -> Result<LedgerRead, StoreError> {
        let Some(file) = self.ledger_file.as_ref().filter(|file| read.is_whole && file.exists()) else {
            return Ok(read);
        };
        let unusable =
            |error: StoreError| Problem::LedgerFileUnusable { file: file.place(), error: error.to_string() };
        let left = file.read(None).await.map_err(unusable)?;
        if let Some(state) = left.loop_state {
            if read.loop_state.is_none() {
                self.keep_loop_state_in_table(state).await?;
                read.loop_state = Some(state);
            }
            file.forget(vec![AccountKey::LOOP]).await.map_err(unusable)?;
        }
        self.has_left_behind.store(!left.accounts.is_empty(), Ordering::Relaxed);
        Ok(LedgerRead { left_behind: left.accounts, ..read })
    }

    /// The accounts of a write that was done are not needed in the file any more.
    async fn forget_left_behind(
        &self,
        mut keys: Vec<AccountKey>,
        written: &LedgerWritten,
    ) -> Result<(), StoreError> {
        if let (LedgerWritten::Written { conflicts, .. }, Some(file)) = (written, &self.ledger_file)
            && self.has_left_behind.load(Ordering::Relaxed)
        {
            keys.retain(|key| conflicts.iter().all(|(conflict, _)| conflict != key));
            let unusable = |error: StoreError| Problem::LedgerFileUnusable {
                file: file.place(),
                error: error.to_string(),
            };
            let has_more = file.forget(keys).await.map_err(unusable)?;
            self.has_left_behind.store(has_more, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn keep_loop_state_in_table(&self, state: LoopState) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.connections);
        let work: connection::Work<()> = Box::new(move |connection| {
            let shared = Arc::clone(&shared);
            Box::pin(
                async move { ledger::keep_loop_state(connection, &shared.settings().table, state).await },
            )
        });
        self.connections.with(Doing::KeepingTheLedger, work).await
    }
}

impl Store for MssqlStore {
    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn read(&self, which: Records) -> Result<Table, StoreError> {
        if let Some(file) = self.ledger_file.as_ref().filter(|file| which == Records::All && file.exists())
            // If the file cannot be used, reading the ledger says why.
            && let Ok(key) = file.key().await
        {
            // A database that has a table since then takes it over: what is known in the file is recognized by it.
            self.connections.offer_key(key).await;
        }
        let (shared, own) = (Arc::clone(&self.connections), Arc::clone(&self.own));
        let work: connection::Work<Table> = Box::new(move |connection| {
            let (shared, own) = (Arc::clone(&shared), Arc::clone(&own));
            Box::pin(async move {
                let table = &shared.settings().table;
                let rows::Rows { customers, ineligible, mut problems } =
                    rows::read(connection, &shared, &own).await?;
                let which = match connection.prepare_records(table).await? {
                    // Those from before are to be known as well.
                    true => Records::All,
                    false => which,
                };
                let (records, unreadable) = records::read(connection, table, which).await?;
                problems.extend(unreadable);
                let key = connection.known.records.key().clone();
                let records_lost = connection.known.records.lost().map(ToOwned::to_owned);
                Ok(Table { customers, ineligible, problems, records, key, records_lost })
            })
        });
        let mut table = self.connections.with(Doing::Reading, work).await?;
        if let Some(file) = self.ledger_file.as_ref().filter(|_| table.records_lost.is_some())
            // Where there is no such file either, reading the ledger says why.
            && let Ok(key) = file.key().await
        {
            table.key = key;
        }
        Ok(table)
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        let (shared, own) = (Arc::clone(&self.connections), Arc::clone(&self.own));
        let work: connection::Work<Vec<Saved>> = Box::new(move |connection| {
            let (shared, own, batch) = (Arc::clone(&shared), Arc::clone(&own), Arc::clone(&batch));
            Box::pin(async move { rows::save(connection, &shared, &own, &batch).await })
        });
        self.connections.with(Doing::Saving, work).await
    }

    async fn tokens(&self, ids: Vec<CustomerId>) -> Result<Vec<RowToken>, StoreError> {
        let ids = Arc::new(ids);
        let work: connection::Work<Vec<RowToken>> = Box::new(move |connection| {
            let ids = Arc::clone(&ids);
            Box::pin(async move { tokens::read(connection, &ids).await })
        });
        self.connections.with(Doing::Reading, work).await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        let latest = Arc::new(records::latest(batch));
        // One statement at a time, so that tokens are saved in between.
        let mut start = 0;
        while start < latest.len() {
            let (shared, latest) = (Arc::clone(&self.connections), Arc::clone(&latest));
            let work: connection::Work<usize> = Box::new(move |connection| {
                let (shared, latest) = (Arc::clone(&shared), Arc::clone(&latest));
                Box::pin(async move {
                    let end = latest.len().min(start + connection.known.row_source.rows_at_once());
                    let part = latest.get(start..end).unwrap_or_default();
                    records::keep(connection, &shared.settings().table, part).await?;
                    Ok(end)
                })
            });
            start = self.connections.with(Doing::Recording, work).await?;
        }
        Ok(())
    }

    async fn read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        let shared = Arc::clone(&self.connections);
        let work: connection::Work<ledger::Found> = Box::new(move |connection| {
            let shared = Arc::clone(&shared);
            Box::pin(async move { ledger::read(connection, &shared.settings().table, since).await })
        });
        match self.connections.with(Doing::KeepingTheLedger, work).await? {
            ledger::Found::Ledger(read) => {
                self.ledger_is_in_file.store(false, Ordering::Relaxed);
                self.add_left_behind(read).await
            }
            ledger::Found::NoTable(why) => self.read_ledger_file(since, why).await,
        }
    }

    async fn write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        if let Some(file) = self.ledger_file_in_use() {
            return file.write(write).await;
        }
        let keys = write.accounts.iter().map(|account| account.key).collect();
        let (shared, write) = (Arc::clone(&self.connections), Arc::new(write));
        let was_sent = Arc::new(AtomicBool::new(false));
        let work: connection::Work<LedgerWritten> = Box::new(move |connection| {
            let (shared, write) = (Arc::clone(&shared), Arc::clone(&write));
            let is_repeated = was_sent.swap(true, Ordering::Relaxed);
            Box::pin(
                async move { ledger::write(connection, &shared.settings().table, &write, is_repeated).await },
            )
        });
        let written = self.connections.with(Doing::KeepingTheLedger, work).await?;
        self.forget_left_behind(keys, &written).await?;
        Ok(written)
    }

    async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        if let Some(file) = self.ledger_file_in_use() {
            return file.keep_loop_state(state).await;
        }
        self.keep_loop_state_in_table(state).await
    }
}
