//! No account is ever locked: a wrong password is sent once, as long as the row has it.

use std::time::Duration;

use tbtoken_proto::{FailureKind, Phase, Refresh, TokenStatus};
use tbtoken_tests::canary;
use tbtoken_tests::harness::wait::{TIMEOUT, poll};
use tbtoken_tests::harness::{Installation, Row, Signal};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

/// The default budget of an account.
const BUDGET: u32 = 3;

/// Makes a user that allows `max` wrong passwords, and a row with a wrong one.
fn bad_row(thingsboard: &ThingsBoard, name: &str, max: u32) -> Row {
    let account = thingsboard.add(User::new(name).max_failed_logins(max));
    Row::new(name, &account).password(canary::password("wrong"))
}

/// Waits until this many failures are stored, so that a kill does not lose them.
fn until_recorded(installation: &Installation, failures: usize) {
    let count = "UPDATE tbtokend_state SET kind = kind WHERE kind IS NOT NULL";
    poll(TIMEOUT, || (installation.table().execute(count) == failures).then_some(()))
        .expect("the records are written");
}

/// Waits until this many parked customers are stored.
fn until_parked_is_recorded(installation: &Installation, parked: usize) {
    let count = "UPDATE tbtokend_state SET parked = parked WHERE parked";
    poll(TIMEOUT, || (installation.table().execute(count) == parked).then_some(()))
        .expect("the records are written");
}

#[test]
fn p02_a_wrong_password_is_sent_once_under_every_fault_and_over_restarts() {
    let faults = [
        Behaviour::Normal,
        Behaviour::Page(503),
        Behaviour::DatabaseError,
        Behaviour::RateLimit { retry_after: None },
        Behaviour::Refuse,
        Behaviour::Reset,
        Behaviour::LoginPage,
        Behaviour::Slow(Duration::from_millis(300)),
        Behaviour::MaxRate { per_second: 2, retry_after: None },
    ];
    let thingsboard = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let installation = Installation::new().with_row(good);
    let mut names = Vec::new();
    for (round, fault) in faults.into_iter().enumerate() {
        // Each fault gets new rows, so that some rows were never tried and some are parked.
        let rows: Vec<Row> =
            (1..=5).map(|max| bad_row(&thingsboard, &format!("fault{round}-max{max}"), max)).collect();
        installation.table().insert(&rows);
        names.extend(rows.into_iter().map(|row| row.customer_id));
        thingsboard.set(fault.clone());
        let mut daemon = installation.start();
        daemon.refresh();
        thingsboard.set(Behaviour::Normal);
        // Customers that wait after the fault are not awaited.
        daemon.refresh();
        daemon.until("the bad rows are parked", |status| status.tokens.summary.parked == names.len());
        thingsboard.set(fault);
        daemon.refresh();
        if round % 2 == 0 {
            assert!(daemon.stop().success());
        } else {
            until_parked_is_recorded(&installation, names.len());
            daemon.kill();
        }
    }
    thingsboard.set(Behaviour::Normal);
    for name in &names {
        assert_eq!(thingsboard.user_stats(name).wrong_passwords, 1, "{name}");
        assert!(thingsboard.is_enabled(name), "{name}");
    }
    let daemon = installation.start();
    daemon.until_customer("good", "is valid", |good| good.token_status == TokenStatus::Valid);
}

/// A 401 without its body says nothing about the password but was counted: it costs charges, and locks no account.
#[test]
fn p02_a_refusal_whose_body_breaks_off_costs_charges_and_no_account() {
    let faults = [
        ("cut", Behaviour::CutBody(0)),
        ("cut-later", Behaviour::CutBody(9)),
        ("stuck", Behaviour::StuckBody(9)),
    ];
    let mut installation = Installation::new().with("thingsboard.request_timeout", "1s");
    let mut servers = Vec::new();
    for (name, fault) in faults {
        let server = ThingsBoard::start();
        installation = installation.with_row(bad_row(&server, name, BUDGET));
        server.set(fault);
        servers.push((name, server));
    }
    let daemon = installation.start();
    for (name, _) in &servers {
        daemon.until_customer(name, "has failed", |customer| customer.failure.is_some());
    }
    for _ in 0..5 {
        daemon.refresh();
    }
    for (name, server) in &servers {
        let wrong = server.user_stats(name).wrong_passwords;
        assert!((1..=u64::from(BUDGET)).contains(&wrong), "{name}: {wrong}");
        assert!(server.is_enabled(name), "{name}");
    }
}

/// The daemon cannot distinguish a server that has counted the password from one that never read it. Both cost one attempt.
/// The next one waits, also after a restart.
#[test]
fn p02_an_answer_that_cannot_be_read_costs_one_attempt_and_a_wait() {
    // The fault, and whether the server has counted the password.
    let faults = [
        ("silent", Behaviour::Silent, false),
        ("garbage", Behaviour::Garbage, false),
        ("reset", Behaviour::Reset, false),
        ("slow-drip", Behaviour::SlowDrip { every: Duration::from_millis(500) }, true),
        ("endless-head", Behaviour::EndlessHead, true),
        ("endless-body", Behaviour::EndlessBody, true),
        ("cut-off", Behaviour::Cut(20), true),
    ];
    let mut installation =
        Installation::new().with("schedule.interval", "60s").with("thingsboard.request_timeout", "2s");
    // A server for each fault, so that each has its own circuit breaker.
    let mut servers = Vec::new();
    for (name, fault, _) in &faults {
        let server = ThingsBoard::start();
        installation = installation.with_row(bad_row(&server, name, 2));
        server.set(fault.clone());
        servers.push(server);
    }
    let passwords = |server: &ThingsBoard| server.stats().requests - server.stats().probes;
    let sent = || servers.iter().map(passwords).collect::<Vec<_>>();
    let mut daemon = installation.start();
    daemon.until("all wait", |status| status.tokens.summary.retrying == faults.len());
    assert_eq!(sent(), [1; 7]);
    until_recorded(&installation, faults.len());
    daemon.kill();
    let mut daemon = installation.start();
    let status = daemon.until("all wait", |status| status.tokens.summary.retrying == faults.len());
    assert!(status.tokens.as_of.is_some());
    assert_eq!(sent(), [1; 7], "a restart is no reason to send it again");

    // An operator refreshes them: each is tried once more and now fails with its reason.
    servers.iter().for_each(|server| server.set(Behaviour::Normal));
    daemon.refresh();
    daemon.until("all are parked", |status| status.tokens.summary.parked == faults.len());
    daemon.refresh();
    assert!(daemon.stop().success());
    let daemon = installation.start();
    daemon.until("all are parked", |status| status.tokens.summary.parked == faults.len());
    daemon.refresh();
    assert_eq!(sent(), [2; 7]);
    for ((name, fault, is_counted), server) in faults.iter().zip(&servers) {
        assert_eq!(server.user_stats(name).wrong_passwords, 1 + u64::from(*is_counted), "{fault:?}");
        assert!(server.is_enabled(name), "{fault:?}");
    }
}

#[test]
fn p02_rows_that_share_an_account_send_its_wrong_password_once() {
    let thingsboard = ThingsBoard::start();
    let first = bad_row(&thingsboard, "shared", 1);
    let rows: Vec<Row> =
        (0..20).map(|n| Row { customer_id: format!("site{n:02}"), ..first.clone() }).collect();
    let installation = Installation::new().with_rows(&rows);
    let mut daemon = installation.start();
    let status = daemon.until("all are parked", |status| status.tokens.summary.parked == 20);
    let tried: Vec<_> = rows
        .iter()
        .filter(|row| status.of(&row.customer_id).failure.as_ref().unwrap().consecutive == 1)
        .collect();
    assert_eq!(tried.len(), 1);
    let untried = rows.iter().find(|row| row.customer_id != tried[0].customer_id).unwrap();
    let failure = status.of(&untried.customer_id).failure.clone().unwrap();
    assert_eq!((failure.kind, failure.permanent), (FailureKind::CredentialsRejected, true));
    assert!(failure.message.contains("has rejected this user name and password before"), "{failure:?}");

    // Another id has the same account, also after a restart, and also with another spelling of the URL.
    installation.table().insert([&Row { customer_id: "new".into(), ..first.clone() }]);
    daemon.until_customer("new", "is parked", |new| new.state == Phase::Parked);
    daemon.kill();
    let spelled = format!("{}/", first.tb_url.as_deref().unwrap());
    installation.table().insert([&Row { customer_id: "newer".into(), ..first.clone() }.url(spelled)]);
    let daemon = installation.start();
    daemon.until("all are parked", |status| status.tokens.summary.parked == 22);
    assert_eq!(thingsboard.user_stats("shared").wrong_passwords, 1);

    // Corrected in ThingsBoard: one row is forced, and all are renewed.
    thingsboard.set_password("shared", first.tb_password.as_deref().unwrap());
    let named = Some(vec!["new".to_owned()]);
    daemon.refresh_as(Refresh { customers: named, force: true, ..Refresh::default() });
    daemon.until("all are valid", |status| status.tokens.summary.valid == 22);
    assert_eq!(thingsboard.user_stats("shared").wrong_passwords, 1);
}

#[test]
fn p02_a_customer_that_one_daemon_has_parked_is_not_tried_by_a_second_one() {
    let thingsboard = ThingsBoard::start();
    let installation = Installation::new().with_row(bad_row(&thingsboard, "acme", 1));
    let first = installation.start();
    first.until_customer("acme", "is parked", |acme| acme.state == Phase::Parked);
    let path = installation.table().path().to_str().unwrap();
    let other = Installation::new().with("store.path", path);
    let second = other.start();
    second.until_customer("acme", "is parked", |acme| acme.state == Phase::Parked);
    second.refresh();
    first.refresh();
    assert_eq!(thingsboard.user_stats("acme").wrong_passwords, 1);
    drop(second);
}

#[test]
fn p02_a_login_that_is_given_up_at_the_end_is_not_sent_again_at_once() {
    let thingsboard = ThingsBoard::start();
    let installation = Installation::new()
        .with_row(bad_row(&thingsboard, "acme", 1))
        .with("schedule.interval", "60s")
        .with("thingsboard.request_timeout", "20s");
    // The server counts the password at once and answers too late.
    thingsboard.set(Behaviour::Slow(Duration::from_secs(30)));
    let mut daemon = installation.start();
    thingsboard.wait_until("the password is counted", |tally| tally.user("acme").wrong_passwords == 1);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_at_most(Duration::from_secs(5)).success(), "it does not wait for the answer");
    thingsboard.set(Behaviour::Normal);
    let daemon = installation.start();
    let acme = daemon.until_customer("acme", "waits", |acme| acme.state == Phase::Retrying);
    assert_eq!(acme.failure.unwrap().kind, FailureKind::Timeout);
    assert!(acme.next_attempt_at.is_some());
    assert_eq!(thingsboard.user_stats("acme").wrong_passwords, 1);
    assert!(thingsboard.is_enabled("acme"));
}

#[test]
fn p02_a_named_customer_whose_server_does_not_answer_stays_parked() {
    let thingsboard = ThingsBoard::start();
    let installation = Installation::new().with_row(bad_row(&thingsboard, "acme", 1));
    let daemon = installation.start();
    daemon.until_customer("acme", "is parked", |acme| acme.state == Phase::Parked);
    thingsboard.set(Behaviour::Refuse);
    daemon.refresh_customer("acme");
    thingsboard.set(Behaviour::Normal);
    daemon.refresh();
    let acme = daemon.until_customer("acme", "is parked", |acme| acme.state == Phase::Parked);
    assert_eq!(acme.failure.unwrap().kind, FailureKind::CredentialsRejected);
    assert_eq!(thingsboard.user_stats("acme").wrong_passwords, 1);
}

#[test]
fn p03_a_refused_refresh_token_falls_back_to_the_password_and_counts_no_failure() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("acme")));
    // No check finds the access token dead and has it renewed first.
    let installation = Installation::new().with_row(row).with("thingsboard.verify_tokens", "off");
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
    // ThingsBoard outdates tokens by whole seconds.
    daemon.until("a second has passed", |status| {
        status.tokens.as_of.is_some_and(|at| (at - status.daemon.started_at).num_seconds() >= 2)
    });
    thingsboard.end_sessions("acme");
    daemon.refresh_customer("acme");
    let status = daemon.until_customer("acme", "is renewed", |acme| acme.renewals == 2);
    assert!(status.failure.is_none());
    let daemon = daemon.status();
    assert_eq!((daemon.daemon.renewals_by_login, daemon.daemon.renewals_by_refresh_token), (2, 0));
    assert_eq!(thingsboard.user_stats("acme").wrong_passwords, 0);
}

#[test]
fn a_renewal_survives_a_connection_that_the_server_closes_in_the_same_moment() {
    let thingsboard = ThingsBoard::start();
    let installation = Installation::new().with_row(Row::new("acme", &thingsboard.add(User::new("acme"))));
    thingsboard.set(Behaviour::StaleKeepAlive);
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
    let reply = daemon.refresh_customer("acme");
    assert!(reply.result.as_ref().unwrap().success, "{reply:?}");
    assert_eq!(daemon.status().daemon.renewals_by_refresh_token, 1);
    assert_eq!(thingsboard.user_stats("acme").logins, 1, "the password was not needed");
}
