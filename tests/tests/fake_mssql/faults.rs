//! The switches for faults: each has its effect and no other.

use std::time::Duration;

use tbtoken_tests::mssql::{Direction, Layer, SqlServer, Value, When};
use tiberius::error::Error;
use tokio::time::timeout;

use crate::client::{Client, config, connect, connect_with, said};

const UPDATE: &str = "/* tbtokend:save */ UPDATE t SET n = 2";

fn server() -> SqlServer {
    let server = SqlServer::start();
    server.create("t", &[("n", "int")]);
    server.execute("INSERT INTO t VALUES (1)");
    server
}

fn n(server: &SqlServer) -> Value {
    server.execute("SELECT n FROM t")[0][0].clone()
}

async fn update(client: &mut Client) -> Result<u64, Error> {
    client.execute(UPDATE, &[]).await.map(|done| done.total())
}

fn is_cut(result: &Result<u64, Error>) -> bool {
    matches!(result, Err(Error::Io { .. } | Error::Protocol(_)))
}

#[tokio::test]
async fn an_error_is_not_carried_out_and_the_connection_lives_on() {
    let server = server();
    let mut client = connect(&server).await;
    server.fail(When::Statement("save".to_owned()), 1205, 1);
    assert_eq!(said(update(&mut client).await.unwrap_err()).0, 1205);
    assert_eq!(n(&server), Value::Int(1));
    assert_eq!(update(&mut client).await.unwrap(), 1);
    assert_eq!(n(&server), Value::Int(2));
    server.fail(When::Any, 121, 1);
    assert_eq!(said(update(&mut client).await.unwrap_err()).0, 121);
    assert!(is_cut(&update(&mut client).await), "an error of class 20 ends the connection");
}

#[tokio::test]
async fn cut_before_and_after_differ_in_what_is_in_the_table() {
    let server = server();
    let mut client = connect(&server).await;
    server.cut_before(When::Any, 1);
    assert!(is_cut(&update(&mut client).await));
    assert_eq!(n(&server), Value::Int(1));
    let mut client = connect(&server).await;
    server.cut_after(When::Any, 1);
    assert!(is_cut(&update(&mut client).await));
    assert_eq!(n(&server), Value::Int(2));
}

#[tokio::test]
async fn a_delay_is_a_delay_and_silence_is_for_ever() {
    let server = server();
    let mut client = connect(&server).await;
    let delay = Duration::from_millis(100);
    server.delay(When::Any, delay, 1);
    let before = std::time::Instant::now();
    assert_eq!(update(&mut client).await.unwrap(), 1);
    assert!(before.elapsed() >= delay);
    server.ignore(When::Any, 1);
    assert!(timeout(Duration::from_millis(100), update(&mut client)).await.is_err());
    server.ignore(When::Login, 1);
    assert!(timeout(Duration::from_millis(100), connect_with(config(&server))).await.is_err());
}

/// As on a real engine, a dropped query makes its connection wait without end.
#[tokio::test]
async fn a_connection_whose_query_was_dropped_hangs() {
    let server = server();
    let mut client = connect(&server).await;
    server.ignore(When::Any, 1);
    assert!(timeout(Duration::from_millis(50), update(&mut client)).await.is_err());
    assert!(timeout(Duration::from_millis(200), update(&mut client)).await.is_err());
    assert_eq!(n(&server), Value::Int(1));
}

#[tokio::test]
async fn a_killed_session_is_gone_and_a_new_one_works() {
    let server = server();
    let mut client = connect(&server).await;
    server.kill_sessions();
    assert!(is_cut(&update(&mut client).await));
    assert_eq!(update(&mut connect(&server).await).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_keeps_port_and_data() {
    let server = server();
    let mut client = connect(&server).await;
    server.stop();
    assert!(is_cut(&update(&mut client).await));
    assert!(connect_with(config(&server)).await.is_err());
    server.start_again();
    assert_eq!(update(&mut connect(&server).await).await.unwrap(), 1);
    server.restart();
    assert_eq!(update(&mut connect(&server).await).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cut_lets_exactly_so_many_bytes_through() {
    let server = server();
    let mut client = connect(&server).await;
    let before = server.tds_bytes();
    update(&mut client).await.unwrap();
    let (received, sent) = (server.tds_bytes().0 - before.0, server.tds_bytes().1 - before.1);
    drop(client);
    server.until("it is gone", |stats| stats.connections == 0).await;
    for bytes in [0, 1, received - 1] {
        server.execute("UPDATE t SET n = 1");
        let mut client = connect(&server).await;
        server.cut(Layer::Tds, Direction::Received, bytes);
        assert!(is_cut(&update(&mut client).await), "{bytes}");
        assert_eq!(n(&server), Value::Int(1), "a request of which a byte is missing is none");
        server.until("it is gone", |stats| stats.connections == 0).await;
    }
    for bytes in [0, 1, sent - 1] {
        server.execute("UPDATE t SET n = 1");
        let mut client = connect(&server).await;
        server.cut(Layer::Tds, Direction::Sent, bytes);
        assert!(is_cut(&update(&mut client).await), "{bytes}");
        assert_eq!(n(&server), Value::Int(2), "the answer was cut, not the deed");
        server.until("it is gone", |stats| stats.connections == 0).await;
    }
    let mut client = connect(&server).await;
    server.cut(Layer::Tds, Direction::Sent, sent);
    assert_eq!(update(&mut client).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_can_be_cut_in_the_middle_of_its_handshake() {
    let server = server();
    for bytes in [0, 1, 30, 100, 500] {
        for direction in [Direction::Received, Direction::Sent] {
            server.cut(Layer::Wire, direction, bytes);
            assert!(connect_with(config(&server)).await.is_err(), "{bytes} {direction:?}");
            server.until("it is gone", |stats| stats.connections == 0).await;
        }
    }
    assert_eq!(server.stats().logins, 0);
    connect(&server).await;
}

#[tokio::test]
async fn received_texts_are_found() {
    let server = server();
    let mut client = connect(&server).await;
    client.execute("/* tbtokend:save */ UPDATE t SET n = 2 WHERE N'x' = @P1", &[&"a token"]).await.unwrap();
    assert!(server.has_received("a token"));
    assert!(!server.has_received("another token"));
}
