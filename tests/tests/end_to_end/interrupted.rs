//! The daemon is stopped or killed during its work.

use std::time::{Duration, Instant};

use tbtoken_proto::TokenStatus;
use tbtoken_tests::canary;
use tbtoken_tests::harness::{Installation, Row, Signal, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

/// The promise.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn p18_sigterm_in_a_slow_pass_saves_what_came() {
    let servers: Vec<_> = (0..10).map(|_| ThingsBoard::start()).collect();
    let name = |server: usize, n: usize| format!("ops{server}-{n}");
    let mut rows = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let accounts = server.add_many(20, |n| User::new(name(number, n)));
        rows.extend(accounts.iter().map(|account| Row::new(&account.username, account)));
        server.set(Behaviour::Slow(Duration::from_secs(1)));
    }
    let installation = Installation::new().with_rows(&rows);
    let mut daemon = installation.start();
    for server in &servers {
        server.wait_until("logins are under way", |tally| tally.server().in_flight >= 4);
    }
    let began = Instant::now();
    assert!(daemon.stop().success());
    let took = began.elapsed();
    assert!(took < SOON, "{took:?}");
    assert!(!installation.socket().exists());
    let logins: u64 = servers
        .iter()
        .enumerate()
        .map(|(number, server)| (0..20).map(|n| server.user_stats(&name(number, n)).logins).sum::<u64>())
        .sum();
    assert!((1..200).contains(&logins), "{logins}: the pass was to be cut");
    assert_eq!(installation.table().tokens() as u64, logins);
}

#[test]
fn p18_sigterm_does_not_wait_for_a_server_that_never_answers() {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(200, |n| User::new(format!("ops{n}")));
    let rows: Vec<_> = accounts.iter().map(|account| Row::new(&account.username, account)).collect();
    thingsboard.set(Behaviour::Silent);
    // A server without an answer yet gets one login at a time.
    thingsboard.set_for_next(1, Behaviour::Normal);
    let installation = Installation::new().with_rows(&rows).with("thingsboard.request_timeout", "20s");
    let mut daemon = installation.start();
    thingsboard.wait_until("logins are under way", |tally| tally.server().in_flight >= 4);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_at_most(SOON).success());
    assert!(!installation.socket().exists());
}

#[test]
fn p18_each_signal_ends_an_idle_daemon_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let installation = Installation::new();
        let mut daemon = installation.start();
        daemon.signal(signal);
        assert!(daemon.wait_at_most(SOON).success(), "{signal}");
        assert!(!installation.socket().exists(), "{signal}");
    }
}

const GOOD: usize = 30;
const BAD: usize = 5;

/// Counts the parked customers in the file, whatever the dead process knew.
fn recorded_as_failing(installation: &Installation) -> i64 {
    let sql = "SELECT count(*) FROM tbtokend_state WHERE customer_id LIKE 'bad%'";
    installation.table().connect().query_row(sql, [], |row| row.get(0)).unwrap_or(0)
}

#[test]
fn p19_after_kill_9_all_are_renewed_and_the_parked_stay_parked() {
    for requests in [1, 5, 12, 20, 30] {
        let thingsboard = ThingsBoard::start();
        let good = thingsboard.add_many(GOOD, |n| User::new(format!("good{n}")));
        let bad = thingsboard.add_many(BAD, |n| User::new(format!("bad{n}")));
        let mut rows: Vec<_> = good.iter().map(|account| Row::new(&account.username, account)).collect();
        let wrong = |account: usize| {
            Row::new(&bad[account].username, &bad[account]).password(canary::password("wrong"))
        };
        rows.extend((0..BAD).map(wrong));
        // A password in flight at the kill counts as in flight as long as a request may last.
        let installation = Installation::new().with_rows(&rows).with("thingsboard.request_timeout", "1s");
        thingsboard.set(Behaviour::Slow(Duration::from_millis(20)));
        let mut daemon = installation.start();
        thingsboard.wait_until("the pass is there", |tally| tally.server().requests >= requests);
        daemon.kill();
        thingsboard.settle();
        let known = u64::try_from(recorded_as_failing(&installation)).unwrap();
        let wrong_passwords =
            || (0..BAD).map(|n| thingsboard.user_stats(&format!("bad{n}")).wrong_passwords).sum::<u64>();
        let sent = wrong_passwords();

        let mut daemon = installation.start();
        daemon.until("all are renewed or parked", |status| {
            let summary = status.tokens.summary;
            summary.valid == GOOD && summary.parked == BAD && !status.cron.refreshing
        });
        // Wrong passwords whose outcome was stored are not sent again.
        assert!(wrong_passwords() - sent <= BAD as u64 - known, "killed after {requests} requests");
        let sent = wrong_passwords();
        // A status is shown before it is stored, so the file is polled.
        let is_recorded = || (recorded_as_failing(&installation) == BAD as i64).then_some(());
        wait::poll(wait::TIMEOUT, is_recorded).expect("the refusals are recorded");
        daemon.kill();
        let daemon = installation.start();
        daemon.until("the second start knows them", |status| status.tokens.summary.parked == BAD);
        daemon.refresh();
        assert_eq!(wrong_passwords(), sent, "a parked customer is not tried again");
        assert!(
            daemon
                .status()
                .tokens
                .customers
                .iter()
                .flatten()
                .filter(|c| c.token_status == TokenStatus::Valid)
                .count()
                == GOOD
        );
    }
}
