//! Tests of files that change while the daemon has them open. Tests that need another process are in
//! `tests/tests/end_to_end/replaced_file.rs`, because all connections of one process share SQLite's state of a WAL.

use super::*;

/// The WAL beside the new file belongs to the old one and must not be used for the new one.
#[tokio::test]
async fn a_file_in_the_place_of_the_one_before_does_not_get_its_wal() {
    let place = place(&[("c1", "https://tb", "u", None, None)]).await;
    let renewal = place.renewal("c1", "2026-11-23T14:00:00Z").await;
    assert_eq!(place.save(vec![renewal]).await, [Saved::Written]);
    let aside = place.path.with_extension("aside");
    fs::hard_link(&place.path, &aside).unwrap();
    let other = place.path.with_extension("other");
    let restored = Connection::open(&other).unwrap();
    restored
        .execute_batch(
            "CREATE TABLE customer_settings (customer_id TEXT PRIMARY KEY NOT NULL, tb_username TEXT,
                 tb_password TEXT, tb_url TEXT, tbtoken TEXT, tbtokenexpiry TEXT, updatedttm TEXT);
             INSERT INTO customer_settings VALUES ('c2', 'u', 'p', 'https://tb', NULL, NULL, NULL)",
        )
        .unwrap();
    drop(restored);
    fs::rename(&other, &place.path).unwrap();
    let table = place.table().await;
    assert_eq!((table.customers.len(), table.customers[0].id.as_str()), (1, "c2"));
    let renewal = place.renewal("c2", "2026-11-23T14:00:00Z").await;
    assert_eq!(place.save(vec![renewal]).await, [Saved::Written]);
    assert!(place.column("c2", "tbtoken").is_some());
    // The old file, which was moved aside, is complete.
    let token: Option<String> = Connection::open(aside)
        .unwrap()
        .query_row("SELECT tbtoken FROM customer_settings", [], |row| row.get(0))
        .unwrap();
    assert!(token.is_some());
}
