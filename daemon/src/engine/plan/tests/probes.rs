//! Which servers are probed: those that are treated as down, or of which an account has its last charge left.

use super::*;
use crate::model::ServerKey;

const URLS: [&str; 2] = ["https://tb.example", "https://far.example"];

fn server(url: &str) -> ServerKey {
    BaseUrl::parse(url).unwrap().server_key()
}

/// A row on the second server.
fn far(name: &str, ends_in: Option<i64>) -> Customer {
    let row = row(name, "p", ends_in);
    Customer { credentials: Credentials { url: URLS[1].into(), ..row.credentials }, ..row }
}

fn probed(state: &State, at: DateTime<Utc>) -> Vec<String> {
    let plan = due(state, at);
    assert!(plan.is_empty() == (plan.probes.is_empty() && plan.size() == 0 && !plan.writes_ledger));
    plan.probes.keys().map(ToString::to_string).collect()
}

fn breaker(state: &mut State, url: &str, breaker: Breaker) {
    state.apply(Event::GateMoved { server: server(url), limit: 1, breaker }, now(), 0.5);
}

#[test]
fn a_server_that_is_down_is_probed_while_a_customer_needs_it() {
    let mut state = state_with_ledger(vec![row("a", "p", None), far("fine", Some(3_600))]);
    assert!(probed(&state, now()).is_empty());
    for (stands, is_probed) in [(Breaker::Open, true), (Breaker::HalfOpen, true), (Breaker::Closed, false)] {
        breaker(&mut state, URLS[0], stands);
        breaker(&mut state, URLS[1], stands);
        let expected: &[&str] = if is_probed { &[URLS[0]] } else { &[] };
        assert_eq!(probed(&state, now()), expected, "{stands:?}");
    }
    // Also for a customer that waits, though no customer is tried.
    breaker(&mut state, URLS[0], Breaker::Open);
    fail(&mut state, "a", Failure::ServerError { status: 503, retry_after: None }, now());
    assert!(names(&due(&state, after(1))).is_empty());
    assert_eq!(probed(&state, after(1)), [URLS[0]]);
    // Not for one that has a token to save, or is parked.
    fail(&mut state, "a", Failure::AccountLocked, now());
    assert!(probed(&state, after(1)).is_empty());
    state.apply(token(&state, "a", 3_600, RenewalMethod::Login), now(), 0.5);
    assert!(probed(&state, after(1)).is_empty());
}

#[test]
fn p02_a_server_is_probed_for_ten_minutes_before_it_gets_a_last_charge() {
    let mut state = state_with_ledger(vec![row("a", "p", None), row("b", "p", None), far("far", None)]);
    let mut after_sends = |sends: &[(&str, Outcome)]| {
        for (name, outcome) in sends {
            send(&mut state, name, *outcome);
        }
        probed(&state, now())
    };
    let answered = ("b", Outcome::Accepted);
    let unanswered = ("a", Outcome::Unanswered);
    assert!(after_sends(&[unanswered, answered]).is_empty(), "two charges are left");
    assert_eq!(after_sends(&[unanswered, answered]), [URLS[0]]);
    assert!(after_sends(&[unanswered, answered]).is_empty(), "none is left");
    send(&mut state, "a", Outcome::Accepted);
    assert!(probed(&state, now()).is_empty());
    // In doubt alone: the password that may follow asks for the probe itself.
    send(&mut state, "b", Outcome::Unanswered);
    assert!(probed(&state, now()).is_empty());
    // A refresh token needs no charge.
    for name in ["a", "b"] {
        obtained(&mut state, name, 60, RenewalMethod::Login);
    }
    send(&mut state, "b", Outcome::Unanswered);
    assert!(probed(&state, after(40)).is_empty());
    state.apply(Event::RefreshTokenRefused(id("b")), after(41), 0.5);
    assert_eq!(probed(&state, after(41)), [URLS[0]]);
}
