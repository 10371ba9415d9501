//! A failed write leaves nothing half done: no half row, no half side table, and no open transaction.

use std::time::Duration;

use tbtoken_tests::mssql::{Settings, SqlServer};
use tbtokend::model::{Changes, CustomerId, Record};
use tbtokend::store::Saved;

use crate::ground::{Ground, on_every_server};
use crate::place::{Line, Place, at, line};
use crate::stores::words;

on_every_server! {
    a_row_that_is_refused_stays_as_it_was_and_nothing_is_locked,
    a_record_that_is_refused_leaves_nothing_of_its_batch,
}

const NOW: &str = "2026-11-23T14:00:00Z";

/// Checks that another connection can write these rows without waiting.
async fn assert_no_lock(place: &Place) {
    let theirs = place.execute("UPDATE {table} SET tb_password = N'canary-pw-theirs'");
    tokio::time::timeout(Duration::from_secs(5), theirs)
        .await
        .expect("a lock of the store blocks this write");
}

async fn a_row_that_is_refused_stays_as_it_was_and_nothing_is_locked(ground: Ground) {
    let place = Place::new(ground).await;
    let old = Line { token: Some("old"), expiry: Some("2026-11-23T14:01:00"), ..line(2) };
    place.insert(&[line(1), old, line(3)]).await;
    let condition = "tb_username <> N'sealed' OR tbtoken = 'old'";
    place.set(2, "tb_username", Some("sealed")).await;
    place.check("customer_settings", "tbtoken", condition).await;
    let before = place.expiry(2).await;
    let renewals = place.renewals([1, 2, 3], NOW).await;
    let saved = place.store.save(renewals).await;
    assert_eq!(saved, [Saved::Written, Saved::Refused { number: 547 }, Saved::Written]);
    assert_eq!(place.token(2).await.as_deref(), Some("old"));
    assert_eq!(
        (place.expiry(2).await, place.column(2, "CAST(updatedttm AS varchar(40))").await),
        (before, None)
    );
    assert_no_lock(&place).await;
    // The connection can still be used.
    let renewals = place.renewals([1, 3], "2026-11-23T14:01:00Z").await;
    assert_eq!(place.store.save(renewals).await, [Saved::Written, Saved::Written]);
    if ground == Ground::Fake {
        assert_eq!(place.fake().stats().logins, 1);
    }
}

fn record(place: &Place, id: u32, renewals: u64) -> Record {
    let id = CustomerId::new(place.id(id));
    Record {
        id,
        failure: None,
        last_success_at: None,
        renewals,
        changes: Changes::default(),
        updated_at: at(NOW),
    }
}

/// Existing records are updated first, then new ones are inserted. Without XACT_ABORT, the insertion would follow a refused
/// update.
async fn a_record_that_is_refused_leaves_nothing_of_its_batch(ground: Ground) {
    let place = Place::new(ground).await;
    place.store.read().await;
    let known = record(&place, 1, 41);
    place.store.try_record(vec![known.clone()]).await.unwrap();
    place.check("tbtokend_state", "renewals", "renewals < 1000").await;
    let refused = vec![record(&place, 1, 4711), record(&place, 2, 1)];
    let said = words(&place.store.try_record(refused).await.unwrap_err());
    assert!(said.contains("error 547"), "{said}");
    assert_eq!(place.another_store().read().await.records, [known]);
    assert_no_lock(&place).await;
    let good = vec![record(&place, 1, 42), record(&place, 2, 1)];
    place.store.try_record(good.clone()).await.unwrap();
    let mut found = place.another_store().read().await.records;
    found.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    assert_eq!(found, good);
}

/// With `sp_configure 'user options', 2`, every write stays uncommitted until COMMIT.
#[tokio::test]
async fn a_server_that_begins_transactions_by_itself_has_them_committed() {
    let place =
        Place::on(SqlServer::with(Settings { implicit_transactions: true, ..Settings::default() })).await;
    place.insert(&[line(1)]).await;
    let renewal = place.renewal(1, NOW).await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    place.store.try_record(vec![record(&place, 1, 1)]).await.unwrap();
    assert_no_lock(&place).await;
    place.fake().kill_sessions();
    assert_eq!(place.token(1).await.as_deref(), Some(renewal.token.jwt().expose()));
    assert_eq!(place.store.read().await.records.len(), 1);
}
