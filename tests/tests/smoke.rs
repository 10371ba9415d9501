//! Smoke tests: one short way through everything, from a row to a token. They show how to use the harness.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

use tbtoken_proto::{FailureKind, Phase, TokenStatus};
use tbtoken_tests::canary;
use tbtoken_tests::harness::{Installation, Row, Signal};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

#[test]
fn a_customer_gets_its_token() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops@acme.example"));
    let installation = Installation::new().with_row(Row::new("acme", &account));
    let mut daemon = installation.start();

    let status = daemon.until("acme has its token", |status| status.of("acme").renewals == 1);
    assert_eq!(status.of("acme").token_status, TokenStatus::Valid);
    let row = installation.table().row("acme");
    assert!(thingsboard.accepts(&row.tbtoken.clone().unwrap()));
    assert_eq!(row.expiry(), status.of("acme").tbtokenexpiry);
    assert_eq!(thingsboard.user_stats("ops@acme.example").logins, 1);

    let output = installation.ctl(&["status"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("ops@acme.example"), "{}", output.stdout);
    assert!(daemon.stop().success());
    assert!(!installation.socket().exists());
    assert_eq!(installation.ctl(&["status"]).code, Some(3));
}

#[test]
fn a_wrong_password_is_sent_once() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops@acme.example").max_failed_logins(1));
    let row = Row::new("acme", &account).password(canary::password("wrong"));
    let installation = Installation::new().with_row(row);
    let mut daemon = installation.start();
    let parked = daemon.until("acme is parked", |status| status.of("acme").state == Phase::Parked);
    assert_eq!(parked.of("acme").failure.as_ref().unwrap().kind, FailureKind::CredentialsRejected);

    daemon.kill();
    let daemon = installation.start();
    daemon.until("acme is parked still", |status| status.of("acme").state == Phase::Parked);
    daemon.refresh();
    assert_eq!(thingsboard.user_stats("ops@acme.example").attempts, 1);

    installation.table().set("acme", "tb_password", Some(&account.password));
    daemon.until("acme has its token", |status| status.of("acme").token_status == TokenStatus::Valid);
    assert!(thingsboard.is_enabled("ops@acme.example"));
}

#[test]
fn an_interrupted_pass_ends_with_the_daemon() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops@acme.example"));
    let installation = Installation::new().with_row(Row::new("acme", &account));
    thingsboard.set(Behaviour::Silent);
    let mut daemon = installation.start();
    thingsboard.wait_until("the login is under way", |tally| tally.user("ops@acme.example").attempts == 1);
    daemon.signal(Signal::SIGINT);
    assert!(daemon.wait().success());
}

/// Promise 5 needs a search that can fail: a printed secret must fail its test.
#[test]
#[should_panic(expected = "secret(s) came to light in the output of tbctl")]
fn a_secret_in_the_output_of_a_command_is_found() {
    let _ = Installation::new().ctl(&[&canary::password("on-the-command-line")]);
}

#[test]
#[should_panic(expected = "secret(s) came to light in the log of tbtokend")]
fn a_secret_in_the_log_of_the_daemon_is_found() {
    let level = canary::password("in-the-wrong-place");
    let installation = Installation::new().with("log.level", level);
    let mut daemon = installation.launch();
    daemon.wait();
    assert!(daemon.log().contains("log.level"));
}
