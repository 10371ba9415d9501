//! The one connection: who may use it, when it is thrown away, when a new one may be made.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tiberius::{ColumnData, Query, Row};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::StoreError;
use super::known::Known;
use super::patience::Patience;
use super::problem::Problem;
use super::session::{self, Session};
use super::settings::Settings;
use super::trouble::{Doing, Names, Trouble};
use super::zone::ExpiryClock;
use super::{connect, keeping, statements};
use crate::model::{FingerprintKey, Secret};

/// The connection and its history.
#[derive(Debug)]
pub(super) struct Connections {
    settings: Settings,
    names: Names,
    may_make_tables: bool,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Taken out while it is used: whoever is interrupted in the middle takes it along into oblivion.
    open: Option<Connection>,
    patience: Patience,
    /// Why the last attempt failed, for those who come before the next.
    last_error: Option<StoreError>,
    /// The password that was refused.
    refused: Option<Secret>,
    /// Made or read at the first connection, then kept, unless it was offered before.
    key: Option<FingerprintKey>,
}

/// A session with what is known of its tables.
#[derive(Debug)]
pub(super) struct Connection {
    session: Session,
    pub(super) known: Known,
}

/// Something to do on a connection.
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
        Self { settings, names, may_make_tables: true, slot: Mutex::default() }
    }

    /// Connections on which nothing is changed.
    pub(super) fn for_examination(settings: Settings) -> Self {
        Self { may_make_tables: false, ..Self::new(settings) }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Does `work` on the connection, which is made first if there is none. What is lost on the way is tried once more,
    /// at once and on a new connection: so `work` must be such that doing it twice does no harm.
    ///
    /// Everybody waits for their turn; the connection is one.
    pub(super) async fn with<T>(&self, doing: Doing, work: Work<T>) -> Result<T, StoreError> {
        let mut slot = self.slot.lock().await;
        let mut is_second = false;
        loop {
            let mut connection = match slot.open.take() {
                Some(connection) => connection,
                None => self.open(&mut slot).await?,
            };
            let trouble = match work(&mut connection).await {
                Ok(result) => {
                    slot.open = Some(connection);
                    slot.patience.worked();
                    slot.last_error = None;
                    return Ok(result);
                }
                Err(trouble) => trouble,
            };
            if trouble.spares_the_connection() {
                slot.open = Some(connection);
            }
            let try_again = trouble.is_worth_another_try() && !is_second;
            let error = self.names.explain(trouble, doing);
            if slot.open.is_none() {
                slot.patience.failed(Instant::now().into_std());
                slot.last_error = Some(error.clone());
            }
            if !try_again {
                return Err(error);
            }
            is_second = true;
        }
    }

    /// A new connection, unless it is too early for one.
    async fn open(&self, slot: &mut Slot) -> Result<Connection, StoreError> {
        let password = self.password().await?;
        if slot.refused.as_ref().is_some_and(|refused| *refused != password) {
            slot.refused = None;
            slot.patience.forget_refusal();
        }
        if let Some(error) = &slot.last_error
            && !slot.patience.allows(Instant::now().into_std())
        {
            return Err(error.clone());
        }
        let result = self.log_in(&password, slot.key.as_ref()).await;
        match &result {
            Ok(connection) => {
                slot.refused = None;
                slot.key = Some(connection.known.records.key().clone());
            }
            Err(error) => {
                slot.last_error = Some(error.clone());
                let now = Instant::now().into_std();
                if matches!(error, StoreError::Server(Problem::LoginFailed { .. })) {
                    slot.refused = Some(password);
                    slot.patience.refused(now);
                } else {
                    slot.patience.failed(now);
                }
            }
        }
        result
    }

    /// The key to go on with, unless one is in use or the database has one.
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
            .map_err(|trouble| self.names.explain(trouble, Doing::Reading))?;
        let known = Known::learn(&mut session, &self.names, key, self.may_make_tables).await?;
        Ok(Connection { session, known })
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }
}

impl Connection {
    /// Looks at the clock of the server, if its times are local.
    pub(super) async fn look_at_the_clock(&mut self, clock: ExpiryClock) -> Result<(), Trouble> {
        self.known.look_at_the_clock(&mut self.session, clock).await
    }

    /// Looks at the customers' table again.
    pub(super) async fn look_at_the_table(&mut self, names: &Names) -> Result<(), Trouble> {
        self.known.look_at_the_table(&mut self.session, names).await
    }

    /// Makes the records' tables usable, if they are not and it can be done. Says whether it was.
    pub(super) async fn prepare_records(&mut self, table: &str) -> Result<bool, Trouble> {
        self.known.prepare_records(&mut self.session, table).await
    }

    /// Makes our tables where they are missing.
    pub(super) async fn make_tables(&mut self, table: &str) -> Result<(), Trouble> {
        keeping::make_tables(&mut self.session, table).await
    }

    /// The rows of a statement that brings few.
    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<Row>, Trouble> {
        session::rows(&mut self.session, query).await
    }

    /// Hands each row of a statement to `take`, and keeps none.
    pub(super) async fn each_row(
        &mut self,
        query: Query<'_>,
        take: impl FnMut(std::vec::IntoIter<ColumnData<'static>>) + Send,
    ) -> Result<(), Trouble> {
        session::each_row(&mut self.session, query, take).await
    }
}

/// Shared between the callers.
pub(super) type Shared = Arc<Connections>;
