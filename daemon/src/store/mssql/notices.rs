//! The table `tbtokend_notice`: what receivers of messages were told.

use super::connection::Connection;
use super::record_storage::create_tables;
use super::statements;
use super::trouble::{Meaning, Trouble};
use super::types::{Cells, UnreadableValue, read_number, read_text, read_time};
use crate::model::{NoticeChange, StoredNotice};

/// Reads the table, and makes it if there is none. None if this login may not make it. A row that cannot be read is skipped:
/// its message is repeated.
pub(super) async fn read(connection: &mut Connection) -> Result<Option<Vec<StoredNotice>>, Trouble> {
    let read = try_read(connection).await;
    if matches!(&read, Err(Trouble::Server(error)) if error.meaning() == Meaning::NoTable) {
        return match create_tables(&mut connection.session, &connection.site.settings.table).await {
            Ok(()) => try_read(connection).await.map(Some),
            Err(Trouble::Server(error)) if error.meaning() != Meaning::Transient => Ok(None),
            Err(trouble) => Err(trouble),
        };
    }
    read.map(Some)
}

async fn try_read(connection: &mut Connection) -> Result<Vec<StoredNotice>, Trouble> {
    let mut notices = Vec::new();
    let query = connection.on_side_tables(statements::NOTICES);
    connection.session.each_row(query, |cells| notices.extend(read_notice(cells).ok())).await?;
    Ok(notices)
}

fn read_notice(mut cells: Cells) -> Result<StoredNotice, UnreadableValue> {
    Ok(StoredNotice {
        receiver: cells.require(read_text)?,
        cause: cells.require(read_text)?,
        began: cells.require(read_time)?.and_utc(),
        last_sent: cells.require(read_time)?.and_utc(),
        severity: cells.require(read_text)?,
        customers: cells.require(read_number)?.try_into().unwrap_or(0),
        lapsed: cells.require(read_number)?.try_into().unwrap_or(0),
    })
}

/// Stores one change.
pub(super) async fn write(connection: &mut Connection, change: &NoticeChange) -> Result<(), Trouble> {
    let (receiver, cause) = change.key();
    let mut query = connection.on_side_tables(match change {
        NoticeChange::Known(_) => statements::WRITE_NOTICE,
        NoticeChange::Over { .. } => statements::FORGET_NOTICE,
    });
    query.bind(receiver);
    query.bind(cause);
    if let NoticeChange::Known(notice) = change {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        query.bind(notice.began.naive_utc());
        query.bind(notice.last_sent.naive_utc());
        query.bind(notice.severity.as_str());
        query.bind(count(notice.customers));
        query.bind(count(notice.lapsed));
    }
    connection.session.execute(query).await
}
