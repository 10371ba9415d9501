//! Servers that send something other than a token.

use std::time::Duration;

use tbtoken_proto::{FailureKind, TokenStatus};
use tbtoken_tests::harness::{Daemon, Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

fn peak_megabytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn p14_every_wrong_answer_is_named_and_affects_no_other_customer() {
    use FailureKind::{RateLimited, ServerError, Timeout, UnexpectedResponse, Unreachable};
    let redirect = Behaviour::Redirect { status: 302, location: "https://elsewhere.example/".into() };
    let cases = [
        ("endless-body", Behaviour::EndlessBody, UnexpectedResponse),
        ("slow-drip", Behaviour::SlowDrip { every: Duration::from_millis(100) }, Timeout),
        ("silent", Behaviour::Silent, Timeout),
        ("login-page", Behaviour::LoginPage, UnexpectedResponse),
        ("redirect", redirect, UnexpectedResponse),
        ("no-token", Behaviour::JsonWithoutToken, UnexpectedResponse),
        ("no-jwt", Behaviour::NotAJwt, UnexpectedResponse),
        ("no-life", Behaviour::ExpNotAfterIat, UnexpectedResponse),
        ("not-found", Behaviour::Page(404), UnexpectedResponse),
        ("bad-gateway", Behaviour::Page(502), ServerError),
        ("trouble", Behaviour::DatabaseError, ServerError),
        ("rate-limit", Behaviour::RateLimit { retry_after: None }, RateLimited),
        ("proxy-401", Behaviour::ProxyUnauthorized, UnexpectedResponse),
        ("reset", Behaviour::Reset, Unreachable),
        ("refuse", Behaviour::Refuse, Unreachable),
        ("black-hole", Behaviour::BlackHole, Unreachable),
        ("garbage", Behaviour::Garbage, UnexpectedResponse),
        ("endless-head", Behaviour::EndlessHead, UnexpectedResponse),
        ("endless-interim", Behaviour::EndlessInterim, Timeout),
        ("cut-head", Behaviour::Cut(20), Unreachable),
        ("cut-body", Behaviour::Cut(400), Unreachable),
    ];
    let healthy = ThingsBoard::start();
    // This customer also comes last in the alphabet.
    let mut rows = vec![Row::new("zz-healthy", &healthy.add(User::new("zz-healthy")))];
    // A server for each answer, so that each has its own circuit breaker.
    let mut servers = Vec::new();
    for (name, behaviour, _) in &cases {
        let server = ThingsBoard::start();
        rows.push(Row::new(*name, &server.add(User::new(*name))));
        server.set(behaviour.clone());
        servers.push(server);
    }
    let installation = Installation::new().with_rows(&rows).with("thingsboard.request_timeout", "6s");
    let daemon = installation.start();
    let early =
        daemon.until("the healthy one is valid", |s| s.of("zz-healthy").token_status == TokenStatus::Valid);
    for name in ["silent", "slow-drip", "black-hole"] {
        assert!(early.of(name).failure.is_none(), "no customer has waited for {name}");
    }
    for (name, behaviour, kind) in &cases {
        let customer = daemon.until_customer(name, "has failed", |customer| customer.failure.is_some());
        let failure = customer.failure.unwrap();
        assert_eq!(failure.kind, *kind, "{behaviour:?}");
        assert!(!failure.permanent, "none of them says anything about a password: {behaviour:?}");
    }
    // All of them still fail.
    let reply = daemon.refresh_customer("zz-healthy");
    assert!(reply.result.as_ref().unwrap().success, "{reply:?}");
    assert_eq!(installation.table().tokens(), 1);
    let peak = peak_megabytes(&daemon);
    assert!(peak < 64, "{peak} MB");
}

#[test]
fn a_maintenance_page_parks_no_customer_and_its_end_is_noticed() {
    let server = ThingsBoard::start();
    let rows: Vec<_> =
        (0..8).map(|n| Row::new(format!("c{n}"), &server.add(User::new(format!("u{n}"))))).collect();
    server.set(Behaviour::Redirect { status: 302, location: "/maintenance.html".into() });
    let installation = Installation::new().with_rows(&rows).with("schedule.interval", "1s");
    let daemon = installation.start();
    let met = daemon.until("it is met", |status| status.tokens.summary.retrying > 0);
    assert_eq!(met.tokens.summary.parked, 0);
    server.set(Behaviour::Normal);
    daemon.until("all are valid", |status| status.tokens.summary.valid == 8);
}

#[test]
fn p14_bodies_without_end_cost_no_memory() {
    // A server for each answer, because such a server gets one password at a time.
    let servers: Vec<ThingsBoard> = (0..30).map(|_| ThingsBoard::start()).collect();
    let mut rows: Vec<_> = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let account = server.add(User::new(format!("ops{number:02}")));
        rows.push(Row::new(&account.username, &account));
        server.set(Behaviour::EndlessBody);
    }
    let healthy = ThingsBoard::start();
    rows.push(Row::new("zz-healthy", &healthy.add(User::new("zz-healthy"))));
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    daemon.until("all have failed", |status| status.tokens.summary.retrying == 30);
    daemon.refresh();
    daemon.until_customer("zz-healthy", "is valid", |one| one.token_status == TokenStatus::Valid);
    let peak = peak_megabytes(&daemon);
    assert!(peak < 64, "{peak} MB");
}

#[test]
fn p14_what_is_no_http_fails_and_is_survived() {
    for behaviour in [Behaviour::Garbage, Behaviour::EndlessHead, Behaviour::Cut(120)] {
        let thingsboard = ThingsBoard::start();
        let row = Row::new("acme", &thingsboard.add(User::new("ops")));
        thingsboard.set_for_next(1, behaviour.clone());
        let installation = Installation::new().with_row(row).with("thingsboard.request_timeout", "2s");
        let daemon = installation.start();
        daemon.wait_for_log("❌ Failed to update token for customer acme");
        daemon.until_customer("acme", "recovers", |acme| acme.token_status == TokenStatus::Valid);
        assert!(peak_megabytes(&daemon) < 64, "{behaviour:?}");
    }
}

/// A proxy may send a wrong content type; only the token in the body matters.
#[test]
fn p14_a_wrong_content_type_alone_does_no_harm() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    thingsboard.set(Behaviour::ContentType("text/html"));
    let installation = Installation::new().with_row(row);
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.token_status == TokenStatus::Valid);
}
