//! The answers of a server with each faulty behaviour.

use std::time::{Duration, Instant};

use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::answer::Answer;
use tbtoken_tests::thingsboard::{Account, Behaviour, ThingsBoard, User, jwt};

use crate::client::{Connection, log_in};

const NAME: &str = "ops@acme.example";

fn server_with(behaviour: Behaviour) -> (ThingsBoard, Account) {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    server.set(behaviour);
    (server, account)
}

/// Logs in and returns the bytes on the wire, at most `limit`.
fn raw(server: &ThingsBoard, account: &Account, limit: usize) -> Vec<u8> {
    let mut connection = Connection::to(server);
    connection.log_in("", &account.username, &account.password);
    connection.read_raw(limit).0
}

#[test]
fn rate_limits_are_thingsboards_own_or_a_proxys() {
    let limit = (429, 33, "Too many requests for current tenant!".to_owned());
    let (server, account) = server_with(Behaviour::RateLimit { retry_after: None });
    let reply = log_in(&server, &account);
    assert_eq!((reply.error(), reply.header("Retry-After")), (limit.clone(), None));
    server.set(Behaviour::RateLimit { retry_after: Some(Duration::from_secs(7)) });
    let reply = log_in(&server, &account);
    assert_eq!((reply.error(), reply.header("Retry-After")), (limit, Some("7")));
    assert_eq!(server.user_stats(NAME).logins, 0);
    server.set(Behaviour::Normal);
    assert_eq!(log_in(&server, &account).status, 200);
}

#[test]
fn beyond_the_rate_requests_are_limited() {
    let (server, account) = server_with(Behaviour::MaxRate { per_second: 3, retry_after: None });
    let statuses: Vec<_> = (0..6).map(|_| log_in(&server, &account).status).collect();
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
}

#[test]
fn servers_and_proxies_in_trouble() {
    let (server, account) = server_with(Behaviour::DatabaseError);
    assert_eq!(log_in(&server, &account).error(), (500, 46, "Database error".into()));
    for status in [404, 502, 503, 504] {
        server.set(Behaviour::Page(status));
        let reply = log_in(&server, &account);
        assert_eq!((reply.status, reply.header("Content-Type")), (status, Some("text/html")));
    }
    server.set(Behaviour::ProxyUnauthorized);
    let reply = log_in(&server, &account);
    assert_eq!((reply.status, reply.header("Content-Type")), (401, Some("text/html")));
    assert!(reply.header("WWW-Authenticate").is_some());
    server.set(Behaviour::LoginPage);
    let reply = log_in(&server, &account);
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/html")));
    server.set(Behaviour::Redirect { status: 307, location: "https://elsewhere.example/".into() });
    let reply = log_in(&server, &account);
    assert_eq!((reply.status, reply.header("Location")), (307, Some("https://elsewhere.example/")));
    let teapot = Answer { status: 418, content_type: "", headers: Vec::new(), body: b"short".into() };
    server.set(Behaviour::FixedAnswer(teapot));
    let reply = log_in(&server, &account);
    assert_eq!(
        (reply.status, reply.body.as_slice(), reply.header("Content-Type")),
        (418, &b"short"[..], None)
    );
    assert_eq!(server.user_stats(NAME).logins, 0);
    assert_eq!(server.user_stats(NAME).attempts, 9);
}

#[test]
fn answers_that_are_nearly_right() {
    let (server, account) = server_with(Behaviour::JsonWithoutToken);
    assert!(log_in(&server, &account).json()["token"].is_null());

    server.set(Behaviour::NotAJwt);
    let token = log_in(&server, &account).token();
    assert!(jwt::peek(&token).is_none() && token.contains(canary::TOKEN));

    server.set(Behaviour::ExpNotAfterIat);
    let claims = log_in(&server, &account).claims();
    assert_eq!(claims["exp"], claims["iat"]);

    for length in [700, 1_600, 4_001, 8_000] {
        server.set(Behaviour::TokenLength(length));
        let token = log_in(&server, &account).token();
        assert!(token.len() - length <= 1, "{} for {length}", token.len());
        assert!(server.accepts(&token));
    }

    server.set(Behaviour::ContentType("text/html"));
    let reply = log_in(&server, &account);
    assert_eq!(reply.header("Content-Type"), Some("text/html"));
    assert!(server.accepts(&reply.token()));
    // These logins were processed, whatever happened to their answers; and a refusal stays a refusal.
    assert_eq!(server.user_stats(NAME).logins, 8);
    server.set(Behaviour::NotAJwt);
    server.disable(NAME);
    assert_eq!(log_in(&server, &account).error().2, "User account is not active");
}

#[test]
fn bytes_that_are_no_answer() {
    let (server, account) = server_with(Behaviour::Garbage);
    let garbage = raw(&server, &account, 10_000);
    assert!(garbage.len() > 100 && !garbage.starts_with(b"HTTP"));

    server.set(Behaviour::EndlessBody);
    let body = raw(&server, &account, 3_000_000);
    assert_eq!(body.len(), 3_000_000);
    assert!(String::from_utf8_lossy(&body[..200]).contains("{\"token\":\""));

    server.set(Behaviour::EndlessHead);
    let head = raw(&server, &account, 3_000_000);
    assert_eq!(head.len(), 3_000_000);
    assert!(!head.windows(4).any(|bytes| bytes == b"\r\n\r\n"));

    server.set(Behaviour::Normal);
    let whole = raw(&server, &account, 200);
    for bytes in [0, 1, 9, 150] {
        server.set(Behaviour::Cut(bytes));
        let cut = raw(&server, &account, 10_000);
        assert_eq!(cut.len(), bytes);
        assert!(whole.starts_with(&cut[..bytes.min(60)]));
    }
}

#[test]
fn late_answers_are_good_answers() {
    let latency = Duration::from_millis(80);
    let (server, account) = server_with(Behaviour::Slow(latency));
    let started = Instant::now();
    assert!(server.accepts(&log_in(&server, &account).token()));
    assert!(started.elapsed() >= latency);

    let started = Instant::now();
    server.set(Behaviour::SlowDrip { every: Duration::from_micros(10) });
    assert!(server.accepts(&log_in(&server, &account).token()));
    assert!(started.elapsed() > Duration::from_millis(20), "{:?}", started.elapsed());
}

#[test]
fn a_behaviour_can_hold_for_one_user_or_some_requests() {
    let server = ThingsBoard::start();
    let (ops, other) = (server.add(User::new(NAME)), server.add(User::new("other@acme.example")));
    server.set_for(NAME, Behaviour::Page(503));
    assert_eq!((log_in(&server, &ops).status, log_in(&server, &other).status), (503, 200));
    server.set_for(NAME, Behaviour::Normal);
    let pair = log_in(&server, &ops);
    server.set_for_next_of(NAME, 2, Behaviour::DatabaseError);
    assert_eq!(crate::client::renew(&server, &pair.refresh_token()).status, 500);
    assert_eq!((log_in(&server, &ops).status, log_in(&server, &ops).status), (500, 200));

    server.set(Behaviour::LoginPage);
    server.set_for_next(2, Behaviour::Page(502));
    let statuses: Vec<_> = (0..3).map(|_| log_in(&server, &other).status).collect();
    assert_eq!(statuses, [502, 502, 200]);
}
