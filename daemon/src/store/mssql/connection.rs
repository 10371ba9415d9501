//! The one connection: its use, the reasons to drop it, and the time of the next one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tiberius::{ColumnData, Query, Row};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::StoreError;
use super::backoff::Backoff;
use super::problem::Problem;
use super::session::{self, Session};
use super::session_state::SessionState;
use super::settings::Settings;
use super::trouble::{Names, Operation, Trouble};
use super::zone::ExpiryClock;
use super::{connect, record_storage, statements};
use crate::model::{FingerprintKey, Secret};

/// The connection and its history.
#[derive(Debug)]
pub(super) struct Connections {
    settings: Settings,
    names: Names,
    may_create_tables: bool,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Taken out during use, so that an interrupted use drops the connection.
    open: Option<Connection>,
    backoff: Backoff,
    /// The last error, which callers get before the next attempt.
    last_error: Option<StoreError>,
    /// The password that the server rejected.
    rejected_password: Option<Secret>,
    /// The key of the fingerprints: offered before the first connection, or made or read there.
    key: Option<FingerprintKey>,
}

/// A session, and the state of its tables.
#[derive(Debug)]
pub(super) struct Connection {
    session: Session,
    pub(super) state: SessionState,
}

/// Work on a connection.
pub(super) type Work<T> =
    Box<dyn for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T, Trouble>> + Send + Sync>;

impl Connections {
    pub(super) fn new(settings: Settings) -> Self {
        let names = Names {
            server: settings.server.clone(),
            database: settings.database.clone(),
            user: settings.user.clone(),
            table: settings.table.clone(),
        };
        Self { settings, names, may_create_tables: true, slot: Mutex::default() }
    }

    /// Makes connections that change nothing.
    pub(super) fn for_examination(settings: Settings) -> Self {
        Self { may_create_tables: false, ..Self::new(settings) }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs `work` on the connection, and connects first if necessary. If the connection is lost, `work` runs once more at once,
    /// on a new connection. So it must be safe to run `work` twice.
    ///
    /// There is one connection, so callers wait for their turn.
    pub(super) async fn run<T>(&self, operation: Operation, work: Work<T>) -> Result<T, StoreError> {
        let mut slot = self.slot.lock().await;
        let mut is_second = false;
        loop {
            let mut connection = match slot.open.take() {
                Some(connection) => connection,
                None => self.open_connection(&mut slot).await?,
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
            let error = self.names.explain(trouble, operation);
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
    async fn open_connection(&self, slot: &mut Slot) -> Result<Connection, StoreError> {
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
        let result = self.log_in(&password, slot.key.as_ref()).await;
        match &result {
            Ok(connection) => {
                slot.rejected_password = None;
                slot.key = Some(connection.state.records.key().clone());
            }
            Err(error) => {
                slot.last_error = Some(error.clone());
                let now = Instant::now().into_std();
                if matches!(error, StoreError::Server(Problem::LoginFailed { .. })) {
                    slot.rejected_password = Some(password);
                    slot.backoff.note_rejection(now);
                } else {
                    slot.backoff.note_failure(now);
                }
            }
        }
        result
    }

    /// Sets the key to use if none is in use and the database has none.
    pub(super) async fn offer_key(&self, key: FingerprintKey) {
        self.slot.lock().await.key.get_or_insert(key);
    }

    async fn password(&self) -> Result<Secret, StoreError> {
        let source = self.settings.password.clone();
        let why = match tokio::task::spawn_blocking(move || source.get()).await {
            Ok(Ok(password)) => return Ok(password),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Problem::NoPassword { server: self.settings.server.clone(), why }.into())
    }

    async fn log_in(
        &self,
        password: &Secret,
        key: Option<&FingerprintKey>,
    ) -> Result<Connection, StoreError> {
        let mut session = connect::connect(&self.settings, &self.names, password).await?;
        session::batch(&mut session, statements::SESSION)
            .await
            .map_err(|trouble| self.names.explain(trouble, Operation::Reading))?;
        let state = SessionState::read(&mut session, &self.names, key, self.may_create_tables).await?;
        Ok(Connection { session, state })
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }
}

impl Connection {
    /// Reads the clock of the server, if its times are local.
    pub(super) async fn read_clock(&mut self, clock: ExpiryClock) -> Result<(), Trouble> {
        self.state.read_clock(&mut self.session, clock).await
    }

    /// Reads the layout of the customers' table again.
    pub(super) async fn read_layout(&mut self, names: &Names) -> Result<(), Trouble> {
        self.state.read_layout(&mut self.session, names).await
    }

    /// Prepares the records' tables if they were not usable. Returns whether they became usable.
    pub(super) async fn prepare_records(&mut self, table: &str) -> Result<bool, Trouble> {
        self.state.prepare_records(&mut self.session, table).await
    }

    /// Creates the side tables that are missing.
    pub(super) async fn create_tables(&mut self, table: &str) -> Result<(), Trouble> {
        record_storage::create_tables(&mut self.session, table).await
    }

    /// Runs a statement and collects its rows, which must be few.
    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<Row>, Trouble> {
        session::rows(&mut self.session, query).await
    }

    /// Runs a statement and passes each row to `take`, without collecting them.
    pub(super) async fn each_row(
        &mut self,
        query: Query<'_>,
        take: impl FnMut(std::vec::IntoIter<ColumnData<'static>>) + Send,
    ) -> Result<(), Trouble> {
        session::each_row(&mut self.session, query, take).await
    }
}

/// Connections that callers share.
pub(super) type Shared = Arc<Connections>;
