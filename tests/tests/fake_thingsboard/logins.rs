//! Tests of `POST /api/auth/login`: every row of the contract, and the order of the checks.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tbtoken_tests::thingsboard::{PasswordPolicy, SecondFactor, Settings, ThingsBoard, User};
use tbtoken_tests::{canary, clock};

use crate::client::{call, current_user, log_in, log_in_as, post};

const NAME: &str = "ops@acme.example";
const INVALID: &str = "Invalid username or password";
const LOCKED: &str = "User account is locked due to security policy";
const INACTIVE: &str = "User account is not active";
const VIOLATION: &str =
    "The entered password violates our policies. If this is your real password, please reset it.";

fn wrong(number: u32) -> String {
    canary::password(&format!("wrong-{number}"))
}

#[test]
fn a_right_password_gets_a_pair_in_thingsboards_shape() {
    let server = ThingsBoard::start();
    let reply = log_in(&server, &server.add(User::new(NAME)));
    let (token, claims) = (reply.token(), reply.claims());
    assert!((600..=700).contains(&token.len()), "{}", token.len());
    assert!(token.starts_with("eyJhbGciOiJIUzUxMiJ9.") && token.contains(canary::TOKEN));
    assert!(reply.refresh_token().contains(canary::REFRESH));
    assert_eq!(claims["sub"], NAME);
    assert_eq!(claims["scopes"], json!(["TENANT_ADMIN"]));
    for claim in ["userId", "sessionId", "tenantId", "iss"] {
        assert!(claims[claim].is_string(), "{claim} in {claims}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 9_000);
    assert_eq!(reply.header("Content-Type"), Some("application/json;charset=ISO-8859-1"));
    assert_eq!(reply.json().as_object().unwrap().len(), 2, "no scope, not even null");
    assert_eq!(current_user(&server, &token).json()["email"], NAME);
    assert!(server.accepts(&token));
}

#[test]
fn every_login_is_a_session_of_its_own() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    let session = || log_in(&server, &account).claims()["sessionId"].clone();
    assert_ne!(session(), session());
    assert_eq!(server.user_stats(NAME).logins, 2);
}

#[test]
fn lives_and_clock_are_the_servers() {
    let server = ThingsBoard::with(Settings {
        access_life: Duration::from_secs(60),
        skew: TimeDelta::hours(2),
        ..Settings::default()
    });
    let account = server.add(User::new(NAME));
    let brief = server.add(User::new("brief@acme.example").access_life(Duration::from_secs(20)));
    let life = |claims: &Value| claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    let claims = log_in(&server, &account).claims();
    let ahead = claims["iat"].as_i64().unwrap() - clock::now().timestamp();
    assert!((7_199..=7_200).contains(&ahead), "{ahead}");
    assert_eq!(life(&claims), 60);
    let reply = log_in(&server, &brief);
    assert_eq!(life(&reply.claims()), 20);

    // A server with a wrong clock accepts its own tokens.
    assert_eq!(current_user(&server, &reply.token()).status, 200);
    server.change_settings(|settings| settings.skew += TimeDelta::seconds(22));
    assert_eq!(current_user(&server, &reply.token()).error(), (401, 11, "Token has expired".into()));
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let server = ThingsBoard::start();
    server.add(User::new(NAME));
    assert_eq!(log_in_as(&server, NAME, &wrong(1)).error(), (401, 10, INVALID.into()));
    assert_eq!(log_in_as(&server, "absent@acme.example", &wrong(1)).error(), (401, 10, INVALID.into()));
    assert_eq!(log_in_as(&server, "OPS@ACME.EXAMPLE", &wrong(1)).error(), (401, 10, INVALID.into()));
    let stats = server.user_stats(NAME);
    assert_eq!((stats.attempts, stats.wrong_passwords, stats.logins), (1, 1, 0));
    assert_eq!(server.stats().unknown_users, 2);
}

#[test]
fn failure_number_max_plus_one_disables_the_user_for_good() {
    for max in 1..=5 {
        let server = ThingsBoard::with(Settings { max_failed_logins: Some(max), ..Settings::default() });
        let account = server.add(User::new(NAME));
        for number in 0..max {
            let reply = log_in_as(&server, NAME, &wrong(number));
            assert_eq!(reply.error(), (401, 10, INVALID.into()), "{number} of {max}");
        }
        assert!(server.is_enabled(NAME));
        assert_eq!(log_in_as(&server, NAME, &wrong(max)).error(), (401, 10, LOCKED.into()), "{max}");
        assert!(!server.is_enabled(NAME));

        // From here on the user is disabled, also for the right password, and nothing is counted.
        assert_eq!(log_in(&server, &account).error(), (401, 10, INACTIVE.into()));
        assert_eq!(log_in_as(&server, NAME, &wrong(9)).error(), (401, 10, INACTIVE.into()));
        assert_eq!(server.user_stats(NAME).wrong_passwords, u64::from(max) + 1);

        // An administrator enables the user, which resets the counter.
        server.enable(NAME);
        assert_eq!(log_in_as(&server, NAME, &wrong(0)).error(), (401, 10, INVALID.into()));
        assert_eq!(log_in(&server, &account).status, 200);
    }
}

#[test]
fn a_right_password_resets_the_count() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME).max_failed_logins(2));
    for _ in 0..4 {
        for number in 0..2 {
            assert_eq!(log_in_as(&server, NAME, &wrong(number)).error().2, INVALID);
        }
        assert_eq!(log_in(&server, &account).status, 200);
    }
}

#[test]
fn a_password_that_expired_was_right_all_the_same() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME).max_failed_logins(1).failed_logins(1).password_expired());
    assert_eq!(log_in(&server, &account).error().1, 15);
    // So one more wrong password is allowed again.
    assert_eq!(log_in_as(&server, NAME, &wrong(1)).error().2, INVALID);
    assert_eq!(log_in_as(&server, NAME, &wrong(2)).error().2, LOCKED);
}

#[test]
fn without_a_limit_no_user_is_ever_locked() {
    for max in [None, Some(0)] {
        let server = ThingsBoard::with(Settings { max_failed_logins: max, ..Settings::default() });
        let account = server.add(User::new(NAME));
        for number in 0..20 {
            assert_eq!(log_in_as(&server, NAME, &wrong(number)).error().2, INVALID);
        }
        assert_eq!(log_in(&server, &account).status, 200);
    }
}

#[test]
fn disabled_comes_before_the_password() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME).disabled().max_failed_logins(1));
    assert_eq!(log_in(&server, &account).error(), (401, 10, INACTIVE.into()));
    for number in 0..3 {
        assert_eq!(log_in_as(&server, NAME, &wrong(number)).error(), (401, 10, INACTIVE.into()));
    }
    let stats = server.user_stats(NAME);
    assert_eq!((stats.attempts, stats.wrong_passwords), (4, 0));
}

#[test]
fn the_policy_comes_before_everything_else() {
    let policy = PasswordPolicy { force_reset: true, minimum_length: 30, ..PasswordPolicy::default() };
    let server = ThingsBoard::with(Settings { password_policy: policy, ..Settings::default() });
    let short = canary::password("short");
    let long = canary::password("long-enough-for-any-policy-at-all");
    let account = server.add(User::new(NAME).password(&short).max_failed_logins(1));
    server.add(User::new("disabled@acme.example").disabled());
    for name in [NAME, "disabled@acme.example", "absent@acme.example"] {
        assert_eq!(log_in_as(&server, name, &short).error(), (401, 45, VIOLATION.into()), "{name}");
    }
    assert_eq!(log_in_as(&server, NAME, &long).error(), (401, 10, INVALID.into()));
    assert_eq!(server.user_stats(NAME).wrong_passwords, 1);

    server.set_password(NAME, &long);
    assert_eq!(log_in_as(&server, NAME, &long).status, 200);
    let reply = call(&server, "GET", "/api/noauth/userPasswordPolicy", "", "").json();
    assert_eq!(
        (&reply["minimumLength"], &reply["forceUserToResetPasswordIfNotValid"]),
        (&json!(30), &json!(true))
    );

    // The policy refuses logins only if it is enforced.
    server.change_settings(|settings| settings.password_policy.force_reset = false);
    server.set_password(NAME, &short);
    assert_eq!(log_in(&server, &account).status, 200);
}

#[test]
fn an_expired_password_comes_with_a_reset_token() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME).password_expired().second_factor(SecondFactor::Enabled));
    let reply = log_in(&server, &account);
    assert_eq!(reply.error(), (401, 15, "User password expired!".into()));
    assert!(reply.json()["resetToken"].as_str().unwrap().contains(canary::RESET));
    assert_eq!(log_in_as(&server, NAME, &wrong(1)).error(), (401, 10, INVALID.into()));
    assert_eq!(server.user_stats(NAME).logins, 0);
}

#[test]
fn a_second_factor_gets_half_a_login() {
    for (second_factor, scope) in [
        (SecondFactor::Enabled, "PRE_VERIFICATION_TOKEN"),
        (SecondFactor::Enforced, "MFA_CONFIGURATION_TOKEN"),
    ] {
        let server = ThingsBoard::start();
        let account = server.add(User::new(NAME).second_factor(second_factor));
        assert_eq!(log_in_as(&server, NAME, &wrong(1)).error(), (401, 10, INVALID.into()));
        let reply = log_in(&server, &account);
        assert_eq!(reply.json()["scope"], scope);
        assert!(reply.json().get("refreshToken").is_none());
        assert_eq!(current_user(&server, &reply.token()).error().0, 403);
        assert!(!server.accepts(&reply.token()));
        assert_eq!(server.user_stats(NAME).logins, 0);
    }
}

#[test]
fn what_is_no_login_fails_without_counting() {
    let server = ThingsBoard::start();
    server.add(User::new(NAME).max_failed_logins(1));
    let failed = (401, 10, "Authentication failed".to_owned());
    for body in [
        json!({"username": "", "password": wrong(1)}),
        json!({"username": "  ", "password": wrong(1)}),
        json!({"username": NAME, "password": ""}),
        json!({"username": NAME}),
        json!({"username": NAME, "password": 7}),
        json!([]),
        json!(null),
    ] {
        assert_eq!(post(&server, "/api/auth/login", &body).error(), failed, "{body}");
    }
    assert_eq!(call(&server, "POST", "/api/auth/login", "", "{\"user").error(), failed);
    assert_eq!(call(&server, "POST", "/api/auth/login", "", "").error(), failed);
    let get = call(&server, "GET", "/api/auth/login", "", "");
    assert_eq!(get.error(), (401, 10, "Authentication method not supported".into()));
    assert!(server.is_enabled(NAME));
    assert_eq!(server.user_stats(NAME).wrong_passwords, 0);
}

#[test]
fn a_prefix_is_all_that_there_is() {
    let server = ThingsBoard::with(Settings { prefix: "/tb".into(), ..Settings::default() });
    let account = server.add(User::new(NAME));
    assert!(account.url.ends_with("/tb"));
    let body = json!({"username": NAME, "password": account.password});
    assert_eq!(post(&server, "/tb/api/auth/login", &body).status, 200);
    let outside = post(&server, "/api/auth/login", &body);
    assert_eq!((outside.status, outside.header("Content-Type")), (404, Some("text/html")));
    assert_eq!(post(&server, "/tb//api/auth/login", &body).status, 404);
    assert_eq!(server.user_stats(NAME).attempts, 1);
}
