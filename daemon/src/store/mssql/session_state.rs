//! The state of the tables of a session, when they were last read.

use tiberius::{ColumnData, Query, Row};

use super::super::StoreError;
use super::layout::{Column, Layout, LayoutError};
use super::problem::Problem;
use super::quoted::quote;
use super::record_storage::{self, RecordStorage};
use super::row_source::RowSource;
use super::session::{Session, batch, rows, unreadable_answer};
use super::trouble::{Meaning, Names, Operation, ServerError, Trouble};
use super::zone::{ExpiryClock, Zone};
use super::{statements, types};
use crate::model::FingerprintKey;

/// The state of the tables.
#[derive(Debug)]
pub(super) struct SessionState {
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

impl SessionState {
    /// Reads the state of all tables. Without a `key` in use, takes the database's or a new one.
    pub(super) async fn read(
        session: &mut Session,
        names: &Names,
        key: Option<&FingerprintKey>,
        may_create_tables: bool,
    ) -> Result<Self, StoreError> {
        let reading = |trouble| names.explain(trouble, Operation::Reading);
        let layout = layout(session, names).await.map_err(reading)?;
        let records = record_storage::prepare(session, &names.table, key, may_create_tables)
            .await
            .map_err(|trouble| names.explain(trouble, Operation::Recording))?;
        let row_source = row_source(session).await.map_err(reading)?;
        Ok(Self { layout, records, row_source, has_ledger: false, zone: Zone::UTC })
    }

    /// Reads the clock of the server, if its times are local.
    pub(super) async fn read_clock(
        &mut self,
        session: &mut Session,
        clock: ExpiryClock,
    ) -> Result<(), Trouble> {
        if clock == ExpiryClock::Utc {
            return Ok(());
        }
        let rows = rows(session, Query::new(statements::CLOCK)).await?;
        let offset = rows.first().and_then(|row| row.get_column_data(1).ok()).map(types::number);
        match offset {
            Some(Ok(Some(minutes))) => {
                self.zone = Zone::ahead(i32::try_from(minutes).unwrap_or(0));
                Ok(())
            }
            _ => Err(unreadable_answer()),
        }
    }

    /// Reads the layout of the customers' table again.
    pub(super) async fn read_layout(&mut self, session: &mut Session, names: &Names) -> Result<(), Trouble> {
        self.layout = layout(session, names).await?;
        Ok(())
    }

    /// Prepares the records' tables if they were not usable. Returns whether they became usable.
    pub(super) async fn prepare_records(
        &mut self,
        session: &mut Session,
        table: &str,
    ) -> Result<bool, Trouble> {
        if self.records.problem().is_none() {
            return Ok(false);
        }
        let key = self.records.key().clone();
        self.records = record_storage::prepare(session, table, Some(&key), true).await?;
        Ok(self.records.problem().is_none())
    }
}

/// Tries whether the server reads JSON. The compatibility level would tell it for SQL Server alone.
async fn row_source(session: &mut Session) -> Result<RowSource, Trouble> {
    match batch(session, statements::JSON).await {
        Ok(()) => Ok(RowSource::Json),
        Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => Ok(RowSource::Values),
        Err(trouble) => Err(trouble),
    }
}

/// Reads the layout of the customers' table. Without a permission the server shows no columns; then a probe returns the error.
async fn layout(session: &mut Session, names: &Names) -> Result<Layout, Trouble> {
    let quoted = quote(&names.table);
    let mut query = Query::new(statements::COLUMNS);
    query.bind(quoted.as_str());
    let columns = rows(session, query)
        .await?
        .into_iter()
        .map(column)
        .collect::<Option<Vec<Column>>>()
        .ok_or_else(unreadable_answer)?;
    match Layout::from_columns(&names.table, &columns) {
        Ok(layout) => Ok(layout),
        Err(error) => {
            let touched = rows(session, Query::new(statements::probe(&quoted))).await;
            // For a missing column, its name says more than the error's number.
            if let Err(trouble) = touched
                && !matches!(trouble, Trouble::Server(ServerError { number: 207, .. }))
            {
                return Err(trouble);
            }
            Err(Trouble::Table(Box::new(explain(error, names))))
        }
    }
}

fn explain(error: LayoutError, names: &Names) -> StoreError {
    let table = names.table.clone();
    match error {
        LayoutError::NoColumn(column) => StoreError::MissingColumn { table, column: column.to_owned() },
        LayoutError::WrongType { column, found, wanted } => {
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
        collation: types::text(cells.next()?).ok()?,
    })
}

fn small(value: &ColumnData<'static>) -> Option<Option<i32>> {
    types::number(value).ok().map(|number| number.and_then(|number| i32::try_from(number).ok()))
}
