//! One connection: the session, and the state of the tables when they were last read.

use std::sync::Arc;

use tiberius::Query;

use super::super::StoreError;
use super::connect::connect;
use super::grants::Operation;
use super::layout::{Column, Layout};
use super::own_writes::OwnWrites;
use super::quoted::quote;
use super::record_storage::{self, RecordStorage};
use super::row_source::RowSource;
use super::session::Session;
use super::settings::Settings;
use super::statements;
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{Cells, UnreadableValue, read_number, read_text, read_time};
use super::zone::{ExpiryClock, Zone};
use crate::model::{FingerprintKey, Secret};
use crate::store::facts::ServerClock;

/// What all connections of a store share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) settings: Settings,
    /// Whether missing side tables may be created.
    pub(super) may_create_tables: bool,
    /// The expiries that this daemon wrote.
    pub(super) own_writes: OwnWrites,
}

/// A session, and the state of its tables.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) site: Arc<Site>,
    /// The layout of the customers' table.
    pub(super) layout: Layout,
    /// The storage of records.
    pub(super) records: RecordStorage,
    /// The form in which a batch of rows is sent.
    pub(super) row_source: RowSource,
    /// Whether the ledger was found usable.
    pub(super) has_ledger: bool,
    /// The zone of times without one.
    pub(super) zone: Zone,
}

impl Connection {
    /// Logs in and reads the state of all tables. Without a `key` in use, takes the database's or a new one.
    pub(super) async fn open(
        site: Arc<Site>,
        password: &Secret,
        key: Option<&FingerprintKey>,
    ) -> Result<Self, StoreError> {
        let settings = &site.settings;
        let mut session = connect(settings, password).await?;
        let reading = |trouble| settings.explain(trouble, Operation::Reading);
        session.batch(statements::SESSION).await.map_err(reading)?;
        let layout = read_layout(&mut session, &settings.table).await.map_err(reading)?;
        let records = record_storage::prepare(&mut session, &settings.table, key, site.may_create_tables)
            .await
            .map_err(|trouble| settings.explain(trouble, Operation::Recording))?;
        let row_source = find_row_source(&mut session).await.map_err(reading)?;
        Ok(Self { session, site, layout, records, row_source, has_ledger: false, zone: Zone::UTC })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.site.settings
    }

    /// Makes the query of a statement on the side tables.
    pub(super) fn on_side_tables<'a>(&self, statement: &str) -> Query<'a> {
        statements::on_side_tables(statement, &self.settings().table)
    }

    /// Reads the clock of the server, if its times are local.
    pub(super) async fn update_zone(&mut self) -> Result<(), Trouble> {
        if self.settings().expiry_clock == ExpiryClock::ServerLocal {
            self.zone = Zone::ahead(self.read_clock().await?.offset_minutes);
        }
        Ok(())
    }

    /// Reads the clock of the server.
    pub(super) async fn read_clock(&mut self) -> Result<ServerClock, Trouble> {
        let row = self.session.first_row(Query::new(statements::CLOCK)).await?;
        let mut cells = row.ok_or(UnreadableValue)?;
        let utc = cells.require(read_time)?.and_utc();
        let offset_minutes = i32::try_from(cells.require(read_number)?).unwrap_or(0);
        Ok(ServerClock { utc, offset_minutes })
    }

    /// Reads the layout of the customers' table again.
    pub(super) async fn update_layout(&mut self) -> Result<(), Trouble> {
        self.layout = read_layout(&mut self.session, &self.site.settings.table).await?;
        Ok(())
    }

    /// Prepares the records' tables if they were not usable. Returns whether they became usable.
    pub(super) async fn prepare_records(&mut self) -> Result<bool, Trouble> {
        if self.records.problem.is_none() {
            return Ok(false);
        }
        let (table, key) = (&self.site.settings.table, self.records.key.clone());
        self.records = record_storage::prepare(&mut self.session, table, Some(&key), true).await?;
        Ok(self.records.problem.is_none())
    }
}

/// Tries whether the server reads JSON. The compatibility level would tell it for SQL Server alone.
async fn find_row_source(session: &mut Session) -> Result<RowSource, Trouble> {
    match session.batch(statements::JSON).await {
        Ok(()) => Ok(RowSource::Json),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => Ok(RowSource::Values),
        Err(trouble) => Err(trouble),
    }
}

/// Reads the layout of the customers' table. Without a permission the server shows no columns; then a probe returns the error.
async fn read_layout(session: &mut Session, table: &str) -> Result<Layout, Trouble> {
    let quoted = quote(table);
    let mut query = Query::new(statements::COLUMNS);
    query.bind(quoted.as_str());
    let rows = session.rows(query).await?.into_iter();
    let columns = rows.map(|row| read_column(row.into())).collect::<Result<Vec<Column>, _>>()?;
    let error = match Layout::from_columns(table, &columns) {
        Ok(layout) => return Ok(layout),
        Err(error) => error,
    };
    match session.execute(Query::new(statements::probe(&quoted))).await {
        // For a missing column, its name says more than the error's number.
        Ok(()) | Err(Trouble::Server(ServerError { number: 207, .. })) => {
            Err(Trouble::Table(Box::new(error)))
        }
        Err(trouble) => Err(trouble),
    }
}

fn read_column(mut cells: Cells) -> Result<Column, UnreadableValue> {
    let small = |number: Option<i64>| number.and_then(|number| i32::try_from(number).ok());
    Ok(Column {
        name: cells.require(read_text)?,
        kind: cells.require(read_text)?.to_ascii_lowercase(),
        length: small(cells.next(read_number)?),
        scale: small(cells.next(read_number)?),
        collation: cells.next(read_text)?,
    })
}
