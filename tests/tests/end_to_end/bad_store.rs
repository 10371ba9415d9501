//! A database that cannot be used: the daemon reports it, keeps running, and continues when the database works again.

use std::fs;

use tbtoken_proto::TokenStatus;
use tbtoken_tests::harness::{Daemon, Installation, Row, Status};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

fn is_missed(daemon: &Daemon, words: &str) -> Status {
    // A record that cannot be written may report it before the next poll.
    let is_missed = |status: &Status| !status.daemon.store_ok && !status.tokens.success;
    let status = daemon.until("the database is missed", is_missed);
    let error = status.daemon.store_error.clone().unwrap();
    assert!(error.contains(words), "{error}");
    assert!(status.tokens.error.is_some());
    daemon.wait_for_log("The database cannot be used: ");
    assert!(daemon.log().contains(words));
    status
}

fn goes_on(daemon: &Daemon, id: &str) {
    daemon.until("the database is back", |status| status.daemon.store_ok && status.tokens.success);
    daemon.until_customer(id, "is valid", |one| one.token_status == TokenStatus::Valid);
    daemon.wait_for_log("The database is back");
}

fn acme() -> (ThingsBoard, Row) {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    (thingsboard, row)
}

#[test]
fn a_file_that_is_no_database() {
    let (_thingsboard, row) = acme();
    let installation = Installation::new().with_row(row);
    let (path, aside) = (installation.table().path(), installation.folder().join("aside"));
    fs::rename(path, &aside).unwrap();
    fs::write(path, "this is a letter to my aunt, and not a database at all\n".repeat(100)).unwrap();
    let daemon = installation.start();
    is_missed(&daemon, "is not a SQLite database");
    fs::rename(&aside, path).unwrap();
    goes_on(&daemon, "acme");
}

#[test]
fn a_table_that_is_not_there() {
    let (_thingsboard, row) = acme();
    let installation = Installation::new();
    installation.table().execute("ALTER TABLE customer_settings RENAME TO customers");
    let daemon = installation.start();
    is_missed(&daemon, "no table customer_settings");
    installation.table().execute("ALTER TABLE customers RENAME TO customer_settings");
    installation.table().insert([&row]);
    goes_on(&daemon, "acme");
}

#[test]
fn a_column_that_is_not_there() {
    let (_thingsboard, row) = acme();
    let installation = Installation::new().with_row(row);
    installation.table().execute("ALTER TABLE customer_settings RENAME COLUMN tbtoken TO token");
    let daemon = installation.start();
    is_missed(&daemon, "no column tbtoken");
    installation.table().execute("ALTER TABLE customer_settings RENAME COLUMN token TO tbtoken");
    goes_on(&daemon, "acme");
}

#[test]
fn a_file_that_disappears_and_comes_back() {
    let (_thingsboard, row) = acme();
    let installation = Installation::new().with_row(row);
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
    let (path, aside) = (installation.table().path(), installation.folder().join("aside"));
    // Complete in one file, as a backup is.
    installation.table().connect().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    fs::copy(path, &aside).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let status = is_missed(&daemon, "is gone");
    assert_eq!(status.of("acme").renewals, 1, "the rows last seen are still shown");
    assert!(!path.exists(), "an empty database in its place would hide the loss");
    fs::rename(&aside, path).unwrap();
    goes_on(&daemon, "acme");
}
