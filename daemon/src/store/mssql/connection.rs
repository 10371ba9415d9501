//! The one connection: who may use it, when it is thrown away, when a new one may be made.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use tiberius::{ColumnData, Query, QueryItem, Row};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::StoreError;
use super::connect::{self, Session};
use super::layout::{Column, Layout, Unusable};
use super::patience::Patience;
use super::problem::Problem;
use super::records::Keeping;
use super::row_source::RowSource;
use super::settings::Settings;
use super::trouble::{Doing, Meaning, Names, ServerError, Trouble};
use super::zone::{ExpiryClock, Zone};
use super::{records, statements, types};
use crate::model::{FingerprintKey, Secret};

/// How long one statement may take that writes, or that brings little.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long reading a whole table may take.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// Made or read at the first connection, then kept.
    key: Option<FingerprintKey>,
}

/// A session with what is known of the tables.
#[derive(Debug)]
pub(super) struct Connection {
    session: Session,
    /// The customers' table, since it was last looked at.
    pub(super) layout: Layout,
    /// The records' tables.
    pub(super) records: Keeping,
    /// How a batch of rows is sent.
    pub(super) row_source: RowSource,
    /// Whether the ledger was found usable.
    pub(super) has_ledger: bool,
    /// Of the times without a zone.
    pub(super) zone: Zone,
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
                slot.key = Some(connection.records.key().clone());
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
        let reading = |trouble| self.names.explain(trouble, Doing::Reading);
        batch(&mut session, statements::SESSION).await.map_err(reading)?;
        let layout = layout(&mut session, &self.names).await.map_err(reading)?;
        let records = records::prepare(&mut session, &self.settings.table, key, self.may_make_tables)
            .await
            .map_err(|trouble| self.names.explain(trouble, Doing::Recording))?;
        let row_source = row_source(&mut session).await.map_err(reading)?;
        Ok(Connection { session, layout, records, row_source, has_ledger: false, zone: Zone::UTC })
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }
}

impl Connection {
    /// Looks at the clock of the server, if its times are local.
    pub(super) async fn look_at_the_clock(&mut self, clock: ExpiryClock) -> Result<(), Trouble> {
        if clock == ExpiryClock::Utc {
            return Ok(());
        }
        let rows = self.rows(Query::new(statements::CLOCK)).await?;
        let offset = rows.first().and_then(|row| row.get_column_data(1).ok()).map(types::number);
        match offset {
            Some(Ok(Some(minutes))) => {
                self.zone = Zone::ahead(i32::try_from(minutes).unwrap_or(0));
                Ok(())
            }
            _ => Err(strange()),
        }
    }

    /// Looks at the customers' table again.
    pub(super) async fn look_at_the_table(&mut self, names: &Names) -> Result<(), Trouble> {
        self.layout = layout(&mut self.session, names).await?;
        Ok(())
    }

    /// Makes the records' tables usable, if they are not and it can be done. Says whether it was.
    pub(super) async fn prepare_records(&mut self, table: &str) -> Result<bool, Trouble> {
        if self.records.lost().is_none() {
            return Ok(false);
        }
        let key = self.records.key().clone();
        self.records = records::prepare(&mut self.session, table, Some(&key), true).await?;
        Ok(self.records.lost().is_none())
    }

    /// Makes our tables where they are missing.
    pub(super) async fn make_tables(&mut self, table: &str) -> Result<(), Trouble> {
        records::make_tables(&mut self.session, table).await
    }

    /// The rows of a statement that brings few.
    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<Row>, Trouble> {
        rows(&mut self.session, query).await
    }

    /// Hands each row of a statement to `take`, and keeps none.
    pub(super) async fn each_row(
        &mut self,
        query: Query<'_>,
        mut take: impl FnMut(std::vec::IntoIter<ColumnData<'static>>) + Send,
    ) -> Result<(), Trouble> {
        within(READ_TIMEOUT, async {
            let mut stream = query.query(&mut self.session).await?;
            while let Some(item) = stream.try_next().await? {
                if let QueryItem::Row(row) = item {
                    take(row.into_iter());
                }
            }
            Ok(())
        })
        .await
    }
}

/// The trouble of an answer that is not what was asked for.
pub(super) fn strange() -> Trouble {
    Trouble::Lost("the server's answer cannot be understood".to_owned())
}

/// Awaits under a deadline.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, tiberius::error::Error>> + Send,
) -> Result<T, Trouble> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(Trouble::from),
        Err(_) => Err(Trouble::TimedOut),
    }
}

/// Runs a plain text.
pub(super) async fn batch(session: &mut Session, sql: &str) -> Result<(), Trouble> {
    within(STATEMENT_TIMEOUT, async {
        session.simple_query(sql).await?.into_results().await?;
        Ok(())
    })
    .await
}

/// Runs a statement and collects its rows, of all its results.
pub(super) async fn rows(session: &mut Session, query: Query<'_>) -> Result<Vec<Row>, Trouble> {
    within(STATEMENT_TIMEOUT, async {
        let results = query.query(session).await?.into_results().await?;
        Ok(results.into_iter().flatten().collect())
    })
    .await
}

/// Whether the server reads JSON is learned by trying: the compatibility level tells it for SQL Server alone.
async fn row_source(session: &mut Session) -> Result<RowSource, Trouble> {
    match batch(session, statements::JSON).await {
        Ok(()) => Ok(RowSource::Json),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => Ok(RowSource::Values),
        Err(trouble) => Err(trouble),
    }
}

/// Looks at the customers' table. Of a table on which one has no permission nothing is seen: then touching it tells why.
async fn layout(session: &mut Session, names: &Names) -> Result<Layout, Trouble> {
    let quoted = statements::quote(&names.table);
    let mut query = Query::new(statements::COLUMNS);
    query.bind(quoted.as_str());
    let columns = rows(session, query)
        .await?
        .into_iter()
        .map(column)
        .collect::<Option<Vec<Column>>>()
        .ok_or_else(strange)?;
    match Layout::of(&names.table, &columns) {
        Ok(layout) => Ok(layout),
        Err(unusable) => {
            let touched = rows(session, Query::new(statements::probe(&quoted))).await;
            // An error about a column is better told by its name than by its number.
            if let Err(trouble) = touched
                && !matches!(trouble, Trouble::Server(ServerError { number: 207, .. }))
            {
                return Err(trouble);
            }
            Err(Trouble::Table(Box::new(explain(unusable, names))))
        }
    }
}

fn explain(unusable: Unusable, names: &Names) -> StoreError {
    let table = names.table.clone();
    match unusable {
        Unusable::NoColumn(column) => StoreError::MissingColumn { table, column: column.to_owned() },
        Unusable::WrongType { column, found, wanted } => {
            Problem::WrongType { table, column, found, wanted }.into()
        }
    }
}

fn column(row: Row) -> Option<Column> {
    let mut cells = row.into_iter();
    Some(Column {
        name: types::text(cells.next()?).ok()??,
        kind: types::text(cells.next()?).ok()??.to_ascii_lowercase(),
        length: small(&cells.next()?)?,
        scale: small(&cells.next()?)?,
    })
}

fn small(value: &ColumnData<'static>) -> Option<Option<i32>> {
    types::number(value).ok().map(|number| number.and_then(|number| i32::try_from(number).ok()))
}

/// Shared between the callers.
pub(super) type Shared = Arc<Connections>;
