//! Tests of `POST /api/auth/token`, and of the ways in which a token ends early.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::{SecondFactor, Settings, ThingsBoard, User};

use crate::client::{call, current_user, log_in, log_in_as, post, renew};

const NAME: &str = "ops@acme.example";

fn expired() -> (u16, u64, String) {
    (401, 11, "Token has expired".to_owned())
}

fn outdated() -> (u16, u64, String) {
    (401, 10, "Token is outdated".to_owned())
}

fn a_second_passes(server: &ThingsBoard) {
    server.change_settings(|settings| settings.skew += TimeDelta::seconds(1));
}

#[test]
fn a_refresh_token_gets_a_new_pair_in_a_new_session() {
    let server = ThingsBoard::start();
    let first = log_in(&server, &server.add(User::new(NAME)));
    let second = renew(&server, &first.refresh_token());
    assert_ne!(first.claims()["sessionId"], second.claims()["sessionId"]);
    assert_eq!(current_user(&server, &second.token()).status, 200);
    // The old one is not used up.
    assert_eq!(renew(&server, &first.refresh_token()).status, 200);
    let stats = server.user_stats(NAME);
    assert_eq!((stats.attempts, stats.logins, stats.renewals), (1, 1, 2));
}

#[test]
fn renewing_asks_for_no_password_and_no_second_factor() {
    let server = ThingsBoard::start();
    let refresh_token = log_in(&server, &server.add(User::new(NAME))).refresh_token();
    server.administer(NAME, |user| user.second_factor(SecondFactor::Enabled).password_expired());
    assert_eq!(renew(&server, &refresh_token).status, 200);
    let wrong = canary::password("wrong");
    server.administer(NAME, |user| user.max_failed_logins(1).failed_logins(1));
    assert_eq!(renew(&server, &refresh_token).status, 200);
    // A renewal does not reset the counter of wrong passwords.
    assert_eq!(log_in_as(&server, NAME, &wrong).error().2, "User account is locked due to security policy");
    assert_eq!(renew(&server, &refresh_token).error(), (401, 10, "User account is not active".into()));
}

#[test]
fn a_refresh_token_has_its_own_life() {
    let server = ThingsBoard::with(Settings { refresh_life: Duration::from_secs(30), ..Settings::default() });
    let account = server.add(User::new(NAME));
    let long = server.add(User::new("long@acme.example").refresh_life(Duration::from_secs(300)));
    let (token, longer) = (log_in(&server, &account).refresh_token(), log_in(&server, &long).refresh_token());
    server.change_settings(|settings| settings.skew += TimeDelta::seconds(32));
    assert_eq!(renew(&server, &token).error(), expired());
    assert_eq!(renew(&server, &longer).status, 200);
    assert_eq!(server.user_stats(NAME).renewals_refused, 1);
}

#[test]
fn another_password_outdates_the_tokens_of_earlier_seconds() {
    let server = ThingsBoard::start();
    let before = log_in(&server, &server.add(User::new(NAME)));
    a_second_passes(&server);
    server.set_password(NAME, &canary::password("new"));
    assert_eq!(renew(&server, &before.refresh_token()).error(), outdated());
    assert_eq!(current_user(&server, &before.token()).error(), expired());
    let after = log_in_as(&server, NAME, &canary::password("new"));
    assert_eq!(renew(&server, &after.refresh_token()).status, 200, "a token of the same second lives");
}

#[test]
fn the_user_may_change_the_password_itself() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    let before = log_in(&server, &account);
    a_second_passes(&server);
    let change = |old: &str, new: &str| {
        let header = format!("X-Authorization: Bearer {}\r\n", before.token());
        let body = json!({"currentPassword": old, "newPassword": new}).to_string();
        call(&server, "POST", "/api/auth/changePassword", &header, &body)
    };
    let new = canary::password("new");
    assert_eq!(change("wrong", &new).error().0, 400);
    assert_eq!(change(&account.password, &account.password).error().0, 400);
    let pair = change(&account.password, &new);
    assert_eq!(current_user(&server, &pair.token()).status, 200);
    assert_eq!(renew(&server, &before.refresh_token()).error(), outdated());
    assert_eq!(log_in_as(&server, NAME, &new).status, 200);
}

#[test]
fn logging_out_ends_one_session_only() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    let (first, second) = (log_in(&server, &account), log_in(&server, &account));
    a_second_passes(&server);
    let header = format!("X-Authorization: Bearer {}\r\n", first.token());
    assert_eq!(call(&server, "POST", "/api/auth/logout", &header, "").status, 200);
    assert_eq!(renew(&server, &first.refresh_token()).error(), outdated());
    assert_eq!(current_user(&server, &first.token()).error(), expired());
    assert_eq!(renew(&server, &second.refresh_token()).status, 200);

    a_second_passes(&server);
    server.end_sessions(NAME);
    assert_eq!(renew(&server, &second.refresh_token()).error(), outdated());
}

#[test]
fn a_disabled_user_keeps_its_access_token_and_a_deleted_one_does_not() {
    let server = ThingsBoard::start();
    let pair = log_in(&server, &server.add(User::new(NAME)));
    a_second_passes(&server);
    server.disable(NAME);
    assert_eq!(renew(&server, &pair.refresh_token()).error(), (401, 10, "User account is not active".into()));
    assert!(server.accepts(&pair.token()));
    server.enable(NAME);
    assert_eq!(renew(&server, &pair.refresh_token()).status, 200);
    server.remove(NAME);
    assert_eq!(current_user(&server, &pair.token()).error(), expired());
    assert_eq!(renew(&server, &pair.refresh_token()).error().2, "Invalid username or password");
}

#[test]
fn another_signing_key_ends_every_token_like_its_natural_end() {
    let server = ThingsBoard::start();
    let account = server.add(User::new(NAME));
    let before = log_in(&server, &account);
    server.change_signing_key();
    assert_eq!(renew(&server, &before.refresh_token()).error(), expired());
    assert_eq!(current_user(&server, &before.token()).error(), expired());
    assert_eq!(renew(&server, &log_in(&server, &account).refresh_token()).status, 200);
}

#[test]
fn a_server_that_starts_again_has_forgotten_what_is_outdated() {
    let server = ThingsBoard::start();
    let before = log_in(&server, &server.add(User::new(NAME)));
    a_second_passes(&server);
    server.set_password(NAME, &canary::password("new"));
    assert_eq!(renew(&server, &before.refresh_token()).error(), outdated());
    server.restart();
    assert_eq!(renew(&server, &before.refresh_token()).status, 200);
}

#[test]
fn what_is_no_refresh_token_is_refused() {
    let server = ThingsBoard::start();
    let pair = log_in(&server, &server.add(User::new(NAME)));
    assert_eq!(renew(&server, &pair.token()).error(), (500, 2, "Invalid Refresh Token scope".into()));
    // The text is the same as for a wrong password; a client that confuses them parks a healthy customer.
    let invalid = (401, 10, "Invalid username or password".to_owned());
    let foreign = ThingsBoard::start();
    let foreign_pair = log_in(&foreign, &foreign.add(User::new(NAME)));
    for token in ["x", "a.b.c"] {
        assert_eq!(renew(&server, token).error(), invalid);
    }
    assert_eq!(renew(&server, &foreign_pair.refresh_token()).error(), expired());
    let failed = (401, 10, "Authentication failed".to_owned());
    assert_eq!(renew(&server, " ").error(), failed);
    assert_eq!(post(&server, "/api/auth/token", &json!({})).error(), failed);
    // A refresh token gives no access to other endpoints.
    assert_eq!(current_user(&server, &pair.refresh_token()).error().0, 403);
    assert_eq!(call(&server, "GET", "/api/auth/user", "", "").error(), failed);
}
