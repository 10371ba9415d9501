//! Which tokens are checked, and when.

use chrono::TimeDelta;

use super::super::credentials::Settings;
use super::super::event::Event;
use super::super::plan::{Selection, plan};
use super::*;
use crate::model::{Credentials, Customer, DeadCause, FingerprintKey, Secret, TokenAnswer};
use crate::store::Table;

const WORKS: TokenAnswer = TokenAnswer::Works;
const DEAD: TokenAnswer = TokenAnswer::Dead(DeadCause::ExpiredEarly);

fn after(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000 + seconds, 0).unwrap()
}

fn policy(verify_tokens: VerifyTokens) -> Policy {
    Policy { verify_tokens, ..Policy::of_a_minute() }
}

/// A customer of that server whose token ends after four hours.
fn row(server: &str, name: &str) -> Customer {
    let url = format!("https://{server}.example");
    Customer {
        id: CustomerId::new(name),
        credentials: Credentials {
            url: url.clone().into(),
            username: format!("user of {name}"),
            password: Secret::new("right"),
        },
        row_url: url.into(),
        has_token: true,
        expiry: Some(after(14_400)),
    }
}

fn state(verify_tokens: VerifyTokens, customers: Vec<Customer>) -> State {
    let mut state = State::new(policy(verify_tokens), 0, Settings::of_a_minute());
    let key = FingerprintKey::new(&[7; FingerprintKey::BYTES]);
    let (ineligible, problems, records) = (Vec::new(), Vec::new(), Vec::new());
    let table = Table { customers, ineligible, problems, records, key, records_lost: None };
    state.apply(Event::TableRead(table), after(0), 0.5);
    state
}

fn of_one_server(verify_tokens: VerifyTokens) -> State {
    state(verify_tokens, ["a", "b", "c"].map(|name| row("tb", name)).into())
}

/// Whose tokens are checked at that second, by a scheduled pass.
fn planned(state: &State, verify_tokens: VerifyTokens, second: i64) -> Vec<String> {
    let plan = plan(state, after(second), &policy(verify_tokens), &[Selection::Due]);
    plan.checks.iter().map(|check| check.id.to_string()).collect()
}

fn sampled(state: &State, second: i64) -> Vec<String> {
    planned(state, VerifyTokens::Sample, second)
}

fn checked(state: &mut State, second: i64, name: &str, answer: TokenAnswer) {
    state.apply(Event::Checked { id: CustomerId::new(name), answer }, after(second), 0.5);
}

#[test]
fn a_poll_samples_of_each_server_the_token_with_the_oldest_proof() {
    let mut state = of_one_server(VerifyTokens::Sample);
    let mut seen = Vec::new();
    for poll in 0..6 {
        let [name] = &*sampled(&state, poll * 60) else { panic!("one for each poll") };
        checked(&mut state, poll * 60 + 1, name, WORKS);
        seen.push(name.clone());
    }
    assert_eq!(seen, ["a", "b", "c", "a", "b", "c"], "a check proves nothing for another row");
    let state = self::state(VerifyTokens::Sample, vec![row("one", "a"), row("two", "b"), row("one", "c")]);
    assert_eq!(sampled(&state, 0), ["a", "b"], "one of each server");
}

#[test]
fn between_two_polls_none_is_checked_and_an_answer_that_says_nothing_makes_checks_rare() {
    let mut state = of_one_server(VerifyTokens::Sample);
    checked(&mut state, 0, "a", WORKS);
    assert_eq!((sampled(&state, 30).len(), sampled(&state, 59).len()), (0, 1));
    let mut at = 60;
    for pause in [2, 4, 4] {
        checked(&mut state, at, "b", TokenAnswer::Unclear);
        assert!(sampled(&state, at + (pause - 1) * 60).is_empty(), "{pause} intervals");
        at += pause * 60;
        assert_eq!(state.customer(&CustomerId::new("b")).unwrap().status, crate::model::TokenStatus::Valid);
        assert_eq!(sampled(&state, at).len(), 1, "{pause} intervals");
    }
    let mut state = of_one_server(VerifyTokens::Sample);
    for poll in 0..5 {
        checked(&mut state, poll * 60, "b", TokenAnswer::NoAnswer);
        assert_eq!(sampled(&state, poll * 60 + 60).len(), 1, "as soon as the server is back");
    }
}

#[test]
fn after_a_dead_token_the_others_of_its_server_are_checked_at_once_and_each_once() {
    let customers = ["a", "b", "c", "d"].map(|name| row("tb", name)).into_iter().chain([row("other", "z")]);
    let mut state = state(VerifyTokens::Sample, customers.collect());
    checked(&mut state, 0, "z", WORKS);
    checked(&mut state, 0, "a", DEAD);
    assert_eq!(sampled(&state, 1), ["b", "c", "d"], "and the dead one is renewed");
    checked(&mut state, 2, "b", WORKS);
    checked(&mut state, 3, "c", DEAD);
    assert_eq!(sampled(&state, 4), ["d"], "what was proven since is not asked for again");
    checked(&mut state, 5, "d", WORKS);
    state.apply(Event::PassFinished, after(6), 0.5);
    assert_eq!(sampled(&state, 7).len(), 0);
}

#[test]
fn an_unclear_answer_in_the_middle_of_a_round_proves_nothing_and_is_asked_for_again() {
    let mut state = state(VerifyTokens::Sample, ["a", "b", "c"].map(|name| row("tb", name)).into());
    checked(&mut state, 0, "a", DEAD);
    checked(&mut state, 1, "b", TokenAnswer::Unclear);
    state.apply(Event::PassFinished, after(2), 0.5);
    assert_eq!(sampled(&state, 130), ["c", "b"], "after the pause, the others first");
    checked(&mut state, 131, "c", WORKS);
    checked(&mut state, 132, "b", DEAD);
    state.apply(Event::PassFinished, after(133), 0.5);
    assert!(sampled(&state, 134).is_empty());
    // A server that never says anything about one token is not asked without end.
    let mut state = of_one_server(VerifyTokens::Sample);
    checked(&mut state, 0, "a", DEAD);
    checked(&mut state, 1, "c", WORKS);
    for (second, is_asked_again) in [(3_590, true), (3_610, false)] {
        checked(&mut state, second, "b", TokenAnswer::Unclear);
        state.apply(Event::PassFinished, after(second), 0.5);
        let next = if is_asked_again { "b" } else { "c" };
        assert_eq!(sampled(&state, second + 300), [next]);
    }
}

#[test]
fn no_token_in_its_window_is_checked_and_none_over_http_where_that_is_refused() {
    let state = of_one_server(VerifyTokens::Sample);
    assert_eq!((sampled(&state, 14_099).len(), sampled(&state, 14_100).len()), (1, 0));
    let mut http = row("tb", "a");
    http.credentials.url = "http://tb.example".into();
    let state = self::state(VerifyTokens::Sample, vec![http]);
    let strict = Policy { require_https: true, ..Policy::of_a_minute() };
    assert_eq!(checks(&state, after(0), &Policy::of_a_minute(), &mut BTreeMap::new()).len(), 1);
    assert_eq!(checks(&state, after(0), &strict, &mut BTreeMap::new()).len(), 0);
    let none = Customer { has_token: false, ..row("tb", "a") };
    assert_eq!(sampled(&self::state(VerifyTokens::Sample, vec![none]), 0).len(), 0);
}

#[test]
fn no_operator_waits_for_a_check_and_off_checks_nothing() {
    let state = of_one_server(VerifyTokens::Sample);
    let policy = policy(VerifyTokens::Sample);
    for selections in [&[Selection::All][..], &[Selection::All, Selection::Due]] {
        assert!(plan(&state, after(0), &policy, selections).checks.is_empty(), "{selections:?}");
    }
    let state = of_one_server(VerifyTokens::Off);
    assert!(planned(&state, VerifyTokens::Off, 0).is_empty());
}

#[test]
fn each_token_comes_up_when_its_proof_is_so_old_and_not_all_at_once() {
    let every = VerifyTokens::Every(TimeDelta::minutes(10));
    let names: Vec<String> = (10..45).map(|number| number.to_string()).collect();
    let mut state = state(every, names.iter().map(|name| row("tb", name)).collect());
    let mut seen = Vec::new();
    for poll in 0..20 {
        let names = planned(&state, every, poll * 60);
        assert!(names.len() <= 4, "{names:?}: 35 tokens in 10 polls");
        for name in &names {
            checked(&mut state, poll * 60, name, WORKS);
        }
        seen.extend(names);
        if poll == 8 {
            assert_eq!(seen, names_of(&state), "all, in order");
        }
    }
    assert_eq!(seen.len(), 2 * names.len());
}

fn names_of(state: &State) -> Vec<String> {
    state.customers().keys().map(ToString::to_string).collect()
}

#[test]
fn a_server_whose_breaker_is_not_closed_is_asked_as_soon_as_a_probe_closes_it() {
    let ended = Customer { expiry: Some(after(-1)), ..row("tb", "ended") };
    let mut state = state(VerifyTokens::Sample, vec![row("tb", "a"), row("tb", "b"), ended]);
    checked(&mut state, 0, "a", WORKS);
    assert!(sampled(&state, 1).is_empty());
    let server = BaseUrl::parse("https://tb.example").unwrap().server_key();
    for breaker in [Breaker::Open, Breaker::HalfOpen] {
        state.apply(Event::GateMoved { server: server.clone(), limit: 4, breaker }, after(2), 0.5);
        assert_eq!(sampled(&state, 3), ["b"], "the pass holds it until the breaker is closed");
    }
    // No customer is due, but its tokens may have died meanwhile, so each poll finds out whether it is back.
    let mut state = of_one_server(VerifyTokens::Sample);
    state.apply(Event::GateMoved { server: server.clone(), limit: 4, breaker: Breaker::Open }, after(2), 0.5);
    for (verify_tokens, probed) in [(VerifyTokens::Sample, vec![&server]), (VerifyTokens::Off, vec![])] {
        let plan = plan(&state, after(600), &policy(verify_tokens), &[Selection::Due]);
        assert_eq!(
            (plan.probes.keys().collect::<Vec<_>>(), plan.checks.len()),
            (probed.clone(), probed.len())
        );
        assert!(plan.only_checks(), "it is not shown as a pass");
    }
    // Once in an interval.
    state.apply(Event::CheckAbandoned(CustomerId::new("a")), after(600), 0.5);
    assert_eq!((sampled(&state, 630).len(), sampled(&state, 660).len()), (0, 1));
}

#[test]
fn only_a_token_that_is_newly_found_dead_begins_a_pass_at_once() {
    let mut state = of_one_server(VerifyTokens::Sample);
    let park = |state: &mut State| {
        let failure = crate::model::Failure::CredentialsRejected;
        state.apply(Event::Failed { id: CustomerId::new("a"), failure }, after(0), 0.5);
    };
    park(&mut state);
    for (second, answer, is_new) in
        [(1, WORKS, false), (60, DEAD, true), (120, DEAD, false), (180, WORKS, false), (240, DEAD, false)]
    {
        checked(&mut state, second, "a", answer);
        assert_eq!(state.take_new_death(), is_new, "{answer:?} after {second} s");
        assert!(!state.take_new_death(), "once");
    }
}

/// A dead token that cannot be renewed must not take the place of the sample that shows a new signing key.
#[test]
fn a_known_dead_token_is_checked_beside_the_sample() {
    let mut state = of_one_server(VerifyTokens::Sample);
    for name in ["a", "b"] {
        let failure = crate::model::Failure::CredentialsRejected;
        state.apply(Event::Failed { id: CustomerId::new(name), failure }, after(0), 0.5);
        checked(&mut state, 1, name, DEAD);
    }
    checked(&mut state, 2, "c", WORKS);
    state.apply(Event::PassFinished, after(3), 0.5);
    assert_eq!(sampled(&state, 60), ["c", "a"]);
}

#[test]
fn a_disputed_token_is_checked_first_when_ten_minutes_are_over() {
    let mut state = of_one_server(VerifyTokens::Sample);
    for (second, answer) in [(0, DEAD), (1, WORKS), (2, DEAD)] {
        checked(&mut state, second, "c", answer);
    }
    for name in ["a", "b"] {
        checked(&mut state, 1, name, WORKS);
    }
    state.apply(Event::PassFinished, after(3), 0.5);
    assert_eq!(sampled(&state, 599), ["a"]);
    assert_eq!(sampled(&state, 600), ["c"]);
}

#[test]
fn a_check_that_was_cut_short_waits_for_the_next_poll_and_proves_nothing() {
    let mut state = of_one_server(VerifyTokens::Sample);
    state.apply(Event::CheckAbandoned(CustomerId::new("a")), after(0), 0.5);
    assert!(sampled(&state, 1).is_empty());
    assert_eq!(sampled(&state, 60), ["a"]);
    checked(&mut state, 61, "b", DEAD);
    state.apply(Event::CheckAbandoned(CustomerId::new("a")), after(62), 0.5);
    assert_eq!(sampled(&state, 63), ["a", "c"], "those in question are asked on");
}
