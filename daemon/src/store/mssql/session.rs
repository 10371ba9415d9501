//! Statements over one session with the server, each under a deadline. What the tables are like is not known here.

use std::time::Duration;

use futures_util::TryStreamExt;
use tiberius::{ColumnData, Query, QueryItem, Row};
use tokio::time::timeout;

pub(super) use super::connect::Session;
use super::trouble::Trouble;

/// How long one statement may take that writes, or that brings little.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long reading a whole table may take.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

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

/// Hands each row of a statement to `take`, and keeps none.
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
