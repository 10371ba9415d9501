//! Changes during a login: which tokens are written then, and which are not.

use chrono::TimeDelta;
use tbtoken_proto::TokenStatus;
use tbtoken_tests::clock;
use tbtoken_tests::harness::{Daemon, Installation, Row, Table};
use tbtoken_tests::thingsboard::{Behaviour, SecondFactor, ThingsBoard, User};

/// Makes `change` in the table while a login of `acme` waits for its answer.
fn change_during_the_login(change: impl FnOnce(&Table)) -> (ThingsBoard, Installation, Daemon) {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let installation = Installation::new().with_row(Row::new("acme", &account));
    thingsboard.set(Behaviour::Frozen);
    let daemon = installation.start();
    thingsboard.wait_until("the login is under way", |tally| tally.user("ops").attempts == 1);
    change(installation.table());
    thingsboard.set(Behaviour::Normal);
    (thingsboard, installation, daemon)
}

const LEFT_ALONE: &str = "the row was changed meanwhile";

#[test]
fn p06_no_token_for_a_row_whose_url_changed() {
    let elsewhere = ThingsBoard::start();
    elsewhere.set(Behaviour::Silent);
    let (_thingsboard, installation, daemon) =
        change_during_the_login(|table| table.set("acme", "tb_url", Some(&elsewhere.url())));
    daemon.wait_for_log(LEFT_ALONE);
    assert_eq!(installation.table().row("acme").tbtoken, None);
}

#[test]
fn p06_no_token_for_a_row_whose_user_changed() {
    let (thingsboard, installation, daemon) =
        change_during_the_login(|table| table.set("acme", "tb_username", Some("another user")));
    daemon.wait_for_log(LEFT_ALONE);
    thingsboard.wait_until("the new user was tried", |tally| tally.server().unknown_users > 0);
    assert_eq!(installation.table().row("acme").tbtoken, None);
}

#[test]
fn p06_no_token_over_a_later_expiry() {
    let theirs = (clock::now() + TimeDelta::hours(1)).format("%F %T").to_string();
    let (_thingsboard, installation, daemon) = change_during_the_login(|table| {
        table.set("acme", "tbtoken", Some("their.own.token"));
        table.set("acme", "tbtokenexpiry", Some(&theirs));
    });
    daemon.wait_for_log(LEFT_ALONE);
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
    let row = installation.table().row("acme");
    assert_eq!((row.tbtoken.as_deref(), row.tbtokenexpiry), (Some("their.own.token"), Some(theirs)));
}

#[test]
fn p06_a_row_that_was_deleted_stays_deleted() {
    let (_thingsboard, _installation, daemon) = change_during_the_login(|table| table.remove("acme"));
    daemon.wait_for_log(LEFT_ALONE);
    daemon.until("acme is gone", |status| status.find("acme").is_none());
}

#[test]
fn p07_a_token_is_saved_when_the_database_is_back() {
    let mut lock = None;
    let (thingsboard, installation, daemon) = change_during_the_login(|table| {
        let connection = table.connect();
        connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        lock = Some(connection);
    });
    let away = daemon.until("the database is missed", |status| !status.daemon.store_ok);
    assert!(away.daemon.store_error.as_ref().unwrap().contains("locked"), "{:?}", away.daemon);
    drop(lock);
    daemon.until_customer("acme", "has its token", |acme| acme.token_status == TokenStatus::Valid);
    let token = installation.table().row("acme").tbtoken.unwrap();
    assert!(thingsboard.accepts(&token));
    daemon.until("the ledger is written, too", |status| status.daemon.store_ok);
    let stats = thingsboard.user_stats("ops");
    assert_eq!((stats.attempts, stats.renewals), (1, 0), "no customer logs in twice for one token");
}

#[test]
fn p04_a_second_factor_token_is_never_stored() {
    let thingsboard = ThingsBoard::start();
    let rows = [("enabled", SecondFactor::Enabled), ("enforced", SecondFactor::Enforced)]
        .map(|(name, factor)| Row::new(name, &thingsboard.add(User::new(name).second_factor(factor))));
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    let status = daemon.until("both are parked", |status| status.tokens.summary.parked == 2);
    for id in ["enabled", "enforced"] {
        let kind = status.of(id).failure.as_ref().unwrap().kind;
        assert_eq!(kind, tbtoken_proto::FailureKind::SecondFactorRequired);
        daemon.refresh_customer(id);
        assert_eq!(installation.table().row(id).tbtoken, None);
    }
    assert_eq!(installation.table().tokens(), 0);
}
