//! Runs statements in one session with the server, each with a time limit. Knows nothing of the tables.

use std::time::Duration;

use futures_util::TryStreamExt;
use tiberius::{ColumnData, Query, QueryItem, Row};
use tokio::time::timeout;

pub(super) use super::connect::Session;
use super::trouble::Trouble;

/// The time limit of a statement that writes, or that returns few rows.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// The time limit for reading a whole table.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The trouble for an answer that cannot be read.
pub(super) fn unreadable_answer() -> Trouble {
    Trouble::Lost("the server's answer cannot be understood".to_owned())
}

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

/// Runs a batch of plain text.
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

/// Runs a statement and passes each row to `take`, without collecting them.
pub(super) async fn each_row(
    session: &mut Session,
    query: Query<'_>,
    mut take: impl FnMut(std::vec::IntoIter<ColumnData<'static>>) + Send,
) -> Result<(), Trouble> {
    within(READ_TIMEOUT, async {
        let mut stream = query.query(session).await?;
        while let Some(item) = stream.try_next().await? {
            if let QueryItem::Row(row) = item {
                take(row.into_iter());
            }
        }
        Ok(())
    })
    .await
}
