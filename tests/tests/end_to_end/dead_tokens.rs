//! Tokens that ThingsBoard no longer accepts before their end are noticed and replaced; and nothing that proves
//! nothing leads to a login.

use std::time::Duration;

use tbtoken_proto::{CheckFound, Customer, EventKind, FailureKind, Phase, TokenStatus};
use tbtoken_tests::canary;
use tbtoken_tests::harness::wait::{TIMEOUT, poll};
use tbtoken_tests::harness::{Installation, Row, Status};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

fn name(number: usize) -> String {
    format!("customer{number}")
}

/// An installation with so many customers of this server.
fn installation(thingsboard: &ThingsBoard, customers: usize) -> Installation {
    let rows = (0..customers).map(|number| Row::new(name(number), &thingsboard.add(User::new(name(number)))));
    Installation::new().with_rows(&rows.collect::<Vec<_>>())
}

/// Whether the server takes the token in the row.
fn works(installation: &Installation, thingsboard: &ThingsBoard, id: &str) -> bool {
    installation.table().row(id).tbtoken.is_some_and(|token| thingsboard.accepts(&token))
}

#[test]
fn a_new_signing_key_is_noticed_and_every_token_is_replaced() {
    let thingsboard = ThingsBoard::start();
    let installation = installation(&thingsboard, 40);
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 40);
    thingsboard.change_signing_key();
    assert!(!works(&installation, &thingsboard, "customer7"));
    poll(TIMEOUT, || (0..40).all(|number| works(&installation, &thingsboard, &name(number))).then_some(()))
        .expect("all have working tokens again");
    daemon.wait_for_log(&format!(
        "40 tokens of {} died before their time: has its signing key changed?",
        thingsboard.url()
    ));
    let told = daemon.log().matches("before their time").count();
    assert_eq!(told, 1, "one line for all");
    let events = daemon.events();
    let dead = events.iter().filter(|event| event.kind == EventKind::TokenDead);
    assert_eq!(dead.filter(|event| event.customer_id.is_some()).count(), 40);
    for number in 0..40 {
        assert_eq!(thingsboard.user_stats(&name(number)).wrong_passwords, 0);
        assert_eq!(thingsboard.user_stats(&name(number)).logins, 2);
    }
    let is_checked =
        |customer: &&Customer| customer.check.is_some_and(|check| check.found == CheckFound::Works);
    let one_is = |status: &Status| status.tokens.customers.iter().flatten().find(is_checked).cloned();
    let status = daemon.until("one is checked", |status| one_is(status).is_some());
    let checked = one_is(&status).unwrap();
    assert_eq!(checked.token_status, TokenStatus::Valid);
    let shown = installation.ctl(&["show", &checked.customer_id]).stdout;
    assert!(shown.contains("checked ") && shown.contains("works") && shown.contains("token dead"), "{shown}");
}

/// The password was changed elsewhere: the token is dead, and the row's password is rejected once.
#[test]
fn a_token_whose_password_was_changed_elsewhere_counts_as_expired_and_costs_one_password() {
    let thingsboard = ThingsBoard::start();
    let installation = installation(&thingsboard, 3);
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 3);
    // A token of the second of the change survives.
    thingsboard.change_settings(|settings| settings.skew = chrono::TimeDelta::seconds(2));
    let password = canary::password("new");
    thingsboard.set_password("customer1", &password);
    let parked = daemon.until_customer("customer1", "is parked", |customer| customer.state == Phase::Parked);
    assert_eq!(parked.token_status, TokenStatus::Expired, "applications cannot use it");
    assert_eq!(parked.failure.unwrap().kind, FailureKind::CredentialsRejected);
    assert_eq!(daemon.status().tokens.summary.expired, 1);
    daemon.wait_for_log("1 token of");
    assert!(daemon.log().contains("was its password changed, or its user deleted?"), "{}", daemon.log());
    // It stays parked, however often it is found dead.
    let checks = thingsboard.stats().checks;
    thingsboard.wait_until("it is checked again", |tally| tally.server().checks >= checks + 4);
    assert_eq!(thingsboard.user_stats("customer1").wrong_passwords, 1);
    for other in ["customer0", "customer2"] {
        assert_eq!(thingsboard.user_stats(other).attempts, 1, "{other}");
    }
    installation.table().set("customer1", "tb_password", Some(&password));
    daemon.until_customer("customer1", "is renewed", |customer| customer.token_status == TokenStatus::Valid);
    assert!(works(&installation, &thingsboard, "customer1"));
}

#[test]
fn the_token_of_a_deleted_user_counts_as_expired() {
    let thingsboard = ThingsBoard::start();
    let installation = installation(&thingsboard, 2);
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 2);
    thingsboard.remove("customer0");
    daemon.until("it is expired", |status| {
        status.tokens.summary.expired == 1 && status.tokens.summary.parked == 1
    });
    assert_eq!(thingsboard.stats().unknown_users, 1, "its password was sent once");
    // A disabled user's token works to its end.
    thingsboard.disable("customer1");
    let checks = thingsboard.stats().checks;
    thingsboard.wait_until("it is checked", |tally| tally.server().checks >= checks + 3);
    assert_eq!(daemon.status().of("customer1").token_status, TokenStatus::Valid);
}

/// A token that an application has written itself is checked the same way.
#[test]
fn a_foreign_token_that_is_dead_is_replaced_though_its_expiry_is_later() {
    let thingsboard = ThingsBoard::start();
    let installation = installation(&thingsboard, 1);
    let mut daemon = installation.start();
    daemon.until("it is valid", |status| status.tokens.summary.valid == 1);
    assert!(daemon.stop().success());
    installation.table().set("customer0", "tbtokenexpiry", Some("2099-01-01T00:00:00Z"));
    thingsboard.change_signing_key();
    let _daemon = installation.start();
    poll(TIMEOUT, || works(&installation, &thingsboard, "customer0").then_some(())).expect("it is replaced");
}

#[test]
fn what_proves_nothing_leads_to_no_login_and_a_token_follows_no_redirect() {
    let elsewhere = ThingsBoard::start();
    let behaviours = [
        Behaviour::Page(503),
        Behaviour::Page(404),
        Behaviour::DatabaseError,
        Behaviour::RateLimit { retry_after: None },
        Behaviour::ProxyUnauthorized,
        Behaviour::LoginPage,
        Behaviour::Redirect { status: 307, location: format!("{}/api/auth/user", elsewhere.url()) },
        Behaviour::CutsTokenHeader,
        Behaviour::Garbage,
        Behaviour::Reset,
        Behaviour::CutBody(9),
        Behaviour::Silent,
    ];
    let mut installation = Installation::new().with("thingsboard.request_timeout", "2s");
    let mut servers = Vec::new();
    for (number, behaviour) in behaviours.into_iter().enumerate() {
        let server = ThingsBoard::start();
        installation = installation.with_row(Row::new(name(number), &server.add(User::new(name(number)))));
        servers.push((name(number), behaviour, server));
    }
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == servers.len());
    let before: Vec<u64> = servers.iter().map(|(_, _, server)| server.stats().checks).collect();
    for (_, behaviour, server) in &servers {
        server.set(behaviour.clone());
    }
    for ((name, behaviour, server), before) in servers.iter().zip(before) {
        server.wait_until(&format!("{behaviour:?} is met"), |tally| tally.server().checks >= before + 3);
        assert_eq!(server.user_stats(name).attempts, 1, "{behaviour:?}");
    }
    let status = daemon.status();
    assert_eq!(status.tokens.summary.valid, servers.len(), "{status:?}");
    assert_eq!(elsewhere.stats().requests, 0, "no token goes elsewhere");
    assert!(!daemon.events().iter().any(|event| event.kind == EventKind::TokenDead));
}

/// A proxy that cuts the header lets logins through, so that only the doctor sees it.
#[test]
fn the_doctor_names_servers_whose_dead_tokens_are_not_noticed() {
    let thingsboard = ThingsBoard::start();
    let installation = installation(&thingsboard, 1);
    let doctor = |installation: &Installation| {
        let config = installation.write_config();
        installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]).stdout
    };
    thingsboard.set(Behaviour::CutsTokenHeader);
    let report = doctor(&installation);
    let found = format!("{}/ does not reject a token of another signing key", thingsboard.url());
    for said in [found.as_str(), "so dead tokens are not noticed", "with the header X-Authorization"] {
        assert!(report.contains(said), "{said} is missing:\n{report}");
    }
    let installation = installation.with("thingsboard.verify_tokens", "off");
    let report = doctor(&installation);
    assert!(report.contains("thingsboard.verify_tokens is off") && !report.contains(&found), "{report}");
}

#[test]
fn without_checks_nothing_is_asked() {
    let thingsboard = ThingsBoard::start();
    let installation = installation(&thingsboard, 2).with("thingsboard.verify_tokens", "off");
    let daemon = installation.start();
    let status = daemon.until("all are valid", |status| status.tokens.summary.valid == 2);
    let polled = |status: &tbtoken_proto::StatusReply| status.tokens.as_of;
    let later = polled(&status).unwrap() + Duration::from_secs(3);
    daemon.until("it is polled a few times", |status| polled(status) > Some(later));
    assert_eq!(thingsboard.stats().checks, 0);
}
