//! Promise 11: the rate of logins to a server that refuses them, in virtual minutes on a real socket.

use tbtoken_tests::mssql::When;
use tbtokend::store::mssql::Settings;
use tbtokend::store::{Records, Saved};

use crate::clock::StoppedClock;
use crate::ground::Ground;
use crate::place::{Place, line};
use crate::stores::{AnyStore, fixed, mssql, words};

/// Reads once a second for this many virtual minutes.
async fn read_for(clock: &StoppedClock, minutes: u64, store: &AnyStore) {
    for _ in 0..minutes * 60 {
        if let Err(error) = store.try_read(Records::All).await {
            words(&error);
        }
        clock.advance(1).await;
    }
}

#[tokio::test]
async fn p11_a_refused_login_is_tried_once_a_minute() {
    let place = Place::new(Ground::Fake).await;
    let clock = StoppedClock::new();
    let store = mssql(Settings { password: fixed("CANARYDB-wrong"), ..place.settings() });
    read_for(&clock, 10, &store).await;
    assert_eq!(place.fake().stats().logins_refused, 10);
    assert_eq!(place.fake().stats().connections_total, 10);
}

#[tokio::test]
async fn p11_a_server_in_trouble_gets_a_few_logins_a_minute() {
    for number in [40613, 4060] {
        let place = Place::new(Ground::Fake).await;
        place.insert(&[line(1)]).await;
        let clock = StoppedClock::new();
        place.fake().fail(When::Login, number, u64::MAX);
        read_for(&clock, 10, &place.store).await;
        let tried = place.fake().stats().connections_total;
        assert!((10..=50).contains(&tried), "{number}: {tried} in ten minutes");
        place.fake().calm();
        read_for(&clock, 1, &place.store).await;
        assert_eq!(place.store.read().await.customers.len(), 1);
    }
}

/// The store looks for a missing table again, but without a login each time.
#[tokio::test]
async fn p11_a_missing_table_causes_few_logins() {
    let place = Place::new(Ground::Fake).await;
    let clock = StoppedClock::new();
    place.fake().drop_table("customer_settings");
    read_for(&clock, 10, &place.store).await;
    let tried = place.fake().stats().logins;
    assert!(tried <= 50, "{tried} logins in ten minutes");
    place.fake().create_customers();
    read_for(&clock, 1, &place.store).await;
    assert!(place.store.read().await.customers.is_empty());
}

/// A server reads a statement and never answers. The store stops waiting, and does not use the connection again.
#[tokio::test]
async fn p10_a_server_that_does_not_answer_is_given_up_in_time() {
    for name in ["session", "columns", "read", "save"] {
        let place = Place::new(Ground::Fake).await;
        place.insert(&[line(1)]).await;
        let fake = place.fake();
        let renewal = place.renewal(1, "2026-11-23T14:00:00Z").await;
        let clock = StoppedClock::new();
        if name != "save" {
            fake.kill_sessions();
            fake.until("the session is gone", |stats| stats.connections == 0).await;
        }
        let seen = fake.stats().of(name);
        let connections = fake.stats().connections_total;
        fake.ignore(When::Statement(name.to_owned()), 1);
        let work = async {
            match name {
                "save" => place.store.try_save(vec![renewal.clone()]).await.map(|_| ()),
                _ => place.store.try_read(Records::All).await.map(|_| ()),
            }
        };
        let waiting = async {
            fake.until("it was asked", |stats| stats.of(name) > seen).await;
            clock.advance(61).await;
        };
        if let Err(error) = tokio::join!(work, waiting).0 {
            assert!(words(&error).contains("no answer in time"), "{name}: {error}");
        }
        clock.advance(61).await;
        assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written], "{name}");
        // The connection without an answer is not used again.
        assert!(fake.stats().connections_total > connections, "{name}");
    }
}
