//! The connections of the fake, and its counters.

use std::io::ErrorKind;
use std::time::Duration;

use tbtoken_tests::thingsboard::{Account, Behaviour, ThingsBoard, User};

use crate::client::{Connection, log_in};

const NAME: &str = "ops@acme.example";
const BRIEFLY: Duration = Duration::from_millis(100);

fn server() -> (ThingsBoard, Account) {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    (server, account)
}

/// Logs in on this connection; returns the status, or `None` without an answer.
fn status_on(connection: &mut Connection, account: &Account) -> Option<u16> {
    connection.log_in("", &account.username, &account.password);
    connection.read().map(|reply| reply.status)
}

#[test]
fn connections_are_kept_alive() {
    let (server, account) = server();
    let mut connection = Connection::to(&server);
    for _ in 0..5 {
        assert_eq!(status_on(&mut connection, &account), Some(200));
    }
    let stats = server.stats();
    assert_eq!((stats.requests, stats.connections_total, stats.connections), (5, 1, 1));
    drop(connection);
    server.wait_until("the connection is gone", |tally| tally.server().connections == 0);
}

#[test]
fn requests_may_arrive_in_pieces_and_several_at_once() {
    let (server, account) = server();
    let mut connection = Connection::to(&server);
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
    let (server, _) = server();
    let mut connection = Connection::to(&server);
    connection.send("GET", "/api/noauth/userPasswordPolicy", "Connection: close\r\n", "");
    assert_eq!(connection.read().unwrap().header("Connection"), Some("close"));
    assert_eq!(connection.read_raw(1), (Vec::new(), None));
}

#[test]
fn a_refusing_server_refuses_and_comes_back_at_the_same_port() {
    let (server, account) = server();
    let mut open = Connection::to(&server);
    assert_eq!(status_on(&mut open, &account), Some(200));
    for _ in 0..3 {
        server.set(Behaviour::Refuse);
        assert_eq!(Connection::try_to(&server).map(|_| ()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(status_on(&mut open, &account), None);
        server.set(Behaviour::Normal);
        assert_eq!(log_in(&server, &account).status, 200);
    }
}

#[test]
fn a_black_hole_swallows_every_attempt_to_connect() {
    let (server, account) = server();
    let mut open = Connection::to(&server);
    assert_eq!(status_on(&mut open, &account), Some(200));
    server.set(Behaviour::BlackHole);
    for _ in 0..2 {
        assert_eq!(Connection::try_to(&server).map(|_| ()).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    let mut open = open.with_timeout(BRIEFLY);
    open.log_in("", NAME, &account.password);
    assert_eq!(open.read_raw(1), (Vec::new(), Some(ErrorKind::WouldBlock)));
    server.set(Behaviour::Normal);
    assert_eq!(log_in(&server, &account).status, 200);
}

#[test]
fn a_silent_server_takes_the_request_and_says_nothing() {
    let (server, account) = server();
    server.set(Behaviour::Silent);
    let mut connection = Connection::to(&server).with_timeout(BRIEFLY);
    connection.log_in("", NAME, &account.password);
    assert_eq!(connection.read_raw(1), (Vec::new(), Some(ErrorKind::WouldBlock)));
    let stats = server.stats();
    assert_eq!((stats.requests, stats.in_flight, server.user_stats(NAME).attempts), (1, 1, 1));
    drop(connection);
    server.wait_until("the request is given up", |tally| tally.server().in_flight == 0);
    assert_eq!(server.user_stats(NAME).logins, 0);
}

#[test]
fn a_resetting_server_resets() {
    let (server, account) = server();
    server.set(Behaviour::Reset);
    let mut connection = Connection::to(&server);
    connection.log_in("", NAME, &account.password);
    assert_eq!(connection.read_raw(1), (Vec::new(), Some(ErrorKind::ConnectionReset)));
}

#[test]
fn a_stale_connection_dies_under_the_second_request() {
    let (server, account) = server();
    server.set(Behaviour::StaleKeepAlive);
    let mut connection = Connection::to(&server);
    assert_eq!(status_on(&mut connection, &account), Some(200));
    assert_eq!(status_on(&mut connection, &account), None);
    assert_eq!(server.user_stats(NAME).attempts, 1, "the second request was never seen");
    assert_eq!(log_in(&server, &account).status, 200);
}

#[test]
fn an_idle_connection_is_closed() {
    let (server, account) = server();
    let mut connection = Connection::to(&server);
    assert_eq!(status_on(&mut connection, &account), Some(200));
    // It counts after the next answer, so that a slow test still gets one.
    server.change_settings(|settings| settings.idle_timeout = Some(Duration::from_secs(1)));
    assert_eq!(status_on(&mut connection, &account), Some(200));
    assert_eq!(connection.read_raw(1), (Vec::new(), None));
}

#[test]
fn requests_in_flight_are_counted_with_their_peak_and_their_times() {
    let (server, account) = server();
    server.set(Behaviour::Slow(BRIEFLY));
    let mut connections: Vec<_> = (0..8).map(|_| Connection::to(&server)).collect();
    for connection in &mut connections {
        connection.log_in("", NAME, &account.password);
    }
    server.wait_until("all are in flight", |tally| tally.server().requests == 8);
    for connection in &mut connections {
        assert_eq!(connection.read().unwrap().status, 200);
    }
    server.wait_until("all are answered", |tally| tally.server().in_flight == 0);
    let stats = server.stats();
    assert!(stats.in_flight_peak >= 2 && stats.in_flight_peak <= 8, "{stats:?}");
    assert_eq!(stats.connections_peak, 8);
    let times = server.request_times();
    assert_eq!(times.len(), 8);
    assert!(times.is_sorted());
}

#[test]
fn overlong_and_broken_requests_close_the_connection() {
    let (server, account) = server();
    for request in [
        format!("POST /{} HTTP/1.1\r\n", "x".repeat(20_000)),
        "hello\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ] {
        let mut connection = Connection::to(&server);
        connection.write(request.as_bytes());
        assert_eq!(connection.read_raw(1).0, b"", "{}", &request[..30]);
    }
    assert_eq!(log_in(&server, &account).status, 200);
}

#[test]
fn thousands_of_users_are_no_trouble() {
    let server = ThingsBoard::start();
    let accounts = server.add_many(20_000, |number| User::new(format!("user-{number}@fleet.example")));
    let mut connection = Connection::to(&server);
    for account in accounts.iter().step_by(1_000) {
        assert_eq!(status_on(&mut connection, account), Some(200));
    }
}

#[test]
fn a_dropped_server_is_gone() {
    let (server, account) = server();
    let mut connection = Connection::to(&server);
    assert_eq!(status_on(&mut connection, &account), Some(200));
    drop(server);
    assert_eq!(connection.read_raw(1).0, b"");
}
