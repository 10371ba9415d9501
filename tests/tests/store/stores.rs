//! A wrapper for stores of either kind.

use std::sync::Arc;

use tbtokend::model::{CustomerId, LoopState, NoticeChange, Record, Renewal, RowToken, StoredNotice};
use tbtokend::store::mssql::{MssqlStore, Password, Settings};
use tbtokend::store::sqlite::SqliteStore;
use tbtokend::store::{
    LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store as _, StoreError, Table,
};

/// A store of either kind.
#[derive(Debug)]
pub(crate) enum AnyStore {
    Sqlite(SqliteStore),
    Mssql(Box<MssqlStore>),
}

impl AnyStore {
    pub(crate) async fn try_read(&self, records: Records) -> Result<Table, StoreError> {
        match self {
            Self::Sqlite(store) => store.read(records).await,
            Self::Mssql(store) => store.read(records).await,
        }
    }

    pub(crate) async fn read(&self) -> Table {
        self.try_read(Records::All).await.unwrap()
    }

    pub(crate) async fn try_save(&self, batch: Vec<Renewal>) -> Result<Vec<Saved>, StoreError> {
        match self {
            Self::Sqlite(store) => store.save(Arc::new(batch)).await,
            Self::Mssql(store) => store.save(Arc::new(batch)).await,
        }
    }

    pub(crate) async fn save(&self, batch: Vec<Renewal>) -> Vec<Saved> {
        self.try_save(batch).await.unwrap()
    }

    pub(crate) async fn tokens(&self, ids: Vec<CustomerId>) -> Vec<RowToken> {
        let tokens = match self {
            Self::Sqlite(store) => store.tokens(ids).await,
            Self::Mssql(store) => store.tokens(ids).await,
        };
        tokens.unwrap()
    }

    pub(crate) async fn try_record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.record(batch).await,
            Self::Mssql(store) => store.record(batch).await,
        }
    }

    pub(crate) async fn try_read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        match self {
            Self::Sqlite(store) => store.read_ledger(since).await,
            Self::Mssql(store) => store.read_ledger(since).await,
        }
    }

    pub(crate) async fn read_ledger(&self, since: Option<Stamp>) -> LedgerRead {
        self.try_read_ledger(since).await.unwrap()
    }

    pub(crate) async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.keep_loop_state(state).await,
            Self::Mssql(store) => store.keep_loop_state(state).await,
        }
    }

    pub(crate) async fn read_notices(&self) -> Option<Vec<StoredNotice>> {
        let read = match self {
            Self::Sqlite(store) => store.read_notices().await,
            Self::Mssql(store) => store.read_notices().await,
        };
        read.unwrap()
    }

    pub(crate) async fn write_notices(&self, changes: Vec<NoticeChange>) {
        let written = match self {
            Self::Sqlite(store) => store.write_notices(changes).await,
            Self::Mssql(store) => store.write_notices(changes).await,
        };
        written.unwrap();
    }

    pub(crate) async fn try_write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        match self {
            Self::Sqlite(store) => store.write_ledger(write).await,
            Self::Mssql(store) => store.write_ledger(write).await,
        }
    }
}

/// Makes a password that never changes.
pub(crate) fn fixed(password: &str) -> Password {
    Password::fixed(tbtokend::model::Secret::new(password))
}

/// Makes a store on SQL Server.
pub(crate) fn mssql(settings: Settings) -> AnyStore {
    AnyStore::Mssql(Box::new(MssqlStore::new(settings)))
}

/// Returns the text of an error with its remedy and its debug output, and searches them for canaries.
pub(crate) fn words(error: &StoreError) -> String {
    let words = format!("{error}\n{}", error.remedy());
    tbtoken_tests::canary::assert_clean("a store's error", format!("{words}\n{error:?}").as_bytes());
    words
}
