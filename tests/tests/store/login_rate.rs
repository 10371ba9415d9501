//! Promise 11: how often a server that refuses is asked, in virtual minutes on a real socket.

use tbtoken_tests::mssql::When;
use tbtokend::store::mssql::Settings;
use tbtokend::store::{Records, Saved};

use crate::clock::StoppedClock;
use crate::ground::Ground;
use crate::place::{Place, line};
use crate::stores::{AnyStore, fixed, mssql, words};

/// Asks once a second for so many virtual minutes.
async fn ask_for(clock: &StoppedClock, minutes: u64, store: &AnyStore) {
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
    ask_for(&clock, 10, &store).await;
    assert_eq!(place.fake().stats().logins_refused, 10);
    assert_eq!(place.fake().stats().connections_total, 10);
}

#[tokio::test]
async fn p11_a_server_in_trouble_is_asked_a_few_times_a_minute() {
    for number in [40613, 4060] {
        let place = Place::new(Ground::Fake).await;
        place.insert(&[line(1)]).await;
        let clock = StoppedClock::new();
        place.fake().fail(When::Login, number, u64::MAX);
        ask_for(&clock, 10, &place.store).await;
        let tried = place.fake().stats().connections_total;
        assert!((10..=50).contains(&tried), "{number}: {tried} in ten minutes");
        place.fake().calm();
        ask_for(&clock, 1, &place.store).await;
        assert_eq!(place.store.read().await.customers.len(), 1);
    }
}

/// What is missing stays missing for a while: it is looked for, but not by logging in again and again.
#[tokio::test]
async fn p11_a_missing_table_does_not_make_us_hammer() {
    let place = Place::new(Ground::Fake).await;
    let clock = StoppedClock::new();
    place.fake().drop_table("customer_settings");
    ask_for(&clock, 10, &place.store).await;
    let tried = place.fake().stats().logins;
    assert!(tried <= 50, "{tried} logins in ten minutes");
    place.fake().create_customers();
    ask_for(&clock, 1, &place.store).await;
    assert!(place.store.read().await.customers.is_empty());
}

/// A server that takes a statement and says nothing: there is an end to waiting, and the connection is not used again.
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
        // The one on which nothing came is of no more use.
        assert!(fake.stats().connections_total > connections, "{name}");
    }
}
