//! The log never delays the loop, and has few lines when nothing happens.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tbtoken_tests::canary;
use tbtoken_tests::harness::{Daemon, Installation, Row, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};
use tbtokend::model::NoticeKind;

/// stderr is a pipe whose reader is stopped. The daemon continues, and later logs how many lines were lost.
#[test]
fn an_unread_stderr_delays_no_renewal() {
    let thingsboard = ThingsBoard::start();
    let rows: Vec<Row> = (0..150)
        .map(|number| Row::new(format!("c{number}"), &thingsboard.add(User::new(format!("u{number}")))))
        .collect();
    let installation = Installation::new().with_rows(&rows);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut daemon = installation
        .launch_with(|command| {
            command.stderr(Stdio::from(writer));
        })
        .wait_until_ready();
    // A pipe holds 64 KiB, the queue 4,096 lines; these are 9,000. A loop that waits for its log answers no more.
    for _ in 0..60 {
        renew_all(&daemon);
    }
    // The daemon also ends in time, in spite of the pipe.
    let before = Instant::now();
    assert!(daemon.stop().success());
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    canary::assert_clean("what stood in the pipe", &text);
    assert!(text.len() >= 60 * 1024, "the pipe was never full: {}", text.len());
}

/// The number of lines that wait in the queue of `daemon/src/telemetry/queue.rs`.
const CAPACITY: usize = 4096;

/// Renews all customers, and returns how long that took.
fn renew_all(daemon: &Daemon) -> Duration {
    let before = Instant::now();
    daemon.refresh_as(tbtoken_proto::Refresh { all: true, ..tbtoken_proto::Refresh::default() });
    before.elapsed()
}

/// Parses the fields of a record in the journal's native protocol: `NAME=value`, or the name, the length of the value and
/// the value.
fn fields(mut record: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = record.iter().position(|&byte| byte == b'\n') {
        let (line, rest) = (&record[..end], &record[end + 1..]);
        let (name, value) = match line.iter().position(|&byte| byte == b'=') {
            Some(equals) => {
                record = rest;
                (&line[..equals], &line[equals + 1..])
            }
            None => {
                let (length, rest) = rest.split_first_chunk().unwrap();
                let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
                record = rest.strip_prefix(b"\n").unwrap();
                (line, value)
            }
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.insert(text(name), text(value));
    }
    fields
}

/// The journal hangs from the start: its real socket stays full. The daemon's queue fills, and further lines are dropped. When
/// the journal reads again, the log says how many lines are missing, and where.
#[test]
fn an_unread_journal_delays_no_renewal_and_later_gets_the_number_of_lost_lines() {
    let thingsboard = ThingsBoard::start();
    let customers = 400;
    let rows: Vec<Row> = (0..customers)
        .map(|number| Row::new(format!("c{number}"), &thingsboard.add(User::new(format!("u{number}")))))
        .collect();
    let installation = Installation::new()
        .with_rows(&rows)
        .with("log.target", "journald")
        .with("log.level", "info")
        .with("schedule.interval", "1h");
    let path = installation.folder().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(&[], &path).is_ok() {}
    let own_run = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && touch /run/systemd/journal/socket \
         && mount --bind '{}' /run/systemd/journal/socket && exec \"$@\"",
        path.display()
    );
    let way = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &own_run, "sh"];
    let mut daemon = installation.launch_by(&way, |_| {});
    let up = wait::poll(wait::TIMEOUT, || match daemon.log() {
        log if log.contains("unshare:") || log.contains("mount:") => Some(false),
        _ => installation.socket().exists().then_some(true),
    });
    if up == Some(false) && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: no mount namespace can be had here: {}", daemon.log());
        daemon.kill();
        return;
    }
    let mut daemon = daemon.wait_until_ready();

    // One line for each customer in each pass. The kernel holds only a few hundred datagrams.
    let kernel: usize =
        std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
    let passes = (kernel + CAPACITY) / customers + 3;
    for pass in 0..passes {
        let took = renew_all(&daemon);
        assert!(took < wait::TIMEOUT, "pass {pass} waits for the log: {took:?}");
        assert!(daemon.status().cron.running);
    }
    let renewed = daemon.status().daemon.renewals_by_refresh_token + daemon.status().daemon.renewals_by_login;
    let renewed = usize::try_from(renewed).unwrap();
    assert!(renewed >= passes * customers, "{renewed}");

    // Now the test reads.
    journal.set_read_timeout(Some(wait::TIMEOUT)).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut next = || {
        loop {
            let length = journal.recv(&mut buffer).expect("the line about the lost lines does not come");
            canary::assert_clean("the journal", &buffer[..length]);
            // Skips the datagrams of this test, and those with which the daemon checks for a journal.
            if length > 0 {
                return fields(&buffer[..length]);
            }
        }
    };
    let (mut arrived, mut dropped, mut position) = (0, None, 0);
    while dropped.is_none() {
        let record = next();
        position += 1;
        arrived += usize::from(record["MESSAGE_ID"] == NoticeKind::Renewed.message_id());
        if record["MESSAGE_ID"] == NoticeKind::LinesDropped.message_id() {
            let message = &record["MESSAGE"];
            assert!(
                message.ends_with("log lines were dropped: the reader of the log is too slow"),
                "{message}"
            );
            assert_eq!(record["PRIORITY"], "4", "{record:?}");
            dropped = Some(message.split(' ').next().unwrap().parse::<usize>().unwrap());
        }
    }
    let dropped = dropped.unwrap();
    assert!(position > CAPACITY, "dropped although there was room for more than {position} lines");
    // There are only a few lines besides the renewals, for example that of the start.
    let lines = arrived + dropped;
    assert!((renewed..renewed + 10).contains(&lines), "{arrived} + {dropped} of {renewed}");

    // From here on no line is lost.
    renew_all(&daemon);
    for _ in 0..customers {
        let record = next();
        assert_eq!(record["MESSAGE_ID"], NoticeKind::Renewed.message_id(), "{record:?}");
    }
    assert!(daemon.stop().success());
    assert_eq!(daemon.log(), "", "nothing on stderr");
}

/// At `info`, a minute without events has one line.
#[test]
fn an_idle_minute_is_one_line() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let installation = Installation::new().with_row(row).with("log.level", "info");
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.renewals > 0);
    let ticks = || daemon.log().matches("⏰").count();
    // The lines about the renewal come later than the status, but before the line of a later poll.
    let first = ticks() + 2;
    wait::poll(wait::TIMEOUT, || (ticks() >= first + 4).then_some(())).unwrap();
    let log = daemon.log();
    let (_, idle) = log.match_indices("⏰").nth(first).map(|(at, _)| log.split_at(at)).unwrap();
    let idle: Vec<&str> = idle.lines().collect();
    assert!(idle.iter().all(|line| line.contains("⏰")), "{idle:#?}");
}

/// A long failure is logged when it begins and when it ends, not every minute.
#[test]
fn a_database_that_stays_down_is_logged_once_and_its_return_once() {
    let installation = Installation::new().with("log.level", "info");
    let daemon = installation.start();
    daemon.until("the table is read", |status| status.tokens.success);
    let (path, aside) = (installation.table().path(), installation.folder().join("aside.db"));
    std::fs::rename(path, &aside).unwrap();
    daemon.until("the loss is noticed", |status| !status.daemon.store_ok);
    let ticks = || daemon.log().matches("⏰").count();
    let first = ticks();
    wait::poll(wait::TIMEOUT, || (ticks() >= first + 3).then_some(())).unwrap();
    std::fs::rename(&aside, path).unwrap();
    daemon.until("the return is noticed", |status| status.daemon.store_ok);
    daemon.wait_for_log("The database is back");
    let log = daemon.log();
    assert_eq!(log.matches("The database cannot be used").count(), 1, "{log}");
    assert_eq!(log.matches("The database is back").count(), 1, "{log}");
}

/// A customer that keeps failing has a line when that begins, and one when it ends.
#[test]
fn a_customer_that_works_again_is_logged() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    thingsboard.set_for_next(1, Behaviour::DatabaseError);
    let installation = Installation::new().with_row(row).with("log.level", "info");
    let daemon = installation.start();
    daemon.wait_for_log("Customer acme has recovered");
    assert_eq!(daemon.log().matches("❌").count(), 1, "{}", daemon.log());
}
