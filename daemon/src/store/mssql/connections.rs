//! The one connection at a time: its use, the reasons to drop it, and the time of the next one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::super::StoreError;
use super::backoff::Backoff;
use super::connection::{Connection, Site};
use super::grants::Operation;
use super::own_writes::OwnWrites;
use super::settings::Settings;
use super::trouble::Trouble;
use crate::model::{FingerprintKey, Secret};

/// The connection and its history.
#[derive(Debug)]
pub(super) struct Connections {
    site: Arc<Site>,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Taken out during use, so that an interrupted use drops the connection.
    open: Option<Box<Connection>>,
    backoff: Backoff,
    /// The last error, which callers get before the next attempt.
    last_error: Option<StoreError>,
    /// The password that the server rejected.
    rejected_password: Option<Secret>,
    /// The key of the fingerprints: offered before the first connection, or made or read there.
    key: Option<FingerprintKey>,
}

impl Connections {
    /// Makes connections that create the missing side tables, or change nothing.
    pub(super) fn new(settings: Settings, may_create_tables: bool) -> Self {
        let site = Site { settings, may_create_tables, own_writes: OwnWrites::default() };
        Self { site: Arc::new(site), slot: Mutex::default() }
    }

    /// Runs `work` on the connection, and connects first if necessary. If the connection is lost, `work` runs once more at once,
    /// on a new connection. So it must be safe to run `work` twice.
    ///
    /// There is one connection, so callers wait for their turn.
    pub(super) async fn run<T>(
        &self,
        operation: Operation,
        work: impl for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T, Trouble>> + Send + Sync,
    ) -> Result<T, StoreError> {
        let mut slot = self.slot.lock().await;
        let mut is_second = false;
        loop {
            let mut connection = match slot.open.take() {
                Some(connection) => connection,
                // On the heap: few calls connect, and that future is large.
                None => Box::pin(self.open_connection(&mut slot)).await?,
            };
            let trouble = match work(&mut connection).await {
                Ok(result) => {
                    slot.open = Some(connection);
                    slot.backoff.reset();
                    slot.last_error = None;
                    return Ok(result);
                }
                Err(trouble) => trouble,
            };
            if trouble.leaves_connection_usable() {
                slot.open = Some(connection);
            }
            let try_again = trouble.may_be_retried() && !is_second;
            let error = self.site.settings.explain(trouble, operation);
            if slot.open.is_none() {
                slot.backoff.note_failure(Instant::now().into_std());
                slot.last_error = Some(error.clone());
            }
            if !try_again {
                return Err(error);
            }
            is_second = true;
        }
    }

    /// Opens a new connection, unless it is too early for one.
    async fn open_connection(&self, slot: &mut Slot) -> Result<Box<Connection>, StoreError> {
        let password = self.password().await?;
        if slot.rejected_password.as_ref().is_some_and(|rejected| *rejected != password) {
            slot.rejected_password = None;
            slot.backoff.forget_rejection();
        }
        if let Some(error) = &slot.last_error
            && !slot.backoff.allows(Instant::now().into_std())
        {
            return Err(error.clone());
        }
        let result = Connection::open(Arc::clone(&self.site), &password, slot.key.as_ref()).await;
        match &result {
            Ok(connection) => {
                slot.rejected_password = None;
                slot.key = Some(connection.records.key.clone());
            }
            Err(error) => {
                slot.last_error = Some(error.clone());
                let now = Instant::now().into_std();
                if matches!(error, StoreError::LoginFailed { .. }) {
                    slot.rejected_password = Some(password);
                    slot.backoff.note_rejection(now);
                } else {
                    slot.backoff.note_failure(now);
                }
            }
        }
        result.map(Box::new)
    }

    /// Sets the key to use if none is in use and the database has none.
    pub(super) async fn offer_key(&self, key: FingerprintKey) {
        self.slot.lock().await.key.get_or_insert(key);
    }

    async fn password(&self) -> Result<Secret, StoreError> {
        let Settings { password, server, .. } = &self.site.settings;
        let source = password.clone();
        let read = spawn_blocking(move || source.get()).await.map_err(Into::into).flatten();
        read.map_err(|why| StoreError::NoPassword { server: server.clone(), why: why.to_string() })
    }
}
