//! The unpleasant properties of a server: passwords that are counted without an answer, a dead database, a frozen process,
//! probes.

use std::time::{Duration, Instant};

use serde_json::json;
use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::{Account, Behaviour, Settings, ThingsBoard, User};

use crate::client::{Connection, call, current_user, log_in, log_in_as, post, renew};

const NAME: &str = "ops@acme.example";
const BRIEFLY: Duration = Duration::from_millis(100);
const PROBE: &str = "tbtokend-probe-0123456789abcdef@probe.invalid";

fn server() -> (ThingsBoard, Account) {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    (server, account)
}

fn wrong() -> String {
    canary::password("wrong")
}

/// Returns ThingsBoard's own counter of wrong passwords, and its highest value.
fn failed(server: &ThingsBoard) -> (u32, u32) {
    let stats = server.user_stats(NAME);
    (stats.failed_login_attempts, stats.failed_login_attempts_peak)
}

#[test]
fn a_probe_is_an_unknown_user_that_is_counted_apart() {
    let (server, _) = server();
    assert_eq!(log_in_as(&server, PROBE, "x").error(), (401, 10, "Invalid username or password".into()));
    assert_eq!(log_in_as(&server, "absent@acme.example", &wrong()).status, 401);
    let stats = server.stats();
    assert_eq!((stats.requests, stats.probes, stats.unknown_users), (2, 1, 1));
    server.set(Behaviour::Page(502));
    assert_eq!((log_in_as(&server, PROBE, "x").status, server.stats().probes), (502, 2));
}

#[test]
fn a_right_password_resets_the_servers_own_count_and_nothing_else_does() {
    let (server, account) = server();
    let refresh_token = log_in(&server, &account).refresh_token();
    for count in 1..=3 {
        log_in_as(&server, NAME, &wrong());
        assert_eq!(renew(&server, &refresh_token).status, 200);
        assert_eq!(failed(&server), (count, count));
    }
    assert_eq!(log_in(&server, &account).status, 200);
    assert_eq!(failed(&server), (0, 3));
    server.administer(NAME, |user| user.max_failed_logins(1).failed_logins(1));
    log_in_as(&server, NAME, &wrong());
    assert!(!server.is_enabled(NAME));
    server.enable(NAME);
    assert_eq!(failed(&server), (0, 3));
}

#[test]
fn capitals_are_another_user_unless_the_server_ignores_case() {
    let (server, account) = server();
    let capitals = NAME.to_uppercase();
    let blanks = format!(" {NAME}");
    for other in [&capitals, &blanks] {
        assert_eq!(log_in_as(&server, other, &account.password).status, 401);
        assert_eq!((failed(&server), server.user_stats(NAME).attempts), ((0, 0), 0), "{other}");
    }
    server.change_settings(|settings| settings.is_case_sensitive = false);
    log_in_as(&server, &capitals, &wrong());
    assert_eq!(failed(&server), (1, 1));
    assert_eq!(log_in_as(&server, &capitals, &account.password).claims()["sub"], NAME);
    assert_eq!((failed(&server), server.user_stats(NAME).attempts), ((0, 1), 2));
    assert_eq!(log_in_as(&server, &blanks, &account.password).status, 401);
    server.set_for(NAME, Behaviour::Page(503));
    assert_eq!(log_in_as(&server, &capitals, &account.password).status, 503);
}

#[test]
fn a_user_that_was_never_activated_is_not_active_and_cannot_be_enabled() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME).never_activated());
    let inactive = (401, 10, "User account is not active".to_owned());
    assert_eq!(log_in(&server, &account).error(), inactive);
    assert_eq!(log_in_as(&server, NAME, &wrong()).error(), inactive);
    server.enable(NAME);
    assert_eq!(log_in(&server, &account).error(), inactive);
    assert_eq!(failed(&server), (0, 0));
    server.administer(NAME, User::activated);
    assert_eq!(log_in(&server, &account).status, 200);
}

#[test]
fn older_servers_check_and_count_the_passwords_of_locked_users() {
    let settings = Settings {
        checks_passwords_of_the_disabled: true,
        max_failed_logins: Some(1),
        ..Settings::default()
    };
    let server = ThingsBoard::with(settings);
    let account = server.add(User::new(NAME));
    let says = |password: &str| log_in_as(&server, NAME, password).error().2;
    assert_eq!(says(&wrong()), "Invalid username or password");
    assert_eq!(says(&wrong()), "User account is locked due to security policy");
    assert_eq!(says(&wrong()), "Invalid username or password");
    assert_eq!(says(&account.password), "User account is not active");
    assert_eq!(failed(&server), (3, 3));
}

#[test]
fn a_lost_answer_was_counted_all_the_same() {
    let (server, account) = server();
    let lost = [
        (Behaviour::Page(504), Some(504)),
        (Behaviour::Page(403), Some(403)),
        (Behaviour::LoginPage, Some(200)),
        (Behaviour::Reset, None),
        (Behaviour::Cut(0), None),
        (Behaviour::Garbage, None),
    ];
    for (count, (behaviour, status)) in (1..).zip(lost) {
        let is_html = status.is_some();
        server.set(Behaviour::AnswerLost(Box::new(behaviour.clone())));
        let mut connection = Connection::to(&server);
        connection.log_in("", NAME, &wrong());
        if is_html {
            let reply = connection.read().unwrap();
            assert_eq!((Some(reply.status), reply.header("Content-Type")), (status, Some("text/html")));
        } else {
            let bytes = connection.read_raw(1000).0;
            assert!(!bytes.starts_with(b"HTTP"), "{behaviour:?}");
        }
        assert_eq!(failed(&server), (count, count), "{behaviour:?}");
    }
    server.set(Behaviour::AnswerLost(Box::new(Behaviour::Page(504))));
    assert_eq!(log_in(&server, &account).status, 504);
    assert_eq!((failed(&server).0, server.user_stats(NAME).logins), (0, 1), "a right password was right");
}

#[test]
fn without_its_database_only_the_policy_is_answered_and_right_passwords_wait() {
    let (server, account) = server();
    let pair = log_in(&server, &account);
    let database = (500, 46, "Database error".to_owned());
    // No client waits for so long.
    server.set(Behaviour::DatabaseDead { after: Duration::from_secs(3_600) });
    assert_eq!(log_in_as(&server, PROBE, "x").error(), database);
    assert_eq!(log_in_as(&server, NAME, &wrong()).error(), database);
    server.set(Behaviour::DatabaseDead { after: BRIEFLY });
    let waits = |call: &dyn Fn() -> (u16, u64, String)| {
        let began = Instant::now();
        assert_eq!(call(), database);
        assert!(began.elapsed() >= BRIEFLY);
    };
    waits(&|| log_in(&server, &account).error());
    waits(&|| renew(&server, &pair.refresh_token()).error());
    waits(&|| current_user(&server, &pair.token()).error());
    assert_eq!(failed(&server), (0, 0));
    let policy = call(&server, "GET", "/api/noauth/userPasswordPolicy", "", "");
    assert_eq!((policy.status, policy.json().as_object().unwrap().len()), (200, 10));
    let unknown = call(&server, "GET", "/api/noauth/nothing", "", "");
    assert_eq!((unknown.error().0, unknown.error().1), (404, 32));
}

#[test]
fn a_frozen_server_processes_requests_later_although_the_client_has_gone() {
    let (server, account) = server();
    server.set(Behaviour::Frozen);
    for sent in 1..=3 {
        let mut connection = Connection::to(&server).with_timeout(BRIEFLY);
        connection.log_in("", NAME, &wrong());
        server.wait_until("it has arrived", |tally| tally.server().requests == sent);
    }
    server.wait_until("the clients have gone", |tally| tally.server().connections == 0);
    let mut waiting = Connection::to(&server);
    waiting.log_in("", NAME, &wrong());
    server.wait_until("it has arrived", |tally| tally.server().requests == 4);
    assert_eq!(failed(&server), (0, 0));
    server.set(Behaviour::Normal);
    assert_eq!(failed(&server), (4, 4));
    assert_eq!(waiting.read().unwrap().status, 401);
    assert_eq!(log_in(&server, &account).status, 200);
    server.set(Behaviour::Frozen);
    server.set(Behaviour::Normal);
    assert_eq!(failed(&server), (0, 4), "nothing is worked off twice");
}

#[test]
fn interim_answers_without_end() {
    let (server, account) = server();
    server.set(Behaviour::EndlessInterim);
    let mut connection = Connection::to(&server);
    connection.log_in("", NAME, &account.password);
    let bytes = connection.read_raw(1_000_000).0;
    assert_eq!(bytes.len(), 1_000_000);
    assert!(bytes.starts_with(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 "));
    assert_eq!(server.user_stats(NAME).logins, 1);
}

#[test]
fn changing_a_password_checks_it_without_counting() {
    let (server, account) = server();
    let token = log_in(&server, &account).token();
    let change = |old: &str| {
        let header = format!("X-Authorization: Bearer {token}\r\n");
        let body = json!({"currentPassword": old, "newPassword": old}).to_string();
        call(&server, "POST", "/api/auth/changePassword", &header, &body).error()
    };
    assert_eq!(change(&wrong()), (400, 31, "Current password doesn't match!".into()));
    assert_eq!(
        change(&account.password),
        (400, 31, "New password should be different from existing!".into())
    );
    assert_eq!(failed(&server), (0, 0));
    assert_eq!(post(&server, "/api/auth/login", &json!({"username": NAME})).status, 401);
}
