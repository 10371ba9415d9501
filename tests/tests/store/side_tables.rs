//! Side tables with another schema, or with foreign content: they cost the records, but no token.

use tbtokend::model::FailureKind;
use tbtokend::store::{Records, Saved};

use crate::ground::{Ground, on_every_store};
use crate::place::{Place, at, line};

on_every_store! {
    p19_a_side_table_with_another_schema_costs_only_the_records,
    p19_a_table_that_lacks_a_column_costs_only_the_records,
    p19_a_record_without_a_time_still_says_that_the_customer_is_parked,
    p19_a_record_that_cannot_be_read_affects_no_other,
}

const NOW: &str = "2026-11-23T14:00:00Z";

/// Returns the columns of `tbtokend_state`, with one column changed or left out.
fn state(ground: Ground, column: &str, of: Option<&str>) -> String {
    let (text, time) = if ground.is_mssql() { ("nvarchar(450)", "datetime2(6)") } else { ("TEXT", "TEXT") };
    let key = format!("{text} NOT NULL PRIMARY KEY");
    let columns = [
        ("customer_id", key.as_str()),
        ("credentials_fingerprint", text),
        ("failures", "int"),
        ("kind", text),
        ("message", text),
        ("parked", if ground.is_mssql() { "bit" } else { "int" }),
        ("failed_at", time),
        ("next_attempt_at", time),
        ("last_success_at", time),
        ("renewals", if ground.is_mssql() { "bigint" } else { "int" }),
        ("updated_at", time),
        ("changes", text),
    ];
    let columns: Vec<String> = columns
        .into_iter()
        .filter_map(|(name, usual)| {
            let of = if name == column { of? } else { usual };
            Some(format!("{name} {of}"))
        })
        .collect();
    columns.join(", ")
}

/// Makes a place with two customers, where `tbtokend_state` already exists with these columns.
async fn with_state(ground: Ground, columns: &str) -> Place {
    let place = Place::new(ground).await;
    place.insert(&[line(1), line(2)]).await;
    if ground == Ground::Sqlite {
        place.execute("DROP TABLE tbtokend_state").await;
    }
    place.execute(&format!("CREATE TABLE {} ({columns})", place.beside("tbtokend_state"))).await;
    place
}

async fn costs_only_the_records(place: &Place, words: &[&str]) {
    for store in [&place.store, &place.another_store()] {
        for which in [Records::All, Records::Failing] {
            let table = store.try_read(which).await.unwrap();
            assert_eq!((table.customers.len(), table.records.len()), (2, 0));
            let lost = table.records_lost.expect("it cannot keep records and must say so");
            assert!(words.iter().all(|word| lost.contains(word)), "{lost}");
            assert!(!lost.contains("SELECT") && !lost.contains("INSERT"), "{lost}");
        }
        let renewals = place.renewals([1, 2], NOW).await;
        assert_eq!(store.save(renewals).await, [Saved::Written, Saved::Written]);
        store.try_record(Vec::new()).await.unwrap();
    }
}

async fn p19_a_side_table_with_another_schema_costs_only_the_records(ground: Ground) {
    let place = with_state(ground, "id int, state int").await;
    costs_only_the_records(&place, &["tbtokend_state"]).await;
}

/// The table of an older version lacks a column.
async fn p19_a_table_that_lacks_a_column_costs_only_the_records(ground: Ground) {
    let place = with_state(ground, &state(ground, "failed_at", None)).await;
    costs_only_the_records(&place, &["tbtokend_state"]).await;
}

/// Inserts a record of the first customer, parked, with this value in one column.
async fn insert(place: &Place, column: &str, value: &str) {
    let id = place.id(1);
    let time = if place.ground.is_mssql() { "2026-11-23T14:00:00" } else { "2026-11-23T14:00:00Z" };
    let columns = [
        ("customer_id", id.as_str()),
        ("credentials_fingerprint", "tGPP1FUodnKkKfRMm4Ag7A"),
        ("failures", "3"),
        ("kind", "account_locked"),
        ("message", "it said no"),
        ("parked", "1"),
        ("failed_at", time),
        ("renewals", "7"),
        ("updated_at", time),
    ];
    let names = columns.map(|(name, _)| name).join(", ");
    let values = columns.map(|(name, usual)| match (name == column, name) {
        (true, _) => format!("'{value}'"),
        (false, "failures" | "parked" | "renewals") => usual.to_owned(),
        (false, _) => format!("'{usual}'"),
    });
    let state = place.beside("tbtokend_state");
    place.execute(&format!("INSERT INTO {state} ({names}) VALUES ({})", values.join(", "))).await;
}

/// If a bad time made the daemon forget that the customer is parked, it would send the wrong password again.
async fn p19_a_record_without_a_time_still_says_that_the_customer_is_parked(ground: Ground) {
    for column in ["failed_at", "updated_at"] {
        let place = with_state(ground, &state(ground, column, Some("varchar(40)"))).await;
        insert(&place, column, "soon").await;
        let table = place.store.read().await;
        assert_eq!(table.records_lost, None);
        let [record] = &table.records[..] else { panic!("{column}: {:?}", table.records) };
        let failure = record.failure.as_ref().unwrap();
        assert_eq!((failure.kind, failure.permanent), (FailureKind::AccountLocked, true));
        assert_eq!((record.id.as_str(), record.renewals), (place.id(1).as_str(), 7));
        assert_eq!(record.updated_at == at(NOW), column != "updated_at");
        let [problem] = &table.problems[..] else { panic!("{column}: {:?}", table.problems) };
        assert_eq!(problem.row, place.id(1));
        assert!(problem.what.contains("tbtokend_state"), "{}", problem.what);
    }
}

async fn p19_a_record_that_cannot_be_read_affects_no_other(ground: Ground) {
    let place = with_state(ground, &state(ground, "failures", Some("varchar(40)"))).await;
    insert(&place, "failures", "many").await;
    let table = place.store.read().await;
    assert_eq!((table.customers.len(), table.records.len(), table.records_lost), (2, 0, None));
    let [problem] = &table.problems[..] else { panic!("{:?}", table.problems) };
    assert_eq!(problem.row, place.id(1));
    assert!(problem.what.contains("cannot be read"), "{}", problem.what);
}
