//! A SQLite file that changes while the daemon has it open, as when a backup is restored.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tbtoken_proto::TokenStatus;
use tbtoken_tests::harness::{Daemon, Installation, Row, Signal};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

/// Copies a backup as `cp` and `rm` do: the file keeps its identity, and the files beside it are removed. The daemon stands
/// still meanwhile, so that it never sees half of it.
fn copy_over(daemon: &mut Daemon, path: &Path, backup: &[u8]) {
    daemon.signal(Signal::SIGSTOP);
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(backup).unwrap();
    file.set_len(backup.len() as u64).unwrap();
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(PathBuf::from(format!("{}{suffix}", path.display()))).unwrap();
    }
    daemon.signal(Signal::SIGCONT);
}

/// Starts a daemon that polls every `interval`, and waits until its only customer has a token.
fn started(interval: &str) -> (ThingsBoard, Installation, Daemon, Vec<u8>) {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let installation = Installation::new().with_row(row).with("schedule.interval", interval);
    let backup = fs::read(installation.table().path()).unwrap();
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |one| one.token_status == TokenStatus::Valid);
    (thingsboard, installation, daemon, backup)
}

#[test]
fn a_backup_that_is_copied_over_the_file_is_used() {
    let (thingsboard, installation, mut daemon, backup) = started("1s");
    copy_over(&mut daemon, installation.table().path(), &backup);
    daemon.wait_for_log("lost its -wal or -shm file");
    daemon.until("the row has a token", |_| installation.table().tokens() == 1);
    assert!(thingsboard.accepts(&installation.table().row("acme").tbtoken.unwrap()));
    daemon.until("all is well", |status| status.daemon.store_ok && status.tokens.success);
    assert_eq!(daemon.log().matches("while tbtokend had it open").count(), 1);
}

/// The daemon has written nothing since. At its end it must not write pages that others no longer see.
#[test]
fn what_others_write_after_the_wal_was_lost_outlives_the_daemon() {
    for others_go_on in [true, false] {
        let (_thingsboard, installation, mut daemon, _) = started("1h");
        let path = installation.table().path();
        installation.table().connect().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let backup = fs::read(path).unwrap();
        // A change that only the WAL contains.
        daemon.refresh_customer("acme");
        copy_over(&mut daemon, path, &backup);
        let mut others = installation.table().connect();
        let transaction = others.transaction().unwrap();
        for number in 0..400 {
            let sql = "INSERT INTO customer_settings (customer_id, tb_username) VALUES (?1, ?2)";
            transaction.execute(sql, (format!("new-{number}"), "x".repeat(200))).unwrap();
        }
        transaction.commit().unwrap();
        others.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        let others = others_go_on.then_some(others);
        daemon.stop();
        drop(others);
        let connection = installation.table().connect();
        let count: i64 =
            connection.query_row("SELECT count(*) FROM customer_settings", [], |row| row.get(0)).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((count, check.as_str()), (401, "ok"), "others go on: {others_go_on}");
    }
}
