//! Promises 25 and 26 on SQL Server: a token reaches only its own row, and counts as saved only when the table holds it. The
//! cases of SQLite are in `daemon/src/store/sqlite/tests`.

use tbtoken_tests::mssql::When;
use tbtokend::store::Saved;
use tbtokend::store::mssql::ExpiryClock;

use crate::ground::{Ground, on_every_server};
use crate::place::{Line, Place, Types, USUAL, line};

const NOW: &str = "2026-11-23T14:00:00Z";

on_every_server! {
    p25_ids_of_fixed_width_are_named_without_their_blanks,
    p25_ids_with_a_collation_of_their_own_are_found,
    p25_ids_that_are_equal_for_the_collation_are_different_customers,
}

async fn p25_ids_of_fixed_width_are_named_without_their_blanks(ground: Ground) {
    for id in ["char(40)", "nchar(40)"] {
        let place = Place::with(ground, Types { id, ..USUAL }, ExpiryClock::Utc).await;
        place.insert(&[line(1), line(2)]).await;
        let ids: Vec<String> =
            place.store.read().await.customers.iter().map(|customer| customer.id.to_string()).collect();
        assert_eq!(ids, ["Customer-1", "Customer-2"], "{id}");
        let renewals = place.renewals([1, 2], NOW).await;
        assert_eq!(place.store.save(renewals).await, [Saved::Written, Saved::Written], "{id}");
        assert!(place.token(2).await.unwrap().ends_with("-2"), "{id}");
    }
}

/// A comparison of the column with a text in the database's collation would be error 468.
async fn p25_ids_with_a_collation_of_their_own_are_found(ground: Ground) {
    for id in ["varchar(40) COLLATE Latin1_General_CS_AS", "nvarchar(40) COLLATE Latin1_General_BIN2"] {
        let place = Place::with(ground, Types { id, ..USUAL }, ExpiryClock::Utc).await;
        place.insert(&[line(1), line(2)]).await;
        let renewals = place.renewals([2], NOW).await;
        assert_eq!(place.store.save(renewals).await, [Saved::Written], "{id}");
        assert!(place.token(2).await.unwrap().ends_with("-2"), "{id}");
        assert_eq!(place.token(1).await, None, "{id}");
    }
}

async fn p25_ids_that_are_equal_for_the_collation_are_different_customers(ground: Ground) {
    let types = Types { id: "nvarchar(40)", ..USUAL };
    // In a key column, both ids cannot exist.
    if ground == Ground::Real {
        return;
    }
    let place = Place::with(ground, types, ExpiryClock::Utc).await;
    place.fake().drop_key("customer_settings");
    place.insert(&[line(1), Line { password: Some("canary-pw-2"), ..line(2) }]).await;
    for twin in ["CUSTOMER-1", "Customer-1 "] {
        let theirs = "tb_password = N'canary-pw-2'";
        place.execute(&format!("UPDATE {{table}} SET customer_id = N'{twin}' WHERE {theirs}")).await;
        let table = place.store.read().await;
        let mut ids: Vec<&str> = table.customers.iter().map(|customer| customer.id.as_str()).collect();
        ids.sort_unstable();
        let mut expected = ["Customer-1", twin];
        expected.sort_unstable();
        assert_eq!(ids, expected);
        let renewal = place.renewal(1, NOW).await;
        assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written], "{twin}");
        let theirs = place.execute(&format!("SELECT tbtoken FROM {{table}} WHERE {theirs}")).await;
        assert_eq!(theirs, [[None]], "{twin}");
        place.execute("UPDATE {table} SET tbtoken = NULL, tbtokenexpiry = NULL").await;
    }
}

/// Makes a table whose rows 1 and 2 have the same id.
async fn with_twins(second: Line<'_>) -> Place {
    let place = Place::with(Ground::Fake, Types { id: "int", ..USUAL }, ExpiryClock::Utc).await;
    place.fake().drop_key("customer_settings");
    place.insert(&[line(1), line(3)]).await;
    place.insert(&[second]).await;
    place.execute("UPDATE {table} SET customer_id = 1 WHERE customer_id = 2").await;
    place
}

#[tokio::test]
async fn p25_rows_with_the_same_id_are_left_alone_with_a_reason() {
    let other = Line { url: Some("https://other"), username: Some("v"), ..line(2) };
    for second in [line(2), other] {
        let place = with_twins(second).await;
        let table = place.store.read().await;
        let ids: Vec<&str> = table.customers.iter().map(|customer| customer.id.as_str()).collect();
        assert_eq!(ids, ["3"]);
        assert_eq!(table.problems.len(), 1, "{:?}", table.problems);
        assert_eq!(table.problems[0].row, "1");
        assert!(table.problems[0].what.contains("all its rows are left alone"), "{:?}", table.problems);
    }
}

/// One of the two rows has no password and is not read, or it was added after the read.
#[tokio::test]
async fn p25_a_twin_that_was_not_read_gets_no_token_and_costs_no_other_row_one() {
    let place = with_twins(Line { password: None, ..line(2) }).await;
    let renewals = place.renewals([1, 3], NOW).await;
    let saved = place.store.save(renewals).await;
    assert!(matches!(saved[0], Saved::NotKept { why } if why.starts_with("several rows")), "{saved:?}");
    assert_eq!(saved[1], Saved::Written);
    assert_eq!(place.execute("SELECT tbtoken FROM {table} WHERE customer_id = 1").await, [[None], [None]]);
}

#[tokio::test]
async fn p26_a_write_that_the_table_ignores_is_not_saved() {
    let all = ["tbtoken", "tbtokenexpiry", "updatedttm"];
    for (undone, token, expiry) in [
        (&all[..], "old", "13:00:00"),
        (&["tbtoken"], "old", "14:15:00"),
        (&["tbtokenexpiry"], "new", "13:00:00"),
    ] {
        let place = Place::new(Ground::Fake).await;
        let old = Line { token: Some("old"), expiry: Some("2026-11-23T13:00:00"), ..line(1) };
        place.insert(&[old, line(2)]).await;
        place.fake().undo_writes("customer_settings", &place.id(1), undone);
        for _ in 0..2 {
            let renewals = place.renewals([1, 2], NOW).await;
            let saved = place.store.save(renewals).await;
            assert!(
                matches!(saved[0], Saved::NotKept { why } if why.contains("does not hold it")),
                "{undone:?}: {saved:?}"
            );
            assert_eq!(saved[1], Saved::Written, "{undone:?}");
        }
        assert_eq!(place.token(1).await.as_deref() == Some("old"), token == "old", "{undone:?}");
        assert!(place.expiry(1).await.unwrap().contains(expiry), "{undone:?}");
    }
    // A trigger on all rows of the table.
    let place = Place::new(Ground::Fake).await;
    place.insert(&[line(1)]).await;
    let renewal = place.renewal(1, NOW).await;
    place.fake().undo_writes("customer_settings", &place.id(1), &["tbtoken"]);
    let saved = place.store.save(vec![renewal.clone()]).await;
    assert!(matches!(saved[..], [Saved::NotKept { .. }]), "{saved:?}");
    // A row that was changed in the meantime is superseded instead.
    place.set(1, "tb_username", Some("v")).await;
    assert_eq!(place.store.save(vec![renewal]).await, [Saved::Superseded]);
}

/// A column that cannot be written is named.
#[tokio::test]
async fn p11_a_computed_column_is_named() {
    let place = Place::new(Ground::Fake).await;
    place.insert(&[line(1), line(2)]).await;
    let renewals = place.renewals([1, 2], NOW).await;
    place.fake().fail(When::Statement("save".to_owned()), 271, 3);
    let said = crate::stores::words(&place.store.try_save(renewals).await.unwrap_err());
    assert!(said.contains("error 271") && said.contains("is a computed column"), "{said}");
}
