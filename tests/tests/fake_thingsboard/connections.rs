//! What happens to connections, and what is counted.

use std::io::ErrorKind;
use std::time::Duration;

use tbtoken_tests::thingsboard::{Account, Settings, Behaviour, ThingsBoard, User};

use crate::client::{Connection, log_in};

const NAME: &str = "ops@acme.example";
const BRIEFLY: Duration = Duration::from_millis(100);

fn host() -> (ThingsBoard, Account) {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME));
    (host, account)
}

/// Logs in on this connection and says what came of it: a status, or why there is none.
fn status_on(connection: &mut Connection, account: &Account) -> Option<u16> {
    connection.log_in("", &account.username, &account.password);
    connection.read().map(|reply| reply.status)
}

#[test]
fn connections_are_kept_alive() {
    let (host, account) = host();
    let mut connection = Connection::to(&host);
    for _ in 0..5 {
        assert_eq!(status_on(&mut connection, &account), Some(200));
    }
    let stats = host.stats();
    assert_eq!((stats.requests, stats.connections_total, stats.connections), (5, 1, 1));
    drop(connection);
    host.wait_until("the connection is gone", |tally| tally.host().connections == 0);
}

#[test]
fn requests_may_come_in_pieces_and_in_packs() {
    let (host, account) = host();
    let mut connection = Connection::to(&host);
    let body = format!(r#"{{"username":"{NAME}","password":"{}"}}"#, account.password);
    let head = format!("POST /api/auth/login HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    let request = format!("{head}\r\n{body}");
    connection.write(request.repeat(3).as_bytes());
    for _ in 0..3 {
        assert_eq!(connection.read().unwrap().status, 200);
    }
    for piece in request.as_bytes().chunks(7) {
        connection.write(piece);
    }
    assert_eq!(connection.read().unwrap().status, 200);

    connection.write(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes());
    assert_eq!(connection.read().unwrap().status, 100);
    connection.write(body.as_bytes());
    assert_eq!(connection.read().unwrap().status, 200);
}

#[test]
fn a_client_may_ask_for_the_end() {
    let (host, _) = host();
    let mut connection = Connection::to(&host);
    connection.send("GET", "/api/noauth/userPasswordPolicy", "Connection: close\r\n", "");
    assert_eq!(connection.read().unwrap().header("Connection"), Some("close"));
    assert_eq!(connection.read_raw(1), (Vec::new(), None));
}

#[test]
fn a_refusing_host_refuses_and_comes_back_at_the_same_port() {
    let (host, account) = host();
    let mut open = Connection::to(&host);
    assert_eq!(status_on(&mut open, &account), Some(200));
    for _ in 0..3 {
        host.set(Behaviour::Refuse);
        assert_eq!(Connection::try_to(&host).map(|_| ()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(status_on(&mut open, &account), None);
        host.set(Behaviour::Normal);
        assert_eq!(log_in(&host, &account).status, 200);
    }
}

#[test]
fn a_black_hole_swallows_every_attempt_to_connect() {
    let (host, account) = host();
    let mut open = Connection::to(&host);
    assert_eq!(status_on(&mut open, &account), Some(200));
    host.set(Behaviour::BlackHole);
    for _ in 0..2 {
        assert_eq!(Connection::try_to(&host).map(|_| ()).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    let mut open = open.with_timeout(BRIEFLY);
    open.log_in("", NAME, &account.password);
    assert_eq!(open.read_raw(1), (Vec::new(), Some(ErrorKind::WouldBlock)));
    host.set(Behaviour::Normal);
    assert_eq!(log_in(&host, &account).status, 200);
}

#[test]
fn a_silent_host_takes_the_request_and_says_nothing() {
    let (host, account) = host();
    host.set(Behaviour::Silent);
    let mut connection = Connection::to(&host).with_timeout(BRIEFLY);
    connection.log_in("", NAME, &account.password);
    assert_eq!(connection.read_raw(1), (Vec::new(), Some(ErrorKind::WouldBlock)));
    let stats = host.stats();
    assert_eq!((stats.requests, stats.in_flight, host.user_stats(NAME).attempts), (1, 1, 1));
    drop(connection);
    host.wait_until("the request is given up", |tally| tally.host().in_flight == 0);
    assert_eq!(host.user_stats(NAME).logins, 0);
}

#[test]
fn a_resetting_host_resets() {
    let (host, account) = host();
    host.set(Behaviour::Reset);
    let mut connection = Connection::to(&host);
    connection.log_in("", NAME, &account.password);
    assert_eq!(connection.read_raw(1), (Vec::new(), Some(ErrorKind::ConnectionReset)));
}

#[test]
fn a_stale_connection_dies_under_the_second_request() {
    let (host, account) = host();
    host.set(Behaviour::StaleKeepAlive);
    let mut connection = Connection::to(&host);
    assert_eq!(status_on(&mut connection, &account), Some(200));
    assert_eq!(status_on(&mut connection, &account), None);
    assert_eq!(host.user_stats(NAME).attempts, 1, "the second request was never seen");
    assert_eq!(log_in(&host, &account).status, 200);
}

#[test]
fn an_idle_connection_is_closed() {
    let host = ThingsBoard::with(Settings { idle_timeout: Some(BRIEFLY), ..Settings::default() });
    let account = host.add(User::new(NAME));
    let mut connection = Connection::to(&host);
    assert_eq!(status_on(&mut connection, &account), Some(200));
    assert_eq!(connection.read_raw(1), (Vec::new(), None));
}

#[test]
fn requests_in_flight_are_counted_with_their_peak_and_their_times() {
    let (host, account) = host();
    host.set(Behaviour::Slow(BRIEFLY));
    let mut connections: Vec<_> = (0..8).map(|_| Connection::to(&host)).collect();
    for connection in &mut connections {
        connection.log_in("", NAME, &account.password);
    }
    host.wait_until("all are in flight", |tally| tally.host().requests == 8);
    for connection in &mut connections {
        assert_eq!(connection.read().unwrap().status, 200);
    }
    host.wait_until("all are answered", |tally| tally.host().in_flight == 0);
    let stats = host.stats();
    assert!(stats.in_flight_peak >= 2 && stats.in_flight_peak <= 8, "{stats:?}");
    assert_eq!(stats.connections_peak, 8);
    let times = host.request_times();
    assert_eq!(times.len(), 8);
    assert!(times.is_sorted());
}

#[test]
fn overlong_and_broken_requests_are_hung_up_on() {
    let (host, account) = host();
    for request in [
        format!("POST /{} HTTP/1.1\r\n", "x".repeat(20_000)),
        "hello\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ] {
        let mut connection = Connection::to(&host);
        connection.write(request.as_bytes());
        assert_eq!(connection.read_raw(1).0, b"", "{}", &request[..30]);
    }
    assert_eq!(log_in(&host, &account).status, 200);
}

#[test]
fn thousands_of_users_are_no_trouble() {
    let host = ThingsBoard::start();
    let accounts = host.add_many(20_000, |number| User::new(format!("user-{number}@fleet.example")));
    let mut connection = Connection::to(&host);
    for account in accounts.iter().step_by(1_000) {
        assert_eq!(status_on(&mut connection, account), Some(200));
    }
}

#[test]
fn a_dropped_host_is_gone() {
    let (host, account) = host();
    let mut connection = Connection::to(&host);
    assert_eq!(status_on(&mut connection, &account), Some(200));
    drop(host);
    assert_eq!(connection.read_raw(1).0, b"");
}
