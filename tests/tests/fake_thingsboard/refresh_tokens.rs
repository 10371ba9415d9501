//! `POST /api/auth/token`, and what ends a token before its time.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::{SecondFactor, Settings, ThingsBoard, User};

use crate::client::{call, log_in, log_in_as, post, renew, who_am_i};

const NAME: &str = "ops@acme.example";

fn expired() -> (u16, u64, String) {
    (401, 11, "Token has expired".to_owned())
}

fn outdated() -> (u16, u64, String) {
    (401, 10, "Token is outdated".to_owned())
}

fn a_second_passes(host: &ThingsBoard) {
    host.change_settings(|settings| settings.skew += TimeDelta::seconds(1));
}

#[test]
fn a_refresh_token_gets_a_new_pair_in_a_new_session() {
    let host = ThingsBoard::start();
    let first = log_in(&host, &host.add(User::new(NAME)));
    let second = renew(&host, &first.refresh_token());
    assert_ne!(first.claims()["sessionId"], second.claims()["sessionId"]);
    assert_eq!(who_am_i(&host, &second.token()).status, 200);
    // The old one is not used up.
    assert_eq!(renew(&host, &first.refresh_token()).status, 200);
    let stats = host.user_stats(NAME);
    assert_eq!((stats.attempts, stats.logins, stats.renewals), (1, 1, 2));
}

#[test]
fn renewing_asks_for_no_password_and_no_second_factor() {
    let host = ThingsBoard::start();
    let refresh_token = log_in(&host, &host.add(User::new(NAME))).refresh_token();
    host.administer(NAME, |user| user.second_factor(SecondFactor::Enabled).password_expired());
    assert_eq!(renew(&host, &refresh_token).status, 200);
    let wrong = canary::password("wrong");
    host.administer(NAME, |user| user.max_failed_logins(1).failed_logins(1));
    assert_eq!(renew(&host, &refresh_token).status, 200);
    // And it forgives no wrong password either.
    assert_eq!(log_in_as(&host, NAME, &wrong).error().2, "User account is locked due to security policy");
    assert_eq!(renew(&host, &refresh_token).error(), (401, 10, "User account is not active".into()));
}

#[test]
fn a_refresh_token_has_its_own_life() {
    let host = ThingsBoard::with(Settings { refresh_life: Duration::from_secs(30), ..Settings::default() });
    let account = host.add(User::new(NAME));
    let long = host.add(User::new("long@acme.example").refresh_life(Duration::from_secs(300)));
    let (token, longer) = (log_in(&host, &account).refresh_token(), log_in(&host, &long).refresh_token());
    host.change_settings(|settings| settings.skew += TimeDelta::seconds(32));
    assert_eq!(renew(&host, &token).error(), expired());
    assert_eq!(renew(&host, &longer).status, 200);
    assert_eq!(host.user_stats(NAME).renewals_refused, 1);
}

#[test]
fn another_password_outdates_the_tokens_of_earlier_seconds() {
    let host = ThingsBoard::start();
    let before = log_in(&host, &host.add(User::new(NAME)));
    a_second_passes(&host);
    host.set_password(NAME, &canary::password("new"));
    assert_eq!(renew(&host, &before.refresh_token()).error(), outdated());
    assert_eq!(who_am_i(&host, &before.token()).error(), expired());
    let after = log_in_as(&host, NAME, &canary::password("new"));
    assert_eq!(renew(&host, &after.refresh_token()).status, 200, "a token of the same second lives");
}

#[test]
fn the_user_may_change_the_password_itself() {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME));
    let before = log_in(&host, &account);
    a_second_passes(&host);
    let change = |old: &str, new: &str| {
        let header = format!("X-Authorization: Bearer {}\r\n", before.token());
        let body = json!({"currentPassword": old, "newPassword": new}).to_string();
        call(&host, "POST", "/api/auth/changePassword", &header, &body)
    };
    let new = canary::password("new");
    assert_eq!(change("wrong", &new).error().0, 400);
    assert_eq!(change(&account.password, &account.password).error().0, 400);
    let pair = change(&account.password, &new);
    assert_eq!(who_am_i(&host, &pair.token()).status, 200);
    assert_eq!(renew(&host, &before.refresh_token()).error(), outdated());
    assert_eq!(log_in_as(&host, NAME, &new).status, 200);
}

#[test]
fn logging_out_ends_one_session_only() {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME));
    let (first, second) = (log_in(&host, &account), log_in(&host, &account));
    a_second_passes(&host);
    let header = format!("X-Authorization: Bearer {}\r\n", first.token());
    assert_eq!(call(&host, "POST", "/api/auth/logout", &header, "").status, 200);
    assert_eq!(renew(&host, &first.refresh_token()).error(), outdated());
    assert_eq!(who_am_i(&host, &first.token()).error(), expired());
    assert_eq!(renew(&host, &second.refresh_token()).status, 200);

    a_second_passes(&host);
    host.end_sessions(NAME);
    assert_eq!(renew(&host, &second.refresh_token()).error(), outdated());
}

#[test]
fn a_disabled_user_keeps_its_access_token_and_a_deleted_one_does_not() {
    let host = ThingsBoard::start();
    let pair = log_in(&host, &host.add(User::new(NAME)));
    a_second_passes(&host);
    host.disable(NAME);
    assert_eq!(renew(&host, &pair.refresh_token()).error(), (401, 10, "User account is not active".into()));
    assert!(host.accepts(&pair.token()));
    host.enable(NAME);
    assert_eq!(renew(&host, &pair.refresh_token()).status, 200);
    host.remove(NAME);
    assert_eq!(who_am_i(&host, &pair.token()).error(), expired());
    assert_eq!(renew(&host, &pair.refresh_token()).error().2, "Invalid username or password");
}

#[test]
fn another_signing_key_ends_every_token_like_its_natural_end() {
    let host = ThingsBoard::start();
    let account = host.add(User::new(NAME));
    let before = log_in(&host, &account);
    host.change_signing_key();
    assert_eq!(renew(&host, &before.refresh_token()).error(), expired());
    assert_eq!(who_am_i(&host, &before.token()).error(), expired());
    assert_eq!(renew(&host, &log_in(&host, &account).refresh_token()).status, 200);
}

#[test]
fn a_server_that_starts_again_has_forgotten_what_is_outdated() {
    let host = ThingsBoard::start();
    let before = log_in(&host, &host.add(User::new(NAME)));
    a_second_passes(&host);
    host.set_password(NAME, &canary::password("new"));
    assert_eq!(renew(&host, &before.refresh_token()).error(), outdated());
    host.restart();
    assert_eq!(renew(&host, &before.refresh_token()).status, 200);
}

#[test]
fn what_is_no_refresh_token_is_refused() {
    let host = ThingsBoard::start();
    let pair = log_in(&host, &host.add(User::new(NAME)));
    assert_eq!(renew(&host, &pair.token()).error(), (500, 2, "Invalid Refresh Token scope".into()));
    // The same words as for a wrong password: who takes them for one parks a healthy customer.
    let invalid = (401, 10, "Invalid username or password".to_owned());
    let foreign = ThingsBoard::start();
    let foreign_pair = log_in(&foreign, &foreign.add(User::new(NAME)));
    for token in ["x", "a.b.c"] {
        assert_eq!(renew(&host, token).error(), invalid);
    }
    assert_eq!(renew(&host, &foreign_pair.refresh_token()).error(), expired());
    let failed = (401, 10, "Authentication failed".to_owned());
    assert_eq!(renew(&host, " ").error(), failed);
    assert_eq!(post(&host, "/api/auth/token", &json!({})).error(), failed);
    // Nor is a refresh token good for anything else.
    assert_eq!(who_am_i(&host, &pair.refresh_token()).error().0, 403);
    assert_eq!(call(&host, "GET", "/api/auth/user", "", "").error(), failed);
}
