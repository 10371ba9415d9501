//! The table `tbtokend_notice`: what receivers of messages were told.

use rusqlite::{Connection, Row, params};

use super::super::timestamp;
use crate::model::{NoticeChange, StoredNotice};

pub(super) const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS tbtokend_notice (
        receiver  TEXT NOT NULL,
        cause     TEXT NOT NULL,
        began     TEXT NOT NULL,
        last_sent TEXT NOT NULL,
        severity  TEXT NOT NULL,
        customers INTEGER NOT NULL,
        lapsed    INTEGER NOT NULL,
        PRIMARY KEY (receiver, cause)
    ) WITHOUT ROWID;";

const COLUMNS: &str = "receiver, cause, began, last_sent, severity, customers, lapsed";

/// Makes the table if there is none, and reads it. A row that cannot be read is skipped: its message is repeated.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<Vec<StoredNotice>>> {
    connection.execute_batch(CREATE)?;
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM tbtokend_notice"))?;
    let rows = statement.query_map([], notice)?;
    Ok(Some(rows.filter_map(Result::ok).flatten().collect()))
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Option<StoredNotice>> {
    let time = |at| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str().ok().and_then(timestamp::parse));
    let count = |at| row.get::<_, i64>(at).map(|count| usize::try_from(count).unwrap_or(0));
    let (Some(began), Some(last_sent)) = (time(2)?, time(3)?) else { return Ok(None) };
    Ok(Some(StoredNotice {
        receiver: row.get(0)?,
        cause: row.get(1)?,
        began,
        last_sent,
        severity: row.get(4)?,
        customers: count(5)?,
        lapsed: count(6)?,
    }))
}

/// Stores changes, in one transaction.
pub(super) fn write(connection: &mut Connection, changes: &[NoticeChange]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for change in changes {
        let (receiver, cause) = change.key();
        let delete = "DELETE FROM tbtokend_notice WHERE receiver = ?1 AND cause = ?2";
        transaction.execute(delete, [receiver, cause])?;
        if let NoticeChange::Known(notice) = change {
            let insert =
                format!("INSERT INTO tbtokend_notice ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
            let (began, last_sent) = (timestamp::format(notice.began), timestamp::format(notice.last_sent));
            let [customers, lapsed] =
                [notice.customers, notice.lapsed].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
            let severity = &notice.severity;
            transaction
                .execute(&insert, params![receiver, cause, began, last_sent, severity, customers, lapsed])?;
        }
    }
    transaction.commit()
}
