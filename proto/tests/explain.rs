//! The sentences that say why, what next and what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::explain::{
    Explanation, Loop, Ways, Weight, describe_risk, describe_server, describe_token, explain, next_attempt,
};
use tbtoken_proto::{BreakerState, Customer, Failure, FailureKind, Phase, Server, TokenStatus};

const WAYS: Ways<'static> =
    Ways { refresh: "tbctl refresh 8f1c", force: "tbctl refresh --force 8f1c", start: "tbctl start" };

fn now() -> DateTime<Utc> {
    "2026-11-23T14:03:00Z".parse().unwrap()
}

fn in_seconds(seconds: i64) -> Option<DateTime<Utc>> {
    Some(now() + TimeDelta::seconds(seconds))
}

fn valid() -> Customer {
    Customer {
        customer_id: "8f1c".to_owned(),
        tb_username: String::new(),
        tb_url: String::new(),
        token_status: TokenStatus::Valid,
        tbtokenexpiry: in_seconds(870),
        check: None,
        minutes_until_expiry: None,
        state: Phase::Ok,
        last_success_at: None,
        renewals: 0,
        next_attempt_at: in_seconds(570),
        changes: vec![],
        failure: None,
    }
}

fn failed(kind: FailureKind, consecutive: u32) -> Customer {
    let failure = Failure {
        kind,
        message: "the server did not answer within 10 s".to_owned(),
        remedy: "It is tried again by itself. Check the server.".to_owned(),
        at: now() - TimeDelta::minutes(27),
        consecutive,
        permanent: false,
        waiting: None,
    };
    Customer { state: Phase::Retrying, next_attempt_at: in_seconds(40), failure: Some(failure), ..valid() }
}

fn parked() -> Customer {
    let mut customer = failed(FailureKind::CredentialsRejected, 1);
    let failure = customer.failure.as_mut().unwrap();
    failure.message = "ThingsBoard says \"Invalid username or password\"".to_owned();
    failure.remedy = "Correct tb_password.".to_owned();
    failure.permanent = true;
    Customer { state: Phase::Parked, next_attempt_at: None, ..customer }
}

fn explained(customer: &Customer, cron: Loop) -> Explanation {
    explain(customer, cron, &WAYS, now())
}

fn in_few(customer: &Customer, cron: Loop) -> String {
    explained(customer, cron).sentences().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_parked_customer_waits_for_a_person() {
    let told = explained(&parked(), Loop::Running);
    assert_eq!((told.headline.as_str(), told.weight), ("PARKED since 13:36Z", Weight::Bad));
    assert_eq!(
        told.what_next(),
        "The daemon does not try it until its URL, user or password changes in the table. \
         tbctl refresh --force 8f1c tries it once now."
    );
    assert_eq!(
        in_few(&parked(), Loop::Running),
        "ThingsBoard says \"Invalid username or password\". Correct tb_password. \
         tbctl refresh --force 8f1c tries it once now."
    );
    assert_eq!(
        in_few(&parked(), Loop::Unknown),
        "ThingsBoard says \"Invalid username or password\". Correct tb_password.",
        "an unreachable daemon cannot try it"
    );
    // A parked customer without a failure is still reported as parked.
    let unexplained = Customer { failure: None, ..parked() };
    assert_eq!(
        in_few(&unexplained, Loop::Running),
        "The daemon does not try it until its URL, user or password changes in the table. \
         tbctl refresh 8f1c tries it once now."
    );
}

#[test]
fn a_parked_customer_that_is_tried_all_the_same_says_when() {
    let parked_by = |kind, next_attempt_at| {
        let mut customer = Customer { next_attempt_at, ..parked() };
        customer.failure.as_mut().unwrap().kind = kind;
        explained(&customer, Loop::Running).what_next()
    };
    assert_eq!(
        parked_by(FailureKind::AccountDisabled, in_seconds(40)),
        "Tried again in 40s, or at once when its URL, user or password changes in the table. tbctl refresh 8f1c tries it once now."
    );
    assert_eq!(
        parked_by(FailureKind::AttemptsExhausted, in_seconds(40)),
        "The daemon does not send its password, but its refresh token may still work. Tried again in 40s. \
         tbctl refresh --force 8f1c tries it once now."
    );
    assert_eq!(
        parked_by(FailureKind::AttemptsExhausted, None),
        "The daemon does not send its password until another row shows that ThingsBoard accepts this user. \
         tbctl refresh --force 8f1c tries it once now."
    );
}

#[test]
fn a_failure_says_how_often_and_when_it_goes_on() {
    let told = explained(&failed(FailureKind::Timeout, 4), Loop::Running);
    assert_eq!((told.headline.as_str(), told.weight), ("FAILED 4 times, last at 13:36Z", Weight::Warn));
    assert_eq!(
        told.sentences().collect::<Vec<_>>(),
        ["The server did not answer within 10 s.", "Tried again in 40s.", "Check the server."]
    );
    assert_eq!(explained(&failed(FailureKind::Timeout, 1), Loop::Running).headline, "FAILED at 13:36Z");
}

/// A customer is not tried while its server does not answer other customers.
#[test]
fn a_customer_that_was_not_tried_is_waiting_and_has_not_failed() {
    let waiting = Customer { state: Phase::Due, next_attempt_at: None, ..failed(FailureKind::Timeout, 0) };
    let told = explained(&waiting, Loop::Running);
    assert_eq!((told.headline.as_str(), told.weight), ("WAITING", Weight::Warn));
    assert_eq!(
        told.sentences().collect::<Vec<_>>(),
        ["The server did not answer within 10 s.", "Tried in the next pass.", "Check the server."]
    );
}

#[test]
fn a_healthy_customer_says_how_long_its_token_is_good() {
    assert_eq!(
        in_few(&valid(), Loop::Running),
        "The token is good until 14:17Z, for 14m more. Renewed in 9m, at 14:12Z."
    );
    let ended = Customer {
        token_status: TokenStatus::Expired,
        tbtokenexpiry: in_seconds(-86_400),
        state: Phase::Due,
        next_attempt_at: None,
        ..valid()
    };
    assert_eq!(
        in_few(&ended, Loop::Running),
        "The token ended 24h ago, at Nov 22 14:03Z. Renewed in the next pass."
    );
    let without = Customer { token_status: TokenStatus::Missing, tbtokenexpiry: None, ..ended };
    assert_eq!(in_few(&without, Loop::Running), "There is no token in the table. Renewed in the next pass.");
}

#[test]
fn a_stopped_loop_promises_no_attempt() {
    let next = |customer: &Customer, cron| explained(customer, cron).next;
    let stopped = "The loop is STOPPED: nothing is renewed until tbctl start starts it.";
    assert_eq!(next(&valid(), Loop::Stopped), stopped);
    assert_eq!(next(&failed(FailureKind::Timeout, 2), Loop::Stopped), stopped);
    let unknown = "What happens next is not known while the daemon is unreachable.";
    assert_eq!(next(&valid(), Loop::Unknown), unknown);
    let refreshing = Customer { state: Phase::Refreshing, ..valid() };
    assert_eq!(next(&refreshing, Loop::Stopped), "It is being renewed now.");
    assert!(next(&parked(), Loop::Stopped).starts_with("The daemon does not try it"));
}

/// The daemon's remedy begins with a promise that only a running loop keeps, and `next` says when.
#[test]
fn the_promise_of_a_remedy_is_left_to_the_next_attempt() {
    let said = |remedy: &str, cron| {
        let mut customer = failed(FailureKind::Timeout, 2);
        customer.failure.as_mut().unwrap().remedy = remedy.to_owned();
        explained(&customer, cron).remedy
    };
    for cron in [Loop::Running, Loop::Stopped, Loop::Unknown] {
        for (remedy, left) in [
            ("It is tried again by itself.", ""),
            ("It is tried again by itself", ""),
            ("It is tried again by itself. Check tb_url.", "Check tb_url."),
            ("It is tried again by itself, more slowly. If this stays, call.", "If this stays, call."),
            ("It is tried again by itself; if this stays, ask the DBA.", "If this stays, ask the DBA."),
            ("Check tb_url. It is tried again by itself.", "Check tb_url. It is tried again by itself."),
            ("", ""),
        ] {
            assert_eq!(said(remedy, cron), left, "{remedy}");
        }
    }
    let told = in_few(&failed(FailureKind::Timeout, 2), Loop::Stopped);
    assert_eq!(
        told,
        "The server did not answer within 10 s. The loop is STOPPED: nothing is renewed until tbctl start \
         starts it. Check the server."
    );
}

#[test]
fn the_next_attempt_is_told_to_the_second_only_when_it_is_near() {
    let told = |customer: Customer| next_attempt(&customer, Loop::Running, &WAYS, now());
    let at = |seconds| told(Customer { next_attempt_at: in_seconds(seconds), ..valid() });
    assert_eq!(at(-1), "Renewed in the next pass.");
    assert_eq!(at(0), "Renewed in the next pass.");
    assert_eq!(at(59), "Renewed in 59s.");
    assert_eq!(at(60), "Renewed in 1m, at 14:04Z.");
    // Without a next attempt time, a due customer is next, and a valid one gets no sentence.
    let timeless =
        |token_status, state| told(Customer { next_attempt_at: None, token_status, state, ..valid() });
    assert_eq!(timeless(TokenStatus::Valid, Phase::Due), "Renewed in the next pass.");
    assert_eq!(timeless(TokenStatus::Valid, Phase::Ok), "");
    assert_eq!(timeless(TokenStatus::Expired, Phase::Ok), "Renewed in the next pass.");
}

#[test]
fn a_token_that_ends_now_has_not_ended_yet() {
    let at = |seconds| describe_token(&Customer { tbtokenexpiry: in_seconds(seconds), ..valid() }, now());
    assert!(at(0).starts_with("The token is good until "), "{}", at(0));
    assert!(at(-1).starts_with("The token ended 1s ago"), "{}", at(-1));
}

#[test]
fn a_clock_is_right_up_to_the_grain_of_the_measurement() {
    let clock = |skew| {
        let server =
            Server { name: String::new(), skew_ms: Some(skew), limit: 2, breaker: BreakerState::Open };
        describe_server(&server)
    };
    assert!(clock(999).contains("right") && clock(-999).contains("right"));
    assert!(clock(1000).contains("1.0s ahead"), "{}", clock(1000));
    assert!(clock(-1000).contains("1.0s behind"), "{}", clock(-1000));
}

#[test]
fn the_risk_of_one_more_try_is_said_by_its_kind() {
    let risk = |kind| {
        let mut customer = parked();
        customer.failure.as_mut().unwrap().kind = kind;
        describe_risk(&customer)
    };
    assert!(risk(FailureKind::CredentialsRejected).contains("could lock the account for good"));
    assert!(risk(FailureKind::SecondFactorRequired).contains("Fix the user in ThingsBoard first"));
    assert!(risk(FailureKind::BadUrl).ends_with("It fails again unless the cause is fixed."));
    assert!(risk(FailureKind::BadUrl).starts_with("It is parked: ThingsBoard says "));
}

#[test]
fn a_server_is_explained() {
    let described = |breaker, limit, skew_ms| {
        describe_server(&Server { name: "https://tb.example.com".to_owned(), skew_ms, limit, breaker })
    };
    let closed = "At most 8 logins to this server at once.";
    assert_eq!(described(BreakerState::Closed, 8, None), closed);
    assert_eq!(
        described(BreakerState::Closed, 8, Some(300)),
        format!("{closed} Its clock is right (skew +0.3s).")
    );
    let one = described(BreakerState::Closed, 1, Some(-7_200_000));
    assert_eq!(
        one,
        "At most one login to this server at once. Its clock is 2h behind, which does no harm here."
    );
    assert!(
        described(BreakerState::HalfOpen, 1, Some(12_000))
            .ends_with("Its clock is 12.0s ahead, which does no harm here.")
    );
    assert!(described(BreakerState::Open, 4, None).starts_with("Server down: it gets one probe"));
    assert_eq!(described(BreakerState::Unknown, 4, None), "");
}

/// A customer may wait for something else than the cause of its last failure.
#[test]
fn a_customer_that_waits_for_its_server_says_so() {
    let mut customer = failed(FailureKind::ServerError, 1);
    customer.failure.as_mut().unwrap().waiting = Some("waiting: its server is in doubt".to_owned());
    assert_eq!(explained(&customer, Loop::Running).next, "Waiting: its server is in doubt.");
    assert!(explained(&customer, Loop::Stopped).next.contains("STOPPED"));
}
