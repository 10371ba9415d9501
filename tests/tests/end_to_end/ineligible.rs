//! Rows that cannot be renewed, customers that become such rows, and new rows.

use tbtoken_proto::{
    ErrorCode, EventKind, FailureKind, Phase, Refresh, Request, Rows, StatusQuery, TokenStatus,
};
use tbtoken_tests::harness::{Daemon, Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

#[test]
fn a_customer_that_loses_its_password_is_logged_counted_and_listed_until_it_has_one_again() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let installation = Installation::new().with_row(row.clone()).with("schedule.token_lifetime", "8s");
    let mut daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
    installation.table().set("acme", "tb_password", Some("  "));
    let status = daemon.until("it is missed", |status| status.tokens.summary.ineligible == 1);
    assert_eq!(status.tokens.summary.total, 0);
    let lost = &status.tokens.ineligible[0];
    assert_eq!((lost.customer_id.as_str(), lost.reason.as_str()), ("acme", "its tb_password is blank"));
    daemon.wait_for_log(
        "Customer acme is ineligible: it is not renewed any more: its tb_password is blank; its last",
    );
    let shown = installation.ctl(&["status", "--problems"]).stdout;
    assert!(shown.contains("1 ineligible") && shown.contains("its tb_password is blank"), "{shown}");
    daemon.wait_for_log("its last token has ended, and it is not renewed any more: its tb_password is blank");
    let status = daemon.status();
    assert_eq!(status.tokens.summary.ineligible, 1, "the row still holds the token");
    let of = |kind| daemon.events().iter().filter(|event| event.kind == kind).count();
    assert_eq!((of(EventKind::Ineligible), of(EventKind::Expired)), (1, 1));
    installation.table().set("acme", "tb_password", row.tb_password.as_deref());
    daemon.until_customer("acme", "is valid again", |acme| acme.token_status == TokenStatus::Valid);
    assert_eq!(daemon.status().tokens.summary.ineligible, 0);
    let is_remembered = |daemon: &Daemon| {
        daemon.status().of("acme").changes.iter().any(|change| change.kind == EventKind::Ineligible)
    };
    assert!(is_remembered(&daemon));
    daemon.stop();
    let daemon = installation.start();
    daemon.until_customer("acme", "is read", |_| true);
    assert!(is_remembered(&daemon), "after a restart as well");
}

#[test]
fn the_id_of_a_row_without_a_password_is_no_beginning_of_another() {
    let thingsboard = ThingsBoard::start();
    let test = Row::new("acme-test", &thingsboard.add(User::new("acme")));
    let acme = Row { customer_id: "acme".to_owned(), tb_password: None, ..test.clone() };
    let installation = Installation::new().with_rows([&acme, &test]);
    let daemon = installation.start();
    let valid = daemon.until_customer("acme-test", "is valid", |row| row.token_status == TokenStatus::Valid);
    let ids = vec!["absent".to_owned(), "acme".to_owned()];
    let refresh =
        |wait| Request::Refresh(Refresh { customers: Some(ids.clone()), wait, ..Refresh::default() });
    let status = Request::Status(StatusQuery { customers: Rows::Only(ids.clone()), since: None });
    for request in [refresh(true), refresh(false), status] {
        let refusal = daemon.request(&request).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IneligibleCustomer, "{request:?}");
        assert_eq!(refusal.error, "acme is not renewed: its tb_password is blank");
    }
    for command in ["refresh", "show", "status"] {
        let output = installation.ctl(&[command, "acme"]);
        assert!(
            output.stderr.contains("acme is not renewed: its tb_password is blank"),
            "{command}: {output:?}"
        );
    }
    assert_eq!(daemon.status().of("acme-test").renewals, valid.renewals);
}

#[test]
fn a_row_that_is_newer_than_the_last_poll_is_refreshed_by_name() {
    let thingsboard = ThingsBoard::start();
    let installation = Installation::new().with("schedule.interval", "1h");
    let daemon = installation.start();
    daemon.until("the empty table was read", |status| status.tokens.as_of.is_some());
    for (name, wait) in [("waited", true), ("unwaited", false)] {
        installation.table().insert([&Row::new(name, &thingsboard.add(User::new(name)))]);
        let ids = vec![name.to_owned()];
        let refresh = Refresh { customers: Some(ids), wait, ..Refresh::default() };
        assert_eq!(daemon.refresh_as(refresh).result.is_some(), wait);
        daemon.until_customer(name, "is valid", |row| row.token_status == TokenStatus::Valid);
    }
}

#[test]
fn repeated_manual_refreshes_do_not_delay_the_next_automatic_attempt() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let installation = Installation::new().with_row(row).with("schedule.interval", "1h");
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.state == Phase::Ok);
    thingsboard.set(Behaviour::Refuse);
    installation.table().set("acme", "tbtokenexpiry", None);
    daemon.refresh_customer("acme");
    let failed = daemon.status().of("acme").clone();
    for _ in 0..8 {
        daemon.refresh_customer("acme");
    }
    let after = daemon.status().of("acme").clone();
    assert_eq!(after.next_attempt_at, failed.next_attempt_at);
    let failure = after.failure.unwrap();
    assert_eq!((failure.kind, failure.consecutive), (FailureKind::Unreachable, 1));
    assert!(failure.at > failed.failure.unwrap().at, "it was tried");
}
