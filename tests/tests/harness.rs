//! Tests of the harness itself, as far as they need no daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use chrono::{TimeZone as _, Utc};
use tbtoken_tests::harness::process::{Process, command_that_dies_with_us};
use tbtoken_tests::harness::{Config, Row, Signal, Table, wait};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

fn shell(script: &str) -> Process {
    Process::spawn(Command::new("sh").args(["-c", script])).unwrap()
}

#[test]
fn the_end_of_a_process_is_awaited() {
    let mut process = shell("exit 7");
    assert_eq!(process.wait(wait::TIMEOUT).unwrap().code(), Some(7));
    assert_eq!(process.exited().unwrap().code(), Some(7));
    process.signal(Signal::SIGTERM);
}

#[test]
fn a_process_that_goes_on_is_not_waited_for_without_end() {
    let mut process = shell("exec sleep 60");
    assert_eq!(process.wait(Duration::from_millis(20)), None);
    assert_eq!(process.exited(), None);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(wait::TIMEOUT).unwrap().code(), None);
}

#[test]
fn a_dropped_process_is_killed() {
    let (ended, end) = channel();
    let mut command = command_that_dies_with_us("sleep".into());
    let process = Process::spawn_and_then(command.arg("60"), move |status| ended.send(status).unwrap());
    drop(process.unwrap());
    assert_eq!(end.recv_timeout(wait::TIMEOUT).unwrap().code(), None);
}

#[test]
fn rows_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::at(&folder.path().join("customers.db"));
    table.create();
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops@acme.example"));
    let row = Row::new("acme", &account);
    table.insert([&row, &Row { customer_id: "empty".into(), ..Row::default() }]);
    assert_eq!(table.row("acme"), row);
    assert_eq!((row.tb_url.as_deref(), table.tokens()), (Some(thingsboard.url().as_str()), 0));

    let noon = Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).unwrap();
    for text in [
        "2026-11-23T12:00:00Z",
        "2026-11-23T13:00:00+01:00",
        "2026-11-23 12:00:00",
        "2026-11-23 12:00:00.000",
    ] {
        table.set("empty", "tbtokenexpiry", Some(text));
        assert_eq!(table.row("empty").expiry(), Some(noon), "{text}");
    }
    table.set("empty", "tbtokenexpiry", Some("tomorrow"));
    assert_eq!(table.row("empty").expiry(), None);
    table.set("empty", "tbtoken", Some("a.b.c"));
    assert_eq!(table.tokens(), 1);
    table.remove("empty");
    assert_eq!(table.tokens(), 0);
}

#[test]
fn a_configuration_is_what_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::in_folder(folder.path());
    config.set("schedule.interval", "1s");
    config.set("thingsboard.max_in_flight", 7);
    let file = folder.path().join("config.toml");
    config.write(&file);
    let text = std::fs::read_to_string(file).unwrap();
    for line in
        ["[schedule]", "interval = \"1s\"", "max_in_flight = 7", "kind = \"sqlite\"", "level = \"trace\""]
    {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
}
