//! What is known of the tables of a session, since they were last looked at.

use tiberius::{ColumnData, Query, Row};

use super::super::StoreError;
use super::keeping::{self, Keeping};
use super::layout::{Column, Layout, Unusable};
use super::problem::Problem;
use super::quoted::quote;
use super::row_source::RowSource;
use super::session::{Session, batch, rows, strange};
use super::trouble::{Doing, Meaning, Names, ServerError, Trouble};
use super::zone::{ExpiryClock, Zone};
use super::{statements, types};
use crate::model::FingerprintKey;

/// What is known of the tables.
#[derive(Debug)]
pub(super) struct Known {
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

impl Known {
    /// Looks at everything; with no `key` in use, the database's or a new one is taken.
    pub(super) async fn learn(
        session: &mut Session,
        names: &Names,
        key: Option<&FingerprintKey>,
        may_make_tables: bool,
    ) -> Result<Self, StoreError> {
        let reading = |trouble| names.explain(trouble, Doing::Reading);
        let layout = layout(session, names).await.map_err(reading)?;
        let records = keeping::prepare(session, &names.table, key, may_make_tables)
            .await
            .map_err(|trouble| names.explain(trouble, Doing::Recording))?;
        let row_source = row_source(session).await.map_err(reading)?;
        Ok(Self { layout, records, row_source, has_ledger: false, zone: Zone::UTC })
    }

    /// Looks at the clock of the server, if its times are local.
    pub(super) async fn look_at_the_clock(
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
            _ => Err(strange()),
        }
    }

    /// Looks at the customers' table again.
    pub(super) async fn look_at_the_table(
        &mut self,
        session: &mut Session,
        names: &Names,
    ) -> Result<(), Trouble> {
        self.layout = layout(session, names).await?;
        Ok(())
    }

    /// Makes the records' tables usable, if they are not and it can be done. Says whether it was.
    pub(super) async fn prepare_records(
        &mut self,
        session: &mut Session,
        table: &str,
    ) -> Result<bool, Trouble> {
        if self.records.lost().is_none() {
            return Ok(false);
        }
        let key = self.records.key().clone();
        self.records = keeping::prepare(session, table, Some(&key), true).await?;
        Ok(self.records.lost().is_none())
    }
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
    let quoted = quote(&names.table);
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
        collation: types::text(cells.next()?).ok()?,
    })
}

fn small(value: &ColumnData<'static>) -> Option<Option<i32>> {
    types::number(value).ok().map(|number| number.and_then(|number| i32::try_from(number).ok()))
}
