//! Accepted and refused logins.

use tbtoken_tests::canary;
use tbtoken_tests::mssql::{Settings, SqlServer, When};
use tiberius::AuthMethod;

use crate::client::{config, connect, connect_with, said};

#[tokio::test]
async fn the_right_password_gets_in_and_is_counted() {
    let server = SqlServer::start();
    let mut client = connect(&server).await;
    let row = client.query("/* tbtokend:test */ SELECT DB_NAME() AS name", &[]).await.unwrap();
    let row = row.into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>("name"), Some("app"));
    let stats = server.stats();
    assert_eq!((stats.connections, stats.logins, stats.logins_refused), (1, 1, 0));
    assert_eq!(stats.of("test"), 1);
    assert!(stats.received > 500 && stats.sent > 500, "{stats:?}");
    client.close().await.unwrap();
    server.until("the connection is gone", |stats| stats.connections == 0).await;
}

#[tokio::test]
async fn the_password_of_the_database_is_a_canary() {
    assert!(Settings::default().password.contains(canary::DATABASE));
}

#[tokio::test]
async fn a_wrong_password_or_user_is_18456_and_says_no_more() {
    let server = SqlServer::start();
    let right = server.settings();
    for (user, password) in [(right.user.as_str(), "wrong"), ("sa", right.password.as_str())] {
        let mut config = config(&server);
        config.authentication(AuthMethod::sql_server(user, password));
        let (number, class, text) = said(connect_with(config).await.unwrap_err());
        assert_eq!((number, class), (18456, 14));
        assert_eq!(text, format!("Login failed for user '{user}'."));
    }
    assert_eq!(server.stats().logins_refused, 2);
}

#[tokio::test]
async fn an_unknown_database_is_4060() {
    let server = SqlServer::start();
    let mut config = config(&server);
    config.database("elsewhere");
    let (number, class, text) = said(connect_with(config).await.unwrap_err());
    assert_eq!((number, class), (4060, 11));
    assert!(text.contains("\"elsewhere\""), "{text}");
}

#[tokio::test]
async fn a_changed_password_refuses_new_logins_and_keeps_open_sessions() {
    let server = SqlServer::start();
    let mut inside = connect(&server).await;
    let old = config(&server);
    server.set_password("CANARYDB-2");
    assert_eq!(said(connect_with(old).await.unwrap_err()).0, 18456);
    assert!(inside.query("/* tbtokend:test */ SELECT 1", &[]).await.is_ok());
    connect(&server).await;
}

#[tokio::test]
async fn an_error_at_the_login_is_as_often_as_it_was_asked_for() {
    let server = SqlServer::start();
    server.fail(When::Login, 40613, 2);
    for _ in 0..2 {
        assert_eq!(said(connect_with(config(&server)).await.unwrap_err()).0, 40613);
    }
    connect(&server).await;
}
