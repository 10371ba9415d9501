//! Tests of whether a password may have been counted. "Unreachable" is the only failure that means that it was not.

use std::time::Duration;

use tbtoken_tests::thingsboard::{Behaviour, Settings, ThingsBoard, User};
use tbtokend::model::{BaseUrl, Failure, FailureKind, Secret, UnexpectedAnswer};
use tbtokend::thingsboard::{Logins as _, Probe, RefreshError};

use crate::ground::{BRIEFLY, FixedServer, TIMEOUT, client, log_in, log_in_as};

const NAME: &str = "ops@acme.example";

#[tokio::test]
async fn nothing_is_sent_before_there_is_a_connection() {
    let (server, client) = (ThingsBoard::start(), client());
    let account = server.add(User::new(NAME));
    for (behaviour, words) in
        [(Behaviour::Refuse, "Connection refused"), (Behaviour::BlackHole, "no connection within 1 s")]
    {
        server.set(behaviour.clone());
        let failure = log_in_as(&client, &account, BRIEFLY).await.unwrap_err();
        let Failure::Unreachable { why } = &failure else { panic!("{behaviour:?}: {failure:?}") };
        assert!(why.contains(words), "{why}");
    }
    server.set(Behaviour::Normal);
    let tls = account.url.replace("http://", "https://");
    for url in ["http://tb.invalid", "http://tb.invalid./x", tls.as_str(), "https://[::1]:1"] {
        let failure = log_in(&client, url, TIMEOUT).await.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable { .. }), "{url}: {failure:?}");
    }
    assert_eq!((server.stats().requests, server.user_stats(NAME).attempts), (0, 0));
}

/// Whether the answer stops while the connection stays open.
fn is_silent(behaviour: &Behaviour) -> bool {
    match behaviour {
        Behaviour::AnswerLost(behaviour) => is_silent(behaviour),
        behaviour => {
            matches!(
                behaviour,
                Behaviour::Silent | Behaviour::StuckBody(_) | Behaviour::Frozen | Behaviour::EndlessInterim
            )
        }
    }
}

/// For every way to lose an answer: the server has read the password, and the client does not report it as unsent.
#[tokio::test]
async fn a_password_that_was_sent_is_never_reported_as_unsent() {
    let lost = |behaviour: Behaviour| Behaviour::AnswerLost(Box::new(behaviour));
    for behaviour in [
        Behaviour::Silent,
        Behaviour::Reset,
        Behaviour::Garbage,
        Behaviour::Cut(0),
        Behaviour::Cut(20),
        Behaviour::CutBody(100),
        Behaviour::StuckBody(100),
        Behaviour::EndlessHead,
        Behaviour::EndlessInterim,
        Behaviour::EndlessBody,
        Behaviour::Frozen,
        Behaviour::Page(504),
        Behaviour::Page(403),
        Behaviour::LoginPage,
        Behaviour::ProxyUnauthorized,
        Behaviour::DatabaseError,
        Behaviour::Redirect { status: 307, location: "https://tb.elsewhere.example/api/auth/login".into() },
        lost(Behaviour::Page(504)),
        lost(Behaviour::Reset),
        lost(Behaviour::Silent),
    ] {
        let (server, client) = (ThingsBoard::start(), client());
        let account = server.add(User::new(NAME));
        // On a new connection, and on one that was used before.
        for used in [false, true] {
            server.set(Behaviour::Normal);
            if used {
                assert!(log_in_as(&client, &account, TIMEOUT).await.is_ok());
            }
            server.set(behaviour.clone());
            let before = server.user_stats(NAME).attempts;
            let within = if is_silent(&behaviour) { Duration::from_secs(1) } else { TIMEOUT };
            let failure = log_in_as(&client, &account, within).await.unwrap_err();
            assert!(!matches!(failure, Failure::Unreachable { .. }), "{behaviour:?}: {failure:?}");
            assert!(!failure.is_permanent(), "{behaviour:?}: {failure:?}");
            assert_eq!(server.user_stats(NAME).attempts, before + 1, "sent once: {behaviour:?}");
        }
    }
}

#[tokio::test]
async fn each_way_to_lose_an_answer_has_its_name() {
    let (server, client) = (ThingsBoard::start(), client());
    let account = server.add(User::new(NAME));
    let unexpected = Failure::UnexpectedResponse;
    for (behaviour, failure) in [
        (Behaviour::Silent, Failure::Timeout { after: BRIEFLY }),
        (
            Behaviour::Cut(0),
            Failure::Interrupted {
                why: "the server has closed it (if this port is for https, write https:// into tb_url)"
                    .into(),
            },
        ),
        (Behaviour::Garbage, unexpected(UnexpectedAnswer::NotHttp)),
        (Behaviour::EndlessHead, unexpected(UnexpectedAnswer::LongHead)),
        (Behaviour::EndlessBody, unexpected(UnexpectedAnswer::TooLong)),
        (Behaviour::EndlessInterim, Failure::Timeout { after: BRIEFLY }),
    ] {
        server.set(behaviour.clone());
        let within = if is_silent(&behaviour) { BRIEFLY } else { TIMEOUT };
        assert_eq!(log_in_as(&client, &account, within).await.unwrap_err(), failure, "{behaviour:?}");
    }
    server.set(Behaviour::Reset);
    let failure = log_in_as(&client, &account, TIMEOUT).await.unwrap_err();
    assert!(matches!(&failure, Failure::Interrupted { why } if why.contains("reset")), "{failure:?}");
    assert_eq!(failure.kind(), FailureKind::Unreachable);
}

/// An idle connection that has ended before its next use costs nothing. One that ends during a request loses the answer.
#[tokio::test]
async fn a_connection_that_ended_while_idle_is_replaced_and_one_that_ends_under_a_password_is_not() {
    let server = ThingsBoard::with(Settings { idle_timeout: Some(BRIEFLY), ..Settings::default() });
    let (client, account) = (client(), server.add(User::new(NAME)));
    let other = FixedServer::new("HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n");
    for logins in 1..=2 {
        assert!(log_in_as(&client, &account, TIMEOUT).await.is_ok());
        assert_eq!(server.stats().connections_total, logins);
        server.wait_until("the connection has ended", |tally| tally.server().connections == 0);
        // The client notices the end while it waits for something else.
        assert!(log_in(&client, &other.url(), TIMEOUT).await.is_err());
    }
    server.change_settings(|settings| settings.idle_timeout = None);
    server.set(Behaviour::StaleKeepAlive);
    assert!(log_in_as(&client, &account, TIMEOUT).await.is_ok());
    let failure = log_in_as(&client, &account, TIMEOUT).await.unwrap_err();
    assert!(matches!(failure, Failure::Interrupted { .. }), "{failure:?}");

    // A renewal costs no charge, so it is sent again on a new connection.
    let token = log_in_as(&client, &account, TIMEOUT).await.unwrap().refresh_token.unwrap();
    let base = BaseUrl::parse(&account.url).unwrap();
    assert!(client.refresh(&base, &token).await.is_ok());
    assert_eq!(server.user_stats(NAME).renewals, 1);
}

#[tokio::test]
async fn a_login_ends_at_its_time_out() {
    let (server, client) = (ThingsBoard::start(), client());
    let account = server.add(User::new(NAME));
    // The next one has its connection, so only the answer is late.
    assert!(log_in_as(&client, &account, TIMEOUT).await.is_ok());
    server.set(Behaviour::Silent);
    let failure = log_in_as(&client, &account, BRIEFLY).await.unwrap_err();
    assert_eq!(failure, Failure::Timeout { after: BRIEFLY });
}

#[tokio::test]
async fn probes_distinguish_good_and_bad_servers() {
    let (server, client) = (ThingsBoard::start(), client());
    let base = BaseUrl::parse(&server.url()).unwrap();
    assert_eq!(client.probe(&base).await, Probe::Good);
    assert_eq!((server.stats().probes, server.stats().unknown_users), (1, 0));
    assert_eq!(server.latest_request(), "POST /api/auth/login", "the password policy comes from a cache");
    let below = BaseUrl::parse(&format!("{}/iot", server.url())).unwrap();
    client.probe(&below).await;
    assert_eq!(server.latest_request(), "POST /iot/api/auth/login");
    for bad in [
        Behaviour::Page(502),
        Behaviour::DatabaseError,
        Behaviour::Reset,
        Behaviour::DatabaseDead { after: TIMEOUT },
    ] {
        server.set(bad.clone());
        assert!(matches!(client.probe(&base).await, Probe::Bad(_)), "{bad:?}");
    }
    for other in
        [Behaviour::LoginPage, Behaviour::Page(403), Behaviour::ProxyUnauthorized, Behaviour::Garbage]
    {
        server.set(other.clone());
        assert!(matches!(client.probe(&base).await, Probe::NoVerdict(_)), "{other:?}");
    }
    server.set(Behaviour::Refuse);
    assert!(matches!(client.probe(&base).await, Probe::Bad(Failure::Unreachable { .. })));
}

#[tokio::test]
async fn a_refused_refresh_token_shows_whether_the_password_was_changed() {
    let (server, client) = (ThingsBoard::start(), client());
    let account = server.add(User::new(NAME));
    let base = BaseUrl::parse(&account.url).unwrap();
    let token = log_in_as(&client, &account, TIMEOUT).await.unwrap().refresh_token.unwrap();
    server.change_settings(|settings| settings.skew += chrono::TimeDelta::seconds(1));
    server.set_password(NAME, &account.password);
    assert_eq!(client.refresh(&base, &token).await, Err(RefreshError::Rejected { is_outdated: true }));
    server.restart();
    assert!(client.refresh(&base, &token).await.is_ok());
    server.change_signing_key();
    assert_eq!(client.refresh(&base, &token).await, Err(RefreshError::Rejected { is_outdated: false }));
    let says = FixedServer::new(b"HTTP/1.1 401 \r\nContent-Length: 6\r\n\r\n<html>".to_vec());
    let portal = client.refresh(&BaseUrl::parse(&says.url()).unwrap(), &Secret::new("x.y.z")).await;
    let proxy_login = Failure::UnexpectedResponse(UnexpectedAnswer::ProxyLogin);
    assert_eq!(portal, Err(RefreshError::Failed(proxy_login)), "no reason to send a password");
}
