//! The log never holds up the loop, and keeps quiet when nothing happens.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Instant;

use tbtoken_tests::canary;
use tbtoken_tests::harness::{Installation, Row, wait};
use tbtoken_tests::thingsboard::{Temper, ThingsBoard, User};

/// stderr is a pipe whose reader has gone to sleep: the daemon goes on, and says later what was lost.
#[test]
fn a_stderr_that_nobody_reads_holds_nobody_up() {
    let thingsboard = ThingsBoard::start();
    let rows: Vec<Row> = (0..40)
        .map(|number| Row::new(format!("c{number}"), &thingsboard.add(User::new(format!("u{number}")))))
        .collect();
    let installation = Installation::new().with_rows(&rows);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut daemon = installation
        .launch_with(|command| {
            command.stderr(Stdio::from(writer));
        })
        .wait_until_ready();
    // A pipe holds 64 KiB; a thousand requests at level trace are far more, and the queue fills too.
    let mut passes = 0;
    let enough = Instant::now() + wait::PATIENCE;
    while passes < 60 && Instant::now() < enough {
        daemon.refresh_as(tbtoken_proto::Refresh { all: true, ..tbtoken_proto::Refresh::default() });
        passes += 1;
    }
    assert_eq!(passes, 60, "the loop waits for its log");
    // The end as well: within its time, in spite of the pipe.
    let before = Instant::now();
    assert!(daemon.stop().success());
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    canary::assert_clean("what stood in the pipe", &text);
    assert!(text.len() >= 60 * 1024, "the pipe was never full: {}", text.len());
}

/// At `info`, a minute in which nothing happens is one line.
#[test]
fn an_idle_minute_is_one_line() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let installation = Installation::new().with_row(row).with("log.level", "info");
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.renewals > 0);
    let before = daemon.log().lines().count();
    let ticks = || daemon.log().matches("⏰").count();
    let first = ticks();
    wait::poll(wait::PATIENCE, || (ticks() >= first + 4).then_some(())).unwrap();
    let log = daemon.log();
    let idle: Vec<&str> = log.lines().skip(before).collect();
    assert!(idle.iter().all(|line| line.contains("⏰")), "{idle:#?}");
}

/// Trouble that goes on is said when it begins and when it ends, not every minute.
#[test]
fn a_database_that_stays_away_is_said_once_and_its_return_once() {
    let installation = Installation::new().with("log.level", "info");
    let daemon = installation.start();
    daemon.until("the table is read", |status| status.tokens.success);
    let (path, aside) = (installation.table().path(), installation.folder().join("aside.db"));
    std::fs::rename(path, &aside).unwrap();
    daemon.until("the loss is noticed", |status| !status.daemon.store_ok);
    let ticks = || daemon.log().matches("⏰").count();
    let first = ticks();
    wait::poll(wait::PATIENCE, || (ticks() >= first + 3).then_some(())).unwrap();
    std::fs::rename(&aside, path).unwrap();
    daemon.until("the return is noticed", |status| status.daemon.store_ok);
    daemon.wait_for_log("The database is back");
    let log = daemon.log();
    assert_eq!(log.matches("The database cannot be used").count(), 1, "{log}");
    assert_eq!(log.matches("The database is back").count(), 1, "{log}");
}

/// A customer that keeps failing is one line when it begins, and one when it ends.
#[test]
fn a_customer_that_works_again_is_said() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    thingsboard.set(Temper::DatabaseError);
    let installation = Installation::new().with_row(row).with("log.level", "info");
    let daemon = installation.start();
    daemon.until_customer("acme", "has failed", |acme| acme.failure.is_some());
    thingsboard.set(Temper::Normal);
    daemon.refresh();
    daemon.wait_for_log("Customer acme has recovered");
    assert_eq!(daemon.log().matches("❌").count(), 1, "{}", daemon.log());
}
