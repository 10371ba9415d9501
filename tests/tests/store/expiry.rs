//! Promises 8 and 9: an expiry is right in every column type, zone and season, and a token that does not fit is not sent.

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_tests::clock;
use tbtoken_tests::mssql::Zone;
use tbtokend::store::Saved;
use tbtokend::store::mssql::ExpiryClock;

use crate::ground::{Ground, on_every_server, on_every_store};
use crate::place::{Line, Place, Types, USUAL, at, line};

mod everywhere {
    use super::*;

    on_every_store! {
        p08_an_expiry_is_read_as_it_was_meant,
        p09_a_token_that_just_fits_is_written,
    }

    async fn p08_an_expiry_is_read_as_it_was_meant(ground: Ground) {
        let place = Place::new(ground).await;
        // The hour that Berlin skips and the one that it has twice are normal hours in UTC.
        for (id, written) in (1..).zip([
            "2026-03-29T02:30:00",
            "2026-10-25T02:30:00",
            "2026-12-31T23:59:59",
            "2028-02-29T00:00:00",
        ]) {
            place.insert(&[Line { token: Some("x"), expiry: Some(written), ..line(id) }]).await;
            let customers = place.store.read().await.customers;
            let customer = customers.iter().find(|customer| customer.id.as_str() == place.id(id)).unwrap();
            assert_eq!(customer.expiry, Some(at(&format!("{written}Z"))), "{written}");
        }
    }

    async fn p09_a_token_that_just_fits_is_written(ground: Ground) {
        let place = Place::with(ground, Types { token: "varchar(200)", ..USUAL }, ExpiryClock::Utc).await;
        place.insert(&[line(1)]).await;
        let renewal = place.renewal(1, "2026-11-23T14:00:00Z").await;
        assert!(renewal.token.jwt().expose().len() <= 200);
        assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written]);
    }
}

mod on_servers {
    use super::*;

    on_every_server! {
        p08_every_column_type_holds_an_expiry,
        p08_a_smalldatetime_is_rounded_down,
        p08_no_value_of_a_datetime_compares_wrongly,
        every_type_of_id_is_found_again,
        p09_a_token_too_long_is_refused_and_the_others_are_written,
    }

    const TYPES: [&str; 6] = [
        "datetime",
        "datetime2(0)",
        "datetime2(3)",
        "datetime2(7)",
        "datetimeoffset(0)",
        "datetimeoffset(7)",
    ];

    async fn p08_every_column_type_holds_an_expiry(ground: Ground) {
        for expiry in TYPES {
            let place = Place::with(ground, Types { expiry, ..USUAL }, ExpiryClock::Utc).await;
            let theirs = Line { token: Some("x"), expiry: Some("2026-11-23T14:03:07"), ..line(2) };
            place.insert(&[line(1), theirs]).await;
            let renewal = place.renewal(1, "2026-11-23T14:00:31.999Z").await;
            assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written], "{expiry}");
            let customers = place.store.read().await.customers;
            let found = |id| {
                let customer = customers.iter().find(|customer| customer.id.as_str() == place.id(id));
                customer.unwrap().expiry.unwrap()
            };
            assert_eq!(found(1), at("2026-11-23T14:15:31Z"), "{expiry}");
            assert_eq!(found(2), at("2026-11-23T14:03:07Z"), "{expiry}");
            let stored = place.expiry(1).await.unwrap();
            assert!(stored.starts_with("2026-11-23 14:15:31"), "{expiry}: {stored}");
            // After a clock step back, an expiry of the daemon may be replaced, whatever the type.
            let mut earlier = place.renewal(1, "2026-11-23T13:00:00Z").await;
            assert_eq!(place.store.save(vec![earlier.clone()]).await, [Saved::Superseded], "{expiry}");
            earlier.replaces = Some(found(1));
            assert_eq!(place.store.save(vec![earlier]).await, [Saved::Written], "{expiry}");
        }
    }

    async fn p08_a_smalldatetime_is_rounded_down(ground: Ground) {
        let place = Place::with(ground, Types { expiry: "smalldatetime", ..USUAL }, ExpiryClock::Utc).await;
        place.insert(&[line(1)]).await;
        for now in
            ["2026-11-23T14:00:00Z", "2026-11-23T14:00:29Z", "2026-11-23T14:00:30Z", "2026-11-23T14:00:59.9Z"]
        {
            let renewal = place.renewal(1, now).await;
            assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written], "{now}");
            let expiry = place.store.read().await.customers[0].expiry;
            assert_eq!(expiry, Some(at("2026-11-23T14:15:00Z")), "{now}");
        }
        let later = place.renewal(1, "2026-11-23T14:01:00Z").await;
        assert_eq!(place.store.save(vec![later]).await, [Saved::Written]);
        let mut earlier = place.renewal(1, "2026-11-23T14:00:00Z").await;
        assert_eq!(place.store.save(vec![earlier.clone()]).await, [Saved::Superseded]);
        earlier.replaces = Some(at("2026-11-23T14:16:00Z"));
        assert_eq!(place.store.save(vec![earlier]).await, [Saved::Written]);
    }

    /// The daemon writes whole seconds; other writers may write any tick around them.
    async fn p08_no_value_of_a_datetime_compares_wrongly(ground: Ground) {
        let place = Place::new(ground).await;
        let rows: Vec<_> = (0..=20).map(line).collect();
        place.insert(&rows).await;
        let renewals = place.renewals(0..=20, "2026-11-23T14:00:00Z").await;
        // From 10 ms before to 10 ms after. A tick is a third of 10 ms, so 1 ms later is the same tick, except on Babelfish,
        // whose datetime keeps every millisecond.
        let last_that_is_not_later = if place.is_babelfish().await { 10 } else { 11 };
        let mut expected = Vec::new();
        for milliseconds in 0..=20 {
            let theirs = at("2026-11-23T14:14:59.990Z") + TimeDelta::milliseconds(milliseconds);
            let id = u32::try_from(milliseconds).unwrap();
            place.set(id, "tbtoken", Some("theirs")).await;
            place.set(id, "tbtokenexpiry", Some(&theirs.format("%FT%T%.3f").to_string())).await;
            let is_later = milliseconds > last_that_is_not_later;
            expected.push(if is_later { Saved::Superseded } else { Saved::Written });
        }
        assert_eq!(place.store.save(renewals).await, expected);
    }

    async fn every_type_of_id_is_found_again(ground: Ground) {
        for id in ["uniqueidentifier", "int", "bigint", "varchar(50)", "nvarchar(50)"] {
            let place = Place::with(ground, Types { id, ..USUAL }, ExpiryClock::Utc).await;
            place.insert(&[line(1), line(2), line(3)]).await;
            let renewals = place.renewals([1, 3], "2026-11-23T14:00:00Z").await;
            assert_eq!(place.store.save(renewals).await, [Saved::Written, Saved::Written], "{id}");
            assert!(place.token(1).await.is_some() && place.token(2).await.is_none(), "{id}");
        }
    }

    async fn p09_a_token_too_long_is_refused_and_the_others_are_written(ground: Ground) {
        for (token, capacity) in [("varchar(100)", 100), ("nvarchar(100)", 100)] {
            let place = Place::with(ground, Types { token, ..USUAL }, ExpiryClock::Utc).await;
            place.insert(&[line(1), line(2)]).await;
            let mut renewals = place.renewals([1, 2], "2026-11-23T14:00:00Z").await;
            let long = format!("{}-{}", renewals[0].token.jwt().expose(), "x".repeat(100));
            renewals[0].token = tbtokend::model::Token::parse(&long).unwrap();
            let saved = place.store.save(renewals).await;
            assert_eq!(saved, [Saved::TooLong { capacity }, Saved::Written], "{token}");
            assert_eq!(place.token(1).await, None);
            if ground == Ground::Fake {
                assert!(!place.fake().has_received(&"x".repeat(100)), "it was never sent");
                assert!(place.fake().has_received(&place.token(2).await.unwrap()));
            }
        }
    }
}

/// Sets the clock of the fake.
fn set_clock(place: &Place, now: DateTime<Utc>) {
    place.fake().set_skew((now - clock::now()).num_seconds());
}

/// With `expiry_clock = "server-local"`, the table has the server's local time.
#[tokio::test]
async fn p08_local_time_follows_the_server_and_not_this_machine() {
    for (now, zone, shown) in [
        ("2026-01-15T12:00:00Z", Zone::Berlin, "2026-01-15 13:15:00"),
        ("2026-07-15T12:00:00Z", Zone::Berlin, "2026-07-15 14:15:00"),
        ("2026-07-15T12:00:00Z", Zone::Fixed(-480), "2026-07-15 04:15:00"),
        ("2026-07-15T12:00:00Z", Zone::Fixed(330), "2026-07-15 17:45:00"),
        ("2026-12-31T23:50:00Z", Zone::Berlin, "2027-01-01 01:05:00"),
    ] {
        for expiry in ["datetime", "datetime2(3)", "smalldatetime"] {
            let types = Types { expiry, ..USUAL };
            let place = Place::with(Ground::Fake, types, ExpiryClock::ServerLocal).await;
            place.fake().set_zone(zone);
            set_clock(&place, at(now));
            place.insert(&[line(1)]).await;
            let renewal = place.renewal(1, now).await;
            assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
            let stored = place.expiry(1).await.unwrap();
            assert!(stored.starts_with(shown), "{expiry} {now}: {stored}");
            for store in [&place.store, &place.another_store()] {
                assert_eq!(store.read().await.customers[0].expiry, Some(renewal.expiry), "{expiry} {now}");
            }
        }
    }
}

/// A `datetimeoffset` has its own offset, so the zone of the server does not matter.
#[tokio::test]
async fn p08_an_offset_needs_no_clock() {
    for clock in [ExpiryClock::Utc, ExpiryClock::ServerLocal] {
        let types = Types { expiry: "datetimeoffset(7)", ..USUAL };
        let place = Place::with(Ground::Fake, types, clock).await;
        place.fake().set_zone(Zone::Fixed(330));
        place
            .insert(&[Line { token: Some("x"), expiry: Some("2026-11-23 15:03:00 +01:00"), ..line(1) }])
            .await;
        assert_eq!(place.store.read().await.customers[0].expiry, Some(at("2026-11-23T14:03:00Z")));
        let renewal = place.renewal(1, "2026-11-23T14:00:00Z").await;
        assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written]);
        assert_eq!(place.store.read().await.customers[0].expiry, Some(at("2026-11-23T14:15:00Z")));
    }
}

/// In spring an hour is missing: earlier expiries look an hour older, and the tokens are renewed.
#[tokio::test]
async fn p08_the_hour_that_is_missing() {
    let place = Place::with(Ground::Fake, USUAL, ExpiryClock::ServerLocal).await;
    place.fake().set_zone(Zone::Berlin);
    place.insert(&[line(1)]).await;
    let before = "2026-03-29T00:50:00Z";
    set_clock(&place, at(before));
    let renewal = place.renewal(1, before).await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    assert!(place.expiry(1).await.unwrap().starts_with("2026-03-29 02:05:00"), "a time that never comes");
    let after = "2026-03-29T01:00:30Z";
    set_clock(&place, at(after));
    let expiry = place.store.read().await.customers[0].expiry.unwrap();
    assert!(expiry <= renewal.expiry, "never longer than it lives: {expiry}");
    let renewal = place.renewal(1, after).await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    assert!(place.expiry(1).await.unwrap().starts_with("2026-03-29 03:15:30"));
    assert_eq!(place.another_store().read().await.customers[0].expiry, Some(renewal.expiry));
}

/// In autumn an hour occurs twice: earlier expiries look valid for an hour too long.
#[tokio::test]
async fn p08_the_hour_that_comes_twice() {
    let place = Place::with(Ground::Fake, USUAL, ExpiryClock::ServerLocal).await;
    place.fake().set_zone(Zone::Berlin);
    place.insert(&[line(1)]).await;
    let before = "2026-10-25T00:55:00Z";
    set_clock(&place, at(before));
    let renewal = place.renewal(1, before).await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    assert!(place.expiry(1).await.unwrap().starts_with("2026-10-25 03:10:00"));
    let after = "2026-10-25T01:05:00Z";
    set_clock(&place, at(after));
    assert_eq!(place.store.read().await.customers[0].expiry, Some(renewal.expiry), "we know what we wrote");
    let renewal = place.renewal(1, after).await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written], "although 03:10 looks later");
    assert!(place.expiry(1).await.unwrap().starts_with("2026-10-25 02:20:00"));
    assert_eq!(place.another_store().read().await.customers[0].expiry, Some(renewal.expiry));
    // A later expiry of another writer is still not overwritten.
    place.set(1, "tbtoken", Some("theirs")).await;
    place.set(1, "tbtokenexpiry", Some("2026-10-25T02:30:00")).await;
    let renewal = place.renewal(1, "2026-10-25T01:06:00Z").await;
    assert_eq!(place.store.save(vec![renewal]).await, [Saved::Superseded]);
}

/// The column was made narrower after the daemon read the layout: the server refuses, and quotes the token in its error.
#[tokio::test]
async fn p09_a_column_made_narrower_refuses_the_token_and_the_token_is_not_shown() {
    let place = Place::new(Ground::Fake).await;
    place.insert(&[line(1)]).await;
    let renewal = place.renewal(1, "2026-11-23T14:00:00Z").await;
    place.fake().retype_column("customer_settings", "tbtoken", "varchar(50)");
    let saved = place.store.save(vec![renewal.clone()]).await;
    assert_eq!(saved, [Saved::TooLong { capacity: 50 }]);
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::TooLong { capacity: 50 }]);
    assert_eq!(place.fake().stats().of("save"), 1, "the second time it is not sent");
    place.fake().retype_column("customer_settings", "tbtoken", "varchar(500)");
    assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written], "made wider, it is used");
}
