//! Promise 23: memory and descriptors do not grow.

use std::fs;

use tbtoken_tests::harness::{Daemon, Installation, Row, wait};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

use crate::wire::Wire;

/// The number of clients, each with its own pass, between two measurements.
const ROUNDS: usize = 250;

/// The growth per round that is allowed, in bytes. The allocator works in pages. A daemon that kept the buffers of one
/// connection per round would grow far more.
const MOST_PER_ROUND: u64 = 512;

/// Runs passes over ten customers, each by a new client that also sends every other request.
fn rounds(daemon: &Daemon) {
    for _ in 0..ROUNDS {
        let mut client = Wire::to(daemon.socket());
        for line in [
            r#"{"action":"refresh","all":true,"wait":true}"#,
            r#"{"action":"status"}"#,
            r#"{"action":"events","limit":10}"#,
        ] {
            assert_eq!(client.ask(line)["success"], true);
        }
        assert_eq!(client.ask("no request")["success"], false);
        // And one client that disconnects in the middle of a line.
        Wire::to(daemon.socket()).send(b"{\"act").unwrap();
    }
}

fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Counts the descriptors. Without root it returns zero, because only root can see them for a process that is not dumpable.
fn descriptors(daemon: &Daemon) -> usize {
    match fs::read_dir(format!("/proc/{}/fd", daemon.pid())) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("descriptors were not counted: only root can");
            0
        }
        files => files.unwrap().count(),
    }
}

#[test]
fn p23_memory_and_descriptors_stay_flat() {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(10, |n| User::new(format!("ops{n}")));
    let rows: Vec<_> =
        accounts.iter().enumerate().map(|(n, account)| Row::new(format!("c{n}"), account)).collect();
    let installation = Installation::new().with_rows(&rows).with("log.level", "warn");
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 10);
    // Memory may grow until the history is full and each thread for requests has its pool.
    for _ in 0..2 {
        rounds(&daemon);
    }
    let files = descriptors(&daemon);
    const TIMES: usize = 4;
    let measure = || {
        let before = resident(&daemon);
        for _ in 0..TIMES {
            rounds(&daemon);
        }
        resident(&daemon).saturating_sub(before) / (TIMES * ROUNDS) as u64
    };
    // On a busy machine a pool may grow late, but only once; a leak grows in each measurement.
    let mut measured = Vec::new();
    while measured.last().is_none_or(|grown| *grown > MOST_PER_ROUND) {
        assert!(measured.len() < 4, "bytes a round: {measured:?}");
        measured.push(measure());
    }
    // The last clients may still be disconnecting, and the number of connections to ThingsBoard and the table varies.
    let back = wait::poll(wait::TIMEOUT, || (descriptors(&daemon) <= files + 2).then_some(()));
    assert!(back.is_some(), "{} descriptors, {files} before", descriptors(&daemon));
}

/// Clients that take the last descriptor must not fill the log.
#[test]
fn p23_missing_descriptors_are_logged_once_a_minute() {
    let installation = Installation::new();
    // It uses about 21 itself, and takes 16 clients of one user.
    let daemon = installation.launch_by(&["prlimit", "--nofile=32:32"], |_| {}).wait_until_ready();
    let clients: Vec<_> = (0..60).map(|_| Wire::to(daemon.socket())).collect();
    let refused = "No client can be accepted at the moment";
    daemon.wait_for_log(refused);
    // Two more polls: time for ten more such lines.
    let looks = || daemon.log().matches("⏰").count();
    let before = looks();
    wait::poll(wait::TIMEOUT, || (looks() >= before + 2).then_some(())).unwrap();
    assert_eq!(daemon.log().matches(refused).count(), 1, "{}", daemon.log());
    drop(clients);
    assert_eq!(daemon.status().daemon.pid, u32::try_from(daemon.pid()).unwrap());
}
