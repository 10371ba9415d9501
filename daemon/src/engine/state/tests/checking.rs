//! Tests of the changes by a check of a token.

use super::*;
use crate::engine::counters::Cause;
use crate::engine::plan::{Plan, Selection, plan};
use crate::engine::state::lapses::Conditions;
use crate::model::{DeadCause, TokenAnswer};

const DEAD: TokenAnswer = TokenAnswer::Dead(DeadCause::ExpiredEarly);

fn checked(name: &str, answer: TokenAnswer) -> Event {
    Event::Checked { id: id(name), answer }
}

fn planned(state: &State, second: i64) -> Plan {
    plan(state, after(second), &Policy::of_a_minute(), &[Selection::Due])
}

fn verdict(state: &State, name: &str, second: i64) -> Verdict {
    customer(state, name).verdict(after(second), &Policy::of_a_minute())
}

#[test]
fn a_dead_token_counts_as_expired_is_due_and_may_be_replaced_by_one_that_ends_earlier() {
    let mut state = state(vec![ending("a", 7_200)]);
    let before = state.revision();
    apply(&mut state, 5, [checked("a", DEAD)]);
    assert_eq!(customer(&state, "a").status, TokenStatus::Expired);
    assert_eq!(changed_since(&state, before), ["a"]);
    assert_eq!(verdict(&state, "a", 5), Verdict::Due);
    assert_eq!(customer(&state, "a").lapse_cause(Conditions::healthy(TimeDelta::minutes(1))), Cause::Server);
    assert!(customer(&state, "a").ends_at() < Some(after(5)), "it has ended by then");
    assert_eq!(planned(&state, 6).attempts[0].replaces, Some(after(7_200)), "the guard lets it through");
    assert_eq!(take_notices(&mut state), notices(&[(NoticeKind::TokenDead, "a")]));
    apply(&mut state, 7, [obtained("a", 900, RenewalMethod::Login), saved("a", 900)]);
    assert_eq!(customer(&state, "a").status, TokenStatus::Valid);
    assert_eq!(customer(&state, "a").ends_at(), Some(after(900)));
    assert_eq!(state.counters().dead_tokens.values().copied().collect::<Vec<_>>(), [0, 1], "outdated, early");
}

#[test]
fn an_unclear_check_changes_nothing_and_a_dead_token_that_works_again_is_valid() {
    let mut state = state(vec![ending("a", 7_200)]);
    for answer in [TokenAnswer::Works, TokenAnswer::Unclear, TokenAnswer::NoAnswer] {
        apply(&mut state, 1, [checked("a", answer)]);
        assert_eq!(customer(&state, "a").status, TokenStatus::Valid, "{answer:?}");
        assert!(planned(&state, 2).attempts.is_empty(), "{answer:?}");
    }
    // After a restart ThingsBoard accepts outdated tokens again.
    apply(&mut state, 3, [checked("a", DEAD), checked("a", TokenAnswer::NoAnswer)]);
    assert_eq!(customer(&state, "a").status, TokenStatus::Expired);
    apply(&mut state, 5, [checked("a", TokenAnswer::Works)]);
    assert_eq!((customer(&state, "a").status, planned(&state, 6).attempts.len()), (TokenStatus::Valid, 0));
}

#[test]
fn a_second_dead_token_within_ten_minutes_is_disputed_and_not_renewed() {
    let mut state = state(vec![ending("a", 7_200)]);
    apply(&mut state, 0, [checked("a", DEAD), obtained("a", 7_200, RenewalMethod::Login), saved("a", 7_200)]);
    take_notices(&mut state);
    apply(&mut state, 60, [checked("a", DEAD)]);
    apply(&mut state, 120, [checked("a", DEAD)]);
    assert_eq!((customer(&state, "a").status, planned(&state, 121).attempts.len()), (TokenStatus::Valid, 0));
    assert_eq!(take_notices(&mut state), notices(&[(NoticeKind::TokenDisputed, "a")]), "reported once");
    apply(&mut state, 600, [checked("a", DEAD)]);
    assert_eq!(customer(&state, "a").status, TokenStatus::Expired, "ten minutes later");
}

/// Two nodes with different signing keys answer in turn.
#[test]
fn a_dead_token_that_works_again_is_renewed_for_being_dead_once_in_ten_minutes() {
    let mut state = state(vec![ending("a", 7_200)]);
    apply(&mut state, 0, [checked("a", DEAD), checked("a", TokenAnswer::Works), checked("a", DEAD)]);
    assert_eq!((customer(&state, "a").status, planned(&state, 1).attempts.len()), (TokenStatus::Valid, 0));
    assert_eq!(
        take_notices(&mut state),
        notices(&[(NoticeKind::TokenDead, "a"), (NoticeKind::TokenDisputed, "a")])
    );
}

#[test]
fn a_token_that_another_program_wrote_is_not_dead() {
    let mut state = state(vec![ending("a", 7_200)]);
    apply(&mut state, 0, [checked("a", DEAD), read(vec![ending("a", 9_000)])]);
    assert_eq!(customer(&state, "a").status, TokenStatus::Valid);
    assert_eq!(customer(&state, "a").checked, None);
}

/// A parked customer's dead token leads to a renewal by refresh token, and never to its password.
#[test]
fn a_parked_customer_with_a_dead_token_stays_parked() {
    let mut state = state(vec![ending("a", 7_200)]);
    apply(&mut state, 0, [failed("a", Failure::CredentialsRejected), checked("a", DEAD)]);
    assert!(matches!(verdict(&state, "a", 5), Verdict::Parked { until: None }));
    assert!(planned(&state, 5).attempts.is_empty());
    // With a refresh token.
    let mut state = self::state(vec![ending("a", 7_200)]);
    apply(&mut state, 0, [obtained("a", 7_200, RenewalMethod::Login), saved("a", 7_200)]);
    apply(&mut state, 2, [failed("a", Failure::CredentialsRejected), checked("a", DEAD)]);
    let plan = planned(&state, 3_600);
    let [attempt] = &*plan.attempts else { panic!("one attempt: {plan:?}") };
    assert!(attempt.refresh_token.is_some());
}

#[test]
fn the_log_has_one_line_for_all_dead_tokens_of_a_server() {
    let lines = |state: &mut State| -> Vec<String> {
        let unlogged = state.history.take_unlogged();
        unlogged.filter(|notice| !notice.quiet).map(|notice| notice.message.clone()).collect()
    };
    let mut state = state(vec![ending("a", 7_200), ending("b", 7_200), ending("c", 100)]);
    apply(&mut state, 0, [checked("a", DEAD), Event::PassFinished]);
    assert_eq!(lines(&mut state), [""; 0], "another is in question");
    apply(&mut state, 2, [checked("b", DEAD), Event::PassFinished, Event::PassFinished]);
    let key = "2 tokens of https://tb.example died before their time: has its signing key changed?";
    assert_eq!(lines(&mut state), [key]);
    apply(&mut state, 9, [read(vec![ending("a", 9_000), ending("b", 9_001), ending("c", 100)])]);
    apply(&mut state, 700, [checked("a", DEAD), checked("b", TokenAnswer::Works), Event::PassFinished]);
    let password =
        "1 token of https://tb.example died before its time: was its password changed, or its user deleted?";
    assert_eq!(lines(&mut state), [password]);
}

#[test]
fn a_dead_token_stays_dead_after_a_clock_step() {
    let mut state = state(vec![ending("a", 7_200)]);
    apply(&mut state, 100, [checked("a", DEAD)]);
    apply(&mut state, 20, [Event::ClockStepped(TimeDelta::seconds(90))]);
    state.advance(after(21));
    assert_eq!(customer(&state, "a").status, TokenStatus::Expired);
}

#[test]
fn the_time_in_which_a_server_has_not_answered_yet_is_the_servers() {
    let mut state = state(vec![ending("a", 30)]);
    let cause = |state: &State| customer(state, "a").lapse_cause(Conditions::healthy(TimeDelta::minutes(1)));
    assert_eq!(cause(&state), Cause::Daemon);
    state.take_into_pass([id("a")].iter(), after(5));
    assert_eq!(cause(&state), Cause::Server);
    apply(&mut state, 6, [Event::PassFinished]);
    assert_eq!(cause(&state), Cause::Daemon);
}
