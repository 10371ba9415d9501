//! What a server does that nobody hopes for: passwords that are counted though no answer comes, a dead database, a frozen
//! process, probes.

use std::time::{Duration, Instant};

use serde_json::json;
use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::{Account, Settings, Behaviour, ThingsBoard, User};

use crate::client::{Connection, call, log_in, log_in_as, post, renew, who_am_i};

const NAME: &str = "ops@acme.example";
const BRIEFLY: Duration = Duration::from_millis(100);
const PROBE: &str = "tbtokend-probe-0123456789abcdef@probe.invalid";

fn host() -> (ThingsBoard, Account) {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME));
    (host, account)
}

fn wrong() -> String {
    canary::password("wrong")
}

/// ThingsBoard's own count of wrong passwords, and the most that it has been.
fn failed(host: &ThingsBoard) -> (u32, u32) {
    let stats = host.user_stats(NAME);
    (stats.failed_login_attempts, stats.failed_login_attempts_peak)
}

#[test]
fn a_probe_is_an_unknown_user_that_is_counted_apart() {
    let (host, _) = host();
    assert_eq!(log_in_as(&host, PROBE, "x").error(), (401, 10, "Invalid username or password".into()));
    assert_eq!(log_in_as(&host, "nobody@acme.example", &wrong()).status, 401);
    let stats = host.stats();
    assert_eq!((stats.requests, stats.probes, stats.unknown_users), (2, 1, 1));
    host.set(Behaviour::Page(502));
    assert_eq!((log_in_as(&host, PROBE, "x").status, host.stats().probes), (502, 2));
}

#[test]
fn a_right_password_resets_the_servers_own_count_and_nothing_else_does() {
    let (host, account) = host();
    let refresh_token = log_in(&host, &account).refresh_token();
    for count in 1..=3 {
        log_in_as(&host, NAME, &wrong());
        assert_eq!(renew(&host, &refresh_token).status, 200);
        assert_eq!(failed(&host), (count, count));
    }
    assert_eq!(log_in(&host, &account).status, 200);
    assert_eq!(failed(&host), (0, 3));
    host.administer(NAME, |user| user.max_failed_logins(1).failed_logins(1));
    log_in_as(&host, NAME, &wrong());
    assert!(!host.is_enabled(NAME));
    host.enable(NAME);
    assert_eq!(failed(&host), (0, 3));
}

#[test]
fn capitals_are_another_user_unless_the_server_ignores_case() {
    let (host, account) = host();
    let capitals = NAME.to_uppercase();
    let blanks = format!(" {NAME}");
    for other in [&capitals, &blanks] {
        assert_eq!(log_in_as(&host, other, &account.password).status, 401);
        assert_eq!((failed(&host), host.user_stats(NAME).attempts), ((0, 0), 0), "{other}");
    }
    host.change_settings(|settings| settings.is_case_sensitive = false);
    log_in_as(&host, &capitals, &wrong());
    assert_eq!(failed(&host), (1, 1));
    assert_eq!(log_in_as(&host, &capitals, &account.password).claims()["sub"], NAME);
    assert_eq!((failed(&host), host.user_stats(NAME).attempts), ((0, 1), 2));
    assert_eq!(log_in_as(&host, &blanks, &account.password).status, 401);
    host.set_for(NAME, Behaviour::Page(503));
    assert_eq!(log_in_as(&host, &capitals, &account.password).status, 503);
}

#[test]
fn a_user_who_was_never_activated_is_not_active_and_cannot_be_enabled() {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME).never_activated());
    let inactive = (401, 10, "User account is not active".to_owned());
    assert_eq!(log_in(&host, &account).error(), inactive);
    assert_eq!(log_in_as(&host, NAME, &wrong()).error(), inactive);
    host.enable(NAME);
    assert_eq!(log_in(&host, &account).error(), inactive);
    assert_eq!(failed(&host), (0, 0));
    host.administer(NAME, User::activated);
    assert_eq!(log_in(&host, &account).status, 200);
}

#[test]
fn older_servers_check_and_count_the_passwords_of_locked_users() {
    let settings = Settings {
        checks_passwords_of_the_disabled: true,
        max_failed_logins: Some(1),
        ..Settings::default()
    };
    let host = ThingsBoard::with(settings);
    let account = host.add(User::new(NAME));
    let says = |password: &str| log_in_as(&host, NAME, password).error().2;
    assert_eq!(says(&wrong()), "Invalid username or password");
    assert_eq!(says(&wrong()), "User account is locked due to security policy");
    assert_eq!(says(&wrong()), "Invalid username or password");
    assert_eq!(says(&account.password), "User account is not active");
    assert_eq!(failed(&host), (3, 3));
}

#[test]
fn a_lost_answer_was_counted_all_the_same() {
    let (host, account) = host();
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
        host.set(Behaviour::AnswerLost(Box::new(behaviour.clone())));
        let mut connection = Connection::to(&host);
        connection.log_in("", NAME, &wrong());
        if is_html {
            let reply = connection.read().unwrap();
            assert_eq!((Some(reply.status), reply.header("Content-Type")), (status, Some("text/html")));
        } else {
            let bytes = connection.read_raw(1000).0;
            assert!(!bytes.starts_with(b"HTTP"), "{behaviour:?}");
        }
        assert_eq!(failed(&host), (count, count), "{behaviour:?}");
    }
    host.set(Behaviour::AnswerLost(Box::new(Behaviour::Page(504))));
    assert_eq!(log_in(&host, &account).status, 504);
    assert_eq!((failed(&host).0, host.user_stats(NAME).logins), (0, 1), "a right password was right");
}

#[test]
fn without_its_database_only_the_policy_is_answered_and_what_is_right_waits() {
    let (host, account) = host();
    let pair = log_in(&host, &account);
    host.set(Behaviour::DatabaseDead { after: BRIEFLY });
    let database = (500, 46, "Database error".to_owned());
    let timed = |call: &dyn Fn() -> (u16, u64, String)| {
        let began = Instant::now();
        assert_eq!(call(), database);
        began.elapsed() >= BRIEFLY
    };
    assert!(!timed(&|| log_in_as(&host, PROBE, "x").error()));
    assert!(!timed(&|| log_in_as(&host, NAME, &wrong()).error()));
    assert!(timed(&|| log_in(&host, &account).error()));
    assert!(timed(&|| renew(&host, &pair.refresh_token()).error()));
    assert!(timed(&|| who_am_i(&host, &pair.token()).error()));
    assert_eq!(failed(&host), (0, 0));
    let policy = call(&host, "GET", "/api/noauth/userPasswordPolicy", "", "");
    assert_eq!((policy.status, policy.json().as_object().unwrap().len()), (200, 10));
    let unknown = call(&host, "GET", "/api/noauth/nothing", "", "");
    assert_eq!((unknown.error().0, unknown.error().1), (404, 32));
}

#[test]
fn a_frozen_server_works_off_what_came_though_the_client_has_gone() {
    let (host, account) = host();
    host.set(Behaviour::Frozen);
    for sent in 1..=3 {
        let mut connection = Connection::to(&host).with_timeout(BRIEFLY);
        connection.log_in("", NAME, &wrong());
        host.wait_until("it has arrived", |tally| tally.host().requests == sent);
    }
    host.wait_until("the clients have gone", |tally| tally.host().connections == 0);
    let mut patient = Connection::to(&host);
    patient.log_in("", NAME, &wrong());
    host.wait_until("it has arrived", |tally| tally.host().requests == 4);
    assert_eq!(failed(&host), (0, 0));
    host.set(Behaviour::Normal);
    assert_eq!(failed(&host), (4, 4));
    assert_eq!(patient.read().unwrap().status, 401);
    assert_eq!(log_in(&host, &account).status, 200);
    host.set(Behaviour::Frozen);
    host.set(Behaviour::Normal);
    assert_eq!(failed(&host), (0, 4), "nothing is worked off twice");
}

#[test]
fn interim_answers_without_end() {
    let (host, account) = host();
    host.set(Behaviour::EndlessInterim);
    let mut connection = Connection::to(&host);
    connection.log_in("", NAME, &account.password);
    let bytes = connection.read_raw(1_000_000).0;
    assert_eq!(bytes.len(), 1_000_000);
    assert!(bytes.starts_with(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 "));
    assert_eq!(host.user_stats(NAME).logins, 1);
}

#[test]
fn changing_a_password_checks_it_without_counting() {
    let (host, account) = host();
    let token = log_in(&host, &account).token();
    let change = |old: &str| {
        let header = format!("X-Authorization: Bearer {token}\r\n");
        let body = json!({"currentPassword": old, "newPassword": old}).to_string();
        call(&host, "POST", "/api/auth/changePassword", &header, &body).error()
    };
    assert_eq!(change(&wrong()), (400, 31, "Current password doesn't match!".into()));
    assert_eq!(
        change(&account.password),
        (400, 31, "New password should be different from existing!".into())
    );
    assert_eq!(failed(&host), (0, 0));
    assert_eq!(post(&host, "/api/auth/login", &json!({"username": NAME})).status, 401);
}
