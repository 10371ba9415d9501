//! Runs statements in one session with the server, each with a time limit. Knows nothing of the tables.

use std::time::Duration;

use futures_util::TryStreamExt;
use tiberius::{Client, Query, QueryItem, Row};
use tokio::time::timeout;
use tokio_util::compat::Compat;

use super::encrypted::EncryptedStream;
use super::trouble::Trouble;
use super::types::Cells;

/// The time limit of a statement that writes, or that returns few rows.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// The time limit for reading a whole table.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A session over an encrypted connection.
#[derive(Debug)]
pub(super) struct Session(pub(super) Client<Compat<EncryptedStream>>);

/// Waits for the work, up to the time limit.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, tiberius::error::Error>> + Send,
) -> Result<T, Trouble> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(Trouble::from),
        Err(_) => Err(Trouble::TimedOut),
    }
}

impl Session {
    /// Runs a batch of plain text.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), Trouble> {
        within(STATEMENT_TIMEOUT, async {
            self.0.simple_query(sql).await?.into_results().await?;
            Ok(())
        })
        .await
    }

    /// Runs a statement and collects its rows, of all its results. They must be few.
    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<Row>, Trouble> {
        within(STATEMENT_TIMEOUT, async {
            let results = query.query(&mut self.0).await?.into_results().await?;
            Ok(results.into_iter().flatten().collect())
        })
        .await
    }

    /// Runs a statement and returns its first row, if there is one.
    pub(super) async fn first_row(&mut self, query: Query<'_>) -> Result<Option<Cells>, Trouble> {
        Ok(self.rows(query).await?.into_iter().next().map(Cells::from))
    }

    /// Runs a statement whose rows do not matter.
    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<(), Trouble> {
        self.rows(query).await.map(drop)
    }

    /// Runs a statement and passes each row to `take`, without collecting them.
    pub(super) async fn each_row(
        &mut self,
        query: Query<'_>,
        mut take: impl FnMut(Cells) + Send,
    ) -> Result<(), Trouble> {
        within(READ_TIMEOUT, async {
            let mut stream = query.query(&mut self.0).await?;
            while let Some(item) = stream.try_next().await? {
                if let QueryItem::Row(row) = item {
                    take(row.into());
                }
            }
            Ok(())
        })
        .await
    }
}
