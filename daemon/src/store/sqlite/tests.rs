//! Tests of the SQLite store alone. `tests/tests/store` has the cases that every store must pass.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

mod exact;
mod kept;
mod replaced;

use super::super::AccountRow;
use super::*;
use crate::model::{
    AccountKey, BaseUrl, Changes, CustomerId, FailureKind, FailureNote, Fingerprint, Lifetime, Token,
};

struct Place {
    _folder: TempDir,
    path: PathBuf,
    store: SqliteStore,
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A row: id, URL, user, token, expiry.
type Line<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>);

/// Makes a store on a new file, with these rows.
async fn place(rows: &[Line<'_>]) -> Place {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("customers.db");
    let store = SqliteStore::new(&path, "customer_settings", None).unwrap();
    store.read(Records::All).await.unwrap();
    let place = Place { _folder: folder, path, store };
    let connection = place.connect();
    for (id, url, user, token, expiry) in rows {
        connection
            .execute(
                "INSERT INTO customer_settings VALUES (?1, ?3, 'pw', ?2, ?4, ?5, NULL)",
                rusqlite::params![id, url, user, token, expiry],
            )
            .unwrap();
    }
    place
}

impl Place {
    fn connect(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    fn column(&self, id: &str, column: &str) -> Option<String> {
        let sql = format!("SELECT {column} FROM customer_settings WHERE customer_id = ?1");
        self.connect().query_row(&sql, [id], |row| row.get(0)).unwrap()
    }

    async fn table(&self) -> Table {
        self.store.read(Records::All).await.unwrap()
    }

    async fn save(&self, renewals: Vec<Renewal>) -> Vec<Saved> {
        self.store.save(Arc::new(renewals)).await.unwrap()
    }

    /// Makes a renewal for the row as it is read now.
    async fn renewal(&self, id: &str, now: &str) -> Renewal {
        let table = self.table().await;
        let customer = table.customers.iter().find(|customer| customer.id.as_str() == id).unwrap();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"exp":10000}"#);
        let token = Token::parse(&format!("aa.{claims}.{id}")).unwrap();
        Renewal::new(customer, token, at(now), Lifetime::AtMost(TimeDelta::minutes(15)))
    }
}

#[tokio::test]
async fn a_new_file_has_the_schema_and_is_for_its_owner_alone() {
    let place = place(&[]).await;
    assert!(place.table().await.customers.is_empty());
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_token_is_written_with_its_expiry_and_the_time_of_writing() {
    let place = place(&[("c1", "https://tb", "u", None, None)]).await;
    let renewal = place.renewal("c1", "2026-11-23T14:00:00.700Z").await;
    assert_eq!(place.save(vec![renewal.clone()]).await, [Saved::Written]);
    assert_eq!(place.column("c1", "tbtoken").as_deref(), Some(renewal.token.jwt().expose()));
    assert_eq!(place.column("c1", "tbtokenexpiry").as_deref(), Some("2026-11-23T14:15:00Z"));
    assert_eq!(place.column("c1", "updatedttm").as_deref(), Some("2026-11-23T14:00:00Z"));
    let customer = place.table().await.customers.remove(0);
    assert!(customer.has_token);
    assert_eq!(customer.expiry, Some(at("2026-11-23T14:15:00Z")));
}

/// Promise 6.
#[tokio::test]
async fn p06_a_row_that_changed_meanwhile_is_left_alone() {
    for change in [
        "UPDATE customer_settings SET tb_url = 'https://other' WHERE customer_id = 'c1'",
        "UPDATE customer_settings SET tb_url = NULL WHERE customer_id = 'c1'",
        "UPDATE customer_settings SET tb_username = 'U' WHERE customer_id = 'c1'",
        "UPDATE customer_settings SET tbtoken = 'x', tbtokenexpiry = '2026-11-23 14:15:01' WHERE customer_id = 'c1'",
        "UPDATE customer_settings SET tbtoken = 'x', tbtokenexpiry = '2026-11-23T16:15:00.1+01:00' WHERE customer_id = 'c1'",
        "DELETE FROM customer_settings WHERE customer_id = 'c1'",
    ] {
        let place = place(&[
            ("c1", "https://tb", "u", Some("old"), Some("2026-11-23T14:01:00Z")),
            ("c2", "https://tb", "u", None, None),
        ])
        .await;
        let now = "2026-11-23T14:00:00Z";
        let renewals = vec![place.renewal("c1", now).await, place.renewal("c2", now).await];
        place.execute(change);
        assert_eq!(place.save(renewals).await, [Saved::Superseded, Saved::Written], "{change}");
        let kept: i64 = place
            .connect()
            .query_row("SELECT count(*) FROM customer_settings WHERE tbtoken LIKE 'aa.%.c1'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(kept, 0, "{change}");
    }
}

#[tokio::test]
async fn unusable_rows_do_not_affect_other_rows() {
    let place = place(&[("good", "https://tb", "u", None, None)]).await;
    place.execute(
        "DROP TABLE customer_settings;
         CREATE TABLE customer_settings (customer_id, tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry);
         INSERT INTO customer_settings VALUES
             ('good', 'u', 'p', 'https://tb', NULL, NULL),
             ('good', 'twin', 'p', 'https://tb', NULL, NULL),
             (7, 'u', 12345, 'https://tb', NULL, NULL),
             (NULL, 'u', 'p', 'https://tb', NULL, NULL),
             ('blob', 'u', x'ff00', 'https://tb', NULL, NULL),
             ('date', 'u', 'p', 'https://tb', 'x', 'tomorrow'),
             ('blank', '  ', 'p', 'https://tb', NULL, NULL)",
    );
    let table = place.table().await;
    let mut ids: Vec<&str> = table.customers.iter().map(|customer| customer.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["7", "date", "good"]);
    let mut problems: Vec<&str> = table.problems.iter().map(|problem| problem.row.as_str()).collect();
    problems.sort_unstable();
    assert_eq!(problems, ["(no id)", "blob", "date", "good"]);

    let renewal = place.renewal("7", "2026-11-23T14:00:00Z").await;
    assert_eq!(place.save(vec![renewal]).await, [Saved::Written], "a number as id is found again");
    let token: Option<String> = place
        .connect()
        .query_row("SELECT tbtoken FROM customer_settings WHERE customer_id = 7", [], |row| row.get(0))
        .unwrap();
    assert!(token.is_some());
}

fn record(id: &str, kind: Option<FailureKind>) -> Record {
    let failure = kind.map(|kind| FailureNote {
        kind,
        message: "it said no".to_owned(),
        permanent: true,
        consecutive: 3,
        at: at("2026-11-23T14:00:00.123456Z"),
        next_attempt_at: Some(at("2026-11-23T14:05:00Z")),
        fingerprint: Fingerprint::numbered(7),
    });
    let (last_success_at, updated_at) = (Some(at("2026-11-22T14:00:00Z")), at("2026-11-23T14:00:00.123456Z"));
    Record {
        id: CustomerId::new(id),
        failure: failure.map(Box::new),
        last_success_at,
        renewals: 42,
        changes: Changes::from_text("2026-11-23T14:00:00Z parked"),
        updated_at,
    }
}

#[tokio::test]
async fn records_and_the_key_of_their_fingerprints_outlive_the_process() {
    let place = place(&[]).await;
    let records = vec![record("a", Some(FailureKind::AccountLocked)), record("b", None)];
    place.store.record(records.clone()).await.unwrap();
    let key = place.table().await.key;

    let next = SqliteStore::new(&place.path, "customer_settings", None).unwrap();
    let all = next.read(Records::All).await.unwrap();
    assert_eq!((all.records, all.problems), (records.clone(), Vec::new()), "a missing time is no problem");
    assert_eq!(all.key, key);
    assert_eq!(next.read(Records::Failing).await.unwrap().records, records[..1]);
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_replaced_by_an_empty_one_and_is_used_again_when_it_is_back() {
    let place = place(&[("c1", "https://tb", "u", None, None)]).await;
    let aside = place.path.with_extension("aside");
    fs::rename(&place.path, &aside).unwrap();
    assert!(matches!(place.store.read(Records::All).await, Err(StoreError::Gone { .. })));
    assert!(!place.path.exists());
    fs::rename(&aside, &place.path).unwrap();
    assert_eq!(place.table().await.customers.len(), 1);
}

/// A backup is put back while the daemon has the old file open.
#[tokio::test]
async fn a_file_in_the_place_of_the_one_before_is_read() {
    let place = place(&[("c1", "https://tb", "u", None, None)]).await;
    let other = place.path.with_extension("other");
    place.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::copy(&place.path, &other).unwrap();
    let sql = "PRAGMA journal_mode = DELETE; UPDATE customer_settings SET tb_username = 'restored'";
    Connection::open(&other).unwrap().execute_batch(sql).unwrap();
    fs::rename(&other, &place.path).unwrap();
    assert_eq!(place.table().await.customers[0].credentials.username, "restored");
}

#[tokio::test]
async fn a_fault_of_the_file_is_named_and_the_store_goes_on_when_it_is_corrected() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("customers.db");
    let store = SqliteStore::new(&path, "customer_settings", None).unwrap();
    let error = async || store.read(Records::All).await.unwrap_err();

    fs::write(&path, "this is no database, whatever its name says\n".repeat(50)).unwrap();
    assert!(matches!(error().await, StoreError::NotADatabase { .. }));

    fs::remove_file(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(error().await.to_string().ends_with("has no table customer_settings"));

    let columns = "customer_id, tb_username, tb_password, tb_url, tbtoken";
    connection.execute_batch(&format!("CREATE TABLE customer_settings ({columns})")).unwrap();
    assert_eq!(error().await.to_string(), "the table customer_settings has no column tbtokenexpiry");

    connection.execute_batch("ALTER TABLE customer_settings ADD COLUMN tbtokenexpiry").unwrap();
    assert!(store.read(Records::All).await.unwrap().customers.is_empty());
}

#[tokio::test]
async fn a_row_that_the_database_refuses_does_not_affect_other_rows() {
    let rows = [("c1", "https://tb", "u", None, None), ("c2", "https://tb", "u", None, None)];
    let place = place(&rows).await;
    place.execute(
        "CREATE TRIGGER no BEFORE UPDATE ON customer_settings WHEN new.customer_id = 'c1'
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    );
    let now = "2026-11-23T14:00:00Z";
    let renewals = vec![place.renewal("c1", now).await, place.renewal("c2", now).await];
    assert_eq!(place.save(renewals).await, [Saved::Refused { number: 1811 }, Saved::Written]);
    assert!(place.column("c2", "tbtoken").is_some());
}

/// `RAISE(ROLLBACK)` ends the transaction of all rows. Later statements would be committed one by one, or not at all.
#[tokio::test]
async fn a_row_that_ends_the_transaction_of_all_costs_no_other_row_its_token() {
    let ids = ["a", "b", "c", "d", "e"];
    let place = place(&ids.map(|id| (id, "https://tb", "u", None, None))).await;
    for (statement, number) in [
        (
            "CREATE TRIGGER no BEFORE UPDATE ON customer_settings WHEN new.customer_id IN ('b', 'e')
             BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END",
            1811,
        ),
        (
            "CREATE TABLE seen (id TEXT UNIQUE ON CONFLICT ROLLBACK);
             INSERT INTO seen VALUES ('b'), ('e');
             CREATE TRIGGER no AFTER UPDATE ON customer_settings
             BEGIN INSERT INTO seen VALUES (new.customer_id); DELETE FROM seen WHERE id NOT IN ('b', 'e'); END",
            2067,
        ),
        // A deferred constraint is checked at the commit.
        (
            "CREATE TABLE empty (id TEXT PRIMARY KEY);
             CREATE TABLE noted (id TEXT REFERENCES empty DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER no AFTER UPDATE OF tbtoken ON customer_settings
             WHEN new.customer_id IN ('b', 'e') AND new.tbtoken IS NOT NULL
             BEGIN INSERT INTO noted VALUES (new.customer_id); END",
            787,
        ),
    ] {
        place.execute("DROP TRIGGER IF EXISTS no; UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
        place.execute(statement);
        let table = place.table().await;
        let renewals: Vec<Renewal> = table
            .customers
            .iter()
            .map(|customer| {
                let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"exp":10000}"#);
                let token = Token::parse(&format!("aa.{claims}.{}", customer.id.as_str())).unwrap();
                let lifetime = Lifetime::AtMost(TimeDelta::minutes(15));
                Renewal::new(customer, token, at("2026-11-23T14:00:00Z"), lifetime)
            })
            .collect();
        assert_eq!(renewals.len(), 5);
        let refused = Saved::Refused { number };
        let expected = ids.map(|id| if id == "b" || id == "e" { refused } else { Saved::Written });
        let saved = place.save(renewals.clone()).await;
        for (renewal, saved) in renewals.iter().zip(saved) {
            let position = ids.iter().position(|id| *id == renewal.id.as_str()).unwrap();
            assert_eq!(saved, expected[position], "{}", renewal.id.as_str());
            let is_there = place.column(renewal.id.as_str(), "tbtoken").is_some();
            assert_eq!(is_there, saved == Saved::Written, "the outcome matches the table");
        }
    }
}

/// These changes are possible only in SQLite.
#[tokio::test]
async fn p19_side_tables_with_another_schema_cost_only_the_records() {
    for (change, words) in [
        ("DROP TABLE tbtokend_key; CREATE TABLE tbtokend_key (x)", "fingerprint_key"),
        ("UPDATE tbtokend_key SET fingerprint_key = 'short'", "tbtokend_key is no key of 32 bytes"),
        (
            "ALTER TABLE tbtokend_state RENAME TO s; CREATE VIEW tbtokend_state AS SELECT * FROM s",
            "tbtokend_state",
        ),
        // A copy has no primary key, so every record would be one more row.
        (
            "ALTER TABLE tbtokend_state RENAME TO s; CREATE TABLE tbtokend_state AS SELECT * FROM s",
            "ON CONFLICT clause does not match any PRIMARY KEY",
        ),
    ] {
        let place = place(&[("c1", "https://tb", "u", None, None)]).await;
        place.execute(change);
        let next = SqliteStore::new(&place.path, "customer_settings", None).unwrap();
        let table = next.read(Records::All).await.unwrap();
        let lost = table.records_lost.unwrap_or_default();
        assert!(lost.contains(words), "{change}: {lost}");
        assert!(!lost.contains('\n') && !lost.contains("SELECT"), "the daemon's statement is quoted: {lost}");
        assert_eq!((table.customers.len(), table.records.len()), (1, 0));
        next.record(vec![record("c1", None)]).await.unwrap();
        // A change of the tables opens the file again. With another key all stored fingerprints would be useless.
        place.execute("CREATE TABLE another (x)");
        assert_eq!(next.read(Records::All).await.unwrap().key, table.key, "{change}");
    }
}

#[tokio::test]
async fn a_statement_that_cannot_be_run_is_not_quoted() {
    let place = place(&[]).await;
    place.execute("DROP TABLE customer_settings; CREATE VIEW customer_settings AS SELECT * FROM nowhere");
    let said = place.store.read(Records::All).await.unwrap_err().to_string();
    assert!(said.contains("no such table: main.nowhere") && !said.contains("SELECT"), "{said}");
}

#[tokio::test]
async fn a_very_long_text_does_not_affect_other_rows() {
    let place =
        place(&[("good", "https://tb", "u", None, None), ("long", "https://tb", "u", None, None)]).await;
    place.execute(
        "UPDATE customer_settings SET tb_password = hex(zeroblob(10000)) WHERE customer_id = 'long'",
    );
    let table = place.table().await;
    assert_eq!((table.customers.len(), table.problems.len()), (1, 1));
    assert_eq!(table.problems[0].row, "long");
}

#[tokio::test]
async fn a_file_that_is_locked_at_the_start_is_an_error_and_parked_customers_stay_parked() {
    let place = place(&[]).await;
    place.store.record(vec![record("a", Some(FailureKind::AccountLocked))]).await.unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let next = SqliteStore::new(&place.path, "customer_settings", None).unwrap();
    assert!(matches!(next.read(Records::All).await, Err(StoreError::Locked { .. })));
    // `prepare` must fail by itself: the lock may be gone before the rows are read.
    let mut third = place.connect();
    third.busy_timeout(Duration::ZERO).unwrap();
    assert!(records::prepare(&mut third, None).is_err());
    other.execute_batch("ROLLBACK").unwrap();
    assert!(records::prepare(&mut third, None).unwrap().1.is_none());
    let table = next.read(Records::All).await.unwrap();
    assert_eq!((table.records.len(), table.records_lost), (1, None));
}

/// A copy that is made after the daemon has stopped is complete, and no file is left beside the database.
#[tokio::test]
async fn a_store_that_is_gone_has_closed_its_file() {
    let place = place(&[("c1", "https://tb", "u", None, None)]).await;
    let renewal = place.renewal("c1", "2026-11-23T14:00:00Z").await;
    assert_eq!(place.save(vec![renewal]).await, [Saved::Written]);
    let wal = place.path.with_file_name("customers.db-wal");
    assert!(wal.exists());
    let Place { _folder: folder, path, store } = place;
    drop(store);
    assert!(!wal.exists());
    let copy = folder.path().join("copy.db");
    fs::copy(path, &copy).unwrap();
    let token: Option<String> = Connection::open(copy)
        .unwrap()
        .query_row("SELECT tbtoken FROM customer_settings", [], |row| row.get(0))
        .unwrap();
    assert!(token.is_some());
}

fn charged(number: u32) -> AccountRow {
    let server = BaseUrl::parse("https://tb").unwrap();
    AccountRow {
        key: AccountKey::of(&server, &format!("user-{number}")),
        charges: 1,
        in_flight: Some(format!("{number} of this daemon")),
        details: "{}".to_owned(),
        seen_at: at("2026-11-23T14:00:00Z"),
        version: 0,
    }
}

/// Without a stored charge no password is sent.
#[tokio::test]
async fn p02_a_ledger_with_another_schema_or_that_cannot_be_written_is_an_error_and_costs_no_token() {
    for (change, words) in [
        ("DROP TABLE tbtokend_account; CREATE TABLE tbtokend_account (x)", "column"),
        ("ALTER TABLE tbtokend_account RENAME TO a; CREATE VIEW tbtokend_account AS SELECT * FROM a", "view"),
        // A copy has no primary key, so every charge would be one more row.
        (
            "ALTER TABLE tbtokend_account RENAME TO a; CREATE TABLE tbtokend_account AS SELECT * FROM a",
            "ON CONFLICT clause does not match any PRIMARY KEY",
        ),
    ] {
        let place = place(&[("c1", "https://tb", "u", None, None)]).await;
        let stamp = place.store.read_ledger(None).await.unwrap().stamp;
        place.execute(change);
        let write = LedgerWrite { stamp, accounts: vec![charged(1)], forget: None };
        let next = SqliteStore::new(&place.path, "customer_settings", None).unwrap();
        for store in [&place.store, &next] {
            for error in [
                store.write_ledger(write.clone()).await.unwrap_err(),
                store.read_ledger(None).await.unwrap_err(),
            ] {
                let said = error.to_string();
                assert!(said.contains(words) && !said.contains("SELECT"), "{change}: {said}");
            }
        }
        let renewal = place.renewal("c1", "2026-11-23T14:00:00Z").await;
        assert_eq!(place.save(vec![renewal]).await, [Saved::Written], "{change}");
    }
}

#[tokio::test]
async fn p02_nothing_is_written_to_the_ledger_of_a_file_that_is_locked() {
    let place = place(&[]).await;
    let stamp = place.store.read_ledger(None).await.unwrap().stamp;
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = LedgerWrite { stamp, accounts: vec![charged(1)], forget: None };
    let (written, read) = tokio::join!(place.store.write_ledger(write.clone()), async {
        let next = SqliteStore::new(&place.path, "customer_settings", None).unwrap();
        next.read_ledger(None).await
    });
    assert!(matches!(written, Err(StoreError::Locked { .. })), "{written:?}");
    assert!(matches!(read, Err(StoreError::Locked { .. })), "{read:?}");
    other.execute_batch("ROLLBACK").unwrap();
    let read = place.store.read_ledger(Some(stamp)).await.unwrap();
    assert_eq!((read.stamp, read.is_whole, read.accounts), (stamp, false, Vec::new()));
    assert!(matches!(place.store.write_ledger(write).await, Ok(LedgerWritten::Written { .. })));
}

/// A copy of the files right after the write stands for the state after a crash.
#[tokio::test]
async fn p02_a_charge_that_was_reported_as_written_outlives_a_crash() {
    let place = place(&[]).await;
    let stamp = place.store.read_ledger(None).await.unwrap().stamp;
    let write = LedgerWrite { stamp, accounts: vec![charged(1)], forget: None };
    assert!(matches!(place.store.write_ledger(write).await, Ok(LedgerWritten::Written { .. })));
    let crashed = TempDir::new().unwrap();
    for file in fs::read_dir(place.path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    let next = SqliteStore::new(&crashed.path().join("customers.db"), "customer_settings", None).unwrap();
    let read = next.read_ledger(None).await.unwrap();
    assert_eq!((read.stamp.id, read.accounts.len()), (stamp.id, 1));
    let level: i64 = place
        .store
        .run(|worker| {
            worker.with_open(|open, _| open.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)))
        })
        .await
        .unwrap();
    assert_eq!(level, 2, "FULL: a power cut loses nothing");
}
