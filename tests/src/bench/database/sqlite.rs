//! The time of SQLite itself.

use std::time::{Duration, Instant};

use rusqlite::params;

use super::BATCHES;
use crate::bench::bound::BATCH;
use crate::harness::{Installation, Row, Table};

/// Measures one full batch of tokens, written as the daemon writes them, in a table without other users.
pub(super) fn batch(installation: &Installation) -> Duration {
    let table = Table::at(&installation.folder().join("scratch.db"));
    table.create();
    let id = |batch: usize, row: usize| format!("{batch:018}{row:018}");
    let rows: Vec<Row> = (0..BATCHES * BATCH)
        .map(|n| Row { customer_id: id(n / BATCH, n % BATCH), ..Row::default() })
        .collect();
    table.insert(&rows);
    let mut connection = table.connect();
    // As the daemon does: its tokens survive a power cut.
    connection.pragma_update(None, "journal_mode", "WAL").expect("a journal");
    connection.pragma_update(None, "synchronous", "FULL").expect("safety");
    let token = "x".repeat(700);
    let mut taken: Vec<Duration> = (0..BATCHES)
        .map(|batch| {
            let began = Instant::now();
            let transaction = connection.transaction().expect("a transaction");
            {
                let mut update = transaction
                    .prepare_cached(
                        "UPDATE customer_settings SET tbtoken = ?2, tbtokenexpiry = ?3 WHERE customer_id = ?1",
                    )
                    .expect("a statement");
                for row in 0..BATCH {
                    update
                        .execute(params![id(batch, row), token, "2026-11-23T14:15:00.000Z"])
                        .expect("a row can be updated");
                }
            }
            transaction.commit().expect("a commit");
            began.elapsed()
        })
        .collect();
    taken.sort_unstable();
    taken[BATCHES / 2]
}
