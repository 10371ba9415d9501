//! The servers in `status`: their clocks, limits and circuit breakers.

use chrono::TimeDelta;
use tbtoken_proto::{BreakerState, Reply, Request, Rows, StatusQuery, StatusReply, host_of};
use tbtoken_tests::harness::{Daemon, Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, Settings, ThingsBoard, User};

fn status(daemon: &Daemon, query: StatusQuery) -> StatusReply {
    match daemon.request(&Request::Status(query)).unwrap() {
        Reply::Status(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_clock_is_shown_and_logged_once_and_does_no_harm() {
    let wrong = ThingsBoard::with(Settings { skew: TimeDelta::minutes(-90), ..Settings::default() });
    let right = ThingsBoard::start();
    let rows = [
        Row::new("late", &wrong.add(User::new("late"))),
        Row::new("late-too", &wrong.add(User::new("late-too"))),
        Row::new("fine", &right.add(User::new("fine"))),
    ];
    // No token is checked, because each answer of a server may change what is known of it.
    let installation = Installation::new().with_rows(&rows).with("thingsboard.verify_tokens", "off");
    let daemon = installation.start();
    let all = daemon.until("all customers are valid", |status| status.tokens.summary.valid == 3);
    let servers = all.servers.clone().unwrap();
    let skew = |url: &str| {
        let name = host_of(url).unwrap();
        servers.iter().find(|server| server.name == name).unwrap().skew_ms.unwrap()
    };
    assert!((skew(&wrong.url()) + 90 * 60_000).abs() < 3_000, "{servers:?}");
    assert!(skew(&right.url()).abs() < 3_000, "{servers:?}");
    daemon.refresh_customer("late");
    daemon.wait_for_log("the clock of");
    let log = daemon.log();
    assert_eq!(log.matches("the clock of").count(), 1, "{log}");
    assert!(log.contains("1 h 30 min behind ours") || log.contains("1 h 29 min behind ours"), "{log}");

    // A request without customers gets no servers, one for a customer gets its server, and one with the newest revision gets
    // none.
    let since = Some(daemon.status().daemon.revision);
    assert_eq!(status(&daemon, StatusQuery { customers: Rows::None, since: None }).servers, None);
    let one = status(&daemon, StatusQuery { customers: Rows::Only(vec!["fine".into()]), since: None });
    assert_eq!(one.servers.unwrap().iter().map(|server| &*server.name).collect::<Vec<_>>(), [right.url()]);
    let nothing_new = status(&daemon, StatusQuery { customers: Rows::All, since });
    assert_eq!(nothing_new.servers, Some(vec![]));
}

#[test]
fn a_server_that_does_not_answer_has_an_open_breaker_until_it_answers() {
    let dead = ThingsBoard::start();
    let rows: Vec<Row> =
        dead.add_many(5, |n| User::new(format!("ops{n}"))).iter().map(|a| Row::new(&a.username, a)).collect();
    dead.set(Behaviour::Refuse);
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    let breaker = |status: &StatusReply| status.servers.as_ref().unwrap()[0].breaker;
    let seen = daemon.until("its breaker is open", |status| breaker(status) == BreakerState::Open);
    assert_eq!(seen.servers.clone().unwrap()[0].skew_ms, None);
    dead.set(Behaviour::Normal);
    daemon.until("its breaker is closed again", |status| {
        breaker(status) == BreakerState::Closed && status.tokens.summary.valid == 5
    });
}
