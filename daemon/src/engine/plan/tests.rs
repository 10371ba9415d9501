//! Which customers are due, which wait, which are parked, and in which order.

mod accounts;
mod parked;
mod probes;

use std::time::Instant;

use chrono::{DateTime, TimeDelta};

use super::super::credentials::{Outcome, Settings};
use super::super::event::{Event, RenewalMethod};
use super::*;
use crate::model::{Credentials, FailureKind, FingerprintKey, Lifetime, Record, Skew, Token, VerifyTokens};
use crate::store::Table;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap()
}

fn after(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

/// Checks have tests of their own.
fn policy() -> Policy {
    Policy { verify_tokens: VerifyTokens::Off, ..Policy::of_a_minute() }
}

fn id(text: &str) -> CustomerId {
    CustomerId::new(text)
}

fn ids(names: &[&str], leave: Leave, even_parked: bool) -> Selection {
    Selection::Ids { ids: names.iter().map(|name| id(name)).collect(), leave, even_parked }
}

fn named(names: &[&str]) -> Selection {
    ids(names, Leave::Requested, true)
}

fn forced(names: &[&str]) -> Selection {
    ids(names, Leave::Forced, true)
}

/// What an earlier pass left over of a refresh without names.
fn rest(names: &[&str]) -> Selection {
    ids(names, Leave::Requested, false)
}

/// A row of a user of its own.
fn row(name: &str, password: &str, ends_in: Option<i64>) -> Customer {
    Customer {
        id: id(name),
        credentials: Credentials {
            url: "https://tb.example".into(),
            username: format!("user of {name}"),
            password: Secret::new(password),
        },
        row_url: "https://tb.example".into(),
        has_token: ends_in.is_some(),
        expiry: ends_in.map(after),
    }
}

fn table(customers: Vec<Customer>, records: Vec<Record>) -> Event {
    Event::TableRead(Table {
        customers,
        ineligible: Vec::new(),
        problems: Vec::new(),
        records,
        key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
        records_lost: None,
    })
}

fn state(customers: Vec<Customer>) -> State {
    let mut state = State::new(policy(), 0, Settings::of_a_minute());
    state.apply(table(customers, Vec::new()), now(), 0.5);
    state
}

fn fail(state: &mut State, name: &str, failure: Failure, at: DateTime<Utc>) {
    state.apply(Event::Failed { id: id(name), failure }, at, 0.5);
}

fn due(state: &State, at: DateTime<Utc>) -> Plan {
    plan(state, at, &policy(), &[Selection::Due])
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.attempts.iter().map(|attempt| attempt.customer.id.as_str()).collect()
}

fn verdict_of(state: &State, name: &str, at: DateTime<Utc>) -> Verdict {
    state.customer(&id(name)).unwrap().verdict(at, &policy())
}

fn token(state: &State, name: &str, life: i64, method: RenewalMethod) -> Event {
    use base64::Engine as _;
    let claims = format!(r#"{{"iat":0,"exp":{life}}}"#);
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    let customer = state.customer(&id(name)).unwrap().row.clone();
    let token = Token::parse(&format!("a.{claims}.c")).unwrap();
    let renewal = Renewal::new(&customer, token, now(), Lifetime::Jwt);
    let skew = Skew::measure(now(), now(), TimeDelta::zero());
    Event::Obtained {
        renewal: Box::new(renewal),
        refresh_token: Some(Secret::new(format!("r of {name}"))),
        method,
        latency: std::time::Duration::ZERO,
        skew,
    }
}

fn obtained(state: &mut State, name: &str, life: i64, method: RenewalMethod) {
    state.apply(token(state, name, life, method), now(), 0.5);
    state.apply(Event::Saved { id: id(name), expiry: after(life) }, now(), 0.5);
}

/// The store's ledger was read, and is empty.
fn ledger_read() -> Event {
    let stamp = crate::store::Stamp { id: 1, number: 1 };
    let read = crate::store::LedgerRead { stamp, is_whole: true, ..Default::default() };
    Event::LedgerRead { read, seen: Instant::now() }
}

/// A state whose ledger was read.
fn state_with_ledger(customers: Vec<Customer>) -> State {
    let mut state = state(customers);
    state.apply(ledger_read(), now(), 0.5);
    state
}

/// A pass sends the row's password, and this comes of it.
fn send(state: &mut State, name: &str, outcome: Outcome) {
    let mut ledger = state.lend_ledger();
    let customer = state.customer(&id(name)).unwrap();
    let account = customer.account.unwrap();
    let held = state.held_credentials(&[account].into()).remove(&account).unwrap();
    let query = customer.login_query(&held, Leave::None).unwrap();
    let number = u64::from(ledger.charges_of(&account, query.server, query.username));
    let charge = ledger.charge(&query, number, Instant::now());
    ledger.settle(charge, outcome.failure().as_ref(), Instant::now());
    state.return_ledger(ledger);
}

#[test]
fn those_without_a_token_or_near_its_end_are_due_the_most_urgent_first() {
    let state = state(vec![
        row("ended", "a", Some(-10)),
        row("fine", "b", Some(3_600)),
        row("never", "c", None),
        row("soon", "d", Some(200)),
    ]);
    assert_eq!(names(&due(&state, now())), ["never", "ended", "soon"]);
    let until = after(3_300) + TimeDelta::milliseconds(1);
    assert_eq!(verdict_of(&state, "fine", now()), Verdict::Rest { until });
    assert_eq!(next_due(&state, now(), &policy()), Some(until));
    assert_eq!(verdict_of(&state, "fine", until), Verdict::Due);
}

#[test]
fn a_short_life_is_renewed_at_its_half() {
    let mut state = state(vec![row("short", "a", None)]);
    obtained(&mut state, "short", 60, RenewalMethod::Login);
    assert!(matches!(verdict_of(&state, "short", after(29)), Verdict::Rest { .. }));
    assert_eq!(verdict_of(&state, "short", after(31)), Verdict::Due);
}

#[test]
fn a_failed_customer_waits_for_the_schedule_but_not_for_an_operator() {
    let mut state = state(vec![row("a", "a", None)]);
    fail(&mut state, "a", Failure::ServerError { status: 503, retry_after: None }, now());
    assert_eq!(verdict_of(&state, "a", after(59)), Verdict::Wait { until: after(60) });
    assert!(names(&due(&state, after(59))).is_empty());
    assert_eq!(names(&due(&state, after(60))), ["a"]);
    assert_eq!(names(&plan(&state, after(1), &policy(), &[Selection::DueNow])), ["a"]);
}

#[test]
fn p21_a_clock_step_makes_no_customer_wait() {
    let mut state = state(vec![row("a", "a", None)]);
    // Each when it is tried by itself.
    for second in [600, 660, 780, 1_020, 1_500, 2_460] {
        fail(&mut state, "a", Failure::ServerError { status: 503, retry_after: None }, after(second));
    }
    assert!(matches!(verdict_of(&state, "a", after(2_461)), Verdict::Wait { .. }));
    assert_eq!(verdict_of(&state, "a", now()), Verdict::Due, "the failure lies in the future");
    assert_eq!(verdict_of(&state, "a", after(-7_200)), Verdict::Due);
}

#[test]
fn p03_a_parked_customer_is_tried_only_by_name_or_with_other_credentials() {
    let mut state = state(vec![row("bad", "wrong", None)]);
    fail(&mut state, "bad", Failure::BadUrl(crate::model::BadUrl::Query), now());
    let year = after(365 * 86_400);
    for selection in [Selection::Due, Selection::DueNow, Selection::All, rest(&["bad"])] {
        assert!(names(&plan(&state, year, &policy(), &[selection])).is_empty());
    }
    assert_eq!(plan(&state, year, &policy(), &[Selection::DueNow]).parked, [id("bad")]);
    assert_eq!(names(&plan(&state, year, &policy(), &[named(&["bad"])])), ["bad"]);
    state.apply(table(vec![row("bad", "other", None)], Vec::new()), after(60), 0.5);
    assert_eq!(names(&due(&state, after(60))), ["bad"]);
}

fn refresh_token_of(plan: &Plan, name: &str) -> Option<String> {
    let attempt = plan.attempts.iter().find(|attempt| attempt.customer.id == id(name)).unwrap();
    attempt.refresh_token.as_ref().map(|token| token.expose().to_owned())
}

#[test]
fn a_refresh_token_goes_with_the_server_and_the_user_that_it_is_for() {
    let after_change = |change: fn(&mut Customer)| {
        let mut state = state(vec![row("a", "old", None)]);
        obtained(&mut state, "a", 60, RenewalMethod::Login);
        let mut changed = row("a", "old", Some(60));
        change(&mut changed);
        state.apply(table(vec![changed], Vec::new()), after(40), 0.5);
        refresh_token_of(&due(&state, after(40)), "a")
    };
    let kept = Some("r of a".to_owned());
    assert_eq!(after_change(|_| ()), kept);
    assert_eq!(after_change(|row| row.credentials.password = Secret::new("new")), kept, "it is free");
    assert_eq!(after_change(|row| row.credentials.username = "another".to_owned()), None);
    assert_eq!(after_change(|row| row.credentials.url = "https://another.example".into()), None);
}

#[test]
fn after_an_answer_that_is_not_thingsboards_the_password_is_next() {
    let mut state = state(vec![row("a", "p", None)]);
    obtained(&mut state, "a", 60, RenewalMethod::Login);
    let odd = Failure::UnexpectedResponse(crate::model::UnexpectedAnswer::Status { status: 404 });
    fail(&mut state, "a", odd, after(31));
    let plan = plan(&state, after(32), &policy(), &[Selection::DueNow]);
    assert_eq!(refresh_token_of(&plan, "a"), None, "the path of refresh tokens alone may be closed");
    obtained(&mut state, "a", 60, RenewalMethod::Login);
    assert!(refresh_token_of(&due(&state, after(40)), "a").is_some());
}

#[test]
fn a_customer_that_fails_and_still_has_a_token_comes_in_its_turn() {
    let rows = vec![row("ended", "a", Some(-5)), row("soon", "b", Some(20)), row("later", "c", Some(200))];
    let mut state = state(rows);
    fail(&mut state, "ended", Failure::ServerError { status: 503, retry_after: None }, after(-600));
    fail(&mut state, "soon", Failure::RateLimited { retry_after: None }, after(-600));
    assert_eq!(names(&due(&state, now())), ["soon", "later", "ended"]);
}

#[test]
fn a_token_that_came_and_is_not_wanted_ends_what_was_wrong() {
    let mut state = state(vec![row("a", "p", Some(10))]);
    fail(&mut state, "a", Failure::CredentialsRejected, now());
    state.apply(Event::Superseded(id("a")), after(1), 0.5);
    state.apply(table(vec![row("a", "p", Some(10))], Vec::new()), after(2), 0.5);
    assert_eq!(verdict_of(&state, "a", after(2)), Verdict::Due);
}

#[test]
fn http_that_is_allowed_after_all_parks_no_customer() {
    let strict = Policy { require_https: true, ..policy() };
    let mut state = State::new(strict, 0, Settings::of_a_minute());
    let rows = || vec![row("a", "p", None), row("b", "q", None)];
    state.apply(table(rows(), Vec::new()), now(), 0.5);
    fail(&mut state, "a", Failure::InsecureUrl, now());
    fail(&mut state, "b", Failure::CredentialsRejected, now());
    state.apply(table(rows(), Vec::new()), after(60), 0.5);
    assert_eq!(verdict_of(&state, "a", after(61)), Verdict::Parked { until: None });
    state.set_policy(policy(), after(119));
    state.apply(table(rows(), Vec::new()), after(120), 0.5);
    assert_eq!(verdict_of(&state, "a", after(121)), Verdict::Due);
    assert_eq!(verdict_of(&state, "b", after(121)), Verdict::Parked { until: None });
}

#[test]
fn what_a_selection_picks_and_whose_parking_it_hears_of() {
    let rows = ["due", "waits", "parked", "valid"].map(|name| {
        let ends_in = (name == "valid").then_some(3_600);
        row(name, name, ends_in)
    });
    let mut state = state(rows.into());
    fail(&mut state, "waits", Failure::ServerError { status: 503, retry_after: None }, now());
    fail(&mut state, "parked", Failure::CredentialsRejected, now());
    let cases: [(Selection, &[&str], bool); 8] = [
        (Selection::Due, &["due"], false),
        (Selection::DueNow, &["due", "waits"], true),
        (Selection::All, &["due", "valid", "waits"], true),
        (named(&["valid", "parked"]), &["valid", "parked"], false),
        (named(&["waits"]), &["waits"], false),
        (rest(&["valid", "waits"]), &["valid", "waits"], false),
        (rest(&["valid", "parked"]), &["valid"], true),
        (rest(&[]), &[], false),
    ];
    for (selection, picked, hears_of_the_parked) in cases {
        let plan = plan(&state, after(1), &policy(), std::slice::from_ref(&selection));
        assert_eq!(names(&plan), picked, "{selection:?}");
        let parked = if hears_of_the_parked { vec![id("parked")] } else { Vec::new() };
        assert_eq!(plan.parked, parked, "{selection:?}");
        assert_eq!((plan.size(), plan.is_empty()), (picked.len(), picked.is_empty()), "{selection:?}");
    }
    // One pass serves the schedule and an operator at once.
    let both = [Selection::Due, named(&["valid"])];
    assert_eq!(names(&plan(&state, after(1), &policy(), &both)), ["due", "valid"]);
    let both = [Selection::Due, Selection::DueNow];
    assert_eq!(plan(&state, after(1), &policy(), &both).parked, [id("parked")]);
}

#[test]
fn failing_customers_come_after_all_others() {
    let mut state =
        state(vec![row("ended", "a", Some(-10)), row("never", "b", None), row("soon", "c", Some(200))]);
    fail(&mut state, "never", Failure::ServerError { status: 503, retry_after: None }, now());
    assert_eq!(names(&due(&state, after(60))), ["ended", "soon", "never"]);
}

#[test]
fn a_name_that_is_not_in_the_table_is_said() {
    let state = state(vec![row("a", "a", None)]);
    let named = named(&["a", "unknown"]);
    assert_eq!(plan(&state, now(), &policy(), &[named]).unknown, [id("unknown")]);
    assert!(due(&state, now()).unknown.is_empty());
}

#[test]
fn a_url_that_cannot_be_used_is_refused_untried() {
    let mut plain = row("plain", "a", None);
    plain.credentials.url = "http://tb.example".into();
    let mut broken = row("broken", "a", None);
    broken.credentials.url = "tb.example".into();
    let state = state(vec![plain, broken, row("secure", "a", None)]);
    let strict = Policy { require_https: true, ..policy() };
    let plan_of = |policy: &Policy| plan(&state, now(), policy, &[Selection::Due]);
    let refused: Vec<_> = plan_of(&strict).refused.into_iter().map(|(id, why)| (id, why.kind())).collect();
    assert_eq!(refused, [(id("broken"), FailureKind::BadUrl), (id("plain"), FailureKind::InsecureUrl)]);
    assert_eq!(names(&plan_of(&strict)), ["secure"]);
    assert_eq!(names(&plan_of(&policy())), ["plain", "secure"]);
    assert_eq!((plan_of(&strict).size(), plan_of(&strict).is_empty()), (3, false));
}

#[test]
fn p07_an_unsaved_token_is_saved_whatever_was_requested_without_a_login() {
    let mut state = state(vec![row("a", "a", None)]);
    state.apply(token(&state, "a", 3_600, RenewalMethod::Login), now(), 0.5);
    for selection in [Selection::Due, Selection::All, named(&["a"]), rest(&[])] {
        let plan = plan(&state, now(), &policy(), &[selection]);
        assert_eq!((plan.saves.len(), plan.attempts.len(), plan.size()), (1, 0, 1));
    }
    assert_eq!(next_due(&state, now(), &policy()), None);
}

/// Promise 26: a row whose token is not kept is written less and less often, and at once if an operator asks.
#[test]
fn p26_a_token_that_its_row_refuses_waits_longer_each_time() {
    let mut state = state(vec![row("a", "pw", None)]);
    let obtained = token(&state, "a", 9_000, RenewalMethod::Login);
    state.apply(obtained, now(), 0.5);
    let refused = || Failure::Database { why: "a trigger".to_owned() };
    fail(&mut state, "a", refused(), now());
    assert_eq!(verdict_of(&state, "a", after(59)), Verdict::Wait { until: after(60) });
    assert!(due(&state, after(59)).is_empty());
    assert_eq!(due(&state, after(60)).saves.len(), 1);
    let asked = plan(&state, after(1), &policy(), &[Selection::DueNow]);
    assert_eq!((asked.saves.len(), asked.attempts.len()), (1, 0), "no login for it");
    fail(&mut state, "a", refused(), after(60));
    assert_eq!(verdict_of(&state, "a", after(61)), Verdict::Wait { until: after(180) });
    // What the store refuses as a whole is written as soon as the store works.
    let error = crate::store::StoreError::Gone { place: "customers.db".to_owned() };
    state.apply(Event::SaveFailed { ids: vec![id("a")], error }, after(180), 0.5);
    assert_eq!(verdict_of(&state, "a", after(181)), Verdict::Save);
}

#[test]
fn the_next_wake_is_the_earliest_of_all_and_none_for_customers_that_need_an_operator() {
    let rows =
        ["valid", "waits", "parked", "due"].map(|name| row(name, name, (name == "valid").then_some(3_600)));
    let mut state = state(rows.into());
    assert_eq!(next_due(&state, now(), &policy()), Some(after(3_300) + TimeDelta::milliseconds(1)));
    fail(&mut state, "waits", Failure::ServerError { status: 503, retry_after: None }, now());
    fail(&mut state, "parked", Failure::CredentialsRejected, now());
    assert_eq!(next_due(&state, now(), &policy()), Some(after(60)));
    assert_eq!(next_due(&self::state(vec![row("due", "a", None)]), now(), &policy()), None);
}

#[test]
fn p01_a_token_that_is_saved_late_in_its_life_is_due_at_once() {
    let mut state = state(vec![row("a", "a", None)]);
    let obtained = token(&state, "a", 3_600, RenewalMethod::Login);
    state.apply(obtained, now(), 0.5);
    let expiry = after(3_600);
    state.count_time(after(3_500));
    state.apply(Event::Saved { id: id("a"), expiry }, after(3_500), 0.5);
    let planned = after(3_490);
    assert_eq!(next_due(&state, planned, &policy()), Some(planned));
    assert_eq!(next_due(&state, after(3_501), &policy()), None, "a plan has seen it since");
}

#[test]
fn p21_a_wait_that_no_back_off_gives_is_none() {
    let mut state = state(vec![row("a", "a", None)]);
    fail(&mut state, "a", Failure::ServerError { status: 503, retry_after: None }, now());
    let far = |wait: i64| {
        let mut note = state.customer(&id("a")).unwrap().record().failure.clone().unwrap();
        note.next_attempt_at = Some(after(wait));
        let failure = Some(note);
        let record =
            Record { failure, updated_at: after(1), ..state.customer(&id("a")).unwrap().record().clone() };
        let mut other = self::state(vec![row("a", "a", None)]);
        other.apply(table(vec![row("a", "a", None)], vec![record]), after(1), 0.5);
        verdict_of(&other, "a", now())
    };
    let longest = policy().backoff().longest().num_seconds();
    assert_eq!(far(longest), Verdict::Wait { until: after(longest) });
    assert_eq!(far(longest + 1), Verdict::Due);
}
