//! The cases that every store must pass.

use tbtokend::model::{Changes, CustomerId, FailureKind, FailureNote, Fingerprint, Record};
use tbtokend::store::{Records, Saved};

use crate::ground::{Ground, on_every_store};
use crate::place::{Line, Place, at, line};

on_every_store! {
    rows_are_read_as_they_are,
    what_is_blank_is_not_eligible,
    tokens_are_read_with_what_stands_beside_them,
    a_token_is_written_with_its_expiry_and_the_time_of_writing,
    a_token_can_be_written_twice,
    p06_a_row_that_changed_meanwhile_is_left_alone,
    p06_a_row_that_is_gone_is_left_alone,
    p06_a_url_or_a_user_is_compared_exactly,
    p06_a_later_expiry_is_not_overwritten,
    p06_an_expiry_that_the_daemon_wrote_too_late_is_replaced,
    an_expiry_without_a_token_guards_nothing,
    a_token_without_an_expiry_guards_nothing,
    a_row_without_a_url_is_written_while_it_has_none,
    more_rows_than_fit_into_one_statement_are_written,
    p19_records_and_the_key_of_their_fingerprints_outlive_the_process,
    p19_a_record_takes_the_place_of_the_one_before,
    p19_many_records_are_kept,
}

const NOW: &str = "2026-11-23T14:00:00Z";

async fn rows_are_read_as_they_are(ground: Ground) {
    let place = Place::new(ground).await;
    let strange = "Zoë O'Hara ✓ 😀";
    place
        .insert(&[
            Line { username: Some(strange), url: Some(" https://tb.example/x "), ..line(1) },
            Line { token: Some("x"), expiry: Some("2026-11-23T14:03:00"), ..line(2) },
            Line { token: Some(""), ..line(3) },
        ])
        .await;
    let table = place.store.read().await;
    assert_eq!(table.problems, []);
    let mut customers = table.customers;
    customers.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    let ids: Vec<&str> = customers.iter().map(|customer| customer.id.as_str()).collect();
    assert_eq!(ids, [place.id(1), place.id(2), place.id(3)]);
    assert_eq!(customers[0].credentials.username, strange);
    assert_eq!(&*customers[0].row_url, " https://tb.example/x ");
    assert_eq!(customers[0].credentials.password.expose(), "canary-pw-1");
    let tokens: Vec<_> = customers.iter().map(|customer| (customer.has_token, customer.expiry)).collect();
    assert_eq!(tokens, [(false, None), (true, Some(at("2026-11-23T14:03:00Z"))), (false, None)]);
}

/// Of many, of rows without one, and of an id that no row has.
async fn tokens_are_read_with_what_stands_beside_them(ground: Ground) {
    let place = Place::new(ground).await;
    place
        .insert(&[
            Line { token: Some("first"), url: Some(" https://tb.example/x "), ..line(1) },
            Line { token: Some("second"), username: Some("Zoë"), ..line(2) },
            line(3),
            Line { token: Some("not asked for"), ..line(4) },
        ])
        .await;
    let many: Vec<Line<'_>> = (10..1_200).map(|number| Line { token: Some("x"), ..line(number) }).collect();
    place.insert(&many).await;
    let ids = |numbers: &[u32]| numbers.iter().map(|number| CustomerId::new(place.id(*number))).collect();
    let mut tokens = place.store.tokens(ids(&[1, 2, 3, 9_999])).await;
    tokens.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    let shown: Vec<_> = tokens
        .iter()
        .map(|row| (row.id.as_str(), &*row.row_url, &*row.username, row.token.expose()))
        .collect();
    let (first, second) = (place.id(1), place.id(2));
    assert_eq!(
        shown,
        [
            (first.as_str(), " https://tb.example/x ", "u", "first"),
            (second.as_str(), "https://tb", "Zoë", "second"),
        ]
    );
    let all = place.store.tokens(ids(&(10..1_200).collect::<Vec<_>>())).await;
    assert_eq!(all.len(), many.len());
    assert_eq!(place.store.tokens(Vec::new()).await, []);
}

async fn what_is_blank_is_not_eligible(ground: Ground) {
    let place = Place::new(ground).await;
    let mut lines = vec![line(1), Line { password: Some("\t"), ..line(2) }];
    for (number, blank) in [None, Some(""), Some("   ")].into_iter().enumerate() {
        let number = u32::try_from(number).unwrap() * 3 + 10;
        lines.push(Line { url: blank, ..line(number) });
        lines.push(Line { username: blank, ..line(number + 1) });
        lines.push(Line { password: blank, ..line(number + 2) });
    }
    place.insert(&lines).await;
    let mut ids: Vec<String> =
        place.store.read().await.customers.iter().map(|customer| customer.id.as_str().to_owned()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [place.id(1), place.id(2)], "only spaces are blank");
}

async fn a_token_is_written_with_its_expiry_and_the_time_of_writing(ground: Ground) {
    let place = Place::new(ground).await;
    place.insert(&[line(1), line(2)]).await;
    let renewal = place.renewal(1, "2026-11-23T14:00:00.700Z").await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    assert_eq!(place.token(1).await.as_deref(), Some(renewal.token.jwt().expose()));
    let expiry = place.expiry(1).await.unwrap().replace('T', " ");
    assert!(expiry.starts_with("2026-11-23 14:15:00"), "{expiry}");
    assert!(place.column(1, "CAST(updatedttm AS varchar(40))").await.is_some());
    let table = place.store.read().await;
    let customer = table.customers.iter().find(|customer| customer.id.as_str() == place.id(1)).unwrap();
    assert_eq!((customer.has_token, customer.expiry), (true, Some(at("2026-11-23T14:15:00Z"))));
    assert_eq!(place.token(2).await, None, "no other row is changed");
    assert_eq!(place.column(2, "CAST(updatedttm AS varchar(40))").await, None);
}

/// After an unknown outcome the same batch is sent again, and must count as written.
async fn a_token_can_be_written_twice(ground: Ground) {
    let place = Place::new(ground).await;
    place.insert(&[line(1)]).await;
    let renewal = place.renewal(1, NOW).await;
    for _ in 0..2 {
        assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    }
}

async fn p06_a_row_that_changed_meanwhile_is_left_alone(ground: Ground) {
    for (column, value) in [
        ("tb_url", Some("https://other")),
        ("tb_url", Some("")),
        ("tb_url", None),
        ("tb_username", Some("v")),
        ("tb_username", None),
    ] {
        let place = Place::new(ground).await;
        let old = Line { token: Some("old"), expiry: Some("2026-11-23T14:01:00"), ..line(1) };
        place.insert(&[old, line(2)]).await;
        let renewals = place.renewals([1, 2], NOW).await;
        place.set(1, column, value).await;
        assert_eq!(
            place.store.save(renewals).await,
            [Saved::Superseded, Saved::Written],
            "{column} {value:?}"
        );
        assert_eq!(place.token(1).await.as_deref(), Some("old"), "{column} {value:?}");
        assert_eq!(place.column(1, "CAST(updatedttm AS varchar(40))").await, None);
    }
}

async fn p06_a_row_that_is_gone_is_left_alone(ground: Ground) {
    let place = Place::new(ground).await;
    place.insert(&[line(1), line(2)]).await;
    let renewals = place.renewals([2, 1], NOW).await;
    place.remove(1).await;
    assert_eq!(place.store.save(renewals).await, [Saved::Written, Saved::Superseded]);
}

/// Most collations treat `a` like `A`, and all ignore spaces at the end.
async fn p06_a_url_or_a_user_is_compared_exactly(ground: Ground) {
    for (column, value) in
        [("tb_url", "https://TB"), ("tb_url", "https://tb "), ("tb_username", "U"), ("tb_username", "u ")]
    {
        let place = Place::new(ground).await;
        place.insert(&[line(1)]).await;
        let renewal = place.renewal(1, NOW).await;
        place.set(1, column, Some(value)).await;
        assert_eq!(place.store.save(vec![renewal]).await, [Saved::Superseded], "{column} {value:?}");
        assert_eq!(place.token(1).await, None);
        let renewal = place.renewal(1, NOW).await;
        assert_eq!(
            place.store.save(vec![renewal]).await,
            [Saved::Written],
            "{column} {value:?} as it is now"
        );
    }
}

async fn p06_a_later_expiry_is_not_overwritten(ground: Ground) {
    for (theirs, saved) in [
        ("2026-11-23T14:14:59", Saved::Written),
        ("2026-11-23T14:15:00", Saved::Written),
        ("2026-11-23T14:15:01", Saved::Superseded),
        ("2026-11-23T14:15:00.010", Saved::Superseded),
        ("2027-11-23T14:15:00", Saved::Superseded),
    ] {
        let place = Place::new(ground).await;
        place.insert(&[line(1)]).await;
        let renewal = place.renewal(1, NOW).await;
        place.set(1, "tbtoken", Some("theirs")).await;
        let theirs = if ground.is_mssql() { theirs.to_owned() } else { format!("{theirs}Z") };
        place.set(1, "tbtokenexpiry", Some(&theirs)).await;
        assert_eq!(place.store.save(vec![renewal]).await, [saved], "{theirs}");
        assert_eq!(place.token(1).await.as_deref() == Some("theirs"), saved == Saved::Superseded);
    }
}

/// The daemon wrote the expiry before a clock step back.
async fn p06_an_expiry_that_the_daemon_wrote_too_late_is_replaced(ground: Ground) {
    for (ours, saved) in [
        ("2026-11-23T15:14:00", Saved::Written),
        ("2026-11-23T15:15:00", Saved::Superseded),
        ("2026-11-23T14:16:00", Saved::Superseded),
    ] {
        let place = Place::new(ground).await;
        let suffix = if ground.is_mssql() { "" } else { "Z" };
        let ahead = format!("2026-11-23T15:14:00{suffix}");
        place.insert(&[Line { token: Some("dead"), expiry: Some(&ahead), ..line(1) }]).await;
        let table = place.store.read().await;
        let mut renewal = place.renewal(1, NOW).await;
        renewal.replaces = table.customers[0].expiry;
        // In some cases another writer has changed the expiry in the meantime.
        place.set(1, "tbtokenexpiry", Some(&format!("{ours}{suffix}"))).await;
        assert_eq!(place.store.save(vec![renewal]).await, [saved], "{ours}");
        assert_eq!(place.token(1).await.as_deref() == Some("dead"), saved == Saved::Superseded);
    }
}

async fn an_expiry_without_a_token_guards_nothing(ground: Ground) {
    for token in [None, Some("")] {
        let place = Place::new(ground).await;
        place.insert(&[Line { token, expiry: Some("2077-01-01T00:00:00"), ..line(1) }]).await;
        let renewal = place.renewal(1, NOW).await;
        assert_eq!(place.store.save(vec![renewal]).await, [Saved::Written], "{token:?}");
    }
}

/// Applications cannot use such a token, because its expiry is unknown.
async fn a_token_without_an_expiry_guards_nothing(ground: Ground) {
    let place = Place::new(ground).await;
    place.insert(&[Line { token: Some("theirs"), expiry: None, ..line(1) }]).await;
    let renewal = place.renewal(1, NOW).await;
    assert_eq!(place.store.save(vec![renewal.clone()]).await, [Saved::Written]);
    assert_eq!(place.token(1).await.as_deref(), Some(renewal.token.jwt().expose()));
}

/// With a fallback URL such rows are eligible; here the renewal is made by hand.
async fn a_row_without_a_url_is_written_while_it_has_none(ground: Ground) {
    for (url, now, saved) in [
        (None, None, Saved::Written),
        (Some(""), None, Saved::Written),
        (None, Some("https://other"), Saved::Superseded),
    ] {
        let place = Place::new(ground).await;
        place.insert(&[line(1)]).await;
        let mut renewal = place.renewal(1, NOW).await;
        place.set(1, "tb_url", url).await;
        renewal.row_url = "".into();
        place.set(1, "tb_url", now.or(url)).await;
        assert_eq!(place.store.save(vec![renewal]).await, [saved], "{url:?} {now:?}");
    }
}

async fn more_rows_than_fit_into_one_statement_are_written(ground: Ground) {
    let place = Place::new(ground).await;
    let lines: Vec<_> = (1..=230).map(line).collect();
    place.insert(&lines).await;
    let renewals = place.renewals(1..=230, NOW).await;
    place.set(117, "tb_username", Some("another user")).await;
    let saved = place.store.save(renewals).await;
    let expected: Vec<_> =
        (1..=230).map(|id| if id == 117 { Saved::Superseded } else { Saved::Written }).collect();
    assert_eq!(saved, expected);
    assert!(place.token(230).await.unwrap().ends_with("-230"), "each row has its own token");
    assert_eq!(place.token(117).await, None);
}

/// A poll of 100,000 rows must not transfer 100,000 tokens: the number of bytes does not depend on their length.
#[tokio::test]
async fn reading_brings_no_text_of_a_token() {
    const ROWS: u32 = 200;
    let mut sent = Vec::new();
    for length in [1, 4000] {
        let place = Place::new(Ground::Fake).await;
        let token = "x".repeat(length);
        let with_token = |id| Line { token: Some(&token), expiry: Some("2026-11-23T14:03:00"), ..line(id) };
        place.insert(&(1..=ROWS).map(with_token).collect::<Vec<_>>()).await;
        place.store.read().await;
        let before = place.fake().tds_bytes().1;
        let table = place.store.read().await;
        assert!(table.customers.iter().all(|customer| customer.has_token));
        assert_eq!(table.customers.len(), ROWS as usize);
        sent.push(place.fake().tds_bytes().1 - before);
    }
    assert_eq!(sent[0], sent[1], "the length of the tokens is felt");
    assert!((u64::from(ROWS) * 50..u64::from(ROWS) * 250).contains(&sent[1]), "{} bytes", sent[1]);
}

fn record(place: &Place, id: u32, kind: Option<FailureKind>) -> Record {
    let failure = kind.map(|kind| FailureNote {
        kind,
        message: "it said no, in Łódź".to_owned(),
        permanent: true,
        consecutive: 3,
        at: at("2026-11-23T14:00:00.123456Z"),
        next_attempt_at: Some(at("2026-11-23T14:05:00Z")),
        fingerprint: Fingerprint::from_text("tGPP1FUodnKkKfRMm4Ag7A").unwrap(),
    });
    let (last_success_at, updated_at) = (Some(at("2026-11-22T14:00:00Z")), at("2026-11-23T14:00:00.123456Z"));
    Record {
        id: CustomerId::new(place.id(id)),
        failure: failure.map(Box::new),
        last_success_at,
        renewals: 42,
        changes: Changes::from_text("2026-11-22T14:00:00Z failed; 2026-11-23T14:00:00Z parked"),
        updated_at,
    }
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    records
}

async fn p19_records_and_the_key_of_their_fingerprints_outlive_the_process(ground: Ground) {
    let place = Place::new(ground).await;
    let key = place.store.read().await.key;
    let failing = record(&place, 1, Some(FailureKind::AccountLocked));
    let fine =
        Record { last_success_at: None, renewals: 0, changes: Changes::default(), ..record(&place, 2, None) };
    place.store.try_record(vec![failing.clone(), fine.clone()]).await.unwrap();
    let next = place.another_store();
    let all = next.read().await;
    assert_eq!(sorted(all.records), [failing.clone(), fine]);
    assert_eq!((all.key, all.records_lost), (key, None));
    assert_eq!(next.try_read(Records::Failing).await.unwrap().records, [failing]);
}

async fn p19_a_record_takes_the_place_of_the_one_before(ground: Ground) {
    let place = Place::new(ground).await;
    let failing = record(&place, 1, Some(FailureKind::CredentialsRejected));
    place.store.read().await;
    place.store.try_record(vec![failing.clone()]).await.unwrap();
    let fine = record(&place, 1, None);
    // Of two records in one batch the last one counts.
    place.store.try_record(vec![failing, fine.clone()]).await.unwrap();
    assert_eq!(place.another_store().read().await.records, [fine]);
}

async fn p19_many_records_are_kept(ground: Ground) {
    let place = Place::new(ground).await;
    place.store.read().await;
    let records: Vec<Record> =
        (1..=250).map(|id| record(&place, id, (id % 2 == 0).then_some(FailureKind::RateLimited))).collect();
    place.store.try_record(records.clone()).await.unwrap();
    let next = place.another_store();
    assert_eq!(sorted(next.read().await.records), sorted(records));
    assert_eq!(next.try_read(Records::Failing).await.unwrap().records.len(), 125);
}
