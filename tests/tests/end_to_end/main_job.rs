//! The main function: rows get tokens that ThingsBoard accepts, and stay fresh.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::{EventKind, LastRun, TokenStatus, Trigger};
use tbtoken_tests::clock;
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

#[test]
fn every_row_gets_a_token_that_thingsboard_accepts() {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(30, |n| User::new(format!("ops{n}@acme.example")));
    let rows: Vec<_> = accounts.iter().map(|account| Row::new(&account.username, account)).collect();
    let installation = Installation::new().with_rows(&rows);
    let before = clock::now();
    let daemon = installation.start();
    daemon.until("all customers are valid", |status| status.tokens.summary.valid == 30);
    let after = clock::now();
    for row in rows {
        let row = installation.table().row(&row.customer_id);
        assert!(thingsboard.accepts(&row.tbtoken.clone().unwrap()), "{}", row.customer_id);
        // The expiry is in 15 minutes, although the token itself lives for hours.
        let expiry = row.expiry().unwrap();
        let life = TimeDelta::minutes(15);
        // Written in whole seconds, rounded down.
        let before = before - TimeDelta::seconds(1);
        assert!(before + life <= expiry && expiry <= after + life, "{expiry}");
        assert!(row.tbtokenexpiry.as_deref().unwrap().ends_with('Z'));
        let updated = at(row.updatedttm.as_deref().unwrap());
        assert!(before <= updated && updated <= after, "{updated}");
        assert_eq!(thingsboard.user_stats(&row.customer_id).logins, 1);
    }
}

#[test]
fn a_token_as_long_as_the_server_says() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops").access_life(Duration::from_secs(9_000)));
    let installation =
        Installation::new().with_row(Row::new("acme", &account)).with("schedule.token_lifetime", "jwt");
    let before = clock::now();
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
    let life = installation.table().row("acme").expiry().unwrap() - before;
    assert!((8_999..9_030).contains(&life.num_seconds()), "{life}");
}

/// The token ends with the interval, so it is renewed in time only if the loop wakes for it.
#[test]
fn a_short_life_wakes_the_loop_early() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops").access_life(Duration::from_secs(12)));
    let installation = Installation::new()
        .with_row(Row::new("acme", &account))
        .with("schedule.interval", "12s")
        .with("schedule.refresh_window", "5m");
    let daemon = installation.start();
    daemon.until_customer("acme", "has its first token", |acme| acme.renewals == 1);
    let life = installation.table().row("acme").expiry().unwrap() - clock::now();
    assert!(life <= TimeDelta::seconds(12), "{life}");
    // A renewal is shown before its pass is over.
    let status = daemon.until("an early pass has renewed it", |status| {
        let is_early = |run: &LastRun| run.reason == Trigger::Early;
        status.of("acme").renewals == 2 && status.cron.last_run.as_ref().is_some_and(is_early)
    });
    assert_eq!(status.of("acme").token_status, TokenStatus::Valid);
    assert!(!daemon.events().iter().any(|event| event.kind == EventKind::Expired));
}

#[test]
fn a_new_row_is_found_and_a_removed_one_forgotten() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let installation = Installation::new();
    let daemon = installation.start();
    daemon.until("the empty table was read", |status| status.tokens.summary.total == 0);
    installation.table().insert([&Row::new("acme", &account)]);
    daemon.until_customer("acme", "has a token", |acme| acme.renewals == 1);
    installation.table().remove("acme");
    daemon.until("acme is gone", |status| status.find("acme").is_none());
}
