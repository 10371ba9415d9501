//! The answers of a host that is in a bad behaviour.

use std::time::{Duration, Instant};

use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::answer::Answer;
use tbtoken_tests::thingsboard::{Account, Behaviour, ThingsBoard, User, jwt};

use crate::client::{Connection, log_in};

const NAME: &str = "ops@acme.example";

fn host_with(behaviour: Behaviour) -> (ThingsBoard, Account) {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME));
    host.set(behaviour);
    (host, account)
}

/// What arrives on the wire when one logs in, at most so many bytes of it.
fn raw(host: &ThingsBoard, account: &Account, limit: usize) -> Vec<u8> {
    let mut connection = Connection::to(host);
    connection.log_in("", &account.username, &account.password);
    connection.read_raw(limit).0
}

#[test]
fn rate_limits_are_thingsboards_own_or_a_proxys() {
    let limit = (429, 33, "Too many requests for current tenant!".to_owned());
    let (host, account) = host_with(Behaviour::RateLimit { retry_after: None });
    let reply = log_in(&host, &account);
    assert_eq!((reply.error(), reply.header("Retry-After")), (limit.clone(), None));
    host.set(Behaviour::RateLimit { retry_after: Some(Duration::from_secs(7)) });
    let reply = log_in(&host, &account);
    assert_eq!((reply.error(), reply.header("Retry-After")), (limit, Some("7")));
    assert_eq!(host.user_stats(NAME).logins, 0);
    host.set(Behaviour::Normal);
    assert_eq!(log_in(&host, &account).status, 200);
}

#[test]
fn beyond_the_rate_requests_are_limited() {
    let (host, account) = host_with(Behaviour::MaxRate { per_second: 3, retry_after: None });
    let statuses: Vec<_> = (0..6).map(|_| log_in(&host, &account).status).collect();
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
}

#[test]
fn servers_and_proxies_in_trouble() {
    let (host, account) = host_with(Behaviour::DatabaseError);
    assert_eq!(log_in(&host, &account).error(), (500, 46, "Database error".into()));
    for status in [404, 502, 503, 504] {
        host.set(Behaviour::Page(status));
        let reply = log_in(&host, &account);
        assert_eq!((reply.status, reply.header("Content-Type")), (status, Some("text/html")));
    }
    host.set(Behaviour::ProxyUnauthorized);
    let reply = log_in(&host, &account);
    assert_eq!((reply.status, reply.header("Content-Type")), (401, Some("text/html")));
    assert!(reply.header("WWW-Authenticate").is_some());
    host.set(Behaviour::LoginPage);
    let reply = log_in(&host, &account);
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/html")));
    host.set(Behaviour::Redirect { status: 307, location: "https://elsewhere.example/".into() });
    let reply = log_in(&host, &account);
    assert_eq!((reply.status, reply.header("Location")), (307, Some("https://elsewhere.example/")));
    let teapot = Answer { status: 418, content_type: "", headers: Vec::new(), body: b"short".into() };
    host.set(Behaviour::Says(teapot));
    let reply = log_in(&host, &account);
    assert_eq!(
        (reply.status, reply.body.as_slice(), reply.header("Content-Type")),
        (418, &b"short"[..], None)
    );
    assert_eq!(host.user_stats(NAME).logins, 0);
    assert_eq!(host.user_stats(NAME).attempts, 9);
}

#[test]
fn answers_that_are_nearly_right() {
    let (host, account) = host_with(Behaviour::JsonWithoutToken);
    assert!(log_in(&host, &account).json()["token"].is_null());

    host.set(Behaviour::NotAJwt);
    let token = log_in(&host, &account).token();
    assert!(jwt::peek(&token).is_none() && token.contains(canary::TOKEN));

    host.set(Behaviour::ExpNotAfterIat);
    let claims = log_in(&host, &account).claims();
    assert_eq!(claims["exp"], claims["iat"]);

    for length in [700, 1_600, 4_001, 8_000] {
        host.set(Behaviour::TokenLength(length));
        let token = log_in(&host, &account).token();
        assert!(token.len() - length <= 1, "{} for {length}", token.len());
        assert!(host.accepts(&token));
    }

    host.set(Behaviour::ContentType("text/html"));
    let reply = log_in(&host, &account);
    assert_eq!(reply.header("Content-Type"), Some("text/html"));
    assert!(host.accepts(&reply.token()));
    // These logins took place, whatever became of their answers; and a refusal stays a refusal.
    assert_eq!(host.user_stats(NAME).logins, 8);
    host.set(Behaviour::NotAJwt);
    host.disable(NAME);
    assert_eq!(log_in(&host, &account).error().2, "User account is not active");
}

#[test]
fn bytes_that_are_no_answer() {
    let (host, account) = host_with(Behaviour::Garbage);
    let garbage = raw(&host, &account, 10_000);
    assert!(garbage.len() > 100 && !garbage.starts_with(b"HTTP"));

    host.set(Behaviour::EndlessBody);
    let body = raw(&host, &account, 3_000_000);
    assert_eq!(body.len(), 3_000_000);
    assert!(String::from_utf8_lossy(&body[..200]).contains("{\"token\":\""));

    host.set(Behaviour::EndlessHead);
    let head = raw(&host, &account, 3_000_000);
    assert_eq!(head.len(), 3_000_000);
    assert!(!head.windows(4).any(|bytes| bytes == b"\r\n\r\n"));

    host.set(Behaviour::Normal);
    let whole = raw(&host, &account, 200);
    for bytes in [0, 1, 9, 150] {
        host.set(Behaviour::Cut(bytes));
        let cut = raw(&host, &account, 10_000);
        assert_eq!(cut.len(), bytes);
        assert!(whole.starts_with(&cut[..bytes.min(60)]));
    }
}

#[test]
fn late_answers_are_good_answers() {
    let latency = Duration::from_millis(80);
    let (host, account) = host_with(Behaviour::Slow(latency));
    let started = Instant::now();
    assert!(host.accepts(&log_in(&host, &account).token()));
    assert!(started.elapsed() >= latency);

    let started = Instant::now();
    host.set(Behaviour::SlowDrip { every: Duration::from_micros(10) });
    assert!(host.accepts(&log_in(&host, &account).token()));
    assert!(started.elapsed() > Duration::from_millis(20), "{:?}", started.elapsed());
}

#[test]
fn a_behaviour_can_hold_for_one_user_or_some_requests() {
    let host = ThingsBoard::start();
    let (ops, other) = (host.add(User::new(NAME)), host.add(User::new("other@acme.example")));
    host.set_for(NAME, Behaviour::Page(503));
    assert_eq!((log_in(&host, &ops).status, log_in(&host, &other).status), (503, 200));
    host.set_for(NAME, Behaviour::Normal);
    let pair = log_in(&host, &ops);
    host.set_for_next_of(NAME, 2, Behaviour::DatabaseError);
    assert_eq!(crate::client::renew(&host, &pair.refresh_token()).status, 500);
    assert_eq!((log_in(&host, &ops).status, log_in(&host, &ops).status), (500, 200));

    host.set(Behaviour::LoginPage);
    host.set_for_next(2, Behaviour::Page(502));
    let statuses: Vec<_> = (0..3).map(|_| log_in(&host, &other).status).collect();
    assert_eq!(statuses, [502, 502, 200]);
}
